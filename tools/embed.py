"""embed.py OUT.c OUT.h NAME=FILE...: makes each text file a C string `const char NAME[]`."""
import sys


def literal(text):
    lines = []
    for line in text.splitlines(keepends=True):
        escaped = line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'    "{escaped}"')
    return "\n".join(lines) or '    ""'


def main(out_c, out_h, *pairs):
    with open(out_c, "w") as c, open(out_h, "w") as h:
        h.write("/* Made by tools/embed.py. */\n#pragma once\n")
        c.write(f'/* Made by tools/embed.py. */\n#include "{out_h.rsplit("/", 1)[-1]}"\n')
        for pair in pairs:
            name, _, path = pair.partition("=")
            with open(path, encoding="utf-8") as source:
                c.write(f"const char {name}[] =\n{literal(source.read())};\n")
            h.write(f"extern const char {name}[];\n")


main(*sys.argv[1:])
