"""API v1's SDN, field by field, as the 2017 platform's clients use it."""
import ipaddress
import threading

import pytest

from agents import Agent, with_agents
from helpers import Stream, problem, until, v1_client, v1_refused

BASES = ["/api/v1/services/sdn", "/api/v1/sdn"]
BASE = BASES[0]
BODY = {"tcp-destination-port": 1919, "ip4-destination": "134.157.24.35/16",
        "ssinstanceid": "Agent.1"}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    sdn = {"services": ["vpn", "sdn"]}
    for server in with_agents(tmp_path_factory.mktemp("v1-sdn"), {"Agent.1": sdn, "Agent.2": sdn}):
        server.admin.create("nodes", sdn, "Away")
        server.admin.create("nodes", {}, "Plain")
        server.v1 = v1_client(server)
        yield server


@pytest.fixture
def v1(own):
    """As Postman is used: a token of v1, on every request."""
    yield own.v1
    for item in filters(own):
        own.admin.delete(f"/api/v2/sdn/filters/{item['id']}")


def filters(own):
    return own.admin.get("/api/v2/sdn/filters").json()["items"]


def block(v1, base=BASE, **members):
    reply = v1.put(f"{base}/blockbyport", json={**BODY, **members})
    assert reply.status_code == 200, reply.text
    assert list(reply.json()) == ["flowId"] and isinstance(reply.json()["flowId"], str)
    return reply.json()["flowId"]


def on_node(own, flow, node="Agent.1"):
    return own.agents[node].resources.get(f"sdn/filter/{flow}/{node}")


# --- blockbyport ----------------------------------------------------------------------------------

@pytest.mark.parametrize("path", [f"{base}/{name}{slash}" for base in BASES
                                  for name in ("blockbyport", "blockByPort") for slash in ("", "/")])
def test_block_is_in_force_when_it_answers(own, v1, path):
    reply = v1.put(path, json=BODY)
    assert reply.status_code == 200, reply.text
    flow = reply.json()["flowId"]
    assert on_node(own, flow) == {
        "direction": "both", "protocol": "tcp", "source": "0.0.0.0/0",
        "destination": "134.157.0.0/16", "port": "1919", "priority": 1000,
        "sourceSelf": False, "destinationSelf": False}
    assert v1.get(f"{BASE}/nodes/Agent.1/blockedTcpPorts").json() == [
        {"destinationPort": 1919, "destinationAddress": "134.157.24.35/16", "flowId": flow}]


@pytest.mark.parametrize("given, planned", [
    ("10.77.0.2", "10.77.0.2/32"), ("10.77.0.2/32", "10.77.0.2/32"), ("10.77.0.0/16",
     "10.77.0.0/16"), ("1.2.3.4/0", "0.0.0.0/0"), ("192.0.2.200/25", "192.0.2.128/25")])
def test_destinations_are_echoed_as_given(own, v1, given, planned):
    flow = block(v1, **{"ip4-destination": given})
    assert on_node(own, flow)["destination"] == planned
    [shown] = v1.get(f"{BASE}/nodes/Agent.1/blockedTcpPorts").json()
    assert shown["destinationAddress"] == given


@pytest.mark.parametrize("port", ["1919", 1919, 1919.0])
def test_ports_may_be_texts(own, v1, port):
    assert on_node(own, block(v1, **{"tcp-destination-port": port}))["port"] == "1919"


PORT, DESTINATION, INSTANCE = BODY


@pytest.mark.parametrize("body, sentence", [
    ({}, '"tcp-destination-port" is required'),
    ([], '"value" must be an object'),
    ("x", '"value" must be an object'),
    ({PORT: 1919}, '"ip4-destination" is required'),
    ({PORT: 1919, DESTINATION: "10.0.0.1"}, '"ssinstanceid" is required'),
    ({INSTANCE: "Agent.1", DESTINATION: "10.0.0.1"}, '"tcp-destination-port" is required'),
    ({**BODY, PORT: "80x"}, '"tcp-destination-port" must be a number'),
    ({**BODY, PORT: ""}, '"tcp-destination-port" must be a number'),
    ({**BODY, PORT: "-"}, '"tcp-destination-port" must be a number'),
    ({**BODY, PORT: "1.2.3"}, '"tcp-destination-port" must be a number'),
    ({**BODY, PORT: True}, '"tcp-destination-port" must be a number'),
    ({**BODY, PORT: None}, '"tcp-destination-port" must be a number'),
    ({**BODY, PORT: [80]}, '"tcp-destination-port" must be a number'),
    ({**BODY, PORT: 80.5}, '"tcp-destination-port" must be an integer'),
    ({**BODY, PORT: 0}, '"tcp-destination-port" must be larger than or equal to 1'),
    ({**BODY, PORT: "-5"}, '"tcp-destination-port" must be larger than or equal to 1'),
    ({**BODY, PORT: 65536}, '"tcp-destination-port" must be less than or equal to 65535'),
    ({**BODY, PORT: 1e300}, '"tcp-destination-port" must be less than or equal to 65535'),
    ({**BODY, DESTINATION: ""}, '"ip4-destination" is not allowed to be empty'),
    ({**BODY, DESTINATION: 7}, '"ip4-destination" must be a string'),
    ({**BODY, DESTINATION: None}, '"ip4-destination" must be a string'),
    ({**BODY, DESTINATION: "999.1.1.1"}, '"ip4-destination" must be an IPv4 address or prefix'),
    ({**BODY, DESTINATION: "10.0.0.0/33"}, '"ip4-destination" must be an IPv4 address or prefix'),
    ({**BODY, DESTINATION: "::1"}, '"ip4-destination" must be an IPv4 address or prefix'),
    ({**BODY, DESTINATION: "web"}, '"ip4-destination" must be an IPv4 address or prefix'),
    ({**BODY, INSTANCE: ""}, '"ssinstanceid" is not allowed to be empty'),
    ({**BODY, INSTANCE: 1}, '"ssinstanceid" must be a string'),
    ({**BODY, "action": "drop"}, '"action" is not allowed'),
    ({PORT: 0, "x": 1}, '"tcp-destination-port" must be larger than or equal to 1'),
])
def test_bodies_are_refused(own, v1, body, sentence):
    v1_refused(v1.put(f"{BASE}/blockbyport", json=body), 400, sentence)
    assert filters(own) == []


@pytest.mark.parametrize("node, status, sentence", [
    ("Nobody", 404, 'there is no node "Nobody"'),
    ("a/b", 404, 'there is no node "a/b"'),
    ("Plain", 409, "Plain doesn't run sdn; turn it on: cnsmo node set Plain --services vpn,sdn"),
    ("Away", 503, "Away is away; nothing was blocked")])
def test_nodes_are_refused(own, v1, node, status, sentence):
    v1_refused(v1.put(f"{BASE}/blockbyport", json={**BODY, INSTANCE: node}), status, sentence)
    assert filters(own) == []


@pytest.mark.parametrize("path", [f"{BASE}/nodes/a%2fb/blockedTcpPorts", "/API/v1/a%2fb",
                                  f"{BASE}/nodes/Agent.1/flows/%00"])
def test_paths_that_cannot_be_read(v1, path):
    v1_refused(v1.get(path), 400, "the path is malformed")


def test_not_json(v1):
    reply = v1.put(f"{BASE}/blockbyport", data="{", headers={"Content-Type": "application/json"})
    assert reply.status_code == 400 and reply.json()["message"] == reply.json()["errors"]
    assert v1.put(f"{BASE}/blockbyport").status_code in (400, 415)


def test_the_same_port_twice(own, v1):
    flow = block(v1)
    v1_refused(v1.put(f"{BASE}/blockbyport", json={**BODY, DESTINATION: "134.157.1.1/16"}), 409,
            f"sdn filter {flow} is the same")
    assert block(v1, ssinstanceid="Agent.2") != flow


def test_what_the_node_cannot_do_is_undone(own, v1):
    last = int(block(v1, **{PORT: 1}))
    agent = own.agents["Agent.1"]
    agent.failures = {f"sdn/filter/{last + 1}/Agent.1": "ovs-vswitchd doesn't answer"}
    try:
        v1_refused(v1.put(f"{BASE}/blockbyport", json=BODY), 503,
                "Agent.1: ovs-vswitchd doesn't answer; nothing was blocked")
    finally:
        agent.failures = {}
    assert [item["id"] for item in filters(own)] == [str(last)]
    until("it has let go", lambda: on_node(own, last + 1) is None)
    assert int(block(v1)) == last + 2


def test_a_node_that_does_not_acknowledge(own, v1):
    agent = own.agents["Agent.2"]
    agent.acknowledges = False
    try:
        v1_refused(v1.put(f"{BASE}/blockbyport", json={**BODY, INSTANCE: "Agent.2"}), 503,
                "Agent.2 hasn't applied it yet; nothing was blocked")
    finally:
        agent.acknowledges = True
    assert filters(own) == []
    until("it has let go", lambda: not any("filter" in key for key in agent.resources))


def test_a_node_that_goes_away_meanwhile(own, v1):
    agent = Agent(own, own.admin, "Short", own.folder, services=["vpn", "sdn"])
    agent.acknowledges = False
    replies = []
    call = threading.Thread(target=lambda: replies.append(
        v1.put(f"{BASE}/blockbyport", json={**BODY, INSTANCE: "Short"})))
    call.start()
    agent.until(lambda r: any(key.startswith("sdn/filter/") for key in r))
    agent.close()
    call.join()
    v1_refused(replies[0], 503, "Short is away; nothing was blocked")
    assert filters(own) == []
    own.admin.delete("/api/v2/nodes/Short")


# --- blockedTcpPorts, DELETE ----------------------------------------------------------------------

@pytest.mark.parametrize("base", BASES)
def test_delete(own, v1, base):
    flow = block(v1, base)
    for wrong in (f"nodes/Agent.2/flows/{flow}", "nodes/Agent.1/flows/4711"):
        node, name = wrong.split("/")[1], wrong.split("/")[3]
        v1_refused(v1.delete(f"{base}/{wrong}"), 404, f'there is no flow "{name}" on {node}')
    v1_refused(v1.delete(f"{base}/nodes/Nobody/flows/{flow}"), 404, 'there is no node "Nobody"')
    reply = v1.delete(f"{base}/nodes/Agent.1/flows/{flow}")
    assert reply.status_code == 200 and reply.json() == {}
    assert on_node(own, flow) is None
    assert v1.get(f"{base}/nodes/Agent.1/blockedTcpPorts").json() == []
    assert v1.delete(f"{base}/nodes/Agent.1/flows/{flow}").status_code == 404


def test_delete_on_a_node_that_is_away(own, v1):
    made = own.admin.create("sdn/filters", {"node": "Away", "protocol": "tcp", "port": "5"}).json()
    reply = v1.delete(f"{BASE}/nodes/Away/flows/{made['id']}")
    assert reply.status_code == 200 and reply.json() == {} and filters(own) == []


def test_what_v2_made_is_seen(own, v1):
    def make(**spec):
        return own.admin.create("sdn/filters", {"node": "Agent.1", **spec}).json()["id"]
    one = make(protocol="tcp", port="80", destination="10.77.0.2")
    make(protocol="udp", port="80")
    make(protocol="tcp", port="80-90")
    make(protocol="icmp")
    all_nodes = own.admin.create("sdn/filters", {"selector": {}, "protocol": "tcp",
                                                 "port": "81"}).json()["id"]
    ports = v1.get(f"{BASE}/nodes/Agent.1/blockedTcpPorts").json()
    assert ports == [
        {"destinationPort": 80, "destinationAddress": "10.77.0.2", "flowId": one},
        {"destinationPort": 81, "destinationAddress": "0.0.0.0/0", "flowId": all_nodes}]
    v1_refused(v1.delete(f"{BASE}/nodes/Agent.1/flows/{all_nodes}"), 409,
            f"flow {all_nodes} is on several nodes, by their labels; delete it through API v2: "
            f"sdn/filters/{all_nodes}")
    assert v1.get(f"{BASE}/nodes/Plain/blockedTcpPorts").json() == []
    v1_refused(v1.get(f"{BASE}/nodes/Nobody/blockedTcpPorts"), 404, 'there is no node "Nobody"')


def test_a_destination_that_v2_changed(own, v1):
    flow = block(v1)
    own.admin.patch(f"/api/v2/sdn/filters/{flow}", json={"spec": {"destination": "10.0.0.0/8"}})
    [shown] = v1.get(f"{BASE}/nodes/Agent.1/blockedTcpPorts").json()
    assert shown["destinationAddress"] == "10.0.0.0/8"


# --- monitoring -----------------------------------------------------------------------------------

@pytest.mark.parametrize("path", ["nodes/Agent.1/flows/FLOW/monitoring", "nodes/Agent.1/flows/FLOW"])
@pytest.mark.parametrize("base", BASES)
def test_flow_monitoring(own, v1, base, path):
    flow = block(v1)
    url = f"{base}/{path.replace('FLOW', flow)}"
    assert v1.get(url).json() == {"numPackets": 0, "numBytes": 0}
    own.agents["Agent.1"].count({f"sdn/filter/{flow}": [3, 180],
                                 f"sdn/filter/{flow}/public": [4, 240]})
    until("it is counted", lambda: v1.get(url).json() == {"numPackets": 7, "numBytes": 420})
    v1_refused(v1.get(url.replace(f"flows/{flow}", "flows/4711")), 404,
            'there is no flow "4711" on Agent.1')


@pytest.mark.parametrize("path", [f"{base}/nodes/{{}}/{rest}" for base in BASES
                                  for rest in ("monitoring/incoming", "incoming")])
def test_node_monitoring(own, v1, path):
    own.agents["Agent.2"].count({"sdn/node/in": [11, 1100], "sdn/node/out": [22, 2200]})
    until("it is counted", lambda: v1.get(path.format("Agent.2")).json() ==
          {"inTraffic": 11, "outTraffic": 22})
    assert v1.get(path.format("Away")).json() == {"inTraffic": 0, "outTraffic": 0}
    assert v1.get(path.format("Plain")).status_code == 409
    v1_refused(v1.get(path.format("Nobody")), 404, 'there is no node "Nobody"')


# --- flows ----------------------------------------------------------------------------------------

def answer(datapath, *flows):
    return {"sdn/flows": {"datapathId": datapath, "datapath": "netdev", "flows": list(flows),
                          "truncated": False}}


@pytest.mark.parametrize("base", BASES)
def test_flows(own, v1, base):
    dropping = {"table": 1, "priority": 1000, "cookie": "0xc50d010000000007",
                "match": {"tcp_dst": 1919}, "actions": ["drop"], "packets": 3, "bytes": 180,
                "owner": "filter/7", "text": "drops TCP to port 1919"}
    forwarding = {"table": 3, "priority": 1, "cookie": "0xc50d000000000000", "match": {},
                  "actions": ["output:1"], "packets": 9, "bytes": 900, "owner": "base", "text": "x"}
    own.agents["Agent.1"].answers = answer("00000a63636e736d", dropping, forwarding)
    own.agents["Agent.2"].answers = {"sdn/flows": {"status": 503, "detail": "no vswitchd"}}
    addresses = {n: own.admin.spec("nodes", n)["address"] for n in ("Agent.1", "Agent.2", "Away")}
    reply = v1.get(f"{base}/flows")
    assert reply.status_code == 200, reply.text
    switches = {s["instanceId"]: (name, s) for name, s in reply.json().items()}
    assert set(switches) == set(addresses)  # one member per node, whatever state it is in
    for node, (name, switch) in switches.items():
        assert name.startswith("openflow:") and name[9:].isdigit()
        assert switch["vpnID"] == addresses[node]
    name, switch = switches["Agent.1"]
    assert name == f"openflow:{0x0a63636e736d}" and "error" not in switch
    assert switch["flows"] == [
        {"id": "7", "table": 1, "priority": 1000, "packets": 3, "bytes": 180,
         "text": "drops TCP to port 1919", "match": {"tcp_dst": 1919}, "action": ["drop"]},
        {"id": "0xc50d000000000000", "table": 3, "priority": 1, "packets": 9, "bytes": 900,
         "text": "x", "match": {}, "action": ["output:1"]}]
    assert switches["Agent.2"][1]["flows"] == []
    assert switches["Agent.2"][1]["error"] == "no vswitchd"
    assert switches["Away"][1]["error"] == "Away is away"


@pytest.mark.parametrize("number", ["0000000000000001", "00000a636e736d01", "", "x"])
def test_switches_of_one_number_stay_apart(own, v1, number):
    for agent in own.agents.values():
        agent.answers = answer(number)
    switches = v1.get(f"{BASE}/flows").json()
    assert {s["instanceId"] for s in switches.values()} == {"Agent.1", "Agent.2", "Away"}


def test_our_bridges_are_told_apart_by_their_nodes_addresses(own, v1):
    """They all have one hardware address, which a switch's number comes from."""
    own.agents["Agent.1"].answers = answer("00000a636e736d01")
    address = int(ipaddress.IPv4Address(own.admin.spec("nodes", "Agent.1")["address"]))
    assert v1.get(f"{BASE}/flows").json()[f"openflow:{address}"]["instanceId"] == "Agent.1"


def test_one_that_is_silent_does_not_hide_the_others(own, v1):
    own.agents["Agent.1"].answers = answer("0000000000000001")
    own.agents["Agent.2"].answers = {}
    switches = {s["instanceId"]: s for s in v1.get(f"{BASE}/flows").json().values()}
    assert switches["Agent.2"]["error"].startswith("Agent.2 did not answer in time; its sdn is ")
    assert "error" not in switches["Agent.1"]


def test_too_many_flows_are_left_out(own, v1):
    for number, agent in enumerate(own.agents.values()):
        agent.answers = answer(f"{number + 1:016x}", *[{}] * 12000)
    switches = v1.get(f"{BASE}/flows").json().values()
    assert sorted(len(s["flows"]) for s in switches) == [0, 0, 12000]
    assert sum(s.get("error") == "left out: there are too many flows for one answer"
               for s in switches) == 1


# --- who may, and how it is seen -------------------------------------------------------------------

def test_roles(own, v1):
    own.admin.create("users", {"role": "viewer", "password": "viewer-password"}, "a-viewer")
    token = own.client().post("/api/v1/authenticate", json={
        "username": "a-viewer", "password": "viewer-password"}).json()["token"]
    viewer, nobody = own.client(token), own.client()
    flow = block(v1)
    assert viewer.get(f"{BASE}/nodes/Agent.1/blockedTcpPorts").status_code == 200
    assert viewer.put(f"{BASE}/blockbyport", json=BODY).status_code == 403
    assert viewer.delete(f"{BASE}/nodes/Agent.1/flows/{flow}").status_code == 403
    v1_refused(nobody.put(f"{BASE}/blockbyport", json=BODY), 401, "Invalid Token")
    own.admin.delete("/api/v2/users/a-viewer")


def test_both_apis_see_the_same(own, v1):
    stream = Stream(own.admin, "/api/v2/watch?kinds=sdn/filters")
    assert stream.next()[0] == "ready"
    flow = block(v1)
    event, _, data = stream.next()
    assert event == "put" and data["object"]["id"] == flow
    assert data["object"]["spec"]["destination"] == "134.157.0.0/16"
    assert data["object"]["spec"]["destinationGiven"] == "134.157.24.35/16"
    own.admin.delete(f"/api/v2/sdn/filters/{flow}")
    assert v1.get(f"{BASE}/nodes/Agent.1/blockedTcpPorts").json() == []
    problem(own.admin.get(f"/api/v2/sdn/filters/{flow}"), 404)
    stream.close()
