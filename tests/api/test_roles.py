"""Permissions of every route, as its documentation says, for every role."""
import pytest

from helpers import problem

RANK = ["none", "metrics", "viewer", "operator", "admin"]
OPEN_ENDED = "/api/v2/watch"


def operations(client):
    for path, methods in client.get("/api/v2/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_route_keeps_its_role(server, by_role):
    """A body that isn't JSON gets past the permissions and no further."""
    tried = 0
    for method, path, operation in operations(by_role["none"]):
        least = operation["x-cnsmo-role"]
        if path in ("/metrics", "/api/v2/session") or path == OPEN_ENDED:
            continue  # by loopback; would log out; never ends
        for role in RANK:
            body = b"not json" if "requestBody" in operation else None
            reply = by_role[role].request(method, path.replace("{id}", "nothing-here"), data=body)
            where = f"{method} {path} as {role}: {reply.status_code} {reply.text[:200]}"
            if RANK.index(role) >= RANK.index(least):
                assert reply.status_code not in (401, 403, 500), where
            else:
                assert reply.status_code == (401 if role == "none" else 403), where
            tried += 1
    assert tried > 100


def test_watch_and_session_need_a_login(by_role):
    problem(by_role["none"].get(OPEN_ENDED), 401)
    problem(by_role["metrics"].get(OPEN_ENDED), 403)
    problem(by_role["none"].get("/api/v2/session"), 401)
    problem(by_role["none"].delete("/api/v2/session"), 401)
    assert by_role["metrics"].get("/api/v2/session").json()["role"] == "metrics"


def test_expected_roles(by_role):
    """The table itself: what each role may do at all."""
    roles = {(m, p): o["x-cnsmo-role"] for m, p, o in operations(by_role["none"])}
    assert roles["GET", "/api/v2/nodes"] == "viewer"
    assert roles["POST", "/api/v2/nodes"] == "operator"
    assert roles["GET", "/api/v2/tokens"] == "operator"
    assert roles["POST", "/api/v2/tokens"] == "admin"
    for method in ("GET", "POST"):
        assert roles[method, "/api/v2/users"] == "admin"
    assert roles["PATCH", "/api/v2/settings/{id}"] == "admin"
    assert roles["GET", "/api/v2/backup"] == "admin"
    assert roles["GET", "/metrics"] == "metrics"
    assert roles["GET", "/healthz"] == roles["GET", "/readyz"] == "none"
    assert ("POST", "/api/v2/events") not in roles


@pytest.mark.parametrize("role,status", [("viewer", 403), ("operator", 201), ("admin", 201)])
def test_writing_nodes(by_role, admin, role, status):
    reply = by_role[role].post("/api/v2/nodes", json={"id": f"By-{role}", "spec": {}})
    assert reply.status_code == status, reply.text
    if status == 201:
        event = admin.get("/api/v2/events?limit=1").json()["items"][0]["spec"]
        assert event["actor"] == ("admin" if role == "admin" else f"a-{role}")
        assert admin.delete(f"/api/v2/nodes/By-{role}").status_code == 204
