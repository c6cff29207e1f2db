"""lab.py - a whole deployment: up, found again, down.

    lab = Lab(nodes=3, clouds=2)
    with lab:                                   # or lab.up() … lab.down()
        lab.host("Agent.1").run(["ping", "-c1", lab.overlay_address("Agent.2")])

The folder of the lab (default .lab) holds env, ca.pem, lab.json, logs/<machine>/ and, on a tmpfs,
what the machines write.
"""
import concurrent.futures
import json
import os
import pathlib
import secrets
import shutil
import subprocess
import time

from lab import processes
from lab.api import Api, ApiError
from lab.node import Node, ServerNode, install_programs
from lab.processes import LabError, wait_for
from lab.topology import NAT_KINDS, Topology

TOP = pathlib.Path(__file__).resolve().parent.parent
USER = "admin"
OVERLAY_DEADLINE = 60


def default_build():
    found = [TOP / name for name in ("build", "build-dev") if (TOP / name / "build.ninja").exists()]
    if not found:
        raise LabError("nothing is built yet: run ./dev build --release")
    return found[0]


class Lab:
    def __init__(self, nodes=3, clouds=2, nat=0, fabric="wireguard", services=("vpn",), slot=None,
                 folder=None, build=None, ovs=None):
        """`nat`: how many clouds (the last ones) are behind a NAT, or a list of kinds of NAT.
        `ovs`: does Open vSwitch run on the machines? By default if the services hold sdn."""
        slot = int(os.environ.get("CNSMO_LAB_SLOT", "0")) if slot is None else slot
        self.slot = slot
        self.folder = pathlib.Path(folder or TOP / (f".lab-{slot}" if slot else ".lab")).resolve()
        self.build = build
        self.count = nodes
        self.fabric, self.services = fabric, list(services)
        self.ovs = "sdn" in self.services if ovs is None else ovs
        kinds = ["cone"] * nat if isinstance(nat, int) else list(nat)
        if nodes < 0 or set(kinds) - set(NAT_KINDS):
            raise LabError("a lab has no negative number of nodes, and NAT is "
                           + " or ".join(NAT_KINDS))
        self.topology = Topology(str(self.folder), slot, clouds, kinds)
        self.hosts = {}
        self.removed = 0
        self.api = None

    # --- finding it again -----------------------------------------------------------------------

    @classmethod
    def open(cls, folder=None):
        """The lab that runs."""
        slot = int(os.environ.get("CNSMO_LAB_SLOT", "0"))
        folder = pathlib.Path(folder or TOP / (f".lab-{slot}" if slot else ".lab")).resolve()
        if not processes.machines(str(folder)):
            raise LabError("no lab runs: ./dev lab up")
        try:
            known = json.loads((folder / "lab.json").read_text())
        except (OSError, ValueError):
            raise LabError("the lab is only half there: ./dev lab down") from None
        lab = cls(folder=folder, **known["options"])
        lab.topology.find()
        for name, cloud in known["machines"]:
            lab._place(name, cloud).find()
        lab._connect(lab.environment()["CNSMO_PASSWORD"])
        return lab

    def _remember(self):
        options = {"nodes": self.count, "clouds": len(self.topology.clouds),
                   "nat": self.topology.nat, "fabric": self.fabric, "services": self.services,
                   "slot": self.slot, "ovs": self.ovs}
        machines = [[name, host.cloud] for name, host in self.hosts.items()]
        text = json.dumps({"options": options, "machines": machines}, indent=1)
        (self.folder / "lab.json").write_text(text)

    def environment(self):
        lines = (self.folder / "env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    # --- up -------------------------------------------------------------------------------------

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *_):
        self.down()

    def up(self, join=True):
        """Returns when every node reaches every other over the overlay."""
        self.prepare()
        try:
            self.start_server()
            if join:
                self.join_all()
        except BaseException:
            self.fail()
            raise

    def prepare(self):
        """Machines and cables, but no program of ours."""
        if os.geteuid() != 0:
            raise LabError("the lab needs root: sudo ./dev lab up")
        running = self._same_slot(processes.folders())
        if running:
            raise LabError(f"a lab runs already (in {running}): ./dev lab down there, or use it")
        self.down()
        self.folder.mkdir(mode=0o700, parents=True)
        (self.folder / "slot").write_text(f"{self.slot}\n")
        try:
            self._mount()
            self.topology.build()
            self.add("Server")
            for number in range(1, self.count + 1):
                self.add(f"Agent.{number}", 1 + (number - 1) % len(self.topology.clouds))
        except BaseException:
            self.fail()
            raise

    def _same_slot(self, folders):
        """The first of these labs that has our folder, or our way to this machine; or None."""
        for folder in sorted(folders):
            try:
                slot = int((pathlib.Path(folder) / "slot").read_text())
            except (OSError, ValueError):
                slot = None
            if folder == str(self.folder) or slot == self.slot:
                return folder
        return None

    def _mount(self):
        """What machines write stands on a tmpfs: fast, an upper layer everywhere, gone at once."""
        store = self.folder / "fs"
        store.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", str(store)], check=True)
        install_programs(self.build or default_build(), store / "bin")

    def _place(self, name, cloud):
        kind = ServerNode if name == "Server" else Node
        host = kind(str(self.folder), name, self.folder / "fs" / "bin")
        host.cloud = cloud
        host.server_options = ("--advertise", self.topology.server_address)
        self.topology.place(host, cloud)
        self.hosts[name] = host
        return host

    def add(self, name, cloud=None):
        """One more machine, that runs nothing of ours yet."""
        host = self._place(name, cloud)
        self.boot(name)
        self._remember()
        return host

    def remove(self, name):
        """The end of a machine: gone with its disk. Its logs stay, under another name."""
        host = self.hosts.pop(name)
        host.kill()
        del self.topology.cables[name]
        shutil.rmtree(host.upper, ignore_errors=True)
        self.removed += 1
        host.logs.rename(host.logs.with_name(f"{name}-removed-{self.removed}"))
        self._remember()

    def boot(self, name):
        self.hosts[name].boot()
        self.topology.cables[name].plug()
        if self.ovs:
            self.hosts[name].start_ovs()

    def restart(self, name):
        """Pulls a machine's plug and boots it again, with what its boot would start."""
        host = self.hosts[name]
        was_server = name == "Server" and bool(host.processes("cnsmod"))
        host.kill()
        self.boot(name)
        if was_server:
            host.start_server()
        if host.joined():
            host.start_agent()
        return host

    def start_server(self):
        password = secrets.token_urlsafe(18)
        server = self.hosts["Server"]
        server.init_server(USER, password)
        server.start_server()
        self._write_env(password)
        self._connect(password)
        if self.fabric != "wireguard":
            self.api.patch("/settings/overlay", {"spec": {"fabric": self.fabric}})

    def _write_env(self, password):
        pem = self.hosts["Server"].out(["cat", "/var/lib/cnsmod/pki/root.pem"])
        (self.folder / "ca.pem").write_text(pem)
        env = {"CNSMO_URL": f"https://{self.topology.server_address}:8443",
               "CNSMO_CA": self.folder / "ca.pem", "CNSMO_USER": USER, "CNSMO_PASSWORD": password}
        path = self.folder / "env"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("".join(f"{key}={value}\n" for key, value in env.items()))

    def _connect(self, password):
        self.api = Api(self.topology.server_address, 8443, self.folder / "ca.pem", USER, password)

    def token_for(self, name, **spec):
        """A join token as an operator would make it for this machine."""
        cloud = self.hosts[name].cloud
        spec.setdefault("uses", 1)
        spec.setdefault("ids", [name])
        spec.setdefault("services", self.services)
        if name == "Server":
            spec.setdefault("hub", True)
        elif cloud:
            spec.setdefault("cloud", f"cloud-{cloud}")
        return self.api.make_token(**spec)

    def join(self, name, *options):
        token = self.token_for(name)
        endpoint = ["--endpoint", self.topology.server_address] if name == "Server" else []
        self.hosts[name].join(token, "--id", name, "--services", ",".join(self.services),
                              *endpoint, *options)

    def join_all(self):
        """The Server first, so that there is a hub when the others come. One after the other in a
        small lab, so that addresses are in the order of names; else several at once."""
        names = list(self.hosts)
        self.join(names[0])
        with concurrent.futures.ThreadPoolExecutor(1 if len(names) < 8 else 4) as pool:
            list(pool.map(self.join, names[1:]))
        self.wait_overlay()

    # --- the overlay ----------------------------------------------------------------------------

    def host(self, name):
        if name not in self.hosts:
            raise LabError(f"there is no machine {name}: {', '.join(self.hosts)}")
        return self.hosts[name]

    def overlay_address(self, name):
        return self.api.get(f"/nodes/{name}")["status"]["address"]

    def wait_overlay(self, names=None, timeout=OVERLAY_DEADLINE):
        """Every one of these nodes (default: all that joined) pings every other."""
        def addresses():
            nodes = self.api.nodes()
            wanted = names or sorted(nodes)
            missing = [name for name in wanted if not nodes.get(name, {}).get("status", {})
                       .get("address")]
            if missing:
                raise LabError(f"no overlay address yet: {', '.join(missing)}")
            return {name: nodes[name]["status"]["address"] for name in wanted}

        started = time.monotonic()
        known = wait_for("an overlay address for every node", addresses, timeout)
        open_pairs = {name: set(known) - {name} for name in known}

        def reached():
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                todo = {name: pool.submit(self._unreached, name, peers, known)
                        for name, peers in open_pairs.items() if peers}
                for name, result in todo.items():
                    open_pairs[name] = result.result()
            left = [f"{name} → {', '.join(sorted(peers))}" for name, peers in open_pairs.items()
                    if peers]
            if left:
                raise LabError("; ".join(left))
            return True

        wait_for("ping between all nodes", reached, timeout)
        return time.monotonic() - started

    def _unreached(self, name, peers, known):
        """The peers that don't answer, asked all at once in one process."""
        script = "for a; do ping -nqc1 -W1 $a >/dev/null 2>&1 || echo $a & done; wait"
        out = self.hosts[name].out(["sh", "-c", script, "sh", *(known[peer] for peer in peers)])
        silent = set(out.split())
        return {peer for peer in peers if known[peer] in silent}

    # --- down -----------------------------------------------------------------------------------

    def keep_state(self, folder):
        """Copies every machine's logs and network state, for whoever looks at a failure."""
        for machine in [*self.hosts.values(), *self.topology.routers()]:
            if machine.pid:
                machine.keep_state(folder)

    def fail(self):
        """After a failure on the way up: everything down, but the logs and states kept."""
        keep = self.folder.parent / (self.folder.name + "-failed")
        shutil.rmtree(keep, ignore_errors=True)
        try:
            self.keep_state(keep)
        finally:
            self.down()
        if keep.exists():
            keep.chmod(0o700)
            print(f"logs and network state of every machine: {keep}", flush=True)

    def down(self):
        """Leaves nothing behind, whatever state the lab is in; nothing to do is fine too."""
        processes.kill_all(str(self.folder))
        if not self._same_slot(processes.folders()):
            self.topology.unplug_host()
        store = str(self.folder / "fs")

        def unmounted():
            mounts = pathlib.Path("/proc/self/mounts").read_text()
            if f" {store} " not in mounts:
                return True
            subprocess.run(["umount", store], check=False, stderr=subprocess.DEVNULL)
            return False

        wait_for(f"the end of the mount on {store}", unmounted, 20)
        shutil.rmtree(self.folder, ignore_errors=True)
        for host in [*self.hosts.values(), *self.topology.routers()]:
            host.pid = None

    # --- what it looks like ---------------------------------------------------------------------

    def describe(self):
        """One row a machine: name, where it is, overlay address, state."""
        try:
            nodes = self.api.nodes()
        except (ApiError, OSError):
            nodes = {}
        rows = [("MACHINE", "CLOUD", "ADDRESS", "OVERLAY", "STATE")]
        for name, host in self.hosts.items():
            status = nodes.get(name, {}).get("status", {})
            state = "connected" if status.get("connected") else "away" if status else "not joined"
            rows.append((name, f"cloud-{host.cloud}" if host.cloud else "-",
                         self.topology.address(name), status.get("address") or "-", state))
        return rows
