#!/usr/bin/env bash
# deps.sh [--vm] - installs the Debian packages that building and testing need. Idempotent, and
# quick when nothing is missing. No package's service is started.
set -euo pipefail

# The one list: package, and why.
list() {
    cat <<'TEXT'
build-essential          compiler, libc, sanitizers
meson                    build
ninja-build              build
pkg-config               build
libuv1-dev               event loop
libmicrohttpd-dev        HTTPS for people
libgnutls28-dev          TLS, certificates
libjansson-dev           JSON
libsqlite3-dev           store
libsodium-dev            password hashes
libcurl4-gnutls-dev      HTTP client
libnl-route-3-dev        netlink
libsmartcols-dev         tables on a terminal
libqrencode-dev          QR codes of WireGuard clients
libcmocka-dev            unit tests
clang                    fuzzing
libclang-rt-14-dev       fuzzing: libFuzzer
llvm                     readable stacks of sanitizers
clang-format             house style
python3                  lab, tests, build helpers
python3-pytest           system and API tests
python3-requests         API tests
wireguard-go             the tunnel where the kernel has none
wireguard-tools          the tunnel's state
dnsmasq-base             names on nodes
bind9-dnsutils           tests: dig
dnsperf                  bench: questions per second
nftables                 guards, NAT in the lab
iptables                 the tables of Docker and ufw, in tests of fw
iproute2                 lab, tests
iputils-ping             lab, tests
procps                   lab: sysctl, ps
util-linux               lab: unshare, nsenter, setpriv
curl                     lab: is the server ready
ca-certificates          TLS trust for package registries
iperf3                   tests: transfers
socat                    tests: UDP
tcpdump                  tests: what is on the wire
openssl                  tests: certificates of a stranger
openvswitch-switch       the sdn datapath
haproxy                  the load balancer
openvpn                  outside clients, the fabric; tests: a stock client
zbar-tools               tests: QR codes are read
faketime                 tests: wrong clocks
wrk                      bench: load of the API
nebula                   bench: what we are compared with
tinc                     bench: what we are compared with
ovn-central              bench: what sdn is compared with
ovn-host                 bench: what sdn is compared with
ethtool                  bench: checksums in software on OVN's machines
TEXT
}

list_vm() {
    cat <<'TEXT'
qemu-system-x86          the machines
qemu-utils               their disks
debootstrap              their system
e2fsprogs                their file system
TEXT
}

wanted=$(list | awk '{print $1}')
case "${1:-}" in
--vm) wanted="$wanted $(list_vm | awk '{print $1}')" ;;
"") ;;
*)
    echo "deps: knows --vm, not '$1'" >&2
    exit 1
    ;;
esac

missing=()
for package in $wanted; do
    status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "deps: not installed: ${missing[*]}; run: sudo ./dev deps" >&2
    exit 1
fi

# invoke-rc.d asks this program before it starts a service. Whatever stood there comes back.
policy=/usr/sbin/policy-rc.d
saved=$policy.before-cnsmo
restore() {
    rm -f "$policy"
    [ ! -e "$saved" ] || mv "$saved" "$policy"
}
[ -e "$saved" ] && restore
[ ! -e "$policy" ] || mv "$policy" "$saved"
trap restore EXIT
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

log=$(mktemp)
install_missing() {
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -qq -y \
        --no-install-recommends "${missing[@]}" >"$log" 2>&1
}
update() {
    apt-get -o DPkg::Lock::Timeout=120 update -qq >"$log" 2>&1
}

echo "deps: installing ${missing[*]}"
# The lists are fetched only when there are none, or when they turn out too old.
if ! compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; then
    update || { cat "$log" >&2; exit 1; }
fi
if ! install_missing && ! { update && install_missing; }; then
    cat "$log" >&2
    exit 1
fi
rm -f "$log"
