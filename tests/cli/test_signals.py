"""Ctrl-C and a polite kill in the middle of the work: the exit code says so, nothing half-written stays."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The command with a fake model that writes half a file and then sends the signal to its own process.
PROGRAM = """
import importlib, os, sys, time
from lip2speech.cli import main
from lip2speech.pipeline import PipelineConfig

class Speech:
    config = PipelineConfig()
    def speaker_embedding(self, voice): return voice
    def resolve_vocoder(self, vocoder): return vocoder
    def convert_to_file(self, video, wav, options, progress):
        wav.write_bytes(b"half")
        os.kill(os.getpid(), NUMBER)
        time.sleep(60)

importlib.import_module("lip2speech.cli.convert").load = lambda model, device, quiet: Speech()
sys.argv = ["lip2speech", "convert", "talk.mp4", "--overwrite"]
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "talk.mp4").write_bytes(b"video")
    (tmp_path / "talk.wav").write_bytes(b"dear")
    command = [sys.executable, "-c", f"NUMBER = {number.value}\n{PROGRAM}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 128 + number
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"talk.mp4", "talk.wav"}
    assert (tmp_path / "talk.wav").read_bytes() == b"dear"
