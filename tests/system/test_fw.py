"""Firewall rules, groups and policies on the lab's machines, with real connections."""
import pytest

from fw_helpers import CONNECT, TABLE, fw, listening, reach, table  # noqa: F401
from helpers import host_state, status_of, wait_connected, wait_pings
from lab.api import ApiError
from lab.processes import wait_for

LAB = {"nodes": 2, "clouds": 2, "services": ["vpn", "fw"]}


@pytest.fixture(scope="module", autouse=True)
def listener(module_lab):
    with listening(module_lab.host("Agent.1"), 22, 8080, 8081):
        yield


@pytest.fixture
def public(lab):
    """How Agent.2 gets through to a port of Agent.1 on its own address."""
    return lambda port=8080, **more: reach(lab.host("Agent.2"), lab.topology.address("Agent.1"),
                                           port, **more)


@pytest.fixture
def overlay(lab):
    return lambda port=8080, **more: reach(lab.host("Agent.2"), lab.overlay_address("Agent.1"),
                                           port, **more)


# --- rules ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("action, outcome", [("drop", "dropped"), ("reject", "refused"),
                                             ("accept", "open")])
def test_actions(fw, public, overlay, action, outcome):
    assert public() == overlay() == "open"
    number = fw.rule(action, protocol="tcp", port="8080")
    assert public() == overlay() == outcome
    assert public(8081) == "open"
    fw.delete("rules", number)
    assert public() == overlay() == "open"


def test_sides(fw, public, overlay):
    number = fw.rule("reject", protocol="tcp", port="8080", side="public")
    assert (public(), overlay()) == ("refused", "open")
    fw.delete("rules", number)
    fw.rule("reject", protocol="tcp", port="8080", side="overlay")
    assert (public(), overlay()) == ("open", "refused")


def test_order(fw, public):
    fw.rule("reject", protocol="tcp", port="8080-8081", order=20)
    assert public() == public(8081) == "refused"
    fw.rule("accept", protocol="tcp", port="8080", order=10)
    assert (public(), public(8081)) == ("open", "refused")
    fw.rule("drop", protocol="tcp", port="8080", order=5)
    assert (public(), public(8081)) == ("dropped", "refused")


def test_addresses_and_groups(fw, lab, public):
    fw.make("groups", {"addresses": ["198.18.0.0/15"]}, "bad")
    fw.rule("reject", protocol="tcp", port="8080", source="@bad")
    assert public() == "open"
    address = lab.topology.address("Agent.2")
    lab.api.patch("/fw/groups/bad?wait=applied&timeout=20",
                  {"spec": {"addresses": ["198.18.0.0/15", address]}})
    assert public() == "refused"
    lab.api.patch("/fw/groups/bad?wait=applied&timeout=20",
                  {"spec": {"addresses": ["198.18.0.0/15"]}})
    assert public() == "open"


def test_out_and_states(fw, lab, public):
    fw.rule("reject", node="Agent.2", direction="out", protocol="tcp", port="8080", state="new",
            destination=lab.topology.address("Agent.1"))
    assert (public(), public(8081)) == ("refused", "open")
    fw.clear()
    fw.rule("drop", protocol="tcp", port="8080", state="established")
    assert public() == "dropped"  # the second packet of it


def test_labels(fw, lab, public):
    fw.make("rules", {"selector": {"role": "web"}, "action": "reject", "protocol": "tcp",
                      "port": "8080"})
    assert public() == "open"
    lab.api.patch("/nodes/Agent.1?wait=applied&timeout=20", {"spec": {"labels": {"role": "web"}}})
    assert public() == "refused"
    lab.api.patch("/nodes/Agent.1?wait=applied&timeout=20", {"spec": {"labels": {"role": None}}})
    assert public() == "open"


def test_fragments(fw, public):
    """Ports are seen of packets in pieces, and all of the pieces go."""
    assert public(protocol="udp", size=5000) == "open"
    number = fw.rule("drop", protocol="udp", port="8080")
    assert public(protocol="udp", size=5000) == "dropped"
    assert public(8081, protocol="udp", size=5000) == "open"
    fw.wait_counted(number, 1)


def test_log(fw, lab, public):
    number = fw.rule("log", protocol="tcp", port="8080", state="new", order=1)
    assert public() == "open"
    assert f'log prefix "cnsmo fw {number}: "' in table(lab.host("Agent.1"))
    fw.wait_counted(number, 1)


# --- counters ------------------------------------------------------------------------------------

def test_counters_go_on(fw, lab, public):
    host = lab.host("Agent.1")
    number = fw.rule("drop", protocol="udp", port="8080")
    assert public(protocol="udp", timeout=0.1) == "dropped"
    fw.wait_counted(number, 1)
    fw.rule("accept", protocol="tcp", port="1-5")  # another table
    assert public(protocol="udp", timeout=0.1) == "dropped"
    fw.wait_counted(number, 2)
    host.run(["nft", "delete", "table", *TABLE.split()])
    wait_for("the table's return", lambda: "chain in" in table(host), 3)
    assert public(protocol="udp", timeout=0.1) == "dropped"
    fw.wait_counted(number, 3)
    host.stop_agent(9)
    assert public(protocol="udp", timeout=0.1) == "dropped"
    host.start_agent()
    fw.wait_counted(number, 4)


def test_what_others_change_is_put_back(fw, lab, public):
    host = lab.host("Agent.1")
    fw.rule("reject", protocol="tcp", port="8080")
    good = table(host)
    for command in (["flush", "chain", *TABLE.split(), "in"], ["flush", "table", *TABLE.split()],
                    ["flush", "ruleset"], ["add", "rule", *TABLE.split(), "in", "accept"],
                    ["add", "element", *TABLE.split(), "in1_0", "{ 7 }"]):
        host.run(["nft", *command])
        wait_for(f"the table after {command}", lambda: table(host) == good, 5)
    assert public() == "refused"


# --- policies ------------------------------------------------------------------------------------

def test_policy(fw, lab, public, overlay):
    host = lab.host("Agent.1")
    fw.rule("accept", protocol="tcp", port="22,8080", order=10)
    fw.policy("closed", node="Agent.1", **{"in": "drop"})
    assert (public(22), public(), public(8081)) == ("open", "open", "dropped")
    assert (overlay(), overlay(8081)) == ("open", "dropped")
    # The node's own connections, the tunnel and the link live on.
    host.restart_agent()
    wait_connected(lab, "Agent.1")
    wait_pings(host, lab.overlay_address("Agent.2"))
    lab.api.patch("/nodes/Agent.1?wait=applied&timeout=20", {"spec": {"labels": {"role": "web"}}})
    fw.policy("open", selector={"role": "web"}, **{"in": "reject"})  # weaker
    assert public(8081) == "dropped"
    fw.delete("policies", "closed")
    assert public(8081) == "refused"
    status = status_of(lab, "Agent.1")["services"]["fw"]
    assert status["state"] == "running" and status["rules"] == 1
    assert status["policy"] == {"in": "reject", "out": "accept"}
    fw.clear()
    lab.api.patch("/nodes/Agent.1?wait=applied&timeout=20", {"spec": {"labels": {"role": None}}})


@pytest.mark.parametrize("spec, words", [
    ({"direction": "out", "protocol": "tcp", "port": "8444", "node": "Agent.1"},
     "it would cut Agent.1 off from this server, which it reaches at"),
    ({"direction": "in", "protocol": "tcp", "sourcePort": "8000-9000", "node": "Agent.1"},
     "it would cut Agent.1 off from this server"),
    ({"protocol": "tcp", "port": "22", "node": "Agent.1"}, "it would cut off ssh"),
    ({"protocol": "tcp", "port": "8000-9000", "node": "Server"},
     "it would cut all agents off from this server: nobody could reach port 8444 of Server")])
def test_who_would_be_cut_off(fw, spec, words):
    with pytest.raises(ApiError, match=words):
        fw.rule("drop", **spec)


def test_out_policy_needs_the_link(fw, lab):
    with pytest.raises(ApiError, match="it would cut Agent.1 off from this server"):
        fw.policy("quiet", node="Agent.1", out="drop")
    fw.rule("accept", direction="out", protocol="tcp", port="8444")
    fw.policy("quiet", node="Agent.1", out="drop")
    lab.host("Agent.1").restart_agent()
    wait_connected(lab, "Agent.1")
    assert reach(lab.host("Agent.1"), lab.topology.address("Agent.2"), 22) == "dropped"
    fw.delete("policies", "quiet")
    assert reach(lab.host("Agent.1"), lab.topology.address("Agent.2"), 22) == "refused"


@pytest.fixture
def by_ipv6(lab):
    """How somebody behind a device of Agent.1's own gets to its port by IPv6."""
    host = lab.host("Agent.1")
    for command in ("netns add six", "link add six0 type veth peer name six1 netns six",
                    "addr add fd77::1/64 dev six0 nodad", "link set six0 up",
                    "-n six addr add fd77::2/64 dev six1 nodad", "-n six link set six1 up"):
        host.run(["ip", *command.split()])
    yield lambda: host.out(["ip", "netns", "exec", "six", "python3", "-c", CONNECT, "tcp",
                            "fd77::1", "8080", "0.7", "1"]).strip()
    host.run(["ip", "link", "del", "six0"])
    host.run(["ip", "netns", "del", "six"])


def test_ipv6(fw, by_ipv6):
    wait_for("the way", lambda: by_ipv6() == "open", 5)
    fw.rule("accept", protocol="tcp", port="22")
    fw.policy("closed", node="Agent.1", **{"in": "drop"})
    assert by_ipv6() == "dropped"
    number = fw.rule("accept", protocol="tcp", port="8080", source="0.0.0.0/1")
    assert by_ipv6() == "dropped"  # addresses are IPv4's
    fw.delete("rules", number)
    fw.rule("accept", protocol="tcp", port="8080")
    assert by_ipv6() == "open"


def test_many(fw, lab, public):
    """One more is an element more; what the others have counted stays in the kernel."""
    host, address = lab.host("Agent.1"), lab.topology.address("Agent.2")
    first = fw.rule("drop", protocol="udp", port="8080", source=address)
    others = lab.api.post("/fw/rules?wait=applied&timeout=20", [
        {"spec": {"node": "Agent.1", "action": "drop", "protocol": "udp", "port": "8080",
                  "source": f"198.18.{number // 250}.{number % 250}"}} for number in range(100)])
    fw.made += [("rules", number) for number in others["ids"]]
    assert public(protocol="udp", timeout=0.1) == "dropped"
    assert table(host).count("comment") == 101
    fw.rule("drop", protocol="udp", port="8081", source=address)
    fw.delete("rules", others["ids"][7])
    assert table(host).count("comment") == 101 and "198.18.0.7 " not in table(host)
    assert f'{address} . 8080 counter packets 1 bytes 38 comment "{first}.' in table(host)
    assert public(8081, protocol="udp", timeout=0.1) == "dropped"
    fw.wait_counted(first, 1)


def test_nothing_is_left(lab, fw):
    before = host_state(lab.host("Agent.1"))["nft"]
    fw.rule("drop", protocol="tcp", port="7")
    fw.clear()
    assert host_state(lab.host("Agent.1"))["nft"] == before
    lab.api.patch("/nodes/Agent.1?wait=applied&timeout=20", {"spec": {"services": ["vpn"]}})
    assert not table(lab.host("Agent.1"))
    lab.api.patch("/nodes/Agent.1?wait=applied&timeout=20", {"spec": {"services": ["vpn", "fw"]}})
    wait_for("the table's return", lambda: table(lab.host("Agent.1")), 5)
