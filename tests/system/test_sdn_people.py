"""What people reach sdn by, on real machines: API v1, v2 and the command line, down to the packets."""
import json
import os
import subprocess

import pytest

from helpers import other_address
from lab.lab import default_build
from lab.processes import wait_for
from sdn_helpers import is_on, turn_on

LAB = {"nodes": 2, "clouds": 2, "ovs": True}
V1 = "/api/v1/services/sdn"
SENT = 37


@pytest.fixture
def on(lab):
    """Agent.1 with sdn, on which something listens."""
    turn_on(lab, "Agent.1")
    yield lab.host("Agent.1")
    for item in lab.api.get("/sdn/filters")["items"]:
        lab.api.delete(f"/sdn/filters/{item['id']}?wait=applied")


@pytest.fixture
def listener(on):
    process = on.spawn(["socat", "TCP-LISTEN:1919,fork,reuseaddr", "OPEN:/dev/null"])
    wait_for("the listener", lambda: on.run(["sh", "-c", "ss -ltn | grep -q :1919"],
                                            check=False).returncode == 0, 5)
    yield on
    process.stop()


def connects(lab):
    address = lab.overlay_address("Agent.1")
    return lab.host("Agent.2").run(
        ["socat", "-u", "OPEN:/dev/null", f"TCP:{address}:1919,connect-timeout=1"],
        check=False, timeout=20).returncode == 0


def v1(lab, method, path, body=None, status=200):
    answer = lab.api.raw(method, V1 + path, body)
    assert answer.status == status, answer.body
    return answer.json()


class Cli:
    def __init__(self, lab):
        self.program = f"{lab.build or default_build()}/src/cli/cnsmo"
        lab.api.get("/nodes")  # logs in where that is needed
        self.environment = {**os.environ, "CNSMO_URL": f"https://{lab.api.host}:{lab.api.port}",
                            "CNSMO_CA": str(lab.api.ca), "CNSMO_TOKEN": lab.api.token}

    def run(self, *words):
        return subprocess.run([self.program, *words], env=self.environment, text=True, check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)

    def out(self, *words):
        return self.run(*words).stdout

    def start(self, *words):
        return subprocess.Popen([self.program, *words], env=self.environment, text=True,
                                stdout=subprocess.PIPE)


def test_v1_blocks_and_unblocks(lab, listener):
    assert connects(lab)
    flow = v1(lab, "PUT", "/blockbyport", {
        "tcp-destination-port": 1919, "ip4-destination": lab.overlay_address("Agent.1"),
        "ssinstanceid": "Agent.1"})["flowId"]
    assert not connects(lab)
    path = f"/nodes/Agent.1/flows/{flow}"
    wait_for("the count", lambda: v1(lab, "GET", f"{path}/monitoring")["numPackets"] >= 1, 10)
    [switch] = v1(lab, "GET", "/flows").values()
    assert switch["vpnID"] == lab.overlay_address("Agent.1")
    assert flow in {entry["id"] for entry in switch["flows"]}
    assert v1(lab, "GET", "/nodes/Agent.1/blockedTcpPorts") == [
        {"destinationPort": 1919, "destinationAddress": lab.overlay_address("Agent.1"),
         "flowId": flow}]
    v1(lab, "DELETE", path)
    assert connects(lab)
    v1(lab, "GET", f"{path}/monitoring", status=404)


# --- what could cut the node off -------------------------------------------------------------------

CUTTING = {"spec": {"node": "Agent.1", "protocol": "tcp", "port": "8444"}}
ELSEWHERE = "198.18.0.9"
TRIAL_S = 60


def test_what_would_cut_it_off_is_refused(lab, on):
    answer = lab.api.raw("POST", "/api/v2/sdn/filters", CUTTING)
    assert answer.status == 409
    assert "it would cut Agent.1 off from this server" in answer.json()["detail"]
    answer = lab.api.raw("PUT", f"{V1}/blockbyport", {
        "tcp-destination-port": 8444, "ip4-destination": "0.0.0.0/0", "ssinstanceid": "Agent.1"})
    assert answer.status == 409


def reaches(host, server):
    return host.run(["socat", "-u", "OPEN:/dev/null", f"TCP:{server},connect-timeout=1"],
                    check=False, timeout=20).returncode == 0


def make_cutting(lab, address):
    return lab.api.post("/sdn/filters?force=true&wait=applied", {"spec": {
        "node": "Agent.1", "direction": "in", "protocol": "tcp", "source": address}}), []


def change_to_cutting(lab, address):
    harmless = {"node": "Agent.1", "direction": "in", "protocol": "tcp", "port": "4444"}
    made = lab.api.post("/sdn/filters?wait=applied", {"spec": harmless})
    return lab.api.patch(f"/sdn/filters/{made['id']}?force=true&wait=applied",
                         {"spec": {"port": "", "source": address}}), [(made["id"], "4444", None)]


@pytest.mark.parametrize("force", [make_cutting, change_to_cutting])
@pytest.mark.logs("isn't in force", "not connected")
def test_forced_it_is_undone(lab, on, force):
    """Only what comes from the server is dropped, so the node's acknowledgement gets through."""
    server = on.out(["ss", "-tnH", "dport", "=", ":8444"]).split()[4]
    assert reaches(on, server)
    filter_, left = force(lab, server.partition(":")[0])
    assert filter_["status"]["confirmBy"] and filter_["status"]["inForce"]["applied"] == 1
    assert not reaches(on, server)
    answer = lab.api.raw("POST", f"/api/v2/sdn/filters/{filter_['id']}/confirm")
    assert answer.status == 409
    assert "not confirmed: Agent.1 did not answer in time" in answer.json()["detail"]
    wait_for("what was there before", lambda: [
        (item["id"], item["spec"]["port"], item["status"].get("confirmBy"))
        for item in lab.api.get("/sdn/filters")["items"]] == left, TRIAL_S + 15)
    wait_for("the way back", lambda: reaches(on, server), 30)
    wait_for("the node", lambda: is_on(lab, "Agent.1"), 30)
    for name, _, _ in left:
        lab.api.delete(f"/sdn/filters/{name}")


def test_what_cuts_nobody_off_can_be_confirmed(lab, on):
    """An address of the node's that its link doesn't use looks as if it could be the one."""
    spec = {"spec": {"node": "Agent.1", "direction": "in", "protocol": "tcp",
                     "destination": ELSEWHERE}}
    with other_address(on, ELSEWHERE, "eth0"):
        wait_for("a refusal", lambda: lab.api.raw(
            "POST", "/api/v2/sdn/filters?dryRun=true", spec).status == 409, 30)
        cli = Cli(lab)
        done = cli.run("sdn", "filter", "add", "--node", "Agent.1", "--direction", "in", "--protocol",
                       "tcp", "--dst", ELSEWHERE, "--force", "--wait", "-o", "json")
        made = json.loads(done.stdout)
        command = f"sdn filter confirm {made['id']}"
        assert made["status"]["confirmBy"] in done.stderr and f"cnsmo {command}" in done.stderr
        confirmed = json.loads(cli.out(*command.split(), "--wait", "-o", "json"))
        assert "confirmBy" not in confirmed["status"]


def send(lab, number):
    """That many datagrams to Agent.1."""
    address = lab.overlay_address("Agent.1")
    lab.host("Agent.2").run(["sh", "-c", f"for i in $(seq {number}); do echo; done | "
                             f"socat -u -b1 STDIN UDP:{address}:5353"])


def test_the_counter_rises_by_what_was_sent(lab, on):
    cli = Cli(lab)
    made = json.loads(cli.out("sdn", "filter", "add", "--node", "Agent.1", "--protocol", "udp",
                              "--port", "5353", "--wait", "-o", "json"))
    watch = cli.start("sdn", "watch", made["id"], "-o", "jsonl")
    try:
        assert json.loads(watch.stdout.readline())["packets"] == 0
        send(lab, SENT)
        seen = 0
        while seen < SENT:
            seen = json.loads(watch.stdout.readline())["packets"]
        assert seen == SENT
    finally:
        watch.kill()
        watch.wait(10)
    status = json.loads(cli.out("sdn", "filter", "show", made["id"], "-o", "json"))["status"]
    assert status["packets"] == SENT and status["inForce"]["applied"] == 1
    points = lab.api.get(f"/sdn/filters/{made['id']}/series")["points"]
    assert points[-1]["packets"] == SENT
    table = cli.out("sdn", "flows", "--node", "Agent.1")
    assert f"filter/{made['id']}" in table and "5353" in table
    traffic = lab.api.get("/nodes/Agent.1")["status"]["traffic"]
    assert traffic["in"]["packets"] > 0
