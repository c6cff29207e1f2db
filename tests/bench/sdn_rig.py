"""sdn_rig.py - CNSMO's sdn and OVN in one lab, asked the same things.

    Agent.1 → Agent.2          with sdn; the filters stand on Agent.1
    Agent.3 → Agent.4          without sdn
    Chassis.1 → Chassis.2      OVN (ovn_rig.py); the ACLs hold for Chassis.1's port
    each first one in cloud 1, each second one in cloud 2

`Sdn` and `OvnAcls` have the same functions: block() and unblock() the stream (stream.py), put
many others in force, and away again.
"""
import contextlib
import time

from call import Call, create_all
from lab_rig import Lab, wait_for
from ovn_rig import ADDRESSES, CHASSIS, Ovn
from rig import BUILD, rss_mb
from stream import PORT, Stream

NODE = "Agent.1"
MERGE = "application/merge-patch+json"
LABEL = "bench"
OVS = "ovs-vswitchd"


@contextlib.contextmanager
def sdn_lab():
    lab = Lab(nodes=4, clouds=2, services=("vpn", "sdn"), build=BUILD)
    lab.up(join=False)
    try:
        for name in ("Server", "Agent.1", "Agent.2", "Agent.3", "Agent.4"):
            lab.services = ["vpn", "sdn"] if name in ("Agent.1", "Agent.2") else ["vpn"]
            lab.join(name)
        lab.wait_overlay()
        wait_for("sdn on both nodes", lambda: all(
            lab.api.nodes()[name]["status"]["services"].get("sdn", {}).get("state") == "running"
            for name in ("Agent.1", "Agent.2")), 30)
        yield lab
    finally:
        lab.down()


def timed(action):
    began = time.monotonic()
    action()
    return began, time.monotonic()


def other_address(base, number):
    """Of nobody: what is sent there is not what is measured."""
    return f"{base}.{100 + (number >> 8)}.{number & 255}"


class Sdn:
    def __init__(self, lab, many):
        self.lab, self.many, self.call = lab, many, None
        self.agent = lab.host(NODE)
        self.target = lab.overlay_address("Agent.2")
        self.stream = Stream(self.agent, lab.host("Agent.2"), self.target)
        self.blocking = None

    def close(self):
        self.stream.close()

    def prepare(self):
        """A connection of its own for what is timed next: the server ends those that are idle."""
        self.call = Call.to_lab(self.lab)

    # --- one -------------------------------------------------------------------------------------

    def block(self, **match):
        """Of the overlay alone, unless `match` says otherwise."""
        spec = {"node": NODE, "direction": "out", "protocol": "udp", "port": str(PORT),
                "destination": self.target, **match}
        began, answer = self.call.send("POST", "sdn/filters?wait=applied", {"spec": spec})
        self.blocking = answer["id"]
        return began, time.monotonic()

    def block_everywhere(self):
        """To any address: on the public side, too."""
        return self.block(destination="0.0.0.0/0")

    def unblock(self):
        self.call.send("DELETE", f"sdn/filters/{self.blocking}?wait=applied")

    # --- many ------------------------------------------------------------------------------------

    def create(self):
        """Filters for every node with a label, which the node has; until all are in force."""
        self.prepare()
        self.set_label("yes")
        bodies = [{"spec": self._other(number)} for number in range(self.many)]

        def make():
            create_all(self.call, "sdn/filters", bodies[:-1])
            self.call.send("POST", "sdn/filters?wait=applied&timeout=60", bodies[-1])
        return timed(make)

    @staticmethod
    def _other(number):
        return {"selector": {LABEL: "yes"}, "direction": "out", "protocol": "tcp", "port": "80",
                "destination": other_address("10.77", number)}

    def set_label(self, value):
        self.call.send("PATCH", f"nodes/{NODE}?wait=applied&timeout=60",
                       {"spec": {"labels": {LABEL: value}}}, MERGE)

    def add_many(self):
        """All of what create() made, by one call that gives the node the label."""
        return timed(lambda: self.set_label("yes"))

    def remove_many(self):
        self.set_label(None)

    # --- what it uses ----------------------------------------------------------------------------

    def controller_mb(self):
        return rss_mb(self.agent.agent_pid())

    def switch_mb(self):
        return rss_mb(self.agent.processes(OVS)[0])


class OvnAcls:
    def __init__(self, lab, many):
        self.ovn, self.many = Ovn(lab), many
        self.ovn.start()
        first, second = (lab.host(name) for name in CHASSIS)
        self.agent, self.target = first, ADDRESSES[1]
        self.stream = Stream(first, second, self.target)

    def close(self):
        self.stream.close()

    def prepare(self):
        """Its daemon's socket stays open."""

    # --- one -------------------------------------------------------------------------------------

    def _match(self):
        return self.ovn.match("udp", self.target, PORT)

    def block(self):
        return timed(lambda: self.ovn.run_daemon(*self.ovn.add_words(self._match())))

    def block_by_command(self):
        """As a person would: ovn-nbctl is started, asks the database, and ends."""
        return timed(lambda: self.ovn.run_command(*self.ovn.add_words(self._match())))

    def unblock(self):
        self.ovn.run_daemon(*self.ovn.delete_words(self._match()))

    # --- many ------------------------------------------------------------------------------------

    def add_many(self):
        """New ones, in one transaction."""
        words = []
        for number in range(self.many):
            address = other_address("10.210", number)
            words += ["--", *self.ovn.add_words(self.ovn.match("tcp", address, 80))]
        return timed(lambda: self.ovn.run_daemon(*words))

    def remove_many(self):
        self.ovn.delete_all()

    # --- what it uses ----------------------------------------------------------------------------

    def controller_mb(self):
        return rss_mb(self.agent.processes("ovn-controller")[0])

    def switch_mb(self):
        return rss_mb(self.agent.processes(OVS)[0])
