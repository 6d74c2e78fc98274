"""The code heads' table (benchmarks/experiments/code_heads.py): codebooks of different sizes, few steps."""

import sys
from pathlib import Path

import pytest

from benchmarks.experiments import code_heads as experiment
from tests.factories import prepare, save_codec, save_sacodec


def test_every_codec_and_head_has_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = prepare(tmp_path / "clips", splits="train train test", frames=30)
    codecs = [save_codec(tmp_path / "mel"), save_sacodec(tmp_path / "sa")]
    arguments = [*codecs, "--train", clips, "--test", clips]
    monkeypatch.setattr(experiment, "BATCH_SIZE", 2)
    monkeypatch.setattr(sys, "argv", ["experiment", *map(str, arguments), "--steps", "2"])
    experiment.main()
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    heads = ["independent", "conditional", "delayed"]
    assert [row[:3] for row in rows[2:]] == [
        *(["mel", head, "0.40"] for head in heads),
        *(["sa", head, "0.33"] for head in heads),  # log2 6 and log2 16, at 50 Hz
    ]
    assert all(0 <= float(row[4].rstrip("%")) <= 100 for row in rows[2:])
