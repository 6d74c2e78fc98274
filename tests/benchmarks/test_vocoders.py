"""The vocoders' table (benchmarks/experiments/vocoders.py) on an untrained model and vocoders."""

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.experiments import vocoders as bench_vocoders
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder
from lip2speech.train.kmeans import KMeansConfig, fit_kmeans
from tests.factories import prepare, save_system
from tests.train.test_export import save_vocoder


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """Two clips to measure, a teacher of eight units, a model of as many."""
    clips = prepare(tmp_path / "clips", splits="train train test test", frames=16)
    fit_kmeans(KMeansConfig(train_data=(str(clips),), n_units=8), tmp_path / "units")
    model = save_system(tmp_path / "tiny")
    units = tmp_path / "units"
    return {"--speech": clips, "--units": units, "--model": model, "--seconds": 0.44, "--clips": 1}


def printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folders: list[str], given: dict
) -> list[list[str]]:
    """The cells of every table row."""
    words = [*folders, *(str(word) for pair in given.items() for word in pair)]
    monkeypatch.setattr(sys, "argv", ["bench_vocoders", *words])
    bench_vocoders.main()
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]


def test_every_vocoder_speaks_from_the_truth_and_from_a_prediction(
    given: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard = LTASSpeakerEncoder().fingerprint
    folders = [save_vocoder(tmp_path / name / "final", name, heard=heard) for name in ("hifigan", "wavenet")]
    rows = printed(monkeypatch, capsys, folders, given)
    names = ["griffin-lim", "mel", "hifigan", "wavenet"]
    assert [row[:2] for row in rows[2:]] == [[n, source] for n in names for source in ("true", "predicted")]
    assert all(len(row) == len(rows[0]) == 7 for row in rows)
    assert all(float(row[4]) > 0 and 1 <= float(row[5]) <= 5 and float(row[6]) > 0 for row in rows[2:])
    near, far = (float(row[4]) for row in rows[2:4])
    assert near < 0.5 * far  # Griffin-Lim of the true mel, and of an untrained model's


def test_units_and_voices_that_cannot_be_told_are_named(
    given: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard = LTASSpeakerEncoder().fingerprint
    folder = save_vocoder(tmp_path / "v", "hifigan", heard=heard)
    with pytest.raises(SystemExit, match="v takes 8 units, --units gives 0, the model 8"):
        printed(monkeypatch, capsys, [folder], {k: v for k, v in given.items() if k != "--units"})
    other = save_vocoder(tmp_path / "o", "hifigan", heard="encoder-1")
    with pytest.raises(SystemExit, match="told of voices by speaker model encoder-1, here are"):
        printed(monkeypatch, capsys, [other], given)
