"""api.py - a small client of API v2 for the lab and the system tests."""
import http.client
import json
import ssl


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body) if self.body else None


class ApiError(Exception):
    def __init__(self, method, path, answer):
        super().__init__(f"{method} {path}: {answer.status} {answer.body.decode()[:500]}")
        self.status = answer.status
        self.answer = answer


class Api:
    """Speaks to `host` through the lab's link; one connection a request, so a restart of cnsmod
    in between needs no care."""

    def __init__(self, host, port, ca, user, password):
        self.host, self.port, self.ca = host, port, ca
        self.user, self.password = user, password
        self.token = None

    def raw(self, method, path, body=None, headers=None, timeout=70):
        context = ssl.create_default_context(cafile=str(self.ca))
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=timeout,
                                                 context=context)
        headers = dict(headers or {})
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            return Answer(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def login(self):
        self.token = None
        answer = self.raw("POST", "/api/v2/session",
                          {"username": self.user, "password": self.password})
        if answer.status != 201:
            raise ApiError("POST", "/api/v2/session", answer)
        self.token = answer.json()["token"]

    def call(self, method, path, body=None, **options):
        """Logs in when needed; gives the JSON of a success, ApiError otherwise."""
        if not self.token:
            self.login()
        path = f"/api/v2{path}"
        answer = self.raw(method, path, body, **options)
        if answer.status == 401:
            self.login()
            answer = self.raw(method, path, body, **options)
        if answer.status >= 300:
            raise ApiError(method, path, answer)
        return answer.json()

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body=None):
        return self.call("POST", path, body)

    def patch(self, path, body):
        return self.call("PATCH", path, body,
                         headers={"Content-Type": "application/merge-patch+json"})

    def delete(self, path):
        return self.call("DELETE", path)

    def nodes(self):
        """id → node object, however many pages there are."""
        found, cursor = {}, ""
        while cursor is not None:
            page = self.get(f"/nodes?limit=1000{cursor}")
            found.update({node["id"]: node for node in page["items"]})
            cursor = f"&cursor={page['cursor']}" if page.get("cursor") else None
        return found

    def make_token(self, **spec):
        """The string for `cnsmo-agent join`."""
        return self.post("/tokens", {"spec": spec})["token"]
