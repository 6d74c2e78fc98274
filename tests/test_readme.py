"""The README is true: every block runs, every file it names exists, every file has its place in the tree.

A comment before a block says when it cannot run here as it stands:
`<!-- test: install -->` its lines are checked against the Makefile and pyproject.toml;
`<!-- test: hours -->` its commands are checked with --dry-run, or their options against --help;
`<!-- test: serves -->` it serves the page, or asks a served one: tests/web/test_served.py runs it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from lip2speech.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"(?:<!-- test: (?P<tag>\w+)[^>]*-->\n)?```(?P<language>bash|python)\n(?P<text>.*?)```", re.S
)


class Block(NamedTuple):
    """One fenced block: how it is tested (run, install, hours), its language, text and line."""

    tag: str
    language: str
    text: str
    line: int

    def commands(self) -> list[list[str]]:
        """The words of every command line, continuation lines joined, comments dropped."""
        lines = self.text.replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines]
        return [line for line in words if line]


BLOCKS = [
    Block(m["tag"] or "run", m["language"], m["text"], README[: m.start()].count("\n") + 1)
    for m in BLOCK.finditer(README)
]


def blocks(tag: str) -> list:
    return [pytest.param(block, id=f"line{block.line}") for block in BLOCKS if block.tag == tag]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout to run in that keeps ours clean: links to what the README uses, and the two commands."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("lip2speech", "configs", "preprocess"):
        (folder / name).symlink_to(ROOT / name)
    commands = folder / "bin"
    commands.mkdir()
    for name, words in {"lip2speech": "-m lip2speech", "python": ""}.items():
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (commands / name).chmod(0o755)
    return folder


def run(place: Path, *command: str) -> str:
    """Run a command in `place`; what it printed, or a failed test."""
    paths = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}"}
    done = subprocess.run(
        command, cwd=place, env=os.environ | paths, capture_output=True, text=True, timeout=230, check=False
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def test_there_are_blocks_of_every_kind() -> None:
    assert {block.tag for block in BLOCKS} == {"run", "install", "hours", "serves"}
    assert README.count("```bash") + README.count("```python") == len(BLOCKS)


@pytest.mark.parametrize("block", blocks("run"))
def test_a_block_runs(block: Block, place: Path) -> None:
    if block.language == "python":
        run(place, "python", "-c", block.text)
    else:
        run(place, "bash", "-euo", "pipefail", "-c", block.text)


@pytest.mark.parametrize("block", blocks("install"))
def test_an_install_block_names_what_exists(block: Block) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for words in block.commands():
        if words[0] == "make":
            subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        for named in re.findall(r"\[([\w,]+)\]", " ".join(words)):
            assert set(named.split(",")) <= extras.keys()
        if "convert" in words and words[0] != "make":
            assert (ROOT / words[words.index("convert") + 1]).is_file()


GROUPS = ("adapt", "codec", "model", "voice")
"""Commands that have commands."""


@pytest.mark.parametrize("block", blocks("hours"))
def test_a_long_block_names_real_commands_and_options(
    block: Block, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(
        "lip2speech.train.core.dry_run.dry_run", lambda *_: []
    )  # its own tests try it, smaller
    for words in block.commands():
        if words[:2] == ["lip2speech", "train"]:
            done = CliRunner().invoke(app, [*words[1:], "--dry-run"])
            assert done.exit_code == 0, f"{shlex.join(words)}\n{done.output}"
            continue
        shown = run(place, *words[: 3 if words[0] == "python" or words[1] in GROUPS else 2], "--help")
        for option in (word for word in words if word.startswith("--")):
            assert option in shown, f"{shlex.join(words)}: {option} is no option"


def test_every_local_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_tree_names_every_file() -> None:
    tree = README.split("## The tree")[1].split("\n## ")[0]
    words = set(re.findall(r"[\w.]+", tree))
    files = [p for name in ("lip2speech", "preprocess") for p in (ROOT / name).rglob("*.py")]
    names = {p.stem for p in files if not p.stem.startswith("__")}
    missing = {name for name in names if not {name, f"{name}.py"} & words}
    assert not missing, f"not in the README's tree: {', '.join(sorted(missing))}"
