"""ovn_rig.py - OVN on machines of a lab, as Debian's packages run it, to measure sdn next to it.

Central has the two databases and ovn-northd. Each of two chassis has an ovn-controller and one
port of the only logical switch: an internal one, a device of the machine as the overlay's is with
sdn. They reach each other by Geneve. The netdev datapath sends what it tunnels out of a bridge
only, so a chassis' NIC is in one, and the bridge has its address.
"""
import contextlib
import json
import shlex
import socket
import subprocess

from lab_rig import LabError, wait_for

CTL = "/usr/share/ovn/scripts/ovn-ctl"
CENTRAL, CHASSIS = "Central", ("Chassis.1", "Chassis.2")
SWITCH, PORTS = "ls", ("p1", "p2")
ADDRESSES = ("10.210.0.1", "10.210.0.2")
# Geneve over 1500, and no fragment.
MTU = 1400


class Unixctl:
    """A daemon's control socket, kept open: no process is started for a command."""

    def __init__(self, machine, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(f"/proc/{machine.pid}/root{path}")
        self.decoder = json.JSONDecoder()

    def call(self, method, *params):
        request = {"id": 0, "method": method, "params": params}
        self.socket.sendall(json.dumps(request).encode())
        text = ""
        while True:
            part = self.socket.recv(1 << 20)
            if not part:
                raise LabError(f"{method}: the daemon closed its socket")
            text += part.decode()
            with contextlib.suppress(ValueError):
                answer, _ = self.decoder.raw_decode(text)
                break
        if answer.get("error"):
            raise LabError(f"{method}: {answer['error']}")
        return answer["result"]


class Ovn:
    def __init__(self, lab):
        self.lab = lab
        self.central = lab.add(CENTRAL, 1)
        self.chassis = [lab.add(name, 1 + at) for at, name in enumerate(CHASSIS)]

    # --- up --------------------------------------------------------------------------------------

    def start(self):
        self._start_central()
        for at, machine in enumerate(self.chassis):
            self._start_chassis(machine, at)
        self._make_switch()
        wait_for("ping between OVN's ports", lambda: self.chassis[0].ping(ADDRESSES[1]), 30)
        self._start_clients()

    def _start_clients(self):
        self.shell = self.central.spawn(["sh"], log="shell.log", stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        path = self.central.out(["ovn-nbctl", "--detach", "--pidfile"]).strip()
        self.daemon = Unixctl(self.central, self.central.out(["readlink", "-f", path]).strip())

    def _start_central(self):
        address = self.lab.topology.address(CENTRAL)
        self.central.run(["mkdir", "-p", "/var/log/ovn", "/run/ovn", "/var/lib/ovn", "/etc/ovn"])
        self._plain_checksums(self.central)
        self.central.run([CTL, "start_northd", "--ovn-manage-ovsdb=yes", "--no-monitor"])
        self.central.run(["ovn-sbctl", "set-connection", f"ptcp:6642:{address}"])

    @staticmethod
    def _plain_checksums(machine):
        """What a NIC would fill in nobody does here, for those who look at frames."""
        machine.run(["ethtool", "-K", "eth0", "tx", "off"])

    def _start_chassis(self, machine, at):
        self._plain_checksums(machine)
        self._put_nic_into_bridge(machine)
        address = self.lab.topology.address(machine.name)
        central = self.lab.topology.address(CENTRAL)
        machine.run(["mkdir", "-p", "/var/log/ovn", "/run/ovn"])
        machine.run(["ovs-vsctl", "set", "Open_vSwitch", ".",
                     f"external-ids:system-id={machine.name}",
                     f"external-ids:ovn-remote=tcp:{central}:6642",
                     "external-ids:ovn-encap-type=geneve",
                     f"external-ids:ovn-encap-ip={address}",
                     "external-ids:ovn-bridge-datapath-type=netdev"])
        machine.run([CTL, "start_controller", "--ovn-manage-ovsdb=no", "--no-monitor"])
        wait_for(f"br-int on {machine.name}", lambda: machine.run(
            ["ovs-vsctl", "br-exists", "br-int"], check=False).returncode == 0, 10)
        port = PORTS[at]
        machine.run(["ovs-vsctl", "add-port", "br-int", port, "--", "set", "Interface", port,
                     "type=internal", f"external-ids:iface-id={port}",
                     f'mac="{self._mac(at)}"'])
        machine.ip(f"addr add {ADDRESSES[at]}/24 dev {port}", f"link set {port} mtu {MTU} up")

    def _put_nic_into_bridge(self, machine):
        cable = self.lab.topology.cables[machine.name]
        machine.run(["ovs-vsctl", "add-br", "br-phy", "--", "set", "Bridge", "br-phy",
                     "datapath_type=netdev", "--", "add-port", "br-phy", "eth0"])
        machine.ip(f"addr del {cable.address} dev eth0", f"addr add {cable.address} dev br-phy",
                   "link set br-phy up", f"route add default via {cable.gateway} dev br-phy")
        # The machine itself would take what comes in a second time.
        machine.nft("add table netdev bench\n"
                    "add chain netdev bench in { type filter hook ingress device \"eth0\" "
                    "priority 0; policy drop; }\n")

    @staticmethod
    def _mac(at):
        return f"02:00:00:00:02:{1 + at:02x}"

    def _make_switch(self):
        commands = ["ls-add", SWITCH]
        for at, port in enumerate(PORTS):
            commands += ["--", "lsp-add", SWITCH, port, "--", "lsp-set-addresses", port,
                         f"{self._mac(at)} {ADDRESSES[at]}"]
        self.central.run(["ovn-nbctl", "--wait=hv", *commands])

    # --- ACLs ------------------------------------------------------------------------------------

    @staticmethod
    def match(protocol, address, port):
        """What leaves the first port to there."""
        return f'inport == "{PORTS[0]}" && ip4.dst == {address} && {protocol}.dst == {port}'

    @staticmethod
    def add_words(match):
        return ["acl-add", SWITCH, "from-lport", "1000", match, "drop"]

    @staticmethod
    def delete_words(match):
        return ["acl-del", SWITCH, "from-lport", "1000", match]

    def delete_all(self):
        self.run_daemon("acl-del", SWITCH)

    def run_daemon(self, *words):
        """ovn-nbctl's work, by its daemon (which holds a copy of the database); in force when it
        returns."""
        self.daemon.call("run", "--wait=hv", *words)

    def run_command(self, *words):
        """The same by the program, from a shell that waits in the machine: what starts a program
        there from outside isn't counted."""
        self.shell.popen.stdin.write(
            (shlex.join(["ovn-nbctl", "--wait=hv", *words]) + "; echo $?\n").encode())
        self.shell.popen.stdin.flush()
        code = self.shell.popen.stdout.readline().strip()
        if code != b"0":
            raise LabError(f"ovn-nbctl ended with {code.decode()}")
