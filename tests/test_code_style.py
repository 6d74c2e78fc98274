"""The house rules that a machine can check: lengths, docstrings, ruff, mypy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ("lip2speech", "preprocess", "benchmarks")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def report(broken: list[str]) -> None:
    assert not broken, "\n" + "\n".join(broken)


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files(*CODE, "tests")}
    report([f"{path.relative_to(ROOT)}: {n} lines" for path, n in lengths.items() if n > MAX_FILE_LINES])


def test_no_function_is_longer_than_50_lines() -> None:
    broken = []
    for path in files(*CODE, "tests"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    broken.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length} lines")
    report(broken)


def test_every_file_says_what_it_does() -> None:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files(*CODE, "tests")}
    report(
        [
            str(path.relative_to(ROOT))
            for path, tree in trees.items()
            if tree.body and not ast.get_docstring(tree)
        ]
    )


def test_every_public_name_says_what_it_is() -> None:
    broken = []
    for path in files(*CODE):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            named = isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
            if named and not ast.get_docstring(node):
                broken.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has no docstring")
    report(broken)


def test_no_note_to_self_is_left() -> None:
    words = ("TO" + "DO", "FIX" + "ME", "XXX" + ":")
    broken = []
    for path in files(*CODE, "tests"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            broken += [f"{path.relative_to(ROOT)}:{number} {word}" for word in words if word in line]
    report(broken)


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=["lint", "format", "mypy"],
)
def test_tool_is_content(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=220, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
