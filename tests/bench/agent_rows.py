"""agent_rows.py - an agent's memory, and what it and what it starts use while nothing happens."""
import pathlib
import time

from lab_rig import bench_lab
from rig import TICKS, cpu_seconds, rss_mb
from tunnel_rows import settled


def children_seconds(pid):
    """CPU time of its children that have ended: each look at the tunnel is one."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / TICKS


def run(report):
    nodes, seconds = (2, 3) if report.is_quick else (9, 60)
    with bench_lab(nodes, 2, join=True) as lab:
        settled(lab)
        agents = [host.agent_pid() for host in lab.hosts.values()]
        tunnels = [pid for host in lab.hosts.values() for pid in host.processes("wireguard-go")]
        server = lab.host("Server").processes("cnsmod")[0]
        time.sleep(0 if report.is_quick else 10)  # what follows the last change is over
        before = {pid: (cpu_seconds(pid), children_seconds(pid))
                  for pid in (*agents, *tunnels, server)}
        time.sleep(seconds)
        own = {pid: (cpu_seconds(pid) - before[pid][0]) / seconds * 100 for pid in before}
        started = {pid: (children_seconds(pid) - before[pid][1]) / seconds * 100 for pid in before}
        others = f"a mesh of {nodes + 1}, {seconds} s"
        report.add("agent", "memory", "MB", [rss_mb(pid) for pid in agents], "<= 10", others)
        report.add("agent", "CPU while nothing happens", "% of a core",
                   [own[pid] + started[pid] for pid in agents], "<= 0.1",
                   f"of it {sum(started[pid] for pid in agents) / len(agents):.3f} in programs "
                   f"that it runs; {others}")
        if tunnels:
            report.add("agent", "its wireguard-go: memory", "MB", [rss_mb(pid) for pid in tunnels])
            report.add("agent", "its wireguard-go: CPU while nothing happens", "% of a core",
                       [own[pid] for pid in tunnels], None, "keepalives of its peers")
        report.add("agent", "the server of them: memory", "MB", [rss_mb(server)])
        report.add("agent", "the server of them: CPU while nothing happens", "% of a core",
                   [own[server]])


