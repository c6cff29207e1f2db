"""A server with many agents: real links of the swarm that ./dev bench uses (tests/bench)."""
import pathlib
import sys

import pytest

from helpers import until

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
from rig import bench_server  # noqa: E402

AGENTS = 50


@pytest.fixture
def fleet():
    with bench_server(AGENTS) as (server, swarm):
        yield server, swarm


def connected(server):
    """Ids of the nodes that the list shows as connected."""
    items = server.admin.get("/api/v2/nodes?limit=1000").json()["items"]
    return {item["id"] for item in items if item["status"]["connected"]}


def test_a_write_waits_for_the_last_of_many(fleet):
    server, swarm = fleet
    reply = server.admin.patch_spec("settings", "overlay", {"mtu": 1300},
                                    params={"wait": "applied", "timeout": "20"})
    assert reply.status_code == 200, reply.text
    assert reply.json()["status"]["inForce"] == {"nodes": AGENTS, "applied": AGENTS, "pending": []}
    swarm.say(do="acked", revision=reply.json()["revision"])
    assert swarm.expect("acked", 20)["revision"] == reply.json()["revision"]
    assert swarm.state()["resyncs"] == 0


def test_all_come_back_after_a_restart(fleet):
    server, swarm = fleet
    server.stop()
    swarm.expect("lost", 20)
    server.start()
    assert swarm.expect("connected", 60)["count"] == AGENTS
    assert swarm.state()["resyncs"] == 0  # the digests agree without a snapshot


def test_lists_show_every_change_at_once(fleet):
    """The same target is asked again and again: no answer may be an old one."""
    server, swarm = fleet
    admin = server.admin

    def shown(path="/api/v2/nodes?spec.cloud=x"):
        return [item["id"] for item in admin.get(path).json()["items"]]

    assert len(connected(server)) == AGENTS and shown() == []
    assert admin.patch_spec("nodes", "Agent.7", {"cloud": "x"}).status_code == 200
    assert shown() == ["Agent.7"]
    v1 = {node["instanceId"]: node["cloud"]
          for node in admin.get("/api/v1/services/sdn/nodes").json()}
    assert len(v1) == AGENTS and v1["Agent.7"] == "x"
    assert admin.delete("/api/v2/nodes/Agent.7").status_code == 204
    assert shown() == [] and "Agent.7" not in connected(server)
    assert "Agent.7" not in admin.get("/api/v1/services/sdn/nodes").text
    swarm.close()
    until("the list shows that all are gone", lambda: not connected(server))
    assert server.client().get("/api/v2/nodes?limit=1000").status_code == 401
