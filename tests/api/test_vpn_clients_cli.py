"""VPN clients on the command line."""
import re
import stat

import pytest

from helpers import problem, until
from test_cli import FORBIDDEN, REFUSED, USAGE, Cli, on_terminal
from vpn_clients import (BASE, admin, client, matrix_of_svg, matrix_of_terminal,  # noqa: F401
                         own, text_of, viewer)


@pytest.fixture
def cli(own, admin, tmp_path):
    return Cli(tmp_path, own, CNSMO_TOKEN=admin.token)


def test_cli_of_a_client(own, admin, cli, client, tmp_path):
    done = cli.run("vpn", "client", "add", "laptop")
    assert "laptop" in done.stdout and "Hub.1" in done.stdout
    assert "cnsmo vpn client config laptop --file laptop.ovpn" in done.stderr
    assert "exists" in cli.err("vpn", "client", "add", "laptop", code=REFUSED)
    for format_ in ("ovpn", "config", "key", "cert", "ca", "wireguard"):
        said = cli.out("vpn", "client", "config", "laptop", "--format", format_)
        assert said == text_of(admin, "laptop", format_)
    assert cli.out("vpn", "client", "config", "laptop") == text_of(admin, "laptop", "ovpn")
    serial = cli.json("vpn", "client", "show", "laptop")["status"]["certificate"]["serial"]
    done = cli.run("vpn", "client", "renew", "laptop")
    assert "laptop" in done.stdout and "vpn client config laptop" in done.stderr
    shown = cli.json("vpn", "client", "show", "laptop")
    assert shown["status"]["certificate"]["serial"] != serial
    cli.run("vpn", "client", "set", "laptop", "--address", "10.77.249.77")
    assert "10.77.249.77" in cli.out("vpn", "client", "list")
    cli.run("vpn", "client", "delete", "laptop")
    assert "there is no vpn client" in cli.err("vpn", "client", "config", "laptop", code=REFUSED)


def test_cli_writes_files_for_their_owner_alone(admin, cli, client, tmp_path):
    client("laptop")
    for words in (("-f",), ("--file",)):
        path = tmp_path / "laptop.ovpn"
        path.write_text("another")
        path.chmod(0o644)
        assert cli.out("vpn", "client", "config", "laptop", *words, str(path)) == ""
        assert path.read_text() == text_of(admin, "laptop", "ovpn")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    cli.run("vpn", "client", "config", "laptop", "--format", "qr", "-f", str(tmp_path / "qr.svg"))
    assert (tmp_path / "qr.svg").read_text() == text_of(admin, "laptop", "qr")
    assert "cannot write" in cli.err("vpn", "client", "config", "laptop", "-f",
                                     str(tmp_path / "missing" / "file"), code=REFUSED)
    path.write_text("kept")
    cli.run("vpn", "client", "config", "nobody", "-f", str(path), code=REFUSED)
    assert path.read_text() == "kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["laptop.ovpn", "qr.svg"]


def test_cli_refuses_what_is_wrong(own, admin, viewer, cli, client, tmp_path):
    client("laptop")
    assert "--format takes" in cli.err("vpn", "client", "config", "laptop", "--format", "pem",
                                       code=USAGE)
    assert "reserved" in cli.err("vpn", "client", "add", "server", code=REFUSED)
    looking = Cli(tmp_path, own, CNSMO_TOKEN=viewer.token)
    assert looking.out("vpn", "client", "config", "laptop", "--format", "config")
    for format_ in ("ovpn", "key", "wireguard", "qr"):
        done = looking.run("vpn", "client", "config", "laptop", "--format", format_, code=FORBIDDEN)
        assert done.stdout == "" and "operator" in done.stderr


def applies(cli, document):
    process = cli.start("apply", "-f", str(document))
    process.communicate()
    return process.returncode == 0


def test_cli_export_can_be_applied(admin, cli, client, tmp_path):
    before = client("laptop")
    document = tmp_path / "document.json"
    document.write_text(cli.out("export"))
    key = text_of(admin, "laptop", "key")
    cli.run("apply", "-f", str(document))
    assert text_of(admin, "laptop", "key") == key  # what is there stays
    admin.delete(f"{BASE}/laptop")
    until("its address is free again", lambda: applies(cli, document))
    after = admin.get(f"{BASE}/laptop").json()
    assert after["spec"] == before["spec"]
    assert text_of(admin, "laptop", "key") != key
    assert "# PrivateKey" in text_of(admin, "laptop", "wireguard")  # whose key isn't here


def test_cli_shows_a_qr_code(admin, cli):
    try:
        shown = cli.out("vpn", "client", "add", "phone", "--qr")
        table, drawing = shown[:shown.index("█")], shown[shown.index("█"):]
        assert "phone" in table
        assert matrix_of_terminal(drawing) == matrix_of_svg(text_of(admin, "phone", "qr"))
        colored, code = on_terminal(cli, "vpn", "client", "config", "phone", "--format", "qr")
        assert code == 0 and colored.startswith("\x1b[97;40m")
        plain = re.sub("\x1b\\[[0-9;]*m", "", colored).replace("\r", "")
        assert plain == drawing
    finally:
        admin.delete(f"{BASE}/phone")


def test_cli_makes_a_node_take_a_new_key(own, admin, cli):
    before = admin.spec("nodes", "Hub.1")["keyGeneration"]
    cli.run("node", "rotate", "Hub.1")
    assert admin.spec("nodes", "Hub.1")["keyGeneration"] == before + 1
    assert "no node" in cli.err("node", "rotate", "Nobody", code=REFUSED)
    problem(admin.patch_spec("nodes", "Hub.1", {"keyGeneration": -1}), 400, "/spec/keyGeneration")
