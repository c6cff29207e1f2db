"""lab_rig.py - a lab for measuring in, and races of its machines to their first ping."""
import contextlib
import json
import pathlib
import subprocess
import sys
import time

from rig import BUILD, TOP, busy_seconds

sys.path.insert(0, str(TOP))
from lab.lab import Lab  # noqa: E402
from lab.processes import LabError, wait_for  # noqa: E402

FIRST_PING = str(pathlib.Path(BUILD).resolve() / "tests" / "bench" / "first-ping")
PACKETS = str(pathlib.Path(BUILD).resolve() / "tests" / "bench" / "packets")


@contextlib.contextmanager
def bench_lab(nodes, clouds, join):
    """A lab without NAT; with `join` all nodes are in the overlay, else only the Server, a hub."""
    lab = Lab(nodes=nodes, clouds=clouds, build=BUILD)
    lab.up(join=False)
    try:
        if join:
            lab.join_all()
        else:
            lab.join("Server")
        yield lab
    finally:
        lab.down()


class Race:
    """Starts a command on each of some machines in the same moment."""

    def __init__(self, lab, commands):
        """`commands`: name → (address that is to answer, argv)."""
        self.runners = {
            name: lab.host(name).spawn([FIRST_PING, address, *argv], log="first-ping.log",
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for name, (address, argv) in commands.items()}
        for runner in self.runners.values():
            runner.popen.stdout.readline()

    def run(self):
        """Seconds from the first start to the last first answer, and the share of all cores that
        was busy meanwhile."""
        busy, began = busy_seconds(), time.monotonic()
        for runner in self.runners.values():
            runner.popen.stdin.write(b"\n")
            runner.popen.stdin.flush()
        times = {name: runner.popen.stdout.readline() for name, runner in self.runners.items()}
        busy = (busy_seconds() - busy) / (time.monotonic() - began)
        for runner in self.runners.values():
            runner.wait(10)
        silent = [name for name, line in times.items() if not line]
        if silent:
            raise LabError(f"no ping in a minute: {', '.join(silent)}")
        found = [json.loads(line) for line in times.values()]
        took = max(one["answered"] for one in found) - min(one["began"] for one in found)
        return took / 1e6, busy


__all__ = ["LabError", "Race", "bench_lab", "wait_for"]
