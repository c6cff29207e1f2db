"""The agent's `leave`, as far as the server has a say in it: nothing on this machine is changed."""
import hashlib
import json
import ssl
import subprocess

import pytest

from agents import Member
from helpers import BUILD, DEADLINE, until


@pytest.fixture
def hub(fresh_server, tmp_path):
    """A hub that is away, and its identity as its agent has it on the disk."""
    admin = fresh_server.login()
    member = Member(fresh_server, admin, "Hub.1", tmp_path, hub=True)
    member.admin, member.state = admin, tmp_path / "agent"
    member.state.mkdir()
    (member.state / "key.pem").write_text(member.key.read_text())
    (member.state / "cert.pem").write_text(member.certificate.read_text())
    root = ssl.PEM_cert_to_DER_cert(fresh_server.root.read_text())
    (member.state / "agent.json").write_text(json.dumps({
        "id": "Hub.1", "servers": [f"127.0.0.1:{fresh_server.link_port}"],
        "fingerprint": "sha256:" + hashlib.sha256(root).hexdigest()}))
    admin.create("vpn/clients", {}, "alice")
    yield member
    member.close()


def leave(hub):
    return subprocess.Popen([BUILD / "src" / "agent" / "cnsmo-agent", "leave", "--state-dir",
                             hub.state, "--run-dir", hub.state / "run"],
                            stderr=subprocess.PIPE, text=True)


def assert_refused(hub, leaving):
    said = leaving.communicate(timeout=DEADLINE)[1]
    assert leaving.returncode == 1
    assert 'VPN clients belong to the hub Hub.1, "alice" for one' in said
    assert "nothing was changed" in said
    assert (hub.state / "agent.json").exists()
    assert hub.admin.get("/api/v2/nodes/Hub.1").status_code == 200


def test_a_hub_with_clients_is_told_at_once(fresh_server, hub):
    assert_refused(hub, leave(hub))
    assert fresh_server.log.read_text().count("agent connected") == 1  # it didn't ask again


def test_the_end_of_another_connection_is_waited_for(fresh_server, hub):
    hub.hello()
    leaving = leave(hub)
    until("it is refused", lambda: "duplicate agent" in fresh_server.log.read_text())
    hub.close()
    assert_refused(hub, leaving)
