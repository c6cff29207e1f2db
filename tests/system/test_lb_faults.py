"""lb when HAProxy is killed, hung, missing or refuses, and when a port is somebody else's: what is
said, and that the others go on."""
import contextlib

import pytest

from helpers import start_agent_with_few_rights, status_of
from lab.processes import wait_for
from lb_helpers import (  # noqa: F401
    BEHIND, CLIENT, FRONT, ONE, Backend, answers, backends, change, front, get, lb_state, listens,
    make, master, net, remove_all, servers, status, workers)

LAB = {"nodes": 2, "clouds": 1, "services": ["vpn", "lb"]}
PORT = 8080


def spec(**more):
    return {"node": FRONT, "port": PORT, "backends": {"nodes": [ONE]}, "backendPort": BEHIND, **more}


def works(lab):
    return get(lab.host(CLIENT), front(lab), PORT) == ONE


def is_fine(lab):
    return works(lab) and lb_state(lab, FRONT)["state"] == "running" and (
        status(lab, "web")["inForce"]["applied"] == 1)


@pytest.mark.parametrize("whom", ["master", "worker"])
@pytest.mark.logs("haproxy ended", "isn't in force")
def test_killed(net, whom):
    host = net.host(FRONT)
    make(net, "web", **spec())
    before = master(host)
    pid = before if whom == "master" else workers(host)[0]
    host.run(["kill", "-9", str(pid)])
    wait_for("another one", lambda: master(host) not in (None, before), 15)
    wait_for("it to work", lambda: is_fine(net), 15)
    wait_for("one master and one worker", lambda: len(host.processes("haproxy")) == 2, 10)


@pytest.mark.logs("haproxy ended", "haproxy", "isn't in force")
def test_hung(net):
    """It is told of within seconds, the other services aren't concerned, and then it is killed."""
    host = net.host(FRONT)
    make(net, "web", **spec())
    [worker] = workers(host)
    host.run(["kill", "-STOP", worker])
    wait_for("a word", lambda: lb_state(net, FRONT)["state"] == "degraded"
             and "doesn't answer" in lb_state(net, FRONT)["message"], 15)
    assert status_of(net, FRONT)["services"]["vpn"]["state"] == "running"
    wait_for("it to work", lambda: is_fine(net), 20)
    assert worker not in workers(host)


@pytest.mark.logs("isn't in force", "lb/service")
def test_port_taken(net):
    host = net.host(FRONT)
    taken = host.spawn(["socat", "TCP-LISTEN:8081,fork,reuseaddr", "EXEC:true"])
    wait_for("somebody else", lambda: listens(host, 8081), 5)
    try:
        make(net, "web", **spec())
        net.api.post("/lb/services", {"id": "other", "spec": spec(port=8081)})
        wait_for("a word", lambda: "port 8081 is taken by socat" in status(net, "other")["problem"],
                 10)
        assert works(net) and status(net, "web")["problem"] == ""
        assert lb_state(net, FRONT)["state"] == "degraded"
        assert "other: port 8081 is taken by socat" in lb_state(net, FRONT)["message"]
        change(net, "web", algorithm="source")  # isn't kept from it
        assert works(net)
    finally:
        taken.stop()
    wait_for("the port", lambda: get(net.host(CLIENT), front(net), 8081) == ONE, 45)
    wait_for("no more of it", lambda: status(net, "other")["problem"] == "", 10)


@contextlib.contextmanager
def without_haproxy(host):
    """On that machine /usr/sbin is a folder with all the rest of it."""
    host.run(["sh", "-c", "mkdir /run/sbin /run/real-sbin && mount --bind /usr/sbin /run/real-sbin "
              "&& ln -s /run/real-sbin/* /run/sbin && rm /run/sbin/haproxy "
              "&& mount --bind /run/sbin /usr/sbin"])
    try:
        yield
    finally:
        host.run(["sh", "-c", "umount /usr/sbin /run/real-sbin && rm -r /run/sbin /run/real-sbin"])


@pytest.mark.logs("isn't in force", "haproxy is missing", "lb/service")
def test_missing(net):
    host = net.host(FRONT)
    with without_haproxy(host):
        wait_for("a word before there is a service", lambda: "install the package haproxy"
                 in lb_state(net, FRONT)["message"], 70)
        net.api.post("/lb/services", {"id": "web", "spec": spec()})
        wait_for("a word", lambda: "install the package haproxy"
                 in lb_state(net, FRONT).get("message", ""), 20)
        assert lb_state(net, FRONT)["state"] == "failed"
        wait_for("a word", lambda: "install the package haproxy" in status(net, "web")["problem"],
                 10)
        assert status_of(net, FRONT)["services"]["vpn"]["state"] == "running"
    wait_for("it to work", lambda: is_fine(net), 45)


def test_with_the_rights_of_the_unit(net):
    host = net.host(FRONT)
    host.stop_agent()
    start_agent_with_few_rights(host)
    try:
        make(net, "web", **spec())
        wait_for("it to work", lambda: is_fine(net), 20)
        change(net, "web", algorithm="roundrobin")
        assert works(net)
    finally:
        remove_all(net)
        host.restart_agent()
    wait_for("the agent", lambda: lb_state(net, FRONT).get("state") == "running", 15)


def test_it_doesnt_run_as_root(net):
    host = net.host(FRONT)
    make(net, "web", **spec())
    owners = [host.out(["stat", "-c", "%U", f"/proc/{pid}"]).strip() for pid in workers(host)]
    assert owners and "root" not in owners
    assert host.out(["stat", "-c", "%a", "/run/cnsmo-agent/lb"]).strip() == "700"


def test_without_a_back_end(net):
    """It is said, and is a service all the same once there is one."""
    make(net, "web", **spec(backends={"selector": {"app": "none-yet"}}, mode="http"))
    wait_for("a word", lambda: status(net, "web")["problem"]
             == "it has no back ends: no node matches", 10)
    assert get(net.host(CLIENT), front(net), PORT) is None
    net.api.patch(f"/nodes/{ONE}", {"spec": {"labels": {"app": "none-yet"}}})
    try:
        wait_for("it to work", lambda: works(net), 10)
        wait_for("a back end", lambda: backends(net, "web") == {ONE: "up"}, 10)
    finally:
        net.api.patch(f"/nodes/{ONE}", {"spec": {"labels": {"app": None}}})


def test_a_back_end_that_joins_and_leaves(net, stranger):
    make(net, "web", **spec(backends={"pattern": "Stran*"}, mode="http"))
    net.join("Stranger")
    server = Backend(stranger, BEHIND)
    wait_for("it to be a back end",
             lambda: answers(net.host(CLIENT), front(net), PORT) == {"Stranger"}, 30)
    server.stop()
    stranger.leave()
    wait_for("nobody", lambda: status(net, "web")["problem"]
             == "it has no back ends: no node matches", 15)


# HAProxy, but the first signal to reload gets lost, as it does when a master isn't ready yet.
DEAF = """#!/bin/sh
[ "$1" = -c ] && exec /usr/sbin/haproxy "$@"
/usr/sbin/haproxy "$@" &
heard=0
trap 'heard=$((heard + 1)); [ $heard -eq 1 ] || kill -USR2 $!' USR2
trap 'kill $!' TERM
while kill -0 $! 2>/dev/null; do wait; done
"""


def test_a_reload_that_is_not_heard_is_told_again(net):
    host = net.host(FRONT)
    host.run(["sh", "-c", "cat > /usr/local/bin/haproxy; chmod 755 /usr/local/bin/haproxy"],
             stdin=DEAF)
    try:
        make(net, "web", **spec())
        changed = change(net, "web", algorithm="roundrobin")
        assert changed["status"]["inForce"]["applied"] == 1
        assert works(net)
    finally:
        remove_all(net)
        host.run(["rm", "/usr/local/bin/haproxy"])
