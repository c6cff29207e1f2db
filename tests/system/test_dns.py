"""Names: what the API is told is what programs on every node are answered, at once, with and without
the server, with and without sdn; and the machine's resolver is as it was afterwards."""
import json

import pytest

from helpers import host_state, status_of, uninterrupted
from lab.processes import wait_for
from sdn_helpers import turn_off, turn_on

LAB = {"nodes": 2, "clouds": 2, "services": ["vpn", "dns"]}
NODES = ("Agent.1", "Agent.2")
LOCAL = "127.0.77.53"
PORT_PROGRAM = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 53))
print("bound", flush=True)
time.sleep(600)
"""


def dig(host, *words, server=LOCAL):
    """The short answer's lines, in order; None if nobody answers."""
    done = host.run(["dig", f"@{server}", "+short", "+time=1", "+tries=1", *words], check=False)
    return sorted(done.stdout.split()) if done.returncode == 0 else None


def code(host, name):
    out = host.out(["dig", f"@{LOCAL}", "+time=1", "+tries=1", name], check=False)
    return out.partition("status: ")[2].partition(",")[0]


def lookup(host, name):
    """As programs do it, through the machine's resolver."""
    return host.out(["getent", "ahostsv4", name], check=False).split()[:1]


def dnsmasq(host):
    return host.out(["pgrep", "-f", "dnsmasq --keep-in-foreground"], check=False).split()


def dns(lab, name):
    return status_of(lab, name)["services"].get("dns", {})


def resolv_conf(host):
    return host.out(["cat", "/etc/resolv.conf"])


@pytest.fixture(autouse=True, scope="module")
def on(module_lab):
    for name in NODES:
        wait_for(f"dns on {name}", lambda name=name: dns(module_lab, name).get("state") == "running",
                 20)


@pytest.fixture
def record(lab):
    """Makes records that are in force when it returns; deletes them at the end."""
    made = []

    def make(name, value, **spec):
        spec.update(name=name, value=value)
        made.append(lab.api.post("/dns/records?wait=applied&timeout=20", {"spec": spec})["id"])
        return made[-1]

    yield make
    there = {item["id"] for item in lab.api.get("/dns/records")["items"]}
    for number in there & set(made):
        lab.api.delete(f"/dns/records/{number}?wait=applied&timeout=20")


def test_nodes_have_names(lab):
    for name in NODES:
        host = lab.host(name)
        for other in NODES:
            address, label = lab.overlay_address(other), other.lower().replace(".", "-")
            assert dig(host, f"{label}.cnsmo.internal") == [address]
            assert dig(host, "-x", address) == [f"{label}.cnsmo.internal."]
            assert lookup(host, label) == [address]
        assert dig(host, "agent-1.cnsmo.internal", server=lab.overlay_address(name)) == [
            lab.overlay_address("Agent.1")]


def test_records_live(lab, record):
    hosts = [lab.host(name) for name in NODES]
    before = [dnsmasq(host) for host in hosts]
    assert all(len(pids) == 1 for pids in before)
    number = record("web", "192.0.2.7")
    for host in hosts:
        assert dig(host, "web.cnsmo.internal") == ["192.0.2.7"]
        assert dig(host, "-x", "192.0.2.7") == ["web.cnsmo.internal."]
        assert lookup(host, "web") == ["192.0.2.7"]
    lab.api.patch(f"/dns/records/{number}?wait=applied&timeout=20", {"spec": {"value": "192.0.2.8"}})
    for host in hosts:
        assert dig(host, "web.cnsmo.internal") == ["192.0.2.8"]
        assert dig(host, "-x", "192.0.2.7") in ([], None)  # nobody else's to be asked
    record("web", "192.0.2.9")
    record("web", "2001:db8::9")
    record("www", "web", type="CNAME")
    for host in hosts:
        assert dig(host, "web.cnsmo.internal") == ["192.0.2.8", "192.0.2.9"]
        assert dig(host, "web.cnsmo.internal", "AAAA") == ["2001:db8::9"]
        assert dig(host, "www.cnsmo.internal") == ["192.0.2.8", "192.0.2.9"]
        assert dig(host, "-x", "192.0.2.9") == ["web.cnsmo.internal."]
    lab.api.delete(f"/dns/records/{number}?wait=applied&timeout=20")
    for host in hosts:
        assert dig(host, "web.cnsmo.internal") == ["192.0.2.9"]
        assert dig(host, "www.cnsmo.internal") == ["192.0.2.9"]
    assert [dnsmasq(host) for host in hosts] == before


def test_deleted_is_nxdomain(lab, record):
    number = record("gone", "192.0.2.10")
    assert code(lab.host("Agent.2"), "gone.cnsmo.internal") == "NOERROR"
    lab.api.delete(f"/dns/records/{number}?wait=applied&timeout=20")
    for name in NODES:
        assert code(lab.host(name), "gone.cnsmo.internal") == "NXDOMAIN"
