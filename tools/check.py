"""check.py BUILD - runs every test on a build with sanitizers; the last line counts.

A skip counts as a failure unless tests/skips.txt lists the test with a reason. What failed leaves
its logs under BUILD/check-logs.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree

TOP = pathlib.Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"
# A developer's own lab (slot 0) may go on meanwhile.
SLOT = "1"


class Tally:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []
        self.allowed = dict(self._allowed())

    @staticmethod
    def _allowed():
        """Lines `NAME  reason`; # starts a comment."""
        for line in (TOP / "tests/skips.txt").read_text().splitlines():
            words = line.split("#")[0].split(None, 1)
            if len(words) == 1:
                sys.exit(f"tests/skips.txt: {words[0]} has no reason")
            if words:
                yield words[0], words[1]

    def add(self, name, result):
        if result == "skip" and name in self.allowed:
            self.skipped.append(name)
        elif result == "pass":
            self.passed += 1
        else:
            self.failed.append(f"{name} (skipped, and not in tests/skips.txt)"
                               if result == "skip" else name)


def step(title):
    print(f"\n=== {title} ({time.strftime('%H:%M:%S')})", flush=True)


def lint(tally):
    sources = subprocess.run(["git", "ls-files", "-z", "*.c", "*.h"], capture_output=True,
                             text=True, check=True, cwd=TOP).stdout.split("\0")
    sources = [name for name in sources if name and (TOP / name).exists()]
    for name, argv in (("layers", [PYTHON, "tools/layers.py"]),
                       ("lengths", [PYTHON, "tools/lengths.py"]),
                       ("format", ["clang-format", "--dry-run", "-Werror", *sources])):
        step(f"lint: {name}")
        code = subprocess.run(argv, cwd=TOP, check=False).returncode
        tally.add(f"lint/{name}", "fail" if code else "pass")


def meson(tally, build, logs):
    step("unit tests")
    log = build / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    code = subprocess.run(["meson", "test", "-C", str(build), "--no-rebuild", "--print-errorlogs"],
                          check=False).returncode
    words = {"OK": "pass", "EXPECTEDFAIL": "pass", "SKIP": "skip"}
    count = 0
    for line in log.read_text().splitlines() if log.exists() else []:
        result = json.loads(line)
        tally.add(f"unit/{result['name'].split(' / ')[-1]}", words.get(result["result"], "fail"))
        count += 1
    if count == 0 or (code and not tally.failed):
        tally.add(f"unit: meson test ended with {code} after {count} tests", "fail")
    if code:
        shutil.copytree(build / "meson-logs", logs / "unit", dirs_exist_ok=True)


def pytest(tally, folder, logs, minutes):
    step(f"{folder} tests")
    report = logs / f"{folder}.xml"
    env = {**os.environ, "CNSMO_LOGS": str(logs / folder)}
    argv = [PYTHON, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=10",
            "--tb=short", f"--junitxml={report}", f"tests/{folder}"]
    process = subprocess.Popen(argv, cwd=TOP, env=env)
    try:
        code = process.wait(minutes * 60)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait(60)
        tally.add(f"{folder}: not done after {minutes} minutes", "fail")
        code = 0
    if not report.exists():
        tally.add(f"{folder}: pytest ended with {code} and no report", "fail")
        return
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        name = f"{folder}/{case.get('classname', '').split('.')[-1]}::{case.get('name')}"
        bad = case.find("failure") is not None or case.find("error") is not None
        skipped = case.find("skipped") is not None
        tally.add(name, "fail" if bad else "skip" if skipped else "pass")


def main():
    # A shell's background job ignores SIGINT, and what it starts would too; tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    build = (TOP / sys.argv[1]).resolve()
    logs = build / "check-logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(mode=0o700)
    os.environ.update(CNSMO_BUILD=str(build), CNSMO_LAB_SLOT=SLOT, CNSMO_ROOT_TESTS="1")
    # A check that was killed may have left its labs.
    for slot in (SLOT, f"{int(SLOT) + 10}"):
        subprocess.run([PYTHON, "-m", "lab", "down"], cwd=TOP, stdout=subprocess.DEVNULL,
                       env={**os.environ, "CNSMO_LAB_SLOT": slot}, check=True)
    started = time.monotonic()
    tally = Tally()
    lint(tally)
    meson(tally, build, logs)
    for folder, minutes in (("api", 12), ("agent", 5), ("system", 35)):
        if any((TOP / "tests" / folder).glob("test_*.py")):
            pytest(tally, folder, logs, minutes)
    step(f"result after {time.monotonic() - started:.0f} s")
    for name in tally.skipped:
        print(f"skipped: {name}: {tally.allowed[name]}")
    for name in tally.failed:
        print(f"FAILED: {name}")
    if tally.failed:
        print(f"logs: {logs}")
    print(f"{tally.passed} passed, {len(tally.failed)} failed, {len(tally.skipped)} skipped")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
