"""What strangers and broken clients send. Nothing of it may change anything, hang or crash."""
import select
import socket
import time

import pytest

from helpers import problem, read_all, status_of

JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def nothing_changes(server, admin):
    before = admin.get("/api/v2/nodes").text
    yield
    assert admin.get("/api/v2/nodes").text == before
    assert server.process.poll() is None


def post(admin, body, headers=JSON, path="/api/v2/nodes"):
    return admin.post(path, data=body, headers=headers)


@pytest.mark.parametrize("body", [
    b"", b" ", b"{", b"[", b'{"id":}', b"nonsense", b"{'id':'x'}", b'{"id":"x","spec":{}} x',
    b'{"id":"x","spec":{}}{}', b'{"id":"x","id":"y","spec":{}}',
    b'{"id":"x","spec":{"hub":true,"hub":false}}', b'{"id":"x\\u0000y","spec":{}}',
    b'{"id":"x\x00y","spec":{}}', b'{"spec":{"cloud":"\\u0000"}}', b'\xff\xfe{"id":"x"}',
    b'{"id":"\xff","spec":{}}', b'{"id":"\xc0\xaf","spec":{}}', b'{"id":"\\ud800","spec":{}}',
    b'\xef\xbb\xbf{"id":"x","spec":{}}', b'{"id":"x","spec":{"cloud":1e999}}',
    b'{"id":"x","spec":{"n":99999999999999999999}}', b"\x00", b"\x1f\x8b\x08\x00",
    b"[" * 33 + b"]" * 33, b'{"a":' * 5000 + b"1" + b"}" * 5000, b"[" * 100000,
], ids=range(26))
def test_malformed_json(admin, body):
    problem(post(admin, body), 400)


@pytest.mark.parametrize("body", [b"null", b"true", b"1", b'"text"', b"[]", b'[{"id":"x"}]'])
def test_body_must_be_an_object(admin, body):
    problem(post(admin, body), 400)


@pytest.mark.parametrize("content_type", [
    None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
    "application/jsonx", "application/xml", "json"])
def test_content_type(admin, content_type):
    headers = {} if content_type is None else {"Content-Type": content_type}
    problem(post(admin, b'{"id":"x","spec":{}}', headers), 415)


def test_body_too_large(admin):
    big = b'{"id":"x","spec":{"cloud":"' + b"a" * 300000 + b'"}}'
    problem(post(admin, big), 413)
    problem(post(admin, b"{" + b" " * 5000 + b"}", path="/api/v2/session"), 413)


def test_body_too_large_in_chunks(admin):
    def chunks():
        for _ in range(40):
            yield b" " * 10000

    problem(admin.post("/api/v2/nodes", data=chunks(), headers=JSON), 413)


def test_refused_requests_keep_their_connection(server, admin):
    """Who is refused for another reason than framing can go on with the same connection."""
    request = ("POST /api/v2/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345"
               "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = server.raw(request.encode())
    assert status_of(answer) == 404 and b"HTTP/1.1 200 OK" in answer and b"ok\n" in answer


def test_body_where_none_is_taken(admin, node):
    problem(admin.delete("/api/v2/nodes/Node.1", data="{}"), 413)
    problem(admin.request("GET", "/api/v2/nodes", data="x"), 413)


@pytest.mark.parametrize("field,value", [
    ("cloud", "a" * 200000), ("endpoint", "1" * 1000), ("labels", {"a": "b" * 64}),
    ("labels", {f"l{i}": "x" for i in range(65)}), ("services", [f"s{i}" for i in range(33)]),
    ("address", 1), ("address", None), ("hub", None), ("hub", 0), ("services", None),
    ("services", {}), ("labels", []), ("labels", None), ("cloud", ["a"]), ("cloud", {"a": 1})])
def test_overlong_and_wrong_types(admin, field, value):
    reply = admin.post("/api/v2/nodes", json={"id": "x", "spec": {field: value}})
    assert f'"{field}"' in problem(reply, 400) or reply.json()["pointer"].startswith(
        f"/spec/{field}/")
    assert reply.json()["pointer"].startswith(f"/spec/{field}")


@pytest.mark.parametrize("path", [
    "/api/v2/nodes/%00", "/api/v2/nodes/%ff", "/api/v2/nodes/a%2fb", "/api/v2/nodes/%2e%2e",
    "/api/v2/nodes/%zz", "/api/v2/nodes/%", "/%2e%2e/%2e%2e/etc/passwd", "/api/v2/nodes?a=%00"])
def test_bad_paths(server, admin, path):
    answer = server.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin.token}\r\n"
                        "Connection: close\r\n\r\n".encode())
    assert status_of(answer) == 400, answer


@pytest.mark.parametrize("path,status", [
    ("/", 404), ("/api", 404), ("/api/v2", 404), ("/api/v2/", 404), ("/api/v2/nothing", 404),
    ("/api/v2/nodes/", 404), ("/api/v2/nodes/x/y", 404), ("/api/v3/nodes", 404),
    ("/API/V2/NODES", 404), ("//api/v2/nodes", 404), ("/api/v2/nodes/" + "x" * 2000, 404)])
def test_unknown_paths(admin, path, status):
    problem(admin.get(path), status)


@pytest.mark.parametrize("path", ["/healthz", "/api/v2/session", "/api/v2/api-tokens",
                                  "/api/v2/openapi.json", "/api/v2/nodes", "/api/v2/watch"])
def test_unknown_parameters(admin, path):
    assert '"surplus"' in problem(admin.get(f"{path}?surplus=1"), 400)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW"])
def test_unknown_methods(server, method):
    answer = server.raw(f"{method} /api/v2/nodes HTTP/1.1\r\nHost: x\r\n"
                        "Connection: close\r\n\r\n".encode())
    assert status_of(answer) in (400, 405), answer


@pytest.mark.parametrize("request_", [
    b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\n{}",
    b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}",
    b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
    b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nContent-Length: 0x2\r\n\r\n{}",
    b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n{}",
    b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Length: 2\r\n\r\n0\r\n\r\n",
    b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/v2/session HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nContent-Length : 2\r\n\r\n{}",
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\n\r\n\r\n\x00\x01\x02",
    b"SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n",
], ids=range(21))
def test_ambiguous_framing_is_refused(server, request_):
    """What follows a refused request must not be taken as another one."""
    answer = server.raw(request_ + b"GET /healthz HTTP/1.1\r\nHost: smuggled\r\n\r\n")
    assert status_of(answer) in (None, 400, 413, 505), answer
    assert b"200 OK" not in answer, answer


def test_headers_too_large(server):
    answer = server.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20000 + b"\r\n\r\n")
    assert status_of(answer) in (None, 400, 413, 414, 431), answer
    answer = server.raw(b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status_of(answer) in (None, 400, 413, 414, 431), answer


def test_plain_http_on_the_tls_port(server):
    with socket.create_connection(("127.0.0.1", server.api_port), timeout=10) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        s.settimeout(60)
        assert b"HTTP/1.1 200" not in s.recv(1000)


def test_slow_and_silent_clients_are_cut(server, admin):
    """Silent ones after 30 s; those that trickle, when their request isn't whole after 60 s.
    Others are served meanwhile."""
    start = time.monotonic()
    silent, trickling, half = server.connect(), server.connect(), server.connect()
    trickling.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ")
    half.sendall(b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                 b"Content-Length: 1000\r\n\r\n{")
    open_ = {silent, trickling, half}
    while open_ and time.monotonic() - start < 120:
        readable, _, _ = select.select(list(open_), [], [], 1)
        for tls in readable:
            assert read_all(tls) == b"" or tls is half
            open_.discard(tls)
        if trickling in open_:
            try:
                trickling.sendall(b"a")
            except OSError:
                open_.discard(trickling)
        assert admin.get("/healthz").status_code == 200
    assert not open_
    for tls in (silent, trickling, half):
        tls.close()


def test_connections_of_one_source_are_limited(server):
    """One address can't take all: another is served while the first is at its limit."""
    taken = []
    try:
        for _ in range(300):
            s = socket.create_connection(("127.0.0.1", server.api_port), timeout=10,
                                         source_address=("127.0.0.99", 0))
            taken.append(s)
        assert server.client(source="127.0.0.98").get("/healthz").status_code == 200
        closed = 0
        for s in taken:
            s.settimeout(0.02)
            try:
                closed += s.recv(1) == b""
            except TimeoutError:
                pass
            except OSError:
                closed += 1
        assert closed >= 40
    finally:
        for s in taken:
            s.close()
