"""sdn/filters and sdn/flows: every rule with its field and sentence, what nodes get, and status."""
import concurrent.futures

import pytest

from agents import with_agents
from helpers import problem

FILTERS, FLOWS = "/api/v2/sdn/filters", "/api/v2/sdn/flows"
PORT_WORDS = '"port" must be a port from 1 to 65535, or a range such as 8000-8010'
ADDRESS_WORDS = ("must be an IPv4 address or prefix, such as 10.77.0.2 or 10.77.0.0/24")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    yield from with_agents(tmp_path_factory.mktemp("sdn"), {
        "Agent.1": {"services": ["vpn", "sdn"], "labels": {"tier": "web", "zone": "1"}},
        "Agent.2": {"services": ["vpn", "sdn"], "labels": {"tier": "web"}},
        "Plain": {"services": ["vpn"], "labels": {"tier": "web"}}})


@pytest.fixture
def api(own):
    yield own.admin
    for kind in ("filters", "flows"):
        for item in own.admin.get(f"/api/v2/sdn/{kind}").json()["items"]:
            assert own.admin.delete(f"/api/v2/sdn/{kind}/{item['id']}").status_code == 204


def post(api, spec, path=FILTERS, **kwargs):
    return api.post(path, json={"spec": spec}, **kwargs)


def make(api, spec, path=FILTERS):
    reply = post(api, spec, f"{path}?wait=applied")
    assert reply.status_code == 201, reply.text
    return reply.json()


def tcp(port, **more):
    return {"node": "Agent.1", "protocol": "tcp", "port": port, **more}


# --- what is refused ------------------------------------------------------------------------------

@pytest.mark.parametrize("spec, status, pointer, sentence", [
    ({}, 400, "/spec/node", '"node" or "selector" is required'),
    ({"node": "Agent.1", "selector": {}}, 400, "/spec/selector",
     '"selector" and "node" exclude each other: give one of them'),
    ({"node": "Nobody"}, 400, "/spec/node", '"node": there is no node "Nobody"'),
    ({"node": "Plain"}, 409, "/spec/node",
     '"node": Plain doesn\'t run sdn; turn it on: cnsmo node set Plain --services vpn,sdn'),
    (tcp("0"), 400, "/spec/port", PORT_WORDS),
    (tcp("65536"), 400, "/spec/port", PORT_WORDS),
    (tcp("80x"), 400, "/spec/port", PORT_WORDS),
    (tcp("-1"), 400, "/spec/port", PORT_WORDS),
    (tcp(" 80"), 400, "/spec/port", PORT_WORDS),
    (tcp("80,81"), 400, "/spec/port", PORT_WORDS),
    (tcp("90-80"), 400, "/spec/port", '"port" 90-80 ends before it begins'),
    (tcp(80), 400, "/spec/port", '"port" must be a string'),
    ({"node": "Agent.1", "port": "80"}, 400, "/spec/port",
     '"port" needs the protocol tcp or udp, and it is any'),
    ({"node": "Agent.1", "protocol": "icmp", "port": "80"}, 400, "/spec/port",
     '"port" needs the protocol tcp or udp, and it is icmp'),
    (tcp("80", destination="10.77.0.2/16"), 400, "/spec/destination",
     '"destination" 10.77.0.2/16 has host bits set; the prefix is 10.77.0.0/16'),
    (tcp("80", destination="999.1.1.1"), 400, "/spec/destination",
     f'"destination" {ADDRESS_WORDS}'),
    (tcp("80", destination="example.org"), 400, "/spec/destination",
     f'"destination" {ADDRESS_WORDS}'),
    (tcp("80", source=""), 400, "/spec/source", f'"source" {ADDRESS_WORDS}'),
    (tcp("80", source="10.0.0.0/33"), 400, "/spec/source", f'"source" {ADDRESS_WORDS}'),
    (tcp("80", source="2001:db8::/32"), 400, "/spec/source",
     '"source" must be IPv4: the overlay has no IPv6 yet'),
    (tcp("80", source="\u0661\u0660.0.0.1"), 400, "/spec/source", f'"source" {ADDRESS_WORDS}'),
])
def test_filters_are_refused(api, spec, status, pointer, sentence):
    assert problem(post(api, spec), status, pointer) == sentence
    assert api.get(FILTERS).json()["items"] == []


@pytest.mark.parametrize("spec, pointer", [
    (tcp("80", direction="up"), "/spec/direction"),
    (tcp("80", protocol="sctp"), "/spec/protocol"),
    (tcp("80", action="accept"), "/spec/action"),
    (tcp("80", priority=0), "/spec/priority"),
    (tcp("80", priority=30001), "/spec/priority"),
    (tcp("80", priority="1"), "/spec/priority"),
    (tcp("80", comment="x" * 201), "/spec/comment"),
    (tcp("80", dst="10.0.0.1"), "/spec/dst"),
    (tcp("1" * 12), "/spec/port"),
    ({"selector": {"a": "b/c"}}, "/spec/selector/a"),
    ({"selector": {"a/b": "c"}}, "/spec/selector"),
    ({"selector": []}, "/spec/selector"),
    ({"node": "a b"}, "/spec/node"),
])
def test_fields_out_of_form(api, spec, pointer):
    problem(post(api, spec), 400, pointer)


def test_an_object_may_bring_its_id(api):
    """As apply makes it from another server's export. What is counted goes on after it."""
    last = int(make(api, tcp("1"))["id"])
    own = {"id": str(last + 10), "spec": tcp("2")}
    assert api.post(FILTERS, json=own).json()["id"] == str(last + 10)
    assert problem(api.post(FILTERS, json={**own, "spec": tcp("3")}), 409, "/id") == (
        f'sdn filter "{last + 10}" exists')
    assert make(api, tcp("3"))["id"] == str(last + 11)
    assert api.post(FILTERS, json={"id": str(last + 5), "spec": tcp("4")}).status_code == 201
    assert make(api, tcp("5"))["id"] == str(last + 12)


@pytest.mark.parametrize("name", ["", "0", "07", "x", "-1", "1.5", "1000000000", 7])
def test_ids_are_numbers(api, name):
    problem(api.post(FILTERS, json={"id": name, "spec": tcp("80")}), 400, "/id")


def test_many_at_once_get_different_ids(own, api):
    """Ids are counted in the transaction: who loses the race for one counts again."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        clients = [own.client(api.token) for _ in range(8)]
        replies = list(pool.map(lambda i: post(clients[i % 8], tcp(str(1000 + i))), range(40)))
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.json()["id"] for reply in replies}) == 40


@pytest.mark.parametrize("again", [
    tcp("1919"), tcp("1919-1919"), tcp("1919", comment="another", priority=7),
    tcp("1919", source="0.0.0.0/0")])
def test_the_same_filter_twice(api, again):
    first = make(api, tcp("1919"))
    assert problem(post(api, again), 409) == f"sdn filter {first['id']} is the same"
    other = make(api, tcp("1920"))
    reply = api.patch(f"{FILTERS}/{other['id']}", json={"spec": {"port": "1919"}})
    assert problem(reply, 409) == f"sdn filter {first['id']} is the same"
    assert api.patch(f"{FILTERS}/{first['id']}", json={"spec": {"comment": "x"}}).status_code == 200
    assert api.delete(f"{FILTERS}/{first['id']}").status_code == 204
    make(api, again)


def test_ids_are_never_used_again(api):
    first = make(api, tcp("1"))
    api.delete(f"{FILTERS}/{first['id']}")
    assert int(make(api, tcp("1"))["id"]) == int(first["id"]) + 1


def match(**fields):
    return {"node": "Agent.1", "actions": ["drop"], "match": fields}


@pytest.mark.parametrize("spec, status, pointer, sentence", [
    ({"actions": ["drop"]}, 400, "/spec/node", '"node" is required'),
    ({"node": "Agent.1"}, 400, "/spec/actions", '"actions" is required'),
    ({"node": "Plain", "actions": ["drop"]}, 409, "/spec/node",
     '"node": Plain doesn\'t run sdn; turn it on: cnsmo node set Plain --services vpn,sdn'),
    (match(tcp_dst=80, ip_proto=17), 400, "/spec/match/tcp_dst",
     '"tcp_dst" needs ip_proto 6, and "ip_proto" makes it 17'),
    (match(tcp_dst=80, udp_dst=80), 400, "/spec/match/udp_dst",
     '"udp_dst" needs ip_proto 17, and "tcp_dst" makes it 6'),
    (match(ipv4_src="10.0.0.1/8"), 400, "/spec/match/ipv4_src",
     '"ipv4_src" 10.0.0.1/8 has host bits set; the prefix is 10.0.0.0/8'),
    (match(ipv4_dst="fd00::1"), 400, "/spec/match/ipv4_dst",
     '"ipv4_dst" must be IPv4: the overlay has no IPv6 yet'),
])
def test_flows_are_refused(api, spec, status, pointer, sentence):
    assert problem(post(api, spec, FLOWS), status, pointer) == sentence


@pytest.mark.parametrize("spec, pointer", [
    (match(eth_type=2048), "/spec/match/eth_type"),
    (match(in_port=1), "/spec/match/in_port"),
    (match(tcp_dst=65536), "/spec/match/tcp_dst"),
    (match(tcp_dst="80"), "/spec/match/tcp_dst"),
    (match(ip_dscp=64), "/spec/match/ip_dscp"),
    (match(ip_ecn=4), "/spec/match/ip_ecn"),
    ({**match(), "actions": []}, "/spec/actions"),
    ({**match(), "actions": ["drop", "pass"]}, "/spec/actions"),
    ({**match(), "actions": ["output:1"]}, "/spec/actions/0"),
    ({**match(), "priority": 65536}, "/spec/priority"),
])
def test_flow_fields_out_of_form(api, spec, pointer):
    problem(post(api, spec, FLOWS), 400, pointer)


def test_the_same_flow_twice(api):
    first = make(api, match(tcp_dst=80), FLOWS)
    again = {**match(tcp_dst=80, ip_proto=6), "actions": ["pass"]}
    assert problem(post(api, again, FLOWS), 409) == f"sdn flow {first['id']} is the same"
    make(api, {**again, "priority": 7}, FLOWS)


def test_sdn_needs_vpn(api):
    reply = api.post("/api/v2/nodes", json={"id": "Odd", "spec": {"services": ["sdn"]}})
    assert problem(reply, 400, "/spec/services") == '"services": sdn needs vpn beside it'
    reply = api.patch_spec("nodes", "Agent.1", {"services": ["sdn"]})
    problem(reply, 400, "/spec/services")


# --- what nodes get -------------------------------------------------------------------------------

def test_a_filter_reaches_its_node_alone(own, api):
    made = make(api, tcp("1919", destination="10.77.0.2"))
    assert own.agents["Agent.1"].resources[f"sdn/filter/{made['id']}/Agent.1"] == {
        "direction": "both", "protocol": "tcp", "source": "0.0.0.0/0",
        "destination": "10.77.0.2/32", "port": "1919", "priority": 1000,
        "sourceSelf": False, "destinationSelf": False}
    assert not any(key.startswith("sdn/filter") for key in own.agents["Agent.2"].resources)
    assert made["status"]["inForce"] == {"nodes": 1, "applied": 1, "pending": []}
    assert made["spec"]["destination"] == "10.77.0.2"
    api.delete(f"{FILTERS}/{made['id']}?wait=applied")
    assert not any(key.startswith("sdn/filter") for key in own.agents["Agent.1"].resources)


def where(own):
    return {name for name, agent in own.agents.items()
            if any(key.startswith("sdn/filter/") for key in agent.resources)}


@pytest.mark.parametrize("selector, nodes", [
    ({}, {"Agent.1", "Agent.2"}), ({"tier": "web"}, {"Agent.1", "Agent.2"}),
    ({"tier": "web", "zone": "1"}, {"Agent.1"}), ({"tier": "db"}, set())])
def test_a_selector_reaches_those_with_its_labels(own, api, selector, nodes):
    made = make(api, {"selector": selector})
    assert where(own) == nodes
    assert [n["node"] for n in made["status"]["nodes"]] == sorted(nodes)
    assert bool(made["status"]["problem"]) == (not nodes)


def test_a_node_without_sdn_keeps_its_filters_for_later(own, api):
    made = make(api, tcp("1919"))
    path = f"{FILTERS}/{made['id']}"
    assert api.patch("/api/v2/nodes/Agent.1?wait=applied",
                     json={"spec": {"services": ["vpn"]}}).status_code == 200
    assert where(own) == set()
    status = api.get(path).json()["status"]
    assert status["inForce"]["nodes"] == 0 and status["nodes"] == []
    assert status["problem"] == ("Agent.1 doesn't run sdn; turn it on: cnsmo node set Agent.1 "
                                 "--services vpn,sdn")
    assert api.patch(path, json={"spec": {"comment": "kept"}}).status_code == 200
    api.patch("/api/v2/nodes/Agent.1?wait=applied", json={"spec": {"services": ["vpn", "sdn"]}})
    assert where(own) == {"Agent.1"} and api.get(path).json()["status"]["problem"] == ""


def test_a_filter_outlives_its_node(api):
    api.create("nodes", {"services": ["vpn", "sdn"]}, "Short")
    made = post(api, {"node": "Short"}).json()
    assert made["status"]["inForce"]["pending"] == [{"node": "Short", "reason": "is away"}]
    assert api.delete("/api/v2/nodes/Short").status_code == 204
    status = api.get(f"{FILTERS}/{made['id']}").json()["status"]
    assert status["problem"] == "its node Short was deleted"


def test_errors_name_the_node(own, api):
    agent = own.agents["Agent.1"]
    next_id = int(make(api, tcp("1"))["id"]) + 1
    agent.failures = {f"sdn/filter/{next_id}/Agent.1": "ovs-vswitchd doesn't answer"}
    try:
        reply = post(api, tcp("2"), f"{FILTERS}?wait=applied")
        assert reply.status_code == 202
        assert reply.json()["applied"]["errors"] == [
            {"node": "Agent.1", "key": f"sdn/filter/{next_id}/Agent.1",
             "message": "ovs-vswitchd doesn't answer"}]
    finally:
        agent.failures = {}


def test_dry_run_tells_the_delta(own, api):
    reply = post(api, tcp("1919"), f"{FILTERS}?dryRun=true")
    [delta] = reply.json()["deltas"]
    assert delta["node"] == "Agent.1" and delta["action"] == "put"
    assert delta["body"]["port"] == "1919"
    assert api.get(FILTERS).json()["items"] == []


def test_a_flow_is_sent_with_what_it_implies(own, api):
    made = make(api, {"node": "Agent.2", "actions": ["count"], "priority": 9,
                      "match": {"in_port": "tunnel", "ipv4_src": "10.77.0.9", "ipv4_dst":
                                "0.0.0.0/0", "icmpv4_type": 8}}, FLOWS)
    assert own.agents["Agent.2"].resources[f"sdn/flow/{made['id']}/Agent.2"] == {
        "priority": 9, "actions": ["pass"],
        "match": {"in_port": "tunnel", "ipv4_src": "10.77.0.9/32", "icmpv4_type": 8, "ip_proto": 1}}


@pytest.mark.parametrize("role, status", [("viewer", 403), ("operator", 201)])
def test_who_may_write(own, api, role, status):
    name = f"a-{role}"
    own.admin.create("users", {"role": role, "password": role + "-password"}, name)
    client = own.login(name, role + "-password")
    assert post(client, tcp("4000")).status_code == status
    assert client.get(FILTERS).status_code == 200
    own.admin.delete(f"/api/v2/users/{name}")


# --- forced ---------------------------------------------------------------------------------------

def test_what_need_not_be_forced_is_not_on_trial(api):
    reply = post(api, tcp("80"), f"{FILTERS}?force=true&wait=applied")
    assert reply.status_code == 201 and "confirmBy" not in reply.json()["status"]
    reply = api.post(f"{FILTERS}/{reply.json()['id']}/confirm")
    assert problem(reply, 409) == "there is nothing to confirm"


def test_force_overrules_nothing_else(api):
    first = make(api, tcp("80"))
    reply = post(api, tcp("80"), f"{FILTERS}?force=true")
    assert problem(reply, 409) == f"sdn filter {first['id']} is the same"
    problem(post(api, tcp("80x"), f"{FILTERS}?force=true"), 400, "/spec/port")
    problem(post(api, tcp("81"), f"{FILTERS}?force=yes"), 400)


def test_what_cannot_be_forced(api):
    made = make(api, tcp("80"))
    problem(api.delete(f"{FILTERS}/{made['id']}?force=true"), 400)
    problem(api.post("/api/v2/nodes?force=true", json={"id": "X", "spec": {}}), 400)
    problem(api.post(f"{FILTERS}/4711/confirm"), 404)
    problem(api.post(f"{FLOWS}/1/confirm"), 404)


def test_a_harmless_change_is_not_on_trial(api):
    made = make(api, tcp("80"))
    reply = api.patch(f"{FILTERS}/{made['id']}?force=true", json={"spec": {"port": "81"}})
    assert reply.status_code == 200 and "confirmBy" not in reply.json()["status"]
