"""With sdn on every machine: through symmetric NATs, and so through the hub's namespace, over a
narrow path, and what a hub says of packets that are too large for it."""
import contextlib

import pytest

from helpers import wait_pings
from lab.processes import wait_for
from sdn_helpers import turn_on
from test_paths import receive

LAB = {"nodes": 2, "clouds": 2, "nat": ["symmetric", "symmetric"], "ovs": True}
NAMES = ["Server", "Agent.1", "Agent.2"]
SIZE = 1 << 20


@pytest.fixture(scope="module")
def everywhere(module_lab):
    for name in NAMES:
        turn_on(module_lab, name)
    wait_pings(module_lab.host("Agent.1"), module_lab.overlay_address("Agent.2"), 10)
    return module_lab


@contextlib.contextmanager
def smaller_hub(lab):
    hub = lab.host("Server")

    def mtu_is(number):
        return f"mtu {number} " in hub.out(["ip", "link", "show", "cnsmo-up"])
    hub.ip("link add small type veth peer name small0", "link set small mtu 1400 up",
           "link set small0 up", "route add 1.1.1.1 dev small")
    try:
        wait_for("the hub's smaller MTU", lambda: mtu_is(1320), 10)
        yield
    finally:
        hub.ip("link del small")
    wait_for("its MTU again", lambda: mtu_is(1420), 10)


def sends(lab, sender, receiver):
    source, target = lab.host(sender), lab.host(receiver)
    address = lab.overlay_address(receiver)
    process = receive(target, address, 7777, "tcp", "paths.bytes")
    log = target.log_path("paths.bytes")
    source.run(["sh", "-c", f"head -c {SIZE} /dev/zero | socat -u STDIN TCP:{address}:7777"],
               timeout=60)
    wait_for("all of it", lambda: log.exists() and log.stat().st_size == SIZE, 10)
    process.stop()


@pytest.mark.parametrize("sender, receiver", [("Agent.1", "Agent.2"), ("Agent.2", "Server")])
def test_large_packets_through_the_hub(lab, everywhere, sender, receiver):
    assert lab.host(sender).ping(lab.overlay_address(receiver), size=1392)
    sends(lab, sender, receiver)


@pytest.mark.parametrize("sender, receiver", [("Agent.1", "Agent.2"), ("Agent.2", "Server")])
def test_path_with_a_small_mtu(lab, everywhere, sender, receiver):
    lab.topology.set_path_mtu(1300)
    try:
        sends(lab, sender, receiver)
        wait_for("large packets", lambda: lab.host(sender).ping(
            lab.overlay_address(receiver), size=1392), 10)
    finally:
        lab.topology.set_path_mtu(1500)


def test_hub_says_what_is_too_large_for_it(lab, everywhere):
    hub = lab.overlay_address("Server")
    with smaller_hub(lab):
        told = lab.host("Agent.1").run(
            ["ping", "-n", "-c", 3, "-W", 1, "-M", "do", "-s", 1392, lab.overlay_address("Agent.2")],
            check=False).stdout
        assert f"From {hub}" in told and "mtu = 1320" in told
        sends(lab, "Agent.2", "Agent.1")
