"""Names: what the API is told is what programs on every node are answered, at once, with and without
the server, with and without sdn; and the machine's resolver is as it was afterwards."""

import signal

import pytest

from helpers import host_state, start_agent_with_few_rights, status_of, wait_connected
from lab.processes import wait_for

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


def code(host, *words):
    out = host.out(["dig", f"@{LOCAL}", "+time=1", "+tries=1", *words], check=False)
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


def test_wildcards_ttl_and_names_outside(lab, record):
    record("*.apps", "192.0.2.20")
    record("slow", "192.0.2.21", ttl=77)
    record("out", "www.example.org.", type="CNAME")
    record("beside", "192.0.2.21")
    record("www.example.net.", "192.0.2.22")
    for name in NODES:
        host = lab.host(name)
        assert dig(host, "any.apps.cnsmo.internal") == ["192.0.2.20"]
        assert code(host, "any.apps.cnsmo.internal", "AAAA") == "NOERROR"
        assert code(host, "apps.cnsmo.internal") == "NXDOMAIN"
        answer = host.out(["dig", f"@{LOCAL}", "+noall", "+answer", "slow.cnsmo.internal"]).split()
        assert answer[1:] == ["77", "IN", "A", "192.0.2.21"]
        assert dig(host, "-x", "192.0.2.21") == ["beside.cnsmo.internal."]
        assert "www.example.org." in dig(host, "out.cnsmo.internal", "CNAME")
        assert dig(host, "www.example.net") == ["192.0.2.22"]


def test_others_are_asked_upstream(lab):
    internet = lab.topology.internet
    upstream = internet.spawn(
        ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv",
         "--user=root", "--pid-file", "--listen-address=198.51.100.1", "--bind-interfaces",
         "--address=/example.com/203.0.113.99"], log="upstream.log")
    lab.api.patch("/settings/dns?wait=applied&timeout=20",
                  {"spec": {"upstreams": ["198.51.100.1"]}})
    try:
        for name in NODES:
            host = lab.host(name)
            wait_for(f"an answer from upstream on {name}",
                     lambda host=host: dig(host, "www.example.com") == ["203.0.113.99"], 5)
            assert lookup(host, "www.example.com") == ["203.0.113.99"]
            assert code(host, "nobody.cnsmo.internal") == "NXDOMAIN"
    finally:
        lab.api.patch("/settings/dns?wait=applied&timeout=20", {"spec": {"upstreams": []}})
        upstream.stop()


def test_another_domain(lab, record):
    record("web", "192.0.2.30")
    lab.api.patch("/settings/dns?wait=applied&timeout=20", {"spec": {"domain": "lab.test"}})
    try:
        for name in NODES:
            host = lab.host(name)
            assert dig(host, "web.lab.test") == ["192.0.2.30"]
            assert lookup(host, "web") == ["192.0.2.30"]
            assert "lab.test" in resolv_conf(host)
    finally:
        lab.api.patch("/settings/dns?wait=applied&timeout=20",
                      {"spec": {"domain": "cnsmo.internal"}})


def test_counted(lab):
    host = lab.host("Agent.1")

    def queries():
        return dns(lab, "Agent.1")["queries"]
    before = queries()
    for _ in range(20):
        assert dig(host, "agent-2.cnsmo.internal")
    wait_for("20 questions counted", lambda: queries() >= before + 20, 40)
    assert queries() <= before + 24


@pytest.mark.logs("not connected")
def test_names_stay_with_the_server_down(lab, record):
    record("stays", "192.0.2.40")
    host = lab.host("Agent.1")
    before = dnsmasq(host)
    lab.host("Server").stop_server()
    try:
        host.restart_agent(9)
        wait_for("an agent that has looked at everything", host.agent_pid, 5)
        assert dig(host, "stays.cnsmo.internal") == ["192.0.2.40"]
        assert dnsmasq(host) == before
        host.kill_processes("dnsmasq")
        wait_for("dnsmasq again", lambda: dig(host, "stays.cnsmo.internal") == ["192.0.2.40"], 10)
    finally:
        lab.host("Server").start_server()
        for name in NODES:
            wait_for(f"{name} connected", lambda name=name: status_of(lab, name)["connected"], 20)


def test_taken_up_again(lab, record):
    host = lab.host("Agent.2")
    before = dnsmasq(host)
    host.restart_agent(9)
    wait_connected(lab, "Agent.2")
    record("again", "192.0.2.50")
    assert dig(host, "again.cnsmo.internal") == ["192.0.2.50"]
    assert dnsmasq(host) == before
    wait_for("running", lambda: dns(lab, "Agent.2").get("state") == "running", 20)


def test_hung(lab):
    host = lab.host("Agent.1")
    before = dnsmasq(host)
    host.run(["kill", "-STOP", *before])
    wait_for("another dnsmasq", lambda: dnsmasq(host) not in ([], before), 15)
    wait_for("answers", lambda: dig(host, "agent-2.cnsmo.internal"), 5)
    assert status_of(lab, "Agent.1")["services"]["vpn"]["state"] == "running"


@pytest.mark.logs("is taken by", "dnsmasq ended")
def test_port_taken(lab):
    host = lab.host("Agent.1")
    original = resolv_conf(host)
    host.signal_processes("cnsmo-agent", signal.SIGSTOP)
    host.kill_processes("dnsmasq")
    program = host.spawn(["python3", "-c", PORT_PROGRAM], log="port.log")
    wait_for("the other program", lambda: "bound" in host.log_path("port.log").read_text(), 5)
    host.signal_processes("cnsmo-agent", signal.SIGCONT)
    wait_for("what is wrong", lambda: dns(lab, "Agent.1").get("state") == "failed", 15)
    assert "UDP port 53 of 127.0.77.53 is taken by python3" in dns(lab, "Agent.1")["message"]
    assert LOCAL not in resolv_conf(host)
    assert status_of(lab, "Agent.1")["services"]["vpn"]["state"] == "running"
    program.stop()
    wait_for("running", lambda: dns(lab, "Agent.1").get("state") == "running", 45)
    assert resolv_conf(host) == original


@pytest.mark.logs("dnsmasq is missing", "dnsmasq ended")
def test_missing(lab):
    host = lab.host("Agent.2")
    host.run(["sh", "-c", "mkdir -p /run/upper /run/work && mount -t overlay overlay -o lowerdir="
              "/usr/sbin,upperdir=/run/upper,workdir=/run/work /usr/sbin && rm /usr/sbin/dnsmasq"])
    host.kill_processes("dnsmasq")
    wait_for("what is missing", lambda: dns(lab, "Agent.2").get("message") == (
        "the program dnsmasq is missing: install the package dnsmasq-base"), 15)
    assert status_of(lab, "Agent.2")["services"]["vpn"]["state"] == "running"
    host.run(["umount", "-l", "/usr/sbin"])
    wait_for("running", lambda: dns(lab, "Agent.2").get("state") == "running", 45)


def test_another_writes_resolv_conf(lab):
    """As a DHCP client does: what it says is taken over, and comes back at the end."""
    host = lab.host("Agent.2")
    theirs = "search example.org\nnameserver 198.51.100.77\n"
    host.run(["sh", "-c", f"printf '{theirs}' > /etc/x && mv /etc/x /etc/resolv.conf"])
    wait_for("our resolv.conf", lambda: LOCAL in resolv_conf(host), 5)
    assert "nameserver 198.51.100.77" in resolv_conf(host)
    assert "search cnsmo.internal example.org" in resolv_conf(host)
    assert "198.51.100.77" in host.out(["cat", "/run/cnsmo-agent/dns/upstreams"])
    lab.api.patch("/nodes/Agent.2", {"spec": {"services": ["vpn"]}})
    wait_for("their resolv.conf", lambda: resolv_conf(host) == theirs, 15)
    assert not dnsmasq(host)
    lab.api.patch("/nodes/Agent.2", {"spec": {"services": ["vpn", "dns"]}})
    wait_for("running", lambda: dns(lab, "Agent.2").get("state") == "running", 20)


@pytest.mark.logs("dnsmasq ended")
def test_with_the_rights_of_the_unit(lab, record):
    """dnsmasq gives up root, and still takes an overlay address that comes later."""
    host, address = lab.host("Agent.2"), lab.overlay_address("Agent.2")
    host.stop_agent()
    host.kill_processes("dnsmasq")
    start_agent_with_few_rights(host)
    wait_for("an answer", lambda: dig(host, "agent-1.cnsmo.internal"), 15)
    assert host.out(["ps", "-o", "user=", "-p", *dnsmasq(host)]).strip() in ("dnsmasq", "nobody")
    host.run(["ip", "addr", "del", f"{address}/32", "dev", "cnsmo0"])
    wait_for("answers at the address again",
             lambda: dig(host, "agent-1.cnsmo.internal", server=address), 15)
    host.restart_agent()
    wait_connected(lab, "Agent.2")


def test_nothing_is_left(lab):
    host = lab.host("Agent.2")
    lab.api.patch("/nodes/Agent.2", {"spec": {"services": ["vpn"]}})
    wait_for("dns off", lambda: not dnsmasq(host) and LOCAL not in resolv_conf(host), 15)
    wait_for("vpn alone", lambda: "dns" not in status_of(lab, "Agent.2")["services"], 10)
    before = host_state(host)["etc"]
    lab.api.patch("/nodes/Agent.2", {"spec": {"services": ["vpn", "dns"]}})
    wait_for("running", lambda: dns(lab, "Agent.2").get("state") == "running", 20)
    host.stop_agent()
    host.leave()
    assert host_state(host)["etc"] == before
    assert not dnsmasq(host)
    assert not host.out(["find", "/run/cnsmo-agent", "/var/lib/cnsmo-agent", "-name", "dns*"],
                        check=False)
