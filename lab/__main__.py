"""The command line of the lab: ./dev lab up|exec|status|down."""
import argparse
import os
import sys

from lab import processes
from lab.lab import Lab
from lab.processes import LabError


def print_rows(rows):
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def up(args):
    services = [name for name in args.services.split(",") if name]
    lab = Lab(nodes=args.nodes, clouds=args.clouds, nat=args.nat, fabric=args.fabric,
              services=services, build=args.build)
    lab.up()
    print_rows(lab.describe())
    print(f"\nEvery machine reaches every other over the overlay. Access: {lab.folder}/env")


def run_in(args):
    lab = Lab.open()
    host = lab.host(args.node)
    argv = host.enter(args.command or ["bash"])
    os.execvpe(argv[0], argv, host.environment(lab.environment()))


def status(_args):
    lab = Lab.open()
    print_rows(lab.describe())
    print(f"\nAPI: {lab.environment()['CNSMO_URL']}   access: {lab.folder}/env   "
          f"logs: {lab.folder}/logs")


def down(_args):
    lab = Lab()
    running = processes.machines(str(lab.folder))
    lab.down()
    print("the lab is down" if running else "no lab ran")


def parse():
    parser = argparse.ArgumentParser(prog="dev lab", description=__doc__)
    commands = parser.add_subparsers(dest="action", required=True)
    start = commands.add_parser("up", help="a server and agents; returns when the overlay works")
    start.add_argument("--nodes", type=int, default=3, help="Agent.1 … Agent.N (default 3)")
    start.add_argument("--clouds", type=int, default=2, help="clouds, filled in turn (default 2)")
    start.add_argument("--nat", type=int, default=0, help="so many of the clouds are behind NAT")
    start.add_argument("--fabric", choices=["wireguard", "openvpn"], default="wireguard")
    start.add_argument("--services", default="vpn", help="comma separated (default vpn)")
    start.add_argument("--build", help="build folder (default build, else build-dev)")
    start.set_defaults(run=up)
    inside = commands.add_parser("exec", help="run a command (default: a shell) in a machine")
    inside.add_argument("node")
    inside.add_argument("command", nargs=argparse.REMAINDER)
    inside.set_defaults(run=run_in)
    commands.add_parser("status", help="what runs").set_defaults(run=status)
    commands.add_parser("down", help="end it, leave nothing behind").set_defaults(run=down)
    return parser.parse_args()


def main():
    args = parse()
    try:
        args.run(args)
    except (LabError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
