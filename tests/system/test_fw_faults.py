"""The firewall with sdn beside it, with nft missing or hanging, undone when nobody confirms, and
gone with leave."""
import time

import pytest

from fw_helpers import fw, listening, reach, table  # noqa: F401
from helpers import host_state, status_of, wait_connected, wait_pings
from lab.api import ApiError
from lab.processes import wait_for

LAB = {"nodes": 2, "clouds": 2, "services": ["vpn", "sdn", "fw"]}


@pytest.fixture(scope="module", autouse=True)
def listener(module_lab):
    with listening(module_lab.host("Agent.1"), 22, 8080):
        yield


def public(lab):
    return reach(lab.host("Agent.2"), lab.topology.address("Agent.1"), 8080)


def overlay(lab):
    return reach(lab.host("Agent.2"), lab.overlay_address("Agent.1"), 8080)


def test_with_sdn(lab, fw):
    assert public(lab) == overlay(lab) == "open"
    number = fw.rule("reject", protocol="tcp", port="8080", side="overlay")
    assert (public(lab), overlay(lab)) == ("open", "refused")
    fw.delete("rules", number)
    fw.rule("accept", protocol="tcp", port="22")
    fw.policy("closed", node="Agent.1", **{"in": "drop"})
    assert public(lab) == overlay(lab) == "dropped"
    wait_pings(lab.host("Agent.1"), lab.overlay_address("Agent.2"))


def test_sdn_goes_and_comes(lab, fw):
    """The overlay's device is another one then, and still the overlay."""
    fw.rule("reject", protocol="tcp", port="8080", side="overlay")
    assert overlay(lab) == "refused"
    for services in (["vpn", "fw"], ["vpn", "sdn", "fw"]):
        lab.api.patch("/nodes/Agent.1?wait=applied&timeout=30", {"spec": {"services": services}})
        wait_pings(lab.host("Agent.2"), lab.overlay_address("Agent.1"), 15)
        assert (public(lab), overlay(lab)) == ("open", "refused")


FORCED = "/fw/policies?force=true&wait=applied&timeout=20"


def test_forced_and_confirmed(lab, fw):
    lab.api.post(FORCED, {"id": "closed", "spec": {"node": "Agent.1", "in": "drop"}})
    fw.made.append(("policies", "closed"))
    assert public(lab) == "dropped"
    lab.api.post("/fw/policies/closed/confirm")
    assert "confirmBy" not in lab.api.get("/fw/policies/closed")["status"]
    assert public(lab) == "dropped"


@pytest.mark.logs("isn't in force", "not connected", "undone", "link", "connect", "server")
def test_forced_it_is_undone(lab):
    """The rule cuts the node off from the server: nobody can tell it anything any more."""
    spec = {"node": "Agent.1", "direction": "out", "protocol": "tcp", "port": "8444",
            "action": "drop"}
    with pytest.raises(ApiError, match="it would cut Agent.1 off"):
        lab.api.post("/fw/rules", {"spec": spec})
    made = lab.api.post("/fw/rules?force=true", {"spec": spec})["id"]
    began = time.monotonic()
    host = lab.host("Agent.1")
    wait_for("it is in force", lambda: "8444" in table(host), 5)
    wait_for("it is undone", lambda: "8444" not in table(host), 75)
    assert time.monotonic() - began > 50
    wait_connected(lab, "Agent.1", timeout=60)

    def gone():
        return made not in [rule["id"] for rule in lab.api.get("/fw/rules")["items"]]
    wait_for("the server deletes it", gone, 15)


@pytest.mark.logs("isn't in force", "nft", "guard", "try again")
def test_nft_is_missing(lab, fw):
    host = lab.host("Agent.1")
    fw.rule("reject", protocol="tcp", port="8080")
    host.stop_agent()
    assert public(lab) == "refused"
    host.run(["nft", "delete", "table", "inet", "cnsmo_fw"])
    host.run(["sh", "-ec", "mkdir -p /run/all /run/few; mount --bind /usr/sbin /run/all; "
              "for one in /run/all/*; do ln -s $one /run/few/; done; rm /run/few/nft; "
              "mount --bind /run/few /usr/sbin"])
    host.start_agent()
    wait_for("a word about it", lambda: "install the package nftables" in status_of(
        lab, "Agent.1")["services"]["fw"]["message"], 20)
    assert status_of(lab, "Agent.1")["services"]["fw"]["state"] == "failed"
    host.run(["umount", "/usr/sbin"])
    wait_for("the rule", lambda: public(lab) == "refused", 40)


HANGING = "#!/bin/sh\nexec sleep 1000\n"


@pytest.mark.logs("isn't in force", "nft", "guard", "try again", "drift")
def test_nft_hangs(lab, fw):
    host = lab.host("Agent.1")
    host.run(["sh", "-ec", "cat > /run/hang; chmod +x /run/hang; "
              "mount --bind /run/hang /usr/sbin/nft"], stdin=HANGING)
    try:
        lab.api.post("/fw/rules", {"spec": {"node": "Agent.1", "action": "reject",
                                            "protocol": "tcp", "port": "8080"}})
        wait_for("a word about it", lambda: "nft" in status_of(
            lab, "Agent.1")["services"]["fw"]["message"], 20)
        wait_pings(lab.host("Agent.2"), lab.overlay_address("Agent.1"))
    finally:
        host.run(["umount", "/usr/sbin/nft"])
    wait_for("the rule", lambda: public(lab) == "refused", 40)
    for rule in lab.api.get("/fw/rules")["items"]:
        lab.api.delete(f"/fw/rules/{rule['id']}?wait=applied&timeout=20")


def test_leave(lab, fw):
    host = lab.host("Agent.2")
    fw.make("rules", {"node": "Agent.2", "action": "drop", "protocol": "tcp", "port": "8080"})
    assert table(host)
    host.leave()
    assert not table(host) and "cnsmo" not in "".join(host_state(host)["nft"])
    assert not host.out(["sh", "-c", "ls -d /var/lib/cnsmo-agent/fw* /run/cnsmo-agent/fw* "
                         "2>/dev/null || true"]).strip()
    fw.made = []
