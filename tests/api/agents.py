"""agents.py - an agent as the server sees it: it joins, reports and tells its status, and has no
machine. The protocol is in src/link/link.h."""
import base64
import json
import re
import select
import socket
import ssl
import subprocess
import threading

from helpers import DEADLINE, Server, until


def make_request(folder, name):
    """A P-256 key and a request for it; returns their paths."""
    key, request = folder / f"{name}.own.key", folder / f"{name}.csr"
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                    "-keyout", str(key), "-out", str(request)],
                   check=True, capture_output=True, timeout=DEADLINE)
    return key, request


def issuer_of(certificate):
    """The key id of who has signed a certificate in PEM."""
    text = subprocess.run(["openssl", "x509", "-noout", "-ext", "authorityKeyIdentifier"],
                          input=certificate, check=True, capture_output=True, text=True).stdout
    return re.search(r"((?:[0-9A-F]{2}:){31}[0-9A-F]{2})", text)[1].replace(":", "").lower()


class Member:
    """Joins with a token of the admin's; then says and reads only what it is told to."""

    def __init__(self, server, admin, name, folder, **token):
        self.server, self.name, self.lock = server, name, threading.Lock()
        reply = admin.post("/api/v2/tokens", json={"spec": {"ids": [name], **token}})
        assert reply.status_code == 201, reply.text
        text = reply.json()["token"].partition(".")[2]
        parts = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        self.key, self.request = make_request(folder, name)
        self.connect()
        self.send({"type": "join", "version": 1, "token": parts["i"], "secret": parts["k"],
                   "csr": self.request.read_text(), "id": name, "routes": [], "hostname": name,
                   "agentVersion": "test"})
        self.certificate = folder / f"{name}.pem"
        self.certificate.write_text(self.wait_for("joined")["certificate"])
        self.tls.close()

    def connect(self, certificate=None, key=None):
        context = ssl.create_default_context(cafile=str(self.server.root))
        if certificate:
            context.load_cert_chain(str(certificate), str(key))
        plain = socket.create_connection(("127.0.0.1", self.server.link_port), timeout=DEADLINE)
        self.tls = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self.come = b""

    def hello(self):
        """Connects as the node; the welcome."""
        self.close()
        self.connect(self.certificate, self.key)
        self.send({"type": "hello", "version": 1, "id": self.name, "revision": 0,
                   "digest": "0" * 32, "agentVersion": "test", "started": 1})
        return self.wait_for("welcome")

    def renew(self):
        self.send({"type": "renew", "csr": self.request.read_text()})
        self.certificate.write_text(self.wait_for("renewed")["certificate"])

    def send(self, message):
        with self.lock:
            self.tls.settimeout(DEADLINE)
            self.tls.sendall(json.dumps(message).encode() + b"\n")

    def more(self):
        """What has come, b"" at the end. OpenSSL's connections are for one thread at a time: nobody
        waits for the other side while he has it."""
        while True:
            with self.lock:
                self.tls.settimeout(0)
                try:
                    return self.tls.recv(65536)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
            select.select([self.tls], [], [], 1)

    def line(self):
        """The next message, b"" at the end."""
        while b"\n" not in self.come:
            part = self.more()
            if not part:
                return b""
            self.come += part
        line, self.come = self.come.split(b"\n", 1)
        return line

    def next(self):
        line = self.line()
        assert line, "the server has closed the link"
        return json.loads(line)

    def wait_for(self, kind):
        while True:
            message = self.next()
            assert message["type"] != "error" or kind == "error", message
            if message["type"] == kind:
                return message

    def close(self):
        try:
            # Not the TLS socket's own, after which its reader would get what is on the wire.
            socket.socket.shutdown(self.tls, socket.SHUT_RDWR)
        except OSError:
            pass
        self.tls.close()


class Agent(Member):
    """Joins, and stays connected as that node until close()."""

    def __init__(self, server, admin, name, folder, **token):
        super().__init__(server, admin, name, folder, **token)
        self.resources, self.errors = {}, []
        # By question: the answer's body, an error {"status","detail"}, or None for silence.
        self.answers = {}
        self.acknowledges = True
        # By key: why the node can't apply it.
        self.failures = {}
        self.hello()
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        """Takes what comes, and acknowledges it, until the link is closed."""
        while line := self.read():
            message = json.loads(line)
            if message["type"] == "put":
                self.resources[message["key"]] = message["body"]
            elif message["type"] == "delete":
                self.resources.pop(message["key"], None)
            elif message["type"] == "error":
                self.errors.append(message)
            elif message["type"] == "snapshot":
                self.resources = {}
            elif message["type"] == "ask":
                self.answer(message)
            elif message["type"] == "sync" and self.acknowledges:
                self.acknowledge(message["revision"])

    def acknowledge(self, revision):
        errors = [{"key": key, "message": text} for key, text in self.failures.items()
                  if key in self.resources]
        try:
            self.send({"type": "ack", "revision": revision, "errors": errors})
        except OSError:
            pass  # the link is being closed

    def answer(self, question):
        answer = self.answers.get(question["what"])
        if answer is not None:
            member = "error" if "detail" in answer else "body"
            self.send({"type": "answer", "id": question["id"], member: answer})

    def count(self, values):
        """Tells counters: {"sdn/filter/7": [packets, bytes]}."""
        self.send({"type": "counters", "values": values})

    def read(self):
        try:
            return self.line()
        except (OSError, ValueError):
            return b""

    def until(self, condition):
        until("the agent has it", lambda: condition(self.resources))

    def report(self, admin, **facts):
        """Reports vpn.self with these members, and returns when the server has it."""
        fact = {"port": 51820, "addresses": ["192.0.2.10"], "backend": "kernel", **facts}
        self.send({"type": "facts", "facts": {"vpn.self": fact}})
        self.until(lambda r: r.get(f"vpn/peer/{self.name}", {}).get("publicKey") ==
                   fact["publicKey"])

    def tell(self, admin, service="vpn", **state):
        """Tells its status, and returns when the server shows it."""
        status = {"agentVersion": "test", "services": {service: state}}
        self.send({"type": "status", "status": status})
        until("the status is there", lambda: admin.get(f"/api/v2/nodes/{self.name}").json()
              ["status"]["services"][service] == state)


def with_agents(folder, members):
    """A server of its own with an admin logged in and agents connected, for a fixture to pass on:
    {"Agent.1": what its token gives}."""
    server = Server(folder)
    server.init()
    server.start()
    server.admin = server.login()
    server.agents = {name: Agent(server, server.admin, name, folder, **token)
                     for name, token in members.items()}
    yield server
    for agent in server.agents.values():
        agent.close()
    server.stop()
