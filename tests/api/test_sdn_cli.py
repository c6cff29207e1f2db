"""sdn on the command line."""
import json
import signal

import pytest

from agents import with_agents
from helpers import DEADLINE
from test_cli import REFUSED, USAGE, Cli

FLOW = {"table": 1, "priority": 1000, "cookie": "0xc50d010000000007", "match": {"tcp_dst": 1919},
        "actions": ["drop"], "packets": 3, "bytes": 180, "owner": "filter/7",
        "text": "drops TCP to port 1919"}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    for server in with_agents(tmp_path_factory.mktemp("sdn-cli"), {
            "Agent.1": {"services": ["vpn", "sdn"], "labels": {"tier": "web"}}}):
        server.agent = server.agents["Agent.1"]
        yield server


@pytest.fixture
def cli(own, tmp_path):
    yield Cli(tmp_path, own, CNSMO_TOKEN=own.admin.token)
    for kind in ("filters", "flows"):
        for item in own.admin.get(f"/api/v2/sdn/{kind}").json()["items"]:
            own.admin.delete(f"/api/v2/sdn/{kind}/{item['id']}")


def add(cli, *words):
    return cli.json("sdn", "filter", "add", *words, "--wait")


def test_block_a_port(own, cli):
    made = add(cli, "--node", "Agent.1", "--dst", "10.77.0.2/32", "--port", "1919")
    assert made["spec"]["protocol"] == "tcp" and made["spec"]["destination"] == "10.77.0.2/32"
    assert f"sdn/filter/{made['id']}/Agent.1" in own.agent.resources
    listed = cli.out("sdn", "filter", "list")
    for word in (made["id"], "Agent.1", "10.77.0.2/32", "1919", "both", "tcp"):
        assert word in listed
    assert "status.packets" in cli.out("sdn", "filter", "show", made["id"])
    assert cli.out("sdn", "filter", "delete", made["id"], "--wait") == ""
    assert f"sdn/filter/{made['id']}/Agent.1" not in own.agent.resources


@pytest.mark.parametrize("words, spec", [
    (("--protocol", "udp", "--port", "53"), {"protocol": "udp", "port": "53"}),
    (("--port", "8000-8010"), {"protocol": "tcp", "port": "8000-8010"}),
    ((), {"protocol": "any", "port": ""}),
    (("--direction", "in", "--src", "10.0.0.0/8"), {"direction": "in", "source": "10.0.0.0/8"}),
    (("--source", "10.1.0.0/16", "--destination", "10.2.0.0/16"),
     {"source": "10.1.0.0/16", "destination": "10.2.0.0/16"}),
    (("--priority", "7", "--comment", "for Eve"), {"priority": 7, "comment": "for Eve"})])
def test_members(cli, words, spec):
    made = add(cli, "--node", "Agent.1", *words)
    assert {key: made["spec"][key] for key in spec} == spec


@pytest.mark.parametrize("selector, shown", [("", {}), ("tier=web", {"tier": "web"})])
def test_selectors(own, cli, selector, shown):
    made = add(cli, "--selector", selector)
    assert made["spec"]["selector"] == shown
    assert made["status"]["nodes"] == [{"node": "Agent.1", "packets": 0, "bytes": 0}]


def test_refusals_are_shown(cli):
    said = cli.err("sdn", "filter", "add", "--node", "Agent.1", "--port", "80x", code=REFUSED)
    assert '"port" must be a port from 1 to 65535' in said
    said = cli.err("sdn", "filter", "add", code=REFUSED)
    assert '"node" or "selector" is required' in said
    cli.err("sdn", "filter", "add", "--priority", "high", code=USAGE)
    add(cli, "--node", "Agent.1", "--port", "1")
    assert "is the same" in cli.err("sdn", "filter", "add", "--node", "Agent.1", "--port", "1",
                                    code=REFUSED)


def test_lists_are_in_the_order_of_numbers(cli):
    for port in range(80, 91):
        add(cli, "--node", "Agent.1", "--port", str(port))
    ids = [int(item["id"]) for item in cli.json("sdn", "filter", "list")]
    assert len(ids) == 11 and ids == sorted(ids)
    shown = cli.out("sdn", "filter", "list").splitlines()[1:]
    assert [int(line.split()[0]) for line in shown] == ids


def test_force_and_confirm(cli):
    done = cli.run("sdn", "filter", "add", "--node", "Agent.1", "--port", "1", "--force", "--wait",
                   "-o", "json")
    assert done.stderr == ""  # it would have been taken without
    name = json.loads(done.stdout)["id"]
    said = cli.err("sdn", "filter", "confirm", name, code=REFUSED)
    assert "there is nothing to confirm" in said


def test_set(cli):
    made = add(cli, "--node", "Agent.1", "--port", "1919")
    cli.run("sdn", "filter", "set", made["id"], "--dst", "10.77.0.9", "--comment", "x")
    spec = cli.json("sdn", "filter", "show", made["id"])["spec"]
    assert spec["destination"] == "10.77.0.9" and spec["comment"] == "x"
    assert spec["port"] == "1919" and spec["protocol"] == "tcp"


def test_raw_flows(own, cli):
    made = cli.json("sdn", "flow", "add", "Agent.1", "drop", "--match-in-port", "tunnel",
                    "--match-ipv4-src", "10.77.0.9", "--match-tcp-dst", "80", "--wait")
    assert own.agent.resources[f"sdn/flow/{made['id']}/Agent.1"]["match"] == {
        "in_port": "tunnel", "ipv4_src": "10.77.0.9/32", "tcp_dst": 80, "ip_proto": 6}
    assert "Agent.1" in cli.out("sdn", "flow", "list")
    cli.run("sdn", "flow", "delete", made["id"])


def test_flows_in_the_switch(own, cli):
    own.agent.answers = {"sdn/flows": {"datapathId": "1", "datapath": "netdev", "flows": [FLOW],
                                       "truncated": False}}
    table = cli.out("sdn", "flows", "--node", "Agent.1")
    assert table.splitlines()[0].split() == ["TABLE", "PRIORITY", "OWNER", "PACKETS", "BYTES",
                                             "MEANING"]
    assert "drops TCP to port 1919" in table and "filter/7" in table
    assert cli.json("sdn", "flows", "--node", "Agent.1")["flows"] == [FLOW]
    assert json.loads(cli.out("sdn", "flows", "--node", "Agent.1", "-o", "jsonl")) == FLOW
    own.agent.answers["sdn/flows"]["truncated"] = True
    assert "there are more" in cli.err("sdn", "flows", "--node", "Agent.1")
    cli.err("sdn", "flows", code=USAGE)
    assert "there is no node" in cli.err("sdn", "flows", "--node", "Nobody", code=REFUSED)


def rising(own, cli, *words):
    made = add(cli, "--node", "Agent.1", "--port", "1919")
    process = cli.start("sdn", "watch", made["id"], *words)
    return made["id"], process


def test_watch(own, cli):
    name, process = rising(own, cli)
    try:
        assert process.stdout.readline() == "0 packets, 0 bytes\n"
        own.agent.count({f"sdn/filter/{name}": [3, 180]})
        assert process.stdout.readline() == "3 packets, 180 bytes (+3)\n"
        own.agent.count({"sdn/node/in": [1, 1]})  # of something else
        own.agent.count({f"sdn/filter/{name}/public": [7, 420]})
        assert process.stdout.readline() == "10 packets, 600 bytes (+7)\n"
        cli.run("sdn", "filter", "delete", name)
        assert process.wait(DEADLINE) == REFUSED
        assert "there is no sdn/filters" in process.stderr.read()
    finally:
        process.kill()
        process.wait(DEADLINE)


def test_watch_as_lines_of_json(own, cli):
    name, process = rising(own, cli, "-o", "jsonl")
    try:
        assert json.loads(process.stdout.readline()) == {"id": name, "packets": 0, "bytes": 0}
        own.agent.count({f"sdn/filter/{name}": [5, 300]})
        assert json.loads(process.stdout.readline()) == {"id": name, "packets": 5, "bytes": 300}
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE)


def test_watch_of_nothing(cli):
    assert "there is no sdn/filters" in cli.err("sdn", "watch", "4711", code=REFUSED)


def test_export_and_apply_elsewhere(own, cli, fresh_server, tmp_path):
    made = add(cli, "--node", "Agent.1", "--port", "1919", "--comment", "moved")
    document = tmp_path / "all.json"
    objects = [o for o in json.loads(cli.out("export"))["objects"] if o["kind"] != "users"]
    document.write_text(json.dumps({"apiVersion": "v2", "objects": objects}))
    admin = fresh_server.login()
    other = Cli(tmp_path, fresh_server, CNSMO_TOKEN=admin.token)
    for _ in range(2):  # the second time nothing is to be made
        other.run("apply", "-f", str(document))
        [there] = admin.get("/api/v2/sdn/filters").json()["items"]
        assert there["id"] == made["id"] and there["spec"] == made["spec"]
    made_there = admin.create("sdn/filters", {"node": "Agent.1"}).json()
    assert int(made_there["id"]) == int(made["id"]) + 1
