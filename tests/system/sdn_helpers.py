"""sdn_helpers.py - what the tests of sdn share: switching it on and off, and what is there then."""
import contextlib
import signal

from helpers import gap, status_of
from lab.processes import wait_for

BRIDGE = "cnsmo-sdn"
IN_NAMESPACE = ["ip", "netns", "exec", "cnsmo"]


def switch(lab, name, *services):
    lab.api.patch(f"/nodes/{name}", {"spec": {"services": ["vpn", *services]}})


def has_address(lab, name, device):
    shown = lab.host(name).out(["ip", "-4", "addr", "show", "dev", device], check=False)
    return f" {lab.overlay_address(name)}/32 " in shown


def is_on(lab, name):
    services = status_of(lab, name)["services"]
    return (services["vpn"]["state"] == "running"
            and services.get("sdn", {}).get("state") == "running"
            and has_address(lab, name, BRIDGE))


def turn_on(lab, name, timeout=15):
    switch(lab, name, "sdn")
    wait_for(f"sdn on {name}", lambda: is_on(lab, name), timeout)


def turn_off(lab, name, timeout=15):
    host = lab.host(name)

    def off():
        return (has_address(lab, name, "cnsmo0") and not traces(host)
                and status_of(lab, name)["services"]["vpn"]["state"] == "running")
    switch(lab, name)
    wait_for(f"nothing of sdn on {name}", off, timeout)


def traces(host):
    """What sdn has on a machine, by name."""
    found = [name for name in ("cnsmo-up", BRIDGE)
             if host.run(["ip", "link", "show", name], check=False).returncode == 0]
    found += [line.split()[0] for line in host.out(["ip", "netns"], check=False).splitlines()]
    if host.ovs_runs():
        found += host.out(["ovs-vsctl", "--timeout=5", "list-br"], check=False).split()
    return found


def tunnel(host):
    """The tunnel's device in the namespace."""
    shown = host.out([*IN_NAMESPACE, "ip", "-br", "link"], check=False)
    names = [line.split("@")[0].split()[0] for line in shown.splitlines()]
    return next(name for name in names if name not in ("lo", "cnsmo-dn"))


@contextlib.contextmanager
def pausing_at_most(host, address, seconds):
    """Pings 100 times a second meanwhile; no pause may be longer."""
    log = host.log_path("pause.log")
    log.unlink(missing_ok=True)
    ping = host.spawn(["ping", "-n", "-D", "-i", "0.01", address], log="pause.log")
    wait_for("the first answer", lambda: "ttl=" in log.read_text(), 5)
    try:
        yield
        reached = log.read_text().count("ttl=")
        wait_for("pings after it", lambda: log.read_text().count("ttl=") >= reached + 50, 10)
    finally:
        ping.signal(signal.SIGINT)
        ping.wait(5)
    assert gap(log.read_text()) <= seconds
