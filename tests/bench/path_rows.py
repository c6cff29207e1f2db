"""path_rows.py - how long a filter takes from the API call to the driver that puts it in force.

The agent is whole but for its drivers, which only say when they are called (path-agent.c). Calls
come one after the other on one connection; each is answered when the filter is in force.
"""
import json
import subprocess
import tempfile
import threading
import time

from call import Call, create_all
from rig import BUILD, bench_server, median, percentile

SIZES = (0, 10000)
QUICK_SIZES = (0, 200)
NODE = "Agent.1"


class PathAgent:
    """path-agent, whose lines are read by a thread."""

    def __init__(self, server):
        # As /run is: not on the disk that the server waits for.
        self.run = tempfile.TemporaryDirectory(prefix="cnsmo-bench-", dir="/dev/shm")
        command = [str(BUILD / "tests" / "bench" / "path-agent")]
        folders = [f"--state-dir={server.folder / 'agent'}", f"--log-dir={server.folder / 'log'}",
                   f"--run-dir={self.run.name}"]
        token = server.token(1, services=["vpn", "sdn"])
        subprocess.run([*command, "join", token, "--id", NODE, "--no-start", *folders],
                       check=True, timeout=30, capture_output=True)
        self.process = subprocess.Popen([*command, "run", *folders], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        self.applied = []  # seconds of CLOCK_MONOTONIC
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.applied.append(json.loads(line)["usec"] / 1e6)

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        self.run.cleanup()


def connect(server):
    return Call(server.connect(), server.admin.token)


def new_filter(number):
    address = ".".join(str(number >> shift & 255) for shift in (16, 8, 0))
    return {"spec": {"node": NODE, "direction": "in", "source": f"10.{address}"}}


def fill(server, first, last):
    create_all(connect(server), "sdn/filters", [new_filter(number) for number in range(first, last)])


def measure(report, server, agent, call, size, first, times):
    applied, answered = [], []
    for number in range(first, first + times):
        seen = len(agent.applied)
        began, _ = call.send("POST", "sdn/filters?wait=applied", new_filter(number))
        ended = time.monotonic()
        while len(agent.applied) == seen:  # its line comes by another way than the answer
            time.sleep(0.0005)
        applied.append((agent.applied[seen] - began) * 1000)
        answered.append((ended - began) * 1000)
    name = f"{size:,} filters there: API call → driver"
    tail = percentile(applied, 0.99)
    report.add("path", f"{name}, median of {times}", "ms", applied, "<= 2",
               f"answered when in force after {median(answered):.2f} ms")
    report.add("path", f"{name}, p99 of {times}", "ms", applied, "<= 5",
               f"answered after {percentile(answered, 0.99):.2f} ms", value=tail)


def run(report):
    times = 20 if report.is_quick else 200
    with bench_server(0) as (server, _):
        agent = PathAgent(server)
        try:
            call, made = connect(server), 0
            call.send("POST", "sdn/filters?wait=applied", new_filter(1 << 20))
            for size in QUICK_SIZES if report.is_quick else SIZES:
                fill(server, made, size)
                call.send("POST", "sdn/filters?wait=applied&timeout=60",
                          new_filter((1 << 20) + size + 1))
                measure(report, server, agent, call, size, max(made, size), times)
                made = max(made, size) + times
        finally:
            agent.close()
