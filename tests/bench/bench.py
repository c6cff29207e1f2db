"""bench.py [NAME…] [--json FILE] [--markdown FILE] [--quick] - what CNSMO costs.

    get      API v1 and v2: the list of nodes, by wrk
    fleet    a server with 100, 1,000 and 10,000 agents
    path     from an API call to the agent's driver, which is to do it
    join     machines that join: until their first ping
    start    enrolled machines that start: until their first ping, next to nebula and tinc
    tunnel   throughput and delay, next to the bare tunnel program, nebula and tinc
    openvpn  the same for the other fabric, next to openvpn
    sdn      from an API call to the first packet that is blocked, and 10,000 filters, next to OVN
    dns      from a record to its answer on 30 nodes, and questions per second, next to plain dnsmasq
    fw       10,000 firewall rules, next to the same ones by hand
    lb       requests through a load balancer, next to HAProxy alone; changes while they come
    agent    an agent's memory, and what it uses while nothing happens

Everything that is compared is measured in the same run, in turns. `fleet` enrols its agents in a
swarm (swarm.h) through join with a token of many uses, once for the run, and grows it from one
size to the next. Above 500 nodes the deployment has two hubs and no mesh.
"""
import argparse
import pathlib
import sys
import time
import traceback

import agent_rows
import dns_rows
import fleet_rows
import fw_rows
import get_rows
import lab_rows
import lb_rows
import path_rows
import sdn_rows
import tunnel_rows
from table import Report

GROUPS = {"get": get_rows.run, "fleet": fleet_rows.run, "path": path_rows.run,
          "join": lab_rows.run_join,
          "start": lab_rows.run_start, "tunnel": tunnel_rows.run_wireguard,
          "openvpn": tunnel_rows.run_openvpn, "sdn": sdn_rows.run, "dns": dns_rows.run,
          "fw": fw_rows.run, "lb": lb_rows.run, "agent": agent_rows.run}


def main():
    parser = argparse.ArgumentParser(prog="dev bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--json", metavar="FILE", help="write everything to this file too")
    parser.add_argument("--markdown", metavar="FILE", help="write the table to this file too")
    parser.add_argument("--quick", action="store_true", help="small numbers, to try the bench")
    args = parser.parse_args()
    unknown = set(args.names) - set(GROUPS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    report = Report(args.quick)
    print(report.header())
    for name in args.names or GROUPS:
        print(f"\n{name} ({time.strftime('%H:%M:%S')})", flush=True)
        try:
            GROUPS[name](report)
        except Exception as error:  # the others are worth measuring all the same
            traceback.print_exc()
            report.fail(name, f"{type(error).__name__}: {error}")
    report.print()
    if args.json:
        report.write(args.json)
    if args.markdown:
        pathlib.Path(args.markdown).write_text(report.markdown())
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
