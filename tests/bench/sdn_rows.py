"""sdn_rows.py - how fast a filter is in force, next to OVN's ACLs; what 10,000 of them cost; and
what traffic loses to the bridge.

Both stand in one lab and take turns, and only the one whose turn it is has traffic.
"""
import contextlib
import time

from lab_rig import LabError, wait_for
from lab_rows import explain
from rig import busy_seconds, median, percentile
from sdn_rig import OvnAcls, Sdn, sdn_lab
from stages import STAGES, pushes, time_stages
from stream import time_blocks
from tunnel_rows import delay, noise, throughput

GROUP = "sdn"
BLOCKED = "call → first packet blocked"
OURS, THEIRS = "CNSMO", ("OVN, daemon", "OVN, ovn-nbctl")
TARGETS = {"p50": "<= 5", "p99": "<= 10"}
SHARES = {"p50": 0.5, "p99": 0.99}


class Sizes:
    def __init__(self, is_quick):
        self.many, self.calls, self.turns = (500, 20, 1) if is_quick else (10000, 200, 4)
        self.staged = 5 if is_quick else 50
        self.rounds, self.seconds, self.pings = (1, 1, 20) if is_quick else (9, 2, 200)
        self.fills = 1 if is_quick else 5


# --- calls ---------------------------------------------------------------------------------------

def call_turns(ways, sizes):
    """name → Calls of each of `ways`, name → (program, block), which take turns."""
    results = {name: Calls() for name in ways}
    for at in range(sizes.turns):
        order = list(ways.items())
        for name, (program, block) in order if at % 2 == 0 else reversed(order):
            results[name].turn(program, block, sizes.calls // sizes.turns)
    return results


class Calls:
    def __init__(self):
        self.blocked, self.answered, self.busy = [], [], []  # ms, ms, cores
        self.in_vain = 0

    def turn(self, program, block, times):
        program.prepare()
        busy, began = busy_seconds(), time.monotonic()
        found, in_vain = time_blocks(program.stream, block, program.unblock, times)
        self.busy.append((busy_seconds() - busy) / (time.monotonic() - began))
        if not found:
            raise LabError(f"{program.stream.name}: none of {times} calls blocked a packet")
        self.in_vain += in_vain
        self.blocked += [blocked for blocked, _ in found]
        self.answered += [answered for _, answered in found]

    def tail(self, share):
        return percentile(self.blocked, share)

    def add_rows(self, report, name, targets):
        for title, share in SHARES.items():
            report.add(GROUP, f"{name}: {BLOCKED}, {title} of {len(self.blocked)}", "ms",
                       self.blocked, targets.get(title),
                       f"answered, in force everywhere, after "
                       f"{percentile(self.answered, share):.1f} ms; {explain(self.busy)}",
                       value=self.tail(share))
        report.add(GROUP, f"{name}: calls that blocked nothing", "", [self.in_vain], "<= 0",
                   "answered, the flow is there, packets pass: OVS 3.1.0's netdev datapath may "
                   "change another megaflow than it should" if self.in_vain else "")


def compare_calls(report, there, found, targets):
    """Rows of each, and of CNSMO next to the faster of OVN's."""
    for name, calls in found.items():
        calls.add_rows(report, f"{there:,} there: {name}", targets if name == OURS else {})
    best = faster(found)
    for title, share in SHARES.items():
        ratio = found[OURS].tail(share) / found[best].tail(share)
        report.add(GROUP, f"{there:,} there: CNSMO / OVN, {title}", "times", [ratio], "<= 1",
                   f"next to {best}")


def faster(found):
    return min((name for name in found if name in THEIRS), key=lambda name: found[name].tail(0.5))


def add_stages(report, there, found):
    for at, stage in enumerate(STAGES):
        times = [one[at] for one in found]
        report.add(GROUP, f"{there:,} there: CNSMO: of it {stage}", "ms", times, None,
                   f"p99 {percentile(times, 0.99):.2f}; {len(found)} calls of their own")


def time_calls(report, sdn, acls, sizes):
    ways = {OURS: (sdn, sdn.block), "CNSMO, on the public side too": (sdn, sdn.block_everywhere),
            THEIRS[0]: (acls, acls.block), THEIRS[1]: (acls, acls.block_by_command)}
    without = call_turns(ways, sizes)
    compare_calls(report, 0, without, TARGETS)
    add_stages(report, 0, time_stages(sdn, sizes.staged))
    return without, ways


def time_calls_with_many(report, sdn, acls, sizes, without, ways):
    sdn.prepare()
    sdn.add_many()
    acls.add_many()
    add_memory(report, sdn, acls, sizes.many)
    found = call_turns({name: ways[name] for name in (OURS, faster(without))}, sizes)
    compare_calls(report, sizes.many, found, {})
    for title, share in SHARES.items():
        ratio = found[OURS].tail(share) / without[OURS].tail(share)
        report.add(GROUP, f"{sizes.many:,} there, of none: CNSMO, {title}", "times", [ratio],
                   "<= 1.5")
    add_stages(report, sizes.many, time_stages(sdn, sizes.staged))
    sdn.remove_many()
    acls.remove_many()


# --- many ----------------------------------------------------------------------------------------

def add_memory(report, sdn, acls, there):
    name = f"{there:,} there"
    ours, theirs = sdn.controller_mb(), acls.controller_mb()
    report.add(GROUP, f"{name}: agent, memory", "MB", [ours], "<= 16" if there else None)
    report.add(GROUP, f"{name}: CNSMO's ovs-vswitchd, memory", "MB", [sdn.switch_mb()])
    report.add(GROUP, f"{name}: ovn-controller, memory", "MB", [theirs])
    report.add(GROUP, f"{name}: OVN's ovs-vswitchd, memory", "MB", [acls.switch_mb()])
    report.add(GROUP, f"{name}: CNSMO / OVN, memory", "times", [ours / theirs], "<= 1")


def seconds_of(times):
    began, ended = times
    return ended - began


class Fill:
    """Many in force and away again, and what passes with them and without, in turns."""

    def __init__(self, lab, program, name, sizes):
        self.lab, self.program, self.name, self.sizes = lab, program, name, sizes
        self.seconds, self.ratios, self.rates = [], [], [self.rate()]

    def rate(self):
        return throughput(self.lab, self.program.agent.name, self.program.target,
                          self.sizes.seconds)[0]

    def round(self):
        self.program.prepare()
        times = self.program.add_many()
        self.seconds.append(seconds_of(times))
        full = self.rate()
        self.program.remove_many()
        self.rates.append(self.rate())
        self.ratios.append(100 * full / (sum(self.rates[-2:]) / 2))
        return times[0]


def time_fills(report, lab, sdn, acls, sizes, created):
    fills = [Fill(lab, sdn, "CNSMO", sizes), Fill(lab, acls, "OVN", sizes)]
    link, receipts = pushes(sdn.agent), []
    for _ in range(sizes.fills):
        for fill in fills:
            began = fill.round()
            if fill.program is sdn:
                receipts.append(link.first("", began) - began)
    link.close()
    ours, theirs = fills
    report.add(GROUP, f"{sizes.many:,} new ones: CNSMO: in force", "s", [created], None,
               "one after the other, lists of 500, which are a transaction each")
    report.add(GROUP, f"{sizes.many:,} new ones: CNSMO / OVN", "times",
               [created / median(theirs.seconds)], "<= 1")
    report.add(GROUP, f"{sizes.many:,} at once: CNSMO: in force", "s", ours.seconds, "<= 1",
               "one call that gives the node the label that they are for; of it "
               f"{median(receipts):.2f} s until the agent's first receipt")
    report.add(GROUP, f"{sizes.many:,} new ones: OVN: in force", "s", theirs.seconds, None,
               "one transaction of ovn-nbctl's daemon")
    report.add(GROUP, f"{sizes.many:,} at once: CNSMO / OVN", "times",
               [one / other for one, other in zip(ours.seconds, theirs.seconds)], "<= 1")
    for fill in fills:
        report.add(GROUP, f"{fill.name}: TCP with {sizes.many:,}, of none", "%", fill.ratios,
                   ">= 95" if fill is ours else None,
                   f"{median(fill.rates):.0f} Mbit/s with none, which changed by "
                   f"{noise([(rate,) for rate in fill.rates]):.0f} % from round to round")


# --- traffic -------------------------------------------------------------------------------------

def compare_traffic(report, lab, sizes):
    """Two nodes with sdn next to two without."""
    ways = {"on": ("Agent.1", "Agent.2"), "off": ("Agent.3", "Agent.4")}
    addresses = {here: lab.overlay_address(there) for here, there in ways.values()}
    results = {name: [] for name in ways}
    for at in range(sizes.rounds):
        order = list(ways.items())
        for name, (here, _) in order if at % 2 == 0 else reversed(order):
            rate, busy = throughput(lab, here, addresses[here], sizes.seconds)
            results[name].append((rate, delay(lab, here, addresses[here], sizes.pings), busy))
    for at, what, unit in ((0, "TCP", "Mbit/s"), (1, "ping", "ms")):
        for name, found in results.items():
            report.add(GROUP, f"overlay with sdn {name}: {what}", unit, [one[at] for one in found],
                       None, f"{median([one[2] for one in found]):.2f} cores busy" if at == 0
                       else "")
        report.add(GROUP, f"overlay with sdn on, of off: {what}", "%",
                   [100 * one[at] / other[at] for one, other in zip(*results.values())], None,
                   "Open vSwitch without its kernel module" if at == 0 else "")


# --- all -----------------------------------------------------------------------------------------

@contextlib.contextmanager
def sinks(lab, names):
    servers = [lab.host(name).spawn(["iperf3", "-s"]) for name in names]
    try:
        for name in names:
            wait_for(f"iperf3 on {name}", lambda one=lab.host(name): ":5201" in one.out(
                ["ss", "-ltn"]), 10)
        yield
    finally:
        for server in servers:
            server.stop()


def run(report):
    sizes = Sizes(report.is_quick)
    with sdn_lab() as lab, contextlib.closing(Sdn(lab, sizes.many)) as sdn, \
            contextlib.closing(OvnAcls(lab, sizes.many)) as acls:
        add_memory(report, sdn, acls, 0)
        without, ways = time_calls(report, sdn, acls, sizes)
        with sinks(lab, ["Agent.2", "Agent.4", "Chassis.2"]):
            compare_traffic(report, lab, sizes)
            created = seconds_of(sdn.create())
            sdn.remove_many()
            time_fills(report, lab, sdn, acls, sizes, created)
        time_calls_with_many(report, sdn, acls, sizes, without, ways)
