"""fleet_rows.py - what connected agents cost a server, and how fast a change reaches them all."""
import time

from rig import bench_server, cpu_seconds, median, percentile, rss_mb

SIZES = (100, 1000, 10000)
QUICK_SIZES = (20, 60)
MEMORY_TARGETS = {1000: "<= 50", 10000: "<= 350"}


def settle(server, limit=0.05, deadline=30):
    """Until the server rests: what the agents reported at first is written and told."""
    end = time.monotonic() + deadline
    while server.idle_cpu(0.5) > limit and time.monotonic() < end:
        pass


def write(server, kind, name, spec, timeout):
    """A change by the API; the answer comes with the last acknowledgement. Seconds."""
    began = time.monotonic()
    reply = server.admin.patch_spec(kind, name, spec,
                                    params={"wait": "applied", "timeout": str(timeout)})
    took = time.monotonic() - began
    if reply.status_code != 200:
        raise RuntimeError(reply.text)
    return took, reply.json()


def one_node(report, server, size, rounds, changes):
    """Raises a number that only one node is told of."""
    used, took = [], []
    for at in range(rounds):
        before = cpu_seconds(server.pid)
        for change in range(changes):
            generation = at * changes + change + 1
            took.append(write(server, "nodes", f"Agent.{size // 2}",
                              {"keyGeneration": generation}, 10)[0])
        used.append((cpu_seconds(server.pid) - before) / changes * 1000)
    report.add("fleet", f"{size:,} agents: CPU per change that concerns one node", "ms", used,
               "<= 1", f"HTTP request, disk and acknowledgement included; it took "
                       f"{median(took) * 1000:.1f} ms")
    return median(used)


def all_nodes(report, server, swarm, size, times):
    """Changes the overlay's MTU, which every node is told."""
    values, used = [], []
    for at in range(times):
        before = [cpu_seconds(pid) for pid in (server.pid, swarm.process.pid)]
        took, reply = write(server, "settings", "overlay", {"mtu": 1280 + at % 100}, 60)
        swarm.say(do="acked", revision=reply["revision"])
        swarm.expect("acked")
        values.append(took * 1000)
        used.append([cpu_seconds(pid) - past
                     for pid, past in zip((server.pid, swarm.process.pid), before)])
    cpu, swarm_cpu = (median(one) * 1000 for one in zip(*used))
    report.add("fleet", f"{size:,} agents: a write to all → last acknowledgement, p99 of "
                        f"{times}", "ms", values, "<= 250" if size == 1000 else None,
               f"median {median(values):.0f} ms; CPU of the server {cpu:.0f} ms, of the agents "
               f"on the same cores {swarm_cpu:.0f} ms", value=percentile(values, 0.99))


def restart(report, server, swarm, size):
    server.stop()
    swarm.expect("lost")
    began = time.monotonic()
    server.start()
    started = time.monotonic()
    back = swarm.expect("connected", 180)["usec"] / 1e6
    server.admin = server.login()
    report.add("fleet", f"{size:,} agents: all back after a restart of the server", "s",
               [back - began], "<= 30" if size == 10000 else None,
               f"the server answered after {started - began:.2f} s and used "
               f"{cpu_seconds(server.pid):.1f} s of CPU; the agents shared its cores and tried "
               f"again by their own back-off")


def measure(report, server, swarm, size):
    before = cpu_seconds(server.pid)
    began = time.monotonic()
    have = swarm.state()["enrolled"]
    swarm.grow(server, size)
    took, used = time.monotonic() - began, cpu_seconds(server.pid) - before
    settle(server)
    idle = server.idle_cpu(3 if report.is_quick else 20)
    report.add("fleet", f"{size:,} agents: the server's memory", "MB", [rss_mb(server.pid)],
               MEMORY_TARGETS.get(size),
               f"{size - have:,} more joined and connected in {took:.1f} s, "
               f"{used / (size - have) * 1000:.1f} ms of the server's CPU each")
    report.add("fleet", f"{size:,} agents: the server's CPU while nothing happens",
               "% of a core", [idle * 100], None, "pings are answered")
    used = one_node(report, server, size, *((3, 5) if report.is_quick else (7, 50)))
    all_nodes(report, server, swarm, size, 5 if report.is_quick else 20 if size > 1000 else 200)
    restart(report, server, swarm, size)
    return used


def run(report):
    sizes = QUICK_SIZES if report.is_quick else SIZES
    with bench_server(0) as (server, swarm):
        used = {size: measure(report, server, swarm, size) for size in sizes}
        state = swarm.state()
    report.add("fleet", f"CPU per one-node change, {sizes[-1]:,} agents to {sizes[0]:,}", "times",
               [used[sizes[-1]] / used[sizes[0]]], "<= 1.5",
               ", ".join(f"{size:,}: {value:.2f} ms" for size, value in used.items()))
    if state["resyncs"]:
        report.fail("fleet", f"{state['resyncs']} digests didn't match")
