"""lb: a front port, back ends behind it, with real clients; and changes that no client notices."""
import itertools

import pytest

from helpers import host_state, status_of
from lab.processes import wait_for
from lb_helpers import (  # noqa: F401
    BEHIND, CLIENT, FRONT, ONE, Backend, Load, answers, backends, change, front, get, lb_state,
    listens, make, master, net, remove, status, workers)

LAB = {"nodes": 3, "clouds": 2, "services": ["vpn", "lb"], "ovs": True}
TWO = "Agent.3"
PORT = 8080
CHANGES = 100


@pytest.fixture(scope="module")
def servers(module_lab):
    """Two back ends with the label app=web, and a server on the front node too."""
    for name in (ONE, TWO):
        module_lab.api.patch(f"/nodes/{name}", {"spec": {"labels": {"app": "web"}}})
    made = {name: Backend(module_lab.host(name), BEHIND) for name in (ONE, TWO, FRONT)}
    yield made
    for server in made.values():
        server.stop()


def spec(**more):
    return {"node": FRONT, "port": PORT, "backends": {"selector": {"app": "web"}},
            "backendPort": BEHIND, "algorithm": "roundrobin",
            "check": {"type": "tcp", "interval": 1, "rise": 1, "fall": 2}, **more}


@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_shares_among_back_ends(net, mode):
    client = net.host(CLIENT)
    make(net, "web", **spec(mode=mode))
    assert answers(client, front(net), PORT) == {ONE, TWO}
    wait_for("the counts", lambda: status(net, "web")["connections"] >= 12, 10)
    shown = status(net, "web")
    assert shown["bytes"] > 0 and shown["problem"] == "" and shown["inForce"]["applied"] == 1
    assert backends(net, "web") == {ONE: "up", TWO: "up"}
    assert shown["up"] == "2 of 2"
    remove(net, "web")
    assert get(client, front(net), PORT) is None


def test_the_same_with_sdn(net):
    turn_on_lb_and_sdn(net)
    try:
        make(net, "web", **spec(side="overlay"))
        assert answers(net.host(CLIENT), front(net), PORT) == {ONE, TWO}
    finally:
        switch(net, FRONT, "vpn", "lb")
    wait_for("the overlay without sdn",
             lambda: answers(net.host(CLIENT), front(net), PORT) == {ONE, TWO}, 30)


def switch(lab, name, *services):
    lab.api.patch(f"/nodes/{name}", {"spec": {"services": list(services)}})


def turn_on_lb_and_sdn(lab):
    switch(lab, FRONT, "vpn", "sdn", "lb")
    wait_for("sdn", lambda: status_of(lab, FRONT)["services"].get("sdn", {}).get("state")
             == "running", 30)


def test_sides(net):
    """Who may come: those on the overlay, those outside, or both."""
    host, client = net.host(FRONT), net.host(CLIENT)
    public = [word.split("/")[0] for word in host.out(
        ["ip", "-4", "-o", "addr", "show", "dev", "eth0"]).split() if "/" in word][0]
    make(net, "web", **spec())
    for side, over, outside in [("all", True, True), ("overlay", True, False),
                                ("public", False, True)]:
        change(net, "web", side=side)
        assert (get(client, front(net), PORT) is not None) == over, side
        assert (get(host, public, PORT) is not None) == outside, side


def test_back_ends_by_pattern_and_list(net):
    client = net.host(CLIENT)
    make(net, "web", **spec(backends={"pattern": "Agent.?"}))
    assert answers(client, front(net), PORT) == {FRONT, ONE, TWO}
    change(net, "web", backends={"nodes": [TWO]})
    assert answers(client, front(net), PORT) == {TWO}
    assert master(net.host(FRONT))


def test_a_label_brings_and_takes_a_back_end(net):
    """By commands to the HAProxy that runs: no reload."""
    client = net.host(CLIENT)
    make(net, "web", **spec())
    before = workers(net.host(FRONT))
    net.api.patch(f"/nodes/{TWO}", {"spec": {"labels": {"app": None}}})
    try:
        wait_for("one back end", lambda: answers(client, front(net), PORT) == {ONE}, 10)
    finally:
        net.api.patch(f"/nodes/{TWO}", {"spec": {"labels": {"app": "web"}}})
    wait_for("both", lambda: answers(client, front(net), PORT) == {ONE, TWO}, 10)
    assert workers(net.host(FRONT)) == before


def test_a_back_end_that_fails_and_returns(net, servers):
    client = net.host(CLIENT)
    make(net, "web", **spec(mode="http", check={"type": "http", "path": "/", "interval": 1,
                                                "rise": 1, "fall": 2}))
    servers[ONE].stop()
    try:
        wait_for("it to be down", lambda: backends(net, "web") == {ONE: "down", TWO: "up"}, 15)
        [down] = [one for one in status(net, "web")["fronts"][0]["backends"] if one["node"] == ONE]
        assert "Connection refused" in down["why"] or "L4" in down["why"]
        assert answers(client, front(net), PORT) == {TWO}
        assert status(net, "web")["up"] == "1 of 2"
    finally:
        servers[ONE].start()
    wait_for("it to be up", lambda: backends(net, "web") == {ONE: "up", TWO: "up"}, 15)
    assert answers(client, front(net), PORT) == {ONE, TWO}
    change(net, "web", check={"path": "/bad"})
    wait_for("a check that fails", lambda: backends(net, "web") == {ONE: "down", TWO: "down"}, 15)
    wait_for("a word", lambda: status(net, "web")["problem"] == "none of its back ends is up", 10)


def test_who_was_down_is_down_after_a_reload(net, servers):
    """The next worker needn't find out again: nobody is sent there meanwhile."""
    make(net, "web", **spec(mode="http", check={"interval": 3600, "rise": 1, "fall": 1}))
    servers[ONE].stop()
    try:
        change(net, "web", check={"interval": 1})
        wait_for("it to be down", lambda: backends(net, "web") == {ONE: "down", TWO: "up"}, 15)
        change(net, "web", check={"interval": 3600})
        assert backends(net, "web")[ONE] == "down"
        assert answers(net.host(CLIENT), front(net), PORT) == {TWO}
    finally:
        servers[ONE].start()


def test_drained(net):
    client = net.host(CLIENT)
    make(net, "web", **spec())
    change(net, "web", drain=[ONE])
    assert answers(client, front(net), PORT) == {TWO}
    wait_for("a word", lambda: backends(net, "web") == {ONE: "drained", TWO: "up"}, 10)
    change(net, "web", drain=[])
    assert answers(client, front(net), PORT) == {ONE, TWO}


@pytest.mark.parametrize("sticky", ["source", "cookie"])
def test_sticky(net, sticky):
    client = net.host(CLIENT)
    make(net, "web", **spec(mode="http", sticky=sticky))
    client.run(["rm", "-f", "/tmp/jar"])
    cookies = ["-b", "/tmp/jar", "-c", "/tmp/jar"]
    assert len(answers(client, front(net), PORT, 8, *cookies)) == 1
    if sticky == "cookie":
        assert answers(client, front(net), PORT, 8) == {ONE, TWO}


def changes(lab):
    """Of every kind, over and over."""
    other = spec(port=PORT + 1, backends={"nodes": [FRONT]})
    algorithms = itertools.cycle(["leastconn", "source", "roundrobin"])
    for i in itertools.count():
        yield lambda: change(lab, "web", backends={"nodes": [ONE, TWO, FRONT]})
        yield lambda: change(lab, "web", algorithm=next(algorithms))
        yield lambda: change(lab, "web", backends={"nodes": [ONE]})
        yield lambda: change(lab, "web", backends={"nodes": [TWO]})
        yield lambda: change(lab, "web", drain=[ONE], backends={"nodes": [ONE, TWO]})
        yield lambda: make(lab, f"other-{i}", **other)
        yield lambda: change(lab, "web", drain=[])
        yield lambda: remove(lab, f"other-{i}")
        yield lambda: change(lab, "web", timeouts={"client": 50 + i % 10})


@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_no_request_fails_while_things_change(net, mode):
    make(net, "web", **spec(mode=mode, backends={"nodes": [ONE, TWO]}))
    load = Load(net.host(CLIENT), front(net), PORT)
    try:
        for do in itertools.islice(changes(net), CHANGES):
            do()
    finally:
        result = load.stop()
    assert result["failed"] == [] and result["done"] > CHANGES


def test_changes_that_overtake_each_other(net):
    """Many at a time, while a reload is under way: all are in force soon, and no request fails."""
    make(net, "web", **spec(mode="http"))
    load = Load(net.host(CLIENT), front(net), PORT)
    for i in range(8):
        net.api.post("/lb/services", {"id": f"more-{i}", "spec": spec(port=8100 + i)})
        net.api.patch("/lb/services/web", {"spec": {"timeouts": {"server": 30 + i}}})
    for i in range(8):
        wait_for(f"more-{i}", lambda: get(net.host(CLIENT), front(net), 8100 + i), 6)
    wait_for("all of them", lambda: all(
        item["status"]["inForce"]["applied"] == 1 and item["status"]["problem"] == ""
        for item in net.api.get("/lb/services")["items"]), 5)
    result = load.stop()
    assert result["failed"] == [] and result["done"] > 0


def test_tcp_connections_live_on(net):
    """One that is open is neither cut by a reload nor by its back end being taken out."""
    client, host = net.host(CLIENT), net.host(ONE)
    echo = host.spawn(["socat", "TCP-LISTEN:9091,fork,reuseaddr", "EXEC:cat"])
    wait_for("the echo", lambda: listens(host, 9091), 5)
    make(net, "echo", **spec(port=8082, backendPort=9091, backends={"nodes": [ONE]}))
    log = client.log_path("echo.log")
    log.unlink(missing_ok=True)
    talk = client.spawn(["sh", "-c", "(while sleep 0.1; do echo again; done) | "
                                     f"socat - TCP:{front(net)}:8082"], log="echo.log")
    try:
        wait_for("an echo", lambda: "again" in log.read_text(), 10)
        change(net, "echo", algorithm="source")
        change(net, "echo", backends={"nodes": [TWO]})
        size = len(log.read_text())
        wait_for("more of it", lambda: len(log.read_text()) > size + 30, 10)
    finally:
        talk.stop()
        echo.stop()


@pytest.mark.logs("connection lost", "not connected", "try again")
def test_server_down_and_agent_restarted(net):
    """Nothing of it is needed to go on, and what runs is taken up again."""
    client, host, address = net.host(CLIENT), net.host(FRONT), front(net)
    make(net, "web", **spec())
    pid = master(host)
    net.host("Server").stop_server()
    try:
        assert answers(client, address, PORT) == {ONE, TWO}
        host.restart_agent(9)
        wait_for("the agent", lambda: host.agent_pid(), 10)
        assert answers(client, address, PORT) == {ONE, TWO}
        assert master(host) == pid
    finally:
        net.host("Server").start_server()
    wait_for("its word", lambda: lb_state(net, FRONT).get("state") == "running", 30)
    change(net, "web", backends={"nodes": [ONE]})
    assert answers(client, address, PORT) == {ONE} and master(host) == pid


def test_off_leaves_nothing(net):
    host = net.host(FRONT)
    before = host_state(host)
    make(net, "web", **spec())
    switch(net, FRONT, "vpn")
    try:
        wait_for("no haproxy", lambda: master(host) is None, 15)
        wait_for("a word", lambda: "doesn't run lb" in status(net, "web")["problem"], 10)
        wait_for("nothing of it", lambda: host_state(host) == before, 10)
    finally:
        switch(net, FRONT, "vpn", "lb")
    wait_for("it back", lambda: get(net.host(CLIENT), front(net), PORT), 15)
