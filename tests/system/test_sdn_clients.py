"""Devices from outside, of both kinds, whose hub has sdn: their traffic with the overlay passes the
hub's bridge where the hub's host is in between, and is filtered and counted there."""
import contextlib

import pytest

from helpers import wait_pings
from lab.processes import wait_for
from openvpn_client import Laptop, make_client
from sdn_helpers import turn_on
from test_clients_wireguard import Phone, phone

LAB = {"nodes": 2, "clouds": 2, "nat": 1, "ovs": True}
NODES = ["Server", "Agent.1", "Agent.2"]
SENT = 20


@pytest.fixture(scope="module")
def machines(module_lab):
    turn_on(module_lab, "Server")
    turn_on(module_lab, "Agent.1")
    return Laptop(module_lab.add("Road", 1)), Phone(module_lab.add("Phone", 2))


@contextlib.contextmanager
def laptop(lab, machine, name):
    address = make_client(lab, name)
    try:
        machine.start(lab, name)
        yield address
    finally:
        machine.stop(9)
        lab.api.delete(f"/vpn/clients/{name}")


@contextlib.contextmanager
def filtered(lab, **spec):
    made = lab.api.post("/sdn/filters?wait=applied&timeout=30", {"spec": spec})
    try:
        yield made["id"]
    finally:
        lab.api.delete(f"/sdn/filters/{made['id']}?wait=applied&timeout=30")


def packets(lab, number):
    return lab.api.get(f"/sdn/filters/{number}")["status"]["packets"]


def send(host, address, port):
    host.run(["sh", "-c", f"i=0; while [ $i -lt {SENT} ]; do echo x; i=$((i + 1)); sleep 0.01; done"
              f" | socat -u -b 2 STDIN UDP:{address}:{port}"])


def reaches_all(lab, host, address):
    for node in NODES:
        wait_pings(host, lab.overlay_address(node), 10)
        wait_pings(lab.host(node), address, 10)
        assert host.ping(lab.overlay_address(node), size=1300)


def is_filtered_and_counted(lab, host, address):
    """At the hub's bridge on the way in, and at the bridge of another node."""
    for node in ("Server", "Agent.1"):
        with filtered(lab, node=node, direction="in", protocol="udp", port="4747",
                      source=address) as number:
            send(host, lab.overlay_address(node), 4747)
            wait_for(f"the count of {node}", lambda: packets(lab, number) == SENT, 10)


def test_openvpn_client(lab, machines):
    with laptop(lab, machines[0], "alice") as address:
        reaches_all(lab, machines[0].host, address)
        with filtered(lab, node="Agent.1", direction="in", protocol="udp", port="4747",
                      source=address) as number:
            send(machines[0].host, lab.overlay_address("Agent.1"), 4747)
            wait_for("the count", lambda: packets(lab, number) == SENT, 10)
        # What it sends to other nodes leaves the hub through its bridge.
        with filtered(lab, node="Server", direction="out", protocol="udp", port="4747",
                      source=address) as number:
            send(machines[0].host, lab.overlay_address("Agent.1"), 4747)
            wait_for("the count", lambda: packets(lab, number) == SENT, 10)


def test_wireguard_client(lab, machines):
    with phone(lab, machines[1], "dora") as address:
        machines[1].address = address
        reaches_all(lab, machines[1].host, address)
        is_filtered_and_counted(lab, machines[1].host, address)


def test_both_reach_each_other(lab, machines):
    with laptop(lab, machines[0], "alice") as alice, phone(lab, machines[1], "dora") as dora:
        wait_pings(machines[0].host, dora, 10)
        wait_pings(machines[1].host, alice, 10)
