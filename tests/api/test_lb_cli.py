"""lb on the command line."""
import subprocess

import pytest

from agents import with_agents
from test_cli import REFUSED, USAGE, Cli


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    for server in with_agents(tmp_path_factory.mktemp("lb-cli"), {
            "Front.1": {"services": ["vpn", "lb"]}, "Web.1": {"services": ["vpn"]}}):
        server.front = server.agents["Front.1"]
        yield server


@pytest.fixture
def cli(own, tmp_path):
    yield Cli(tmp_path, own, CNSMO_TOKEN=own.admin.token)
    for item in own.admin.get("/api/v2/lb/services").json()["items"]:
        own.admin.delete(f"/api/v2/lb/services/{item['id']}")


def resource(own):
    return own.front.resources["lb/service/web/Front.1"]


def add(cli, *words):
    return cli.json("lb", "service", "add", "web", "--node", "Front.1", "--port", "80", *words,
                    "--wait")


def test_from_add_to_delete(own, cli):
    made = add(cli, "--mode", "http", "--backends-nodes", "Web.1,Front.1", "--backend-port", "8080",
               "--check-type", "http", "--check-path", "/ok", "--timeouts-client", "5")
    assert made["spec"]["check"] == {"type": "http", "path": "/ok", "interval": 2, "rise": 2,
                                     "fall": 3}
    assert made["spec"]["timeouts"] == {"connect": 5, "client": 5, "server": 60}
    listed = cli.out("lb", "service", "list")
    for word in ("web", "Front.1", "80", "http", "leastconn", "0 of 0"):
        assert word in listed
    assert "status.fronts" in cli.out("lb", "service", "show", "web")
    cli.out("lb", "service", "set", "web", "--drain", "Web.1", "--wait")
    assert [b["drain"] for b in resource(own)["backends"]] == [True, False]
    cli.out("lb", "service", "set", "web", "--drain", "", "--wait")
    assert [b["drain"] for b in resource(own)["backends"]] == [False, False]
    assert cli.out("lb", "service", "delete", "web", "--wait") == ""
    assert "lb/service/web/Front.1" not in own.front.resources


def test_back_ends_named_in_another_way(own, cli):
    """It is that one then, not both."""
    add(cli, "--backends-nodes", "Web.1", "--backend-port", "8080")
    changed = cli.json("lb", "service", "set", "web", "--backends-pattern", "Fr*", "--wait")
    assert changed["spec"]["backends"] == {"pattern": "Fr*"}
    assert [b["node"] for b in resource(own)["backends"]] == ["Front.1"]
    cli.run("lb", "service", "set", "web", "--backends-pattern", "We*", "--backends-nodes", "Web.1",
            code=REFUSED)


def test_certificate_and_key_are_files(own, cli, tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x", "-keyout",
                    tmp_path / "key.pem", "-out", tmp_path / "cert.pem"], check=True,
                   capture_output=True)
    files = ("--tls-certificate-file", str(tmp_path / "cert.pem"),
             "--tls-key-file", str(tmp_path / "key.pem"))
    add(cli, "--backends-nodes", "Web.1", *files)
    assert resource(own)["certificate"] == (tmp_path / "cert.pem").read_text()
    assert resource(own)["secret"] == (tmp_path / "key.pem").read_text()
    for words in (("list",), ("show", "web"), ("show", "web", "-o", "json")):
        assert "PRIVATE" not in cli.out("lb", "service", *words)
    assert "PRIVATE" not in cli.out("export")


def test_of_the_authority(own, cli):
    add(cli, "--backends-nodes", "Web.1", "--tls-from-ca", "--tls-names", "web.example.org")
    before = resource(own)["certificate"]
    assert "BEGIN CERTIFICATE" in before
    cli.out("lb", "service", "renew", "web", "--wait")
    assert resource(own)["certificate"] != before


def test_apply_says_what_is_missing(own, cli, tmp_path):
    """An export has no keys."""
    file = tmp_path / "file.json"
    file.write_text('{"apiVersion": "v2", "objects": [{"kind": "lb/services", "id": "web", "spec": {"node": "Front.1", '
                    '"port": 80, "backends": {"nodes": ["Web.1"]}, "tls": {"certificate": '
                    '"-----BEGIN CERTIFICATE-----"}}}]}')
    done = cli.run("apply", "-f", str(file), code=REFUSED)
    assert '"key" is required with the certificate' in done.stderr


def test_usage(cli):
    cli.run("lb", "service", "add", "web", "--port", "many", code=USAGE)
    cli.run("lb", "service", "add", code=USAGE)
