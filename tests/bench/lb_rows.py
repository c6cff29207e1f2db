"""lb_rows.py - requests through lb, next to HAProxy with a configuration written by hand; and
requests that fail while services are changed.

Front, back end and client are one machine of the lab, so that no tunnel is measured: lb and HAProxy
stand before the same back end and take turns.
"""
import contextlib
import itertools
import re
import sys
import time

from lab_rig import Lab, wait_for
from rig import BUILD, TOP, median, percentile, rss_mb

sys.path.insert(0, str(TOP / "tests" / "system"))
from http_load import Backend, Load  # noqa: E402

GROUP = "lb"
FRONT, CLIENT = "Agent.1", "Agent.2"
BEHIND, OURS, THEIRS = 9000, 8001, 8002
SLOW = 9090

# Answers by itself, faster than anything that could stand before it asks.
BACK_END = f"""
global
    maxconn 2000
defaults
    mode http
    timeout client 60s
    timeout connect 5s
    timeout server 60s
frontend back
    bind 0.0.0.0:{BEHIND}
    http-request return status 200 content-type text/plain string "hello"
"""

# What somebody would write who wants what lb is told to do.
BY_HAND = """
defaults
    mode http
    timeout client 60s
    timeout connect 5s
    timeout server 60s
listen web
    bind 0.0.0.0:{port}
    balance leastconn
    option forwardfor
    server one {address}:{behind} check inter 2s rise 2 fall 3
"""


class Sizes:
    def __init__(self, is_quick):
        self.turns, self.seconds, self.changes = (1, 1, 8) if is_quick else (7, 3, 100)


@contextlib.contextmanager
def haproxy(host, name, text):
    """One of nobody's, in the foreground."""
    host.run(["sh", "-c", f"cat > /run/{name}.cfg"], stdin=text)
    process = host.spawn(["haproxy", "-f", f"/run/{name}.cfg"], log=f"{name}.log")
    try:
        yield process
    finally:
        process.stop()


def make(lab, name, **spec):
    lab.api.post("/lb/services?wait=applied", {"id": name, "spec": {
        "node": FRONT, "mode": "http", "backends": {"nodes": [FRONT]}, **spec}})


def answers(host, port):
    return host.run(["curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{port}/"],
                    check=False).returncode == 0


def requests(host, port, seconds):
    """A second, by wrk over kept connections."""
    shown = host.out(["wrk", "-t1", "-c32", f"-d{seconds}s", f"http://127.0.0.1:{port}/"])
    assert "Non-2xx" not in shown and "Socket errors" not in shown, shown
    return float(re.search(r"Requests/sec:\s*([\d.]+)", shown)[1])


def run_rate(report, lab, sizes):
    host = lab.host(FRONT)
    address = lab.overlay_address(FRONT)
    by_hand = BY_HAND.format(port=THEIRS, address=address, behind=BEHIND)
    with haproxy(host, "back", BACK_END), haproxy(host, "by-hand", by_hand):
        make(lab, "web", port=OURS, backendPort=BEHIND)
        for port in (BEHIND, OURS, THEIRS):
            wait_for(f"port {port}", lambda: answers(host, port), 15)
        found = {OURS: [], THEIRS: []}
        for turn in range(sizes.turns):
            for port in (OURS, THEIRS) if turn % 2 == 0 else (THEIRS, OURS):
                found[port].append(requests(host, port, sizes.seconds))
        ratios = [a / b * 100 for a, b in zip(found[OURS], found[THEIRS])]
        report.add(GROUP, "CNSMO: requests through one service", "1/s", found[OURS], None,
                   "front, back end and wrk share the machine")
        report.add(GROUP, "HAProxy by hand: the same", "1/s", found[THEIRS], None)
        report.add(GROUP, "CNSMO, of HAProxy by hand", "%", ratios, ">= 95",
                   "each turn next to its neighbour", value=median(ratios))
        report.add(GROUP, "haproxy: memory of master and workers", "MB",
                   [sum(rss_mb(pid) for pid in host.processes("haproxy")[:2])], None)
        lab.api.delete("/lb/services/web?wait=applied")


def change(lab, name, **spec):
    lab.api.patch(f"/lb/services/{name}?wait=applied", {"spec": spec})


def changes(lab):
    algorithms = itertools.cycle(["source", "roundrobin", "leastconn"])
    for i in itertools.count():
        yield "back ends", lambda: change(lab, "web", backends={"nodes": [FRONT, CLIENT]})
        yield "algorithm", lambda: change(lab, "web", algorithm=next(algorithms))
        yield "back ends", lambda: change(lab, "web", backends={"nodes": [FRONT]})
        yield "service", lambda: make(lab, f"other-{i}", port=OURS + 10, backendPort=SLOW)
        yield "service", lambda: lab.api.delete(f"/lb/services/other-{i}?wait=applied")


def run_changes(report, lab, sizes):
    servers = [Backend(lab.host(name), SLOW) for name in (FRONT, CLIENT)]
    make(lab, "web", port=OURS, backendPort=SLOW)
    load = Load(lab.host(CLIENT), lab.overlay_address(FRONT), OURS)
    took = {"back ends": [], "algorithm": [], "service": []}
    for what, do in itertools.islice(changes(lab), sizes.changes):
        began = time.monotonic()
        do()
        took[what].append((time.monotonic() - began) * 1000)
    result = load.stop()
    for server in servers:
        server.stop()
    report.add(GROUP, f"requests that failed over {sizes.changes} changes", "",
               [len(result["failed"])], "<= 0",
               f"of {result['done']:,} at 200/s, half of them over kept connections")
    for what, how in (("back ends", "by commands"), ("algorithm", "a reload"),
                      ("service", "a reload")):
        report.add(GROUP, f"call → in force: {what}, p50", "ms", took[what], None,
                   f"{how}; p99 {percentile(took[what], 0.99):.0f} ms", value=median(took[what]))


def run(report):
    sizes = Sizes(report.is_quick)
    lab = Lab(nodes=2, clouds=1, services=("vpn", "lb"), build=BUILD)
    lab.up()
    try:
        run_rate(report, lab, sizes)
        run_changes(report, lab, sizes)
    finally:
        lab.down()
