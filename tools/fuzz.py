"""fuzz.py [SECONDS [NAME…]] - runs fuzz targets under libFuzzer, each for so many seconds.

Every x-fuzz program is built with clang and linked once more, with libFuzzer's main in place of
tests/fuzz/replay.c. New inputs stay in build-fuzz/corpus/<name>; a crash stays in
build-fuzz/crashes and ends with status 1. Inputs worth keeping belong to tests/fuzz/corpus.
"""
import os
import pathlib
import shlex
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
BUILD = TOP / "build-fuzz"
SANITIZERS = "address,undefined"


def build():
    if not (BUILD / "build.ninja").exists():
        flags = f"-fsanitize=fuzzer-no-link,{SANITIZERS} -fno-sanitize-recover=all"
        subprocess.run(["meson", "setup", str(BUILD), "-Dbuildtype=debugoptimized", "-Dwerror=false",
                        f"-Dc_args={flags}", f"-Dc_link_args=-fsanitize={SANITIZERS}"],
                       check=True, env={**os.environ, "CC": "clang"}, cwd=TOP,
                       stdout=subprocess.DEVNULL)
    listed = subprocess.run(["ninja", "-C", str(BUILD), "-t", "targets", "all"], check=True,
                            capture_output=True, text=True).stdout
    targets = sorted({line.split(":")[0] for line in listed.splitlines()
                      if line.split(":")[0].endswith("-fuzz")})
    if targets:
        subprocess.run(["ninja", "-C", str(BUILD), "--quiet", *targets], check=True)
    return {pathlib.Path(target).name.removesuffix("-fuzz"): target for target in targets}


def link(target):
    """The link command of the replaying program, with libFuzzer's main instead of ours."""
    commands = subprocess.run(["ninja", "-C", str(BUILD), "-t", "commands", "-s", target], check=True,
                              capture_output=True, text=True).stdout
    words = shlex.split(commands.splitlines()[-1])
    words = [word for word in words if not word.endswith("tests_fuzz_replay.c.o")]
    words[words.index("-o") + 1] = f"{target}-lib"
    subprocess.run([*words, "-fsanitize=fuzzer"], check=True, cwd=BUILD)
    return BUILD / f"{target}-lib"


def run(name, program, seconds):
    found = BUILD / "corpus" / name
    crashes = BUILD / "crashes"
    found.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(exist_ok=True)
    seeds = TOP / "tests" / "fuzz" / "corpus" / name
    argv = [str(program), f"-max_total_time={seconds}", "-rss_limit_mb=1024", "-timeout=10",
            f"-artifact_prefix={crashes}/{name}-", "-print_final_stats=1", str(found)]
    if seeds.is_dir():
        argv.append(str(seeds))
    done = subprocess.run(argv, check=False, stderr=subprocess.PIPE, text=True, errors="replace")
    runs = [line.split()[-1] for line in done.stderr.splitlines() if "executed_units" in line]
    print(f"{name}: {'ok' if done.returncode == 0 else 'CRASH'}, {runs[0] if runs else '?'} inputs",
          flush=True)
    if done.returncode:
        print(done.stderr[-4000:])
    return done.returncode == 0


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    targets = build()
    wanted = sys.argv[2:] or sorted(targets)
    unknown = set(wanted) - set(targets)
    if unknown:
        sys.exit(f"no fuzz target {', '.join(sorted(unknown))}; there are {', '.join(targets)}")
    results = [run(name, link(targets[name]), seconds) for name in wanted]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
