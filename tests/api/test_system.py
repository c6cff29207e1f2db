"""Health, metrics, backup, documents, API v1, restarts."""
import re
import sqlite3
import subprocess

import pytest

from helpers import ADMIN, PASSWORD, Stream, problem


def test_health(server):
    assert server.client().get("/healthz").text == "ok\n"
    assert server.client().get("/readyz").text == "ready\n"
    assert server.client().head("/healthz").status_code == 200


def test_security_headers(admin, anybody):
    for reply in (admin.get("/api/v2/nodes"), anybody.get("/nothing"), anybody.get("/healthz")):
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in reply.headers
        assert "Strict-Transport-Security" not in reply.headers


def test_metrics(server, admin, node):
    text = server.client().get("/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values['cnsmo_node_connected{node="Node.1"}'] == "0"
    assert int(values["cnsmo_revision"]) > 0
    assert int(values['cnsmo_objects{kind="nodes"}']) >= 1
    for line in text.splitlines():
        assert re.match(r'^(# (HELP|TYPE) .*|[a-z_]+(\{[^}]*\})? -?[0-9.]+)$', line), line


def test_backup(admin, node, tmp_path):
    path = tmp_path / "backup.db"
    reply = admin.get("/api/v2/backup")
    assert reply.status_code == 200 and reply.headers["Content-Type"] == "application/vnd.sqlite3"
    path.write_bytes(reply.content)
    assert sqlite3.connect(path).execute("pragma integrity_check").fetchone() == ("ok",)
    assert not list(admin.server.state.glob("cnsmo-backup-*"))


def test_backup_can_be_restored(fresh_server, tmp_path):
    admin = fresh_server.login()
    admin.create("nodes", {"cloud": "kept"}, "Kept")
    (tmp_path / "backup.db").write_bytes(admin.get("/api/v2/backup").content)
    admin.delete("/api/v2/nodes/Kept")
    fresh_server.stop()
    subprocess.run(fresh_server.command("restore", str(tmp_path / "backup.db")), check=True)
    fresh_server.start()
    assert fresh_server.login().spec("nodes", "Kept")["cloud"] == "kept"


# --- documents --------------------------------------------------------------------------------------

def references(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_openapi_is_whole(anybody):
    document = anybody.get("/api/v2/openapi.json").json()
    assert document["openapi"].startswith("3.1.")
    names = [operation["operationId"] for methods in document["paths"].values()
             for operation in methods.values()]
    assert len(names) == len(set(names)) and "patchSdnFiltersId" in names
    schemas = document["components"]["schemas"]
    for reference in references(document):
        assert reference.rpartition("/")[2] in schemas, reference
    paths = document["paths"]
    for path in ("nodes", "tokens", "users", "settings", "events", "session", "api-tokens", "watch",
                 "backup", "openapi.json", "docs"):
        assert f"/api/v2/{path}" in paths, path
    for path in ("/healthz", "/readyz", "/metrics", "/api/v1/authenticate",
                 "/api/v1/services/sdn/nodes"):
        assert path in paths
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation["summary"] and operation["responses"], path
            assert "400" in operation["responses"]
            names = {p["name"] for p in operation["parameters"]}
            assert set(re.findall(r"\{(\w+)\}", path)) <= names, path
            for media in operation.get("requestBody", {}).get("content", {}).values():
                assert "example" in media and "schema" in media, path


@pytest.mark.parametrize("method, path, statuses", [
    ("put", "/services/sdn/blockbyport", {"200", "400", "404", "409", "413", "503", "507"}),
    ("delete", "/services/sdn/nodes/{id}/flows/{flow}", {"200", "404", "409", "507"}),
    ("get", "/services/sdn/nodes/{id}/monitoring/incoming", {"200", "404", "409"})])
def test_openapi_tells_what_v1_answers(anybody, method, path, statuses):
    paths = anybody.get("/api/v2/openapi.json").json()["paths"]
    assert statuses <= set(paths[f"/api/v1{path}"][method]["responses"])


def test_openapi_examples_are_taken(admin, anybody):
    """What the document shows as a body to create something is one that works."""
    tried = 0
    admin.create("nodes", {"services": ["vpn", "sdn"]}, "Agent.1")
    for path, methods in anybody.get("/api/v2/openapi.json").json()["paths"].items():
        post = methods.get("post")
        if not post or "requestBody" not in post or not post["tags"][0] in ("nodes", "tokens", "users", "sdn/filters", "sdn/flows"):
            continue
        example = post["requestBody"]["content"]["application/json"]["example"]
        reply = admin.post(f"{path}?dryRun=true", json=example)
        assert reply.status_code == 200, f"{path} {example} {reply.text}"
        tried += 1
    admin.delete("/api/v2/nodes/Agent.1")
    assert tried == 5


@pytest.mark.parametrize("path", ["/api/docs", "/api/v2/docs"])
def test_docs_page(anybody, path):
    reply = anybody.get(path)
    assert reply.headers["Content-Type"].startswith("text/html")
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "style-src 'self'" in policy
    assert "script" not in policy
    assert "<script" not in reply.text and " style=" not in reply.text
    assert "http:" not in reply.text and "https:" not in reply.text
    for word in ("/api/v2/nodes/{id}", "dryRun", "If-Match", "overlay"):
        assert word in reply.text
    assert anybody.get("/api/docs.css").headers["Content-Type"].startswith("text/css")


# --- API v1 ------------------------------------------------------------------------------------------

def v1_error(reply, status, message=None):
    body = reply.json()
    assert reply.status_code == body["code"] == status, reply.text
    assert body["message"] == body["errors"]
    if message:
        assert body["message"] == message


@pytest.fixture(scope="module")
def v1(server):
    reply = server.client().post("/api/v1/authenticate",
                                 json={"username": ADMIN, "password": PASSWORD})
    assert reply.status_code == 200 and list(reply.json()) == ["token"]
    return server.client(reply.json()["token"])


def test_v1_nodes(v1, admin):
    admin.create("nodes", {"cloud": "cloud1", "endpoint": "198.51.100.7:51820"}, "Agent.1")
    admin.create("nodes", {"services": []}, "Agent.2")
    address = admin.spec("nodes", "Agent.1")["address"]
    for path in ("/api/v1/services/sdn/nodes", "/api/v1/services/sdn/nodes/",
                 "/API/V1/Services/SDN/Nodes"):
        reply = v1.get(path)
        assert reply.status_code == 200
        nodes = {n["instanceId"]: n for n in reply.json()}
        assert nodes["Agent.1"] == {
            "instanceId": "Agent.1", "vpnAddress": address, "ipAddress": "198.51.100.7",
            "services": '["vpn"]', "cloud": "cloud1"}
        assert nodes["Agent.2"]["services"] == "[]" and nodes["Agent.2"]["ipAddress"] == ""
    admin.delete("/api/v2/nodes/Agent.1")
    admin.delete("/api/v2/nodes/Agent.2")
    left = {n["instanceId"] for n in v1.get("/api/v1/services/sdn/nodes").json()}
    assert not left & {"Agent.1", "Agent.2"}


def test_v1_login_case_and_errors(server):
    client = server.client(source="127.0.0.91")
    reply = client.post("/api/v1/Authenticate/", json={"username": ADMIN, "password": PASSWORD})
    assert reply.status_code == 200
    reply = client.post("/api/v1/authenticate", json={"username": ADMIN, "password": "no"})
    v1_error(reply, 401, "Username or password not valid!")
    for body, message in (
            ({}, '"username" is required'),
            ({"username": "a"}, '"password" is required'),
            ({"username": "", "password": "x"}, '"username" is not allowed to be empty'),
            ({"username": 1, "password": "x"}, '"username" must be a string'),
            ({"username": "a", "password": "x", "z": 1}, '"z" is not allowed')):
        v1_error(client.post("/api/v1/authenticate", json=body), 400, message)
    v1_error(client.post("/api/v1/authenticate", data="{", headers={
        "Content-Type": "application/json"}), 400)
    v1_error(client.post("/api/v1/authenticate", json={"username": "a" * 5000}), 413)


def test_v1_needs_a_bearer_token(server, v1):
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": v1.token}):
        for path in ("services/sdn/nodes", "nothing", "authenticate"):
            v1_error(server.client().get(f"/api/v1/{path}", headers=headers), 401, "Invalid Token")
    cookie = server.client()
    cookie.post("/api/v2/session", json={"username": ADMIN, "password": PASSWORD, "cookie": True})
    v1_error(cookie.get("/api/v1/services/sdn/nodes"), 401, "Invalid Token")


def test_v1_unknown_routes(v1):
    for path in ("", "nothing", "services/sdn/nodes/x", "services"):
        v1_error(v1.get(f"/api/v1/{path}"), 404)
    v1_error(v1.get("/api/v1"), 404)
    v1_error(v1.delete("/api/v1/services/sdn/nodes"), 404)
    v1_error(v1.post("/api/v1/nothing", json={"a": 1}), 404)


# --- restarts ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["stop", "kill"])
def test_restart_keeps_everything(fresh_server, how):
    admin = fresh_server.login()
    admin.create("users", {"role": "viewer", "password": "kept-password"}, "kept")
    viewer = fresh_server.login("kept", "kept-password")
    token = admin.post("/api/v2/api-tokens", json={"spec": {"role": "viewer"}}).json()["token"]
    gone = fresh_server.login()
    assert gone.delete("/api/v2/session").status_code == 204
    admin.create("nodes", {"cloud": "c"}, "Kept")
    before = admin.get("/api/v2/nodes/Kept").json()
    getattr(fresh_server, how)()
    fresh_server.start()
    assert admin.get("/api/v2/nodes/Kept").json() == before
    assert admin.get("/api/v2/session").json()["user"] == ADMIN
    assert viewer.get("/api/v2/session").json()["role"] == "viewer"
    assert fresh_server.client(token).get("/api/v2/nodes").status_code == 200
    problem(gone.get("/api/v2/session"), 401)
    event, _, _ = Stream(admin, "/api/v2/watch", headers={"Last-Event-ID": "2"}).next()
    assert event == "resync"


def test_stops_with_open_streams_and_connections(fresh_server):
    admin = fresh_server.login()
    admin.create("nodes", {}, "Away")
    stream = Stream(admin, "/api/v2/watch")
    assert stream.next()[0] == "ready"
    silent = fresh_server.connect()
    fresh_server.stop()
    assert stream.next() is None
    silent.close()


def test_other_origins(fresh_server):
    """CORS is off unless one origin is configured."""
    origin = "https://gui.example"
    client = fresh_server.client()
    assert client.options("/api/v2/nodes", headers={"Origin": origin}).status_code == 405
    fresh_server.stop()
    fresh_server.config.write_text(f"cors_origin = {origin}\n")
    fresh_server.start()
    client = fresh_server.client()
    reply = client.options("/api/v2/nodes", headers={"Origin": origin})
    assert reply.status_code == 204 and "PATCH" in reply.headers["Access-Control-Allow-Methods"]
    assert reply.headers["Access-Control-Allow-Origin"] == origin
    reply = client.get("/api/v2/nodes", headers={"Origin": origin})
    assert reply.headers["Access-Control-Allow-Origin"] == origin
    reply = client.get("/api/v2/nodes", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in reply.headers
