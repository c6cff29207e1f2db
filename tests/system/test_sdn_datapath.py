"""sdn's datapath: the overlay through the bridge and the namespace, on and off while packets flow,
and whatever somebody takes away of it. (test_sdn_datapath_openvpn.py: the same on OpenVPN.)"""
import contextlib
import signal

import pytest

from helpers import (host_state, start_agent_with_few_rights, status_of, uninterrupted,
                     wait_pings)
from lab.processes import wait_for
from sdn_helpers import (BRIDGE, IN_NAMESPACE, has_address, is_on, pausing_at_most, switch, traces,
                         tunnel, turn_off, turn_on)

LAB = {"nodes": 2, "clouds": 2, "ovs": True}
ON_AND_OFF = ["Agent.1", "Server"]
PAUSE_S = 1.0
RESTART_S = 15
BACK_S = 4  # the cores are shared with the whole lab


def sdn(lab, name):
    return status_of(lab, name)["services"]["sdn"]


def lasting(lines):
    """Without what each new device draws."""
    return [line for line in lines if "stable_secret" not in line]


@pytest.fixture
def on(lab):
    """Agent.1 with sdn."""
    if not is_on(lab, "Agent.1"):
        turn_on(lab, "Agent.1")
    wait_pings(lab.host("Agent.1"), lab.overlay_address("Agent.2"))
    return lab.host("Agent.1")


@pytest.mark.parametrize("name", ON_AND_OFF)
def test_on_and_off_while_packets_flow(lab, name):
    if traces(lab.host(name)):
        turn_off(lab, name)
    before = host_state(lab.host(name))
    with pausing_at_most(lab.host("Agent.2"), lab.overlay_address(name), PAUSE_S):
        turn_on(lab, name)
    assert sdn(lab, name)["datapath"] in ("kernel", "netdev")
    assert traces(lab.host(name))
    with pausing_at_most(lab.host("Agent.2"), lab.overlay_address(name), PAUSE_S):
        turn_off(lab, name)
    after = host_state(lab.host(name))
    for part in ("rules", "sysctls", "nft", "etc"):
        assert lasting(after[part]) == lasting(before[part]), part


def test_both_ways_and_large_packets(lab, on):
    here, there = lab.overlay_address("Agent.1"), lab.overlay_address("Agent.2")
    assert on.ping(there, size=1392) and lab.host("Agent.2").ping(here, size=1392)
    server = on.spawn(["iperf3", "-s", "-1"])
    wait_for("iperf3", lambda: on.run(["sh", "-c", "ss -ltn | grep -q :5201"],
                                      check=False).returncode == 0, 5)
    done = lab.host("Agent.2").run(["iperf3", "-c", here, "-n", "4M"], check=False, timeout=30)
    server.stop()
    assert done.returncode == 0, done.stdout


def test_another_nodes_address_is_not_sent(lab, on):
    """A program on Agent.1 that says it is Agent.2 isn't heard of beyond the bridge."""
    stolen, own = lab.overlay_address("Agent.2"), lab.overlay_address("Agent.1")
    target = lab.overlay_address("Server")
    trap = on.spawn([*IN_NAMESPACE, "tcpdump", "-lni", "cnsmo-dn", "udp", "port", "4321"],
                    log="trap.log")
    log = on.log_path("trap.log")
    wait_for("the trap", lambda: "listening" in log.read_text(), 5)
    on.run(["ip", "addr", "add", f"{stolen}/32", "dev", "lo"])
    try:
        for source in (stolen, own):
            on.run(["socat", "-u", "OPEN:/etc/hostname", f"UDP:{target}:4321,bind={source}"])
        wait_for("the honest packet", lambda: f"{own}." in log.read_text(), 5)
        assert f"{stolen}." not in log.read_text()
    finally:
        on.run(["ip", "addr", "del", f"{stolen}/32", "dev", "lo"])
        trap.stop()


FAULTS = {
    "namespace": lambda host: host.run(["ip", "netns", "delete", "cnsmo"]),
    "veth": lambda host: host.run(["ip", "link", "del", "cnsmo-up"]),
    "inner veth": lambda host: host.run([*IN_NAMESPACE, "ip", "link", "del", "cnsmo-dn"]),
    "tunnel": lambda host: host.run([*IN_NAMESPACE, "ip", "link", "del", tunnel(host)]),
    "inner routes": lambda host: host.run([*IN_NAMESPACE, "ip", "route", "flush", "proto", "77"]),
    "address": lambda host: host.run(["ip", "addr", "flush", "dev", BRIDGE]),
    "bridge down": lambda host: host.run(["ip", "link", "set", BRIDGE, "down"]),
    "bridge": lambda host: host.run(["ovs-vsctl", "del-br", BRIDGE]),
    "port": lambda host: host.run(["ovs-vsctl", "del-port", "cnsmo-up"]),
    "flows": lambda host: host.run(["ovs-ofctl", "-O", "OpenFlow14", "del-flows", BRIDGE]),
    "vswitchd": lambda host: host.restart_vswitchd(),
    "ovsdb": lambda host: host.restart_ovsdb(),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.logs("isn't in force", "vSwitch", "bridge", "try again")
def test_taken_away_by_hand(lab, on, fault):
    FAULTS[fault](on)
    wait_pings(lab.host("Agent.2"), lab.overlay_address("Agent.1"), BACK_S)
    wait_for("all of it", lambda: is_on(lab, "Agent.1"), 15)
    assert has_address(lab, "Agent.1", BRIDGE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_agent_restarts(lab, on, number):
    with uninterrupted(lab.host("Agent.2"), lab.overlay_address("Agent.1")):
        on.restart_agent(number)
        wait_for("the agent", lambda: is_on(lab, "Agent.1"), 15)


def test_with_the_rights_of_the_unit(lab):
    """What packaging/cnsmo-agent.service.in leaves is enough to go inside, and back."""
    two = lab.host("Agent.2")
    if traces(two):
        turn_off(lab, "Agent.2")
    two.stop_agent()
    start_agent_with_few_rights(two)
    try:
        turn_on(lab, "Agent.2")
        wait_pings(two, lab.overlay_address("Agent.1"))
        turn_off(lab, "Agent.2")
    finally:
        two.restart_agent()


@pytest.mark.logs("isn't in force", "vSwitch", "connection", "connect", "server", "link")
def test_machine_restarts_with_the_server_gone(lab, on):
    """What it had comes back from its own disk, and no packet passes beside the bridge."""
    own, peer, hub = (lab.overlay_address(name) for name in ("Agent.1", "Agent.2", "Server"))
    made = lab.api.post("/sdn/filters?wait=applied", {"spec": {
        "node": "Agent.1", "protocol": "icmp", "destination": peer}})
    lab.host("Server").stop_server(signal.SIGKILL)
    try:
        lab.restart("Agent.1")
        wait_pings(lab.host("Agent.1"), hub, RESTART_S)
        assert f" {own}/32 " in lab.host("Agent.1").out(["ip", "addr", "show", "dev", BRIDGE])
        assert not lab.host("Agent.1").ping(peer)
    finally:
        lab.host("Server").start_server()
    wait_for("Agent.1 with sdn", lambda: is_on(lab, "Agent.1"), 40)
    lab.api.delete(f"/sdn/filters/{made['id']}")
    wait_pings(lab.host("Agent.1"), peer)


@pytest.mark.logs("isn't in force", "vSwitch")
def test_hung_vswitchd_does_not_hang_the_api(lab, on):
    on.hang_vswitchd()
    try:
        wait_for("the node's word about it",
                 lambda: sdn(lab, "Agent.1")["state"] in ("failed", "degraded"), 20)
        assert sdn(lab, "Agent.1")["message"]
    finally:
        on.resume_vswitchd()
    wait_pings(lab.host("Agent.2"), lab.overlay_address("Agent.1"), BACK_S)
    wait_for("sdn again", lambda: is_on(lab, "Agent.1"), 15)


@pytest.mark.logs("isn't in force", "vSwitch")
def test_without_open_vswitch_the_overlay_goes_on(lab):
    two = lab.host("Agent.2")
    two.stop_ovs()
    try:
        with uninterrupted(lab.host("Server"), lab.overlay_address("Agent.2")):
            switch(lab, "Agent.2", "sdn")
            wait_for("a word about it", lambda: "Open vSwitch" in sdn(lab, "Agent.2")["message"],
                     15)
        assert sdn(lab, "Agent.2")["state"] == "failed"
        assert has_address(lab, "Agent.2", "cnsmo0")
        two.start_ovs()
        wait_for("sdn on Agent.2", lambda: is_on(lab, "Agent.2"), 40)
    finally:
        two.start_ovs()
    turn_off(lab, "Agent.2")


def test_leave_with_sdn_on(lab):
    host = lab.add("Guest", 1)
    host.start_ovs()
    before = host_state(host)
    host.join(lab.api.make_token(services=["vpn", "sdn"]), "--id", "Guest")
    host.start_agent()
    wait_for("Guest with sdn", lambda: "Guest" in lab.api.nodes() and is_on(lab, "Guest"), 20)
    wait_pings(host, lab.overlay_address("Agent.1"))
    host.leave()
    after = host_state(host)
    for part, lines in before.items():
        assert after[part] == lines, part
    lab.remove("Guest")


@contextlib.contextmanager
def smaller_mtu(host, device):
    """By the device of the default route, but its real one stays: its peers' packets do arrive."""
    host.ip("link add small type veth peer name small0", "link set small mtu 1400 up",
            "link set small0 up", "route add 1.1.1.1 dev small")
    try:
        wait_for("the smaller MTU", lambda: "mtu 1320" in host.out(["ip", "link", "show", device]),
                 10)
        yield
    finally:
        host.ip("link del small")
    wait_for("the MTU again", lambda: "mtu 1420" in host.out(["ip", "link", "show", device]), 10)


def test_nodes_with_different_mtus(lab, on):
    """Large packets to a node that takes smaller ones: its namespace is a hop, and says so."""
    here = lab.overlay_address("Agent.1")
    with smaller_mtu(on, "cnsmo-up"):
        told = lab.host("Agent.2").run(["ping", "-n", "-c", 3, "-W", 1, "-M", "do", "-s", 1392, here],
                                       check=False).stdout
        assert f"From {here}" in told and "mtu = 1320" in told
        for name, other in (("Agent.1", "Agent.2"), ("Agent.2", "Agent.1")):
            wait_for(f"large packets from {name}",
                     lambda: lab.host(name).ping(lab.overlay_address(other), size=1392), 5)
    lab.host("Agent.2").ip("route flush cache")


def test_the_namespace_keeps_no_packets(lab, on):
    """Its own address is there for its messages alone, whoever brings its loopback up."""
    address = lab.overlay_address("Agent.1")
    on.run([*IN_NAMESPACE, "ip", "link", "set", "lo", "up"])
    try:
        wait_for("the way to the host", lambda: "dev cnsmo-dn" in on.out(
            [*IN_NAMESPACE, "ip", "route", "get", address]), 5)
        wait_pings(lab.host("Agent.2"), address)
    finally:
        on.run([*IN_NAMESPACE, "ip", "link", "set", "lo", "down"])
