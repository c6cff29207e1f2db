"""get_rows.py - how many times a second the list of nodes can be read, and what one reading costs.

wrk runs on the same cores, over TLS connections that stay open, against a server with 4 agents.
"""
import re
import subprocess

from rig import bench_server, busy_seconds, cpu_seconds, median, rss_mb

NODES = 4
CONNECTIONS = 32
PATHS = {"API v1": "/api/v1/services/sdn/nodes", "API v2": "/api/v2/nodes"}


def milliseconds(text):
    amount, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(amount) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def load(server, path, seconds):
    """One run of wrk: requests/s, p99 in ms, the server's CPU per request in µs, its memory."""
    before, busy = cpu_seconds(server.pid), busy_seconds()
    done = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-H",
                           f"Authorization: Bearer {server.admin.token}", server.url + path],
                          capture_output=True, text=True, check=True).stdout
    used, busy = cpu_seconds(server.pid) - before, busy_seconds() - busy
    if "Non-2xx" in done or "Socket errors" in done:
        raise RuntimeError(done)
    count = int(re.search(r"(\d+) requests in", done).group(1))
    return {"rate": float(re.search(r"Requests/sec:\s+([\d.]+)", done).group(1)),
            "p99": milliseconds(re.search(r"99%\s+(\S+)", done).group(1)),
            "cpu": used / count * 1e6, "share": used / seconds, "others": (busy - used) / seconds, "rss": rss_mb(server.pid)}


def run(report):
    rounds, seconds = (2, 1) if report.is_quick else (5, 5)
    results = {name: [] for name in PATHS}
    with bench_server(NODES) as (server, _):
        for path in PATHS.values():
            load(server, path, 1)  # the first connections of a server are slower
        for _ in range(rounds):
            for name, path in PATHS.items():
                results[name].append(load(server, path, seconds))
    for name, runs in results.items():
        share, others = (median([run[key] for run in runs]) for key in ("share", "others"))
        report.add("get", f"{name}, {NODES} nodes, {CONNECTIONS} connections", "requests/s",
                   [run["rate"] for run in runs], ">= 17,000",
                   f"of the cores the server used {share:.2f}, wrk and all else {others:.2f}")
        report.add("get", f"{name}: p99", "ms", [run["p99"] for run in runs])
        report.add("get", f"{name}: the server's CPU per request", "µs",
                   [run["cpu"] for run in runs])
    report.add("get", "the server's memory after that", "MB",
               [run["rss"] for runs in results.values() for run in runs])
