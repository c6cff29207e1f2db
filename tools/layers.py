"""layers.py: a file may include only from its own layer and those below it.

    lib < model < {store, pki, http, link, openflow, ovsdb} < core < services < {server, agent, cli}

Also: the halves of a service stay apart. A *-plan.c is pure (no host headers), nothing in server/
includes core/backend.h or core/reconcile.h, nothing in agent/ or a driver includes core/deployment.h.
"""
import pathlib
import re
import sys

LAYERS = [{"lib"}, {"model"}, {"store", "pki", "http", "link", "openflow", "ovsdb"}, {"core"},
          {"services"}, {"server", "agent", "cli"}]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FORBIDDEN = {"server": {"core/backend.h", "core/reconcile.h"},
             "agent": {"core/deployment.h", "core/service.h", "store/store.h"},
             "cli": {"core/deployment.h", "core/backend.h", "store/store.h"}}
HOST = re.compile(r"<(unistd|fcntl|sys/(socket|wait|ioctl)|net/.*|linux/.*|netlink/.*|uv)\.h>")
INCLUDE = re.compile(r'^#include ["<]([^">]+)[">]', re.M)


def problems(root):
    for path in sorted(root.rglob("*.[ch]")):
        layer = path.relative_to(root).parts[0]
        text = path.read_text()
        for include in INCLUDE.findall(text):
            other = include.split("/")[0]
            if other not in RANK or "/" not in include:
                continue
            if RANK[other] > RANK[layer] or (RANK[other] == RANK[layer] and other != layer):
                yield f"{path}: {layer} may not include {include}"
            if include in FORBIDDEN.get(layer, ()):
                yield f"{path}: {layer} may not include {include}"
        if path.name.endswith("-plan.c") and HOST.search(text):
            yield f"{path}: a plan is pure, but it includes {HOST.search(text).group(0)}"


def main():
    root = pathlib.Path(__file__).resolve().parent.parent / "src"
    found = list(problems(root))
    print("\n".join(found) or "layers: in order")
    return 1 if found else 0


sys.exit(main())
