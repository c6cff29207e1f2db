"""The firewall beside others' tables: Docker's, ufw's and firewalld's forms. Each goes on as it was,
and ours holds before any of them."""
import re

import pytest

from fw_helpers import fw, listening, reach, table  # noqa: F401
from helpers import status_of
from lab.processes import wait_for

LAB = {"nodes": 2, "clouds": 2, "services": ["vpn", "fw"]}
CONTAINER = "172.17.0.2"

# As dockerd makes them for a container with -p 9090:80.
DOCKER = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 9090 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
"""
# As ufw makes them, with 8080/tcp allowed.
UFW = """*filter
:INPUT DROP [0:0]
:ufw-before-input - [0:0]
:ufw-user-input - [0:0]
-A INPUT -j ufw-before-input
-A INPUT -j ufw-user-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -p udp -m udp --dport 51820 -j ACCEPT
-A ufw-user-input -p tcp -m tcp --dport 8080 -j ACCEPT
COMMIT
"""
# As firewalld makes them, with 8080/tcp in the zone.
FIREWALLD = """
table inet firewalld {
    chain filter_INPUT {
        type filter hook input priority 10; policy accept;
        ct state { established, related } accept
        iifname "lo" accept
        udp dport 51820 accept
        tcp dport 8080 accept
        reject with icmpx admin-prohibited
    }
}
"""


@pytest.fixture
def clean(lab):
    """The machine's own tables only, again, afterwards."""
    yield
    host = lab.host("Agent.1")
    for family, name in (("ip", "nat"), ("ip", "filter"), ("inet", "firewalld")):
        host.run(["nft", "delete", "table", family, name], check=False)
    host.run(["ip", "link", "del", "docker0"], check=False)
    host.run(["ip", "netns", "del", "box"], check=False)


def others(host):
    """All tables but ours, without what they count."""
    text = host.out(["nft", "list", "ruleset"])
    kept = re.sub(r"(?ms)^table inet cnsmo_fw \{.*?^\}\n", "", text)
    return re.sub(r"packets \d+ bytes \d+", "", kept)


def container(host):
    """A container behind docker0, with something on its port 80."""
    for command in ("link add docker0 type bridge", "addr add 172.17.0.1/16 dev docker0",
                    "link set docker0 up", "netns add box",
                    "link add vethbox type veth peer name eth0 netns box",
                    "link set vethbox master docker0", "link set vethbox up",
                    f"-n box addr add {CONTAINER}/16 dev eth0", "-n box link set eth0 up",
                    "-n box route add default via 172.17.0.1"):
        host.run(["ip", *command.split()])
    host.sysctl({"net.ipv4.ip_forward": 1})
    return host.spawn(["ip", "netns", "exec", "box", "python3", "-m", "http.server", "80"],
                      log="box")


def test_dockers(lab, fw, clean):
    host, address = lab.host("Agent.1"), lab.topology.address("Agent.1")
    program = container(host)
    host.run(["iptables-restore"], stdin=DOCKER)
    asks = ["curl", "-so", "/dev/null", "-m", "1", f"http://{address}:9090/"]

    def published():
        return lab.host("Agent.2").run(asks, check=False).returncode
    wait_for("the published port", lambda: published() == 0, 10)
    before = others(host)
    # What is published is addressed to the machine.
    number = fw.rule("drop", protocol="tcp", port="9090")
    assert published() == 28  # a timeout
    fw.delete("rules", number)
    number = fw.rule("reject", protocol="tcp", port="80")  # the container's, not the machine's
    assert published() == 0
    fw.delete("rules", number)
    # What the container sends is the machine's.
    with listening(lab.host("Agent.2"), 8080):
        inside = ["ip", "netns", "exec", "box", "curl", "-so", "/dev/null", "-m", "1",
                  f"http://{lab.topology.address('Agent.2')}:8080/"]
        assert host.run(inside, check=False).returncode in (0, 1, 52, 56)  # it was reached
        fw.rule("drop", direction="out", protocol="tcp", port="8080")
        assert host.run(inside, check=False).returncode == 28
        # And its answers are of a connection that is there.
        fw.rule("accept", protocol="tcp", port="22,9090")
        fw.rule("accept", direction="out", protocol="tcp", port="8444")
        fw.policy("closed", node="Agent.1", **{"in": "drop", "out": "drop"})
        assert published() == 0
    fw.clear()
    assert others(host) == before
    program.stop()


def load_ufw(host):
    host.run(["iptables-restore"], stdin=UFW)


def load_firewalld(host):
    host.run(["nft", "-f", "-"], stdin=FIREWALLD)


@pytest.mark.parametrize("load", [load_ufw, load_firewalld])
def test_ufws_and_firewallds(lab, fw, clean, load):
    host, address = lab.host("Agent.1"), lab.topology.address("Agent.1")

    def seen(port):
        return reach(lab.host("Agent.2"), address, port)
    with listening(host, 8080, 8081):
        load(host)
        before = others(host)
        assert seen(8080) == "open" and seen(8081) != "open"
        # Ours drops what theirs lets through, but can't let through what theirs drops.
        fw.rule("reject", protocol="tcp", port="8080", source=lab.topology.address("Agent.2"))
        fw.rule("accept", protocol="tcp", port="8081")
        assert seen(8080) == "refused" and seen(8081) != "open"
        assert others(host) == before and table(host)
        if load is load_ufw:
            wait_for("a word about it", lambda: "table ip filter of another program drops" in
                     status_of(lab, "Agent.1")["services"]["fw"]["message"], 15)
        fw.clear()
        assert seen(8080) == "open" and others(host) == before
