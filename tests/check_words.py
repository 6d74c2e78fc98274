"""Fail if a word that this project does not use stands in code, docs or configs: `python
tests/check_words.py`.

Each had a private meaning once; the second column is the field's word. Part of `make lint`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORDS = {
    r"told|tells": "conditioned on, predicted, logged, reported",
    r"hears?|heard": "takes as input, encodes, transcribes",
    r"unsure|doubts?": "low confidence",
    r"judges?|judged": "discriminator, evaluation speaker encoder",
    r"books?": "codebook",
    r"worsen\w*|spoil\w*": "degrade, corrupt",
    r"stand_?ins?|stand-ins?": "dummy, synthetic",
    r"snapshots?": "checkpoint",
    r"recipes?": "config",
    r"lags?": "offset",
    r"(?<!vocal )(?<!vocal\n)tracts?": "vocal tract length (VTLP)",
    r"talkers?": "synthetic speaker, synth",
    r"shipped": "bundled, pretrained",
    r"anew": "again",
    r"plugs?|sockets?": "implementation, interface",
    r"figures?": "metrics, results",
    r"clocks?": "frame rate",
    r"made[- _]up": "dummy, synthetic",
    r"voice vectors?": "speaker embedding",
    r"far too sure": "over-confident",
}
ALLOWED = {
    "plugs?|sockets?": re.compile(r"web/|WebSocket|websocket|S_ISSOCK|render/|import socket|socket\."),
    "figures?": re.compile(
        r"matplotlib|plots|reliability|[Ff]igure \d|\bfigure[.,]|figure\(|<figure|demo\.css"
    ),
    "clocks?": re.compile(r"video/|[Cc]lock of|wall[- ]clock|perf_counter|monotonic|CLOCK"),
    r"snapshots?": re.compile(r"download"),
    r"talkers?": re.compile(r"talker-"),  # ids of clips: seeds depend on them
    r"(?<!vocal )(?<!vocal\n)tracts?": re.compile(
        r"[Vv]ocal|vtlp|VTLP|warp_vocal_tract|voices\.py|speaker_encoder"
    ),
}
FILES = (
    "*.py",
    "*.md",
    "*.yaml",
    "*.yml",
    "*.toml",
    "*.cff",
    "*.js",
    "*.css",
    "*.html",
    "Makefile",
    "Dockerfile",
)
EXEMPT = ("tests/check_words.py", "docs/log/", "tests/golden/")


def found(text: str, name: str) -> list[str]:
    """`line: word -> what to write`, for every word in a file."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        for words, better in WORDS.items():
            allowed = ALLOWED.get(words)
            if allowed is not None and (allowed.search(line) or allowed.search(name)):
                continue
            for match in re.finditer(rf"(?<![A-Za-z])(?:{words})(?![a-z])", line):
                rows.append(f"{name}:{number}: {match.group()!r}, write {better}")
    return rows


def main() -> int:
    """Print every row; 1 if there is one."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *FILES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = [name for name in listed.stdout.split("\0") if name and not name.startswith(EXEMPT)]
    rows = [row for name in names for row in found((ROOT / name).read_text(encoding="utf-8"), name)]
    print("\n".join(rows) or f"{len(names)} files: none of the {len(WORDS)} words")
    return 1 if rows else 0


if __name__ == "__main__":
    sys.exit(main())
