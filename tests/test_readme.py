"""README and docs are true: every block runs, in order and in one folder; every option and link exists.

A comment before a block says when it cannot run here as it stands:
`<!-- test: install -->` its lines are checked against the Makefile and pyproject.toml;
`<!-- test: hours -->` its commands are checked with --dry-run, or their options against --help;
`<!-- test: serves -->` it serves the demo, or asks a served one: tests/web/test_served.py runs it.
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
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN_IN_ORDER = ("README.md", "usage.md")
"""Pages whose untagged blocks run, one after the other as written, in one new folder each."""
BLOCK = re.compile(
    r"(?:<!-- test: (?P<tag>\w+)[^>]*-->\n)?```(?P<language>bash|python)\n(?P<text>.*?)```", re.S
)
GROUPS = ("adapt", "codec", "evaluate", "model", "voice")
"""Commands that have commands."""


class Block(NamedTuple):
    """One fenced block: how it is tested (run, install, hours), its language, text, page and line."""

    tag: str
    language: str
    text: str
    page: str
    line: int

    def commands(self) -> list[list[str]]:
        """The words of every command line, continuation lines joined, comments dropped."""
        lines = self.text.replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines]
        return [line for line in words if line]


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(m["tag"] or "run", m["language"], m["text"], page.name, text[: m.start()].count("\n") + 1)
        for m in BLOCK.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def tagged(tag: str) -> list:
    found = [block for block in BLOCKS if block.tag == tag]
    return [pytest.param(block, id=f"{block.page}-{block.line}") for block in found]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A new folder with links to what the pages use, and the two commands."""
    for name in ("lip2speech", "configs", "preprocess"):
        (tmp_path / name).symlink_to(ROOT / name)
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, words in {"lip2speech": "-m lip2speech", "python": ""}.items():
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (commands / name).chmod(0o755)
    return tmp_path


def run(folder: Path, *command: str) -> str:
    """Run a command in `folder`; what it printed, or a failed test."""
    paths = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}"}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | paths, capture_output=True, text=True, timeout=230, check=False
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout + done.stderr


@pytest.mark.parametrize("page", RUN_IN_ORDER)
def test_the_blocks_of_a_page_run_in_order_in_one_folder(page: str, checkout: Path) -> None:
    found = [block for block in BLOCKS if (block.page, block.tag) == (page, "run")]
    assert found
    for block in found:
        if block.language == "python":
            run(checkout, "python", "-c", block.text)
        else:
            run(checkout, "bash", "-euo", "pipefail", "-c", block.text)


@pytest.mark.parametrize("block", tagged("install"))
def test_an_install_block_names_what_exists(block: Block) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for words in block.commands():
        if words[0] == "make":
            subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        for named in re.findall(r"\[([\w,]+)\]", " ".join(words)):
            assert set(named.split(",")) <= extras.keys()


@pytest.mark.parametrize("block", tagged("hours"))
def test_a_long_block_names_real_commands_and_options(
    block: Block, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    monkeypatch.setattr("lip2speech.train.core.dry_run.dry_run", lambda *_: [])  # tested on its own
    for words in block.commands():
        if words[:2] == ["lip2speech", "train"]:
            done = CliRunner().invoke(app, [*words[1:], "--dry-run"])
            assert done.exit_code == 0, f"{shlex.join(words)}\n{done.output}"
            continue
        depth = 3 if words[0] == "python" or words[1] in GROUPS else 2
        shown = run(checkout, *words[:depth], "--help")
        for option in (word for word in words if word.startswith("--")):
            assert option in shown, f"{shlex.join(words)}: there is no option {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_local_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
