"""tunnel_rows.py - what the overlay carries, next to the bare tunnel program on the same path, and
next to nebula and tinc.

One TCP stream, and pings one after the other. The path: two machines in two clouds, through a
router that passes on; with OpenVPN's fabric, a machine and the hub. In each round all take turns,
and the order turns round from one to the next; what is compared is the ratio of a round's two.
"""
import contextlib
import json
import re
import tempfile

from lab_rig import LabError, bench_lab, wait_for
from others import BareOpenvpn, BareWireguard, Nebula, Tinc
from rig import busy_seconds, median

FABRIC_DEADLINE = 60


def throughput(lab, here, address, seconds):
    """Mbit/s that arrive, and how many of the cores were busy."""
    busy = busy_seconds()
    done = lab.host(here).run(["iperf3", "-J", "-c", address, "-t", seconds, "-O", "0"],
                              timeout=60)
    busy = (busy_seconds() - busy) / seconds
    return json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"] / 1e6, busy


def delay(lab, here, address, count):
    out = lab.host(here).out(["ping", "-n", "-i", "0.005", "-c", count, address])
    return median([float(one) for one in re.findall(r"time=([\d.]+) ms", out)])


def settled(lab):
    """No traffic between nodes goes through a hub any more."""
    def direct():
        nodes = lab.api.nodes().values()
        ways = [peer["path"] for node in nodes
                for peer in node["status"]["services"]["vpn"].get("peers", [])]
        return len(ways) >= len(nodes) and set(ways) == {"direct"}
    wait_for("direct ways", direct, 60)


@contextlib.contextmanager
def running(lab, programs, names):
    with tempfile.TemporaryDirectory(prefix="cnsmo-bench-") as folder:
        for program in programs.values():
            program.prepare(folder)
            for name in names:
                program.start(name)
    for program in programs.values():
        wait_for(f"{program.program} between {names}",
                 lambda one=program: lab.host(names[0]).ping(one.address(names[1])), 30)
    iperf = lab.host(names[1]).spawn(["iperf3", "-s"])
    try:
        yield
    finally:
        iperf.stop()
        for program in programs.values():
            for name in names:
                program.stop(name)


def measure(lab, names, addresses, quick):
    """name → [(Mbit/s, ms, busy cores)] of each round."""
    rounds, seconds, pings = (1, 1, 20) if quick else (7, 4, 200)
    results = {name: [] for name in addresses}
    for at in range(rounds):
        order = list(addresses.items())
        for name, address in order if at % 2 == 0 else reversed(order):
            rate, busy = throughput(lab, names[0], address, seconds)
            results[name].append((rate, delay(lab, names[0], address, pings), busy))
    return results


def add_rows(report, ours, bare, results):
    for name, found in results.items():
        busy = median([one[2] for one in found])
        report.add("tunnel", f"{name}: TCP", "Mbit/s", [one[0] for one in found], None,
                   f"{busy:.2f} cores busy; both ends share them")
        report.add("tunnel", f"{name}: ping", "ms", [one[1] for one in found])
    ratios = [100 * mine[0] / theirs[0] for mine, theirs in zip(results[ours], results[bare])]
    report.add("tunnel", f"{ours}, of {bare}: TCP", "%", ratios, ">= 97",
               f"the same program's rate changed by {noise(results[bare]):.0f} % from round to "
               "round")


def noise(found):
    rates = [one[0] for one in found]
    return 100 * (max(rates) - min(rates)) / median(rates)


def run_wireguard(report):
    with bench_lab(2, 2, join=True) as lab:
        settled(lab)
        compare_wireguard(report, lab)


def compare_wireguard(report, lab):
    names = ["Agent.1", "Agent.2"]
    programs = {"bare WireGuard": BareWireguard(lab, names), "nebula": Nebula(lab, names),
                "tinc": Tinc(lab, names)}
    with running(lab, programs, names):
        addresses = {"overlay on WireGuard": lab.overlay_address("Agent.2"),
                     **{name: one.address("Agent.2") for name, one in programs.items()}}
        results = measure(lab, names, addresses, report.is_quick)
    add_rows(report, "overlay on WireGuard", "bare WireGuard", results)


def convert(lab):
    """To OpenVPN, as far as this build knows it."""
    lab.api.patch("/settings/overlay", {"spec": {"fabric": "openvpn"}})

    def converted():
        states = {name: node["status"]["services"]["vpn"] for name, node in lab.api.nodes().items()}
        waiting = {name: state.get("message") or state.get("fabric")
                   for name, state in states.items()
                   if state.get("fabric") != "openvpn" or state["state"] != "running"}
        if waiting:
            raise LabError(str(waiting))
        return True
    wait_for("every node on OpenVPN", converted, FABRIC_DEADLINE)
    lab.wait_overlay()


def run_openvpn(report):
    with bench_lab(1, 1, join=True) as lab:
        convert(lab)
        compare_openvpn(report, lab)


def compare_openvpn(report, lab):
    names = ["Agent.1", "Server"]
    bare = BareOpenvpn(lab, names)
    programs = {"bare openvpn": bare}
    with running(lab, programs, names):
        addresses = {"overlay on OpenVPN": lab.overlay_address("Server"),
                     "bare openvpn": bare.address("Server")}
        results = measure(lab, names, addresses, report.is_quick)
    add_rows(report, "overlay on OpenVPN", "bare openvpn", results)
