"""stream.py - a steady stream of packets between two machines (packets.c), and when it is blocked.

What counts is when the first packet that didn't arrive was sent: the first of the longest run of
numbers that are missing once packets arrive again. The filter stands on the sender's machine,
microseconds behind the socket, and what left before it still arrives, however late. When the last
one arrived would count the way through tunnel and router as well.
"""
import json
import random
import select
import subprocess
import time

from lab_rig import PACKETS, LabError

PORT = 5001
INTERVAL_USEC = 200
BLOCKED_SECONDS = 0.03  # longer than any other loss
FLOWING_SECONDS = (0.01, 0.04)


class Stream:
    def __init__(self, sender, receiver, address):
        """Two machines; `address` is the receiver's."""
        self.name = f"{sender.name} to {receiver.name}"
        self.receiver = self._start(receiver, "receive", PORT)
        self.sender = self._start(sender, "send", address, PORT, INTERVAL_USEC)

    @staticmethod
    def _start(machine, *words):
        return machine.spawn([PACKETS, *words], log="packets.log", stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)

    @staticmethod
    def _ask(end, command):
        end.popen.stdin.write(f"{command}\n".encode())
        end.popen.stdin.flush()
        if not select.select([end.popen.stdout], [], [], 15)[0]:
            raise LabError(f"packets doesn't answer to {command}")
        return json.loads(end.popen.stdout.readline())

    def go(self):
        self._ask(self.sender, "go")
        self.flowing()
        self._ask(self.receiver, "gap")  # what was before doesn't matter

    def halt(self):
        self._ask(self.sender, "stop")

    def flowing(self):
        """Returns when packets arrive, and have for a while that is never the same."""
        if not self._ask(self.receiver, "next")["last"]:
            raise LabError(f"{self.name}: no packet passes")
        time.sleep(random.uniform(*FLOWING_SECONDS))

    def first_lost(self):
        """When the first one was sent that was blocked, in seconds of CLOCK_MONOTONIC; None if
        all passed. Asked when they flow again."""
        gap = self._ask(self.receiver, "gap")
        lost, again = (self._ask(self.sender, f"sent {number}")["sent"] / 1e6
                       for number in (gap["first"], gap["first"] + gap["len"]))
        return lost if again - lost > BLOCKED_SECONDS / 2 else None

    def close(self):
        for end in (self.sender, self.receiver):
            end.stop()


def time_block(stream, block, unblock):
    """When a block began, when it had its answer, and when the first packet of it was sent; None
    if none was blocked."""
    stream.flowing()
    began, answered = block()
    time.sleep(BLOCKED_SECONDS)
    unblock()
    stream.flowing()
    return began, answered, stream.first_lost()


def time_blocks(stream, block, unblock, times):
    """[(ms until the first packet is blocked, ms until the answer)], and how often none was.
    `block` returns when it began and when it had its answer."""
    results, in_vain = [], 0
    stream.go()
    for _ in range(times):
        began, answered, lost = time_block(stream, block, unblock)
        if lost is None:
            in_vain += 1
        elif lost > began:  # else some got lost for another reason just before
            results.append(((lost - began) * 1000, (answered - began) * 1000))
    stream.halt()
    return results, in_vain
