"""processes.py - finds and ends a lab's processes, by what /proc says and nothing else.

No file says which processes are ours, so a lab that crashed half way up is found as well. A
machine's process 1 carries the lab's folder and the machine's name as arguments; whatever else
runs in a machine dies with it, since it is process 1 of a pid namespace.
"""
import os
import pathlib
import signal
import time

INIT = str(pathlib.Path(__file__).resolve().parent / "init.py")


class LabError(Exception):
    """What a user may read: one sentence, no traceback."""


def wait_for(what, check, timeout):
    """Polls `check` until it gives something true, and returns it; LabError after the deadline.

    `check` may raise LabError to say why not yet; the last reason is in the error.
    """
    deadline = time.monotonic() + timeout
    reason = ""
    pause = 0.01
    while True:
        try:
            result = check()
            if result:
                return result
        except LabError as error:
            reason = f": {error}"
        if time.monotonic() > deadline:
            raise LabError(f"{what} did not happen within {timeout:g} s{reason}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)


def _status(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def alive(pid):
    """A zombie has no namespace and no memory any more: it counts as gone."""
    state = _status(pid).get("State", "Z")
    return not state.startswith(("Z", "X"))


def children(pid):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and _status(entry).get("PPid", "").strip() == str(pid):
            found.append(int(entry))
    return found


def _marked():
    """(pid, lab, machine) of every process that carries a lab's mark, of whatever lab."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            words = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        words = [word.decode(errors="replace") for word in words]
        for at, word in enumerate(words[:-3]):
            if word.endswith("/lab/init.py") and words[at + 3].startswith("{"):
                yield int(entry), words[at + 1], words[at + 2]


def machines(folder):
    """name → pid of process 1, of the machines of the lab in `folder` that run."""
    found = {}
    for pid, lab, name in _marked():
        if lab == folder and alive(pid) and _status(pid)["NSpid"].split()[-1] == "1":
            found[name] = pid
    return found


def folders():
    """The folders of all labs that run on this machine."""
    return {lab for pid, lab, _ in _marked() if alive(pid)}


def kill_all(folder, name=None):
    """Ends the machines of a lab (or one of them), and returns when they are gone."""
    def victims():
        return [pid for pid, lab, machine in _marked()
                if lab == folder and name in (None, machine) and alive(pid)]

    def gone():
        for pid in victims():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not victims()

    wait_for("the end of the lab's machines", gone, 20)
