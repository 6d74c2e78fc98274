"""Fixtures of the tests of calibration: prepared clips, and an ASR that needs no speech."""

from pathlib import Path

import pytest
import torch

from lip2speech.evaluation.asr.pocketsphinx import TimedWord
from lip2speech.evaluation.calibration import calibrate as calibrate_module
from tests.factories import prepare

TEXT = "bin blue at f two now"


class FakeASR:
    """Recognizes the first four words right and the last two wrong; nothing at all every third time."""

    def __init__(self) -> None:
        self.n_calls = 0

    def align(self, wav: torch.Tensor) -> list[TimedWord]:
        self.n_calls += 1
        if self.n_calls % 3 == 0:
            return []
        recognized = ["bin", "blue", "at", "f", "six", "soon"]
        return [TimedWord(word, 0.1 * i, 0.1 * (i + 1)) for i, word in enumerate(recognized)]


@pytest.fixture
def fake_asr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces pocketsphinx in `calibrate`."""
    monkeypatch.setattr(calibrate_module, "PocketSphinxASR", FakeASR)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Eight test clips and two validation clips of three speakers."""
    return prepare(tmp_path / "set", splits="test " * 8 + "valid valid", speakers="ann ben cyd", text=TEXT)
