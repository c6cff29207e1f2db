"""Firewall rules, groups and policies: what is accepted, what nodes are told, what is refused."""
import pytest

from agents import with_agents
from helpers import problem, until

FW = {"services": ["vpn", "fw"]}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    for server in with_agents(tmp_path_factory.mktemp("fw"), {
            "Agent.1": {**FW, "labels": {"role": "web"}}, "Agent.2": FW}):
        server.admin.create("nodes", {}, "Plain")
        yield server


@pytest.fixture
def api(own):
    yield own.admin
    for kind in ("fw/policies", "fw/rules", "fw/groups"):
        items = own.admin.get(f"/api/v2/{kind}").json()["items"]
        # Those that let in last: else they are what the others would cut off.
        for item in sorted(items, key=lambda one: one["spec"].get("action") == "accept"):
            assert own.admin.delete(f"/api/v2/{kind}/{item['id']}").status_code == 204


def make(api, kind, spec, name=None, query=""):
    return api.post(f"/api/v2/fw/{kind}{query}",
                    json={"spec": spec, **({"id": name} if name else {})})


def made(api, kind, spec, name=None, query=""):
    reply = make(api, kind, spec, name, query)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def on_node(own, key, node="Agent.1"):
    return own.agents[node].resources.get(f"fw/{key}/{node}")


RULE = {"node": "Agent.1", "action": "drop", "protocol": "tcp", "port": "8080"}


def test_a_rule_reaches_its_nodes(own, api):
    number = made(api, "rules", {**RULE, "source": "192.0.2.0/24"}, query="?wait=applied")
    assert on_node(own, f"rule/{number}") == {
        "order": 1000, "direction": "in", "side": "any", "protocol": "tcp",
        "source": ["192.0.2.0/24"], "destination": [], "port": "8080", "sourcePort": "",
        "state": "any", "action": "drop"}
    assert on_node(own, f"rule/{number}", "Agent.2") is None


def test_groups_are_written_out(own, api):
    made(api, "groups", {"addresses": ["192.0.2.7"]}, "office")
    number = made(api, "rules", {**RULE, "source": "@office"}, query="?wait=applied")
    assert on_node(own, f"rule/{number}")["source"] == ["192.0.2.7/32"]
    api.patch("/api/v2/fw/groups/office?wait=applied",
              json={"spec": {"addresses": ["192.0.2.8"]}})
    assert on_node(own, f"rule/{number}")["source"] == ["192.0.2.8/32"]
    problem(api.delete("/api/v2/fw/groups/office"), 409)
    assert f"fw rule {number} uses it" in api.delete("/api/v2/fw/groups/office").json()["detail"]


@pytest.mark.parametrize("change, status, pointer, words", [
    ({"action": None}, 400, "/spec/action", '"action" is required'),
    ({"action": "allow"}, 400, "/spec/action", ""),
    ({"node": "Nobody"}, 400, "/spec/node", 'there is no node "Nobody"'),
    ({"node": "Plain"}, 409, "/spec/node", "cnsmo node set Plain --services vpn,fw"),
    ({"selector": {}}, 400, "/spec/selector", "exclude each other"),
    ({"node": None}, 400, "/spec/node", '"node" or "selector" is required'),
    ({"source": "999.1.1.1"}, 400, "/spec/source", "must be an IPv4 address or prefix"),
    ({"source": "10.0.0.1/8"}, 400, "/spec/source", "host bits"),
    ({"destination": "::1"}, 400, "/spec/destination", "must be IPv4"),
    ({"source": "@nobody"}, 400, "/spec/source", 'there is no fw group "nobody"'),
    ({"port": "90-80"}, 400, "/spec/port", "ends before it begins"),
    ({"port": "0"}, 400, "/spec/port", "must be ports from 1 to 65535"),
    ({"port": "65536"}, 400, "/spec/port", "must be ports from 1 to 65535"),
    ({"port": "80,"}, 400, "/spec/port", "must be ports"),
    ({"port": "80 ,90"}, 400, "/spec/port", "must be ports"),
    ({"port": ",".join(str(port) for port in range(1, 18))}, 400, "/spec/port", "more than 16"),
    ({"protocol": "icmp"}, 400, "/spec/port", "needs the protocol tcp or udp, and it is icmp"),
    ({"protocol": "any"}, 400, "/spec/port", "needs the protocol tcp or udp"),
    ({"port": "", "sourcePort": "7", "protocol": "icmp"}, 400, "/spec/sourcePort", "needs"),
    ({"order": 0}, 400, "/spec/order", ""),
    ({"direction": "both"}, 400, "/spec/direction", ""),
    ({"interface": "eth0"}, 400, "/spec/interface", ""),
])
def test_bad_rules(api, change, status, pointer, words):
    spec = {key: value for key, value in {**RULE, **change}.items() if value is not None}
    reply = make(api, "rules", spec)
    problem(reply, status, pointer)
    assert words in reply.json()["detail"]


@pytest.mark.parametrize("addresses, pointer", [
    ([], "/spec/addresses"), (["1.2.3.4", "x"], "/spec/addresses/1"),
    (["10.0.0.1/8"], "/spec/addresses/0"), (["::1"], "/spec/addresses/0")])
def test_bad_groups(api, addresses, pointer):
    problem(make(api, "groups", {"addresses": addresses}, "bad"), 400, pointer)


def test_policies(own, api):
    problem(make(api, "policies", {"selector": {}}, "none"), 400, "/spec/in")
    made(api, "policies", {"selector": {"role": "web"}, "out": "accept"}, "web",
         "?wait=applied")
    assert on_node(own, "policy/web") == {"rank": 1, "out": "accept"}
    assert on_node(own, "policy/web", "Agent.2") is None
    problem(api.patch("/api/v2/nodes/Agent.1", json={"spec": {"services": ["fw"]}}), 400,
            "/spec/services")


# --- what would cut somebody off -----------------------------------------------------------------

SSH = {"selector": {}, "action": "accept", "protocol": "tcp", "port": "22", "order": 10}


@pytest.fixture
def link(own, api):
    """These agents run on the server's machine: others must reach it there."""
    made(api, "rules", {**SSH, "port": str(own.link_port)})


def test_a_default_that_closes_the_server(own, api):
    made(api, "rules", SSH)
    reply = make(api, "policies", {"selector": {}, "in": "drop"}, "closed")
    problem(reply, 409)
    assert f"nobody could reach port {own.link_port} of Agent.1" in reply.json()["detail"]


def test_a_default_that_closes_ssh(api, link):
    closed = {"selector": {}, "in": "drop"}
    reply = make(api, "policies", closed, "closed")
    problem(reply, 409)
    assert "nobody could reach port 22 of Agent.1" in reply.json()["detail"]
    number = made(api, "rules", SSH)
    made(api, "policies", closed, "closed")
    # What lets ssh in can't go any more, nor be shut, nor stop holding.
    problem(api.delete(f"/api/v2/fw/rules/{number}"), 409)
    problem(api.patch(f"/api/v2/fw/rules/{number}", json={"spec": {"port": "23"}}), 409)
    problem(api.patch(f"/api/v2/fw/rules/{number}",
                      json={"spec": {"selector": {"role": "web"}}}), 409)
    problem(make(api, "rules", {**SSH, "action": "drop", "order": 5}), 409)
    made(api, "rules", {**SSH, "action": "drop", "order": 20})
    assert api.patch(f"/api/v2/fw/rules/{number}",
                     json={"spec": {"source": "192.0.2.0/24"}}).status_code == 200


@pytest.mark.parametrize("change", [
    {}, {"protocol": "any", "port": ""}, {"port": "1-1000"}, {"action": "reject"},
    {"state": "new"}, {"state": "established"}, {"side": "public"}])
def test_rules_that_close_ssh(api, change):
    problem(make(api, "rules", {**SSH, "action": "drop", **change}), 409)


@pytest.mark.parametrize("change", [
    {"source": "192.0.2.0/24"}, {"port": "23-1000"}, {"side": "overlay"}, {"protocol": "udp"},
    {"sourcePort": "7"}, {"action": "log"}, {"direction": "out"}, {"source": "0.0.0.0/1"}])
def test_rules_that_leave_ssh(api, change):
    made(api, "rules", {**SSH, "action": "drop", **change})


def test_both_halves_of_the_world(api):
    made(api, "rules", {**SSH, "action": "drop", "source": "0.0.0.0/1"})
    problem(make(api, "rules", {**SSH, "action": "drop", "source": "128.0.0.0/1"}), 409)
    made(api, "groups", {"addresses": ["192.0.2.7"]}, "half")
    made(api, "rules", {**SSH, "action": "drop", "source": "@half"})
    problem(api.patch("/api/v2/fw/groups/half", json={"spec": {"addresses": ["128.0.0.0/1"]}}),
            409)


def test_a_node_that_would_be_cut(api, link):
    made(api, "rules", {**SSH, "selector": {"role": "web"}})
    made(api, "policies", {"selector": {"role": "web"}, "in": "drop"}, "web")
    problem(make(api, "policies", {"selector": {}, "in": "drop"}, "all"), 409)
    made(api, "rules", {**SSH, "selector": {"role": "db"}, "action": "drop"})
    reply = api.patch("/api/v2/nodes/Agent.2", json={"spec": {"labels": {"role": "db"}}})
    problem(reply, 409)
    assert "nobody could reach port 22 of Agent.2" in reply.json()["detail"]


def test_forced_it_is_on_trial(own, api):
    closed = {"selector": {}, "in": "drop"}
    made(api, "policies", closed, "closed", "?force=true&wait=applied")
    assert on_node(own, "policy/closed")["confirmWithin"] == 60
    assert "confirmBy" in api.get("/api/v2/fw/policies/closed").json()["status"]
    number = made(api, "rules", {**SSH, "action": "drop"}, query="?force=true&wait=applied")
    assert "confirmWithin" not in on_node(own, f"rule/{number}")  # it cuts nothing off any more


def test_counters(own, api):
    number = made(api, "rules", RULE, query="?wait=applied")
    own.agents["Agent.1"].send({"type": "counters", "values": {
        f"fw/rule/{number}": [7, 420], "fw/node/policy-in": [3, 180]}})
    until("they are shown", lambda: api.get(f"/api/v2/fw/rules/{number}").json()["status"]
          ["packets"] == 7)
    [point] = api.get(f"/api/v2/fw/rules/{number}/series").json()["points"][-1:]
    assert (point["packets"], point["bytes"]) == (7, 420)
    lines = api.get("/metrics").text.splitlines()
    assert f'cnsmo_fw_rule_packets_total{{rule="{number}",node="Agent.1"}} 7' in lines
    assert 'cnsmo_fw_node_policy_in_packets_total{node="Agent.1"} 3' in lines
