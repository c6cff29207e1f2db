"""conftest.py - a real cnsmod for the API tests, on loopback, with a state directory of its own.

`server` is shared by the whole run; `fresh_server` is the test's own, to be stopped and killed.
The program is $CNSMO_BUILD/src/server/cnsmod (default: build). A sanitizer's report, or an end that
isn't clean, fails the run."""
import pytest

from helpers import ADMIN, Server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("cnsmod"))
    server.init()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def fresh_server(tmp_path):
    server = Server(tmp_path)
    server.init()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def admin(server):
    """A client that is logged in as the first admin."""
    return server.login(ADMIN)


@pytest.fixture(scope="session")
def anybody(server):
    """A client that isn't logged in."""
    return server.client()


@pytest.fixture(scope="session")
def by_role(server, admin):
    """A logged-in client for each role; metrics has an API token, nothing else can have that role."""
    clients = {"admin": admin, "none": server.client()}
    for role in ("viewer", "operator"):
        admin.create("users", {"role": role, "password": role + "-password"}, f"a-{role}")
        clients[role] = server.login(f"a-{role}", role + "-password")
    reply = admin.post("/api/v2/api-tokens", json={"spec": {"role": "metrics"}})
    assert reply.status_code == 201, reply.text
    clients["metrics"] = server.client(reply.json()["token"])
    return clients


@pytest.fixture
def node(admin):
    """A node object, without a machine behind it."""
    reply = admin.create("nodes", {"cloud": "cloud1", "labels": {"tier": "web"}}, "Node.1")
    yield reply.json()
    admin.delete("/api/v2/nodes/Node.1")
