"""table.py - what was measured, as rows: for people to read, and as JSON.

A row has one value for each round. Its verdict follows from the values and the target alone; what
explains them (CPU used, stages) is measured by the same rounds and given as notes.
"""
import datetime
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess

TOP = pathlib.Path(__file__).resolve().parent.parent.parent


def number(value):
    """Three digits that matter."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


class Row:
    is_quick = False  # small numbers say nothing about the targets

    def __init__(self, group, name, unit, values, target=None, note="", value=None):
        """`target` is such as "<= 0.5"; `value` is what counts, the median unless given (a
        percentile, say)."""
        self.group, self.name, self.unit = group, name, unit
        self.values = [float(one) for one in values]
        self.value = value if value is not None else (
            statistics.median(self.values) if self.values else None)
        self.target, self.note = target, note

    @property
    def met(self):
        if self.target is None or self.is_quick:
            return None
        if self.value is None:
            return False
        sign, limit = self.target.split()
        limit = float(limit.replace(",", ""))
        return self.value >= limit if sign == ">=" else self.value <= limit

    def spread(self):
        if len(self.values) < 2:
            return ""
        return f"{number(min(self.values))} … {number(max(self.values))}"

    def cells(self):
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        return [self.group, self.name, f"{number(self.value)} {self.unit}", self.spread(),
                self.target or "", verdict, self.note]

    def as_json(self):
        return {"group": self.group, "name": self.name, "unit": self.unit, "value": self.value,
                "values": self.values, "target": self.target, "met": self.met, "note": self.note}


def machine():
    cpu = next((line.split(":", 1)[1].strip()
                for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=TOP, text=True,
                         capture_output=True, check=False)
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(),
            "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
            "open_files_max": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
            "commit": git.stdout.strip()}


class Report:
    def __init__(self, is_quick):
        self.machine = machine()
        self.is_quick = Row.is_quick = is_quick
        self.rows, self.failures = [], []

    def add(self, *args, **kwargs):
        row = Row(*args, **kwargs)
        self.rows.append(row)
        print(f"  {row.name}: {number(row.value)} {row.unit}"
              f"{'' if row.met is None else ' (met)' if row.met else ' (MISSED)'}", flush=True)
        return row

    def fail(self, group, reason):
        self.failures.append({"group": group, "reason": reason})
        print(f"  {group}: {reason}", flush=True)

    def header(self):
        m = self.machine
        quick = "; quick: small numbers, no verdicts" if self.is_quick else ""
        return (f"{m['date']}, {m['cores']} cores ({m['cpu']}), {m['memory_mb']} MB, kernel "
                f"{m['kernel']}, at most {m['open_files_max']} open files, commit {m['commit']}"
                f"{quick}")

    def print(self):
        titles = ["what", "", "value", "least … most", "target", "", "note"]
        rows = [titles] + [row.cells() for row in self.rows]
        widths = [max(len(row[at]) for row in rows) for at in range(len(titles))]
        print(f"\n{self.header()}\n")
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        for failure in self.failures:
            print(f"not measured: {failure['group']}: {failure['reason']}")

    def markdown(self):
        """For the README: what people should know, without the group's name."""
        lines = [self.header(), "", "| what | value | least … most | target | |",
                 "|---|---|---|---|---|"]
        for row in self.rows:
            _, *cells = row.cells()
            lines.append("| " + " | ".join(cells[:4] + [f"{cells[4]} {cells[5]}".strip()]) + " |")
        return "\n".join(lines) + "\n"

    def write(self, path):
        text = json.dumps({**self.machine, "quick": self.is_quick,
                           "rows": [row.as_json() for row in self.rows],
                           "failures": self.failures}, indent=1, ensure_ascii=False)
        pathlib.Path(path).write_text(text + "\n")
