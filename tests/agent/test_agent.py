"""The agent's life on one machine, with the real server and the real tunnel."""
import base64
import itertools
import json

import pytest

from machine import BUILD, FOLDERS, LOG, RUN, STATE, until


def altered(token, **changes):
    """The token with other members in it."""
    text = token.split(".")[1]
    members = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    members.update(changes)
    text = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    return "cnsmo1." + base64.urlsafe_b64encode(text).decode().rstrip("=")


# --- join -----------------------------------------------------------------------------------------

def test_join_and_leave_restore_the_host(machine):
    before = machine.look()
    done = machine.agent("join", machine.token(), "--id", "Agent.1", "--endpoint", "192.0.2.1")
    assert (done.returncode, done.stdout) == (0, "joined as Agent.1\nthe agent runs\n")
    assert machine.address() and machine.look() != before
    assert machine.do("stat", "-c", "%a", STATE, STATE + "/key.pem", STATE + "/cert.pem",
                      STATE + "/agent.json").split() == ["700", "600", "600", "600"]
    done = machine.agent("leave")
    assert done.returncode == 0, done.stderr
    assert machine.look() == before
    assert not machine.exists(STATE) and not machine.exists(RUN)
    assert "Agent.1" not in machine.cnsmo("node", "list")


def test_join_from_a_program_that_ignores_its_children(machine):
    program = ["perl", "-e", "$SIG{CHLD} = 'IGNORE'; exec @ARGV"]
    token = machine.token()
    done = machine.run(*program, BUILD / "agent/cnsmo-agent", "join", token, "--id", "Agent.1",
                       *FOLDERS)
    assert done.returncode == 0, done.stderr
    until("the overlay is up", machine.is_up)


@pytest.mark.parametrize("changes, words", [
    ({"f": "0" * 64}, "the server belongs to another deployment"),
    ({"k": "A" * 43}, "the join token isn't valid"),
    ({"i": "unknown"}, "the join token isn't valid"),
    ({"s": ["127.0.0.1:1"]}, "cannot connect"),
])
def test_a_wrong_token_is_refused_in_words(machine, changes, words):
    before = machine.look()
    done = machine.agent("join", altered(machine.token(), **changes), "--id", "Agent.1")
    assert done.returncode == 1 and words in done.stderr
    assert machine.look() == before and machine.agent("status").returncode == 10


def test_another_server_of_the_token_is_tried(machine):
    token = altered(machine.token(), s=["127.0.0.1:1", "127.0.0.1:8444"])
    assert machine.agent("join", token, "--id", "Agent.1").returncode == 0


def test_arguments_are_checked_before_anything_is_done(machine):
    token = machine.token()
    for arguments in (["nonsense"], [], [token, "--id", "a b"], [token, "--id", ""],
                      [token, "--endpoint", "host"], [token, "--endpoint", "1.2.3.4:0x"],
                      [token, "--services", "vpn,,dns"], [token, "more"], [token, "--what"]):
        done = machine.agent("join", *arguments)
        assert done.returncode == 2 and done.stderr.startswith("cnsmo-agent"), arguments
    assert not machine.exists(STATE)


def test_an_overlay_over_a_route_of_the_host_is_refused(machine):
    machine.do("ip", "route", "add", "10.77.5.0/24", "dev", "net0")
    done = machine.agent("join", machine.token(), "--id", "Agent.1")
    assert done.returncode == 1 and "10.77.5.0/24" in done.stderr
    machine.do("ip", "route", "delete", "10.77.5.0/24")
    machine.join()


def test_the_same_machine_may_join_again(machine):
    token = machine.token()
    assert machine.agent("join", token, "--id", "Agent.1").returncode == 0
    address = machine.address()
    done = machine.agent("join", token)  # used up
    assert done.returncode == 0 and machine.address() == address
    done = machine.agent("join", machine.token(), "--id", "Agent.2")
    assert done.returncode == 1 and "is the node Agent.1 already" in done.stderr


# --- run ------------------------------------------------------------------------------------------

def test_a_second_agent_says_that_one_runs(node):
    done = node.agent("run")
    assert done.returncode == 12 and node.agent_pid() in done.stderr


@pytest.mark.parametrize("sign", ["-TERM", "-KILL"])
def test_the_tunnel_survives_the_agent(node, sign):
    child, address = node.child(), node.address()
    node.stop_agent(sign)
    assert node.agent("status").returncode == 1
    assert node.child() == child and node.address() == address
    node.start_agent()
    until("the agent is up", node.is_up)
    assert node.child() == child and node.address() == address


def test_without_server_everything_comes_back_from_the_replica(node):
    address, child = node.address(), node.child()
    node.kill_server()
    node.stop_agent("-KILL")
    node.do("kill", "-9", str(child))
    until("the tunnel is gone", lambda: not node.address())
    node.start_agent()
    until("the overlay is back", lambda: node.address() == address, 5)
    until("it runs", lambda: node.status()["services"]["vpn"]["state"] == "running")
    assert not node.status()["connected"]
    node.serve()
    until("it connects", node.is_up)


def test_what_is_broken_by_hand_is_repaired(node):
    address = node.address()
    node.do("ip", "address", "flush", "dev", "cnsmo0")
    until("the address is back", lambda: node.address() == address, 5)
    child = node.child()
    node.do("kill", "-9", str(child))
    until("the tunnel is back", lambda: node.address() == address and node.child() != child, 5)
    node.do("nft", "delete", "table", "inet", "cnsmo_vpn")
    until("the guard is back",
          lambda: node.run("nft", "list", "table", "inet", "cnsmo_vpn").returncode == 0, 5)


def test_a_corrupt_replica_is_fetched_again(node):
    node.stop_agent()
    node.do("sh", "-c", f"echo x >>{STATE}/replica.json")
    child = node.child()
    node.start_agent()
    until("the agent is up", node.is_up)
    assert node.child() == child and node.exists(STATE + "/replica.json.corrupt")


def test_a_full_disk_is_told_and_recovered_from(machine):
    machine.do("mkdir", "-p", STATE)
    machine.do("mount", "-t", "tmpfs", "-o", "size=128k", "state", STATE)
    machine.join()
    machine.run("dd", "if=/dev/zero", f"of={STATE}/filler", "bs=4k")
    sizes = itertools.cycle(["1300", "1301"])  # a few changes fit into the file's last block

    def told_of_one_more():
        machine.cnsmo("settings", "set", "overlay", "--mtu", next(sizes))
        return "No space left" in json.dumps(machine.status().get("errors", []))

    until("the error is told", told_of_one_more)
    machine.cnsmo("settings", "set", "overlay", "--mtu", "1310")
    until("the MTU is set", lambda: "mtu 1310" in machine.do("ip", "link", "show", "cnsmo0"))
    machine.do("rm", STATE + "/filler")
    until("it recovers", machine.is_up)


def test_a_name_server_that_is_silent_delays_nothing(node):
    """The server's name can't be looked up: the overlay comes back, and the agent ends when told."""
    address, child = node.address(), node.child()
    node.stop_agent()
    node.do("kill", "-9", str(child))
    node.do("sed", "-i", "s/127.0.0.1:8444/server.example:8444/", STATE + "/agent.json")
    node.do("sh", "-c", "echo nameserver 192.0.2.99 >/tmp/m/resolv.conf && "
            "mount --bind /tmp/m/resolv.conf /etc/resolv.conf")
    node.do("ip", "neighbour", "add", "192.0.2.99", "lladdr", "02:00:00:00:00:99", "dev", "net0")
    node.start_agent()
    until("the overlay is back", lambda: node.address() == address, 5)
    node.stop_agent()
    done = node.agent("leave", "--force")
    assert done.returncode == 0, done.stderr


# --- the end --------------------------------------------------------------------------------------

def test_a_deleted_node_clears_its_machine(node):
    pid = node.agent_pid()
    node.cnsmo("node", "delete", "Agent.1")
    until("the agent ends", lambda: not node.agent_runs(pid))
    assert node.look() == node.before
    assert node.exists(STATE + "/agent.json.removed") and not node.exists(STATE + "/agent.json")
    assert "has removed this node" in node.do("cat", LOG + "/agent.log")
    assert node.agent("run").returncode == 10
    node.join()


def test_deleted_while_away_it_clears_its_machine_when_it_returns(node):
    node.stop_agent()
    node.cnsmo("node", "delete", "Agent.1")
    done = node.agent("run")
    assert done.returncode == 11 and node.look() == node.before


def test_leave_without_server_needs_force(node):
    node.kill_server()
    done = node.agent("leave")
    assert done.returncode == 1 and "nothing was changed" in done.stderr
    until("the agent runs again", lambda: node.status().get("id") == "Agent.1")
    assert node.address()
    done = node.agent("leave", "--force")
    assert done.returncode == 0, done.stderr
    assert node.look() == node.before and not node.exists(STATE)
