"""conftest.py - labs for the system tests.

A module says what it needs: LAB = {"nodes": 3, "clouds": 2, "nat": 1}. Its tests share the lab
`lab`; whoever breaks it puts it back, or takes `fresh_lab`. Every warning or error in a log of
cnsmod or an agent fails the test that was running, unless the test allows it:

    @pytest.mark.logs("connection lost", "try again")      # regular expressions

On failure the logs and the network state of every machine go to $CNSMO_LOGS/<test>.
"""
import os
import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab.lab import Lab, TOP  # noqa: E402
from lab.node import AGENT_LOG, SERVER_LOG  # noqa: E402

BAD = re.compile(r"^(\S+Z )?(warn|error) |runtime error:|ERROR: \w+Sanitizer|SUMMARY: \w+Sanitizer"
                 r"|Assertion .* failed")
RUNNING = []


def pytest_configure(config):
    config.addinivalue_line("markers", "logs(*patterns): warnings that this test causes")
    config.addinivalue_line("markers", "lab(**options): the lab that fresh_lab gives")


def keep(item):
    folder = pathlib.Path(os.environ.get("CNSMO_LOGS", TOP / "build-dev/test-logs"))
    for lab in RUNNING:
        lab.keep_state(folder / re.sub(r"\W+", "_", item.nodeid))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        keep(item)


def start(options, join=True):
    lab = Lab(build=os.environ.get("CNSMO_BUILD"), **options)
    RUNNING.append(lab)
    try:
        lab.up(join=join)
    except BaseException:
        RUNNING.remove(lab)
        raise
    return lab


def stop(lab):
    RUNNING.remove(lab)
    lab.down()


@pytest.fixture(scope="module")
def module_lab(request):
    lab = start(getattr(request.module, "LAB", {}))
    yield lab
    stop(lab)


class LogWatch:
    """What is written to the logs of cnsmod and the agents from now on, also by machines that are
    gone meanwhile (their folder has another name then, so files are told apart by inode)."""

    def __init__(self, lab):
        self.folder = lab.folder / "logs"
        self.sizes = {path.stat().st_ino: path.stat().st_size for path in self._paths()}

    def _paths(self):
        for log in (AGENT_LOG, SERVER_LOG):
            yield from self.folder.glob(f"*/var/{log}")

    def lines(self):
        for path in self._paths():
            with open(path, encoding="utf-8", errors="replace") as file:
                file.seek(self.sizes.get(os.fstat(file.fileno()).st_ino, 0))
                for line in file:
                    yield path.relative_to(self.folder).parts[0], line.rstrip("\n")

    def check(self, request):
        allowed = [p for mark in request.node.iter_markers("logs") for p in mark.args]
        bad = [f"{machine}: {line}" for machine, line in self.lines()
               if BAD.search(line) and not any(re.search(p, line) for p in allowed)]
        if bad:
            keep(request.node)  # now: the lab may be gone when pytest reports it
        assert not bad, "unexpected in the logs:\n" + "\n".join(bad[:40])


@pytest.fixture
def lab(request, module_lab):
    watch = LogWatch(module_lab)
    module_lab.watch = watch
    yield module_lab
    watch.check(request)


@pytest.fixture
def fresh_lab(request):
    mark = request.node.get_closest_marker("lab")
    # Beside the module's lab, which may run meanwhile.
    slot = int(os.environ.get("CNSMO_LAB_SLOT", "0")) + 10
    lab = start({"slot": slot, **(mark.kwargs if mark else {})})
    lab.watch = LogWatch(lab)
    yield lab
    try:
        lab.watch.check(request)
    finally:
        stop(lab)


@pytest.fixture
def stranger(lab):
    """A machine in cloud 1 that runs nothing of ours yet; unplugged at the end."""
    host = lab.add("Stranger", 1)
    yield host
    if "Stranger" in lab.api.nodes():
        lab.api.delete("/nodes/Stranger")
    lab.remove("Stranger")
