"""helpers.py - what several system tests need."""
import base64
import contextlib
import json
import re
import signal

from lab.lab import TOP
from lab.node import AGENT_LOG
from lab.processes import wait_for


def edit_token(token, **changes):
    """A join token with some of its members changed: what a forger would hold."""
    kind, text = token.split(".", 1)
    members = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    members.update(changes)
    text = base64.urlsafe_b64encode(json.dumps(members).encode()).decode().rstrip("=")
    return f"{kind}.{text}"


def token_members(token):
    text = token.split(".", 1)[1]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def lost_packets(output):
    """Sequence numbers that a ping missed before its last answer."""
    seen = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl=", output)}
    assert seen, output
    return sorted(set(range(1, max(seen) + 1)) - seen)


def gap(log):
    """The longest time without an answer, of a ping with -D."""
    times = [float(found) for found in re.findall(r"^\[([\d.]+)\].*ttl=", log, re.M)]
    return max(after - before for before, after in zip(times, times[1:]))


@contextlib.contextmanager
def uninterrupted(host, address):
    """Pings 50 times a second meanwhile; not one answer may miss."""
    log = host.log_path("ping.log")
    log.unlink(missing_ok=True)
    ping = host.spawn(["ping", "-n", "-i", "0.02", address], log="ping.log")
    wait_for("the first answer", lambda: "ttl=" in log.read_text(), 5)
    try:
        yield
        reached = log.read_text().count("ttl=")
        wait_for("pings after it", lambda: log.read_text().count("ttl=") >= reached + 25, 5)
    finally:
        ping.signal(signal.SIGINT)
        ping.wait(5)
    lost = lost_packets(log.read_text())
    assert not lost, f"{host.name} lost {len(lost)} packets to {address}: {lost[:20]}"


@contextlib.contextmanager
def other_address(host, address, device="lo"):
    """An address of the machine that the overlay doesn't know."""
    host.run(["ip", "addr", "add", f"{address}/32", "dev", device])
    try:
        yield
    finally:
        host.run(["ip", "addr", "del", f"{address}/32", "dev", device])


def status_of(lab, name):
    return lab.api.get(f"/nodes/{name}")["status"]


def wait_settled(lab, timeout=60):
    """Every node says that it reaches every other directly."""
    def settled():
        ways = [peer["path"] for node in lab.api.nodes().values()
                for peer in node["status"]["services"]["vpn"].get("peers", [])]
        return ways and set(ways) == {"direct"}
    wait_for("a direct way between all nodes", settled, timeout)


def wait_connected(lab, name, connected=True, timeout=15):
    wait_for(f"{name} connected={connected}",
             lambda: status_of(lab, name)["connected"] == connected, timeout)


def wait_pings(host, address, timeout=5):
    """Polls with short pings, so that the deadline means what it says."""
    wait_for(f"ping from {host.name} to {address}", lambda: host.ping(address), timeout)


def start_agent_with_few_rights(host):
    """With those that the unit leaves it."""
    text = (TOP / "packaging/cnsmo-agent.service.in").read_text()
    line = next(one for one in text.splitlines() if one.startswith("CapabilityBoundingSet="))
    few = ",".join(["-all"] + [f"+{one[4:].lower()}" for one in line.split("=")[1].split()])
    host.spawn(["setpriv", "--bounding-set", few, "--no-new-privs", "cnsmo-agent", "run"],
               log=AGENT_LOG)


def peers(host):
    """Public keys of the WireGuard peers that the machine has."""
    return set(host.out(["wg", "show", "cnsmo0", "peers"], check=False).split())


def public_key(host):
    return host.out(["wg", "show", "cnsmo0", "public-key"]).strip()


def host_state(host):
    """What leave must restore: links, addresses, routes, rules, sysctls, nft, files under /etc."""
    commands = {"links": "ip -d link", "addresses": "ip addr", "routes": "ip route show table all",
                "routes6": "ip -6 route show table all", "rules": "ip rule", "rules6": "ip -6 rule",
                "sysctls": "sysctl net", "nft": "nft list ruleset",
                "etc": "find /etc -printf '%p %m %u %g %s %l\\n' ( -type f -exec sha256sum {} ; )",
                "processes": "ps -eo args --no-headers"}
    state = {}
    for name, command in commands.items():
        argv = ["sh", "-c", command.replace("(", "\\(").replace(")", "\\)").replace(" ;", " \\;")]
        lines = host.out(argv if name == "etc" else command.split(), check=False).splitlines()
        # The number of connections in the kernel's table is not a setting, and ps sees itself.
        state[name] = sorted(line for line in lines
                             if "conntrack_count" not in line and not line.startswith("ps -eo"))
    return state
