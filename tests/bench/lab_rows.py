"""lab_rows.py - how long machines take to their first ping through the overlay: to the Server, a
hub that runs. Some at once: the time of the last one."""
import concurrent.futures
import tempfile

from lab_rig import Race, bench_lab
from others import Nebula, Tinc
from rig import median

JOIN_TARGETS = {1: "<= 0.5", 30: "<= 3"}
START_TARGETS = {1: None, 30: "<= 1"}


def agents(lab, count):
    return [f"Agent.{number}" for number in range(1, count + 1)]


def each(names, action):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(action, names))


def explain(busy):
    return f"the cores were {median(busy) * 50:.0f} % busy" if busy else ""


# --- join ----------------------------------------------------------------------------------------

def join_once(lab, names):
    token = lab.api.make_token(uses=len(names), services=["vpn"])
    target = lab.overlay_address("Server")
    race = Race(lab, {name: (target, ["cnsmo-agent", "join", token, "--id", name])
                      for name in names})
    result = race.run()
    lab.wait_overlay()  # the joins themselves are over, and the machines quiet
    each(names, lambda name: lab.host(name).leave())
    return result


def run_join(report):
    counts, rounds = ((1, 3), 1) if report.is_quick else ((1, 10, 30), 5)
    results = {count: [] for count in counts}
    with bench_lab(max(counts), 2, join=False) as lab:
        for _ in range(rounds):
            for count in counts:
                results[count].append(join_once(lab, agents(lab, count)))
    for count, found in results.items():
        report.add("join", f"{count} at once: join → first ping", "s",
                   [took for took, _ in found], JOIN_TARGETS.get(count),
                   explain([busy for _, busy in found]))


# --- start ---------------------------------------------------------------------------------------

class Ours:
    """The agents of a lab that have joined, as others.py has its programs."""

    def __init__(self, lab):
        self.lab, self.target = lab, lab.overlay_address("Server")

    def command(self, name):
        return ["cnsmo-agent", "run"]

    def renew(self):
        """The Server's goes on; it knows all nodes."""

    def stop(self, name):
        """As after a boot: no agent, no tunnel."""
        host = self.lab.host(name)
        host.kill_processes("cnsmo-agent")
        host.run(["ip", "link", "del", "cnsmo0"], check=False)
        host.kill_processes("wireguard-go")


def start_once(lab, program, names):
    program.renew()
    race = Race(lab, {name: (program.target, program.command(name)) for name in names})
    try:
        return race.run()
    finally:
        each(names, program.stop)


def programs_of(lab, names):
    with tempfile.TemporaryDirectory(prefix="cnsmo-bench-") as folder:
        others = {"nebula": Nebula(lab, ["Server", *names]), "tinc": Tinc(lab, ["Server", *names])}
        for program in others.values():
            program.prepare(folder)
            program.start("Server")
            program.target = program.address("Server")
    each(names, Ours(lab).stop)
    return {"CNSMO": Ours(lab), **others}


def run_start(report):
    counts, rounds = ((1, 3), 1) if report.is_quick else ((1, 30), 5)
    names = [f"Agent.{number}" for number in range(1, max(counts) + 1)]
    with bench_lab(max(counts), 2, join=True) as lab:
        programs = programs_of(lab, names)
        results = {(count, name): [] for count in counts for name in programs}
        for _ in range(rounds):
            for count in counts:
                for name, program in programs.items():
                    results[count, name].append(start_once(lab, program, names[:count]))
    for (count, name), found in results.items():
        target = START_TARGETS.get(count) if name == "CNSMO" else None
        report.add("start", f"{count} enrolled start → first ping: {name}", "s",
                   [took for took, _ in found], target, explain([busy for _, busy in found]))
