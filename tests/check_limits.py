"""Fail if a file, function or name departs from the project's limits: `python tests/check_limits.py`.

Files have at most 400 lines and a docstring, functions at most 50 lines, public names a docstring, class
names are unique in the package, and no note to self is left. Part of `make lint`.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
MAX_ROOT_MODULES = 10
PRODUCT = ("lip2speech/", "preprocess/", "demo/")
NOTES = ("TO" + "DO", "FIX" + "ME", "XXX" + ":")


def rows_of(name: str, text: str, tree: ast.Module) -> Iterator[str]:
    """What departs in one file, a line each."""
    lines = text.splitlines()
    if len(lines) > MAX_FILE_LINES:
        yield f"{name}: {len(lines)} lines, at most {MAX_FILE_LINES}"
    if tree.body and not ast.get_docstring(tree):
        yield f"{name}: no docstring"
    for number, line in enumerate(lines, 1):
        yield from (f"{name}:{number}: {note}" for note in NOTES if note in line)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.body[0].lineno + 1  # without the signature
            if length > MAX_FUNCTION_LINES:
                yield f"{name}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}"
    if name.startswith(PRODUCT):
        for statement in tree.body:
            if not isinstance(statement, ast.ClassDef | ast.FunctionDef) or statement.name.startswith("_"):
                continue
            if not ast.get_docstring(statement):
                yield f"{name}:{statement.lineno}: {statement.name} has no docstring"


def repeated_classes(trees: dict[str, ast.Module]) -> Iterator[str]:
    """Class names that two modules of the package define."""
    names = Counter(
        node.name
        for name, tree in trees.items()
        if name.startswith(("lip2speech/", "preprocess/"))
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    yield from (f"class {name}: defined {count} times" for name, count in names.items() if count > 1)


def main() -> int:
    """Print every row; 1 if there is one."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in listed.stdout.split("\0") if name}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    rows = [row for name, text in texts.items() for row in rows_of(name, text, trees[name])]
    rows += repeated_classes(trees)
    roots = [name for name in texts if Path(name).parent == Path("lip2speech")]
    if len(roots) > MAX_ROOT_MODULES:
        rows.append(f"lip2speech/: {len(roots)} modules at the root, at most {MAX_ROOT_MODULES}")
    print("\n".join(rows) or f"{len(texts)} files within the limits")
    return 1 if rows else 0


if __name__ == "__main__":
    sys.exit(main())
