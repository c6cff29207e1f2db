"""others.py - the programs that CNSMO is compared with, on the machines of the lab.

Each knows how to make its keys and files beforehand, the command that starts it on a machine, the
address that it has there, and how to end it. Addresses are apart from all others'.
"""
import pathlib
import shutil
import subprocess

from lab.processes import wait_for


def write(host, path, text, mode=0o600):
    host.run(["mkdir", "-p", str(pathlib.Path(path).parent)])
    host.run(["sh", "-c", f"umask 077 && cat > '{path}' && chmod {mode:o} '{path}'"], stdin=text)


class Other:
    """`base` is the first two numbers of its addresses; machine i has base.0.(1 + i)."""

    def __init__(self, lab, names):
        """names[0] is the one that the others reach at a known address."""
        self.lab, self.names = lab, names

    def address(self, name):
        return f"{self.base}.0.{1 + self.names.index(name)}"

    def underlay(self, name):
        return self.lab.topology.address(name)

    def start(self, name):
        host = self.lab.host(name)
        host.spawn(self.command(name), log=f"{self.program}.log")
        wait_for(f"{self.program} on {name}", lambda: host.ping(self.address(name)), 10)

    def stop(self, name):
        self.lab.host(name).kill_processes(self.program, 15)

    def renew(self):
        """The first one's begins anew, before others are started: tinc doesn't send to a node that
        was there just now and comes again."""
        self.stop(self.names[0])
        self.start(self.names[0])


class Nebula(Other):
    program, base = "nebula", "10.201"

    def prepare(self, folder):
        folder = pathlib.Path(folder) / "nebula"
        folder.mkdir()
        self._cert(folder, "ca", "-name", "bench")
        for name in self.names:
            self._cert(folder, "sign", "-name", name, "-ip", f"{self.address(name)}/16")
            host = self.lab.host(name)
            for source, target in (("ca.crt", "ca.crt"), (f"{name}.crt", "host.crt"),
                                   (f"{name}.key", "host.key")):
                write(host, f"/etc/nebula/{target}", (folder / source).read_text())
            write(host, "/etc/nebula/config.yml", self._config(name))
        shutil.rmtree(folder)

    @staticmethod
    def _cert(folder, *args):
        subprocess.run(["nebula-cert", *args], cwd=folder, check=True, capture_output=True)

    def _config(self, name):
        first = self.names[0]
        here, there = self.address(first), self.underlay(first)
        hosts = "[]" if name == first else f'["{here}"]'
        rule = "[{port: any, proto: any, host: any}]"
        return (f"pki: {{ca: /etc/nebula/ca.crt, cert: /etc/nebula/host.crt, "
                f"key: /etc/nebula/host.key}}\n"
                f'static_host_map: {{"{here}": ["{there}:4242"]}}\n'
                f"lighthouse: {{am_lighthouse: {str(name == first).lower()}, interval: 60, "
                f"hosts: {hosts}}}\n"
                f"listen: {{host: 0.0.0.0, port: 4242}}\npunchy: {{punch: true}}\ncipher: aes\n"
                f"tun: {{dev: nebula1, mtu: 1300}}\nlogging: {{level: error, format: text}}\n"
                f"firewall: {{outbound: {rule}, inbound: {rule}}}\n")

    def command(self, name):
        return ["nebula", "-config", "/etc/nebula/config.yml"]


class Tinc(Other):
    program, base = "tincd", "10.202"

    def prepare(self, folder):
        for name in self.names:
            host = self.lab.host(name)
            first = "" if name == self.names[0] else f"ConnectTo = {self._id(self.names[0])}\n"
            write(host, "/etc/tinc/bench/tinc.conf",
                  f"Name = {self._id(name)}\nInterface = tinc1\n{first}")
            write(host, "/etc/tinc/bench/tinc-up",
                  f"#!/bin/sh\nip link set $INTERFACE up\n"
                  f"ip addr add {self.address(name)}/16 dev $INTERFACE\n", 0o700)
            write(host, f"/etc/tinc/bench/hosts/{self._id(name)}",
                  f"Address = {self.underlay(name)}\nSubnet = {self.address(name)}/32\n")
            host.run(["tincd", "-n", "bench", "-K", "2048"], stdin="\n\n", timeout=120)
        self._exchange_keys()

    def _exchange_keys(self):
        """The first one knows all, and all know it."""
        first = self.names[0]
        path = "/etc/tinc/bench/hosts/"
        texts = {name: self.lab.host(name).out(["cat", path + self._id(name)])
                 for name in self.names}
        for name in self.names[1:]:
            write(self.lab.host(first), path + self._id(name), texts[name])
            write(self.lab.host(name), path + self._id(first), texts[first])

    @staticmethod
    def _id(name):
        return name.replace(".", "_")

    def command(self, name):
        return ["tincd", "-n", "bench", "-D"]


class BareWireguard(Other):
    """wireguard-go (or the kernel's device, where there is one) between two machines, by hand."""

    program, base = "wireguard-go", "10.203"
    device = "bare0"

    def prepare(self, folder):
        keys = {name: self.lab.host(name).out(["wg", "genkey"]).strip() for name in self.names}
        self.keys = keys
        self.public = {name: self.lab.host(name).out(["wg", "pubkey"], stdin=key).strip()
                       for name, key in keys.items()}

    def start(self, name):
        host, (peer,) = self.lab.host(name), [one for one in self.names if one != name]
        if host.run(["ip", "link", "add", self.device, "type", "wireguard"],
                    check=False).returncode:
            # In a session of its own, as every other program here: where the scheduler groups by
            # session (sched_autogroup), two that share one get half the time, and another rate.
            host.spawn(["wireguard-go", "-f", self.device], log="bare-wireguard.log")
            wait_for(f"the device {self.device}", lambda: self.is_up(host), 10)
        write(host, "/run/bare.conf",
              f"[Interface]\nPrivateKey = {self.keys[name]}\nListenPort = 51999\n"
              f"[Peer]\nPublicKey = {self.public[peer]}\n"
              f"Endpoint = {self.underlay(peer)}:51999\nAllowedIPs = {self.address(peer)}/32\n")
        host.run(["wg", "setconf", self.device, "/run/bare.conf"])
        host.ip(f"addr add {self.address(name)}/16 dev {self.device}",
                f"link set {self.device} mtu 1420 up")

    def is_up(self, host):
        return host.run(["wg", "show", self.device], check=False).returncode == 0

    def stop(self, name):
        self.lab.host(name).run(["ip", "link", "del", self.device], check=False)


class BareOpenvpn(Other):
    """openvpn between two machines, by hand: TLS, and AES-256-GCM for the data."""

    program, base = "openvpn", "10.204"

    def prepare(self, folder):
        self.fingerprints = {}
        for name in self.names:
            host = self.lab.host(name)
            host.run(["mkdir", "-p", "/run/bare-openvpn"])
            host.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                      "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-days", "30",
                      "-keyout", "/run/bare-openvpn/key", "-out", "/run/bare-openvpn/cert"])
            line = host.out(["openssl", "x509", "-in", "/run/bare-openvpn/cert", "-noout",
                             "-fingerprint", "-sha256"])
            self.fingerprints[name] = line.strip().split("=")[1]

    def command(self, name):
        (peer,) = [one for one in self.names if one != name]
        role = ["--tls-server", "--dh", "none"] if name == self.names[1] else [
            "--tls-client", "--remote", self.underlay(peer), "51998"]
        return ["openvpn", "--dev", "bare1", "--dev-type", "tun", "--proto", "udp", "--port",
                "51998", "--ifconfig", self.address(name), self.address(peer), "--cert",
                "/run/bare-openvpn/cert", "--key", "/run/bare-openvpn/key",
                "--peer-fingerprint", self.fingerprints[peer], "--data-ciphers", "AES-256-GCM",
                "--cipher", "AES-256-GCM", "--tun-mtu", "1420", "--auth-nocache", *role]

    def start(self, name):
        self.processes = getattr(self, "processes", {})
        self.processes[name] = self.lab.host(name).spawn(self.command(name),
                                                         log="bare-openvpn.log")

    def stop(self, name):
        self.processes.pop(name).stop()  # the overlay's is called openvpn too
