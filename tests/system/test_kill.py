"""kill -9 of cnsmod under writes, 200 times: no acknowledged write is lost, none comes back."""
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import tempfile
import threading

import pytest

from lab.api import Api
from lab.processes import wait_for

TIMES = int(os.environ.get("CNSMO_KILLS", "200"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """cnsmod on loopback, its state on a tmpfs."""

    def __init__(self, folder):
        self.folder = folder
        self.port, self.link = free_port(), free_port()
        self.program = pathlib.Path(os.environ["CNSMO_BUILD"]) / "src/server/cnsmod"
        self.log = open(folder / "cnsmod.log", "ab")
        self.config = folder / "cnsmod.conf"
        self.config.write_text("")
        self.options = ["--config", str(self.config), "--state-dir", str(folder / "state"),
                        "--api-address", "127.0.0.1", "--api-port", str(self.port),
                        "--link-address", "127.0.0.1", "--link-port", str(self.link),
                        "--advertise", "127.0.0.1"]
        password = folder / "password"
        password.write_text("correct horse battery staple")
        password.chmod(0o600)
        subprocess.run([self.program, "init", *self.options, "--admin", "admin",
                        "--password-file", str(password)], check=True, stdout=subprocess.DEVNULL)
        self.api = Api("127.0.0.1", self.port, folder / "state/pki/root.pem", "admin",
                       "correct horse battery staple")
        self.start()
        self.api.token = self.api.post("/api-tokens", {"spec": {"role": "admin"}})["token"]

    def start(self):
        self.process = subprocess.Popen([self.program, "run", *self.options], stderr=self.log,
                                        stdout=self.log, stdin=subprocess.DEVNULL)

        def ready():
            assert self.process.poll() is None, (self.folder / "cnsmod.log").read_text()[-2000:]
            try:
                return self.api.raw("GET", "/readyz").status == 200
            except OSError:
                return False
        wait_for("cnsmod to be ready", ready, 20)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        server = Server(pathlib.Path(folder))
        yield server
        server.kill()
        server.log.close()


class Writer(threading.Thread):
    """Creates, changes and deletes nodes until the server is gone; keeps what was acknowledged."""

    def __init__(self, api, turn, nodes):
        super().__init__()
        self.api, self.turn = api, turn
        self.nodes = nodes  # id → label value, or None when deleted; only acknowledged writes
        self.unsure = set()
        self.acknowledged = 0

    def run(self):
        try:
            for number in range(100000):
                self.write(f"N.{self.turn}.{number}", "POST", "/api/v2/nodes", "one")
                self.write(f"N.{self.turn}.{number}", "PATCH", None, "two")
                if number % 2:
                    self.write(f"N.{self.turn}.{number - 1}", "DELETE", None, None)
        except OSError:
            pass  # killed: the answer to the last write never came
        except Exception as error:  # an answer cut in its middle
            if "http.client" not in type(error).__module__:
                raise

    def write(self, name, method, path, value):
        body = {"spec": {"labels": {"value": value}}} if value else None
        headers = {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {}
        if method == "POST":
            body["id"] = name
        self.unsure.add(name)
        answer = self.api.raw(method, path or f"/api/v2/nodes/{name}",
                              json.dumps(body) if body else None, {
                                  "Content-Type": "application/json", **headers})
        assert answer.status in (200, 201, 204), f"{method} {name}: {answer.body}"
        self.nodes[name] = value
        self.unsure.discard(name)
        self.acknowledged += 1


def check(api, nodes, unsure):
    found = api.nodes()
    for name, value in nodes.items():
        if name in unsure:
            continue
        if value is None:
            assert name not in found, f"{name} was deleted, and is back"
        else:
            assert name in found, f"{name} was acknowledged, and is lost"
            assert found[name]["spec"]["labels"]["value"] == value, name
    return found


def test_no_acknowledged_write_is_lost(server):
    rng = random.Random(20)
    total = 0
    for turn in range(TIMES):
        nodes = {}
        writer = Writer(server.api, turn, nodes)
        writer.start()
        wait_for("a first acknowledged write", lambda: writer.acknowledged or not writer.is_alive(),
                 10)
        writer.join(rng.uniform(0, 0.08))
        server.kill()
        writer.join()
        total += writer.acknowledged
        assert writer.acknowledged > 0
        server.start()
        found = check(server.api, nodes, writer.unsure)
        # Keep the store small, so that 200 turns cost the same each.
        for name in list(found)[:max(0, len(found) - 40)]:
            server.api.delete(f"/nodes/{name}")
    assert total > TIMES * 2
