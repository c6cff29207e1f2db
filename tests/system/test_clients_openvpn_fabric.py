"""Outside clients where the nodes' own network is OpenVPN too: two servers on one hub, each for its own."""
import pytest

from helpers import wait_pings
from openvpn_client import HubLog, Laptop, make_client, text_of

LAB = {"nodes": 2, "clouds": 1, "fabric": "openvpn"}


@pytest.fixture
def laptop(lab):
    machine = Laptop(lab.add("Road", 1))
    yield machine
    machine.stop(9)
    lab.remove("Road")
    lab.api.delete("/vpn/clients/alice")


def test_reaches_every_node_and_is_reached(lab, laptop):
    address = make_client(lab, "alice")
    laptop.start(lab, "alice")
    for name in ("Server", "Agent.1", "Agent.2"):
        wait_pings(laptop.host, lab.overlay_address(name))
        wait_pings(lab.host(name), address)


def test_client_is_no_node(lab, laptop):
    """Its certificate doesn't open the port of the nodes' network."""
    make_client(lab, "alice")
    port = lab.api.get("/settings/overlay")["spec"]["port"]
    laptop.put("node", text_of(lab, "alice").replace(" 1194\n", f" {port}\n"))
    log = HubLog(lab, "openvpn-fabric")
    laptop.run("node")
    log.wait("VERIFY EKU ERROR")
    assert not laptop.said("Initialization Sequence Completed")
