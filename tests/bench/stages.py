"""stages.py - where the time of a call goes, seen from outside: when the server's push is on the
node's NIC (tcpdump), when the flow is in the switch's table (OpenFlow's flow monitor), and when
the first packet is blocked (stream.py). Those who look cost time themselves, so these calls are
not the ones that count."""
import subprocess
import threading
import time

from lab_rig import wait_for
from stream import time_block

STAGES = ("API, store, plan, link", "agent, OpenFlow", "switch")
MONITOR = ["ovs-ofctl", "-O", "OpenFlow14", "monitor", "cnsmo-sdn", "watch:!initial"]
PUSHES = ["tcpdump", "-i", "eth0", "-n", "-l", "--immediate-mode", "-tt",
          "tcp src port 8444 and greater 200"]


class Watch:
    """The lines of a program in a machine, and when they came."""

    def __init__(self, machine, argv, time_of=lambda line: time.monotonic()):
        self.lines, self.time_of = [], time_of
        self.process = machine.spawn(argv, log="watch.log", stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.popen.stdout:
            self.lines.append((self._time(line), line.decode()))

    def _time(self, line):
        try:
            return self.time_of(line)
        except (ValueError, IndexError):  # it says something about itself
            return 0.0

    def find(self, word, after):
        """[the time of the first line with that word after a time], or None."""
        return next(([at] for at, line in list(self.lines) if at > after and word in line), None)

    def first(self, word, after):
        return wait_for(f"a line with \"{word}\"", lambda: self.find(word, after), 10)[0]

    def close(self):
        self.process.stop()


def pushes(machine):
    """What the server sends to the agent; tcpdump says when by the wall clock."""
    shift = time.time() - time.monotonic()
    watch = Watch(machine, PUSHES, lambda line: float(line.split()[0]) - shift)
    watch.first("listening", -1)
    return watch


def sees_a_block(flows, program):
    program.block()
    program.unblock()
    return flows.find("ADDED", 0)


def time_stages(program, times):
    """[ms of each of STAGES] for each of so many calls."""
    program.prepare()
    flows, link = Watch(program.agent, MONITOR), pushes(program.agent)
    wait_for("the flow monitor to look", lambda: sees_a_block(flows, program), 10)
    results = []
    program.stream.go()
    for _ in range(times):
        began, _, blocked = time_block(program.stream, program.block, program.unblock)
        pushed, added = link.first("", began), flows.first("ADDED", began)
        if blocked:
            results.append([1000 * (pushed - began), 1000 * (added - pushed),
                            1000 * (blocked - added)])
    program.stream.halt()
    for watch in (link, flows):
        watch.close()
    return results
