"""lb with TLS at the front port: a certificate that was brought, and one of the authority's."""
import subprocess

import pytest

from lab.processes import wait_for
from lb_helpers import (BEHIND, CLIENT, FRONT, ONE, change, front, lb_state, make, master, net,
                        servers, status)  # noqa: F401

LAB = {"nodes": 2, "clouds": 1, "services": ["vpn", "lb"]}
PORT = 8443


def spec(**more):
    return {"node": FRONT, "port": PORT, "backends": {"nodes": [ONE]}, "backendPort": BEHIND,
            "mode": "http", **more}


def get(lab, name, ca):
    """Over TLS, checked as browsers do."""
    client = lab.host(CLIENT)
    client.run(["sh", "-c", "cat > /run/ca.pem"], stdin=ca)
    done = client.run(["curl", "-sS", "--max-time", "5", "--cacert", "/run/ca.pem", "--resolve",
                       f"{name}:{PORT}:{lab.overlay_address(FRONT)}", f"https://{name}:{PORT}/"],
                      check=False)
    return done.stdout.strip() if done.returncode == 0 else done.stderr


EC = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
WEAK = ["rsa:1024"]  # OpenSSL doesn't load it


def own_pair(folder, name, kind=tuple(EC)):
    """A certificate that signs itself, with its key."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-days", "30", "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName=DNS:{name}", "-keyout", folder / "key",
                    "-out", folder / "cert"], check=True, capture_output=True)
    return (folder / "cert").read_text(), (folder / "key").read_text()


def test_brought(net, tmp_path):
    certificate, key = own_pair(tmp_path, "shop.example.org")
    made = make(net, "shop", **spec(tls={"certificate": certificate, "key": key}))
    assert get(net, "shop.example.org", certificate) == ONE
    assert "key" not in made["spec"]["tls"] and made["status"]["certificateExpires"]
    folder = net.host(FRONT).out(["ls", "-l", "/run/cnsmo-agent/lb"])
    assert [line.split()[0] for line in folder.splitlines() if ".pem" in line] == ["-rw-------"]
    # Nowhere that it could be read.
    secret = key.splitlines()[1]
    for path in ("/lb/services/shop", "/lb/services", "/events"):
        assert secret not in str(net.api.get(path))
    database = net.host("Server").run(["grep", "-c", secret, "-r", "/var/lib/cnsmod"], check=False)
    assert database.returncode == 1
    renewed, new_key = own_pair(tmp_path, "shop.example.org")
    change(net, "shop", tls={"certificate": renewed, "key": new_key})
    assert get(net, "shop.example.org", renewed) == ONE
    assert get(net, "shop.example.org", certificate) != ONE
    wait_for("one file", lambda: net.host(FRONT).out(["ls", "/run/cnsmo-agent/lb"]).count(".pem")
             == 1, 10)
    change(net, "shop", tls=None)
    assert get(net, "shop.example.org", renewed) != ONE


@pytest.mark.logs("isn't in force", "haproxy refuses")
def test_what_haproxy_refuses(net, tmp_path):
    """It is told, what was before goes on, and the others can be changed."""
    certificate, key = own_pair(tmp_path, "shop.example.org")
    make(net, "shop", **spec(tls={"certificate": certificate, "key": key}))
    make(net, "plain", **spec(port=8080))
    weak, weak_key = own_pair(tmp_path, "shop.example.org", WEAK)
    net.api.patch("/lb/services/shop", {"spec": {"tls": {"certificate": weak, "key": weak_key}}})
    wait_for("a word", lambda: "haproxy refuses its configuration" in status(net, "shop")["problem"],
             10)
    wait_for("the node's word", lambda: lb_state(net, FRONT)["state"] == "degraded", 10)
    assert get(net, "shop.example.org", certificate) == ONE
    assert net.api.patch("/lb/services/plain?wait=applied", {"spec": {"algorithm": "source"}})[
        "status"]["problem"] == ""
    assert get(net, "shop.example.org", certificate) == ONE
    change(net, "shop", tls={"certificate": certificate, "key": key})
    wait_for("no more of it", lambda: status(net, "shop")["problem"] == "", 10)
    assert get(net, "shop.example.org", certificate) == ONE


def test_by_the_authority(net):
    root = net.api.ca.read_text()
    make(net, "shop", **spec(tls={"fromCa": True, "names": ["shop.internal"]}))
    assert get(net, "shop.internal", root) == ONE
    assert get(net, "other.internal", root) != ONE
    before = status(net, "shop")["certificateExpires"]
    net.api.post("/lb/services/shop/renew?wait=applied", None)
    assert get(net, "shop.internal", root) == ONE
    assert status(net, "shop")["certificateExpires"] >= before
    change(net, "shop", tls={"names": ["other.internal"]})
    assert get(net, "other.internal", root) == ONE
    assert master(net.host(FRONT))
