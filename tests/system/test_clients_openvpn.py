"""Devices from outside with stock OpenVPN: what they reach, who may, and what interrupts them."""
import contextlib
import json
import re
import signal

import pytest

from helpers import other_address, status_of, uninterrupted, wait_pings
from openvpn_client import DEVICE, HubLog, Laptop, client_server, make_client, sessions, text_of
from lab.processes import wait_for

LAB = {"nodes": 2, "clouds": 2, "nat": 1}
NODES = ["Server", "Agent.1", "Agent.2"]
OTHER = "172.30.0.1"  # of the hub, for itself
SECOND = "198.51.100.250"  # of the hub, for everybody
NAT_ADDRESS = "198.51.100.102"  # of cloud 2


def running(lab):
    wait_for("the clients' server", lambda: client_server(lab).get("state") == "running", 30)


@contextlib.contextmanager
def client(lab, name):
    """An object for as long as the test runs."""
    address = make_client(lab, name)
    try:
        yield address
    finally:
        if lab.api.raw("GET", f"/api/v2/vpn/clients/{name}").status == 200:
            lab.api.delete(f"/vpn/clients/{name}")


@pytest.fixture(scope="module")
def machines(module_lab):
    """Two machines of nobody, one of them behind a NAT."""
    return [Laptop(module_lab.add(name, cloud)) for name, cloud in (("Road.1", 1), ("Road.2", 2))]


@pytest.fixture
def laptops(machines):
    yield machines
    for machine in machines:
        machine.stop(9)


@pytest.fixture
def alice(lab, laptops):
    """A client that is connected, from the first machine."""
    with client(lab, "alice") as address:
        laptops[0].start(lab, "alice")
        wait_pings(laptops[0].host, lab.overlay_address("Agent.1"))
        laptops[0].address = address
        yield laptops[0]


def test_reaches_every_node_and_is_reached(lab, alice):
    for name in NODES:
        wait_pings(alice.host, lab.overlay_address(name))
        wait_pings(lab.host(name), alice.address)
    # What doesn't fit at once must come in pieces or be told to.
    assert alice.host.ping(lab.overlay_address("Agent.2"), size=4000)


def test_session_is_shown(lab, alice):
    wait_for("the session", lambda: sessions(lab, "alice"), 10)
    session = sessions(lab, "alice")[0]
    assert session["protocol"] == "openvpn"
    assert session["from"].startswith("203.0.113.")
    assert session["rxBytes"] > 0 and session["txBytes"] > 0
    assert client_server(lab) == {"state": "running", "message": "1 of 1 client connected"}


def test_reaches_no_other_address_of_the_hub(lab, alice):
    with other_address(lab.host("Server"), OTHER):
        alice.host.run(["ip", "route", "add", OTHER, "dev", DEVICE])
        assert not alice.host.ping(OTHER)
        wait_pings(alice.host, lab.overlay_address("Server"))


def test_hub_answers_from_the_address_that_was_asked(lab, laptops):
    with client(lab, "alice"), other_address(lab.host("Server"), SECOND, "eth0"):
        text = re.sub(r"(?m)^remote \S+", f"remote {SECOND}", text_of(lab, "alice"))
        laptops[0].put("alice", text)
        laptops[0].run("alice")
        laptops[0].wait_up()
        wait_pings(laptops[0].host, lab.overlay_address("Agent.1"))


def test_two_clients_reach_each_other(lab, alice, laptops):
    with client(lab, "bob") as bob:
        laptops[1].start(lab, "bob")
        wait_pings(alice.host, bob)
        wait_pings(laptops[1].host, alice.address)


def test_revoked_client_is_cut_and_refused(lab, alice, laptops):
    node = lab.overlay_address("Agent.1")
    with client(lab, "bob"):  # so that there is somebody to refuse it
        lab.api.delete("/vpn/clients/alice?wait=applied&timeout=20")
        wait_for("the cut", lambda: not alice.host.ping(node), 3)
        alice.stop()
        log = HubLog(lab)
        alice.run("alice")
        log.wait("certificate revoked")
        assert not alice.said("Initialization Sequence Completed")
        assert not alice.host.ping(node)


def test_revoked_client_that_comes_again_has_a_new_certificate(lab, alice):
    lab.api.delete("/vpn/clients/alice?wait=applied&timeout=20")
    make_client(lab, "alice")
    alice.stop()
    log = HubLog(lab)
    alice.run("alice")  # with the old file
    log.wait("certificate revoked")
    assert not alice.said("Initialization Sequence Completed")
    alice.stop()
    alice.start(lab, "alice")
    wait_pings(alice.host, lab.overlay_address("Agent.2"))


def test_renewed_client_loses_its_session_with_the_old_certificate(lab, alice):
    node = lab.overlay_address("Agent.1")
    lab.api.post("/vpn/clients/alice/renew")
    wait_for("the cut", lambda: not alice.host.ping(node), 4)
    alice.stop()
    alice.start(lab, "alice")
    wait_pings(alice.host, node)


def test_the_later_of_two_with_one_file_wins(lab, alice, laptops):
    """OpenVPN gives one name one session; the earlier one is put out."""
    second = laptops[1]
    second.start(lab, "alice")
    wait_for("the later one's session",
             lambda: [s["from"].split(":")[0] for s in sessions(lab, "alice")] == [NAT_ADDRESS]
             and second.host.ping(lab.overlay_address("Agent.1")), 20)
    alice.stop()
    wait_pings(second.host, lab.overlay_address("Agent.1"), 30)


def test_nodes_are_no_clients(lab, laptops):
    """A node's certificate doesn't open the clients' server."""
    with client(lab, "alice"):
        running(lab)
        text = text_of(lab, "alice")
        node = lab.host("Agent.1")
        for tag, path in (("cert", "cert.pem"), ("key", "key.pem")):
            before, rest = text.split(f"<{tag}>\n")
            after = rest.split(f"</{tag}>\n", 1)[1]
            pem = node.out(["cat", f"/var/lib/cnsmo-agent/{path}"])
            text = f"{before}<{tag}>\n{pem}</{tag}>\n{after}"
        laptops[0].put("node", text)
        log = HubLog(lab)
        laptops[0].run("node")
        log.wait("VERIFY EKU ERROR")
        assert not laptops[0].said("Initialization Sequence Completed")


def test_clients_are_no_nodes(lab, laptops):
    """A client's certificate doesn't open the agents' port."""
    with client(lab, "alice"):
        host = laptops[0].host
        for form in ("cert", "key"):
            host.run(["sh", "-c", f"umask 077; cat > /root/alice.{form}"],
                     stdin=text_of(lab, "alice", form))
        server = lab.topology.server_address
        done = host.run(["openssl", "s_client", "-quiet", "-connect", f"{server}:8444", "-cert",
                         "/root/alice.cert", "-cert_chain", "/root/alice.cert", "-key",
                         "/root/alice.key"], stdin='{"type":"hello"}\n', check=False, timeout=20)
        assert "alert" in done.stderr and "{" not in done.stdout, done.stderr


@pytest.mark.logs("1194")
def test_port_taken(lab, laptops):
    hub = lab.host("Server")
    squatter = hub.spawn(["python3", "-c", "import socket, signal; s = socket.socket("
                          "socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 1194)); "
                          "signal.pause()"])
    wait_for("the squatter", lambda: ":1194 " in hub.out(["ss", "-Hlun"]), 10)
    lab.api.post("/vpn/clients", {"id": "alice", "spec": {}})
    try:
        wait_for("the failure", lambda: client_server(lab).get("state") == "failed", 20)
        assert "UDP port 1194 is taken" in client_server(lab)["message"]
        assert "1194" in lab.api.get("/vpn/clients/alice")["status"]["problem"]
        squatter.signal(signal.SIGKILL)
        running(lab)
        laptops[0].start(lab, "alice")
        wait_pings(laptops[0].host, lab.overlay_address("Agent.1"))
    finally:
        squatter.signal(signal.SIGKILL)
        lab.api.delete("/vpn/clients/alice")


def daemon(lab):
    found = lab.host("Server").processes("openvpn")
    return found[0] if len(found) == 1 else None


def test_agent_restart_interrupts_no_client(lab, alice):
    pid = daemon(lab)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with uninterrupted(alice.host, lab.overlay_address("Agent.1")):
            lab.host("Server").restart_agent(number)
            running(lab)
    assert daemon(lab) == pid


def mtus(host):
    links = json.loads(host.out(["ip", "-j", "link", "show"]))
    return {link["ifname"]: link["mtu"] for link in links if link["ifname"].startswith("cnsmo")}


def test_lost_default_route_restarts_nothing(lab, alice):
    """As when a network is configured anew, on a machine whose network takes less than others."""
    hub = lab.host("Server")
    route = hub.out(["ip", "route", "show", "default"]).split()
    hub.run(["ip", "link", "set", "eth0", "mtu", "1400"])
    try:
        wait_for("the smaller MTU", lambda: mtus(hub) == {"cnsmo0": 1320, "cnsmo-clients": 1320}, 10)
        running(lab)
        pid = daemon(lab)
        hub.run(["ip", "route", "del", *route])
        hub.run(["ip", "link", "set", "cnsmo-clients", "down"])
        wait_for("a repair", lambda: "UP" in hub.out(["ip", "link", "show", "cnsmo-clients"]), 10)
        assert mtus(hub) == {"cnsmo0": 1320, "cnsmo-clients": 1320}
        hub.run(["ip", "route", "add", *route])
        wait_pings(alice.host, lab.overlay_address("Agent.1"), 60)
        assert daemon(lab) == pid
    finally:
        hub.run(["ip", "route", "replace", *route])
        hub.run(["ip", "link", "set", "eth0", "mtu", "1500"])
    wait_for("the MTU of before", lambda: mtus(hub) == {"cnsmo0": 1420, "cnsmo-clients": 1400}, 10)
    running(lab)


def test_hanging_daemon_is_replaced(lab, alice):
    hub, pid = lab.host("Server"), daemon(lab)
    hub.run(["pkill", "-STOP", "-x", "openvpn"])
    wait_for("another daemon", lambda: daemon(lab) not in (None, pid), 40)
    running(lab)
    wait_pings(alice.host, lab.overlay_address("Agent.1"), 60)


def test_killed_daemon_comes_back(lab, alice):
    pid = daemon(lab)
    lab.host("Server").kill_processes("openvpn", signal.SIGKILL)
    wait_for("another daemon", lambda: daemon(lab) not in (None, pid), 20)
    wait_pings(alice.host, lab.overlay_address("Agent.1"), 60)


def test_lost_management_socket_heals(lab, alice):
    hub, pid = lab.host("Server"), daemon(lab)
    hub.run(["rm", "/run/cnsmo-agent/vpn/openvpn-clients.sock"])
    assert daemon(lab) == pid
    wait_pings(alice.host, lab.overlay_address("Agent.1"))
    hub.restart_agent()  # now there is no way to ask the daemon
    wait_for("another daemon", lambda: daemon(lab) not in (None, pid), 40)
    running(lab)
    wait_pings(alice.host, lab.overlay_address("Agent.1"), 60)


@pytest.mark.logs("connection", "lost", "try", "server")
def test_hub_machine_restarts(lab, alice):
    lab.restart("Server")
    wait_pings(alice.host, lab.overlay_address("Agent.1"), 90)
    assert alice.running()


def test_others_come_and_go_unnoticed(lab, alice, laptops):
    with uninterrupted(alice.host, lab.overlay_address("Agent.2")):
        for name in ("bob", "carol"):
            with client(lab, name) as address:
                laptops[1].start(lab, name)
                wait_pings(laptops[1].host, alice.address)
                wait_pings(lab.host("Agent.1"), address)
                laptops[1].stop()


def test_nothing_is_left_without_clients(lab, laptops):
    hub = lab.host("Server")
    with client(lab, "alice"):
        running(lab)
        assert hub.run(["ip", "link", "show", "cnsmo-clients"], check=False).returncode == 0
    wait_for("the end of the server",
             lambda: not hub.processes("openvpn")
             and hub.run(["ip", "link", "show", "cnsmo-clients"], check=False).returncode != 0, 20)
    assert "10.77.1" not in hub.out(["ip", "route", "show", "dev", "cnsmo-clients"], check=False)
    wait_for("a status without the server", lambda: not client_server(lab), 10)
    assert status_of(lab, "Server")["services"]["vpn"]["state"] == "running"
