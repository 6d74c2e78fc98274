"""The vocoders' table (benchmarks/experiments/vocoders.py) on an untrained model and vocoders."""

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.experiments import vocoders as experiment
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder
from lip2speech.train.kmeans import KMeansConfig, fit_kmeans
from tests.factories import prepare, save_system
from tests.train.test_export import save_vocoder


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """Two test clips, a unit tokenizer with eight units, a model with as many."""
    clips = prepare(tmp_path / "clips", splits="train train test test", frames=16)
    fit_kmeans(KMeansConfig(train_data=(str(clips),), n_units=8), tmp_path / "units")
    model = save_system(tmp_path / "tiny")
    units = tmp_path / "units"
    return {"--speech": clips, "--units": units, "--model": model, "--seconds": 0.44, "--clips": 1}


def table_cells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folders: list[str], options: dict
) -> list[list[str]]:
    """The cells of every table row."""
    arguments = [*folders, *(str(word) for pair in options.items() for word in pair)]
    monkeypatch.setattr(sys, "argv", ["experiment", *arguments])
    experiment.main()
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]


def test_every_vocoder_has_a_row_for_ground_truth_and_prediction(
    options: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fingerprint = LTASSpeakerEncoder().fingerprint
    folders = [
        save_vocoder(tmp_path / name / "final", name, speaker=fingerprint) for name in ("hifigan", "wavenet")
    ]
    rows = table_cells(monkeypatch, capsys, folders, options)
    names = ["griffin-lim", "mel", "hifigan", "wavenet"]
    assert [row[:2] for row in rows[2:]] == [
        [n, source] for n in names for source in ("ground truth", "predicted")
    ]
    assert all(len(row) == len(rows[0]) == 7 for row in rows)
    assert all(float(row[4]) > 0 and 1 <= float(row[5]) <= 5 and float(row[6]) > 0 for row in rows[2:])
    near, far = (float(row[4]) for row in rows[2:4])
    assert near < 0.5 * far  # Griffin-Lim of the true mel, and of an untrained model's


def test_missing_units_and_unknown_speaker_encoders_are_refused(
    options: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fingerprint = LTASSpeakerEncoder().fingerprint
    folder = save_vocoder(tmp_path / "v", "hifigan", speaker=fingerprint)
    with pytest.raises(SystemExit, match="v has 8 units, --units 0, the model 8"):
        table_cells(monkeypatch, capsys, [folder], {k: v for k, v in options.items() if k != "--units"})
    other = save_vocoder(tmp_path / "o", "hifigan", speaker="encoder-1")
    with pytest.raises(SystemExit, match="was trained with speaker encoder encoder-1, available are"):
        table_cells(monkeypatch, capsys, [other], options)
