"""The lab itself: one at a time, and nothing left behind, even after a crash half way up."""
import os
import pathlib
import signal
import stat
import subprocess
import sys

import pytest

from lab.lab import TOP, Lab
from lab.processes import LabError, machines, wait_for

LAB = {"nodes": 1, "clouds": 1}


def traces(lab):
    """What a lab in this folder has on the machine that runs it."""
    found = [f"process {name}" for name in machines(str(lab.folder))]
    mounts = pathlib.Path("/proc/self/mounts").read_text()
    found += [f"mount {line}" for line in mounts.splitlines() if f" {lab.folder}/" in line]
    links = os.listdir("/sys/class/net")
    found += [f"link {name}" for name in links if name == lab.topology.host_device]
    found += [f"folder {lab.folder}"] if lab.folder.exists() else []
    return found


def test_env_is_private_and_works(lab):
    path = lab.folder / "env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = subprocess.run(["bash", "-c", f"set -a; . {path}; curl -s --cacert $CNSMO_CA "
                            "-o /dev/null -w '%{http_code}' $CNSMO_URL/readyz"],
                           capture_output=True, text=True, check=True)
    assert shown.stdout == "200"


def test_second_lab_is_refused(lab):
    with pytest.raises(LabError, match="a lab runs already"):
        Lab(slot=lab.slot, build=os.environ.get("CNSMO_BUILD")).up()
    assert lab.host("Agent.1").ping(lab.overlay_address("Server"))


def test_exec_and_status(lab):
    env = {**os.environ, "CNSMO_LAB_SLOT": str(lab.slot)}
    shown = subprocess.run(["./dev", "lab", "exec", "Agent.1", "hostname"], cwd=TOP, env=env,
                           capture_output=True, text=True, check=True)
    assert shown.stdout == "Agent.1\n"
    failing = subprocess.run(["./dev", "lab", "exec", "Agent.1", "sh", "-c", "exit 7"], cwd=TOP,
                             env=env, check=False)
    assert failing.returncode == 7
    shown = subprocess.run(["./dev", "lab", "status"], cwd=TOP, env=env, capture_output=True,
                           text=True, check=True)
    assert "Agent.1" in shown.stdout and "connected" in shown.stdout


HALF = """
import os, sys
sys.path.insert(0, {top!r})
from lab.lab import Lab
lab = Lab(nodes=2, clouds=2, nat=1, slot={slot}, folder={folder!r}, build={build!r})
lab.prepare()
lab.host("Agent.1").spawn(["sleep", "1000"])
print("half", flush=True)
sys.stdin.read()
"""


def test_down_after_a_crash_half_way(tmp_path):
    folder = tmp_path / "lab"
    lab = Lab(slot=9, folder=folder)
    text = HALF.format(top=str(TOP), slot=9, folder=str(folder), build=os.environ["CNSMO_BUILD"])
    half = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)
    assert half.stdout.readline() == b"half\n"
    half.send_signal(signal.SIGKILL)
    half.wait()
    assert len(traces(lab)) > 3
    lab.down()
    wait_for("the end of every trace", lambda: not traces(lab), 5)


def test_open_vswitch_runs_where_sdn_does(tmp_path):
    lab = Lab(nodes=1, clouds=1, slot=9, folder=tmp_path / "lab", services=["vpn", "sdn"],
              build=os.environ["CNSMO_BUILD"])
    lab.prepare()
    try:
        host = lab.host("Agent.1")
        host.run(["ovs-vsctl", "--timeout=10", "add-br", "x0", "--", "set", "bridge", "x0",
                  "datapath_type=netdev"])
        before = host.processes("ovs-vswitchd")
        host.restart_vswitchd()
        assert host.processes("ovs-vswitchd") != before
        ask = ["ovs-appctl", "--timeout=1", "-t", "ovs-vswitchd", "version"]
        host.hang_vswitchd()
        assert host.run(ask, check=False).returncode != 0
        host.resume_vswitchd()
        assert host.run(ask).returncode == 0
        lab.restart("Agent.1")
        assert host.out(["ovs-vsctl", "--timeout=10", "list-br"]).split() == ["x0"]
        host.stop_ovs()
        assert not host.ovs_runs()
    finally:
        lab.down()


def test_open_vswitch_can_be_missing(tmp_path):
    lab = Lab(nodes=0, slot=9, folder=tmp_path / "lab", services=["vpn", "sdn"], ovs=False,
              build=os.environ["CNSMO_BUILD"])
    lab.prepare()
    try:
        assert not lab.host("Server").ovs_runs()
    finally:
        lab.down()


def test_a_failed_start_leaves_only_logs(tmp_path):
    lab = Lab(nodes=1, clouds=1, slot=9, folder=tmp_path / "lab", build=os.environ["CNSMO_BUILD"])
    lab.services = ["no-such-service"]
    with pytest.raises(Exception):
        lab.up()
    wait_for("the end of every trace", lambda: not traces(lab), 5)
    assert list((tmp_path / "lab-failed").glob("Server/logs/var/cnsmod/*.log"))
