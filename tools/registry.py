"""registry.py SERVICES.c BACKENDS.c SERVICE... -- BACKEND...: the lists of what is built in."""
import sys


def write(path, header, kind, array, entries):
    with open(path, "w") as out:
        out.write(f"/* Made by tools/registry.py. */\n#include \"{header}\"\n\n")
        for name in entries:
            if name != "SERVICE_CORE":
                out.write(f"extern const struct {kind} {name};\n")
        refs = ", ".join(f"&{name}" for name in entries)
        out.write(f"\nconst struct {kind} *const {array}[] = {{{refs}, NULL}};\n")


def symbols(prefix, names):
    return [prefix + name.upper().replace("-", "_") for name in names]


def main(services, backends, *names):
    middle = names.index("--")
    write(services, "core/service.h", "service", "SERVICES",
          ["SERVICE_CORE"] + symbols("SERVICE_", names[:middle]))
    write(backends, "core/backend.h", "backend", "BACKENDS",
          symbols("BACKEND_", names[middle + 1:]))


main(*sys.argv[1:])
