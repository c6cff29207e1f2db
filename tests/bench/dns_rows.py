"""dns_rows.py - from the call that adds a record to the answer on every node; and questions per second
next to a plain dnsmasq with the same names.

Answers are looked for by one program that has a socket in the network namespace of each machine: a
question every millisecond until the address is there, or until it is gone.
"""
import contextlib
import ctypes
import os
import re
import selectors
import socket
import struct
import threading
import time

from lab_rig import LabError, wait_for
from lab_rig import Lab
from rig import BUILD, busy_seconds, median, percentile

GROUP = "dns"
DOMAIN = "cnsmo.internal"
OURS, PLAIN = "127.0.77.53", "127.0.77.54"
TARGET_MS = "<= 250"
RESEND_SEC = 0.001
CLONE_NEWNET = 0x40000000
NXDOMAIN = 3


class Sizes:
    def __init__(self, is_quick):
        self.nodes, self.calls = (3, 10) if is_quick else (30, 100)
        self.names, self.rounds, self.seconds = (100, 1, 1) if is_quick else (1000, 5, 3)


# --- asking ----------------------------------------------------------------------------------------

def socket_of(host):
    """In the machine's network namespace; made by a thread that ends there."""
    made = []

    def make():
        libc = ctypes.CDLL(None, use_errno=True)
        space = os.open(f"/proc/{host.pid}/ns/net", os.O_RDONLY)
        try:
            if libc.setns(space, CLONE_NEWNET) < 0:
                raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        finally:
            os.close(space)
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    made[0].connect((OURS, 53))
    made[0].setblocking(False)
    return made[0]


def question(name, number):
    labels = b"".join(bytes([len(one)]) + one.encode() for one in name.split("."))
    return struct.pack("!HHHHHH", number, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


class Askers:
    """All machines at once."""

    def __init__(self, lab, names):
        self.sockets = {name: socket_of(lab.host(name)) for name in names}
        self.number = 0

    def close(self):
        for one in self.sockets.values():
            one.close()

    def until(self, name, is_there, began, timeout=10):
        """Milliseconds from `began` to the answer that it is there, or isn't, of each."""
        self.number = self.number % 60000 + 1
        packet, waiting, took = question(name, self.number), dict(self.sockets), []
        selector = selectors.DefaultSelector()
        for one, sock in waiting.items():
            selector.register(sock, selectors.EVENT_READ, one)
        while waiting:
            if time.monotonic() - began > timeout:
                raise LabError(f"{name} isn't {'there' if is_there else 'gone'} on {list(waiting)}")
            for sock in waiting.values():
                with contextlib.suppress(OSError):
                    sock.send(packet)
            end = time.monotonic() + RESEND_SEC
            while waiting and (left := end - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    if self._answers(key.fileobj, is_there) and waiting.pop(key.data, None):
                        took.append((time.monotonic() - began) * 1000)
        selector.close()
        return took

    def _answers(self, sock, is_there):
        with contextlib.suppress(OSError):
            reply = sock.recv(512)
            number, flags, _, answers = struct.unpack("!HHHH", reply[:8])
            return number == self.number and (
                answers > 0 if is_there else flags & 15 == NXDOMAIN)
        return False


def time_calls(report, lab, sizes):
    names = [name for name in lab.api.nodes() if name != "Server"]
    there, gone, busy_shares = [], [], []
    with contextlib.closing(Askers(lab, names)) as askers:
        for at in range(sizes.calls):
            busy, began = busy_seconds(), time.monotonic()
            made = []
            call = threading.Thread(target=lambda at=at: made.append(lab.api.post(
                "/dns/records", {"spec": {"name": f"r{at}", "value": "192.0.2.1"}})["id"]))
            call.start()
            there.append(max(askers.until(f"r{at}.{DOMAIN}", True, began)))
            busy_shares.append((busy_seconds() - busy) / (time.monotonic() - began))
            call.join()
            began = time.monotonic()
            call = threading.Thread(target=lambda: lab.api.delete(f"/dns/records/{made[0]}"))
            call.start()
            gone.append(max(askers.until(f"r{at}.{DOMAIN}", False, began)))
            call.join()
    for what, found in (("record → resolves", there), ("deleted → unknown", gone)):
        for title, share in (("p50", 0.5), ("p99", 0.99)):
            report.add(GROUP, f"{what} on all {len(names)} nodes, {title} of {len(found)}", "ms",
                       found, TARGET_MS, f"every node is asked each ms; {median(busy_shares):.1f} "
                       "cores busy", value=percentile(found, share))


# --- questions per second ----------------------------------------------------------------------------

def per_second(host, address, seconds):
    out = host.out(["dnsperf", "-s", address, "-d", "/run/names", "-l", str(seconds), "-c", "4",
                    "-q", "100"], timeout=seconds + 30)
    lost = int(re.search(r"Queries lost:\s+(\d+)", out)[1])
    return float(re.search(r"Queries per second:\s+([\d.]+)", out)[1]), lost


def compare(report, lab, sizes):
    host = lab.host("Agent.1")
    specs = [{"spec": {"name": f"q{i}", "value": f"192.0.{i // 250}.{i % 250 + 1}"}}
             for i in range(sizes.names)]
    for at in range(0, len(specs), 500):
        lab.api.post("/dns/records?wait=applied&timeout=60", specs[at:at + 500])
    host.run(["sh", "-c", "cat > /run/names"],
             stdin="".join(f"q{i}.{DOMAIN} A\n" for i in range(sizes.names)))
    host.run(["sh", "-c", "cat /run/cnsmo-agent/dns/hosts/* > /run/plain-hosts"])
    plain = host.spawn(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv",
                        "--no-hosts", "--addn-hosts=/run/plain-hosts", f"--listen-address={PLAIN}",
                        "--bind-interfaces", "--pid-file", f"--local=/{DOMAIN}/", "--user=root"])
    try:
        wait_for("the plain dnsmasq", lambda: host.run(
            ["dig", f"@{PLAIN}", "+time=1", "+tries=1", f"q1.{DOMAIN}"],
            check=False).returncode == 0, 5)
        found = {OURS: [], PLAIN: []}
        lost = 0
        for at in range(sizes.rounds):
            for address in (OURS, PLAIN) if at % 2 == 0 else (PLAIN, OURS):
                rate, missing = per_second(host, address, sizes.seconds)
                found[address].append(rate)
                lost += missing
    finally:
        plain.stop()
    for name, address in (("CNSMO", OURS), ("plain dnsmasq", PLAIN)):
        report.add(GROUP, f"{name}: questions/s, {sizes.names:,} names", "", found[address], None,
                   f"dnsperf; {lost} lost in all")
    report.add(GROUP, "questions/s, CNSMO ÷ plain dnsmasq", "",
               [ours / theirs for ours, theirs in zip(found[OURS], found[PLAIN])], ">= 0.95")


def run(report):
    sizes = Sizes(report.is_quick)
    lab = Lab(nodes=sizes.nodes, clouds=2, build=BUILD, services=["vpn", "dns"])
    lab.up()
    try:
        def ready():
            nodes = lab.api.nodes().items()
            return all(node["status"]["services"].get("dns", {}).get("state") == "running"
                       for name, node in nodes if name != "Server")
        wait_for("dns on all nodes", ready, 120)
        time_calls(report, lab, sizes)
        compare(report, lab, sizes)
    finally:
        lab.down()
