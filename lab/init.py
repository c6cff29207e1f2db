"""init.py - process 1 of a lab machine: its mounts, its name, then reap orphans until killed.

    unshare … python3 init.py LAB NAME SPEC

LAB and NAME are there to be found in /proc (lab/processes.py). SPEC is JSON: {"ready": fd,
"upper": folder for the machine's own /etc and /var/lib, "logs": folder that becomes /var/log,
"bin": folder with the programs}. One line is written to `ready` when the machine may be entered.
"""
import ctypes
import errno
import hashlib
import json
import os
import signal
import socket
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
MS_BIND = 4096


def mount(source, target, kind, flags=0, options=""):
    if LIBC.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags),
                  options.encode()) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mount {kind} on {target}: {os.strerror(code)}")


def overlay(lowers, target, folder):
    for name in ("upper", "work"):
        os.makedirs(f"{folder}/{name}", exist_ok=True)
    mount("overlay", target, "overlay", 0,
          f"lowerdir={lowers},upperdir={folder}/upper,workdir={folder}/work")


def furnish(name, spec):
    """Stock paths then work unchanged, and what one machine writes no other sees."""
    for target, mode in (("/run", "0755"), ("/dev/shm", "1777")):
        mount("tmpfs", target, "tmpfs", 0, f"mode={mode}")
    os.mkdir("/run/lock")
    mount("sysfs", "/sys", "sysfs")  # shows this network namespace's devices
    os.makedirs(spec["logs"], exist_ok=True)
    mount(spec["logs"], "/var/log", "none", MS_BIND)
    overlay("/etc", "/etc", spec["upper"] + "/etc")
    overlay("/var/lib", "/var/lib", spec["upper"] + "/lib")
    if spec.get("bin"):
        overlay(spec["bin"] + ":/usr/local/bin", "/usr/local/bin", spec["upper"] + "/bin")
    socket.sethostname(name)
    with open("/etc/hostname", "w", encoding="ascii") as file:
        file.write(name + "\n")
    with open("/etc/machine-id", "w", encoding="ascii") as file:
        file.write(hashlib.md5(name.encode()).hexdigest() + "\n")


def reap():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except OSError as error:
            if error.errno != errno.ECHILD:
                raise
        # A child that ends between the two is seen by the timeout at the latest.
        signal.sigtimedwait({signal.SIGCHLD}, 1)


def main():
    name, spec = sys.argv[2], json.loads(sys.argv[3])
    furnish(name, spec)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    os.write(spec["ready"], b"ready\n")
    os.close(spec["ready"])
    reap()


main()
