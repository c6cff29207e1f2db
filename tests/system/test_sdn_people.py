"""What people reach sdn by, on real machines: API v1, v2 and the command line, down to the packets."""
import json
import os
import subprocess

import pytest

from lab.lab import default_build
from lab.processes import wait_for
from sdn_helpers import turn_on

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

    def out(self, *words):
        return subprocess.run([self.program, *words], env=self.environment, text=True, check=True,
                              stdout=subprocess.PIPE, timeout=30).stdout

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
