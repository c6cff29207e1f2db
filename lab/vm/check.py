"""check.py - what namespaces on such a machine can't show: machines with a stock kernel.

    ┌ bridge sw0, namespace cnsmo-vm, 10.98.0.0/24 ───────────────────┐
    │ Server .1 (cnsmod, agent, hub) │ Agent.1 .2 │ Agent.2 .3 │ Laptop .4 │

The agents use the kernel's WireGuard, and OpenVPN's data-channel offload after the fabric was
changed; on both sdn is switched on and off, with Open vSwitch's kernel datapath. The Laptop has nothing of ours: stock wg-quick and openvpn, with the files that the API gives.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from lab.processes import LabError, wait_for  # noqa: E402
from lab.vm import image  # noqa: E402
from lab.vm import sdn  # noqa: E402
from lab.vm.machine import Vm  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
NAMESPACE = "cnsmo-vm"
NAMES = ["Server", "Agent.1", "Agent.2", "Laptop"]
SERVER = "10.98.0.1"
LOGIN = f"""export CNSMO_URL=https://{SERVER}:8443 CNSMO_CA=/var/lib/cnsmod/pki/root.pem
export CNSMO_USER=admin CNSMO_PASSWORD=for-this-check-only
"""
CUT_SEC = 2  # how soon a revoked client must be cut off


def network(add):
    subprocess.run(["ip", "netns", "del", NAMESPACE], check=False, stderr=subprocess.DEVNULL)
    if not add:
        return
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    commands = ["link add name sw0 type bridge", "link set sw0 up"]
    for number in range(1, len(NAMES) + 1):
        commands += [f"tuntap add dev tap{number} mode tap", f"link set tap{number} master sw0 up"]
    subprocess.run(["ip", "-n", NAMESPACE, "-batch", "-"], input="\n".join(commands), text=True,
                   check=True)


class Check:
    """A deployment on the machines; every step that was seen to work is counted."""

    def __init__(self, vms):
        self.vms = {vm.name: vm for vm in vms}
        self.server, self.laptop = self.vms["Server"], self.vms["Laptop"]
        self.nodes = [vm for vm in vms if vm is not self.laptop]
        self.passed = 0

    def ok(self, text):
        self.passed += 1
        print(f"{text}: ok", flush=True)

    def cnsmo(self, words, **options):
        return self.server.run(f"{LOGIN} cnsmo {words}", **options)

    # --- the deployment -------------------------------------------------------------------------

    def start_server(self):
        self.server.run("""umask 077; echo for-this-check-only >/run/password
            mkdir -p /var/log/cnsmod
            cnsmod init --advertise 10.98.0.1 --admin admin --password-file /run/password
            setsid cnsmod run --advertise 10.98.0.1 >/var/log/cnsmod/cnsmod.log 2>&1 &""")
        probe = "curl -sko /dev/null -w '%{http_code}' https://127.0.0.1:8443/readyz"
        wait_for("cnsmod to be ready", lambda: self.server.run(probe, check=False) == "200", 60)

    def join(self, vm):
        hub = "--hub" if vm is self.server else ""
        token = self.cnsmo(f"token create --ids {vm.name} --services vpn {hub}").strip()
        endpoint = f"--endpoint {SERVER}" if vm is self.server else ""
        print(vm.run(f"cnsmo-agent join {token.split()[-1]} --id {vm.name} {endpoint}"), end="")

    def addresses(self):
        nodes = json.loads(self.cnsmo("node list -o json"))
        nodes = nodes["items"] if isinstance(nodes, dict) else nodes
        return {node["id"]: node["status"]["address"] for node in nodes}

    def pings(self, vm, address):
        return "1 received" in vm.run(f"ping -nqc1 -W2 {address}", check=False)

    def reaches(self, vm, name, address):
        wait_for(f"ping from {vm.name} to {name}", lambda: self.pings(vm, address), 90)
        self.ok(f"{vm.name} → {name} {address}")

    def mesh(self):
        known = self.addresses()
        for vm in self.nodes:
            for name in sorted(set(known) - {vm.name}):
                self.reaches(vm, name, known[name])

    def backend(self, kind, name):
        """Which device carries the overlay, on every node."""
        for vm in self.nodes:
            def right(vm=vm):
                return kind in vm.run("ip -d link show dev cnsmo0", check=False)
            wait_for(f"a device of kind {kind} on {vm.name}", right, 90)
        self.ok(f"every node has {name}")

    # --- the outside client ---------------------------------------------------------------------

    def give(self, name, form, path):
        """A file of the client, from the API to the laptop."""
        text = self.cnsmo(f"vpn client config {name} --format {form}")
        self.laptop.run(f"umask 077; cat >{path} <<'END'\n{text}\nEND")

    def client(self, name, form, start, stop):
        """A client comes, reaches every node and is reached; is revoked, and is cut off."""
        self.cnsmo(f"vpn client add {name} --wait")
        status = json.loads(self.cnsmo(f"vpn client show {name} -o json"))["status"]
        address = status["wireguardAddress" if form == "wireguard" else "address"]
        self.give(name, form, "/tmp/client.conf")
        self.laptop.run(start)
        known = self.addresses()
        for node in sorted(known):
            self.reaches(self.laptop, node, known[node])
        for vm in self.nodes:
            self.reaches(vm, f"{name} ({form})", address)
        self.cnsmo(f"vpn client delete {name}")
        revoked = time.monotonic()
        wait_for("the end of the revoked client",
                 lambda: not self.pings(self.laptop, known["Agent.1"]), 30)
        took = time.monotonic() - revoked
        # A ping that isn't answered takes 2 s by itself.
        if took > CUT_SEC + 2.5:
            raise LabError(f"the revoked client was cut off only after {took:.1f} s")
        self.ok(f"{name} ({form}) is cut off when it is revoked")
        self.laptop.run(stop)

    def openvpn_client(self, name):
        self.client(name, "ovpn", "openvpn --config /tmp/client.conf --daemon --log /tmp/openvpn.log "
                    "--writepid /tmp/openvpn.pid", "kill $(cat /tmp/openvpn.pid)")

    def wireguard_client(self, name):
        self.client(name, "wireguard", "cp /tmp/client.conf /tmp/wg9.conf; wg-quick up /tmp/wg9.conf",
                    "wg-quick down /tmp/wg9.conf")

    # --- all ------------------------------------------------------------------------------------

    def run(self):
        for vm in self.vms.values():
            vm.wait_ready()
            print(f"{vm.name}: {vm.run('uname -r').strip()}", flush=True)
        self.start_server()
        last = self.nodes[-1]
        before = host_state(last)
        for vm in self.nodes:
            self.join(vm)
        self.backend("wireguard", "the kernel's WireGuard")
        self.mesh()
        self.wireguard_client("phone")
        self.openvpn_client("laptop")
        sdn.check(self)
        sdn.compare(self)
        self.cnsmo("settings set overlay --fabric openvpn --wait=60", timeout=120)
        self.backend("ovpn-dco", "OpenVPN's data-channel offload")
        self.mesh()
        self.openvpn_client("laptop2")
        sdn.check(self)
        last.run("cnsmo-agent leave")
        after = host_state(last)
        if after != before:
            raise LabError("leave didn't restore the host: " + str(set(before) ^ set(after)))
        self.ok(f"{last.name} left: its host is as before")


def host_state(vm):
    """What a node may change: the kernel's WireGuard has side effects that wireguard-go hasn't."""
    return vm.run("""ip -o addr; ip route show table all; ip rule; nft list ruleset
        sysctl -a 2>/dev/null | grep -E '^net.ipv[46].(ip_forward|conf)'""").splitlines()


def main():
    disk, kernel, initrd = image.ensure(TOP / "build-vm")
    failed = 0
    with tempfile.TemporaryDirectory(dir=TOP / "build-vm") as folder:
        folder = pathlib.Path(folder)
        programs = folder / "programs.ext4"
        image.programs_disk(TOP / "build", programs)
        network(add=True)
        vms = [Vm(NAMESPACE, at, name, f"10.98.0.{at}") for at, name in enumerate(NAMES, 1)]
        check = Check(vms)
        try:
            for vm in vms:
                vm.start(folder, disk, kernel, initrd, programs)
            check.run()
        except LabError as error:
            failed = 1
            print(f"FAILED: {error}")
            for vm in vms:
                show(vm, folder)
        finally:
            for vm in vms:
                vm.stop()
            network(add=False)
    print(f"{check.passed} passed, {failed} failed, 0 skipped")
    return failed


def show(vm, folder):
    log = folder / f"{vm.name}.log"
    print(f"--- {vm.name}\n" + (log.read_text(errors="replace")[-1500:] if log.exists() else ""))
    look = """ip -br addr; ip route; tail -n 15 /var/log/cnsmo-agent/*.log /tmp/openvpn.log
        cnsmo-agent status"""
    try:
        print(vm.run(look, check=False, timeout=30))
    except (LabError, OSError) as error:
        print(error)


if __name__ == "__main__":
    sys.exit(main())
