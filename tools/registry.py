"""registry.py SERVICES.c BACKENDS.c NAME...: the lists of what is built in."""
import sys


def write(path, header, kind, array, entries):
    with open(path, "w") as out:
        out.write(f"/* Made by tools/registry.py. */\n#include \"{header}\"\n\n")
        for name in entries:
            if name != "SERVICE_CORE":
                out.write(f"extern const struct {kind} {name};\n")
        refs = ", ".join(f"&{name}" for name in entries)
        out.write(f"\nconst struct {kind} *const {array}[] = {{{refs}, NULL}};\n")


def main(services, backends, *names):
    upper = [name.upper().replace("-", "_") for name in names]
    write(services, "core/service.h", "service", "SERVICES",
          ["SERVICE_CORE"] + [f"SERVICE_{name}" for name in upper])
    write(backends, "core/backend.h", "backend", "BACKENDS", [f"BACKEND_{name}" for name in upper])


main(*sys.argv[1:])
