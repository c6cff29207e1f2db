"""sdn.py - sdn on the kernel's datapath: on, a filter that counts to the packet, off."""
import json
import re

from lab.processes import LabError, wait_for

START = """modprobe openvswitch
    /usr/share/openvswitch/scripts/ovs-ctl --system-id=random --no-record-hostname --no-mlockall start"""
PACKETS = 50
ROUNDS, SECONDS = 3, 4


def status(check, vm):
    return json.loads(check.cnsmo(f"node show {vm.name} -o json"))["status"]["services"]


def turn(check, on):
    for vm in check.nodes:
        if on:
            vm.run(START)
        check.cnsmo(f"node set {vm.name} --services {'vpn,sdn' if on else 'vpn'} --wait=60",
                    timeout=90)


def is_kernel(check, vm):
    services = status(check, vm)
    return (services["vpn"]["state"], services["sdn"]["state"],
            services["sdn"]["datapath"]) == ("running", "running", "kernel")


def sent(vm, address, count):
    """So many UDP packets to a port where nobody listens."""
    vm.run(f"for i in $(seq {count}); do echo x | socat -u - UDP:{address}:1920; done")


def packets(check, number):
    return json.loads(check.cnsmo(f"sdn filter show {number} -o json"))["status"]["packets"]


def counts_exactly(check):
    one, two = check.nodes[1], check.nodes[2]
    address = check.addresses()[two.name]
    sent(one, address, PACKETS)  # before it is there, so not its own
    made = check.cnsmo(f"sdn filter add --node {one.name} --protocol udp --dst {address} "
                       "--port 1920 --wait=30 -o json")
    number = json.loads(made)["id"]
    sent(one, address, PACKETS)
    wait_for("the counter", lambda: packets(check, number) >= PACKETS, 20)
    if packets(check, number) != PACKETS:
        raise LabError(f"{PACKETS} packets were counted as {packets(check, number)}")
    check.cnsmo(f"sdn filter delete {number} --wait=30")
    check.ok(f"{PACKETS} of {PACKETS} packets are dropped and counted")


def blocks(check):
    one, two = check.nodes[1], check.nodes[2]
    address = check.addresses()[two.name]
    two.run("iperf3 -s -D -p 5202")
    connect = f"iperf3 -c {address} -p 5202 -n 64K --connect-timeout 2000"
    one.run(connect)
    made = check.cnsmo(f"sdn filter add --node {two.name} --dst {address} --port 5202 --wait=30 "
                       "-o json")
    if "iperf Done" in one.run(connect, check=False):
        raise LabError("a blocked port was reached")
    check.cnsmo(f"sdn filter delete {json.loads(made)['id']} --wait=30")
    one.run(connect)
    two.run("pkill iperf3")
    check.ok("a port is blocked, and open again")


def check(check):
    turn(check, on=True)
    for vm in check.nodes:
        wait_for(f"the kernel's datapath on {vm.name}", lambda vm=vm: is_kernel(check, vm), 60)
    check.ok("sdn on every node, on the kernel's datapath")
    check.mesh()
    blocks(check)
    counts_exactly(check)
    turn(check, on=False)
    check.mesh()
    for vm in check.nodes:
        left = vm.run("ip netns; ovs-vsctl list-br; ip -br link | grep cnsmo-", check=False)
        if left.strip():
            raise LabError(f"{vm.name} still has {left}")
    check.ok("sdn off, and nothing of it is left")


def rate(check):
    one, two = check.nodes[1], check.nodes[2]
    address = check.addresses()[two.name]
    out = one.run(f"iperf3 -J -c {address} -p 5203 -t {SECONDS}", timeout=60)
    ping = one.run(f"ping -nq -i 0.01 -c 200 {address}", timeout=60)
    return (json.loads(out)["end"]["sum_received"]["bits_per_second"] / 1e6,
            float(re.search(r"= [\d.]+/([\d.]+)/", ping)[1]))


def compare(check):
    """Printed, not judged: software emulation is no place for a verdict."""
    found = {True: [], False: []}
    check.nodes[2].run("iperf3 -s -D -p 5203")
    for _ in range(ROUNDS):
        for on in (True, False):
            turn(check, on)
            wait_for("the way", lambda: check.pings(
                check.nodes[1], check.addresses()[check.nodes[2].name]), 30)
            rate(check)  # the first one warms the emulator up
            found[on].append(rate(check))
    check.nodes[2].run("pkill iperf3")
    for on, results in found.items():
        print(f"sdn {'on' if on else 'off'}: Mbit/s {[round(one[0], 1) for one in results]}, "
              f"ping ms {[one[1] for one in results]}", flush=True)
    ratios = sorted(with_[0] / without[0] for with_, without in zip(found[True], found[False]))
    print(f"TCP with sdn on, of off: median {100 * ratios[len(ratios) // 2]:.1f} %", flush=True)
