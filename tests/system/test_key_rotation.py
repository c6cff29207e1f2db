"""A node takes a new WireGuard key when its keyGeneration is raised; nobody else notices."""
import pytest

from helpers import (gap, lost_packets, peers, public_key, status_of, uninterrupted, wait_connected,
                     wait_pings)
from lab.processes import wait_for

LAB = {"nodes": 3, "clouds": 2, "nat": 1}
GENERATION = "/var/lib/cnsmo-agent/vpn/wireguard.generation"
NEXT = "/var/lib/cnsmo-agent/vpn/wireguard.next"
GAP_MAX_S = 5


def raise_generation(lab, name):
    spec = lab.api.get(f"/nodes/{name}")["spec"]
    generation = spec.get("keyGeneration", 0) + 1
    lab.api.patch(f"/nodes/{name}", {"spec": {"keyGeneration": generation}})
    return generation


def everybody_has(lab, name, old):
    """The node's new key, once all others have it in the place of the old one."""
    def known():
        key = public_key(lab.host(name))
        others = [host for other, host in lab.hosts.items() if other != name]
        return key if key != old and all(
            key in peers(host) and old not in peers(host) for host in others) else None
    return wait_for(f"the new key of {name} with everybody", known, 10)


@pytest.mark.parametrize("name, other", [("Agent.1", "Server"), ("Agent.2", "Agent.1"),
                                         ("Server", "Agent.1")])
def test_new_key(lab, name, other):
    one, address = lab.host(other), lab.overlay_address(name)
    old, host = public_key(lab.host(name)), lab.host(name)
    wait_pings(one, address)
    third, fourth = [n for n in ("Agent.1", "Agent.3", "Server") if n != name][:2]
    log = one.log_path("gap.log")
    log.unlink(missing_ok=True)
    ping = one.spawn(["ping", "-D", "-n", "-i", "0.01", address], log="gap.log")
    wait_for("the first answer", lambda: "ttl=" in log.read_text(), 5)
    try:
        with uninterrupted(lab.host(third), lab.overlay_address(fourth)):
            generation = raise_generation(lab, name)
            new = everybody_has(lab, name, old)
            wait_pings(one, address, GAP_MAX_S)
            reached = log.read_text().count("ttl=")
            wait_for("answers", lambda: log.read_text().count("ttl=") > reached + 100, GAP_MAX_S)
    finally:
        ping.signal(2)
        ping.wait(5)
    print(f"{other} lost {len(lost_packets(log.read_text()))} packets to {name}, "
          f"{gap(log.read_text()):.3f} s")
    assert host.out(["cat", GENERATION]).strip() == str(generation)
    assert host.run(["test", "-e", NEXT], check=False).returncode != 0
    wait_for("its word", lambda: not status_of(lab, name)["inForce"]["pending"], 10)
    lab.wait_overlay()


@pytest.mark.logs("connection", "connect", "server", "link")
def test_agent_killed_meanwhile(lab):
    """Whenever the agent dies in between, the next one ends what was begun."""
    host, old = lab.host("Agent.1"), public_key(lab.host("Agent.1"))
    host.stop_agent(9)
    raise_generation(lab, "Agent.1")
    host.start_agent()
    wait_for("the next key", lambda: host.run(["test", "-e", NEXT], check=False).returncode == 0
             or public_key(host) != old, 10)
    host.restart_agent(9)
    everybody_has(lab, "Agent.1", old)
    wait_connected(lab, "Agent.1")
    lab.wait_overlay()
