"""lengths.py: no file past 600 lines, no function past 80 (tracked C, Python, shell, TypeScript)."""
import ast
import pathlib
import re
import subprocess
import sys

FILE_MAX, FUNCTION_MAX = 600, 80
SUFFIXES = {".c", ".h", ".py", ".sh", ".ts", ".tsx"}
NAME = re.compile(r"([A-Za-z_]\w*)\s*\(")


def c_functions(lines):
    """House style: a function's braces stand alone in the first column."""
    start = None
    for at, line in enumerate(lines):
        if line == "{":
            start = at
        elif line == "}" and start is not None:
            head = next((found.group(1) for back in range(start - 1, max(start - 8, -1), -1)
                         if lines[back][:1].strip() and (found := NAME.search(lines[back]))), "?")
            yield head, start + 1, at - start + 1
            start = None


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, node.end_lineno - node.lineno + 1


def problems(path):
    text = path.read_text()
    lines = text.splitlines()
    if len(lines) > FILE_MAX:
        yield f"{path}: {len(lines)} lines, at most {FILE_MAX}"
    functions = ()
    if path.suffix == ".c":
        functions = c_functions(lines)
    elif path.suffix == ".py":
        functions = python_functions(text)
    for name, line, length in functions:
        if length > FUNCTION_MAX:
            yield f"{path}:{line}: {name} has {length} lines, at most {FUNCTION_MAX}"


def main():
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True)
    paths = [pathlib.Path(name) for name in listed.stdout.split("\0") if name]
    found = [problem for path in paths if path.suffix in SUFFIXES and path.exists()
             for problem in problems(path)]
    print("\n".join(found) or "lengths: in order")
    return 1 if found else 0


sys.exit(main())
