"""API v1's certificates of VPN clients, as the 2017 platform's clients use them."""
import subprocess

import pytest

from agents import Agent
from helpers import DEADLINE, Server, until

BASES = ["/api/v1/certs/clients", "/api/v1/services/certs/clients"]
FILES = ["key", "cert", "config", "ca"]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("v1-certs"))
    server.init()
    server.start()
    server.admin = server.login()
    server.agent = Agent(server, server.admin, "Hub.1", server.folder, hub=True)
    server.admin.patch_spec("nodes", "Hub.1", {"endpoint": "198.51.100.7"})
    server.admin.create("users", {"role": "viewer", "password": "viewer-password"}, "a-viewer")
    yield server
    server.agent.close()
    server.stop()


@pytest.fixture
def v1(own):
    """As Postman is used: a token of v1, on every request."""
    reply = own.client().post("/api/v1/Authenticate", json={"username": "admin", "password":
                                                            "correct horse battery"})
    return own.client(reply.json()["token"])


@pytest.fixture
def alice(v1, own):
    assert v1.post(f"{BASES[0]}/alice").status_code == 204
    yield "alice"
    own.admin.delete("/api/v2/vpn/clients/alice")


def refused(reply, status, words):
    assert reply.status_code == status, reply.text
    assert reply.headers["Content-Type"] == "application/json"
    body = reply.json()
    assert body["code"] == status and body["message"] == body["errors"]
    assert words in body["message"], body
    return body


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("slash", ["", "/"])
def test_make_and_read(own, v1, base, slash):
    reply = v1.post(f"{base}/bob{slash}")
    assert reply.status_code == 204 and reply.content == b""
    for file in FILES:
        reply = v1.get(f"{base}/bob/{file}{slash}")
        assert reply.status_code == 200 and set(reply.json()) == {"data", "statusCode"}
        assert reply.json()["statusCode"] == 200
        assert reply.json()["data"] == own.admin.get(f"/api/v2/vpn/clients/bob/{file}").text
    assert own.admin.delete("/api/v2/vpn/clients/bob").status_code == 204


@pytest.mark.parametrize("path", ["/API/V1/Certs/Clients", "/api/v1/Services/CERTS/clients"])
def test_paths_in_any_case_and_names_not(own, v1, path):
    assert v1.post(f"{path}/Bob").status_code == 204
    assert v1.get(f"{path}/Bob/Config").json()["data"].count("Bob.crt") == 1
    refused(v1.get(f"{path}/bob/config"), 404, "bob")
    own.admin.delete("/api/v2/vpn/clients/Bob")


def test_a_body_means_nothing(own, v1):
    for body in ({}, {"name": "mallory", "csr": "x"}):
        assert v1.post(f"{BASES[0]}/bob", json=body).status_code == 204
        assert "csr" not in own.admin.spec("vpn/clients", "bob")
        own.admin.delete("/api/v2/vpn/clients/bob")


def test_what_it_gives_works(own, v1, alice, tmp_path):
    data = {file: v1.get(f"{BASES[0]}/alice/{file}").json()["data"] for file in FILES}
    assert data["key"].startswith("-----BEGIN ")
    assert "remote 198.51.100.7 1194\n" in data["config"]
    for file in FILES:
        (tmp_path / file).write_text(data[file])
    done = subprocess.run(["openssl", "verify", "-CAfile", "ca", "-untrusted", "cert", "cert"],
                          cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE)
    assert done.stdout == "cert: OK\n", done.stderr
    publics = [subprocess.run(["openssl", *words, file], cwd=tmp_path, capture_output=True, check=True)
               .stdout for words, file in ((("pkey", "-pubout", "-in"), "key"),
                                           (("x509", "-noout", "-pubkey", "-in"), "cert"))]
    assert publics[0] == publics[1]


def test_the_same_name_twice(v1, alice):
    before = v1.get(f"{BASES[0]}/alice/key").json()["data"]
    refused(v1.post(f"{BASES[1]}/alice"), 409, '"alice" exists')
    assert v1.get(f"{BASES[0]}/alice/key").json()["data"] == before


@pytest.mark.parametrize("name", ["ca", "CA", "server", "SERVER", "DEFAULT", ".a", "-a", "a%20b", "a;b",
                                  "%C3%A4", "x" * 64, "y" * 300])
def test_names_that_are_refused(v1, name):
    for base in BASES:
        assert refused(v1.post(f"{base}/{name}", timeout=5), 400, '"name"')["message"].startswith(
            '"name" ')


@pytest.mark.parametrize("name", ["a%0Ab", "a%2Fb", "..", "%2e%2e", "%2e%2e%2fca", "a/b", "a%00b"])
def test_names_that_no_path_holds(own, v1, name):
    before = own.admin.get("/api/v2/vpn/clients").json()
    for base in BASES:
        assert v1.post(f"{base}/{name}", timeout=5).status_code in (400, 404, 405)
        assert v1.get(f"{base}/{name}/key", timeout=5).status_code in (400, 404)
    assert own.admin.get("/api/v2/vpn/clients").json() == before


@pytest.mark.parametrize("name", ["nobody", "ca", "x" * 300])
def test_unknown_clients_are_404_at_once(v1, name):
    for base in BASES:
        for file in FILES:
            refused(v1.get(f"{base}/{name}/{file}", timeout=5), 404, "there is no vpn client")
    refused(v1.get(f"{BASES[0]}/nobody/ovpn", timeout=5), 404, "no such route")


def test_who_may(own, alice):
    viewer = own.login("a-viewer", "viewer-password")
    for base in BASES:
        refused(viewer.get(f"{base}/alice/key"), 403, "operator")
        refused(viewer.post(f"{base}/bob"), 403, "operator")
        for file in ("cert", "config", "ca"):
            assert viewer.get(f"{base}/alice/{file}").status_code == 200
        for reply in (own.client().get(f"{base}/alice/key"), own.client().post(f"{base}/bob"),
                      own.client("wrong").get(f"{base}/alice/ca")):
            assert reply.status_code == 401 and reply.json()["errors"] == "Invalid Token"


def test_reading_the_key_is_told(own, v1, alice):
    v1.get(f"{BASES[1]}/alice/key")
    until("the event", lambda: "admin read the key of vpn/clients/alice" in [
        e["spec"]["message"] for e in own.admin.get("/api/v2/events?limit=5").json()["items"]])


def test_without_a_hub_it_says_so(fresh_server):
    reply = fresh_server.login().post(f"{BASES[0]}/alice")
    refused(reply, 409, "cnsmo node set NODE --hub")
