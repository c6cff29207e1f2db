"""Objects of every kind: create, read, replace, patch, delete; pages, filters, dry runs."""
import base64
import json

import pytest

from helpers import problem


def test_create_read_delete(admin):
    reply = admin.create("nodes", {"cloud": "a", "labels": {"k": "v"}}, "Agent.7")
    assert reply.headers["Location"] == "/api/v2/nodes/Agent.7"
    made = reply.json()
    assert made["id"] == "Agent.7" and made["spec"]["cloud"] == "a"
    assert made["spec"]["services"] == ["vpn"] and made["spec"]["hub"] is False
    assert made["spec"]["address"].startswith("10.77.")
    assert made["status"]["connected"] is False
    assert reply.headers["ETag"] == f'"{made["revision"]}"'
    got = admin.get("/api/v2/nodes/Agent.7")
    assert got.headers["ETag"] == reply.headers["ETag"]
    assert got.json()["spec"] == made["spec"]
    assert admin.delete("/api/v2/nodes/Agent.7").status_code == 204
    problem(admin.get("/api/v2/nodes/Agent.7"), 404)
    problem(admin.delete("/api/v2/nodes/Agent.7"), 404)


def test_duplicate_is_409(admin, node):
    problem(admin.post("/api/v2/nodes", json={"id": "Node.1", "spec": {}}), 409, "/id")


def test_address_taken_is_409(admin, node):
    reply = admin.post("/api/v2/nodes",
                       json={"id": "Other", "spec": {"address": node["spec"]["address"]}})
    assert "Node.1" in problem(reply, 409, "/spec/address")


def test_put_replaces_and_patch_merges(admin, node):
    reply = admin.patch_spec("nodes", "Node.1", {"labels": {"more": "x"}})
    assert reply.status_code == 200
    spec = reply.json()["spec"]
    assert spec["labels"] == {"tier": "web", "more": "x"} and spec["cloud"] == "cloud1"
    assert spec["address"] == node["spec"]["address"]
    spec = admin.patch_spec("nodes", "Node.1", {"labels": {"tier": None}}).json()["spec"]
    assert spec["labels"] == {"more": "x"}
    whole = admin.get("/api/v2/nodes/Node.1").json()
    whole["spec"]["labels"] = {}
    whole["spec"]["cloud"] = "b"
    reply = admin.put("/api/v2/nodes/Node.1", json=whole)
    assert reply.status_code == 200, reply.text
    assert reply.json()["spec"]["labels"] == {} and reply.json()["spec"]["cloud"] == "b"
    assert reply.json()["revision"] > whole["revision"]


def test_merge_patch_content_type(admin, node):
    reply = admin.patch("/api/v2/nodes/Node.1", data='{"spec":{"cloud":"z"}}',
                        headers={"Content-Type": "application/merge-patch+json; charset=utf-8"})
    assert reply.json()["spec"]["cloud"] == "z"


def test_if_match(admin, node):
    old = f'"{node["revision"]}"'
    assert admin.patch_spec("nodes", "Node.1", {"cloud": "b"},
                            headers={"If-Match": old}).status_code == 200
    problem(admin.patch_spec("nodes", "Node.1", {"cloud": "c"}, headers={"If-Match": old}), 412)
    problem(admin.put("/api/v2/nodes/Node.1", json={"spec": {}}, headers={"If-Match": old}), 412)
    problem(admin.delete("/api/v2/nodes/Node.1", headers={"If-Match": old}), 412)
    assert admin.spec("nodes", "Node.1")["cloud"] == "b"
    assert admin.patch_spec("nodes", "Node.1", {"cloud": "d"},
                            headers={"If-Match": "*"}).status_code == 200
    for bad in ("1", '""', '"x"', 'W/"1"', '"1", "2"', '"99999999999999999999"'):
        problem(admin.patch_spec("nodes", "Node.1", {"cloud": "e"}, headers={"If-Match": bad}), 400)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_change_of_missing_is_404(admin, method):
    problem(admin.request(method, "/api/v2/nodes/Missing", json={"spec": {}}), 404)


def test_dry_run_changes_nothing(admin, node):
    before = admin.get("/api/v2/nodes").text
    events = admin.get("/api/v2/events").text
    reply = admin.post("/api/v2/nodes?dryRun=true", json={"id": "Dry", "spec": {}})
    assert reply.status_code == 200 and isinstance(reply.json()["deltas"], list)
    reply = admin.delete("/api/v2/nodes/Node.1?dryRun=true")
    assert reply.status_code == 200
    for delta in reply.json()["deltas"]:
        assert delta["action"] in ("put", "delete") and delta["node"] and delta["key"]
    reply = admin.patch("/api/v2/nodes/Node.1?dryRun=true", json={"spec": {"hub": True}})
    assert reply.status_code == 200
    assert {d["node"] for d in reply.json()["deltas"]} <= {"Node.1"}
    assert "vpn/self/Node.1" in {d["key"] for d in reply.json()["deltas"]}
    problem(admin.post("/api/v2/nodes?dryRun=true", json={"id": "Node.1", "spec": {}}), 409)
    problem(admin.post("/api/v2/nodes?dryRun=true", json={"id": "x", "spec": {"hub": 1}}), 400,
            "/spec/hub")
    reply = admin.post("/api/v2/tokens?dryRun=true", json={"spec": {}})
    assert reply.status_code == 200 and "token" not in reply.json()
    reply = admin.post("/api/v2/users?dryRun=true",
                       json={"id": "dry", "spec": {"role": "viewer", "password": "12345678"}})
    assert reply.status_code == 200
    assert admin.get("/api/v2/nodes").text == before
    assert admin.get("/api/v2/events").text == events


def test_wait_names_the_node_that_is_away(admin, node):
    reply = admin.patch("/api/v2/nodes/Node.1?wait=applied&timeout=5", json={"spec": {"cloud": "q"}})
    assert reply.status_code == 202, reply.text
    report = reply.json()["applied"]
    assert [p["node"] for p in report["pending"]] == ["Node.1"]
    assert reply.json()["spec"]["cloud"] == "q"


def test_wait_without_concerned_nodes(admin):
    reply = admin.post("/api/v2/users?wait=applied",
                       json={"id": "waited", "spec": {"role": "viewer", "password": "12345678"}})
    assert reply.status_code == 201 and reply.json()["id"] == "waited"
    reply = admin.delete("/api/v2/users/waited?wait=applied")
    assert reply.status_code == 200 and reply.json()["applied"]["nodes"] == 0


@pytest.mark.parametrize("query", ["wait=x", "wait=", "timeout=0", "timeout=61", "timeout=x",
                                   "dryRun=1", "dryRun=true&dryRun=true", "other=1", "limit=1"])
def test_bad_write_parameters(admin, query):
    problem(admin.post(f"/api/v2/nodes?{query}", json={"id": "x", "spec": {}}), 400)
    problem(admin.get("/api/v2/nodes/x"), 404)


@pytest.mark.parametrize("body,pointer", [
    ({}, "/spec"),
    ({"id": "x"}, "/spec"),
    ({"id": "x", "spec": []}, "/spec"),
    ({"id": "x", "spec": None}, "/spec"),
    ({"id": 5, "spec": {}}, "/id"),
    ({"spec": {}}, "/id"),
    ({"id": "", "spec": {}}, "/id"),
    ({"id": "a/b", "spec": {}}, "/id"),
    ({"id": "-a", "spec": {}}, "/id"),
    ({"id": "a" * 64, "spec": {}}, "/id"),
    ({"id": "ä", "spec": {}}, "/id"),
    ({"id": "x", "spec": {}, "status": {}}, "/status"),
    ({"id": "x", "spec": {}, "extra": 1}, "/extra"),
    ({"id": "x", "spec": {"unknown": 1}}, "/spec/unknown"),
    ({"id": "x", "spec": {"hub": "yes"}}, "/spec/hub"),
    ({"id": "x", "spec": {"address": "10.77.0"}}, "/spec/address"),
    ({"id": "x", "spec": {"address": "10.78.0.1"}}, "/spec/address"),
    ({"id": "x", "spec": {"services": "vpn"}}, "/spec/services"),
    ({"id": "x", "spec": {"services": ["vpn", "vpn"]}}, None),
    ({"id": "x", "spec": {"services": ["nothing-like-it"]}}, "/spec/services/0"),
    ({"id": "x", "spec": {"labels": {"a": 1}}}, "/spec/labels/a"),
    ({"id": "x", "spec": {"cloud": "a" * 64}}, "/spec/cloud"),
    ({"id": "x", "spec": {"endpoint": "nowhere"}}, "/spec/endpoint"),
])
def test_bad_nodes(admin, body, pointer):
    problem(admin.post("/api/v2/nodes", json=body), 400, pointer)


def test_id_in_the_body_must_be_the_path(admin, node):
    problem(admin.put("/api/v2/nodes/Node.1", json={"id": "Other", "spec": {}}), 400, "/id")


def test_hub_is_an_admins_choice(admin, by_role, node):
    operator = by_role["operator"]
    problem(operator.patch_spec("nodes", "Node.1", {"hub": True}), 403, "/spec/hub")
    assert admin.patch_spec("nodes", "Node.1", {"hub": True}).status_code == 200
    assert operator.patch_spec("nodes", "Node.1", {"cloud": "c"}).json()["spec"]["hub"] is True


# --- lists ----------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def many(admin):
    for i in range(7):
        admin.create("nodes", {"cloud": f"c{i % 2}", "labels": {"n": str(i), "odd": str(i % 2)},
                               "services": ["vpn"] if i % 2 else []}, f"Many.{i}")
    yield [f"Many.{i}" for i in range(7)]
    for i in range(7):
        admin.delete(f"/api/v2/nodes/Many.{i}")


def ids(reply):
    assert reply.status_code == 200, reply.text
    return [item["id"] for item in reply.json()["items"]]


def test_pages(admin, many):
    seen, query, pages = [], "limit=3", 0
    while query:
        reply = admin.get(f"/api/v2/nodes?{query}")
        page = ids(reply)
        assert 1 <= len(page) <= 3
        seen += page
        pages += 1
        cursor = reply.json().get("cursor")
        query = f"limit=3&cursor={cursor}" if cursor else None
    assert [i for i in seen if i.startswith("Many.")] == many
    assert len(seen) == len(set(seen)) and pages >= 3


def test_a_page_goes_on_when_its_last_was_deleted(admin, many):
    admin.create("nodes", {}, "Many.2a")
    reply = admin.get("/api/v2/nodes?limit=4&label=gone%3Dno")
    assert ids(reply) == []
    cursor = base64.urlsafe_b64encode(b"Many.2a").decode().rstrip("=")
    admin.delete("/api/v2/nodes/Many.2a")
    assert ids(admin.get(f"/api/v2/nodes?limit=2&cursor={cursor}")) == ["Many.3", "Many.4"]


def test_filters(admin, many):
    assert ids(admin.get("/api/v2/nodes?spec.cloud=c1")) == ["Many.1", "Many.3", "Many.5"]
    assert ids(admin.get("/api/v2/nodes?label=n%3D4")) == ["Many.4"]
    assert ids(admin.get("/api/v2/nodes?label=odd%3D1&label=n%3D3&spec.cloud=c1")) == ["Many.3"]
    assert ids(admin.get("/api/v2/nodes?spec.labels.n=2")) == ["Many.2"]
    assert not set(ids(admin.get("/api/v2/nodes?spec.hub=true"))) & set(many)
    running = set(ids(admin.get("/api/v2/nodes?spec.services=vpn")))
    assert running & set(many) == {"Many.1", "Many.3", "Many.5"}


@pytest.mark.parametrize("query", [
    "limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "limit=1&limit=2", "cursor=%25",
    "cursor=" + "a" * 200, "what=1", "label=x", "labels=x%3D1", "spec.nothing=1", "spec.=1",
    "spec.cloud.deeper=1", "a=%zz", "=1", "limit=1%00", "&".join(f"spec.cloud={i}" for i in range(80)),
])
def test_bad_list_parameters(admin, query):
    problem(admin.get(f"/api/v2/nodes?{query}"), 400)


def test_write_only_fields_are_no_filter(admin):
    problem(admin.get("/api/v2/users?spec.password=x"), 400)


# --- tokens, settings, events ----------------------------------------------------------------------

def decode(token):
    prefix, _, rest = token.partition(".")
    assert prefix == "cnsmo1"
    return json.loads(base64.urlsafe_b64decode(rest + "=" * (-len(rest) % 4)))


def test_join_token(server, admin):
    reply = admin.create("tokens", {"uses": 3, "ids": ["Agent.*"]})
    body = reply.json()
    parts = decode(body["token"])
    assert parts["i"] == body["id"]
    assert parts["s"] == [f"127.0.0.1:{server.link_port}"]
    assert len(parts["f"]) == 64 and len(parts["k"]) >= 43
    assert body["spec"]["uses"] == 3 and body["spec"]["expires"].endswith("Z")
    assert body["status"] == {"used": 0, "state": "valid"}
    again = admin.get(f"/api/v2/tokens/{body['id']}")
    assert "token" not in again.json() and parts["k"] not in again.text
    assert parts["k"] not in admin.get("/api/v2/tokens").text
    data = b"".join(p.read_bytes() for p in server.state.glob("cnsmod.db*"))
    assert parts["k"].encode() not in data
    assert admin.delete(f"/api/v2/tokens/{body['id']}").status_code == 204


@pytest.mark.parametrize("body,pointer", [
    ({"id": "mine", "spec": {}}, "/id"),
    ({"spec": {"uses": 0}}, "/spec/uses"),
    ({"spec": {"uses": 1.5}}, "/spec/uses"),
    ({"spec": {"expires": "tomorrow"}}, "/spec/expires"),
    ({"spec": {"ids": [""]}}, "/spec/ids/0"),
    ({"spec": {"secret": "x"}}, "/spec/secret"),
])
def test_bad_join_tokens(admin, body, pointer):
    problem(admin.post("/api/v2/tokens", json=body), 400, pointer)


def test_settings(admin):
    items = admin.get("/api/v2/settings").json()["items"]
    assert "overlay" in [item["id"] for item in items]
    before = admin.spec("settings", "overlay")
    assert before["range"] == "10.77.0.0/16" and before["port"] == 51820
    assert admin.patch_spec("settings", "overlay", {"mtu": 1300}).json()["spec"]["mtu"] == 1300
    problem(admin.patch_spec("settings", "overlay", {"mtu": 9001}), 400, "/spec/mtu")
    problem(admin.patch_spec("settings", "nothing", {}), 404)
    problem(admin.delete("/api/v2/settings/overlay"), 405)
    problem(admin.post("/api/v2/settings", json={"id": "x", "spec": {}}), 405)
    assert admin.put("/api/v2/settings/overlay", json={"spec": before}).status_code == 200


def test_events_are_newest_first_and_read_only(admin):
    admin.create("nodes", {}, "Eventful")
    admin.delete("/api/v2/nodes/Eventful")
    reply = admin.get("/api/v2/events?limit=2")
    first, second = reply.json()["items"]
    assert first["spec"]["reason"] == "deleted" and second["spec"]["reason"] == "created"
    assert first["spec"]["subject"] == second["spec"]["subject"] == "nodes/Eventful"
    assert first["spec"]["actor"] == "admin" and first["spec"]["source"] == "127.0.0.1"
    older = admin.get(f"/api/v2/events?limit=2&cursor={reply.json()['cursor']}").json()["items"]
    assert older and older[0]["id"] < second["id"]
    assert ids(admin.get("/api/v2/events?spec.subject=nodes/Eventful&limit=1")) == [first["id"]]
    assert admin.get(f"/api/v2/events/{first['id']}").json()["spec"] == first["spec"]
    reply = admin.post("/api/v2/events", json={"spec": {}})
    problem(reply, 405)
    assert reply.headers["Allow"] == "GET"
    problem(admin.delete(f"/api/v2/events/{first['id']}"), 405)
