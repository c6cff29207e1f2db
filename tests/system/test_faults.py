"""Things break: programs die, disks fill, files rot, somebody flushes tables by hand."""
import json
import signal

import pytest

from helpers import peers, status_of, uninterrupted, wait_connected, wait_pings
from lab.node import clock_shift
from lab.processes import alive, wait_for

LAB = {"nodes": 3, "clouds": 2}
RECONNECT = ("connection", "connect", "server", "link")
REPAIR_S = 5


@pytest.mark.logs(*RECONNECT)
def test_server_killed_and_restarted(lab):
    """Agents go on meanwhile, reconnect and resume."""
    server, one = lab.host("Server"), lab.host("Agent.1")
    address = lab.overlay_address("Agent.2")
    with uninterrupted(one, address):
        server.stop_server(signal.SIGKILL)
        assert one.ping(address)
        server.start_server()
        for name in lab.hosts:
            wait_connected(lab, name, timeout=40)
    status = status_of(lab, "Agent.1")
    assert status["inForce"]["pending"] == []


@pytest.mark.logs(*RECONNECT)
def test_server_gone_and_machine_restarted(lab):
    """The overlay is back from the replica within 5 s of the agent's start."""
    server = lab.host("Server")
    address = {name: lab.overlay_address(name) for name in lab.hosts}
    server.stop_server(signal.SIGKILL)
    try:
        one = lab.restart("Agent.1")
        wait_pings(one, address["Agent.2"], REPAIR_S)
        wait_pings(lab.host("Agent.3"), address["Agent.1"], REPAIR_S)
    finally:
        server.start_server()
    wait_connected(lab, "Agent.1", timeout=40)


@pytest.mark.logs("replica", *RECONNECT)
@pytest.mark.parametrize("damage", ["printf garbage >", "truncate -s 100", "truncate -s 0", "rm"])
def test_corrupted_replica(lab, damage):
    one, address = lab.host("Agent.1"), lab.overlay_address("Agent.2")
    one.stop_agent(signal.SIGKILL)
    one.run(["sh", "-c", f"{damage} /var/lib/cnsmo-agent/replica.json"])
    one.start_agent()
    wait_connected(lab, "Agent.1", timeout=40)
    wait_pings(one, address, 10)
    wait_for("a whole replica again", lambda: json.loads(
        one.out(["cat", "/var/lib/cnsmo-agent/replica.json"], check=False) or "null"), 10)


@pytest.mark.logs("wireguard-go", "child", "exited", "died", "gone", "device", "cnsmo0", "drift")
def test_child_killed(lab):
    one, address = lab.host("Agent.1"), lab.overlay_address("Agent.2")
    killed = one.kill_processes("wireguard-go", signal.SIGKILL)
    assert killed, "wireguard-go runs as the agent's child"
    wait_pings(one, address, REPAIR_S)
    assert set(one.processes("wireguard-go")).isdisjoint(killed)


@pytest.mark.logs("drift", "repair", "changed", "cnsmo0", "device", "missing")
@pytest.mark.parametrize("command", [
    "ip addr flush dev cnsmo0",
    "ip route flush dev cnsmo0",
    "ip link set cnsmo0 down",
    "wg set cnsmo0 peer $(wg show cnsmo0 peers | head -1) remove",
    "for p in $(wg show cnsmo0 peers); do wg set cnsmo0 peer $p remove; done",
    "ip link del cnsmo0"])
def test_flushed_by_hand(lab, command):
    one = lab.host("Agent.1")
    known = {name: lab.overlay_address(name) for name in ("Agent.2", "Agent.3", "Server")}
    one.run(["sh", "-c", command])
    for name, address in known.items():
        wait_pings(one, address, REPAIR_S)
    assert len(peers(one)) == 3


@pytest.mark.logs("drift", "repair", "changed", "nft", "guard", "missing")
def test_guard_flushed_by_hand(lab):
    one = lab.host("Agent.1")
    before = one.out(["nft", "-s", "list", "table", "inet", "cnsmo_vpn"])
    one.run(["nft", "delete", "table", "inet", "cnsmo_vpn"])

    def back():
        shown = one.run(["nft", "-s", "list", "table", "inet", "cnsmo_vpn"], check=False)
        return shown.stdout == before
    wait_for("the guard's return", back, REPAIR_S)


def transfer(lab, seconds, during):
    """A TCP stream over the overlay while `during` happens; the bytes of each half second."""
    one, address = lab.host("Agent.1"), lab.overlay_address("Agent.2")
    target = lab.host("Agent.2").spawn(["iperf3", "-s", "-1"], log="iperf3-server.log")
    wait_for("iperf3", lambda: ":5201" in lab.host("Agent.2").out(["ss", "-Htln"]), 5)
    log = one.log_path("iperf3.json")
    log.unlink(missing_ok=True)
    stream = one.spawn(["iperf3", "-J", "-c", address, "-t", seconds, "-i", "0.5", "-b", "50M"],
                       log="iperf3.json")
    wait_for("the connection", lambda: address in one.out(["ss", "-Htn", "dport", "=", ":5201"]), 5)
    during(one)
    assert stream.wait(seconds + 20) == 0, log.read_text()[-500:]
    target.wait(20)
    report = json.loads(log.read_text())
    assert "error" not in report, report["error"]
    return [interval["sum"]["bytes"] for interval in report["intervals"]]


def restart(one):
    before = one.processes("wireguard-go")
    one.restart_agent()
    wait_for("the agent", one.agent_pid, 5)
    assert one.processes("wireguard-go") == before, "the child outlives the agent"


def upgrade(one):
    one.replace_program("cnsmo-agent", "/usr/local/bin/cnsmo-agent")
    restart(one)


def crash(one):
    one.restart_agent(signal.SIGKILL)
    wait_for("the agent", one.agent_pid, 5)


@pytest.mark.logs(*RECONNECT)
@pytest.mark.parametrize("during", [restart, upgrade, crash])
def test_agent_restarts_during_a_transfer(lab, during):
    halves = transfer(lab, 6, during)
    assert all(size > 0 for size in halves), halves
    wait_connected(lab, "Agent.1")
    wait_pings(lab.host("Agent.1"), lab.overlay_address("Agent.2"))


@pytest.mark.logs("space", "write", "full", "replica", "status", *RECONNECT)
@pytest.mark.lab(nodes=2, clouds=1)
def test_agent_disk_full(fresh_lab):
    """A clear error, nothing lost, and it recovers."""
    lab = fresh_lab
    one = lab.host("Agent.1")
    state = one.out(["sh", "-c", "tar c -C /var/lib/cnsmo-agent . | base64"])
    one.stop_agent()
    one.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", "/var/lib/cnsmo-agent"])
    one.run(["sh", "-c", "base64 -d | tar x -C /var/lib/cnsmo-agent"], stdin=state)
    one.start_agent()
    wait_connected(lab, "Agent.1", timeout=20)
    one.run(["sh", "-c", "dd if=/dev/zero of=/var/lib/cnsmo-agent/.filler bs=1k"], check=False)
    lab.add("Agent.3", 1)
    lab.join("Agent.3")
    wait_pings(one, lab.overlay_address("Agent.3"), 20)  # the network goes on all the same

    def told():
        """What a change adds to the replica may still fit into its last block."""
        clouds.append(f"cloud-{len(clouds)}")
        lab.api.patch("/nodes/Agent.3", {"spec": {"cloud": clouds[-1]}})
        return "space" in one.agent_log().lower()
    clouds = []
    wait_for("a clear error", told, 20)
    one.run(["rm", "/var/lib/cnsmo-agent/.filler"])
    wait_for("the new peer in the replica", lambda: "Agent.3" in one.out(
        ["cat", "/var/lib/cnsmo-agent/replica.json"]), 30)
    one.restart_agent()
    wait_pings(one, lab.overlay_address("Agent.3"), 20)


@pytest.mark.logs("space", "store", "disk", "full", "database", *RECONNECT)
@pytest.mark.lab(nodes=1, clouds=1)
def test_server_disk_full(fresh_lab):
    lab = fresh_lab
    server = lab.host("Server")
    server.stop_server()
    state = server.out(["sh", "-c", "tar c -C /var/lib/cnsmod . | base64"])
    server.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700,uid=65534,gid=65534", "tmpfs",
                "/var/lib/cnsmod"])
    server.run(["sh", "-c", "base64 -d | tar xp -C /var/lib/cnsmod"], stdin=state)
    server.start_server()
    wait_connected(lab, "Agent.1", timeout=40)
    server.run(["dd", "if=/dev/zero", "of=/var/lib/cnsmod/.filler", "bs=1k"], check=False)
    kept, answer = [], None
    for number in range(20000):
        answer = lab.api.raw("POST", "/api/v2/nodes", {"id": f"N.{number}", "spec": {
            "labels": {"filler": "x" * 60}}})
        if answer.status != 201:
            break
        kept.append(f"N.{number}")
    assert answer.status in (500, 503, 507), answer.body
    assert "space" in answer.body.decode() or "full" in answer.body.decode(), answer.body
    assert lab.api.raw("GET", "/api/v2/nodes/Agent.1").status == 200
    assert lab.host("Agent.1").ping(status_of(lab, "Server")["address"])
    server.run(["rm", "/var/lib/cnsmod/.filler"])
    wait_for("writes again", lambda: lab.api.raw("POST", "/api/v2/nodes", {
        "id": "Later", "spec": {}}).status in (201, 409), 15)
    server.stop_server(signal.SIGKILL)
    server.start_server()
    assert set(kept) | {"Later", "Agent.1", "Server"} <= set(lab.api.nodes())


@pytest.mark.logs("clock", "certificate", *RECONNECT)
@pytest.mark.parametrize("shift", ["-1d", "+1d"])
def test_clock_wrong_by_a_day(lab, stranger, shift):
    stranger.join(lab.token_for("Stranger"), "--id", "Stranger", env=clock_shift(shift))
    wait_connected(lab, "Stranger")
    wait_pings(stranger, lab.overlay_address("Agent.1"))
    stranger.restart_agent(env=clock_shift(shift))
    wait_connected(lab, "Stranger")
    stranger.leave()


@pytest.mark.logs(*RECONNECT)
def test_only_one_agent_runs(lab):
    one = lab.host("Agent.1")
    pid = one.agent_pid()
    second = one.run(["cnsmo-agent", "run"], check=False, timeout=20)
    assert second.returncode != 0
    assert "run" in second.stderr
    assert alive(pid)
