"""man-test.py CNSMO CNSMOD AGENT ROOT: the manual pages name every command, option and key, and have
no errors.

The pages are written by hand; what they must name is read from the programs."""
import re
import shutil
import subprocess
import sys


def missing_of_cli(program, page):
    script = subprocess.run([program, "completion", "bash"], check=True, text=True,
                            stdout=subprocess.PIPE).stdout
    options = script[script.index("_cnsmo_options()"):script.index("_cnsmo_values()")]
    rows = re.findall(r"'([a-z -]+)'\) echo (.*) ;;", options)
    assert len(rows) > 20, "the completion script isn't as expected"
    for words, names in rows:
        if not re.search(rf"\bCm {re.escape(words)}(?![a-z-])", page):
            yield f'command "{words}"'
        for name in names.split():
            is_negation = name.startswith("--no-") and "--" + name[5:] in names.split()
            if not is_negation and not re.search(rf"Fl -{name[2:]}(?![a-z-])", page):
                yield f'option {name} of "{words}"'


def missing_of_daemon(program, words, page):
    text = subprocess.run([program, *words, "--help"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    names = set(re.findall(r"^ +(?:-., )?--([a-z-]+)", text, re.M)) - {"help", "usage"}
    assert names, "the help isn't as expected"
    for name in names:
        if not re.search(rf"Fl -{name}(?![a-z-])", page):
            yield f"option --{name}"


def missing_of_configuration(sample, page):
    keys = re.findall(r"^#([a-z_]+) = ", sample, re.M)
    assert len(keys) > 5, "the sample configuration isn't as expected"
    for key in keys:
        if not re.search(rf"Ic {key}\b", page):
            yield f"key {key}"


def warnings_of(path):
    if not shutil.which("man") or not shutil.which("groff"):
        return ""
    return subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", path],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True).stderr


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def main(program, server, agent, root):
    man = f"{root}/docs/man"
    faults = [f"cnsmo.1 lacks {what}" for what in missing_of_cli(program, read(f"{man}/cnsmo.1"))]
    faults += [f"cnsmod.conf.5 lacks {what}"
               for what in missing_of_configuration(read(f"{root}/packaging/cnsmod.conf"),
                                                    read(f"{man}/cnsmod.conf.5"))]
    faults += [f"cnsmod.8 lacks {what}"
               for what in missing_of_daemon(server, [], read(f"{man}/cnsmod.8"))]
    for word in ("join", "run", "leave", "status", "version"):
        faults += [f"cnsmo-agent.8 lacks {what} of {word}"
                   for what in missing_of_daemon(agent, [word], read(f"{man}/cnsmo-agent.8"))]
    for page in ("cnsmo.1", "cnsmo-agent.8", "cnsmod.8", "cnsmod.conf.5"):
        faults += [f"{page}: {line}" for line in warnings_of(f"{man}/{page}").splitlines()]
    print("\n".join(faults))
    return 1 if faults else 0


sys.exit(main(*sys.argv[1:]))
