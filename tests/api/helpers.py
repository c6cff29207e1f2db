"""helpers.py - starting cnsmod, asking it, and speaking TLS by hand where requests is too polite."""
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import time

import requests
from requests.adapters import HTTPAdapter

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("CNSMO_BUILD", TOP / "build"))
ADMIN = "admin"
PASSWORD = "correct horse battery"
BAD_LOG = re.compile(r"runtime error:|\w+Sanitizer|Assertion .* failed")
DEADLINE = 30


def until(what, condition, deadline=DEADLINE):
    """Polls until the condition gives something, and returns that."""
    end = time.monotonic() + deadline
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.05)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


KEPT_S = 20


class From(HTTPAdapter):
    """Connects from another loopback address, to be another source for the server."""

    def __init__(self, source):
        self.source = source
        super().__init__()

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, source_address=(self.source, 0), **kwargs)


class Client(requests.Session):
    def __init__(self, server, token=None, source=None):
        super().__init__()
        self.server = server
        self.verify = str(server.root)
        self.trust_env = False
        self.token = token
        self.used = time.monotonic()
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        if source:
            self.mount("https://", From(source))

    def request(self, method, path, **kwargs):
        kwargs.setdefault("timeout", DEADLINE)
        if time.monotonic() - self.used > KEPT_S:
            self.close()  # the server ends connections that are idle for a minute
        self.used = time.monotonic()
        return super().request(method, self.server.url + path, **kwargs)

    def create(self, kind, spec, name=None, **kwargs):
        body = {"spec": spec} if name is None else {"id": name, "spec": spec}
        reply = self.post(f"/api/v2/{kind}", json=body, **kwargs)
        assert reply.status_code == 201, reply.text
        return reply

    def spec(self, kind, name):
        reply = self.get(f"/api/v2/{kind}/{name}")
        assert reply.status_code == 200, reply.text
        return reply.json()["spec"]

    def patch_spec(self, kind, name, spec, **kwargs):
        return self.patch(f"/api/v2/{kind}/{name}", json={"spec": spec}, **kwargs)


class Server:
    def __init__(self, folder):
        self.folder = folder
        self.state = folder / "state"
        self.log = folder / "cnsmod.log"
        self.root = self.state / "pki" / "root.pem"
        self.api_port, self.link_port = free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.api_port}"
        self.process = None
        self.config = folder / "cnsmod.conf"
        self.config.write_text("")

    def command(self, *arguments):
        return [str(BUILD / "src" / "server" / "cnsmod"), *arguments, "--config", str(self.config),
                "--state-dir", str(self.state)]

    def init(self):
        self.state.mkdir(mode=0o700, exist_ok=True)
        password = self.folder / "password"
        password.write_text(PASSWORD + "\n")
        subprocess.run(self.command("init", "--admin", ADMIN, "--password-file", str(password)),
                       check=True, timeout=DEADLINE)

    def start(self):
        command = self.command("run", "--api-address", "127.0.0.1", "--api-port",
                               str(self.api_port), "--link-address", "127.0.0.1", "--link-port",
                               str(self.link_port), "--advertise", "127.0.0.1")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until("cnsmod answers", self.alive)

    def alive(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.client().get("/healthz").status_code == 200
        except OSError:  # not there yet: the port, or the authority's root on a first start
            return False

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(DEADLINE)
            self.process = None
            log = self.log.read_text()
            assert code == 0, log
            assert not BAD_LOG.search(log), log

    def kill(self):
        self.process.kill()
        self.process.wait(DEADLINE)
        self.process = None

    def client(self, token=None, source=None):
        return Client(self, token, source)

    def login(self, user=ADMIN, password=PASSWORD, source=None):
        reply = self.client(source=source).post(
            "/api/v2/session", json={"username": user, "password": password})
        assert reply.status_code == 201, reply.text
        return self.client(reply.json()["token"], source)

    def connect(self):
        context = ssl.create_default_context(cafile=str(self.root))
        plain = socket.create_connection(("127.0.0.1", self.api_port), timeout=DEADLINE)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")

    def raw(self, data):
        """Sends bytes and returns everything that comes until the server closes."""
        with self.connect() as tls:
            try:
                tls.sendall(data)
            except OSError:
                pass  # refused early: the answer says why
            return read_all(tls)


def read_all(tls):
    parts = []
    try:
        while part := tls.recv(65536):
            parts.append(part)
    except (ssl.SSLError, ConnectionError):
        pass
    return b"".join(parts)


def status_of(answer):
    match = re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)
    return int(match.group(1)) if match else None


def problem(reply, status, pointer=None):
    """The reply is an RFC 9457 problem with that status and pointer; returns its sentence."""
    assert reply.status_code == status, reply.text
    assert reply.headers["Content-Type"] == "application/problem+json"
    body = reply.json()
    assert body["status"] == status and body["title"] and body["detail"]
    if pointer is not None:
        assert body.get("pointer", "") == pointer, body
    return body["detail"]


class Stream:
    """Server-sent events, one by one."""

    def __init__(self, client, path, **kwargs):
        self.reply = client.get(path, stream=True, **kwargs)
        assert self.reply.status_code == 200, self.reply.text
        assert self.reply.headers["Content-Type"] == "text/event-stream"
        self.lines = self.reply.iter_lines(chunk_size=1)

    def next(self):
        """(event, id, data), or None at the end."""
        event, name, data = None, None, None
        try:
            for line in self.lines:
                key, _, value = line.decode().partition(": ")
                if key == "event":
                    event = value
                elif key == "id":
                    name = value
                elif key == "data":
                    data = json.loads(value)
                elif line == b"" and event:
                    return event, name, data
        except requests.exceptions.ChunkedEncodingError:
            pass
        return None

    def close(self):
        self.reply.close()


def v1_client(server):
    """Logged in as the 2017 platform's clients do."""
    reply = server.client().post("/api/v1/Authenticate", json={"username": ADMIN,
                                                               "password": PASSWORD})
    return server.client(reply.json()["token"])


def v1_refused(reply, status, sentence):
    assert reply.status_code == status, reply.text
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json() == {"code": status, "message": sentence, "errors": sentence}
