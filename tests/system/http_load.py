"""http_load.py - HTTP servers that say who they are, and clients that notice every failure; on lab
machines. For the tests of lb and its bench."""
import json
import signal

from lab.processes import wait_for

# Answers every request with the machine's name. HTTP/1.1, so that clients may keep connections.
BACKEND = """
import http.server, socketserver, sys
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        bad = self.path == "/bad"
        body = sys.argv[1].encode() + b"\\n"
        self.send_response(500 if bad else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
Server(("0.0.0.0", int(sys.argv[2])), Handler).serve_forever()
"""

# 200 requests a second to a URL until SIGINT, each its own connection or, of every second client,
# a kept one. What failed is told at the end: {"done": 1234, "failed": ["..."]}
LOAD = """
import http.client, json, signal, sys, threading, time
host, port, paths = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
stop, done, failed = threading.Event(), [0] * 10, []
signal.signal(signal.SIGINT, lambda *_: stop.set())
def client(i):
    connection, due = None, time.monotonic()
    while not stop.is_set():
        due += 0.05
        stop.wait(max(0, due - time.monotonic()))
        try:
            connection = connection or http.client.HTTPConnection(host, port, timeout=10)
            connection.request("GET", paths[0])
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                failed.append(f"status {answer.status}")
            done[i] += 1
            if answer.will_close or i % 2 == 0:
                connection.close()
                connection = None
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}")
            connection = None
threads = [threading.Thread(target=client, args=(i,)) for i in range(10)]
[thread.start() for thread in threads]
print("started", flush=True)
[thread.join() for thread in threads]
print(json.dumps({"done": sum(done), "failed": failed}), flush=True)
"""


class Backend:
    """An HTTP server on a machine."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.start()

    def start(self):
        self.process = self.host.spawn(
            ["/usr/bin/python3", "-c", BACKEND, self.host.name, str(self.port)])
        wait_for(f"{self.host.name} to listen",
                 lambda: listens(self.host, self.port), 10)

    def stop(self):
        self.process.stop()


class Load:
    """200 requests a second from a machine, meanwhile."""

    def __init__(self, host, address, port, path="/"):
        self.log = host.log_path("load.log")
        self.log.unlink(missing_ok=True)
        self.process = host.spawn(["/usr/bin/python3", "-c", LOAD, address, str(port), path],
                                  log="load.log")
        wait_for("the load", lambda: "started" in self.log.read_text(), 10)

    def stop(self):
        self.process.signal(signal.SIGINT)
        self.process.wait(30)
        return json.loads(self.log.read_text().splitlines()[-1])


def listens(host, port):
    return host.run(["sh", "-c", f"ss -ltnH | grep -q ':{port} '"], check=False).returncode == 0
