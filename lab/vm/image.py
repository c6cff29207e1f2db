"""image.py - the disk, kernel and initrd that every machine of `./dev check --vm` starts from.

Built into build-vm/ (some minutes, again when this file changes) from the Debian mirror that this
machine itself uses.
No systemd: process 1 is a short script that loads modules, takes its address from the kernel's
command line and then runs what comes in over a virtio console (lab/vm/machine.py).
"""
import hashlib
import os
import pathlib
import shutil
import subprocess

from lab.processes import LabError

RELEASE = "bookworm"
# What our programs need at run time, and what the check uses.
PACKAGES = ["linux-image-cloud-amd64", "kmod", "iproute2", "iputils-ping", "procps", "nftables",
            "wireguard-tools", "openvpn", "ca-certificates", "curl", "libuv1", "libmicrohttpd12", "libgnutls30",
            "libjansson4", "libsqlite3-0", "libsodium23", "libcurl3-gnutls", "libnl-route-3-200",
            "libsmartcols1", "libqrencode4", "openvswitch-switch", "socat", "iperf3"]
# The module for OpenVPN's data-channel offload is built from source; what that needs is removed again.
OFFLOAD = ["openvpn-dco-dkms", "linux-headers-cloud-amd64"]
# In the initrd: the root file system's driver and those it needs.
INITRD_MODULES = ["virtio_pci", "virtio_blk", "ext4"]

INIT = r"""#!/bin/sh
export PATH=/opt/cnsmo:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp; mount -o remount,rw /
modprobe -a virtio_net virtio_console virtio_rng wireguard nf_tables tun ovpn-dco-v2
for word in $(cat /proc/cmdline); do
    case $word in cnsmo.name=*) name=${word#*=} ;; cnsmo.address=*) address=${word#*=} ;; esac
done
hostname "$name"; echo "$name" >/etc/hostname
ip link set lo up; ip addr add "$address" dev eth0; ip link set eth0 up
mount -o ro /dev/vdb /opt
until [ -e /dev/hvc0 ]; do sleep 0.1; done
exec <>/dev/hvc0 >&0; stty raw -echo
# One request a line: base64 of a command. One answer a line: base64 of the output, exit status.
echo ready
while read -r line; do
    echo "$line" | base64 -d >/tmp/command
    setsid sh /tmp/command </dev/null >/tmp/output 2>&1
    code=$?
    printf 'answer %s %s\n' "$code" "$(base64 -w0 </tmp/output)"
done
"""


def run(*argv, **options):
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise LabError(f"{' '.join(map(str, argv[:4]))} …: {(done.stderr or done.stdout)[-1500:]}")
    return done.stdout


def mirror():
    """Where this machine's own apt gets the release from."""
    lines = run("apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)",
                "Created-By: Packages").splitlines()
    for line in lines:
        codename, uri = line.split()
        if codename == RELEASE:
            return uri
    raise LabError(f"apt knows no source for {RELEASE}")


# With /proc, which goes away with the command's mount namespace.
ENTER = 'mount -t proc proc "$0/proc"; ln -sfn /proc/self/fd "$0/dev/fd"; exec chroot "$0" "$@"'


def build_root(root):
    run("debootstrap", "--variant=minbase", RELEASE, str(root), mirror())
    chroot = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, str(root), "env",
              "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"]
    (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (root / "usr/sbin/policy-rc.d").chmod(0o755)
    run(*chroot, "apt-get", "install", "-qq", "-y", "--no-install-recommends", "initramfs-tools")
    (root / "etc/initramfs-tools/modules").write_text("\n".join(INITRD_MODULES) + "\n")
    settings = root / "etc/initramfs-tools/initramfs.conf"
    settings.write_text(settings.read_text().replace("MODULES=most", "MODULES=list"))
    run(*chroot, "apt-get", "install", "-qq", "-y", "--no-install-recommends", *PACKAGES)
    build_offload(root, chroot)
    run(*chroot, "apt-get", "clean")
    init = root / "cnsmo-init"
    init.write_text(INIT)
    init.chmod(0o755)


def build_offload(root, chroot):
    before = set(run(*chroot, "dpkg-query", "-Wf", "${Package}\n").split())
    run(*chroot, "apt-get", "install", "-qq", "-y", "--no-install-recommends", *OFFLOAD)
    built = next(root.glob("lib/modules/*/updates/dkms/ovpn-dco-v2.ko*"))
    release = built.parent.parent.parent
    kept = root / built.name
    shutil.copy(built, kept)
    added = set(run(*chroot, "dpkg-query", "-Wf", "${Package}\n").split()) - before
    run(*chroot, "apt-get", "purge", "-qq", "-y", *sorted(added))
    (release / "extra").mkdir()
    shutil.move(kept, release / "extra" / built.name)
    run(*chroot, "depmod", release.name)


def ensure(folder):
    """Builds what is missing or older than this file; gives (disk, kernel, initrd)."""
    version = hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest()[:12]
    folder = pathlib.Path(folder) / version
    disk, kernel, initrd = (folder / name for name in ("disk.ext4", "kernel", "initrd"))
    if disk.exists():
        return disk, kernel, initrd
    for older in folder.parent.glob("*"):
        shutil.rmtree(older, ignore_errors=True)
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    print("vm: building the image, once", flush=True)
    build_root(root)
    shutil.copy(next((root / "boot").glob("vmlinuz-*")), kernel)
    shutil.copy(next((root / "boot").glob("initrd.img-*")), initrd)
    partial = folder / "disk.partial"
    with open(partial, "wb") as file:
        file.truncate(2 << 30)
    run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", str(root), str(partial))
    shutil.rmtree(root)
    os.replace(partial, disk)  # a half-made image is never taken for a whole one
    return disk, kernel, initrd


def programs_disk(build, path):
    """A small disk with the programs of a build, mounted on /opt."""
    stage = path.with_suffix(".stage") / "cnsmo"
    shutil.rmtree(stage.parent, ignore_errors=True)
    stage.mkdir(parents=True)
    for program in ("server/cnsmod", "agent/cnsmo-agent", "cli/cnsmo"):
        shutil.copy2(pathlib.Path(build) / "src" / program, stage)
    with open(path, "wb") as file:
        file.truncate(64 << 20)
    run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", str(stage.parent), str(path))
    shutil.rmtree(stage.parent)
