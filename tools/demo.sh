#!/usr/bin/env bash
# demo.sh [--detach|--down] - a server and three agents in two clouds, one of them behind NAT, and
# what to try with them. Stays until Ctrl-C, then leaves nothing behind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stay=yes
case "${1:-}" in
--down) exec ./dev lab down ;;
--detach) stay=no ;;
"") ;;
*)
    echo "demo: knows --detach and --down, not '$1'" >&2
    exit 1
    ;;
esac

tools/deps.sh
echo "demo: building"
./dev build --release
echo "demo: starting a server and three agents"
[ $stay = no ] || trap './dev lab down' EXIT
trap 'exit 130' INT TERM
./dev lab up --nodes 3 --clouds 2 --nat 1 --services vpn,sdn,dns,fw,lb

set -a
# shellcheck source=/dev/null
. .lab/env
set +a
overlay=$(./dev lab exec Agent.2 ip -4 -o addr show dev cnsmo-sdn | awk '{print $4}' | cut -d/ -f1)
cat <<TEXT

API       $CNSMO_URL/api/v2   documentation: $CNSMO_URL/api/docs
User      $CNSMO_USER
Password  $CNSMO_PASSWORD

Try, as root, in this folder:
  ./dev lab exec Agent.1 ping -c 3 $overlay        # Agent.2, behind a NAT, through the overlay
  ./dev lab exec Agent.1 ip netns exec cnsmo wg show   # the encrypted tunnel, behind the bridge
  ./dev lab exec Agent.1 cnsmo-agent status        # what the agent says
  set -a; . .lab/env; set +a                       # then the command line works here too:
  build/src/cli/cnsmo status
  build/src/cli/cnsmo node list

  # Block TCP port 1919 from Agent.1 to Agent.2, see it counted, and let it pass again:
  ./dev lab exec Agent.2 sh -c 'socat TCP-LISTEN:1919,fork,reuseaddr EXEC:hostname &'
  ./dev lab exec Agent.1 socat -T 2 - TCP:$overlay:1919,connect-timeout=2     # says Agent.2
  build/src/cli/cnsmo sdn filter add --node Agent.1 --dst $overlay --port 1919 --wait=5
  ./dev lab exec Agent.1 socat -T 2 - TCP:$overlay:1919,connect-timeout=2     # times out
  build/src/cli/cnsmo sdn watch 1                  # rises while that is tried again; Ctrl-C
  build/src/cli/cnsmo sdn flows --node Agent.1     # what is really in its switch, in words
  build/src/cli/cnsmo sdn filter delete 1 --wait=5
  # The same through API v1:
  token=\$(curl -s --cacert \$CNSMO_CA \$CNSMO_URL/api/v1/authenticate -H 'Content-Type: application/json' \\
      -d "{\"username\":\"\$CNSMO_USER\",\"password\":\"\$CNSMO_PASSWORD\"}" | cut -d'"' -f4)
  curl -s --cacert \$CNSMO_CA -H "Authorization: Bearer \$token" -H 'Content-Type: application/json' -X PUT \\
      \$CNSMO_URL/api/v1/services/sdn/blockbyport \\
      -d '{"tcp-destination-port":1919,"ip4-destination":"$overlay","ssinstanceid":"Agent.1"}'
  curl -s --cacert \$CNSMO_CA -H "Authorization: Bearer \$token" -X DELETE \\
      \$CNSMO_URL/api/v1/services/sdn/nodes/Agent.1/flows/2

  # A name, on every machine at once:
  build/src/cli/cnsmo dns record add --name web --value $overlay --wait=5
  ./dev lab exec Agent.1 ping -c 1 web             # and agent-2, agent-3, server
  ./dev lab exec Agent.1 dig +short web.cnsmo.internal

  # A firewall rule on Agent.2, counted; and what it refuses is told at once:
  build/src/cli/cnsmo fw rule add reject --node Agent.2 --protocol tcp --port 1919 --wait=5
  ./dev lab exec Agent.1 socat -T 2 - TCP:web:1919,connect-timeout=2          # connection refused
  build/src/cli/cnsmo fw rule list
  build/src/cli/cnsmo fw rule delete 1 --wait=5

  # Agent.1 shares connections between Agent.2 and Agent.3:
  ./dev lab exec Agent.3 sh -c 'socat TCP-LISTEN:1919,fork,reuseaddr EXEC:hostname &'
  build/src/cli/cnsmo lb service add web --node Agent.1 --port 8000 --algorithm roundrobin \\
      --backends-nodes Agent.2,Agent.3 --backend-port 1919 --wait=5
  ./dev lab exec Server sh -c 'for i in 1 2 3 4; do socat -u TCP:agent-1:8000 -; done'
  build/src/cli/cnsmo lb service show web          # each back end, as the front sees it
  ./dev lab exec Agent.3 pkill socat               # it fails: after some seconds Agent.2 has it all

  build/src/cli/cnsmo vpn client add phone --qr    # a device without an agent: scan it
  build/src/cli/cnsmo vpn client config phone      # the same for stock OpenVPN
  build/src/cli/cnsmo settings set overlay --fabric openvpn --wait=30
  curl --cacert \$CNSMO_CA \$CNSMO_URL/healthz
  ./dev lab exec Server pkill cnsmod               # the server is gone: the overlay goes on
TEXT

if [ $stay = no ]; then
    echo "  ./dev demo --down                                # end it"
    exit 0
fi
echo
echo "Ctrl-C ends it."
sleep infinity &
trap 'kill %1; exit 0' INT TERM
wait
