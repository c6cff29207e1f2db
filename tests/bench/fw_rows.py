"""fw_rows.py - 10,000 firewall rules: how fast they are in force, what one more costs, and what
traffic loses to them, next to the same rules written by hand, one after the other.

The rules stand on Agent.1 and hold for what arrives there; the traffic comes from Agent.2, on the
machines' own addresses. With and without take turns, and what is compared is the ratio of a round.
"""
import contextlib
import json
import time

from call import Call, create_all
from lab_rig import Lab, wait_for
from rig import BUILD, median, percentile, rss_mb
from tunnel_rows import noise, throughput

GROUP = "fw"
NODE, PEER, LABEL = "Agent.1", "Agent.2", "bench"
MERGE = "application/merge-patch+json"
DEFAULTS = "direction=in, protocol=tcp, port=80, a source each, drop"


class Sizes:
    def __init__(self, is_quick):
        self.many, self.changes, self.fills = (500, 5, 1) if is_quick else (10000, 50, 5)
        self.rounds, self.seconds = (1, 1) if is_quick else (7, 1)


@contextlib.contextmanager
def fw_lab():
    lab = Lab(nodes=2, clouds=2, services=("vpn", "fw"), build=BUILD)
    lab.up()
    sink = None
    try:
        sink = lab.host(NODE).spawn(["iperf3", "-s"])
        wait_for("iperf3", lambda: ":5201" in lab.host(NODE).out(["ss", "-ltn"]), 10)
        yield lab
    finally:
        if sink:
            sink.stop()
        lab.down()


def other(number):
    """An address of nobody."""
    return f"10.99.{number >> 8}.{number & 255}"


class Rules:
    def __init__(self, lab, sizes):
        self.lab, self.sizes, self.call = lab, sizes, None
        self.agent = lab.host(NODE)

    def prepare(self):
        """A connection of its own for what is timed next: the server ends those that are idle."""
        self.call = Call.to_lab(self.lab)

    def label(self, value):
        """All hold on the node, or none, by one call. Seconds until they are in force."""
        self.prepare()
        began, _ = self.call.send("PATCH", f"nodes/{NODE}?wait=applied&timeout=60",
                                  {"spec": {"labels": {LABEL: value}}}, MERGE)
        return time.monotonic() - began

    def create(self):
        bodies = [{"spec": {"selector": {LABEL: "yes"}, "direction": "in", "protocol": "tcp",
                            "port": "80", "source": other(number), "action": "drop"}}
                  for number in range(self.sizes.many)]
        self.prepare()
        began = time.monotonic()
        create_all(self.call, "fw/rules", bodies[:-1])
        self.call.send("POST", "fw/rules?wait=applied&timeout=60", bodies[-1])
        return time.monotonic() - began

    def change(self):
        """Milliseconds until one more rule is in force; it is taken away again."""
        began, answer = self.call.send("POST", "fw/rules?wait=applied", {"spec": {
            "node": NODE, "protocol": "tcp", "port": "80", "source": "10.98.0.1",
            "action": "drop"}})
        took = 1000 * (time.monotonic() - began)
        self.call.send("DELETE", f"fw/rules/{answer['id']}?wait=applied")
        return took

    def changes(self):
        self.prepare()
        return [self.change() for _ in range(self.sizes.changes)]


class Hand:
    """The same as plain rules, by nft alone."""

    def __init__(self, lab, many):
        self.host = lab.host(NODE)
        rules = "\n".join(f"tcp dport 80 ip saddr {other(number)} counter drop"
                          for number in range(many))
        self.text = ("table inet hand {\nchain in { type filter hook prerouting priority -150;\n"
                     f"{rules}\n}}\n}}\n")

    def load(self):
        began = time.monotonic()
        self.host.run(["nft", "-f", "-"], stdin=self.text)
        return time.monotonic() - began

    def unload(self):
        self.host.run(["nft", "delete", "table", "inet", "hand"])


def packet_rate(lab, seconds):
    """Small UDP packets a second that arrive."""
    done = lab.host(PEER).run(["iperf3", "-J", "-u", "-b", "0", "-l", "64", "-c",
                               lab.topology.address(NODE), "-t", seconds], timeout=60)
    total = json.loads(done.stdout)["end"]["sum"]
    return (total["packets"] - total["lost_packets"]) / total["seconds"]


def rates(lab, sizes):
    tcp = throughput(lab, PEER, lab.topology.address(NODE), sizes.seconds)[0]
    return tcp, packet_rate(lab, sizes.seconds)


def compare_traffic(report, lab, rules, hand, sizes):
    """What passes with none, with ours and with those by hand, in turns."""
    found = {"none": [], "ours": [], "by hand": []}
    for _ in range(sizes.rounds):
        found["none"].append(rates(lab, sizes))
        rules.label("yes")
        found["ours"].append(rates(lab, sizes))
        rules.label(None)
        hand.load()
        found["by hand"].append(rates(lab, sizes))
        hand.unload()
    for at, what, unit in ((0, "TCP", "Mbit/s"), (1, "packets of 64 bytes", "/s")):
        report.add(GROUP, f"no rules: {what}", unit, [one[at] for one in found["none"]], None,
                   f"changed by {noise([(one[at],) for one in found['none']]):.0f} % from round "
                   "to round")
        for name in ("ours", "by hand"):
            report.add(GROUP, f"{sizes.many:,} rules, {name}, of none: {what}", "%",
                       [100 * one[at] / other_[at] for one, other_ in zip(found[name],
                                                                          found["none"])],
                       ">= 95" if name == "ours" else None)


def add_changes(report, there, found):
    report.add(GROUP, f"{there:,} there: one more in force", "ms", found, None,
               f"p99 {percentile(found, 0.99):.1f} ms; {len(found)} calls")
    return median(found)


def run(report):
    sizes = Sizes(report.is_quick)
    with fw_lab() as lab:
        rules, hand = Rules(lab, sizes), Hand(lab, sizes.many)
        report.add(GROUP, "no rules: agent, memory", "MB", [rss_mb(rules.agent.agent_pid())])
        add_changes(report, 0, rules.changes())
        rules.label("yes")
        report.add(GROUP, f"{sizes.many:,} new ones: in force", "s", [rules.create()], None,
                   "one after the other, lists of 500, which are a transaction each; " + DEFAULTS)
        report.add(GROUP, f"{sizes.many:,} there: agent, memory", "MB",
                   [rss_mb(rules.agent.agent_pid())])
        add_changes(report, sizes.many, rules.changes())
        rules.label(None)
        fills, plain = [], []
        for _ in range(sizes.fills):
            fills.append(rules.label("yes"))
            rules.label(None)
            plain.append(hand.load())
            hand.unload()
        report.add(GROUP, f"{sizes.many:,} at once: in force", "s", fills, "<= 1",
                   "one call that gives the node the label that they are for")
        report.add(GROUP, f"{sizes.many:,} by hand: nft", "s", plain, None,
                   "one file of plain rules with counters")
        compare_traffic(report, lab, rules, hand, sizes)
