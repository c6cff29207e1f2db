"""topology.py - machines, cables, clouds and the Internet of the lab.

Every box is a full machine (lab/machine.py); none of it reaches a real network. With
`--nodes 3 --clouds 2 --nat 1`:

  this machine ── cnsmo-lab0 ─┐ 169.254.201.0/30, and a route to the Server's address alone
                              │
  ┌─ Internet (a router) ─────┴───────────────────────────────────────────────────────┐
  │      net0 198.51.100.1/24                             cloud1 203.0.113.33/27      │
  └──────┬──────────────────────────┬───────────────────────────┬──────────┬──────────┘
         │ .10 (+ slot)             │ wan0 .102                 │ .34      │ .35
    ┌────┴────┐          ┌──────────┴───────────┐          ┌────┴────┐┌────┴────┐
    │ Server  │          │ Nat.2 (masquerade)   │          │ Agent.1 ││ Agent.3 │
    │ cnsmod, │          │ lan0 10.0.0.1/24     │          └─────────┘└─────────┘
    │ agent   │          └──────────┬───────────┘            cloud 1: public addresses
    └─────────┘                     │ .2
                               ┌────┴────┐
                               │ Agent.2 │ cloud 2: private addresses, the same in every such
                               └─────────┘ cloud, as it is with real providers
"""
import subprocess

from lab.machine import Machine
from lab.processes import LabError

CLOUDS_MAX = 7
# Of every bridge. Without one of its own a bridge takes the lowest of its ports' addresses, and the
# machines on it lose their gateway for seconds when another is plugged in.
GATEWAY_MAC = "02:00:00:00:00:01"
CLOUD_MACHINES_MAX = 28
# How a cloud's router changes the source ports of what leaves: `cone` keeps them where it can, so
# that two such clouds find a direct way; `symmetric` takes another for every destination.
NAT_KINDS = {"cone": "masquerade", "symmetric": "masquerade fully-random"}


class Cable:
    """From a machine's eth0 to a bridge."""

    def __init__(self, machine, device, switch, bridge, address, gateway):
        self.machine, self.device = machine, device
        self.switch, self.bridge = switch, bridge
        self.address, self.gateway = address, gateway
        self.port = machine.name  # the name of its other end, in the switch

    def plug(self):
        """Called at each boot of the machine. A cable dies with either end, but after a machine's
        sudden end the kernel may take a while to clear it away."""
        self.switch.run(["ip", "link", "del", self.port], check=False)
        subprocess.run(["ip", "link", "add", "name", self.device, "netns", str(self.machine.pid),
                        "type", "veth", "peer", "name", self.port, "netns", str(self.switch.pid)],
                       check=True)
        self.switch.ip(f"link set {self.port} master {self.bridge} up")
        self.machine.ip(f"addr add {self.address} dev {self.device}", f"link set {self.device} up",
                        f"route add default via {self.gateway} dev {self.device}")

    def cut(self):
        self.switch.ip(f"link set {self.port} down")

    def restore(self):
        self.switch.ip(f"link set {self.port} up")


class Cloud:
    """A bridge, in the Internet's router when its addresses are public, else in a NAT router."""

    def __init__(self, internet, number, router=None):
        self.number = number
        self.name = f"cloud-{number}"
        self.router = router
        self.switch = router or internet
        self.bridge = "lan0" if router else f"cloud{number}"
        base = 32 * number
        self.prefix = "10.0.0." if router else "203.0.113."
        self.first, self.length = (1, 24) if router else (base + 1, 27)
        self.used = 0

    @property
    def gateway(self):
        return f"{self.prefix}{self.first}"

    def cable(self, machine):
        self.used += 1
        if self.used > CLOUD_MACHINES_MAX:
            raise LabError(f"{self.name} has room for {CLOUD_MACHINES_MAX} machines")
        address = f"{self.prefix}{self.first + self.used}/{self.length}"
        return Cable(machine, "eth0", self.switch, self.bridge, address, self.gateway)

    def build(self):
        self.switch.ip(f"link add name {self.bridge} address {GATEWAY_MAC} type bridge",
                       f"addr add {self.gateway}/{self.length} dev {self.bridge}",
                       f"link set {self.bridge} up")


class Topology:
    def __init__(self, folder, slot=0, clouds=1, nat=()):
        """`nat` is a kind of NAT (a key of NAT_KINDS) for each of the last len(nat) clouds."""
        if not 1 <= clouds <= CLOUDS_MAX:
            raise LabError(f"the lab has 1 to {CLOUDS_MAX} clouds, not {clouds}")
        if len(nat) > clouds:
            raise LabError(f"{len(nat)} clouds behind NAT, but there are only {clouds}")
        self.folder, self.slot, self.nat = folder, slot, list(nat)
        self.server_address = f"198.51.100.{10 + slot}"
        self.host_device = f"cnsmo-lab{slot}"
        self.internet = Machine(folder, "Internet")
        self.cables = {}
        self.clouds = []
        for number in range(1, clouds + 1):
            behind_nat = number > clouds - len(nat)
            router = Machine(folder, f"Nat.{number}") if behind_nat else None
            self.clouds.append(Cloud(self.internet, number, router))

    # --- building -------------------------------------------------------------------------------

    def build(self):
        self.internet.boot()
        self.internet.sysctl({"net.ipv4.ip_forward": 1, "net.ipv4.conf.all.rp_filter": 0,
                              "net.ipv4.icmp_ratelimit": 0})
        self.internet.ip(f"link add name net0 address {GATEWAY_MAC} type bridge",
                         "addr add 198.51.100.1/24 dev net0", "link set net0 up")
        self.internet.nft("""
            table inet lab { chain forward { type filter hook forward priority 0; }
            }
            table bridge lab { chain forward { type filter hook forward priority 0; }
            }
            """)
        self._plug_host()
        kinds = iter(self.nat)
        for cloud in self.clouds:
            if cloud.router:
                self._build_nat(cloud, next(kinds))
            cloud.build()

    def _plug_host(self):
        here, there = (f"169.254.201.{4 * self.slot + at}" for at in (1, 2))
        device = self.host_device
        self._host_ip(f"link add name {device} type veth peer name host0 "
                      f"netns {self.internet.pid}")
        self.internet.ip(f"addr add {there}/30 dev host0", "link set host0 up")
        self._host_ip(f"addr add {here}/30 dev {device}")
        self._host_ip(f"link set {device} up")
        self._host_ip(f"route add {self.server_address}/32 via {there} dev {device}")

    @staticmethod
    def _host_ip(command):
        done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"ip {command}: {done.stderr.strip()}")

    def unplug_host(self):
        subprocess.run(["ip", "link", "del", self.host_device], check=False,
                       stderr=subprocess.DEVNULL)

    def _build_nat(self, cloud, kind):
        router = cloud.router
        router.boot()
        Cable(router, "wan0", self.internet, "net0", f"198.51.100.{100 + cloud.number}/24",
              "198.51.100.1").plug()
        router.sysctl({"net.ipv4.ip_forward": 1, "net.ipv4.conf.all.rp_filter": 0})
        # What comes uninvited is dropped before it makes a connection entry, which would spoil
        # the port for the machine inside.
        router.nft(f"""
            table inet lab {{
                chain nat {{
                    type nat hook postrouting priority 100;
                    oifname "wan0" {NAT_KINDS[kind]}
                }}
                chain input {{
                    type filter hook input priority 0;
                    iifname "wan0" ct state new meta l4proto {{ tcp, udp }} drop
                }}
                chain forward {{
                    type filter hook forward priority 0;
                    iifname "wan0" ct state new drop
                }}
            }}
            table bridge lab {{ chain forward {{ type filter hook forward priority 0; }}
            }}
            """)

    def find(self):
        """Takes up the routers of a lab that runs."""
        for machine in self.routers():
            machine.find()

    def routers(self):
        return [self.internet] + [cloud.router for cloud in self.clouds if cloud.router]

    # --- machines -------------------------------------------------------------------------------

    def place(self, machine, cloud=None):
        """Gives a machine its cable: to a cloud (1, 2 …), or to the Internet like the Server."""
        if cloud is None:
            cable = Cable(machine, "eth0", self.internet, "net0", f"{self.server_address}/24",
                          "198.51.100.1")
        else:
            cable = self.clouds[cloud - 1].cable(machine)
        self.cables[machine.name] = cable
        return cable

    def address(self, name):
        """The machine's own address on its NIC."""
        return self.cables[name].address.split("/")[0]

    def public_address(self, name):
        """The address under which the Internet sees it."""
        for cloud in self.clouds:
            if cloud.router and self.cables[name].switch is cloud.router:
                return f"198.51.100.{100 + cloud.number}"
        return self.address(name)

    # --- faults ---------------------------------------------------------------------------------

    def set_path_mtu(self, mtu):
        """What the routers pass on towards and from every cloud: machines keep 1500 on their NIC."""
        for cloud in self.clouds:
            cloud.switch.ip(f"link set {cloud.bridge} mtu {mtu}")
            if cloud.router:
                # The machines on the Internet's bridge are one hop away: the limit stands in
                # the routes, since a smaller device would drop what comes without a word.
                cloud.router.ip(f"route change default via 198.51.100.1 dev wan0 mtu lock {mtu}",
                                f"route change 198.51.100.0/24 dev wan0 mtu lock {mtu}")
        self.internet.ip(f"link set net0 mtu {mtu}")

    def block_udp(self, one, other):
        """No UDP passes between two machines any more, in either direction."""
        same = self.cables[one].switch is self.cables[other].switch
        switch = self.cables[one].switch if same else self.internet
        seen_as = self.address if same else self.public_address
        for source, target in ((one, other), (other, one)):
            match = f"ip saddr {seen_as(source)} ip daddr {seen_as(target)} meta l4proto udp drop"
            switch.nft(f"add rule inet lab forward {match}")
            switch.nft(f"add rule bridge lab forward ether type ip {match}")

    def unblock(self):
        for router in self.routers():
            router.nft("flush chain bridge lab forward")
        self.internet.nft("flush chain inet lab forward")
