"""kill -9 of the process that writes the store, 200 times under writes.

Each run of store-torture first prints what it finds, which is what the run before it left, and
then acknowledges transactions until it is killed. No acknowledged transaction may be missing, at
another revision, or in part.
"""

import os
import pathlib
import random
import subprocess

import pytest

ROUNDS = 200
KEYS = 32
ROOT = pathlib.Path(__file__).resolve().parents[2]


def find_program():
    """The newest build of the program, or the one that CNSMO_BUILD names."""
    folders = [pathlib.Path(os.environ["CNSMO_BUILD"])] if "CNSMO_BUILD" in os.environ else list(
        ROOT.glob("build*"))
    programs = [f / "src/store/store-torture" for f in folders]
    programs = [p for p in programs if p.exists()]
    assert programs, "store-torture isn't built"
    return max(programs, key=lambda p: p.stat().st_mtime)


class Run:
    """One life of the program, until it is killed after `acks` acknowledgements."""

    def __init__(self, program, path, since, acks):
        self.log = {}  # revision -> [(key, value or "-")]
        self.state = {}  # key -> (number, revision)
        self.acks = []  # (number, revision)
        self.opened = None
        with subprocess.Popen([program, path, str(since)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                self.take(line.split())
                if len(self.acks) >= acks:
                    break
            process.kill()  # SIGKILL
            for line in process.stdout:  # what it had said before it died
                self.take(line.split())
            errors = process.stderr.read()
        assert process.returncode == -9, errors
        assert errors == ""

    def take(self, words):
        if words[0] == "log":
            self.log.setdefault(int(words[1]), []).append((words[2], words[3]))
        elif words[0] == "state":
            self.state[words[1]] = (int(words[2]), int(words[3]))
        elif words[0] == "open":
            self.opened = int(words[1])
        elif words[0] == "ack":
            self.acks.append((int(words[1]), int(words[2])))
        else:
            pytest.fail(" ".join(words))


def expected(number):
    """The operations of a transaction; its deletion shows only if the key was there."""
    ops = [(f"key/{number % KEYS}", str(number)), ("pair/left", str(number)),
           ("pair/right", str(number))]
    return ops, [(f"key/{(number + 1) % KEYS}", "-")] if number % 7 == 0 else []


def check(before, after):
    """What `before` was told must be in what `after` found."""
    revisions = sorted(after.log)
    # Revisions follow each other without a hole up to the store's present one.
    assert revisions == list(range(before.opened + 1, after.opened + 1))
    for number, revision in before.acks:
        ops, deletion = expected(number)
        assert after.log[revision] in (ops, ops + deletion), (number, revision)
    # The state is what the old state and the log add up to.
    state = dict(before.state)
    for revision in revisions:
        for key, value in after.log[revision]:
            if value == "-":
                del state[key]
            else:
                state[key] = (int(value), revision)
    assert after.state == state
    assert after.state.get("pair/left") == after.state.get("pair/right")


def test_no_acknowledged_write_is_lost(tmp_path):
    program = find_program()
    path = tmp_path / "store.db"
    chance = random.Random(1)
    before = Run(program, path, 0, 50)
    acknowledged = len(before.acks)
    for _ in range(ROUNDS):
        if chance.random() < 0.2:
            # Killed while it opens the file and recovers what the last kill left.
            opening = Run(program, path, before.opened, 0)
            if opening.opened is not None:
                check(before, opening)
                before = opening
        after = Run(program, path, before.opened, chance.randrange(1, 120))
        check(before, after)
        acknowledged += len(after.acks)
        before = after
    # It was killed in the middle of writes, not between them.
    assert acknowledged > ROUNDS * 30
