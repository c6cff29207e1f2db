"""The stream of changes."""
import pytest

from helpers import Stream, problem, until


@pytest.fixture
def watch(admin):
    streams = []

    def begin(query="", client=admin, **headers):
        stream = Stream(client, f"/api/v2/watch{query}", headers=headers)
        streams.append(stream)
        return stream

    yield begin
    for stream in streams:
        stream.close()


def test_changes_arrive(admin, watch):
    stream = watch("?kinds=nodes")
    event, ready, data = stream.next()
    assert event == "ready" and data["revision"] == int(ready)
    made = admin.create("nodes", {}, "Watched").json()
    event, first, data = stream.next()
    assert event == "put" and int(first) == made["revision"] > int(ready)
    assert data == {"kind": "nodes", "object": made}
    admin.patch_spec("nodes", "Watched", {"cloud": "c"})
    event, second, data = stream.next()
    assert event == "put" and int(second) > int(first) and data["object"]["spec"]["cloud"] == "c"
    admin.delete("/api/v2/nodes/Watched")
    assert stream.next()[0::2] == ("delete", {"kind": "nodes", "id": "Watched"})


def test_kinds_are_filtered_by_role(admin, by_role, watch):
    stream = watch(client=by_role["viewer"])
    assert stream.next()[0] == "ready"
    admin.create("users", {"role": "viewer", "password": "not-for-you"}, "hidden")
    admin.delete("/api/v2/users/hidden")
    admin.create("nodes", {}, "Shown")
    admin.delete("/api/v2/nodes/Shown")
    seen = []
    while ("delete", "nodes") not in seen:
        event, _, data = stream.next()
        seen.append((event, data["kind"]))
    assert ("put", "nodes") in seen and ("put", "events") in seen
    assert "users" not in [kind for _, kind in seen]
    problem(by_role["viewer"].get("/api/v2/watch?kinds=users"), 403)


@pytest.mark.parametrize("query", ["kinds=nothing", "kinds=nodes,x", "kind=nodes", "kinds=,",
                                   "kinds=nodes&kinds=users"])
def test_bad_parameters(admin, query):
    problem(admin.get(f"/api/v2/watch?{query}"), 400)


def test_resume(admin, watch):
    stream = watch("?kinds=nodes")
    stream.next()
    admin.create("nodes", {}, "Resumed")
    last = stream.next()[1]
    stream.close()
    admin.create("nodes", {}, "Missed")
    admin.delete("/api/v2/nodes/Resumed")
    stream = watch("?kinds=nodes", **{"Last-Event-ID": last})
    seen = {}
    while seen.get("Resumed") != "delete" or "Missed" not in seen:
        event, _, data = stream.next()
        assert event in ("put", "delete")
        seen[data["object"]["id"] if event == "put" else data["id"]] = event
    assert seen["Missed"] == "put"
    admin.delete("/api/v2/nodes/Missed")


def test_resync_when_too_old(watch):
    for last in ("1", "999999999", "x"):
        event, name, data = watch(**{"Last-Event-ID": last}).next()
        assert event == "resync" and data["revision"] == int(name)


def test_stream_ends_with_its_session(server, admin, watch):
    client = server.login()
    stream = watch("?kinds=users", client=client)
    assert stream.next()[0] == "ready"
    assert client.delete("/api/v2/session").status_code == 204
    assert stream.next() is None


def test_stream_ends_with_its_user(server, admin, watch):
    admin.create("users", {"role": "viewer", "password": "watching-you"}, "watcher")
    stream = watch("?kinds=nodes", client=server.login("watcher", "watching-you"))
    assert stream.next()[0] == "ready"
    admin.patch_spec("users", "watcher", {"disabled": True})
    assert stream.next() is None
    admin.delete("/api/v2/users/watcher")


def test_many_streams_and_gone_clients(server, admin, watch):
    for _ in range(20):
        watch("?kinds=nodes").next()

    def open_streams():
        for line in server.client().get("/metrics").text.splitlines():
            if line.startswith("cnsmo_watch_streams "):
                return int(line.split()[1])

    assert open_streams() >= 20
    admin.create("nodes", {}, "Broadcast")
    admin.delete("/api/v2/nodes/Broadcast")
    for stream in [watch("?kinds=nodes") for _ in range(3)]:
        stream.close()
    # A closed client is noticed at the next send.
    def fewer():
        admin.patch_spec("settings", "overlay", {})
        admin.create("nodes", {}, "Broadcast")
        admin.delete("/api/v2/nodes/Broadcast")
        return open_streams() <= 20

    until("closed streams are gone", fewer)
