"""Filters on the machines' own NICs, outside of the overlay: what the API is told is in force there,
counted to the packet, put back when somebody takes it away, and gone with the filter."""
import pytest

from helpers import host_state, status_of
from lab.processes import wait_for

LAB = {"nodes": 2, "clouds": 2, "services": ["vpn", "sdn"]}
TABLE = "netdev cnsmo_sdn"
SEND = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(int(sys.argv[3])):
    s.sendto(b"ping", (sys.argv[1], int(sys.argv[2])))
"""
# Answers how many have come, when the last one with the word "end" does.
RECEIVE = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", int(sys.argv[1])))
e = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
e.bind(("0.0.0.0", 1))
print("listening", flush=True)
e.recv(100)
s.setblocking(False)
count = 0
try:
    while s.recv(100):
        count += 1
except BlockingIOError:
    print(count, flush=True)
"""


@pytest.fixture
def block(lab):
    """Makes filters; deletes them at the end."""
    made = []

    def make(**spec):
        made.append(lab.api.post("/sdn/filters?wait=applied&timeout=20", {"spec": spec})["id"])
        return made[-1]

    yield make
    for number in made:
        lab.api.delete(f"/sdn/filters/{number}?wait=applied&timeout=20")


def table(host):
    return host.out(["nft", "list", "table", *TABLE.split()], check=False)


def arrived(lab, sender, receiver, port, count):
    """Of so many packets to the receiver's own address, how many a program there gets."""
    address = lab.topology.address(receiver)
    log = lab.host(receiver).log_path("received")
    log.unlink(missing_ok=True)
    program = lab.host(receiver).spawn(["python3", "-c", RECEIVE, port], log="received")
    wait_for("the receiver", lambda: "listening" in log.read_text(), 5)
    lab.host(sender).run(["python3", "-c", SEND, address, port, count], check=False)
    lab.host(sender).run(["python3", "-c", SEND, address, "1", "1"])
    assert program.wait(10) == 0
    return int(log.read_text().split()[-1])


def wait_counted(lab, number, packets):
    def counted():
        return lab.api.get(f"/sdn/filters/{number}")["status"]["packets"]
    wait_for(f"{packets} packets, not {counted()}", lambda: counted() == packets, 12)


def test_in_and_out(lab, block):
    assert arrived(lab, "Agent.2", "Agent.1", "1919", "20") == 20
    inward = block(node="Agent.1", direction="in", protocol="udp", port="1919")
    outward = block(node="Agent.2", direction="out", protocol="udp", port="2020-2029",
                    destination=f"{lab.topology.address('Agent.1')}/32")
    assert arrived(lab, "Agent.2", "Agent.1", "1919", "20") == 0
    assert arrived(lab, "Agent.2", "Agent.1", "1920", "20") == 20
    wait_counted(lab, inward, 20)
    assert arrived(lab, "Agent.2", "Agent.1", "2025", "1") == 0
    assert arrived(lab, "Agent.2", "Agent.1", "2030", "1") == 1
    wait_counted(lab, outward, 1)
    public = status_of(lab, "Agent.1")["services"]["sdn"]["public"]
    assert public["devices"] == ["eth0"] and public["rules"] == 1


def test_an_overlay_filter_has_no_part(lab, block):
    block(node="Agent.1", direction="in", protocol="udp", port="1919",
          destination=lab.overlay_address("Agent.1"))
    assert not table(lab.host("Agent.1"))
    assert arrived(lab, "Agent.2", "Agent.1", "1919", "20") == 20


def test_repair_and_restart(lab, block):
    host = lab.host("Agent.1")
    number = block(node="Agent.1", direction="in", protocol="udp", port="1919")
    assert arrived(lab, "Agent.2", "Agent.1", "1919", "5") == 0
    wait_counted(lab, number, 5)
    host.run(["nft", "delete", "table", *TABLE.split()])
    wait_for("the table's return", lambda: "filter " in table(host), 2)
    assert arrived(lab, "Agent.2", "Agent.1", "1919", "5") == 0
    wait_counted(lab, number, 10)
    host.stop_agent(9)
    assert arrived(lab, "Agent.2", "Agent.1", "1919", "5") == 0
    host.start_agent()
    wait_counted(lab, number, 15)


def test_nothing_is_left(lab):
    before = host_state(lab.host("Agent.1"))["nft"]
    number = lab.api.post("/sdn/filters?wait=applied&timeout=20",
                          {"spec": {"node": "Agent.1", "protocol": "tcp", "port": "7"}})["id"]
    assert table(lab.host("Agent.1"))
    lab.api.delete(f"/sdn/filters/{number}?wait=applied&timeout=20")
    assert host_state(lab.host("Agent.1"))["nft"] == before
