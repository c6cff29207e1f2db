"""API v1's firewall, field by field, as the 2017 platform's clients use it."""
import pytest

from agents import with_agents
from helpers import v1_client, v1_refused

BASES = ["/api/v1/services/fw", "/api/v1/fw"]
BODY = {"direction": "in", "protocol": "tcp", "dst_port": "80:90", "dst_src": "src",
        "ip_range": "192.0.2.7/24", "action": "drop"}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    fw = {"services": ["vpn", "fw"]}
    for server in with_agents(tmp_path_factory.mktemp("v1-fw"), {"Agent.1": fw, "Agent.2": fw}):
        server.admin.create("nodes", fw, "Away")
        server.v1 = v1_client(server)
        yield server


@pytest.fixture
def v1(own):
    yield own.v1
    for item in rules(own):
        own.admin.delete(f"/api/v2/fw/rules/{item['id']}")


def rules(own):
    return own.admin.get("/api/v2/fw/rules").json()["items"]


@pytest.mark.parametrize("path", [f"{base}/{name}{slash}" for base in BASES
                                  for name in ("rules", "Rules") for slash in ("", "/")])
def test_it_is_in_force_when_it_answers(own, v1, path):
    reply = v1.post(path, json=BODY)
    assert (reply.status_code, reply.content) == (204, b"")
    number = rules(own)[0]["id"]
    for node in ("Agent.1", "Agent.2"):
        body = own.agents[node].resources[f"fw/rule/{number}/{node}"]
        assert (body["source"], body["port"], body["action"]) == (["192.0.2.0/24"], "80-90",
                                                                  "drop")
    assert v1.get(path).json() == [{**BODY, "ip_range": "192.0.2.0/24", "id": number}]


def test_one_node(own, v1):
    assert v1.post(f"{BASES[0]}/rules", json={
        "direction": "out", "protocol": "icmp", "dst_src": "dst", "ip_range": "192.0.2.7",
        "action": "rjct", "ssinstanceid": "Agent.1"}).status_code == 204
    [rule] = v1.get(f"{BASES[0]}/rules").json()
    assert rule == {"id": rules(own)[0]["id"], "direction": "out", "protocol": "icmp",
                    "dst_port": "", "dst_src": "dst", "ip_range": "192.0.2.7/32",
                    "action": "rjct", "ssinstanceid": "Agent.1"}
    assert not [key for key in own.agents["Agent.2"].resources if key.startswith("fw/rule")]


def test_in_their_order(own, v1):
    for port, order in (("1", 20), ("2", 10), ("3", 20)):
        own.admin.create("fw/rules", {"selector": {}, "protocol": "udp", "port": port,
                                      "action": "accept", "order": order})
    v1.post(f"{BASES[0]}/rules", json={**BODY, "action": "acpt"})
    listed = v1.get(f"{BASES[0]}/rules").json()
    assert [rule["dst_port"] for rule in listed] == ["2", "1", "3", "80:90"]


def test_away_and_failing(own, v1):
    v1_refused(v1.post(f"{BASES[0]}/rules", json={**BODY, "ssinstanceid": "Away"}), 503,
            "Away is away; the rule was not added")
    v1_refused(v1.post(f"{BASES[0]}/rules", json={**BODY, "ssinstanceid": "Nobody"}), 404,
            'there is no node "Nobody"')
    assert not rules(own)
    own.admin.create("fw/rules", {"node": "Away", "protocol": "udp", "port": "7",
                                  "action": "drop"})
    assert v1.get(f"{BASES[0]}/rules").json() == []  # nowhere in force


@pytest.mark.parametrize("where", [{}, {"ssinstanceid": "Agent.2"}])
def test_a_node_that_does_not_acknowledge(own, v1, where):
    """A rule for all holds while one is away, not while one that is there hasn't applied it."""
    agent = own.agents["Agent.2"]
    agent.acknowledges = False
    try:
        v1_refused(v1.post(f"{BASES[0]}/rules", json={**BODY, **where}), 503,
                "Agent.2 hasn't applied it yet; the rule was not added")
    finally:
        agent.acknowledges = True
    assert not rules(own)


def test_what_would_cut_somebody_off(own, v1):
    reply = v1.post(f"{BASES[0]}/rules", json={**BODY, "dst_port": "22", "ip_range": "0.0.0.0/0"})
    assert reply.status_code == 409 and "ssh" in reply.json()["errors"]


@pytest.mark.parametrize("body, sentence", [
    ([], '"value" must be an object'),
    ({}, '"direction" is required'),
    ({**BODY, "direction": "both"}, '"direction" must be one of [in, out]'),
    ({**BODY, "direction": 1}, '"direction" must be a string'),
    ({"direction": "in"}, '"protocol" is required'),
    ({**BODY, "protocol": "sctp"}, '"protocol" must be one of [tcp, udp, icmp, any]'),
    ({**BODY, "dst_port": ""}, '"dst_port" is not allowed to be empty'),
    ({**BODY, "dst_port": 80}, '"dst_port" must be a string'),
    ({**BODY, "dst_port": "80-90"}, '"dst_port" must be a port or a range such as 80:90'),
    ({**BODY, "dst_port": "80:90:91"}, '"dst_port" must be a port or a range such as 80:90'),
    ({**BODY, "dst_port": "0"}, '"dst_port" must be a port or a range such as 80:90'),
    ({**BODY, "dst_port": "90:80"}, '"dst_port" ends before it begins'),
    ({**BODY, "protocol": "icmp"}, '"dst_port" is not allowed with protocol icmp'),
    ({**BODY, "dst_src": "both"}, '"dst_src" must be one of [dst, src]'),
    ({**BODY, "ip_range": ""}, '"ip_range" is not allowed to be empty'),
    ({**BODY, "ip_range": "999.1.1.1"}, '"ip_range" must be an IPv4 address or prefix'),
    ({**BODY, "action": "accept"}, '"action" must be one of [acpt, drop, rjct]'),
    ({**BODY, "ssinstanceid": ""}, '"ssinstanceid" is not allowed to be empty'),
    ({**BODY, "order": 1}, '"order" is not allowed'),
])
def test_bad_bodies(own, v1, body, sentence):
    v1_refused(v1.post(f"{BASES[0]}/rules", json=body), 400, sentence)
    assert not rules(own)
