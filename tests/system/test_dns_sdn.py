"""Names on nodes with sdn: the overlay's address is the bridge's then."""
from helpers import status_of
from lab.processes import wait_for
from test_dns import dig

LAB = {"nodes": 2, "clouds": 2, "services": ["vpn", "sdn", "dns"]}


def test_names_with_sdn(lab):
    for name in ("Agent.1", "Agent.2"):
        def running(name=name):
            told = status_of(lab, name)["services"]
            return {service: one["state"] for service, one in told.items()} == {
                "vpn": "running", "sdn": "running", "dns": "running"}
        wait_for(f"everything on {name}", running, 30)
    number = lab.api.post("/dns/records?wait=applied&timeout=20",
                          {"spec": {"name": "web", "value": "192.0.2.60"}})["id"]
    for name, other in (("Agent.1", "Agent.2"), ("Agent.2", "Agent.1")):
        host, address = lab.host(name), lab.overlay_address(other)
        assert dig(host, "web.cnsmo.internal") == ["192.0.2.60"]
        wait_for(f"names at {other}'s overlay address",
                 lambda host=host, address=address:
                 dig(host, "web.cnsmo.internal", server=address) == ["192.0.2.60"], 15)
    lab.api.delete(f"/dns/records/{number}?wait=applied&timeout=20")
