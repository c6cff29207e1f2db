"""Devices from outside with WireGuard: peers of their hub, on the overlay's own device."""
import contextlib

import pytest

from helpers import status_of, uninterrupted, wait_pings
from lab.processes import wait_for
from openvpn_client import text_of

LAB = {"nodes": 2, "clouds": 2, "nat": 1}
NODES = ["Server", "Agent.1", "Agent.2"]


class Phone:
    """A machine of the lab with one WireGuard configuration, as wg-quick would use it."""

    def __init__(self, host):
        self.host = host

    def start(self, text):
        address = next(line.split("=")[1].strip() for line in text.splitlines()
                       if line.startswith("Address"))
        routes = next(line.split("=")[1].split(",") for line in text.splitlines()
                      if line.startswith("AllowedIPs"))
        plain = "\n".join(line for line in text.splitlines()
                          if not line.startswith(("Address", "MTU", "DNS")))
        self.host.run(["wireguard-go", "wg0"])
        self.host.run(["sh", "-c", "umask 077; cat > /root/wg.conf"], stdin=plain + "\n")
        self.host.run(["wg", "setconf", "wg0", "/root/wg.conf"])
        self.host.ip(f"addr add {address} dev wg0", "link set wg0 mtu 1420 up",
                     *(f"route add {route.strip()} dev wg0" for route in routes))

    def stop(self):
        self.host.kill_processes("wireguard-go")


@pytest.fixture(scope="module")
def machine(module_lab):
    return Phone(module_lab.add("Phone", 2))


@contextlib.contextmanager
def phone(lab, machine, name):
    lab.api.post("/vpn/clients?wait=applied&timeout=30", {"id": name, "spec": {}})
    try:
        machine.start(text_of(lab, name, "wireguard"))
        yield lab.api.get(f"/vpn/clients/{name}")["status"]["wireguardAddress"]
    finally:
        machine.stop()
        if lab.api.raw("GET", f"/api/v2/vpn/clients/{name}").status == 200:
            lab.api.delete(f"/vpn/clients/{name}")


def clients(lab):
    vpn = status_of(lab, "Server")["services"].get("vpn", {})
    return [client for client in vpn.get("clients", []) if client["protocol"] == "wireguard"]


def test_reaches_every_node_and_is_reached(lab, machine):
    with uninterrupted(lab.host("Agent.1"), lab.overlay_address("Agent.2")):
        with phone(lab, machine, "dora") as address:
            for node in NODES:
                wait_pings(machine.host, lab.overlay_address(node), 10)
                wait_pings(lab.host(node), address, 10)

            def shown():
                return [client["name"] for client in clients(lab) if client["since"]] == ["dora"]
            wait_for("its session in the status", shown, 20)
            assert clients(lab)[0]["rxBytes"] > 0


def test_deleted_client_is_cut_off(lab, machine):
    with phone(lab, machine, "dora") as address:
        wait_pings(machine.host, lab.overlay_address("Agent.1"), 10)
        lab.api.delete("/vpn/clients/dora")
        wait_for("its end", lambda: not lab.host("Server").ping(address), 2)
        assert not machine.host.ping(lab.overlay_address("Agent.1"))


@pytest.mark.logs("connection", "connect", "server", "link")
def test_agent_restart_interrupts_nobody(lab, machine):
    with phone(lab, machine, "dora"):
        wait_pings(machine.host, lab.overlay_address("Agent.1"), 10)
        with uninterrupted(machine.host, lab.overlay_address("Agent.1")):
            lab.host("Server").restart_agent(9)
            wait_for("the agent's word", lambda: clients(lab), 20)
