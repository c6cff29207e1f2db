"""check.py - three machines with kernel WireGuard join a deployment and ping each other.

    ┌ bridge sw0, namespace cnsmo-vm, 10.98.0.0/24 ┐
    │ Server .1 (cnsmod, agent) │ Agent.1 .2 │ Agent.2 .3 │
"""
import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from lab.processes import LabError, wait_for  # noqa: E402
from lab.vm import image  # noqa: E402
from lab.vm.machine import Vm  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
NAMESPACE = "cnsmo-vm"
NAMES = ["Server", "Agent.1", "Agent.2"]
SERVER = "10.98.0.1"
LOGIN = f"""export CNSMO_URL=https://{SERVER}:8443 CNSMO_CA=/var/lib/cnsmod/pki/root.pem
export CNSMO_USER=admin CNSMO_PASSWORD=for-this-check-only
"""


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


def start_server(vm):
    vm.run("""umask 077; echo for-this-check-only >/run/password
        mkdir -p /var/log/cnsmod
        cnsmod init --advertise 10.98.0.1 --admin admin --password-file /run/password
        setsid cnsmod run --advertise 10.98.0.1 >/var/log/cnsmod/cnsmod.log 2>&1 &""")
    probe = "curl -sko /dev/null -w '%{http_code}' https://127.0.0.1:8443/readyz"
    wait_for("cnsmod to be ready", lambda: vm.run(probe, check=False) == "200", 60)


def join(server, vm):
    hub = "--hub" if vm is server else ""
    token = server.run(f"{LOGIN} cnsmo token create --ids {vm.name} --services vpn {hub}").strip()
    endpoint = f"--endpoint {SERVER}" if vm is server else ""
    print(vm.run(f"cnsmo-agent join {token.split()[-1]} --id {vm.name} {endpoint}"), end="")
    device = vm.run("ip -d link show dev cnsmo0")
    if "wireguard" not in device:
        raise LabError(f"{vm.name} doesn't use the kernel's WireGuard: {device}")


def host_state(vm):
    """What a node may change: the kernel's WireGuard has side effects that wireguard-go hasn't."""
    return vm.run("""ip -o addr; ip route show table all; ip rule; nft list ruleset
        sysctl -a 2>/dev/null | grep -E '^net.ipv[46].(ip_forward|conf)'""").splitlines()


def check(vms):
    for vm in vms:
        vm.wait_ready()
        print(f"{vm.name}: {vm.run('uname -r').strip()}", flush=True)
    start_server(vms[0])
    before = host_state(vms[-1])
    for vm in vms:
        join(vms[0], vm)
    nodes = json.loads(vms[0].run(f"{LOGIN} cnsmo node list -o json"))
    nodes = nodes["items"] if isinstance(nodes, dict) else nodes
    address = {node["id"]: node["status"]["address"] for node in nodes}
    count = 0
    for vm in vms:
        for name in set(NAMES) - {vm.name}:
            wait_for(f"ping from {vm.name} to {name}", lambda a=address[name]: "1 received" in vm.run(
                f"ping -nqc1 -W2 {a}", check=False), 60)
            print(f"{vm.name} → {name} {address[name]}: ok", flush=True)
            count += 1
    vms[-1].run("cnsmo-agent leave")
    after = host_state(vms[-1])
    if after != before:
        raise LabError("leave didn't restore the host: " + str(set(before) ^ set(after)))
    print(f"{vms[-1].name} left: its host is as before", flush=True)
    return count + 1


def main():
    disk, kernel, initrd = image.ensure(TOP / "build-vm")
    passed = 0
    with tempfile.TemporaryDirectory(dir=TOP / "build-vm") as folder:
        folder = pathlib.Path(folder)
        programs = folder / "programs.ext4"
        image.programs_disk(TOP / "build", programs)
        network(add=True)
        vms = [Vm(NAMESPACE, at, name, f"10.98.0.{at}") for at, name in enumerate(NAMES, 1)]
        try:
            for vm in vms:
                vm.start(folder, disk, kernel, initrd, programs)
            passed = check(vms)
        except LabError as error:
            print(f"FAILED: {error}")
            for vm in vms:
                log = folder / f"{vm.name}.log"
                print(f"--- {vm.name}\n" + (log.read_text(errors="replace")[-1500:]
                                            if log.exists() else ""))
        finally:
            for vm in vms:
                vm.stop()
            network(add=False)
    print(f"{passed} passed, {0 if passed else 1} failed, 0 skipped")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
