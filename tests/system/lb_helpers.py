"""lb_helpers.py - what the tests of lb share: servers behind it, clients before it, its state."""
import pytest

from helpers import status_of
from http_load import Backend, Load, listens  # noqa: F401


FRONT, ONE, CLIENT = "Agent.1", "Agent.2", "Server"
BEHIND = 9090


def get(host, address, port, path="/", *options):
    """What comes back, or None."""
    done = host.run(["curl", "-sS", "--max-time", "5", "-f", *options,
                     f"http://{address}:{port}{path}"], check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def answers(host, address, port, number=12, *options):
    """Who answers so many requests, each by a connection of its own."""
    return {get(host, address, port, "/", *options) for _ in range(number)}


def make(lab, name, **spec):
    return lab.api.post("/lb/services?wait=applied", {"id": name, "spec": spec})


def change(lab, name, **spec):
    return lab.api.patch(f"/lb/services/{name}?wait=applied", {"spec": spec})


def remove(lab, name):
    lab.api.delete(f"/lb/services/{name}?wait=applied")


def remove_all(lab):
    for item in lab.api.get("/lb/services")["items"]:
        remove(lab, item["id"])


def status(lab, name):
    return lab.api.get(f"/lb/services/{name}")["status"]


def backends(lab, name, front=0):
    """node -> state, as the front sees them."""
    return {one["node"]: one["state"] for one in status(lab, name)["fronts"][front]["backends"]}


def master(host):
    """The process id of haproxy's master."""
    pids = host.out(["pgrep", "-o", "-x", "haproxy"], check=False).split()
    return int(pids[0]) if pids else None


def workers(host):
    return host.out(["pgrep", "-P", str(master(host)), "-x", "haproxy"], check=False).split()


def lb_state(lab, name):
    return status_of(lab, name)["services"].get("lb", {})


def front(lab):
    return lab.overlay_address(FRONT)


@pytest.fixture(scope="module")
def servers(module_lab):
    server = Backend(module_lab.host(ONE), BEHIND)
    yield server
    server.stop()


@pytest.fixture
def net(lab, servers):
    yield lab
    remove_all(lab)
