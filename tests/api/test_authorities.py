"""Rollover of the intermediates and revocation, as people and agents meet them."""
import json
import os
import sqlite3
import ssl
import subprocess

import pytest

from agents import Member, issuer_of
from helpers import BUILD, DEADLINE, problem, until

CLIENTS = "/api/v2/vpn/clients"
NAMES = ["server", "agent", "client"]


def openssl(*words):
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True,
                          text=True, timeout=DEADLINE).stdout


def generations(client, name):
    reply = client.get("/api/v2/authorities")
    assert reply.status_code == 200, reply.text
    return [item for item in reply.json()["items"] if item["name"] == name]


def states(client, name):
    return [generation["state"] for generation in generations(client, name)]


def rollover(client, name):
    return client.post(f"/api/v2/authorities/{name}/rollover")


def stored(client, folder, key):
    """A key of the store, by way of a backup; None if it isn't there."""
    path = folder / "backup.db"
    path.write_bytes(client.get("/api/v2/backup").content)
    database = sqlite3.connect(path)
    try:
        row = database.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return row and json.loads(row[0])
    finally:
        database.close()
        path.unlink()


def verify(server, folder, client, certificate):
    """What openssl says of a certificate with the list as openvpn gets it."""
    crl = folder / "crl.pem"
    crl.write_text(stored(client, folder, "pki/crl")["pem"])
    done = subprocess.run(["openssl", "verify", "-crl_check_all", "-CAfile", server.root, "-CRLfile",
                           crl, "-untrusted", certificate, certificate], capture_output=True,
                          text=True, timeout=DEADLINE)
    return done.stdout + done.stderr


@pytest.fixture
def agent(fresh_server, tmp_path):
    agents = []

    def make(client, name, **token):
        agents.append(Member(fresh_server, client, name, tmp_path, **token))
        return agents[-1]
    yield make
    for agent in agents:
        agent.close()


def test_list(by_role):
    for role in ("viewer", "operator", "admin"):
        reply = by_role[role].get("/api/v2/authorities")
        assert reply.status_code == 200
        assert [item["name"] for item in reply.json()["items"]] == NAMES
        for item in reply.json()["items"]:
            assert item["state"] == "active" and len(item["keyId"]) == 64
            assert item["created"] < item["expires"]
            assert item["inUse"] == len(item["holders"])


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_rollover_is_the_admins(by_role, role):
    problem(rollover(by_role[role], "agent"), 403)


@pytest.mark.parametrize("name", ["root", "agents", "x" * 300, "agent%00", "%2e%2e", "Agent"])
def test_unknown_name(admin, name):
    assert rollover(admin, name).status_code in (400, 404)
    assert len(admin.get("/api/v2/authorities").json()["items"]) == 3


def test_agents_of_both_generations_until_the_older_is_unused(fresh_server, agent):
    client = fresh_server.login()
    one, two = agent(client, "Agent.1"), agent(client, "Agent.2")
    first, = generations(client, "agent")
    assert first["inUse"] == 2 and first["holders"] == ["nodes/Agent.1", "nodes/Agent.2"]
    assert one.hello()["authority"] == first["keyId"] == issuer_of(one.certificate.read_text())

    assert rollover(client, "agent").status_code == 200
    new, old = generations(client, "agent")
    assert (new["state"], old["state"]) == ("active", "retiring")
    assert old["keyId"] == first["keyId"] != new["keyId"]
    assert (new["inUse"], old["inUse"]) == (0, 2)
    until("the connected one hears of it",
          lambda: one.wait_for("sync")["authority"] == new["keyId"])
    detail = problem(rollover(client, "agent"), 409)
    assert "Agent.1" in detail and "2" in detail
    one.renew()
    assert issuer_of(one.certificate.read_text()) == new["keyId"]
    one.send({"type": "ping"})
    one.wait_for("pong")  # the same link goes on

    fresh_server.stop()
    fresh_server.start()
    client = fresh_server.login()
    new, old = generations(client, "agent")
    assert (new["inUse"], old["inUse"], old["state"]) == (1, 1, "retiring")
    problem(rollover(client, "agent"), 409)
    assert one.hello()["authority"] == two.hello()["authority"] == new["keyId"]
    two.renew()
    until("the older one is retired", lambda: states(client, "agent") == ["active", "retired"])
    assert not (fresh_server.state / "pki" / "agent-ca.key").exists()
    for agent in (one, two):
        agent.hello()
    reasons = {event["spec"]["reason"] for event in
               client.get("/api/v2/events?limit=100").json()["items"]}
    assert {"rolled-over", "retired"} <= reasons
    assert rollover(client, "agent").status_code == 200  # and again


def test_agent_that_missed_its_new_certificate_comes_back(fresh_server, agent):
    """The link broke, or its disk was full, after the server had noted the new one: with nothing but
    the one of the retired authority it is let in, and renews. Nobody goes to the machine."""
    client = fresh_server.login()
    one = agent(client, "Agent.1")
    one.hello()
    assert rollover(client, "agent").status_code == 200
    one.send({"type": "renew", "csr": one.request.read_text()})
    one.wait_for("renewed")
    one.close()
    until("the older one is retired", lambda: states(client, "agent") == ["active", "retired"])
    new = generations(client, "agent")[0]["keyId"]
    assert issuer_of(one.certificate.read_text()) != new
    assert one.hello()["authority"] == new
    one.renew()
    assert issuer_of(one.certificate.read_text()) == new
    one.hello()


def test_server_has_a_new_certificate_at_once(fresh_server, agent):
    client = fresh_server.login()
    one = agent(client, "Agent.1")
    one.hello()
    assert rollover(client, "server").status_code == 200
    active = generations(client, "server")[0]
    assert active["inUse"] == 1
    pem = openssl("s_client", "-connect", f"127.0.0.1:{fresh_server.api_port}", "-showcerts",
                  "-CAfile", fresh_server.root, "-verify_return_error")
    authority = openssl("x509", "-in", fresh_server.state / "pki" / "server-ca-2.pem")
    assert authority in pem
    one.send({"type": "ping"})
    one.wait_for("pong")
    one.hello()
    fresh_server.login()
    until("the older one is retired", lambda: states(client, "server") == ["active", "retired"])


def test_clients_keep_their_certificates(fresh_server, agent, tmp_path):
    """Nobody on the clients' machines does anything: theirs are good until they are made anew."""
    client = fresh_server.login()
    agent(client, "Hub.1", hub=True)
    client.patch_spec("nodes", "Hub.1", {"endpoint": "127.0.0.1"})
    certificates = {}
    for name in ("alice", "bob"):
        client.create("vpn/clients", {}, name)
        certificates[name] = tmp_path / f"{name}.pem"
        certificates[name].write_text(client.get(f"{CLIENTS}/{name}/cert").text)
    assert rollover(client, "client").status_code == 200
    assert states(client, "agent") == states(client, "server") == ["active"]
    new, old = generations(client, "client")
    assert (new["state"], old["state"]) == ("active", "retiring")
    assert old["holders"] == ["vpn/clients/alice", "vpn/clients/bob"]
    for path in certificates.values():
        assert ": OK" in verify(fresh_server, tmp_path, client, path)
    assert client.delete(f"{CLIENTS}/bob").status_code == 204
    until("revoked", lambda: "certificate revoked" in
          verify(fresh_server, tmp_path, client, certificates["bob"]))
    assert ": OK" in verify(fresh_server, tmp_path, client, certificates["alice"])
    assert client.post(f"{CLIENTS}/alice/renew").status_code == 200
    renewed = client.get(f"{CLIENTS}/alice/cert").text
    assert issuer_of(renewed) == new["keyId"] != issuer_of(certificates["alice"].read_text())
    until("the older one is retired", lambda: states(client, "client") == ["active", "retired"])
    certificates["alice"].write_text(renewed)
    assert ": OK" in verify(fresh_server, tmp_path, client, certificates["alice"])


def test_deleted_nodes_are_revoked(fresh_server, agent, tmp_path):
    client = fresh_server.login()
    one, two, three = (agent(client, f"Agent.{i}") for i in (1, 2, 3))
    earlier = tmp_path / "earlier.pem"
    earlier.write_text(one.certificate.read_text())
    one.hello()
    one.renew()
    for certificate in (one.certificate, earlier, two.certificate):
        assert ": OK" in verify(fresh_server, tmp_path, client, certificate)
    assert client.delete("/api/v2/nodes/Agent.1").status_code == 204
    two.hello()
    two.send({"type": "leave"})
    two.wait_for("left")
    for certificate in (one.certificate, earlier, two.certificate):
        until("revoked", lambda c=certificate: "certificate revoked" in
              verify(fresh_server, tmp_path, client, c))
    assert ": OK" in verify(fresh_server, tmp_path, client, three.certificate)
    for gone in (one, two):
        with pytest.raises(AssertionError, match="this node was deleted"):
            gone.hello()
    three.hello()


def test_restart_makes_no_new_list(fresh_server, agent, tmp_path):
    client = fresh_server.login()
    agent(client, "Agent.1")
    client.delete("/api/v2/nodes/Agent.1")
    before = until("one entry", lambda: len(revoked(stored(client, tmp_path, "pki/crl"))) == 1
                   and stored(client, tmp_path, "pki/crl"))
    fresh_server.stop()
    fresh_server.start()
    client = fresh_server.login()
    assert stored(client, tmp_path, "pki/crl") == before


def revoked(value):
    """Serials in all lists of the bundle."""
    serials = []
    for part in value["pem"].split("-----END X509 CRL-----")[:-1]:
        text = subprocess.run(["openssl", "crl", "-noout", "-text"], check=True, text=True,
                              input=part + "-----END X509 CRL-----\n", capture_output=True).stdout
        serials += [line.split()[-1] for line in text.splitlines() if "Serial Number:" in line]
    return serials


def test_client_certificate_is_no_agents(fresh_server, agent, tmp_path):
    """Whatever a certificate of the clients' authority says, port 8444 isn't for it."""
    client = fresh_server.login()
    one = agent(client, "Hub.1", hub=True)
    client.patch_spec("nodes", "Hub.1", {"endpoint": "127.0.0.1"})
    one.hello()
    own, key = one.certificate, one.key
    client.create("vpn/clients", {}, "alice")
    one.certificate, one.key = tmp_path / "alice.pem", tmp_path / "alice.key"
    one.certificate.write_text(client.get(f"{CLIENTS}/alice/cert").text)
    one.key.write_text(client.get(f"{CLIENTS}/alice/key").text)
    with pytest.raises((AssertionError, ssl.SSLError, ConnectionError)):
        one.hello()
    one.certificate, one.key = tmp_path / "forged.pem", key
    pki, extensions = fresh_server.state / "pki", tmp_path / "extensions"
    extensions.write_text("basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n"
                          "extendedKeyUsage=clientAuth\nsubjectAltName=URI:cnsmo:node:Hub.1\n")
    leaf = openssl("x509", "-req", "-in", one.request, "-CA", pki / "client-ca.pem", "-CAkey",
                   pki / "client-ca.key", "-days", 5, "-extfile", extensions)
    one.certificate.write_text(leaf + (pki / "client-ca.pem").read_text())
    with pytest.raises((AssertionError, ssl.SSLError, ConnectionError)):
        one.hello()
    one.certificate = own
    one.hello()


def test_command_line(fresh_server):
    environment = {**os.environ, "CNSMO_URL": fresh_server.url, "CNSMO_CA": str(fresh_server.root),
                   "CNSMO_USER": "admin", "CNSMO_PASSWORD": "correct horse battery"}

    def cnsmo(*words):
        return subprocess.run([BUILD / "src" / "cli" / "cnsmo", *words], env=environment,
                              capture_output=True, text=True, timeout=DEADLINE)
    table = cnsmo("authority", "list")
    assert table.returncode == 0, table.stderr
    assert table.stdout.splitlines()[0].split()[:3] == ["NAME", "STATE", "IN-USE"]
    assert [line.split()[:2] for line in table.stdout.splitlines()[1:]] == [
        [name, "active"] for name in NAMES]
    assert cnsmo("authority", "rollover", "client").returncode == 0
    again = cnsmo("authority", "rollover", "client")
    assert again.returncode == 1 and "under way" in again.stderr
    items = json.loads(cnsmo("authority", "list", "-o", "json").stdout)
    assert [item["state"] for item in items if item["name"] == "client"] == ["active", "retiring"]
    assert cnsmo("authority", "rollover", "nobody").returncode == 1
    assert cnsmo("authority", "rollover").returncode == 2
