"""fw_helpers.py - connections and packets between the lab's machines, and what becomes of them."""
import contextlib

import pytest

from lab.processes import wait_for

TABLE = "inet cnsmo_fw"
# Accepts on every port that it is given; UDP too, where it answers.
LISTEN = """
import socket, sys, selectors
loop = selectors.DefaultSelector()
for port in sys.argv[1:]:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        s = socket.socket(socket.AF_INET6, kind)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("::", int(port)))
        if kind == socket.SOCK_STREAM:
            s.listen(50)
        loop.register(s, selectors.EVENT_READ, kind)
print("listening", flush=True)
while True:
    for key, _ in loop.select():
        if key.data == socket.SOCK_STREAM:
            peer, _ = key.fileobj.accept()
            peer.sendall(b"hello")
            peer.close()
        else:
            data, peer = key.fileobj.recvfrom(70000)
            key.fileobj.sendto(data[:10], peer)
"""
# Says open, refused or dropped.
CONNECT = """
import socket, sys
kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
s = socket.socket(family, kind)
s.settimeout(float(sys.argv[4]))
try:
    s.connect((sys.argv[2], int(sys.argv[3])))
    if kind == socket.SOCK_DGRAM:
        s.send(b"x" * int(sys.argv[5]))
    print("open" if s.recv(10) else "closed")
except ConnectionRefusedError:
    print("refused")
except (TimeoutError, socket.timeout):
    print("dropped")
except OSError as e:
    print(e)
"""


@contextlib.contextmanager
def listening(host, *ports):
    log = host.log_path("listen")
    log.unlink(missing_ok=True)
    program = host.spawn(["python3", "-c", LISTEN, *map(str, ports)], log="listen")
    wait_for("the listener", lambda: "listening" in log.read_text(), 5)
    try:
        yield
    finally:
        program.signal(9)
        program.wait(5)


def reach(host, address, port, protocol="tcp", timeout=0.7, size=10):
    """"open", "refused" or "dropped"."""
    return host.out(["python3", "-c", CONNECT, protocol, address, str(port), str(timeout),
                     str(size)], check=False).strip()


def table(host):
    return host.out(["nft", "list", "table", *TABLE.split()], check=False)


class Firewall:
    """Makes objects, and takes them away at the end."""

    def __init__(self, lab):
        self.lab, self.made = lab, []

    def make(self, kind, spec, name=None, **query):
        body = {"spec": spec, **({"id": name} if name else {})}
        more = "".join(f"&{key}={value}" for key, value in query.items())
        made = self.lab.api.post(f"/fw/{kind}?wait=applied&timeout=20{more}", body)
        self.made.append((kind, made["id"]))
        return made["id"]

    def rule(self, action, **spec):
        where = {} if {"node", "selector"} & spec.keys() else {"node": "Agent.1"}
        return self.make("rules", {"action": action, **where, **spec})

    def policy(self, name, **spec):
        return self.make("policies", spec, name)

    def delete(self, kind, name):
        self.made.remove((kind, name))
        self.lab.api.delete(f"/fw/{kind}/{name}?wait=applied&timeout=20")

    def clear(self):
        """Policies first: without them no rule is needed."""
        for kind, name in sorted(self.made, key=lambda one: ["policies", "rules", "groups"].index(
                one[0])):
            self.lab.api.delete(f"/fw/{kind}/{name}?wait=applied&timeout=20")
        self.made = []

    def counted(self, number):
        return self.lab.api.get(f"/fw/rules/{number}")["status"]["packets"]

    def wait_counted(self, number, packets):
        wait_for(f"{packets} packets, not {self.counted(number)}",
                 lambda: self.counted(number) == packets, 12)


@pytest.fixture
def fw(lab):
    firewall = Firewall(lab)
    yield firewall
    firewall.clear()
