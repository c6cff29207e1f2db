"""POST with a list: many objects of a kind in one transaction, all of them or none."""
import json

import pytest

from agents import with_agents
from helpers import problem

FILTERS = "/api/v2/sdn/filters"


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    yield from with_agents(tmp_path_factory.mktemp("lists"),
                           {"Agent.1": {"services": ["vpn", "sdn"]}})


@pytest.fixture
def api(own):
    yield own.admin
    for item in own.admin.get(f"{FILTERS}?limit=1000").json()["items"]:
        assert own.admin.delete(f"{FILTERS}/{item['id']}").status_code == 204


def tcp(port, **more):
    return {"spec": {"node": "Agent.1", "protocol": "tcp", "port": str(port), **more}}


def ids_there(api):
    return [item["id"] for item in api.get(f"{FILTERS}?limit=1000").json()["items"]]


def test_all_are_made_in_one_transaction(own, api):
    revision = api.get("/api/v2/nodes/Agent.1").json()["revision"]
    reply = api.post(f"{FILTERS}?wait=applied", json=[tcp(port) for port in range(1, 501)])
    assert reply.status_code == 201, reply.text
    made = reply.json()
    numbers = [int(name) for name in made["ids"]]
    assert numbers == list(range(numbers[0], numbers[0] + 500))
    assert made["revision"] > revision and "applied" not in made
    listed = api.get(f"{FILTERS}?limit=1000").json()["items"]
    assert {item["revision"] for item in listed} == {made["revision"]}
    assert sorted(item["spec"]["port"] for item in listed) == sorted(map(str, range(1, 501)))
    agent = own.agents["Agent.1"]
    assert sum(key.startswith("sdn/filter/") for key in agent.resources) == 500


def test_one_event_tells_of_all(api):
    made = api.post(FILTERS, json=[tcp(1), tcp(2)]).json()["ids"]
    events = api.get("/api/v2/events?limit=1000").json()["items"]
    about = [event["spec"]["message"] for event in events
             if event["spec"]["subject"] == "sdn/filters"]
    assert f"admin created 2 sdn/filters, from {made[0]} to {made[1]}" in about


@pytest.mark.parametrize("bad, status, pointer", [
    (tcp(0), 400, "/2/spec/port"),
    (tcp(2), 409, "/2/spec"),  # the same as one before it in the list
    ({"spec": {"node": "Nobody"}}, 400, "/2/spec/node"),
    ({"spec": []}, 400, "/2/spec"),
    ({}, 400, "/2/spec"),
    ({"spec": {}, "extra": 1}, 400, "/2/extra"),
    ({"id": 7, "spec": {}}, 400, "/2/id"),
    ({"id": "x", "spec": tcp(3)["spec"]}, 400, "/2/id"),
    (3, 400, "/2"),
])
def test_one_that_is_wrong_keeps_all_out(api, bad, status, pointer):
    problem(api.post(FILTERS, json=[tcp(1), tcp(2), bad, tcp(4)]), status, pointer)
    assert ids_there(api) == []
    assert api.post(FILTERS, json=[tcp(1), tcp(2)]).status_code == 201  # nothing is left of it


def test_an_id_twice(api):
    one = {"id": "900", **tcp(1)}
    problem(api.post(FILTERS, json=[one, {"id": "900", **tcp(2)}]), 409, "/1/id")
    assert api.post(FILTERS, json=[one]).json()["ids"] == ["900"]
    assert int(api.post(FILTERS, json=[tcp(2)]).json()["ids"][0]) > 900


@pytest.mark.parametrize("body", [[], [tcp(port) for port in range(1, 502)]])
def test_too_few_and_too_many(api, body):
    detail = problem(api.post(FILTERS, json=body), 400)
    assert "1 to 500 objects" in detail


def test_a_list_that_is_too_much_for_a_transaction(own):
    big = {f"label{i}": "x" * 60 for i in range(16)}
    nodes = [{"id": f"Big-{i}", "spec": {"labels": big, "cloud": "c"}} for i in range(150)]
    reply = own.admin.post("/api/v2/nodes", json=nodes)
    assert reply.status_code in (201, 413), reply.text
    there = [item["id"] for item in own.admin.get("/api/v2/nodes?limit=1000").json()["items"]
             if item["id"].startswith("Big-")]
    assert len(there) == (150 if reply.status_code == 201 else 0)
    for name in there:
        assert own.admin.delete(f"/api/v2/nodes/{name}").status_code == 204


def test_nodes_get_different_addresses(own):
    made = own.admin.post("/api/v2/nodes", json=[{"id": f"List-{i}", "spec": {}}
                                                 for i in range(20)])
    assert made.status_code == 201, made.text
    specs = [own.admin.get(f"/api/v2/nodes/{name}").json()["spec"] for name in made.json()["ids"]]
    assert len({spec["address"] for spec in specs}) == 20
    for name in made.json()["ids"]:
        own.admin.delete(f"/api/v2/nodes/{name}")


@pytest.mark.parametrize("kind", ["users", "tokens", "vpn/clients"])
def test_those_with_secrets_are_made_one_by_one(api, kind):
    assert "one at a time" in problem(api.post(f"/api/v2/{kind}", json=[{"spec": {}}]), 400)


def test_no_dry_run(api):
    problem(api.post(f"{FILTERS}?dryRun=true", json=[tcp(1)]), 400)
    assert ids_there(api) == []


def test_a_list_for_one_object_only(api):
    made = api.post(FILTERS, json=[tcp(1)]).json()["ids"][0]
    problem(api.patch(f"{FILTERS}/{made}", data=json.dumps([tcp(2)]),
                      headers={"Content-Type": "application/json"}), 400)
