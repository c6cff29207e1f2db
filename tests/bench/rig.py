"""rig.py - what the measurements share: a server on loopback, a swarm, and reading /proc."""
import contextlib
import json
import os
import pathlib
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tests" / "api"))
from helpers import BUILD, Server  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


# --- /proc ---------------------------------------------------------------------------------------

def cpu_seconds(pid):
    """User and system time that a process has used, with all its threads."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            # Nanoseconds on a CPU: finer than the ticks of stat.
            total += int(pathlib.Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
        except OSError:
            continue
    return total / 1e9


def rss_mb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def busy_seconds():
    """CPU time that the whole machine has spent on something."""
    words = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    fields = [int(word) for word in words]
    return (sum(fields[:8]) - fields[3] - fields[4]) / TICKS


def median(values):
    return statistics.median(values)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


# --- the programs --------------------------------------------------------------------------------

class BenchServer(Server):
    """cnsmod with room for many agents."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder)
        self.config.write_text("agents_max = 12000\nconnections_max = 1000\nlog_level = warn\n")
        self.init()
        self.start()
        self.admin = self.login()

    @property
    def pid(self):
        return self.process.pid

    def token(self, uses, **spec):
        """The string for join."""
        return self.admin.create("tokens", {"uses": uses, **spec}).json()["token"]

    def idle_cpu(self, seconds):
        """Share of one core that it uses while nobody asks it anything."""
        before = cpu_seconds(self.pid)
        time.sleep(seconds)
        return (cpu_seconds(self.pid) - before) / seconds


class Swarm:
    """The program swarm (swarm.h), whose events are read by a thread."""

    def __init__(self):
        self.process = subprocess.Popen([str(BUILD / "tests" / "bench" / "swarm")],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.events = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.events.put(None)

    def say(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def expect(self, name, timeout=120):
        """The next event of that name; others before it are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                event = self.events.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"the swarm didn't say \"{name}\" in {timeout} s: "
                                   f"{self.state()}") from None
            if event is None or event["event"] == "failed":
                raise RuntimeError(f"the swarm failed: {event}")
            if event["event"] == name:
                return event

    def state(self):
        self.say(do="state")
        while True:
            event = self.events.get(timeout=30)
            if event is None or event["event"] == "state":
                return event

    def grow(self, server, size, hubs=2, timeout=300):
        """Enrols up to `size` members and connects them all; the first ones are hubs."""
        have = self.state()["enrolled"]
        for first, last, hub in ((1, hubs, True), (hubs + 1, size, False)):
            first = max(first, have + 1)
            if first <= last:
                token = server.token(last - first + 1, hub=hub)
                self.say(do="enrol", token=token, first=first, last=last, parallel=32)
                self.expect("enrolled", timeout)
        self.say(do="connect", parallel=20000)
        self.expect("connected", timeout)

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


@contextlib.contextmanager
def bench_server(agents):
    """A server on loopback and a swarm of so many agents."""
    with tempfile.TemporaryDirectory(prefix="cnsmo-bench-") as folder:
        server, swarm = BenchServer(pathlib.Path(folder) / "server"), Swarm()
        try:
            if agents:
                swarm.grow(server, agents)
            yield server, swarm
        finally:
            swarm.close()
            server.stop()
