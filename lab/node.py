"""node.py - a machine that runs CNSMO's programs."""
import json
import os
import pathlib
import shutil

from lab.ovs import OvsMachine
from lab.processes import LabError, wait_for

AGENT_LOG = "cnsmo-agent/agent.log"
SERVER_LOG = "cnsmod/cnsmod.log"
STATE = "/var/lib/cnsmo-agent"
# cnsmod needs no privilege: in the lab it is nobody.
UNPRIVILEGED = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                "--no-new-privs"]


def clock_shift(shift):
    """Environment that shifts a program's wall clock, such as "+1d"; its other clocks stay."""
    found = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        raise LabError("libfaketime is not installed: run ./dev deps")
    asan = os.environ.get("ASAN_OPTIONS", "")
    return {"LD_PRELOAD": str(found[0]), "FAKETIME": shift, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "ASAN_OPTIONS": f"{asan}:verify_asan_link_order=0".lstrip(":")}


class Node(OvsMachine):
    """A machine with an agent."""

    def join(self, token, *options, check=True, env=None, timeout=60):
        return self.run(["cnsmo-agent", "join", token, *options], check=check, env=env,
                        timeout=timeout)

    def leave(self, *options, check=True):
        return self.run(["cnsmo-agent", "leave", *options], check=check)

    def status(self):
        return json.loads(self.out(["cnsmo-agent", "status", "-o", "json"]))

    def joined(self):
        return self.run(["test", "-e", f"{STATE}/agent.json"], check=False).returncode == 0

    def agent_pid(self):
        found = self.processes("cnsmo-agent")
        return found[0] if found else None

    def start_agent(self, env=None):
        """What the machine's systemd would do: `run`, in the background, log kept."""
        return self.spawn(["cnsmo-agent", "run"], log=AGENT_LOG, env=env)

    def stop_agent(self, number=15):
        """Ends the agent alone; its children and the overlay stay."""
        return self.kill_processes("cnsmo-agent", number)

    def restart_agent(self, number=15, env=None):
        self.stop_agent(number)
        return self.start_agent(env)

    def replace_program(self, name, path):
        """An upgrade in place: a new file under the old name, on this machine only."""
        copy = f"/usr/local/bin/.{name}.new"
        self.run(["cp", path, copy])
        self.run(["mv", copy, f"/usr/local/bin/{name}"])

    def agent_log(self):
        path = self.log_path(AGENT_LOG)
        return path.read_text(errors="replace") if path.exists() else ""


class ServerNode(Node):
    """The machine that runs cnsmod, and usually an agent too."""

    server_options = ()

    def init_server(self, user, password):
        self.run(["install", "-d", "-m", "0700", "-o", "65534", "-g", "65534",
                  "/var/lib/cnsmod", "/run/cnsmod"])
        self.run(["sh", "-c", "umask 077 && cat > /run/cnsmod/password && "
                  "chown 65534 /run/cnsmod/password"], stdin=password)
        self.run([*UNPRIVILEGED, "cnsmod", "init", *self.server_options, "--admin", user,
                  "--password-file", "/run/cnsmod/password"])
        self.run(["rm", "/run/cnsmod/password"])

    def start_server(self, env=None):
        process = self.spawn([*UNPRIVILEGED, "cnsmod", "run", *self.server_options],
                             log=SERVER_LOG, env=env)
        self.wait_ready(process)
        return process

    def wait_ready(self, process=None):
        def ready():
            if process and process.popen.poll() is not None:
                tail = self.server_log().strip().splitlines()[-3:]
                raise LabError("cnsmod ended: " + " / ".join(tail))
            probe = ["curl", "-sko", "/dev/null", "-w", "%{http_code}",
                     "https://127.0.0.1:8443/readyz"]
            return self.run(probe, check=False).stdout == "200"
        wait_for("cnsmod to be ready", ready, 20)

    def stop_server(self, number=15):
        return self.kill_processes("cnsmod", number)

    def server_log(self):
        path = self.log_path(SERVER_LOG)
        return path.read_text(errors="replace") if path.exists() else ""


def install_programs(build, folder):
    """Copies the programs of a build into a folder that becomes every machine's /usr/local/bin."""
    folder.mkdir(parents=True)
    for program in ("server/cnsmod", "agent/cnsmo-agent", "cli/cnsmo"):
        source = pathlib.Path(build) / "src" / program
        if not source.exists():
            raise LabError(f"{source} is not built: run ./dev build")
        shutil.copy2(source, folder / source.name)
