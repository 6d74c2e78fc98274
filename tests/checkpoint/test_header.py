"""A weights file whose header lists far too many tensors is refused before it is parsed."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from tests.factories import save_system

GIGABYTE = 1 << 30
LOAD = """
import re, sys, time
from pathlib import Path
from lip2speech.cli import app
try:
    app(["convert", "lip2speech/pretrained/sample.mp4", "--model", sys.argv[1], "-o", sys.argv[2]])
except SystemExit as end:
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    print(end.code, 1024 * int(peak[1]), round(time.process_time()))
"""


def write_bomb(folder: Path) -> int:
    """Replace the weights of a model folder by a header of 26 MB of empty tensors; its size."""
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"t{k}": entry for k in range(400_000)}).encode()
    data = len(header).to_bytes(8, "little") + header
    (folder / "model.safetensors").write_bytes(data)
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("config.yaml", "model.safetensors", "README.md")
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return len(data)


def test_a_bomb_of_entries_is_refused_within_seconds_and_a_gigabyte(tmp_path: Path) -> None:
    folder = save_system(tmp_path / "model")
    size = write_bomb(folder)
    assert size > 26_000_000
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder), str(tmp_path / "a.wav")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    code, memory, seconds = map(int, done.stdout.split())
    assert seconds < 10
    assert code == 5
    assert memory < size + GIGABYTE
    assert len(done.stderr.splitlines()) == 1
    assert "its list of tensors takes" in done.stderr
    assert not (tmp_path / "a.wav").exists()
