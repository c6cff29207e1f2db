"""machine.py - one machine of the lab: net, mount, uts, ipc and pid namespaces of its own.

/run and /dev/shm are empty at each boot; /etc, /var/lib, /usr/local/bin and /var/log are the
machine's own and outlive a restart, as on a real one. Nothing but its process 1 holds the
namespaces, so killing that is pulling the plug.
"""
import json
import os
import pathlib
import re
import select
import shutil
import subprocess

from lab import processes
from lab.processes import LabError, wait_for

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What a machine of Debian 12 has, instead of what the machine that runs the lab has.
SYSCTLS = {"net.ipv4.ip_forward": 0, "net.ipv4.conf.all.rp_filter": 2,
           "net.ipv4.conf.default.rp_filter": 2, "net.ipv4.conf.all.src_valid_mark": 0,
           # No second of "tentative" addresses at each boot.
           "net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0}


class Process:
    """A program that runs in a machine, until it ends or is stopped."""

    def __init__(self, machine, argv, **options):
        self.machine = machine
        self.popen = subprocess.Popen(machine.enter(argv), **options)

    @property
    def pid(self):
        """Its pid as seen from outside the machine (nsenter's child), or None once it ended."""
        found = processes.children(self.popen.pid)
        return found[0] if found else None

    def signal(self, number):
        pid = self.pid
        if pid:
            os.kill(pid, number)

    def wait(self, timeout=None):
        return self.popen.wait(timeout)

    def stop(self, timeout=10):
        """SIGTERM, then SIGKILL after the timeout. Returns the exit status."""
        if self.popen.poll() is None:
            self.signal(15)
            try:
                self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self.signal(9)
        return self.popen.wait(timeout)


class Machine:
    def __init__(self, lab_folder, name, bin_folder=None):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,14}", name):
            raise LabError(f"a machine cannot be called {name!r}: at most 15 letters, digits, . or -")
        self.name = name
        self.lab_folder = str(lab_folder)
        self.logs = pathlib.Path(lab_folder) / "logs" / name
        self.upper = pathlib.Path(lab_folder) / "fs" / name
        self.bin_folder = bin_folder
        self.pid = None

    # --- life -----------------------------------------------------------------------------------

    def boot(self):
        """Starts the namespaces; no cable yet."""
        self.logs.mkdir(parents=True, exist_ok=True)
        reader, writer = os.pipe()
        spec = {"ready": writer, "upper": str(self.upper), "logs": str(self.logs / "var")}
        if self.bin_folder:
            spec["bin"] = str(self.bin_folder)
        argv = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child",
                "--propagation", "private", "--mount-proc", "/usr/bin/python3", "-S", "-E",
                processes.INIT, self.lab_folder, self.name, json.dumps(spec)]
        with open(self.logs / "init.log", "ab") as log:
            subprocess.Popen(argv, pass_fds=[writer], stdin=subprocess.DEVNULL, stdout=log,
                             stderr=log, start_new_session=True, cwd="/")
        os.close(writer)
        ready = select.select([reader], [], [], 20)[0] and os.read(reader, 16)
        os.close(reader)
        if ready != b"ready\n":
            raise LabError(f"{self.name} did not boot: see {self.logs}/init.log")
        self.find()
        self.ip("link set lo up")
        self.sysctl(SYSCTLS)

    def find(self):
        """Takes up a machine that runs already."""
        self.pid = processes.machines(self.lab_folder).get(self.name)
        if not self.pid:
            raise LabError(f"{self.name} does not run")
        return self

    def kill(self):
        """The plug is pulled: everything in the machine is gone at once, what is on disk stays."""
        processes.kill_all(self.lab_folder, self.name)
        self.pid = None

    # --- programs -------------------------------------------------------------------------------

    def enter(self, argv):
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-u", "-i", "-p", "--", *map(str, argv)]

    def environment(self, extra=None):
        keep = {key: value for key, value in os.environ.items()
                if key in ("LANG", "TERM", "HOME") or key.endswith("SAN_OPTIONS")}
        return {"PATH": PATH, **keep, **(extra or {})}

    def run(self, argv, check=True, timeout=60, stdin=None, env=None):
        """Runs to the end; stdout and stderr are text. LabError when it fails and `check`."""
        process = Process(self, argv, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=self.environment(env), errors="replace")
        try:
            out, err = process.popen.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            process.signal(9)
            process.popen.communicate()
            raise LabError(f"{self.name}: {' '.join(map(str, argv))} took more than {timeout} s")
        code = process.popen.returncode
        if check and code:
            raise LabError(f"{self.name}: {' '.join(map(str, argv))} ended with {code}: "
                           f"{(err or out).strip()[-2000:]}")
        return subprocess.CompletedProcess(argv, code, out, err)

    def out(self, argv, **options):
        return self.run(argv, **options).stdout

    def spawn(self, argv, log=None, env=None, **options):
        """Starts in the background. Output goes to /var/log/<log> of the machine, or nowhere."""
        options.setdefault("stdin", subprocess.DEVNULL)
        sink = open(self.log_path(log), "ab") if log else open(os.devnull, "wb")
        with sink:
            options.setdefault("stdout", sink)
            options.setdefault("stderr", sink)
            return Process(self, argv, env=self.environment(env), start_new_session=True, **options)

    def log_path(self, log):
        """Where a file under the machine's /var/log is, seen from outside."""
        path = self.logs / "var" / log
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def processes(self, name):
        """Host's pids of the programs in this machine whose executable or argv[0] is `name`."""
        found = []
        namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
        for entry in os.listdir("/proc"):
            try:
                if (entry.isdigit() and processes.alive(entry)
                        and os.readlink(f"/proc/{entry}/ns/pid") == namespace):
                    argv = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                    if os.path.basename(argv[0].decode()) == name:
                        found.append(int(entry))
            except OSError:
                continue
        return found

    def signal_processes(self, name, number):
        """Sends a signal to every program called `name` in this machine; returns their pids."""
        pids = self.processes(name)
        for pid in pids:
            os.kill(pid, number)
        return pids

    def kill_processes(self, name, number=9):
        """Kills every program called `name` in this machine and waits until it is gone."""
        pids = self.signal_processes(name, number)
        wait_for(f"the end of {name} on {self.name}",
                 lambda: not any(processes.alive(pid) for pid in pids), 20)
        return pids

    # --- network --------------------------------------------------------------------------------

    def ip(self, *commands):
        """`ip` commands without the word ip, all in one process."""
        self.run(["ip", "-batch", "-"], stdin="\n".join(commands) + "\n")

    def nft(self, rules):
        self.run(["nft", "-f", "-"], stdin=rules)

    def sysctl(self, values):
        self.run(["sysctl", "-qw", *(f"{key}={value}" for key, value in values.items())])

    def ping(self, address, count=1, timeout=1, size=56):
        return self.run(["ping", "-n", "-q", "-c", count, "-W", timeout, "-i", "0.2", "-s", size,
                         address], check=False, timeout=60 + count).returncode == 0

    # --- faults ---------------------------------------------------------------------------------

    def fill(self, folder, size):
        """Puts a small file system on a folder and fills it to the last byte."""
        self.run(["mkdir", "-p", folder])
        self.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", folder])
        self.run(["dd", "if=/dev/zero", f"of={folder}/.filler", "bs=4096"], check=False)

    def unfill(self, folder):
        self.run(["rm", "-f", f"{folder}/.filler"])

    # --- what it looks like ---------------------------------------------------------------------

    STATE = {"links": "ip -d link", "addresses": "ip addr", "rules": "ip rule",
             "routes": "ip route show table all", "routes6": "ip -6 route show table all",
             "neighbours": "ip neigh", "nft": "nft list ruleset", "wg": "wg show all",
             "sockets": "ss -anp", "processes": "ps -ef", "etc": "find /etc -newer /proc/1 -type f"}

    def keep_state(self, folder):
        """Writes the state of the host's network to a folder, for whoever looks at a failure."""
        folder = pathlib.Path(folder) / self.name
        folder.mkdir(parents=True, exist_ok=True)
        for name, command in self.STATE.items():
            try:
                done = self.run(command.split(), check=False, timeout=10)
                (folder / f"{name}.txt").write_text(done.stdout + done.stderr)
            except (LabError, OSError) as error:
                (folder / f"{name}.txt").write_text(f"{error}\n")
        shutil.copytree(self.logs, folder / "logs", dirs_exist_ok=True)
