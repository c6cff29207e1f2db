"""Logging in and out, cookies, limits."""
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers import ADMIN, PASSWORD, problem, until


def login(client, **body):
    return client.post("/api/v2/session", json=body)


def test_login_whoami_logout(server):
    reply = login(server.client(), username=ADMIN, password=PASSWORD)
    assert reply.status_code == 201
    body = reply.json()
    assert body["user"] == ADMIN and body["role"] == "admin" and body["expires"].endswith("Z")
    assert len(body["token"]) >= 43
    assert "Set-Cookie" not in reply.headers
    client = server.client(body["token"])
    who = client.get("/api/v2/session").json()
    assert (who["user"], who["role"], who["means"]) == (ADMIN, "admin", "session")
    assert client.delete("/api/v2/session").status_code == 204
    problem(client.get("/api/v2/session"), 401)
    problem(client.get("/api/v2/nodes"), 401)


@pytest.mark.parametrize("header", ["Bearer x", "Bearer ", "Basic YTpi", "x", "Bearer " + "a" * 3000,
                                    "Bearer cnsmo-api-0123456789abcdef.x",
                                    "Bearer cnsmo-api-../../object/users/admin.x"])
def test_bad_tokens(server, header):
    reply = server.client().get("/api/v2/nodes", headers={"Authorization": header})
    problem(reply, 401)
    assert reply.headers["WWW-Authenticate"] == "Bearer"


def test_wrong_password_and_unknown_user_look_alike(server):
    client = server.client(source="127.0.0.31")
    wrong = problem(login(client, username=ADMIN, password="not it at all"), 401)
    unknown = problem(login(client, username="nobody-here", password="not it at all"), 401)
    strange = problem(login(client, username="../x\n", password="not it at all"), 401)
    assert wrong == unknown == strange


@pytest.mark.parametrize("body,pointer", [
    ({}, "/username"),
    ({"username": "a"}, "/password"),
    ({"username": 1, "password": "x"}, "/username"),
    ({"username": "a", "password": None}, "/password"),
    ({"username": "", "password": "x"}, "/username"),
    ({"username": "a" * 64, "password": "x"}, "/username"),
    ({"username": "a", "password": "x" * 513}, "/password"),
    ({"username": "a", "password": "x", "cookie": "yes"}, "/cookie"),
    ({"username": "a", "password": "x", "more": 1}, "/more"),
])
def test_bad_login_bodies(server, body, pointer):
    problem(server.client().post("/api/v2/session", json=body), 400, pointer)


def cookie_client(server):
    client = server.client()
    reply = login(client, username=ADMIN, password=PASSWORD, cookie=True)
    assert reply.status_code == 201
    assert "token" not in reply.json()
    return client, reply


def test_cookie_is_locked_up(server):
    client, reply = cookie_client(server)
    header = reply.headers["Set-Cookie"]
    for word in ("__Host-cnsmo=", "HttpOnly", "Secure", "SameSite=Strict", "Path=/"):
        assert word in header
    assert client.get("/api/v2/session").json()["means"] == "cookie"
    value = client.cookies["__Host-cnsmo"]
    problem(server.client(value).get("/api/v2/session"), 401)


def test_session_token_is_no_cookie(server, admin):
    client = server.client()
    client.headers["Cookie"] = f"__Host-cnsmo={admin.token}"
    problem(client.get("/api/v2/session"), 401)


def test_cookie_writes_need_origin_and_header(server):
    client, _ = cookie_client(server)
    body = {"spec": {"description": "csrf"}}

    def post(**headers):
        return client.post("/api/v2/tokens", json=body, headers=headers)

    problem(post(), 403)
    problem(post(Origin=server.url), 403)
    problem(post(**{"X-CNSMO-Request": "1"}), 403)
    problem(post(Origin="https://evil.example", **{"X-CNSMO-Request": "1"}), 403)
    problem(post(Origin=server.url.replace("https", "http"), **{"X-CNSMO-Request": "1"}), 403)
    reply = post(Origin=server.url, **{"X-CNSMO-Request": "1"})
    assert reply.status_code == 201
    problem(client.delete("/api/v2/session"), 403)
    good = {"Origin": server.url, "X-CNSMO-Request": "1"}
    client.delete(f"/api/v2/tokens/{reply.json()['id']}", headers=good)
    reply = client.delete("/api/v2/session", headers=good)
    assert reply.status_code == 204 and "Max-Age=0" in reply.headers["Set-Cookie"]


def test_logins_are_limited_by_source(server):
    stranger = server.client(source="127.0.0.41")
    codes = [login(stranger, username="nobody-1", password="wrong wrong").status_code
             for _ in range(10)]
    assert codes == [401] * 10
    reply = login(stranger, username=ADMIN, password=PASSWORD)
    problem(reply, 429)
    assert 1 <= int(reply.headers["Retry-After"]) <= 60
    assert login(server.client(source="127.0.0.42"), username=ADMIN,
                 password=PASSWORD).status_code == 201


def test_logins_are_limited_by_user(server, admin):
    admin.create("users", {"role": "viewer", "password": "victim-password"}, "victim")
    codes = []
    for i in range(3):
        client = server.client(source=f"127.0.0.{51 + i}")
        codes += [login(client, username="victim", password="wrong wrong").status_code
                  for _ in range(9)]
    assert codes[:20] == [401] * 20
    assert 429 in codes[20:]
    admin.delete("/api/v2/users/victim")


def test_good_logins_are_not_limited(server):
    client = server.client(source="127.0.0.61")
    for _ in range(30):
        assert login(client, username=ADMIN, password=PASSWORD).status_code == 201


def test_a_flood_of_logins_doesnt_stop_others(server, admin):
    """Two passwords are hashed at once and 32 wait: the rest is refused at once."""
    def attempt(i):
        reply = login(server.client(source=f"127.0.1.{i + 1}"), username=f"flood-{i}",
                      password="wrong wrong")
        return reply.status_code, reply.headers.get("Retry-After")

    with ThreadPoolExecutor(120) as pool:
        answers = pool.map(attempt, range(120))
        assert admin.get("/api/v2/nodes").status_code == 200
        answers = list(answers)
    assert {code for code, _ in answers} <= {401, 429}
    assert [code for code, _ in answers].count(401) >= 34
    assert all(retry for code, retry in answers if code == 429)
    assert login(server.client(), username=ADMIN, password=PASSWORD).status_code == 201


def test_logins_are_events(server, admin):
    client = server.client(source="127.0.0.71")
    login(client, username=ADMIN, password="wrong wrong")
    login(client, username=ADMIN, password=PASSWORD)

    def found():
        events = admin.get("/api/v2/events?limit=20").json()["items"]
        mine = [e["spec"] for e in events if e["spec"]["source"] == "127.0.0.71"]
        return mine if len(mine) == 2 else None

    mine = until("both events", found)
    assert [e["reason"] for e in mine] == ["login", "login-failed"]
    assert all(e["subject"] == "users/admin" for e in mine)


def test_secrets_are_not_on_disk(server, admin):
    data = b"".join(p.read_bytes() for p in server.state.glob("cnsmod.db*"))
    assert PASSWORD.encode() not in data
    assert admin.token.encode() not in data
    assert b"$argon2id$" in data
    assert PASSWORD not in server.log.read_text() and admin.token not in server.log.read_text()
    for path in server.state.glob("cnsmod.db*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
