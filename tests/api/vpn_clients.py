"""vpn_clients.py - what the tests of VPN clients share: a server with a hub, and a client's files."""
import base64
import ipaddress
import re
import sqlite3
import subprocess

import pytest

from agents import Agent
from helpers import DEADLINE, Server

BASE = "/api/v2/vpn/clients"
FILES = ["key", "cert", "config", "ca", "ovpn", "wireguard", "qr"]
SECRET = ["key", "ovpn", "wireguard", "qr"]
HUB_KEY = base64.b64encode(b"h" * 32).decode()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A server of this module's own, with a hub whose agent is connected."""
    server = Server(tmp_path_factory.mktemp("clients"))
    server.init()
    server.start()
    admin = server.login()
    agent = Agent(server, admin, "Hub.1", server.folder, hub=True)
    admin.patch_spec("nodes", "Hub.1", {"endpoint": "127.0.0.1"})
    agent.report(admin, publicKey=HUB_KEY)
    for role in ("viewer", "operator"):
        admin.create("users", {"role": role, "password": role + "-password"}, f"a-{role}")
    server.agent = agent
    yield server
    agent.close()
    server.stop()


@pytest.fixture(scope="module")
def admin(own):
    return own.login()


@pytest.fixture(scope="module")
def viewer(own):
    return own.login("a-viewer", "viewer-password")


@pytest.fixture(scope="module")
def operator(own):
    return own.login("a-operator", "operator-password")


@pytest.fixture
def client(admin):
    """Makes clients that are gone after the test."""
    made = []

    def make(name="alice", **spec):
        made.append(name)
        return admin.create("vpn/clients", spec, name).json()

    yield make
    for name in made:
        admin.delete(f"{BASE}/{name}")


def text_of(session, name, file):
    reply = session.get(f"{BASE}/{name}/{file}")
    assert reply.status_code == 200, reply.text
    return reply.text


def upper(address, half=1024):
    """The address with WireGuard of who has this one with OpenVPN."""
    return str(ipaddress.ip_address(address) + half)


def run(*words, stdin=None):
    return subprocess.run([str(w) for w in words], input=stdin, check=True, text=True,
                          capture_output=True, timeout=DEADLINE).stdout


def stored_keys(admin, folder, prefix):
    """Keys of the store with their values, from a backup."""
    path = folder / "backup.db"
    path.write_bytes(admin.get("/api/v2/backup").content)
    with sqlite3.connect(path) as db:
        table = next(name for (name,) in db.execute("select name from sqlite_master") if
                     {"key", "value"} <= {r[1] for r in db.execute(f"pragma table_info({name})")})
        return {key: value for key, value in db.execute(f"select key, value from {table}")
                if key.startswith(prefix)}


def matrix_of_svg(svg):
    side = int(re.search(r'viewBox="0 0 (\d+) ', svg).group(1))
    matrix = [[0] * side for _ in range(side)]
    for x, y, size in re.findall(r"M(\d+) (\d+)h(\d+)", svg):
        for i in range(int(size)):
            matrix[int(y)][int(x) + i] = 1
    return matrix


def matrix_of_terminal(text):
    bright = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}
    rows = []
    for line in text.splitlines():
        pairs = [bright[c] for c in line]
        rows += [[p[0] for p in pairs], [p[1] for p in pairs]]
    side = len(rows[0])
    return rows[:side]
