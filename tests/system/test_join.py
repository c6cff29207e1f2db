"""Machines join and leave; who may, under what name, and what others notice: nothing."""
import datetime
import json

import pytest

from helpers import (edit_token, host_state, peers, public_key, status_of, token_members,
                     uninterrupted, wait_connected, wait_pings, wait_settled)
from lab.processes import wait_for

LAB = {"nodes": 2, "clouds": 2}


def refused(host, token, *options):
    """Joins in vain; the message for the user, after a look that nothing is left on the machine."""
    before = host_state(host)
    done = host.join(token, "--id", host.name, *options, check=False)
    assert done.returncode != 0, done.stdout
    assert not host.joined()
    assert host_state(host) == before
    assert host.run(["find", "/var/lib/cnsmo-agent", "-name", "cert.pem"], check=False).stdout == ""
    return done.stderr


def test_every_node_is_connected_and_named(lab):
    def running():
        return all(node["status"]["services"]["vpn"]["state"] == "running"
                   for node in lab.api.nodes().values())
    wait_for("state running of every vpn", running, 20)
    nodes = lab.api.nodes()
    assert set(nodes) == {"Server", "Agent.1", "Agent.2"}
    for name, node in nodes.items():
        assert node["status"]["connected"], name
        assert node["status"]["address"].startswith("10.77."), name
    assert len({node["status"]["address"] for node in nodes.values()}) == 3


def test_agent_says_what_it_is(lab):
    status = lab.host("Agent.1").status()
    assert status["id"] == "Agent.1"
    assert lab.host("Agent.1").run(["cnsmo-agent", "status"]).stdout.strip()


def test_secrets_are_private(lab):
    found = lab.host("Agent.1").out(
        ["find", "/var/lib/cnsmo-agent", "-type", "f", "-perm", "/077",
         "(", "-name", "*.key", "-o", "-name", "*key.pem", "-o", "-name", "cert.pem", ")"])
    assert found == ""


def test_join_and_leave_interrupt_nobody(lab, stranger):
    one, two = lab.host("Agent.1"), lab.overlay_address("Agent.2")
    before = host_state(stranger)
    with uninterrupted(one, two):
        stranger.join(lab.token_for("Stranger"), "--id", "Stranger", "--services", "vpn")
        lab.wait_overlay(timeout=20)
        key = public_key(stranger)
        assert key in peers(one)
        stranger.leave()
        wait_for("the peer's removal", lambda: key not in peers(one), 5)
    after = host_state(stranger)
    for part, lines in before.items():
        assert after[part] == lines, part
    assert "Stranger" not in lab.api.nodes()


def test_join_again_is_the_same_node(lab, stranger):
    token = lab.token_for("Stranger")
    stranger.join(token, "--id", "Stranger")
    address = lab.overlay_address("Stranger")
    # The token is used up now; the same id with the same key is still the same node.
    stranger.stop_agent()
    stranger.run(["rm", "/var/lib/cnsmo-agent/cert.pem", "/var/lib/cnsmo-agent/agent.json"])
    stranger.join(token, "--id", "Stranger")
    assert lab.overlay_address("Stranger") == address
    stranger.leave()


def test_static_address(lab):
    two = lab.host("Agent.2")
    old = lab.overlay_address("Agent.2")
    lab.api.patch("/nodes/Agent.2?wait=applied&timeout=20", {"spec": {"address": "10.77.99.99"}})
    assert lab.overlay_address("Agent.2") == "10.77.99.99"
    wait_pings(lab.host("Agent.1"), "10.77.99.99", 10)
    assert not lab.host("Agent.1").ping(old)
    addresses = json.loads(two.out(["ip", "-j", "-4", "addr", "show", "dev", "cnsmo0"]))
    assert [a["local"] for a in addresses[0]["addr_info"]] == ["10.77.99.99"]
    lab.api.patch("/nodes/Agent.2?wait=applied&timeout=20", {"spec": {"address": old}})
    wait_pings(lab.host("Agent.1"), old, 10)


@pytest.mark.parametrize("address, word", [("192.0.2.1", "overlay"), ("10.77.0.0", "address"),
                                           ("10.77.300.1", "address"), (7, "string")])
def test_address_that_cannot_be(lab, address, word):
    answer = lab.api.raw("PATCH", "/api/v2/nodes/Agent.2", {"spec": {"address": address}},
                         {"Content-Type": "application/merge-patch+json"})
    assert answer.status in (400, 409, 422), answer.body
    problem = answer.json()
    assert problem["pointer"] == "/spec/address"
    assert word in problem["detail"], problem


def test_address_taken(lab):
    answer = lab.api.raw("PATCH", "/api/v2/nodes/Agent.2",
                         {"spec": {"address": lab.overlay_address("Agent.1")}},
                         {"Content-Type": "application/merge-patch+json"})
    assert answer.status in (409, 422), answer.body
    assert "Agent.1" in answer.json()["detail"]


@pytest.mark.logs("join refused")
def test_token_expired(lab, stranger):
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    token = lab.token_for("Stranger", expires=soon.strftime("%Y-%m-%dT%H:%M:%SZ"))
    token_id = token_members(token)["i"]
    wait_for("the token's end",
             lambda: lab.api.get(f"/tokens/{token_id}")["status"]["state"] == "expired", 10)
    assert "token" in refused(stranger, token)


@pytest.mark.logs("join refused")
def test_token_used_up(lab, stranger):
    token = lab.api.make_token(uses=1, services=["vpn"])
    other = lab.add("Other", 2)
    try:
        other.join(token, "--id", "Other")
        assert lab.api.get(f"/tokens/{token_members(token)['i']}")["status"]["state"] == "used"
        assert "token" in refused(stranger, token)
        other.leave()
    finally:
        lab.remove("Other")


@pytest.mark.logs("join refused")
def test_token_forged(lab, stranger):
    token = lab.token_for("Stranger")
    secret = token_members(token)["k"]
    assert "token" in refused(stranger, edit_token(token, k="A" * len(secret)))
    assert "token" in refused(stranger, edit_token(token, i="nothing"))
    assert refused(stranger, "cnsmo1.AAAA")
    assert refused(stranger, "hello")
    # And the right one is still good.
    stranger.join(token, "--id", "Stranger")
    stranger.leave()


@pytest.mark.logs("handshake", "join refused", "TLS")
def test_server_is_not_the_tokens(lab, stranger):
    token = edit_token(lab.token_for("Stranger"), f="0" * 64)
    words = refused(stranger, token)
    assert "fingerprint" in words or "certificate" in words, words


@pytest.mark.logs("join refused")
def test_id_taken(lab, stranger):
    token = lab.api.make_token(uses=1, services=["vpn"])
    done = stranger.join(token, "--id", "Agent.1", check=False)
    assert done.returncode != 0
    assert "Agent.1" in done.stderr
    assert not stranger.joined()
    assert lab.host("Server").ping(lab.overlay_address("Agent.1"))


@pytest.mark.logs("join refused")
def test_id_or_service_not_permitted(lab, stranger):
    token = lab.api.make_token(uses=1, ids=["Agent.*"], services=["vpn"])
    assert "Stranger" in refused(stranger, token)
    token = lab.api.make_token(uses=1, services=["vpn"])
    assert "sdn" in refused(stranger, token, "--services", "vpn,sdn")


@pytest.mark.logs("doesn't take a report", "own public key", "removed this node")
@pytest.mark.lab(nodes=2, clouds=2)
def test_public_key_taken(fresh_lab):
    """A copied tunnel key is refused: its owner keeps it, and nobody gets the copy as a peer."""
    lab = fresh_lab
    one, two, stranger = lab.host("Agent.1"), lab.host("Agent.2"), lab.add("Stranger", 1)
    key = one.out(["cat", "/var/lib/cnsmo-agent/vpn/wireguard.key"])
    stranger.run(["install", "-d", "-m", "0700", "/var/lib/cnsmo-agent/vpn"])
    stranger.run(["sh", "-c", "umask 077; cat > /var/lib/cnsmo-agent/vpn/wireguard.key"], stdin=key)
    before = peers(two)
    stranger.join(lab.token_for("Stranger"), "--id", "Stranger", check=False)

    def reported():
        return "Agent.1" in json.dumps(status_of(lab, "Stranger")["errors"])
    wait_for("a word about the key in the node's status", reported, 20)
    assert peers(two) == before
    assert two.out(["wg", "show", "cnsmo0", "allowed-ips"]).count(
        lab.overlay_address("Agent.1") + "/32") == 1
    lab.api.delete("/nodes/Stranger")
    wait_for("the agent's end", lambda: not stranger.agent_pid(), 15)
    wait_settled(lab)
    wait_pings(two, lab.overlay_address("Agent.1"))


@pytest.mark.logs("join refused")
def test_overlay_overlaps_a_route(lab, stranger):
    gateway = lab.topology.clouds[0].gateway
    stranger.ip(f"route add 10.77.5.0/24 via {gateway}")
    assert "10.77.5.0/24" in refused(stranger, lab.token_for("Stranger"))
    assert "Stranger" not in lab.api.nodes()


@pytest.mark.logs("duplicate agent", "another agent of Agent.2 is connected")
def test_two_agents_with_one_certificate(lab, stranger):
    two = lab.host("Agent.2")
    stranger.run(["mkdir", "-p", "/var/lib/cnsmo-agent"])
    files = two.out(["sh", "-c", "cd /var/lib/cnsmo-agent; tar c agent.json key.pem cert.pem | base64"])
    stranger.run(["sh", "-c", "base64 -d | tar x -C /var/lib/cnsmo-agent"], stdin=files)
    with uninterrupted(lab.host("Agent.1"), lab.overlay_address("Agent.2")):
        clone = stranger.start_agent()

        def told():
            events = lab.api.get("/events?limit=1000")["items"]
            return any("Agent.2" in json.dumps(event) and "connect" in json.dumps(event)
                       and lab.topology.address("Stranger") in json.dumps(event)
                       for event in events)
        wait_for("an event about the second connection", told, 15)
    clone.stop()
    wait_connected(lab, "Agent.2")


@pytest.mark.logs("removed this node")
def test_deleted_node_is_cut_off(lab, stranger):
    before = host_state(stranger)
    stranger.join(lab.token_for("Stranger"), "--id", "Stranger")
    lab.wait_overlay(timeout=20)
    key, address = public_key(stranger), lab.overlay_address("Stranger")
    identity = stranger.out(["sh", "-c", "tar c -C /var/lib/cnsmo-agent . | base64"])
    others = [lab.host(name) for name in ("Server", "Agent.1", "Agent.2")]
    lab.api.delete("/nodes/Stranger")
    wait_for("removal from every peer", lambda: all(key not in peers(host) for host in others), 2)
    assert not lab.host("Agent.1").ping(address)
    # It takes everything off the machine, and its certificate is worth nothing any more.
    wait_for("the agent's end", lambda: not stranger.agent_pid(), 15)
    assert host_state(stranger) == before
    stranger.run(["sh", "-c", "base64 -d | tar x -C /var/lib/cnsmo-agent"], stdin=identity)
    stranger.start_agent()
    wait_for("the agent's end", lambda: stranger.agent_log().count("removed this node") == 2, 15)
    assert "Stranger" not in lab.api.nodes()
