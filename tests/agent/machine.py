"""machine.py - one machine as a set of namespaces, with cnsmod and an agent on it.

Network, mounts and processes are its own, /run and /tmp/m are empty, so that nothing of what a test
does or forgets stays on the machine that runs the tests. Needs root."""
import json
import os
import pathlib
import re
import signal
import subprocess
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("CNSMO_BUILD", TOP / "build")) / "src"
DEADLINE = 30
STATE, RUN, LOG = "/tmp/m/state", "/run/agent", "/tmp/m/log"
FOLDERS = ["--state-dir", STATE, "--run-dir", RUN, "--log-dir", LOG]
BAD_LOG = re.compile(r"runtime error:|\w+Sanitizer|Assertion .* failed")


def until(what, condition, deadline=DEADLINE):
    """Polls until the condition gives something, and returns that."""
    end = time.monotonic() + deadline
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.05)


class Machine:
    def __init__(self):
        self.holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "-n", "-m", "-p",
                                        "--fork", "--kill-child",
                                        "--mount-proc", "sleep", "infinity"])
        children = pathlib.Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children")
        self.init = until("the namespaces", lambda: children.read_text().strip())
        until("its processes", lambda: self.run("test", "-e", "/proc/1/comm").returncode == 0)
        self.logs = []
        self.server = None
        self.password = None
        for command in (["mount", "-t", "tmpfs", "run", "/run"],
                        ["mkdir", "-p", "/tmp/m"],
                        ["mount", "-t", "tmpfs", "m", "/tmp/m"],
                        ["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1",
                         "net.ipv6.conf.default.disable_ipv6=1"],
                        ["ip", "link", "set", "lo", "up"],
                        ["ip", "link", "add", "net0", "type", "bridge"],
                        ["ip", "address", "add", "192.0.2.1/24", "dev", "net0"],
                        ["ip", "link", "set", "net0", "up"]):
            self.do(*command)

    def enter(self, *command):
        return ["nsenter", "-t", self.init, "-n", "-m", "-p", *command]

    def run(self, *command, **kwargs):
        environment = dict(os.environ, CNSMO_URL="https://127.0.0.1:8443",
                           CNSMO_CA="/tmp/m/server/pki/root.pem", CNSMO_USER="admin",
                           CNSMO_PASSWORD=getattr(self, "password", None) or "")
        return subprocess.run(self.enter(*command), env=environment, timeout=60, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)

    def do(self, *command):
        """Must succeed; gives its output."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def exists(self, path):
        return self.run("test", "-e", path).returncode == 0

    # --- programs -------------------------------------------------------------------------------

    def start(self, *command):
        process = subprocess.Popen(self.enter("sh", "-c", 'exec "$@" >>/tmp/m/programs.log 2>&1',
                                              "sh", *command))
        return process

    def serve(self):
        self.server = self.start(BUILD / "server/cnsmod", "run", "--config", "/dev/null",
                                 "--state-dir", "/tmp/m/server", "--advertise", "127.0.0.1")
        until("cnsmod serves", lambda: self.run(
            "curl", "-sf", "--cacert", "/tmp/m/server/pki/root.pem",
            "https://127.0.0.1:8443/readyz").returncode == 0)
        self.password = self.do("cat", "/tmp/m/server/admin-password").strip()

    def kill_server(self):
        self.do("pkill", "-9", "-x", "cnsmod")  # there is one in this namespace
        self.server.wait(DEADLINE)

    def cnsmo(self, *arguments):
        return self.do(BUILD / "cli/cnsmo", *arguments)

    def token(self, *arguments):
        return re.search(r"cnsmo1\.[\w-]+", self.cnsmo("token", "create", *arguments)).group()

    def agent(self, command, *arguments):
        return self.run(BUILD / "agent/cnsmo-agent", command, *arguments, *FOLDERS)

    def join(self, *arguments):
        done = self.agent("join", self.token(), "--id", "Agent.1", *arguments)
        assert done.returncode == 0, done.stderr

    def start_agent(self):
        return self.start(BUILD / "agent/cnsmo-agent", "run", *FOLDERS)

    def status(self):
        done = self.agent("status", "-o", "json")
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def agent_pid(self):
        return self.do("cat", RUN + "/agent.pid").strip()

    def stop_agent(self, sign="-TERM"):
        pid = self.agent_pid()
        self.do("kill", sign, pid)
        until("the agent ends", lambda: not self.agent_runs(pid))

    def agent_runs(self, pid):
        state = self.run("cat", f"/proc/{pid}/stat").stdout
        return bool(state) and state.rsplit(")", 1)[1].split()[0] != "Z"

    def child(self):
        text = self.run("cat", RUN + "/children.json").stdout
        return json.loads(text)["wireguard-go"]["pid"] if text else None

    def address(self):
        links = json.loads(self.do("ip", "-j", "-4", "address"))
        return [a["local"] for link in links if link["ifname"] == "cnsmo0"
                for a in link["addr_info"]]

    def is_up(self):
        status = self.status()
        return (status.get("connected") and not status["errors"] and status["applied"] and
                status["services"]["vpn"]["state"] == "running")

    # --- what must be as it was -------------------------------------------------------------------

    def look(self):
        return self.do("sh", "-c", "ip -j link; ip -j address; ip -j route show table all; "
                       "ip -j rule; nft list ruleset; cd /proc/sys/net; "
                       "grep -rs . ipv4 ipv6 | sort; find /etc -type f -newer /tmp/m -print")

    def close(self):
        log = self.run("sh", "-c", "cat /tmp/m/programs.log /tmp/m/log/*.log").stdout
        self.holder.send_signal(signal.SIGKILL)
        self.holder.wait(DEADLINE)
        assert not BAD_LOG.search(log), log
        return log
