"""How packets travel: through NATs, over narrow paths, and never outside the tunnel."""
import re

import pytest

from helpers import wait_pings
from lab.processes import wait_for

# cloud 1 is public; clouds 2 and 3 are behind NATs that keep ports, with the same addresses inside.
LAB = {"nodes": 3, "clouds": 3, "nat": ["cone", "cone"]}


def allowed_peer(host, address):
    """The endpoint of the WireGuard peer that has this overlay address alone, or None."""
    shown = host.out(["wg", "show", "cnsmo0", "dump"])
    for line in shown.splitlines()[1:]:
        fields = line.split("\t")
        if f"{address}/32" in fields[3].split(","):
            return fields[2]
    return None


def test_nat_to_nat_becomes_direct(lab):
    two, three = lab.host("Agent.2"), lab.host("Agent.3")
    address = lab.overlay_address("Agent.3")
    assert lab.topology.address("Agent.2") == lab.topology.address("Agent.3")
    wait_pings(two, address)
    outside = lab.topology.public_address("Agent.3")

    def direct():
        two.ping(address)
        return (allowed_peer(two, address) or "").startswith(f"{outside}:")
    wait_for("a direct path between the two NATs", direct, 40)
    assert three.ping(lab.overlay_address("Agent.2"))


def test_falls_back_to_the_hub_and_returns(lab):
    two, address = lab.host("Agent.2"), lab.overlay_address("Agent.3")
    hub = lab.topology.server_address
    lab.topology.block_udp("Agent.2", "Agent.3")
    try:
        wait_pings(two, address, 40)
        peer = allowed_peer(two, address)
        assert peer is None or peer.startswith(f"{hub}:"), peer
    finally:
        lab.topology.unblock()

    def direct():
        two.ping(address)
        return (allowed_peer(two, address) or "").startswith(
            f"{lab.topology.public_address('Agent.3')}:")
    wait_for("the direct path's return", direct, 60)


@pytest.mark.lab(nodes=2, clouds=2, nat=["symmetric", "symmetric"])
def test_symmetric_nats_talk_through_the_hub(fresh_lab):
    one, two = fresh_lab.host("Agent.1"), fresh_lab.host("Agent.2")
    address = fresh_lab.overlay_address("Agent.2")
    assert one.ping(address) and two.ping(fresh_lab.overlay_address("Agent.1"))
    assert allowed_peer(one, address) is None  # so it goes by the overlay's range, to the hub


def receive(host, address, port, kind, log):
    """Counts the bytes that arrive."""
    host.log_path(log).unlink(missing_ok=True)
    listen = {"tcp": "TCP-LISTEN", "udp": "UDP-RECV"}[kind]
    receiver = host.spawn(["socat", "-u", f"{listen}:{port},bind={address}",
                           f"CREATE:/var/log/{log}"])
    wait_for("the listener", lambda: f"{address}:{port}" in host.out(["ss", "-Htuln"]), 5)
    return receiver


@pytest.mark.parametrize("sender, receiver", [("Agent.1", "Agent.2"), ("Agent.2", "Agent.1"),
                                              ("Server", "Agent.3")])
def test_path_with_a_small_mtu(lab, sender, receiver):
    """1300 bytes in the middle, 1500 at both ends: 1 MiB by TCP and 1,400-byte UDP arrive."""
    source, target = lab.host(sender), lab.host(receiver)
    address = lab.overlay_address(receiver)
    wait_pings(source, address)
    lab.topology.set_path_mtu(1300)
    try:
        tcp = receive(target, address, 7001, "tcp", "got-tcp")
        source.run(["sh", "-c", "head -c 1048576 /dev/zero | timeout 20 socat -u - "
                    f"TCP:{address}:7001"], timeout=30)
        assert tcp.wait(10) == 0
        assert target.log_path("got-tcp").stat().st_size == 1048576
        udp = receive(target, address, 7002, "udp", "got-udp")

        def arrived():
            source.run(["sh", "-c", f"head -c 1400 /dev/zero | socat -u - UDP:{address}:7002"])
            return target.log_path("got-udp").exists() and (
                target.log_path("got-udp").stat().st_size >= 1400)
        # The first packet may be the one that finds out how narrow the path is.
        wait_for("1,400 bytes by UDP", arrived, 5)
        udp.stop()
    finally:
        lab.topology.set_path_mtu(1500)


def trap_leaks(machine):
    machine.nft("""
        table bridge leak {
            chain trap {
                type filter hook prerouting priority -300;
                ether type ip ip daddr 10.77.0.0/16 counter
                ether type ip ip saddr 10.77.0.0/16 counter
            }
        }""")


def leaked(machine):
    return sum(int(n) for n in re.findall(r"packets (\d+)", machine.out(
        ["nft", "list", "table", "bridge", "leak"])))


@pytest.mark.logs("cnsmo0", "device", "child", "wireguard-go", "exited", "gone", "drift")
def test_nothing_leaks_when_the_tunnel_is_down(lab):
    one, internet = lab.host("Agent.1"), lab.topology.internet
    address = lab.overlay_address("Agent.2")
    trap_leaks(internet)
    try:
        # The trap works: a machine without the overlay sends such packets to its router.
        lost = lab.add("Lost", 1)
        lost.ping(address)
        assert leaked(internet) > 0
        lab.remove("Lost")
        internet.nft("flush table bridge leak; delete table bridge leak")
        trap_leaks(internet)

        assert one.ping(address)
        one.stop_agent(9)
        one.kill_processes("wireguard-go")
        one.run(["ip", "link", "del", "cnsmo0"], check=False)
        assert not one.ping(address, count=3)
        assert leaked(internet) == 0
        one.start_agent()
        wait_pings(one, address, 20)
        assert leaked(internet) == 0
    finally:
        internet.nft("delete table bridge leak")
        if "Lost" in lab.hosts:
            lab.remove("Lost")


def test_overlay_packets_from_outside_are_dropped(lab, stranger):
    """A neighbour on the same wire says it is 10.77.…: nobody listens."""
    one, address = lab.host("Agent.1"), lab.overlay_address("Agent.1")
    fake = "10.77.250.1"
    stranger.ip(f"addr add {fake}/32 dev lo",
                f"route add {address}/32 via {lab.topology.address('Agent.1')} src {fake}")
    one.ip(f"route add {fake}/32 via {lab.topology.address('Stranger')}")
    try:
        receiver = receive(one, "0.0.0.0", 7003, "udp", "got-fake")
        stranger.run(["sh", "-c", f"echo fake | socat -u - UDP:{address}:7003,bind={fake}"])
        stranger.run(["sh", "-c", f"echo fake | socat -u - UDP:{address}:7003"])
        # In order behind them on the same wire, and then one through the tunnel: the listener works.
        assert stranger.ping(lab.topology.address("Agent.1"))
        lab.host("Agent.2").run(["sh", "-c", f"echo real | socat -u - UDP:{address}:7003"])
        got = one.log_path("got-fake")
        wait_for("the real one", lambda: got.exists() and "real" in got.read_text(), 5)
        assert "fake" not in got.read_text()
        receiver.stop()
    finally:
        one.ip(f"route del {fake}/32")


@pytest.mark.parametrize("name", ["Agent.1", "Agent.2"])
def test_nobody_is_lost_without_a_cable_for_a_while(lab, name):
    cable = lab.topology.cables[name]
    address = lab.overlay_address(name)
    cable.cut()
    assert not lab.host("Server").ping(address)
    cable.restore()
    wait_pings(lab.host("Server"), address, 30)
