"""machine.py - one qemu machine: start, run commands over its virtio console, end."""
import base64
import os
import socket
import subprocess
import time

from lab.processes import LabError, wait_for

# Without AVX and AES-NI software emulation is three times as fast.
QEMU = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "qemu64", "-machine", "q35",
        "-m", "512", "-smp", "1", "-nodefaults", "-display", "none", "-no-reboot"]
APPEND = ("root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off random.trust_cpu=on "
          "quiet panic=-1 init=/cnsmo-init")


class Vm:
    def __init__(self, namespace, number, name, address):
        self.namespace, self.number = namespace, number
        self.name, self.address = name, address
        self.process = self.channel = None
        self.buffer = b""

    def start(self, folder, disk, kernel, initrd, programs):
        own = folder / f"{self.name}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(disk),
                        str(own)], check=True)
        console = folder / f"{self.name}.sock"
        argv = ["ip", "netns", "exec", self.namespace, *QEMU,
                "-serial", f"file:{folder}/{self.name}.log",
                "-drive", f"file={own},if=virtio,format=qcow2,cache=unsafe",
                "-drive", f"file={programs},if=virtio,format=raw,readonly=on",
                "-netdev", f"tap,id=n,ifname=tap{self.number},script=no,downscript=no",
                "-device", f"virtio-net-pci,netdev=n,romfile=,mac=52:54:00:00:00:{self.number:02x}",
                "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
                "-chardev", f"socket,id=c,path={console},server=on,wait=off",
                "-device", "virtconsole,chardev=c", "-kernel", str(kernel), "-initrd", str(initrd),
                "-append", f"{APPEND} cnsmo.name={self.name} cnsmo.address={self.address}/24"]
        with open(folder / f"{self.name}.qemu", "wb") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(f"{self.name}'s console", console.exists, 20)
        self.channel = socket.socket(socket.AF_UNIX)
        self.channel.connect(os.fspath(console))

    def wait_ready(self, timeout=240):
        if self._line(timeout) != b"ready":
            raise LabError(f"{self.name} did not start")

    def _line(self, timeout):
        deadline = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            self.channel.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data = self.channel.recv(65536)
            except TimeoutError:
                raise LabError(f"{self.name} said nothing for {timeout} s") from None
            if not data:
                raise LabError(f"{self.name} ended")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.strip()

    def run(self, command, check=True, timeout=120):
        """One shell command as root; its output, or LabError when it fails and `check`."""
        self.channel.settimeout(20)
        self.channel.sendall(base64.b64encode(command.encode()) + b"\n")
        words = self._line(timeout).split()
        code, output = int(words[1]), base64.b64decode(words[2] if len(words) > 2 else b"").decode()
        if check and code:
            raise LabError(f"{self.name}: {command.splitlines()[0]}: {code}: {output.strip()}")
        return output

    def stop(self):
        if self.channel:
            self.channel.close()
        if self.process:
            self.process.kill()
            self.process.wait()
