"""The overlay on OpenVPN: one hub's server, everybody else a spoke of it."""
import json
import os
import signal
import time

import pytest

from helpers import (gap, host_state, other_address, start_agent_with_few_rights, status_of,
                     uninterrupted, wait_connected, wait_pings)
from openvpn_client import DEVICE, Laptop, client_server, make_client
from lab.node import clock_shift
from lab.processes import alive, wait_for
from test_paths import leaked, trap_leaks

LAB = {"nodes": 3, "clouds": 2, "fabric": "openvpn"}
RECONNECT = ("connection", "connect", "server", "link")
BACK_S = 5
SOCKET = "/run/cnsmo-agent/vpn/openvpn-fabric.sock"


def vpn(lab, name):
    return status_of(lab, name)["services"]["vpn"]


def addresses(lab):
    return {name: lab.overlay_address(name) for name in lab.hosts}


def everybody_is_back(lab, known, timeout=BACK_S):
    """Spokes reach the hub, and each other through it."""
    end = time.monotonic() + timeout
    for name, host in lab.hosts.items():
        for other, address in known.items():
            if other != name:
                wait_pings(host, address, max(0.1, end - time.monotonic()))


def daemon(host):
    pids = host.processes("openvpn")
    assert len(pids) <= 1
    return pids[0] if pids else None


def test_every_node_reaches_every_other(lab):
    everybody_is_back(lab, addresses(lab))

    def running():
        return all(vpn(lab, name)["state"] == "running" for name in lab.hosts)
    wait_for("state running of every vpn", running, 20)
    for name in lab.hosts:
        status = vpn(lab, name)
        assert status["fabric"] == "openvpn" and status["backend"] in ("openvpn", "ovpn-dco")

    def sessions():
        return {peer["node"]: peer["path"] for peer in vpn(lab, "Server")["peers"]} == {
            "Agent.1": "direct", "Agent.2": "direct", "Agent.3": "direct"}
    wait_for("the hub's word about its sessions", sessions, 20)
    assert [(peer["node"], peer["path"]) for peer in vpn(lab, "Agent.1")["peers"]] == [
        ("Server", "direct")]
    assert lab.host("Agent.1").run(["wg", "show", "cnsmo0"], check=False).returncode != 0


def test_other_addresses_of_the_hub_are_not_reached(lab):
    one, other = lab.host("Agent.1"), "172.30.0.1"
    with other_address(lab.host("Server"), other):
        one.run(["ip", "route", "add", other, "dev", "cnsmo0"])
        assert not one.ping(other)
        one.run(["ip", "route", "del", other, "dev", "cnsmo0"])
    wait_pings(one, lab.overlay_address("Server"))


def test_large_packets_pass(lab):
    one = lab.host("Agent.1")
    assert one.ping(lab.overlay_address("Agent.2"), size=1392)
    lab.topology.set_path_mtu(1300)
    try:
        assert one.ping(lab.overlay_address("Agent.2"), size=1392, count=2)
    finally:
        lab.topology.set_path_mtu(1500)


def test_files_are_private(lab):
    for name in lab.hosts:
        assert lab.host(name).out(["find", "/run/cnsmo-agent/vpn", "-type", "f", "-perm",
                                   "/077"]) == ""


def test_join_and_leave_interrupt_nobody(lab, stranger):
    one, two = lab.host("Agent.1"), lab.overlay_address("Agent.2")
    daemons = {name: daemon(lab.host(name)) for name in ("Server", "Agent.1", "Agent.2")}
    before = host_state(stranger)
    with uninterrupted(one, two):
        stranger.join(lab.token_for("Stranger"), "--id", "Stranger", "--services", "vpn")
        lab.wait_overlay(timeout=20)
        address = lab.overlay_address("Stranger")
        stranger.leave()
        wait_for("the member's end", lambda: address not in json.dumps(
            vpn(lab, "Server")["peers"]) and "Stranger" not in lab.host("Server").out(
                ["ls", "/run/cnsmo-agent/vpn/openvpn-fabric.d"]), 5)
    after = host_state(stranger)
    for part, lines in before.items():
        assert after[part] == lines, part
    assert daemons == {name: daemon(lab.host(name)) for name in daemons}


def test_static_address(lab):
    two, old = lab.host("Agent.2"), lab.overlay_address("Agent.2")
    third = lab.overlay_address("Agent.3")
    with uninterrupted(lab.host("Agent.1"), third):
        lab.api.patch("/nodes/Agent.2?wait=applied&timeout=20", {"spec": {"address": "10.77.99.99"}})
        wait_pings(lab.host("Agent.1"), "10.77.99.99", BACK_S)
        shown = json.loads(two.out(["ip", "-j", "-4", "addr", "show", "dev", "cnsmo0"]))
        assert [a["local"] for a in shown[0]["addr_info"]] == ["10.77.99.99"]
        assert not lab.host("Agent.1").ping(old)
        lab.api.patch("/nodes/Agent.2?wait=applied&timeout=20", {"spec": {"address": old}})
        wait_pings(lab.host("Agent.1"), old, BACK_S)


def test_hub_that_never_came_changes_nothing(lab):
    with uninterrupted(lab.host("Agent.1"), lab.overlay_address("Agent.2")):
        lab.api.post("/nodes", {"id": "A", "spec": {"hub": True, "services": ["vpn"]}})
    lab.api.delete("/nodes/A")


@pytest.mark.logs(*RECONNECT)
@pytest.mark.parametrize("name", ["Server", "Agent.1"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_agent_restarts_without_loss(lab, name, number):
    host = lab.host(name)
    running = daemon(host)
    with uninterrupted(lab.host("Agent.1"), lab.overlay_address("Agent.2")):
        host.restart_agent(number)
        wait_connected(lab, name, timeout=20)
        wait_for("its word", lambda: vpn(lab, name)["state"] == "running", 10)
    assert daemon(host) == running, "openvpn outlives the agent"


@pytest.mark.logs("openvpn")
@pytest.mark.parametrize("name", ["Server", "Agent.1"])
def test_daemon_killed(lab, name):
    known, host = addresses(lab), lab.host(name)
    killed = host.kill_processes("openvpn", signal.SIGKILL)
    assert killed
    everybody_is_back(lab, known, BACK_S)
    assert daemon(host) not in killed


@pytest.mark.logs("openvpn")
@pytest.mark.parametrize("name", ["Server", "Agent.1"])
def test_daemon_hangs(lab, name):
    """It is told, killed and started again."""
    known, host = addresses(lab), lab.host(name)
    hanging = daemon(host)
    os.kill(hanging, signal.SIGSTOP)
    wait_for("a word about it",
             lambda: "answer" in json.dumps(host.status()["services"]["vpn"]), 10)
    wait_for("its end", lambda: not alive(hanging), 15)
    everybody_is_back(lab, known, 2 * BACK_S)


@pytest.mark.logs(*RECONNECT)
def test_hub_machine_restarted(lab):
    known = addresses(lab)
    hub = lab.restart("Server")
    wait_for("its openvpn", lambda: hub.processes("openvpn"), 20)
    everybody_is_back(lab, known, BACK_S)
    for name in lab.hosts:
        wait_connected(lab, name, timeout=40)


@pytest.mark.logs(*RECONNECT)
def test_hub_away_for_a_minute(lab):
    known = addresses(lab)
    cable = lab.topology.cables["Server"]
    cable.cut()
    back = time.monotonic() + 60
    try:
        wait_for("a word about it", lambda: "no hub is alive" in lab.host("Agent.1").status()[
            "services"]["vpn"]["message"], 20)
        wait_for("the minute's end", lambda: time.monotonic() > back, 61)
    finally:
        cable.restore()
    everybody_is_back(lab, known, BACK_S)
    for name in lab.hosts:
        wait_connected(lab, name, timeout=60)


@pytest.mark.logs("port", "openvpn", "taken")
def test_port_taken(lab):
    known, hub = addresses(lab), lab.host("Server")
    hub.stop_agent()
    hub.kill_processes("openvpn")
    thief = hub.spawn(["socat", "-u", "UDP-RECV:51820", "STDOUT"])
    wait_for("the thief", lambda: ":51820" in hub.out(["ss", "-Hulna"]), 5)
    hub.start_agent()

    def told():
        status = hub.status()["services"]["vpn"]
        return status["state"] == "failed" and "51820" in status["message"]
    wait_for("a word about the port", told, 15)
    thief.stop()
    everybody_is_back(lab, known, 40)


@pytest.mark.logs("openvpn", *RECONNECT)
def test_management_socket_removed(lab):
    """A daemon that can't be talked to is replaced."""
    known, hub = addresses(lab), lab.host("Server")
    lost = daemon(hub)
    hub.stop_agent()
    hub.run(["rm", SOCKET])
    hub.start_agent()
    wait_for("another openvpn", lambda: daemon(hub) not in (None, lost), 20)
    everybody_is_back(lab, known, 2 * BACK_S)


@pytest.mark.logs("removed this node")
def test_deleted_node_is_cut_off(lab, stranger):
    before = host_state(stranger)
    stranger.join(lab.token_for("Stranger"), "--id", "Stranger")
    lab.wait_overlay(timeout=20)
    one, address = lab.host("Agent.1"), lab.overlay_address("Stranger")
    stranger.stop_agent(9)  # a thief: its openvpn goes on
    with uninterrupted(one, lab.overlay_address("Agent.2")):
        lab.api.delete("/nodes/Stranger")
        wait_for("its session's end", lambda: not one.ping(address), 2)
        # It connects again and again, and isn't let in.
        log = lab.host("Server").log_path("cnsmo-agent/openvpn-fabric.log")
        wait_for("a refusal", lambda: "certificate revoked" in log.read_text(), 20)
        assert not one.ping(address)
    stranger.start_agent()
    wait_for("the agent's end", lambda: "removed this node" in stranger.agent_log()
             and not stranger.agent_pid(), 20)
    assert host_state(stranger) == before


@pytest.mark.logs("openvpn", *RECONNECT)
def test_nothing_leaks_when_openvpn_is_down(lab):
    known, one, internet = addresses(lab), lab.host("Agent.1"), lab.topology.internet
    trap_leaks(internet)
    try:
        one.stop_agent(9)
        one.kill_processes("openvpn")
        assert not one.ping(known["Agent.2"], count=3)
        one.run(["ip", "link", "del", "cnsmo0"])
        assert not one.ping(known["Agent.2"], count=3)
        one.start_agent()
        everybody_is_back(lab, known, 20)
        assert leaked(internet) == 0
    finally:
        internet.nft("delete table bridge leak")


@pytest.mark.logs(*RECONNECT)
@pytest.mark.parametrize("name", ["Server", "Agent.1"])
def test_with_the_rights_of_the_unit(lab, name):
    """What packaging/cnsmo-agent.service.in leaves is enough for openvpn too."""
    known, host = addresses(lab), lab.host(name)
    host.stop_agent()
    host.kill_processes("openvpn")
    host.run(["ip", "link", "del", "cnsmo0"])
    start_agent_with_few_rights(host)
    everybody_is_back(lab, known, 20)
    wait_connected(lab, name)


@pytest.mark.logs("clock", "certificate", *RECONNECT)
@pytest.mark.parametrize("shift", ["-1d", "+1d"])
def test_clock_wrong_by_a_day(lab, stranger, shift):
    stranger.join(lab.token_for("Stranger"), "--id", "Stranger", env=clock_shift(shift))
    wait_connected(lab, "Stranger")
    wait_pings(stranger, lab.overlay_address("Agent.1"), 10)
    stranger.leave()


@pytest.mark.logs("openvpn", "device", "child", "gone")
@pytest.mark.parametrize("command", ["ip addr flush dev cnsmo0", "ip link set cnsmo0 down",
                                     "ip route flush dev cnsmo0", "ip link del cnsmo0"])
def test_flushed_by_hand(lab, command):
    known = addresses(lab)
    lab.host("Agent.1").run(["sh", "-c", command])
    everybody_is_back(lab, known, BACK_S)


@pytest.mark.logs("openvpn", "hub", *RECONNECT)
@pytest.mark.lab(nodes=2, clouds=2, fabric="openvpn")
def test_hub_is_another_node_than_the_server(fresh_lab):
    lab = fresh_lab
    address = lab.topology.address("Agent.1")
    lab.api.patch("/nodes/Agent.1", {"spec": {"hub": True, "endpoint": address}})
    lab.api.patch("/nodes/Server?wait=applied&timeout=30", {"spec": {"hub": False}})
    everybody_is_back(lab, addresses(lab), 20)
    assert [peer["node"] for peer in vpn(lab, "Agent.2")["peers"]] == ["Agent.1"]
    assert {peer["node"] for peer in vpn(lab, "Agent.1")["peers"]} == {"Server", "Agent.2"}
    # Nobody has a WireGuard key yet.
    convert(lab, "wireguard")
    everybody_is_back(lab, addresses(lab), 20)


def convert(lab, fabric):
    """Every node says it, one after the other, until all have; how far is told meanwhile."""
    lab.api.patch("/settings/overlay?wait=applied&timeout=60", {"spec": {"fabric": fabric}})

    def converted():
        return all(vpn(lab, name)["fabric"] == fabric and vpn(lab, name)["state"] == "running"
                   and status_of(lab, name)["inForce"]["pending"] == [] for name in lab.hosts)
    wait_for(f"{fabric} on every node", converted, 60)


@pytest.mark.logs("openvpn", "wireguard", "hub", "device")
@pytest.mark.lab(nodes=3, clouds=3, nat=1)
def test_conversion_there_and_back(fresh_lab):
    lab = fresh_lab
    known, internet = addresses(lab), lab.topology.internet
    keys = {name: host.out(["wg", "show", "cnsmo0", "public-key"])
            for name, host in lab.hosts.items()}
    trap_leaks(internet)
    one = lab.host("Agent.1")
    talk = one.spawn(["ping", "-D", "-n", "-i", "0.02", known["Agent.2"]], log="talk.log")
    try:
        convert(lab, "openvpn")
        everybody_is_back(lab, known, 20)
        for host in lab.hosts.values():
            assert daemon(host) and not host.processes("wireguard-go")
        convert(lab, "wireguard")
        everybody_is_back(lab, known, 20)
        for name, host in lab.hosts.items():
            assert not daemon(host)
            assert host.out(["wg", "show", "cnsmo0", "public-key"]) == keys[name]
            left = host.run(["ls", "/run/cnsmo-agent/vpn"], check=False).stdout.split()
            assert [name for name in left if not name.endswith(".crl")] == []
        assert leaked(internet) == 0
    finally:
        talk.signal(signal.SIGINT)
        talk.wait(5)
        print(f"longest silence while converting: {gap(one.log_path('talk.log').read_text()):.1f} s")
        internet.nft("delete table bridge leak")


@pytest.mark.logs("openvpn", "hub", *RECONNECT)
@pytest.mark.lab(nodes=2, clouds=2, fabric="openvpn")
def test_outside_clients_of_a_hub_beside_the_server(fresh_lab):
    """Their hub is a spoke itself: the server must know what is behind it."""
    lab = fresh_lab
    lab.api.patch("/nodes/Agent.1?wait=applied&timeout=30", {"spec": {
        "hub": True, "endpoint": lab.topology.address("Agent.1")}})
    address = make_client(lab, "carol", hub="Agent.1")
    laptop = Laptop(lab.add("Road", 2))
    wait_for("the clients' server", lambda: client_server(lab, "Agent.1").get("state") == "running",
             30)
    laptop.start(lab, "carol")
    for node in ("Server", "Agent.1", "Agent.2"):
        wait_pings(laptop.host, lab.overlay_address(node), 10)
        wait_pings(lab.host(node), address, 10)
    # To nowhere else than the overlay, and not to addresses that nobody has.
    laptop.host.ip(f"route add 192.0.2.99/32 dev {DEVICE}")
    assert not laptop.host.ping("192.0.2.99")
    unused = lab.host("Agent.2").run(["ping", "-n", "-c", "3", "-W", "1", "10.77.255.99"],
                                     check=False).stdout
    assert "exceeded" not in unused, unused
    laptop.stop(9)
