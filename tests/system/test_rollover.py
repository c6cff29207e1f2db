"""The agents' authority is rolled over under running nodes: nobody notices, nobody has to do
anything on a machine; who is deleted stays out."""
import json
import sqlite3
import subprocess

import pytest

from helpers import uninterrupted, wait_connected, wait_pings
from lab.processes import wait_for

LAB = {"nodes": 3, "clouds": 2}

CERTIFICATE = "/var/lib/cnsmo-agent/cert.pem"
PKI = "/var/lib/cnsmod/pki"


def generations(lab, name="agent"):
    return [item for item in lab.api.get("/authorities")["items"] if item["name"] == name]


def issuer(host):
    """The key id of who has signed the certificate on the machine's disk."""
    text = host.out(["openssl", "x509", "-noout", "-ext", "authorityKeyIdentifier", "-in",
                     CERTIFICATE])
    return text.split("\n")[1].strip().removeprefix("keyid:").replace(":", "").lower()


def wait_all_of(lab, names, key_id, timeout=30):
    wait_for("certificates of the new authority",
             lambda: {issuer(lab.host(name)) for name in names} == {key_id}, timeout)


def wait_retired(lab, timeout=30):
    wait_for("the older authority's end",
             lambda: [g["state"] for g in generations(lab)][:2] == ["active", "retired"], timeout)


def vpn_processes(host):
    """Whatever carries the overlay: nothing of it may be restarted."""
    return {name: host.processes(name) for name in ("wireguard-go", "openvpn")}


def test_rollover_interrupts_nobody(lab):
    names = ["Server", "Agent.1", "Agent.2", "Agent.3"]
    one, two = lab.host("Agent.1"), lab.host("Agent.2")
    old = generations(lab)[0]["keyId"]
    assert {issuer(lab.host(name)) for name in names} == {old}
    agents = [lab.host(name).agent_pid() for name in names]
    before = [vpn_processes(lab.host(name)) for name in names]
    with uninterrupted(one, lab.overlay_address("Agent.2")), \
            uninterrupted(two, lab.overlay_address("Agent.3")):
        new = lab.api.post("/authorities/agent/rollover")["items"]
        new = next(item for item in new if item["name"] == "agent")["keyId"]
        assert new != old
        wait_all_of(lab, names, new)
        wait_retired(lab)
    assert [lab.host(name).agent_pid() for name in names] == agents
    assert [vpn_processes(lab.host(name)) for name in names] == before
    assert {item["keyId"]: item["inUse"] for item in generations(lab)} == {new: 4, old: 0}
    assert lab.host("Server").run(["ls", f"{PKI}/agent-ca.key"], check=False).returncode != 0
    # They get in with what they have now.
    one.restart_agent()
    wait_connected(lab, "Agent.1")


@pytest.mark.logs("not connected")
def test_one_that_was_away_renews_when_it_returns(lab):
    away = lab.host("Agent.3")
    old = generations(lab)[0]["keyId"]
    away.stop_agent()
    wait_connected(lab, "Agent.3", False)
    lab.api.post("/authorities/agent/rollover")
    new = generations(lab)[0]["keyId"]
    wait_all_of(lab, ["Server", "Agent.1", "Agent.2"], new)
    wait_for("the last holder", lambda: generations(lab)[1]["holders"] == ["nodes/Agent.3"], 10)
    assert generations(lab)[1]["state"] == "retiring"
    # Meanwhile the server starts again: the rollover goes on where it was.
    server = lab.host("Server")
    server.stop_server()
    server.start_server()
    for name in ("Server", "Agent.1", "Agent.2"):
        wait_connected(lab, name, timeout=40)
    assert generations(lab)[1]["state"] == "retiring"
    wait_pings(lab.host("Agent.1"), lab.overlay_address("Agent.3"))  # its tunnel never stopped
    assert issuer(away) == old
    away.start_agent()
    wait_all_of(lab, ["Agent.3"], new)
    wait_retired(lab)


@pytest.mark.logs("removed from the deployment", "deleted", "not connected", "doesn't exist")
def test_deleted_nodes_certificate_is_refused(lab, stranger, tmp_path):
    stranger.join(lab.token_for("Stranger"), "--id", "Stranger")
    certificate, root = tmp_path / "cert.pem", tmp_path / "root.pem"
    certificate.write_text(stranger.out(["cat", CERTIFICATE]))
    key = stranger.out(["cat", "/var/lib/cnsmo-agent/key.pem"])
    root.write_text(lab.host("Server").out(["cat", f"{PKI}/root.pem"]))
    stranger.stop_agent()
    lab.api.delete("/nodes/Stranger")
    wait_for("the entry in the list", lambda: "certificate revoked" in verify(
        lab, tmp_path, root, certificate), 5)
    # A thief of the key and the certificate gets an answer, and no more.
    one = lab.host("Agent.1")
    one.run(["sh", "-c", "umask 077; cat > /run/stolen.pem"],
            stdin=key + certificate.read_text())
    server = json.loads(one.out(["cat", "/var/lib/cnsmo-agent/agent.json"]))["servers"][0]
    hello = json.dumps({"type": "hello", "version": 1, "id": "Stranger", "revision": 0,
                        "digest": "0" * 32, "agentVersion": "1", "started": 1})
    answer = one.run(["openssl", "s_client", "-quiet", "-connect", server, "-cert",
                      "/run/stolen.pem", "-key", "/run/stolen.pem"], stdin=hello + "\n",
                     check=False).stdout
    assert "welcome" not in answer
    assert json.loads(answer.splitlines()[0])["status"] == 410
    one.run(["rm", "/run/stolen.pem"])


def verify(lab, folder, root, certificate):
    database = folder / "backup.db"
    answer = lab.api.raw("GET", "/api/v2/backup")
    database.write_bytes(answer.body)
    connection = sqlite3.connect(database)
    value = connection.execute("SELECT value FROM state WHERE key = 'pki/crl'").fetchone()
    connection.close()
    (folder / "crl.pem").write_text(json.loads(value[0])["pem"])
    done = subprocess.run(["openssl", "verify", "-crl_check_all", "-CAfile", root, "-CRLfile",
                           folder / "crl.pem", "-untrusted", certificate, certificate],
                          capture_output=True, text=True, timeout=10)
    return done.stdout + done.stderr
