"""call.py - requests to API v2 on one connection, without what a library does for each."""
import json
import socket
import ssl
import time

LIST_MAX = 500


class Call:
    def __init__(self, tls, token):
        self.tls, self.token = tls, token

    @classmethod
    def to_lab(cls, lab):
        """To the Server of a lab, from the machine that runs it."""
        lab.api.get("/nodes")  # logs in
        context = ssl.create_default_context(cafile=str(lab.api.ca))
        plain = socket.create_connection((lab.api.host, lab.api.port), timeout=60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(context.wrap_socket(plain, server_hostname=lab.api.host), lab.api.token)

    def send(self, method, path, body=None, content="application/json"):
        """The time it was sent, and the answer."""
        text = json.dumps(body).encode() if body is not None else b""
        head = (f"{method} /api/v2/{path} HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Bearer {self.token}\r\nContent-Type: {content}\r\n"
                f"Content-Length: {len(text)}\r\n\r\n").encode()
        began = time.monotonic()
        self.tls.sendall(head + text)
        return began, self._answer()

    def _answer(self):
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(fields.get(b"content-length", 0)):
            body += self._more()
        if head.split()[1][:1] != b"2":
            raise RuntimeError(body.decode())
        return json.loads(body) if body else None

    def _more(self):
        part = self.tls.recv(65536)
        if not part:
            raise RuntimeError("the server closed the connection")
        return part


def create_all(call, path, bodies):
    """All of these, in lists as long as the server takes them."""
    for at in range(0, len(bodies), LIST_MAX):
        call.send("POST", path, bodies[at:at + LIST_MAX])
