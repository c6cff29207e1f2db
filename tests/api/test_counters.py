"""Counters: from agents into status, series, metrics and events; and what nodes are asked."""
import time

import pytest

from agents import Agent, with_agents
from helpers import Stream, problem, until

FILTERS = "/api/v2/sdn/filters"
FLOWS = {"datapathId": "0000a63636e736d1", "datapath": "netdev", "truncated": False,
         "flows": [{"table": 1, "priority": 1000, "cookie": "0xc50d010000000007",
                    "match": {"tcp_dst": 1919}, "actions": ["drop"], "packets": 3, "bytes": 180,
                    "owner": "filter/7", "text": "drops TCP to port 1919"}]}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    sdn = {"services": ["vpn", "sdn"]}
    for server in with_agents(tmp_path_factory.mktemp("counters"), {"Agent.1": sdn, "Agent.2": sdn}):
        server.admin.create("nodes", sdn, "Away")
        server.admin.create("nodes", {}, "Plain")
        yield server


@pytest.fixture
def one(own):
    return own.agents["Agent.1"]


@pytest.fixture
def filter_id(own):
    made = own.admin.create("sdn/filters", {"selector": {}, "protocol": "tcp", "port": "1919"})
    yield made.json()["id"]
    for agent in own.agents.values():
        agent.count({f"sdn/filter/{made.json()['id']}": None})
    own.admin.delete(f"{FILTERS}/{made.json()['id']}")


def shows(own, path, packets):
    def look():
        status = own.admin.get(path).json()["status"]
        return status if status["packets"] == packets else None
    return until(f"{path} shows {packets} packets", look)


def test_a_filter_shows_its_counters(own, one, filter_id):
    path = f"{FILTERS}/{filter_id}"
    status = own.admin.get(path).json()["status"]
    assert status["packets"] == status["bytes"] == 0
    one.count({f"sdn/filter/{filter_id}": [3, 180]})
    shows(own, path, 3)
    own.agents["Agent.2"].count({f"sdn/filter/{filter_id}": [4, 240]})
    status = shows(own, path, 7)
    assert status["bytes"] == 420
    assert status["nodes"] == [{"node": "Agent.1", "packets": 3, "bytes": 180},
                               {"node": "Agent.2", "packets": 4, "bytes": 240},
                               {"node": "Away", "packets": 0, "bytes": 0}]


def test_two_drivers_count_one_filter(own, one, filter_id):
    name = f"sdn/filter/{filter_id}"
    one.count({name: [3, 180], f"{name}/public": [10, 600]})
    shows(own, f"{FILTERS}/{filter_id}", 13)


def test_counters_never_go_backwards(own, one, filter_id):
    one.count({f"sdn/filter/{filter_id}": [9, 540]})
    shows(own, f"{FILTERS}/{filter_id}", 9)
    one.count({f"sdn/filter/{filter_id}": [2, 120], "sdn/node/in": [77, 1]})
    until("what came after it is there", lambda: own.admin.get("/api/v2/nodes/Agent.1").json()
          ["status"]["traffic"]["in"]["packets"] == 77)
    assert own.admin.get(f"{FILTERS}/{filter_id}").json()["status"]["packets"] == 9


def test_a_flow_shows_its_counters(own, one):
    made = own.admin.create("sdn/flows", {"node": "Agent.1", "actions": ["pass"]}).json()
    one.count({f"sdn/flow/{made['id']}": [5, 300]})
    path = f"/api/v2/sdn/flows/{made['id']}"
    assert shows(own, path, 5)["nodes"] == [{"node": "Agent.1", "packets": 5, "bytes": 300}]
    [point] = own.admin.get(f"{path}/series").json()["points"]
    assert point["packets"] == 5
    own.admin.delete(path)


def test_a_node_shows_its_traffic(own):
    two = own.agents["Agent.2"]
    two.count({"sdn/node/in": [11, 1100], "sdn/node/out": [22, 2200]})
    status = until("the traffic is there", lambda: (
        s := own.admin.get("/api/v2/nodes/Agent.2").json()["status"])["traffic"]["out"]["packets"]
        == 22 and s)
    assert status["traffic"] == {"in": {"packets": 11, "bytes": 1100},
                                 "out": {"packets": 22, "bytes": 2200}}
    assert "traffic" not in own.admin.get("/api/v2/nodes/Plain").json()["status"]
    series = own.admin.get("/api/v2/nodes/Agent.2/series").json()
    assert series["step"] == 5 and series["out"][-1]["packets"] == 22
    assert own.admin.get("/api/v2/nodes/Plain/series").json() == {"step": 5, "in": [], "out": []}


def test_lists_of_nodes_follow(own, one):
    """They are kept as text while nothing changes."""
    def listed():
        nodes = {n["id"]: n for n in own.admin.get("/api/v2/nodes").json()["items"]}
        return nodes["Agent.1"]["status"]["traffic"]["in"]["packets"]
    for packets in (1001, 1002):
        one.count({"sdn/node/in": [packets, 5]})
        until("the list has it", lambda: listed() == packets)


@pytest.mark.parametrize("step", [5, 60])
def test_series(own, one, filter_id, step):
    path = f"{FILTERS}/{filter_id}"
    assert own.admin.get(f"{path}/series?step={step}").json() == {"step": step, "points": []}
    one.count({f"sdn/filter/{filter_id}": [3, 180]})
    shows(own, path, 3)
    series = own.admin.get(f"{path}/series?step={step}").json()
    assert series["step"] == step
    [point] = series["points"]
    assert point["packets"] == 3 and point["bytes"] == 180
    begun = time.strptime(point["time"][:19], "%Y-%m-%dT%H:%M:%S")
    assert begun.tm_sec % step == 0


@pytest.mark.parametrize("path", [f"{FILTERS}/ID/series", "/api/v2/nodes/Agent.1/series"])
@pytest.mark.parametrize("query", ["step=1", "step=", "step=5x", "step=5&step=60", "from=1"])
def test_series_parameters(own, filter_id, path, query):
    problem(own.admin.get(f"{path.replace('ID', filter_id)}?{query}"), 400)


def test_flows_have_no_parameters(own):
    problem(own.admin.get("/api/v2/nodes/Agent.1/sdn/flows?table=1"), 400)


@pytest.mark.parametrize("path", ["sdn/filters/4711/series", "sdn/flows/4711/series",
                                  "nodes/Nobody/series", "nodes/Nobody/sdn/flows"])
def test_of_what_is_not_there(own, path):
    assert problem(own.admin.get(f"/api/v2/{path}"), 404)


def counters_event(stream, name):
    while True:
        event, number, data = stream.next()
        if event == "counters" and name in data["totals"]:
            assert number is None
            return data


@pytest.mark.parametrize("query", ["", "?kinds=counters", "?kinds=nodes,counters"])
def test_events(own, one, filter_id, query):
    name = f"sdn/filter/{filter_id}"
    stream = Stream(own.admin, f"/api/v2/watch{query}")
    assert stream.next()[0] == "ready"
    one.count({name: [1, 60], f"{name}/public": [1, 60]})
    assert counters_event(stream, name) == {"node": "Agent.1", "totals": {name: [2, 120]}}
    one.count({name: [1, 60]})  # nothing new: no event
    one.count({name: [2, 120]})
    assert counters_event(stream, name) == {"node": "Agent.1", "totals": {name: [3, 180]}}
    one.count({name: None, f"{name}/public": None})
    assert counters_event(stream, name)["totals"] == {name: None}
    stream.close()


def test_events_of_other_kinds_have_none(own, one, filter_id):
    stream = Stream(own.admin, "/api/v2/watch?kinds=sdn/filters")
    assert stream.next()[0] == "ready"
    one.count({f"sdn/filter/{filter_id}": [1, 60]})
    shows(own, f"{FILTERS}/{filter_id}", 1)
    own.admin.patch(f"{FILTERS}/{filter_id}", json={"spec": {"comment": "changed"}})
    assert stream.next()[0] == "put"
    stream.close()


def test_metrics(own, one, filter_id):
    one.count({f"sdn/filter/{filter_id}": [3, 180], "sdn/node/in": [5000, 9]})
    shows(own, f"{FILTERS}/{filter_id}", 3)
    lines = own.admin.get("/metrics").text.splitlines()
    assert f'cnsmo_sdn_filter_packets_total{{filter="{filter_id}",node="Agent.1"}} 3' in lines
    assert f'cnsmo_sdn_filter_bytes_total{{filter="{filter_id}",node="Agent.1"}} 180' in lines
    assert 'cnsmo_sdn_node_in_packets_total{node="Agent.1"} 5000' in lines


def test_metrics_are_bounded(own, one, filter_id):
    """By node only as long as that isn't too much to read every few seconds."""
    agent = Agent(own, own.admin, "Chatty", own.folder, services=["vpn", "sdn"])
    for begin in range(0, 50000, 1000):
        agent.count({f"sdn/node/{i}": [1, 1] for i in range(begin, begin + 1000)})
    for counter in (one, own.agents["Agent.2"]):
        counter.count({f"sdn/filter/{filter_id}": [3, 180]})
    shows(own, f"{FILTERS}/{filter_id}", 6)
    until("the sum is there", lambda: f'cnsmo_sdn_filter_packets_total{{filter="{filter_id}"}} 6'
          in own.admin.get("/metrics").text.splitlines())
    agent.close()
    own.admin.delete("/api/v2/nodes/Chatty")
    assert (f'cnsmo_sdn_filter_packets_total{{filter="{filter_id}",node="Agent.1"}} 3'
            in own.admin.get("/metrics").text.splitlines())


@pytest.mark.parametrize("values", [
    {"sdn/filter/1": [1]}, {"sdn/filter/1": [-1, 0]}, {"sdn/filter/1": "1"}, {"": [1, 1]}, [],
    {f"sdn/filter/{i}": [1, 1] for i in range(1001)}])
def test_bad_counters_end_the_link(own, values):
    agent = Agent(own, own.admin, "Odd", own.folder, services=["vpn", "sdn"])
    agent.count(values)
    until("it is told", lambda: agent.errors)
    assert agent.errors[0]["pointer"] == "/values"
    agent.close()
    own.admin.delete("/api/v2/nodes/Odd")


def test_what_an_agent_makes_up_is_not_counted(own, one, filter_id):
    """Neither of another node's filter nor of none, nor under any number of parts."""
    made = own.admin.create("sdn/filters", {"node": "Agent.2", "protocol": "icmp"}).json()["id"]
    one.count({f"sdn/filter/{made}": [7, 7], f"sdn/filter/{made}/public": [7, 7],
               "sdn/filter/4711": [7, 7], "sdn/filter": [7, 7], "x": [7, 7], "/": [7, 7],
               "sdn/self/Agent.2": [7, 7], f"sdn/filter/{filter_id}": [2, 2]})
    shows(own, f"{FILTERS}/{filter_id}", 2)
    assert own.admin.get(f"{FILTERS}/{made}/series").json()["points"] == []
    assert f'filter="{made}"' not in own.admin.get("/metrics").text
    own.admin.delete(f"{FILTERS}/{made}")


def test_huge_counters(own, one, filter_id):
    name, huge = f"sdn/filter/{filter_id}", (1 << 63) - 1
    one.count({name: [huge, huge], f"{name}/public": [huge, huge]})
    own.agents["Agent.2"].count({name: [huge, huge]})
    assert shows(own, f"{FILTERS}/{filter_id}", huge)["bytes"] == huge
    [point] = own.admin.get(f"{FILTERS}/{filter_id}/series").json()["points"]
    assert point["packets"] == huge


def test_a_filter_that_moves_takes_no_counter_along(own, one):
    """The agent that had it is away, and tells nothing of that."""
    agent = Agent(own, own.admin, "Silent", own.folder, services=["vpn", "sdn"])
    made = own.admin.create("sdn/filters", {"node": "Silent", "protocol": "icmp"}).json()["id"]
    stream = Stream(own.admin, "/api/v2/watch?kinds=counters")
    assert stream.next()[0] == "ready"
    agent.count({f"sdn/filter/{made}": [5, 5]})
    shows(own, f"{FILTERS}/{made}", 5)
    own.admin.patch(f"{FILTERS}/{made}", json={"spec": {"node": "Agent.1"}})
    until("it is told", lambda: counters_event(stream, f"sdn/filter/{made}")
          == {"node": "Silent", "totals": {f"sdn/filter/{made}": None}})
    stream.close()
    agent.count({f"sdn/filter/{made}": [6, 6]})  # too late
    one.count({f"sdn/filter/{made}": [1, 1]})
    shows(own, f"{FILTERS}/{made}", 1)
    assert own.admin.get(f"{FILTERS}/{made}/series").json()["points"][-1]["packets"] == 1
    agent.close()
    own.admin.delete(f"{FILTERS}/{made}")
    own.admin.delete("/api/v2/nodes/Silent")


def test_counters_of_a_deleted_node_are_gone(own, filter_id):
    agent = Agent(own, own.admin, "Short", own.folder, services=["vpn", "sdn"])
    agent.count({f"sdn/filter/{filter_id}": [100, 6000]})
    shows(own, f"{FILTERS}/{filter_id}", 100)
    own.admin.delete("/api/v2/nodes/Short")
    agent.close()
    assert own.admin.get(f"{FILTERS}/{filter_id}").json()["status"]["packets"] == 0
    assert 'node="Short"' not in own.admin.get("/metrics").text


def test_counters_stay_while_the_agent_is_away(own, filter_id):
    agent = Agent(own, own.admin, "Gone", own.folder, services=["vpn", "sdn"])
    agent.count({f"sdn/filter/{filter_id}": [100, 6000]})
    shows(own, f"{FILTERS}/{filter_id}", 100)
    agent.close()
    until("it is away", lambda: not own.admin.get("/api/v2/nodes/Gone").json()
          ["status"]["connected"])
    assert own.admin.get(f"{FILTERS}/{filter_id}").json()["status"]["packets"] == 100
    own.admin.delete("/api/v2/nodes/Gone")


# --- questions ------------------------------------------------------------------------------------

def test_flows_are_asked_for(own, one):
    one.answers = {"sdn/flows": FLOWS}
    reply = own.admin.get("/api/v2/nodes/Agent.1/sdn/flows")
    assert reply.status_code == 200 and reply.json() == FLOWS


@pytest.mark.parametrize("status, shown", [(401, 503), (404, 503), (507, 507), (200, 500)])
def test_an_agent_is_no_judge_of_the_caller(own, one, status, shown):
    one.answers = {"sdn/flows": {"status": status, "detail": "no", "pointer": "/x"}}
    reply = own.admin.get("/api/v2/nodes/Agent.1/sdn/flows")
    assert problem(reply, shown) and "pointer" not in reply.json()


def test_the_agents_refusal_is_passed_on(own, one):
    one.answers = {"sdn/flows": {"status": 503, "detail": "ovs-vswitchd doesn't answer"}}
    reply = own.admin.get("/api/v2/nodes/Agent.1/sdn/flows")
    assert problem(reply, 503) == "ovs-vswitchd doesn't answer"


def test_silence_is_told_with_the_state(own, one):
    one.answers = {}
    one.tell(own.admin, "sdn", state="degraded", message="ovs-vswitchd hangs")
    reply = own.admin.get("/api/v2/nodes/Agent.1/sdn/flows")
    assert problem(reply, 503) == ("Agent.1 did not answer in time; its sdn is degraded: "
                                   "ovs-vswitchd hangs")


@pytest.mark.parametrize("node, status, sentence", [
    ("Away", 503, "Away is away"),
    ("Plain", 409, "Plain doesn't run sdn; turn it on: cnsmo node set Plain --services vpn,sdn")])
def test_who_cannot_be_asked(own, node, status, sentence):
    assert problem(own.admin.get(f"/api/v2/nodes/{node}/sdn/flows"), status) == sentence


def test_an_answer_that_nobody_waits_for(own, one):
    one.send({"type": "answer", "id": 4711, "body": FLOWS})
    one.answers = {"sdn/flows": FLOWS}
    assert own.admin.get("/api/v2/nodes/Agent.1/sdn/flows").json() == FLOWS


def test_a_server_stops_with_questions_open(fresh_server):
    admin = fresh_server.login()
    agent = Agent(fresh_server, admin, "Agent.1", fresh_server.folder, services=["vpn", "sdn"])
    call = fresh_server.connect()
    call.sendall(f"GET /api/v2/nodes/Agent.1/sdn/flows HTTP/1.1\r\nHost: x\r\nAuthorization: "
                 f"Bearer {admin.token}\r\n\r\n".encode())
    asked = []
    agent.answer = asked.append
    until("it is asked", lambda: asked)
    fresh_server.stop()
    call.close()
    agent.close()
