"""VPN clients from outside: objects, keys and certificates, files for stock programs, permissions."""
import base64
import ipaddress
import re
import shutil
import subprocess

import pytest

from agents import Agent, make_request
from helpers import Stream, problem, until
from test_cli import Cli
from vpn_clients import (BASE, FILES, HUB_KEY, SECRET, admin, client, matrix_of_svg,  # noqa: F401
                         matrix_of_terminal, operator, own, run, stored_keys, text_of, upper, viewer)


# --- objects -------------------------------------------------------------------------------------

def test_without_a_hub_it_says_how_to_get_one(fresh_server):
    reply = fresh_server.login().post(BASE, json={"id": "alice", "spec": {}})
    assert "cnsmo node set NODE --hub" in problem(reply, 409, "/spec/hub")


def test_a_client_is_made_and_shown(own, admin, client):
    made = client("alice")
    spec, status = made["spec"], made["status"]
    assert spec["hub"] == "Hub.1"
    lower = ipaddress.ip_network("10.77.248.0/22")
    assert ipaddress.ip_address(spec["address"]) in list(lower.hosts())
    assert len(base64.b64decode(spec["publicKey"])) == 32
    assert status["hub"] == "Hub.1" and status["address"] == spec["address"]
    assert status["wireguardAddress"] == upper(spec["address"]) and status["problem"] == ""
    assert re.fullmatch("[0-9a-f]+", status["certificate"]["serial"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT.*Z", status["certificate"]["expires"])
    assert status["sessions"] == [] and "sealed" not in made
    own.agent.until(lambda r: "vpn/client/openvpn/alice" in r)
    assert own.agent.resources["vpn/client/openvpn/alice"] == {"address": spec["address"]}
    assert own.agent.resources["vpn/client/wireguard/alice"] == {
        "address": upper(spec["address"]), "publicKey": spec["publicKey"]}
    assert own.agent.resources["vpn/clients/Hub.1"]["range"] == "10.77.248.0/21"
    admin.delete(f"{BASE}/alice")
    own.agent.until(lambda r: "vpn/clients/Hub.1" not in r)
    assert not any(key.startswith("vpn/client") for key in own.agent.resources)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a\nb", "a b", ".a", "-a", "_a", "ä", "x" * 64,
                                  "y" * 300, "ca", "CA", "Server", "server", "DEFAULT", "UNDEF",
                                  "a\x00b", "a;b", "$(x)"])
def test_bad_names(admin, name):
    problem(admin.post(BASE, json={"id": name, "spec": {}}), 400, "/id" if "\x00" not in name else "")


@pytest.mark.parametrize("path", ["nobody", "x" * 300, "%2e%2e", "a%2fb", "a%0ab", "a/b/c", "ca"])
def test_unknown_names_are_answered_at_once(admin, path):
    for file in ("", "/key", "/ovpn"):
        assert admin.get(f"{BASE}/{path}{file}", timeout=5).status_code in (400, 404)
    assert admin.post(f"{BASE}/{path}/renew", timeout=5).status_code in (400, 404)


@pytest.mark.parametrize("name", ["A", "0", "a.b_c-d", "z" * 63, "last.", "last-", "last_", "cab",
                                  "default"])
def test_good_names(own, admin, client, name):
    client(name)
    subject = run("openssl", "x509", "-noout", "-subject", "-nameopt", "multiline",
                  stdin=text_of(admin, name, "cert"))
    assert f"commonName                = {name}\n" in subject
    assert f"cert {name}.crt\n" in text_of(admin, name, "config")


def test_the_same_name_twice(admin, client):
    client("alice")
    before = text_of(admin, "alice", "key")
    problem(admin.post(BASE, json={"id": "alice", "spec": {}}), 409, "/id")
    assert text_of(admin, "alice", "key") == before
    assert client("Alice")["spec"]["address"] != admin.spec("vpn/clients", "alice")["address"]


@pytest.mark.parametrize("spec,pointer", [
    ({"hub": "Nobody"}, "/spec/hub"), ({"hub": "a/b"}, "/spec/hub"), ({"hub": 1}, "/spec/hub"),
    ({"address": "10.77.248.0"}, "/spec/address"), ({"address": "10.77.251.255"}, "/spec/address"),
    ({"address": "10.77.252.1"}, "/spec/address"), ({"address": "10.77.0.9"}, "/spec/address"),
    ({"address": "192.0.2.1"}, "/spec/address"), ({"address": "x"}, "/spec/address"),
    ({"csr": ""}, "/spec/csr"), ({"csr": "x"}, "/spec/csr"), ({"csr": 1}, "/spec/csr"),
    ({"csr": "x" * 5000}, "/spec/csr"), ({"publicKey": "x"}, "/spec/publicKey"),
    ({"publicKey": HUB_KEY[:-2] + "9="}, "/spec/publicKey"), ({"publicKey": None}, "/spec/publicKey"),
    ({"key": "mine"}, "/spec/key"), ({"sealed": {}}, "/spec/sealed"),
])
def test_bad_specs(admin, spec, pointer):
    problem(admin.post(BASE, json={"id": "bad", "spec": spec}), 400, pointer)
    problem(admin.get(f"{BASE}/bad"), 404)


def test_values_that_only_one_may_have(admin, client):
    client("alice", address="10.77.248.9")
    reply = admin.post(BASE, json={"id": "bob", "spec": {"address": "10.77.248.9"}})
    assert "vpn/clients/alice" in problem(reply, 409, "/spec/address")
    reply = admin.post(BASE, json={"id": "bob", "spec": {"publicKey": HUB_KEY}})
    assert "Hub.1" in problem(reply, 409, "/spec/publicKey")
    own_key = run("wg", "pubkey", stdin=run("wg", "genkey")).strip()
    client("carol", publicKey=own_key)
    reply = admin.post(BASE, json={"id": "bob", "spec": {"publicKey": own_key}})
    assert "vpn/clients/carol" in problem(reply, 409, "/spec/publicKey")


def test_a_hub_with_clients_stays_one(own, admin, client):
    client("alice")
    reply = admin.patch_spec("nodes", "Hub.1", {"hub": False})
    assert '"alice"' in problem(reply, 409, "/spec/hub")
    reply = admin.patch_spec("nodes", "Hub.1", {"services": []})
    assert '"alice"' in problem(reply, 409, "/spec/services")
    reply = admin.patch_spec("nodes", "Hub.1", {"clientRange": "10.77.200.0/24"})
    assert '"alice"' in problem(reply, 409, "/spec/clientRange")
    assert '"alice"' in problem(admin.delete("/api/v2/nodes/Hub.1"), 409)
    assert admin.patch_spec("nodes", "Hub.1", {"cloud": "c1"}).status_code == 200


def test_a_hub_with_clients_does_not_leave(own, admin, client, tmp_path):
    agent = Agent(own, admin, "Leaver", tmp_path, hub=True)
    client("alice", hub="Leaver")
    agent.send({"type": "leave"})
    until("it is told", lambda: agent.errors)
    assert agent.errors[0]["status"] == 409 and '"alice"' in agent.errors[0]["detail"]
    assert admin.get("/api/v2/nodes/Leaver").status_code == 200
    agent.close()
    admin.delete(f"{BASE}/alice")
    assert admin.delete("/api/v2/nodes/Leaver").status_code == 204


def test_a_client_moves_to_another_hub(own, admin, client):
    admin.create("nodes", {"hub": True, "endpoint": "192.0.2.2:7"}, "Hub.2")
    first = client("alice")["spec"]
    reply = admin.patch_spec("vpn/clients", "alice", {"hub": "Hub.2"})
    assert reply.status_code == 200, reply.text
    range_ = ipaddress.ip_network(admin.spec("nodes", "Hub.2")["clientRange"])
    assert ipaddress.ip_address(reply.json()["spec"]["address"]) in range_
    assert reply.json()["spec"]["publicKey"] == first["publicKey"]
    own.agent.until(lambda r: "vpn/clients/Hub.1" not in r)
    assert "remote 192.0.2.2 1194\n" in text_of(admin, "alice", "config")  # not the tunnel's port
    assert admin.patch_spec("vpn/clients", "alice", {"hub": "Hub.1"}).status_code == 200
    assert admin.delete("/api/v2/nodes/Hub.2").status_code == 204


def test_a_range_that_is_full(own, admin, client):
    admin.create("nodes", {"hub": True, "clientRange": "10.77.200.0/29"}, "Small")
    assert client("one", hub="Small")["spec"]["address"] == "10.77.200.1"
    assert client("two", hub="Small")["spec"]["address"] == "10.77.200.2"
    reply = admin.post(BASE, json={"id": "three", "spec": {"hub": "Small"}})
    assert "full" in problem(reply, 409, "/spec/address")
    for name in ("one", "two"):
        assert admin.delete(f"{BASE}/{name}").status_code == 204
    assert admin.delete("/api/v2/nodes/Small").status_code == 204


def test_a_hub_that_nobody_reaches(own, admin, client):
    admin.create("nodes", {"hub": True}, "Hidden")
    status = client("alice", hub="Hidden")["status"]
    assert "cnsmo node set Hidden --endpoint" in status["problem"]
    for file in ("config", "ovpn", "wireguard", "qr"):
        assert "--endpoint" in problem(admin.get(f"{BASE}/alice/{file}"), 409)
    assert admin.get(f"{BASE}/alice/cert").status_code == 200
    admin.patch_spec("nodes", "Hidden", {"endpoint": "192.0.2.3"})
    assert admin.get(f"{BASE}/alice").json()["status"]["problem"] == ""
    assert admin.get(f"{BASE}/alice/config").status_code == 200
    detail = problem(admin.get(f"{BASE}/alice/wireguard"), 409)
    assert "hasn't told its WireGuard key" in detail
    admin.delete(f"{BASE}/alice")
    assert admin.delete("/api/v2/nodes/Hidden").status_code == 204


def test_the_other_fabric_and_another_port(own, admin, client):
    spec = client("alice")["spec"]
    own.agent.until(lambda r: "vpn/client/wireguard/alice" in r)
    try:
        reply = admin.patch_spec("settings", "overlay", {"fabric": "openvpn", "clientPort": 1195})
        assert reply.status_code == 200, reply.text
        own.agent.until(lambda r: "vpn/client/wireguard/alice" not in r)
        assert own.agent.resources["vpn/client/openvpn/alice"]["address"] == spec["address"]
        assert own.agent.resources["vpn/clients/Hub.1"]["port"] == 1195
        assert "remote 127.0.0.1 1195\n" in text_of(admin, "alice", "ovpn")
        for file in ("wireguard", "qr"):
            detail = problem(admin.get(f"{BASE}/alice/{file}"), 409)
            assert "fabric wireguard" in detail and "openvpn" in detail
        status = admin.get(f"{BASE}/alice").json()["status"]
        assert status["wireguardAddress"] == "" and status["problem"] == ""
    finally:
        admin.patch_spec("settings", "overlay", {"fabric": "wireguard", "clientPort": 1194})
    own.agent.until(lambda r: "vpn/client/wireguard/alice" in r)


def test_sessions_are_shown(own, admin, client):
    client("alice")
    session = {"protocol": "openvpn", "since": "2026-11-24T00:00:00Z", "from": "192.0.2.77:1024",
               "rxBytes": 10, "txBytes": 20}
    own.agent.tell(admin, state="running", message="", clients=[
        {"name": "alice", **session}, {"name": "bob", **session},
        {"name": "alice", **session, "protocol": "wireguard", "since": None},
        {"name": "alice", **session, "protocol": "wireguard", "from": ""}])  # not heard yet
    status = admin.get(f"{BASE}/alice").json()["status"]
    assert status["sessions"] == [session, {**session, "protocol": "wireguard", "since": None}]
    assert status["problem"] == ""
    own.agent.tell(admin, state="running", message="", clients=[],
                   clientServer={"state": "failed", "message": "port 1194 is taken"})
    status = admin.get(f"{BASE}/alice").json()["status"]
    assert status["sessions"] == [] and "port 1194 is taken" in status["problem"]


def test_dry_runs_make_nothing(own, admin, tmp_path):
    reply = admin.post(f"{BASE}?dryRun=true", json={"id": "alice", "spec": {}})
    assert reply.status_code == 200
    assert {d["key"] for d in reply.json()["deltas"]} == {"vpn/client/openvpn/alice",
                                                          "vpn/clients/Hub.1"}
    problem(admin.get(f"{BASE}/alice"), 404)


def test_the_document_has_every_route(own):
    paths = own.client().get("/api/v2/openapi.json").json()["paths"]
    for file in FILES:
        operation = paths[f"{BASE}/{{id}}/{file}"]["get"]
        assert operation["x-cnsmo-role"] == ("operator" if file in SECRET else "viewer")
        assert operation["tags"] == ["vpn/clients"]
        assert set(operation["responses"]) >= {"200", "401", "403", "404", "409"}
    assert paths[f"{BASE}/{{id}}/renew"]["post"]["x-cnsmo-role"] == "operator"
    assert "requestBody" not in paths[f"{BASE}/{{id}}/renew"]["post"]
    for name in ("key", "cert", "config", "ca"):
        assert f"/api/v1/certs/clients/{{id}}/{name}" in paths
    assert paths["/api/v1/certs/clients/{id}"]["post"]["x-cnsmo-role"] == "operator"


# --- keys and certificates -----------------------------------------------------------------------

def write_files(admin, name, folder):
    for file, path in (("key", f"{name}.key"), ("cert", f"{name}.crt"), ("ca", "ca.crt"),
                       ("config", f"{name}.conf"), ("ovpn", f"{name}.ovpn")):
        (folder / path).write_text(text_of(admin, name, file))


def public_key(words, pem):
    return run("openssl", *words, stdin=pem)


def test_key_and_chain_belong_together(own, admin, client, tmp_path):
    client("alice")
    client("bob")
    write_files(admin, "alice", tmp_path)
    assert "OK" in run("openssl", "verify", "-CAfile", tmp_path / "ca.crt", "-untrusted",
                       tmp_path / "alice.crt", "-purpose", "sslclient", tmp_path / "alice.crt")
    keys = {name: public_key(["pkey", "-pubout"], text_of(admin, name, "key"))
            for name in ("alice", "bob")}
    for name, key in keys.items():
        assert key == public_key(["x509", "-noout", "-pubkey"], text_of(admin, name, "cert"))
    assert keys["alice"] != keys["bob"]
    text = run("openssl", "x509", "-noout", "-text", stdin=text_of(admin, "alice", "cert"))
    assert "2.25.201838361293746121.2" in text and "URI:cnsmo:client:alice" in text
    assert "TLS Web Server" not in text
    assert (tmp_path / "ca.crt").read_text() == own.root.read_text()


def test_renewal_replaces_and_revokes(own, admin, client, tmp_path):
    first = client("alice")
    files = {file: text_of(admin, "alice", file) for file in ("key", "cert", "wireguard")}
    reply = admin.post(f"{BASE}/alice/renew")
    assert reply.status_code == 200, reply.text
    second = reply.json()
    assert second["spec"]["address"] == first["spec"]["address"]
    assert second["spec"]["publicKey"] != first["spec"]["publicKey"]
    old, new = (o["status"]["certificate"]["serial"] for o in (first, second))
    assert old != new
    for file, text in files.items():
        assert text_of(admin, "alice", file) != text, file
    revoked = stored_keys(admin, tmp_path, "revoked/")
    assert f"revoked/{old}" in revoked and f"revoked/{new}" not in revoked
    event = next(e["spec"] for e in admin.get("/api/v2/events?limit=20").json()["items"]
                 if e["spec"]["reason"] == "renewed")
    assert event["subject"] == "vpn/clients/alice"
    admin.delete(f"{BASE}/alice")
    assert f"revoked/{new}" in stored_keys(admin, tmp_path, "revoked/")


def revoked_serials(pem):
    """Of every list in a bundle."""
    lists = re.findall("-----BEGIN X509 CRL-----.*?-----END X509 CRL-----\n", pem, re.S)
    texts = [run("openssl", "crl", "-noout", "-text", stdin=text) for text in lists]
    return {s.lower() for text in texts for s in re.findall("Serial Number: ([0-9A-F]+)", text)}


def test_hubs_are_told_what_is_revoked(own, admin, client):
    def told(serial):
        pem = own.agent.resources.get("vpn/crl", {}).get("pem", "")
        return serial in revoked_serials(pem)

    first = client("alice")["status"]["certificate"]["serial"]
    second = admin.post(f"{BASE}/alice/renew").json()["status"]["certificate"]["serial"]
    until("the renewed one's old certificate is on the list", lambda: told(first))
    assert not told(second)
    admin.delete(f"{BASE}/alice")
    until("the deleted one's certificate is on the list", lambda: told(second))


def test_changes_keep_keys(admin, client, tmp_path):
    client("alice")
    before = {file: text_of(admin, "alice", file) for file in ("key", "cert")}
    serial = admin.get(f"{BASE}/alice").json()["status"]["certificate"]["serial"]
    whole = admin.get(f"{BASE}/alice").json()
    whole["spec"].pop("publicKey")
    assert admin.put(f"{BASE}/alice", json=whole).status_code == 200
    assert admin.patch_spec("vpn/clients", "alice", {"address": "10.77.248.33"}).status_code == 200
    assert {file: text_of(admin, "alice", file) for file in ("key", "cert")} == before
    assert f"revoked/{serial}" not in stored_keys(admin, tmp_path, "revoked/")
    assert "Address = 10.77.252.33/32\n" in text_of(admin, "alice", "wireguard")


def test_a_request_of_the_clients_own(own, admin, client, tmp_path):
    key, request = make_request(tmp_path, "anything")
    made = client("alice", csr=request.read_text())
    assert made["spec"]["csr"] == request.read_text()
    assert public_key(["pkey", "-pubout"], key.read_text()) == public_key(
        ["x509", "-noout", "-pubkey"], text_of(admin, "alice", "cert"))
    subject = run("openssl", "x509", "-noout", "-subject", stdin=text_of(admin, "alice", "cert"))
    assert "alice" in subject and "anything" not in subject
    assert "isn't here" in problem(admin.get(f"{BASE}/alice/key"), 409)
    inline = text_of(admin, "alice", "ovpn")
    assert "<key>" not in inline and "\nkey alice.key\n" in inline and "<cert>" in inline
    # Renewed, its request is signed again.
    serial = made["status"]["certificate"]["serial"]
    renewed = admin.post(f"{BASE}/alice/renew").json()
    assert renewed["status"]["certificate"]["serial"] != serial
    problem(admin.get(f"{BASE}/alice/key"), 409)
    # Without it, the server makes a key.
    assert admin.patch_spec("vpn/clients", "alice", {"csr": None}).status_code == 200
    assert "PRIVATE KEY" in text_of(admin, "alice", "key")
    revoked = stored_keys(admin, tmp_path, "revoked/")
    assert f"revoked/{renewed['status']['certificate']['serial']}" in revoked
    problem(admin.patch_spec("vpn/clients", "alice", {"csr": "nonsense"}), 400, "/spec/csr")


def test_a_wireguard_key_of_the_clients_own(own, admin, client, tmp_path):
    private = run("wg", "genkey").strip()
    public = run("wg", "pubkey", stdin=private).strip()
    assert client("alice", publicKey=public)["spec"]["publicKey"] == public
    text = text_of(admin, "alice", "wireguard")
    assert "\nPrivateKey" not in text and f"# {public}:\n# PrivateKey = ...\n" in text
    (tmp_path / "wg0.conf").write_text(text.replace("# PrivateKey = ...", f"PrivateKey = {private}"))
    assert private in run("wg-quick", "strip", tmp_path / "wg0.conf")
    assert "isn't here" in problem(admin.get(f"{BASE}/alice/qr"), 409)
    admin.post(f"{BASE}/alice/renew")  # what the client brought stays
    assert admin.spec("vpn/clients", "alice")["publicKey"] == public
    spec = admin.patch_spec("vpn/clients", "alice", {"publicKey": None}).json()["spec"]
    assert spec["publicKey"] != public  # the server's again
    assert "\nPrivateKey = " in text_of(admin, "alice", "wireguard")
    assert admin.patch_spec("vpn/clients", "alice", {"publicKey": public}).status_code == 200
    assert "\nPrivateKey = " not in text_of(admin, "alice", "wireguard")


# --- who may read what, and where a secret never is ----------------------------------------------

def test_files_by_role(own, admin, viewer, operator, client):
    client("alice")
    for file in FILES:
        assert operator.get(f"{BASE}/alice/{file}").status_code == 200
        reply = viewer.get(f"{BASE}/alice/{file}")
        assert reply.status_code == (403 if file in SECRET else 200), file
        assert own.client().get(f"{BASE}/alice/{file}").status_code == 401
    problem(viewer.post(f"{BASE}/alice/renew"), 403)
    problem(viewer.post(BASE, json={"id": "bob", "spec": {}}), 403)


def test_reading_a_secret_is_told(admin, operator, client):
    def told():
        events = [e["spec"] for e in admin.get("/api/v2/events?limit=20").json()["items"]]
        return [e for e in events if e["subject"] == "vpn/clients/told" and
                e["reason"] == "secret-read" and e["actor"] == "a-operator"]

    client("told")
    for file in FILES:
        text_of(operator, "told", file)
    until("an event for each", lambda: len(told()) >= len(SECRET))
    assert sorted(e["message"] for e in told()) == sorted(
        f"a-operator read the {file} of vpn/clients/told" for file in SECRET)


@pytest.mark.parametrize("file,name,kind", [
    ("key", "alice.key", "text/plain"), ("cert", "alice.crt", "text/plain"),
    ("config", "alice.conf", "text/plain"), ("ca", "ca.crt", "text/plain"),
    ("ovpn", "alice.ovpn", "text/plain"), ("wireguard", "wg-alice.conf", "text/plain"),
    ("qr", "alice.svg", "image/svg+xml")])
def test_names_and_types(admin, client, file, name, kind):
    client("alice")
    reply = admin.get(f"{BASE}/alice/{file}")
    assert reply.headers["Content-Disposition"].endswith(f'; filename="{name}"')
    assert reply.headers["Content-Type"].partition(";")[0] == kind
    assert reply.headers["Cache-Control"] == "no-store"
    problem(admin.get(f"{BASE}/alice/{file}?x=1"), 400)


def test_secrets_are_nowhere_else(own, admin, viewer, client, tmp_path):
    stream = Stream(admin, "/api/v2/watch")
    assert stream.next()[0] == "ready"
    made = client("alice")
    key_lines = [line for line in text_of(admin, "alice", "key").splitlines() if "-" not in line]
    wireguard = re.search("PrivateKey = (.*)\n", text_of(admin, "alice", "wireguard")).group(1)
    secrets = [key_lines[0], wireguard, base64.b64decode(wireguard).hex()]
    assert len(key_lines[0]) > 40 and wireguard != made["spec"]["publicKey"]
    told = ""
    for _ in range(4):
        told += str(stream.next())
    stream.close()
    cli = Cli(tmp_path, own, CNSMO_TOKEN=admin.token)
    backup = admin.get("/api/v2/backup").content
    texts = {"answer": str(made), "one": admin.get(f"{BASE}/alice").text,
             "list": admin.get(BASE).text, "export": cli.out("export"), "watch": told,
             "events": admin.get("/api/v2/events?limit=1000").text,
             "log": own.log.read_text(), "cert": text_of(viewer, "alice", "cert"),
             "config": text_of(viewer, "alice", "config"), "ca": text_of(viewer, "alice", "ca")}
    raw = [base64.b64decode(wireguard), base64.b64decode("".join(key_lines))]
    for path in own.state.iterdir():
        if path.is_file():
            backup += path.read_bytes()
    for secret in secrets:
        for where, text in texts.items():
            assert secret not in text, where
        assert secret.encode() not in backup
    for secret in raw:
        assert secret not in backup
    assert '"sealed"' not in "".join(texts.values()) and '"key"' not in texts["export"]
    assert b"vpn/clients/alice" in backup


def test_only_ever_that_clients_key(admin, client):
    names = ["a", "a.", "a-b", "ab", "b"]
    for name in names:
        client(name)
    keys = {name: text_of(admin, name, "key") for name in names}
    assert len(set(keys.values())) == len(names)
    for name in names:
        assert keys[name] in text_of(admin, name, "ovpn")
        others = "".join(keys[other] for other in names if other != name).splitlines()
        for line in others:
            assert "-----" in line or line not in text_of(admin, name, "ovpn")


# --- with stock programs -------------------------------------------------------------------------

def openvpn(folder, *words):
    return subprocess.Popen(["openvpn", "--cd", str(folder), "--dev", "null", *map(str, words)],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run_until(process, *wanted):
    """Its output until all of these stood in it."""
    text = ""
    for line in process.stdout:
        text += line
        if all(word in text for word in wanted):
            return text
    raise AssertionError(text)


@pytest.mark.parametrize("file", ["alice.conf", "alice.ovpn"])
def test_stock_openvpn_takes_the_configuration(own, admin, client, tmp_path, file):
    """Both ends' TLS, without a tunnel: the hub's end has the hub's certificate, and looks for a
    client's purpose as the hub's server does."""
    client("alice")
    write_files(admin, "alice", tmp_path)
    for path in tmp_path.iterdir():
        path.chmod(0o600)
    text = (tmp_path / file).read_text()
    assert "remote 127.0.0.1 1194\n" in text and "verify-x509-name Hub.1 name\n" in text
    assert "remote-cert-tls server\n" in text and "tls-version-min 1.2\n" in text
    (tmp_path / file).write_text(text.replace("127.0.0.1 1194", f"127.0.0.1 {own.link_port}"))
    server = openvpn(tmp_path, "--tls-server", "--dh", "none", "--local", "127.0.0.1", "--port",
                     own.link_port, "--proto", "udp", "--ca", own.root, "--cert",
                     own.agent.certificate, "--key", own.agent.key, "--remote-cert-eku",
                     "2.25.201838361293746121.2", "--tun-mtu", 1400, "--verb", 3)
    stock = None
    try:
        run_until(server, "UDPv4 link local (bound)")
        stock = openvpn(tmp_path, "--config", file)
        said = run_until(stock, "VERIFY X509NAME OK", "Peer Connection Initiated")
        assert "Options error" not in said and "DEPRECATED" not in said, said
        assert "WARNING" not in said.replace("WARNING: No server certificate", ""), said
        run_until(server, "VERIFY EKU OK", "[alice] Peer Connection Initiated")
    finally:
        for process in (server, stock):
            if process:
                process.kill()
                process.wait()


def test_stock_wireguard_takes_the_configuration(admin, client, tmp_path):
    spec = client("alice")["spec"]
    path = tmp_path / "wg-alice.conf"
    path.write_text(text_of(admin, "alice", "wireguard"))
    stripped = run("wg-quick", "strip", path)
    private = re.search("PrivateKey = (.*)\n", stripped).group(1)
    assert run("wg", "pubkey", stdin=private).strip() == spec["publicKey"]
    for line in (f"PublicKey = {HUB_KEY}", "Endpoint = 127.0.0.1:51820",
                 "AllowedIPs = 10.77.0.0/16", "PersistentKeepalive = 25"):
        assert f"\n{line}\n" in stripped
    for line in (f"Address = {upper(spec['address'])}/32", "MTU = 1420"):
        assert f"\n{line}\n" in path.read_text()


def test_the_qr_code_is_the_configuration(own, admin, client, tmp_path):
    client("alice")
    svg = text_of(admin, "alice", "qr")
    matrix = matrix_of_svg(svg)
    scale, side = 4, len(matrix)
    pixels = b"".join(bytes(0 if dark else 255 for dark in row for _ in range(scale)) * scale
                      for row in matrix)
    (tmp_path / "qr.pgm").write_bytes(b"P5 %d %d 255\n" % (side * scale, side * scale) + pixels)
    cli = Cli(tmp_path, own, CNSMO_TOKEN=admin.token)
    shown = cli.out("vpn", "client", "config", "alice", "--format", "qr")
    assert matrix_of_terminal(shown) == matrix
    if shutil.which("zbarimg"):
        read = run("zbarimg", "--quiet", "--raw", "--nodbus", tmp_path / "qr.pgm")
        assert read.rstrip("\n") == text_of(admin, "alice", "wireguard").rstrip("\n")
