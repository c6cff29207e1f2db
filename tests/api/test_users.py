"""Users and API tokens: what is changed takes effect at once."""
import datetime

import pytest

from helpers import ADMIN, PASSWORD, problem, until


@pytest.fixture
def user(server, admin):
    admin.create("users", {"role": "operator", "password": "operators-own"}, "eve")
    yield server.login("eve", "operators-own")
    admin.delete("/api/v2/users/eve")


def test_passwords_never_come_back(admin, user):
    for path in ("/api/v2/users", "/api/v2/users/eve", "/api/v2/events"):
        text = admin.get(path).text
        assert "operators-own" not in text and "argon2" not in text and "sealed" not in text
    reply = admin.patch_spec("users", "eve", {"password": "another-password"})
    assert "password" not in reply.json()["spec"]


def test_disabling_is_at_once(server, admin, user):
    token = make_token(user, "viewer")
    assert user.get("/api/v2/nodes").status_code == 200
    assert admin.patch_spec("users", "eve", {"disabled": True}).status_code == 200
    problem(user.get("/api/v2/nodes"), 401)
    problem(token.get("/api/v2/nodes"), 401)
    problem(server.client(source="127.0.0.81").post(
        "/api/v2/session", json={"username": "eve", "password": "operators-own"}), 401)
    assert admin.patch_spec("users", "eve", {"disabled": False}).status_code == 200
    assert token.get("/api/v2/nodes").status_code == 200


def test_role_change_is_at_once(admin, user):
    token = make_token(user, "operator")
    assert user.post("/api/v2/nodes?dryRun=true", json={"id": "x", "spec": {}}).status_code == 200
    admin.patch_spec("users", "eve", {"role": "viewer"})
    problem(user.post("/api/v2/nodes?dryRun=true", json={"id": "x", "spec": {}}), 403)
    problem(token.post("/api/v2/nodes?dryRun=true", json={"id": "x", "spec": {}}), 403)
    assert user.get("/api/v2/session").json()["role"] == "viewer"
    assert token.get("/api/v2/session").json()["role"] == "viewer"


def test_deletion_is_at_once_and_for_good(server, admin, user):
    token = make_token(user, "viewer")
    assert admin.delete("/api/v2/users/eve").status_code == 204
    problem(user.get("/api/v2/nodes"), 401)
    problem(token.get("/api/v2/nodes"), 401)
    admin.create("users", {"role": "admin", "password": "another-eve"}, "eve")
    problem(user.get("/api/v2/nodes"), 401)
    problem(token.get("/api/v2/nodes"), 401)


def test_new_password_ends_sessions(server, admin, user):
    admin.patch_spec("users", "eve", {"password": "operators-new"})
    problem(user.get("/api/v2/nodes"), 401)
    problem(server.client().post("/api/v2/session", json={
        "username": "eve", "password": "operators-own"}), 401)
    assert server.login("eve", "operators-new").get("/api/v2/nodes").status_code == 200


def test_put_without_password_keeps_it(server, admin, user):
    assert admin.put("/api/v2/users/eve", json={"spec": {"role": "viewer"}}).status_code == 200
    assert user.get("/api/v2/nodes").status_code == 200
    server.login("eve", "operators-own")


@pytest.mark.parametrize("spec,pointer", [
    ({"role": "viewer"}, "/spec/password"),
    ({"role": "viewer", "password": "1234567"}, "/spec/password"),
    ({"role": "viewer", "password": "x" * 129}, "/spec/password"),
    ({"role": "viewer", "password": 12345678}, "/spec/password"),
    ({"role": "viewer", "password": None}, "/spec/password"),
    ({"role": "root", "password": "12345678"}, "/spec/role"),
    ({"role": "metrics", "password": "12345678"}, "/spec/role"),
    ({"password": "12345678"}, "/spec/role"),
    ({"role": "viewer", "password": "12345678", "passwordHash": "x"}, "/spec/passwordHash"),
    ({"role": "viewer", "password": "12345678", "disabled": "no"}, "/spec/disabled"),
])
def test_bad_users(admin, spec, pointer):
    problem(admin.post("/api/v2/users", json={"id": "bad", "spec": spec}), 400, pointer)
    problem(admin.get("/api/v2/users/bad"), 404)


def test_passwords_may_be_any_text(server, admin):
    for password in ("ünïcödé-пароль", "x" * 128, "  blanks at both ends  ", "ж" * 128):
        admin.create("users", {"role": "viewer", "password": password}, "texts")
        server.login("texts", password)
        admin.delete("/api/v2/users/texts")


def test_the_last_admin_stays(admin):
    for reply in (admin.delete(f"/api/v2/users/{ADMIN}"),
                  admin.patch_spec("users", ADMIN, {"disabled": True}),
                  admin.patch_spec("users", ADMIN, {"role": "viewer"}),
                  admin.put(f"/api/v2/users/{ADMIN}", json={"spec": {"role": "operator"}})):
        problem(reply, 409)
    admin.create("users", {"role": "admin", "password": "second-admin"}, "second")
    assert admin.delete(f"/api/v2/users/{ADMIN}?dryRun=true").status_code == 200
    assert admin.delete("/api/v2/users/second").status_code == 204


# --- API tokens -----------------------------------------------------------------------------------

def make_token(client, role, **spec):
    reply = client.post("/api/v2/api-tokens", json={"spec": {"role": role, **spec}})
    assert reply.status_code == 201, reply.text
    made = client.server.client(reply.json()["token"])
    made.token_id = reply.json()["id"]
    return made


def test_api_token_lives_and_dies(server, admin):
    token = make_token(admin, "viewer", description="for a test")
    who = token.get("/api/v2/session").json()
    assert (who["user"], who["role"], who["means"]) == (ADMIN, "viewer", "api-token")
    items = admin.get("/api/v2/api-tokens").json()["items"]
    mine = [i for i in items if i["id"] == token.token_id][0]
    assert mine["spec"] == {"role": "viewer", "description": "for a test", "expires": None}
    assert mine["status"]["user"] == ADMIN
    assert token.token not in admin.get("/api/v2/api-tokens").text
    problem(token.delete("/api/v2/session"), 409)
    assert admin.delete(f"/api/v2/api-tokens/{token.token_id}").status_code == 204
    problem(token.get("/api/v2/session"), 401)
    problem(admin.delete(f"/api/v2/api-tokens/{token.token_id}"), 404)


def test_api_token_role_is_no_higher(by_role):
    viewer = by_role["viewer"]
    problem(viewer.post("/api/v2/api-tokens", json={"spec": {"role": "admin"}}), 403, "/spec/role")
    token = make_token(viewer, "metrics")
    assert token.get("/metrics").status_code == 200
    problem(token.get("/api/v2/nodes"), 403)
    problem(token.post("/api/v2/api-tokens", json={"spec": {"role": "metrics"}}), 403)


def test_api_tokens_of_others(admin, by_role):
    token = make_token(admin, "viewer")
    viewer = by_role["viewer"]
    assert token.token_id not in viewer.get("/api/v2/api-tokens").text
    problem(viewer.delete(f"/api/v2/api-tokens/{token.token_id}"), 404)
    theirs = make_token(viewer, "viewer")
    assert theirs.token_id in admin.get("/api/v2/api-tokens").text
    assert admin.delete(f"/api/v2/api-tokens/{theirs.token_id}").status_code == 204
    admin.delete(f"/api/v2/api-tokens/{token.token_id}")


def test_api_token_pages(admin, by_role):
    viewer = by_role["viewer"]
    made = {make_token(viewer, "metrics").token_id for _ in range(5)}
    seen, query = [], "limit=2"
    while query:
        reply = viewer.get(f"/api/v2/api-tokens?{query}").json()
        assert 1 <= len(reply["items"]) <= 2
        seen += [item["id"] for item in reply["items"]]
        query = f"limit=2&cursor={reply['cursor']}" if "cursor" in reply else None
    assert made <= set(seen) and len(seen) == len(set(seen))
    problem(viewer.get("/api/v2/api-tokens?limit=0"), 400)
    for name in seen:
        assert viewer.delete(f"/api/v2/api-tokens/{name}").status_code == 204


def test_api_token_expires(admin):
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    token = make_token(admin, "viewer", expires=soon.strftime("%Y-%m-%dT%H:%M:%SZ"))
    until("it has expired", lambda: token.get("/api/v2/session").status_code == 401)


@pytest.mark.parametrize("spec,pointer", [
    ({}, "/spec/role"), ({"role": "x"}, "/spec/role"), ({"role": 1}, "/spec/role"),
    ({"role": "viewer", "expires": "2001-01-01T00:00:00Z"}, "/spec/expires"),
    ({"role": "viewer", "expires": "soon"}, "/spec/expires"),
    ({"role": "viewer", "user": "other"}, "/spec/user"),
    ({"role": "viewer", "description": "x" * 201}, "/spec/description"),
])
def test_bad_api_tokens(admin, spec, pointer):
    problem(admin.post("/api/v2/api-tokens", json={"spec": spec}), 400, pointer)


def test_forged_api_tokens(server, admin):
    token = make_token(admin, "viewer")
    for forged in (token.token[:-1] + ("A" if token.token[-1] != "A" else "B"), token.token + "A",
                   token.token[:-1], token.token.split(".")[0], token.token.split(".")[0] + "."):
        problem(server.client(forged).get("/api/v2/session"), 401)
    assert token.get("/api/v2/session").status_code == 200


def test_password_login_still_works(server):
    assert server.login(ADMIN, PASSWORD).get("/api/v2/session").status_code == 200
