"""agent.py - an agent as far as its certificates go, with keys and requests made by openssl."""
import base64
import json
import re
import socket
import ssl
import subprocess

from helpers import DEADLINE

EMPTY = "0" * 32  # the digest of nothing


def openssl(*words):
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True,
                          text=True, timeout=DEADLINE).stdout


def key_id_of_issuer(certificate):
    """The authority key id of a certificate in PEM: whose key has signed it."""
    text = subprocess.run(["openssl", "x509", "-noout", "-ext", "authorityKeyIdentifier"],
                          input=certificate, check=True, capture_output=True, text=True).stdout
    return re.search(r"((?:[0-9A-F]{2}:){31}[0-9A-F]{2})", text)[1].replace(":", "").lower()


class Agent:
    def __init__(self, server, folder, name):
        self.server, self.name = server, name
        self.key, self.certificate = folder / f"{name}.key", folder / f"{name}.pem"
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
                self.key)
        self.request = openssl("req", "-new", "-key", self.key, "-subj", f"/CN={name}")
        self.tls = self.lines = None

    def connect(self, with_certificate=True):
        self.close()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.server.root)
        if with_certificate:
            context.load_cert_chain(self.certificate, self.key)
        plain = socket.create_connection(("127.0.0.1", self.server.link_port), timeout=DEADLINE)
        self.tls = context.wrap_socket(plain)
        self.lines = self.tls.makefile("rb")

    def close(self):
        if self.tls:
            self.lines.close()
            self.tls.close()
            self.tls = None

    def say(self, **message):
        self.tls.sendall(json.dumps(message).encode() + b"\n")

    def expect(self, kind):
        """The next message of that type; those before it are dropped, but for errors."""
        while True:
            line = self.lines.readline()
            assert line, f"closed before a {kind}"
            message = json.loads(line)
            if message["type"] == kind:
                return message
            assert message["type"] != "error", message

    def join(self, token):
        """Joins with the parts of a token as the API gives it."""
        text = token.split(".", 1)[1]
        members = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        self.connect(with_certificate=False)
        self.say(type="join", version=1, token=members["i"], secret=members["k"],
                 csr=self.request, id=self.name, routes=[], hostname=self.name, agentVersion="1")
        self.certificate.write_text(self.expect("joined")["certificate"])
        self.close()

    def hello(self):
        """Connects as the node; the welcome."""
        self.connect()
        self.say(type="hello", version=1, id=self.name, revision=0, digest=EMPTY,
                 agentVersion="1", started=1)
        return self.expect("welcome")

    def renew(self):
        self.say(type="renew", csr=self.request)
        self.certificate.write_text(self.expect("renewed")["certificate"])

    def issuer(self):
        return key_id_of_issuer(self.certificate.read_text())
