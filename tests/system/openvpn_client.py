"""openvpn_client.py - machines that run stock OpenVPN and nothing of ours."""
import re
import shlex

from lab.processes import wait_for

DEVICE = "tun0"


def text_of(lab, name, form="ovpn"):
    answer = lab.api.raw("GET", f"/api/v2/vpn/clients/{name}/{form}")
    assert answer.status == 200, answer.body
    return answer.body if isinstance(answer.body, str) else answer.body.decode()


def make_client(lab, name, **spec):
    """The object, when its hub knows it; its address."""
    lab.api.post("/vpn/clients?wait=applied&timeout=30", {"id": name, "spec": spec})
    return lab.api.get(f"/vpn/clients/{name}")["status"]["address"]


def sessions(lab, name):
    return lab.api.get(f"/vpn/clients/{name}")["status"]["sessions"]


def client_server(lab, hub="Server"):
    """What the hub's agent says of its server for clients."""
    return lab.host(hub).status()["services"]["vpn"].get("clientServer", {})


class Laptop:
    """A machine of the lab with one configuration at a time."""

    def __init__(self, host):
        self.host = host
        self.log = f"{host.name}.openvpn.log"

    def put(self, name, text):
        self.host.run(["sh", "-c", f"umask 077; cat > /root/{shlex.quote(name)}.ovpn"], stdin=text)

    def start(self, lab, name, wait=True):
        """`openvpn --config NAME.ovpn`, as anybody would."""
        self.put(name, text_of(lab, name))
        self.run(name)
        if wait:
            self.wait_up()

    def run(self, name):
        self.host.log_path(self.log).write_text("")
        return self.host.spawn(["openvpn", "--config", f"/root/{name}.ovpn"], log=self.log)

    def stop(self, number=15):
        self.host.kill_processes("openvpn", number)

    def said(self, pattern):
        return re.search(pattern, self.host.log_path(self.log).read_text(errors="replace"))

    def wait_up(self, timeout=20):
        wait_for(f"{self.host.name}'s tunnel",
                 lambda: self.said("Initialization Sequence Completed"), timeout)

    def running(self):
        return bool(self.host.processes("openvpn"))
