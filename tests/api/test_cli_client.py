"""cnsmo against servers that aren't cnsmod: what comes is never trusted, and never believed."""
import http.server
import json
import os
import ssl
import subprocess
import threading

import pytest

from helpers import BUILD, DEADLINE

OK, REFUSED, USAGE, FORBIDDEN, UNREACHABLE, WAITED = range(6)
CNSMO = str(BUILD / "src" / "cli" / "cnsmo")


def certificate(folder, name, alternative):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-addext",
                    f"subjectAltName={alternative}", "-keyout", str(folder / f"{name}.key"),
                    "-out", str(folder / f"{name}.pem")], check=True, capture_output=True)
    return folder / f"{name}.pem", folder / f"{name}.key"


class Fake:
    """An HTTPS server that answers everything with one (status, headers, body)."""

    def __init__(self, folder, name="fake", alternative="IP:127.0.0.1"):
        self.answer = (200, {"Content-Type": "application/json"}, b"{}")
        self.asked = []
        self.certificate, key = certificate(folder, name, alternative)
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def reply(self):
                fake.asked.append((self.command, self.path, dict(self.headers)))
                status, headers, body = fake.answer
                self.send_response(status)
                for header, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(header, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PATCH = do_DELETE = reply

            def log_message(self, *_):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None  # clients that go away are the point
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def json(self, value, status=200):
        self.answer = (status, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def run(self, *words, code, ca=None, host="127.0.0.1"):
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8",
                       "CNSMO_URL": f"https://{host}:{self.port}", "CNSMO_TOKEN": "t0ken",
                       "CNSMO_CA": str(ca or self.certificate)}
        done = subprocess.run([CNSMO, *words], env=environment, capture_output=True, text=True,
                              timeout=DEADLINE)
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture
def fake(tmp_path):
    fake = Fake(tmp_path)
    yield fake
    fake.close()


def test_the_token_goes_to_a_trusted_server_only(fake, tmp_path):
    fake.json({"items": []})
    other, _ = certificate(tmp_path, "other", "IP:127.0.0.1")
    fake.run("node", "list", ca=other, code=UNREACHABLE)
    assert fake.asked == []
    fake.run("node", "list", code=OK)
    assert fake.asked[0][2]["Authorization"] == "Bearer t0ken"


def test_a_certificate_for_another_name(fake):
    done = fake.run("node", "list", host="localhost", code=UNREACHABLE)
    assert "can't be trusted" in done.stderr and fake.asked == []


def test_redirects_are_not_followed(fake):
    fake.answer = (302, {"Location": f"https://127.0.0.1:{fake.port}/elsewhere"}, b"")
    assert "302" in fake.run("node", "list", code=REFUSED).stderr
    assert len(fake.asked) == 1


@pytest.mark.parametrize("status, code", [(401, FORBIDDEN), (403, FORBIDDEN), (404, REFUSED),
                                          (412, REFUSED), (500, REFUSED), (502, REFUSED)])
def test_errors_without_a_problem_document(fake, status, code):
    fake.answer = (status, {"Content-Type": "text/html"}, b"<html>oops</html>")
    said = fake.run("node", "list", code=code).stderr
    assert "oops" not in said and said.count("\n") == 1


def test_the_problems_sentence_is_made_harmless(fake):
    fake.json({"detail": "evil\u001b]0;title\u0007 \u009b31m", "pointer": "/a\u001b"}, status=400)
    said = fake.run("node", "list", code=REFUSED).stderr
    assert "evil?]0;title? ?31m (/a?)" in said


@pytest.mark.parametrize("body", [b"", b"<html>", b"[", b"[" * 100, b'"text"', b"null", b"{}",
                                  b'{"items":{}}', b'{"items":[],"cursor":"again"}',
                                  b'{"items":[1,2]', b'{"items":"\xff"}'])
def test_lists_that_cannot_be_understood(fake, body):
    fake.answer = (200, {"Content-Type": "application/json"}, body)
    fake.run("node", "list", code=REFUSED)
    assert len(fake.asked) == 1


@pytest.mark.parametrize("item", [1, None, "x", [], {}, {"id": 7}, {"id": "a", "spec": []},
                                  {"id": "a", "spec": None, "status": "x"},
                                  {"id": "a", "status": {"connected": "x", "services": [1],
                                                         "errors": 3, "inForce": {"pending": 1}}},
                                  {"id": "a", "status": {
                                      "connected": True, "errors": [None], "services": {"vpn": 1},
                                      "inForce": {"pending": [1, {"node": 2}]}}}])
def test_odd_objects_are_shown_not_believed(fake, item):
    fake.json({"items": [item]})
    for words in (("node", "list"), ("status",), ("export",), ("token", "list"), ("events",)):
        fake.run(*words, code=OK)


def test_an_answer_that_breaks_off(fake):
    fake.answer = (200, {"Content-Length": "1000"}, b'{"items":[')
    fake.run("node", "list", code=UNREACHABLE)


def test_a_backup_that_breaks_off_is_not_kept(fake, tmp_path):
    fake.answer = (200, {"Content-Length": "1000"}, b"SQLite format 3\0")
    fake.run("backup", str(tmp_path / "b.db"), code=UNREACHABLE)
    fake.answer = (200, {}, b"")
    assert "empty" in fake.run("backup", str(tmp_path / "b.db"), code=REFUSED).stderr
    fake.answer = (503, {}, b"SQLite format 3\0")
    fake.run("backup", str(tmp_path / "b.db"), code=REFUSED)
    assert list(tmp_path.glob("b.db*")) == []


def test_what_is_sent(fake):
    """Ids and values are escaped: they can't become another path or query."""
    fake.json({"items": []})
    fake.run("node", "list", "--label", "a=b&c#d", "--filter", "x=1 2&limit=9", code=OK)
    assert fake.asked[-1][1] == "/api/v2/nodes?limit=1000&label=a%3Db%26c%23d&spec.x=1%202%26limit%3D9"
    fake.json({"id": "x"})
    fake.run("node", "show", "../users/admin?x#y", code=OK)
    assert fake.asked[-1][1] == "/api/v2/nodes/..%2Fusers%2Fadmin%3Fx%23y"
    fake.run("node", "show", "..", code=OK)
    assert fake.asked[-1][1] == "/api/v2/nodes/.."
    asked = len(fake.asked)
    assert "empty" in fake.run("node", "delete", "", code=USAGE).stderr
    assert len(fake.asked) == asked


def test_waiting_in_vain_tells_everything(fake):
    fake.json({"id": "a", "applied": {"nodes": 3, "applied": 1, "pending": [
        {"node": "Agent.2", "reason": "is away"}], "errors": [
            {"node": "Agent.3", "key": "vpn/peer/a", "message": "no such device"}]}}, status=202)
    said = fake.run("node", "set", "a", "--hub", "--wait=1", code=WAITED).stderr
    assert "1 of 3" in said and "Agent.2: is away" in said
    assert "Agent.3: no such device (vpn/peer/a)" in said
    assert fake.asked[-1][1] == "/api/v2/nodes/a?wait=applied&timeout=1"


def test_what_needs_attention(fake):
    """Each trouble once: a node that is away isn't named again for all that waits for it."""
    def node(name, pending=(), **status):
        return {"id": name, "status": {"connected": True, "services": {"vpn": {"state": "running"}},
                                       "inForce": {"pending": [{"node": p, "reason": "late"}
                                                               for p in pending]}, **status}}

    fake.json({"info": {"version": "9.8.7"}, "items": [
        node("Agent.1", ["Agent.2", "Agent.4"]),
        node("Agent.2", ["Agent.4"], connected=False, lastSeen="2026-01-01T00:00:00Z"),
        node("Agent.3", ["Agent.2", "Agent.4"], services={
            "vpn": {"state": "degraded", "message": "no handshake"}, "dns": {"state": "failed"}}),
        node("Agent.4", errors=[{"key": "vpn/peer/Agent.1", "message": "no such device"}])]})
    overview = json.loads(fake.run("status", "-o", "json", code=OK).stdout)
    assert overview["server"]["version"] == "9.8.7"
    assert overview["nodes"] == {"total": 4, "connected": 3}
    assert [(a["node"], a["message"]) for a in overview["attention"]] == [
        ("Agent.2", "away since 2026-01-01T00:00:00Z"),
        ("Agent.3", "vpn is degraded: no handshake"), ("Agent.3", "dns is failed"),
        ("Agent.4", "vpn/peer/Agent.1: no such device"),
        ("Agent.4", "has not applied 3 nodes yet")]
    assert "\n  Agent.3: dns is failed\n" in fake.run("status", code=OK).stdout
