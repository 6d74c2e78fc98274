"""Whose voice speech is taken for (lip2speech/evaluation/speaker_similarity.py)."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from lip2speech import checkpoint
from lip2speech.cli import app
from lip2speech.config import to_dict
from lip2speech.evaluation.speaker_similarity import (
    OWN,
    SPOKEN,
    TRUE,
    SimilarityReport,
    read_voices,
    similarity,
)
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder, SpeakerEncoder
from lip2speech.models.speaker_encoder.xvector import KIND, XVectorConfig, XVectorNet
from lip2speech.pipeline import Lip2Speech
from tests.factories import buzz, prepare, save_system, tiny_encoded

SPEAKERS = "ann ben cat"


class Ears:
    """Knows a buzz by its pitch: the vector is a soft one-hot of it."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def embed(self, wav: Tensor) -> Tensor:
        pitch = LTASSpeakerEncoder().embed(wav)[-2]
        return torch.nn.functional.normalize(
            torch.exp(-(((pitch - torch.linspace(-1, 1, 41)) / 0.05) ** 2)), dim=0
        )


class Mimic:
    """Speaks as it is asked to, by pitch alone; its own voice is a deep one."""

    def __init__(self, obeys: bool) -> None:
        self.obeys = obeys

    speaker_encoder: SpeakerEncoder = LTASSpeakerEncoder()

    def speaker(self, _: object) -> Tensor:
        return torch.full((163,), -0.7)

    def __call__(self, roi: Any, vector: Tensor, route: str | None) -> Tensor:
        pitch = float(vector[-2]) if self.obeys else -0.7
        return buzz(len(roi), 128 * 2**pitch)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three voices of four clips, 20 Hz apart."""
    from safetensors.torch import load_file, save_file

    folder = prepare(tmp_path_factory.mktemp("people") / "clips", splits="test " * 12, speakers=SPEAKERS)
    for i in range(12):
        path = folder / "clips" / f"clip{i}.safetensors"
        tensors = load_file(path)
        tensors["wav"] = (buzz(len(tensors["roi"]), 110.0 + 40 * (i % 3)) * 32_000).to(torch.int16)
        save_file(tensors, path)
    return folder


def judge(people: Path, *, obeys: bool) -> SimilarityReport:
    model, ears = cast(Lip2Speech, Mimic(obeys)), cast(XVectorNet, Ears())
    return similarity(model, ears, [(people, "test")], lips=3)


def test_a_mimic_is_taken_for_whom_it_mimics(people: Path) -> None:
    report = judge(people, obeys=True)
    right, near, others, best, pitch = report.figures("clips:test", SPOKEN)
    assert right == 1 and near > 0.9 and others < 0.2 and best < 0.5 and pitch < 0.3
    assert report.figures("clips:test", TRUE)[0] == 1
    assert "Among 3 voices; chance 0.333." in report.table()


def test_one_voice_for_all_is_chance_at_best(people: Path) -> None:
    report = judge(people, obeys=False)
    assert report.figures("clips:test", SPOKEN)[0] <= 1 / 3
    assert report.figures("clips:test", SPOKEN)[4] > 3  # semitones
    assert report.figures("clips:test", SPOKEN) == report.figures("clips:test", OWN)


def test_the_template_is_not_made_of_what_the_voice_is_made_of(people: Path) -> None:
    voices = list(read_voices(people, "test", cast(XVectorNet, Ears()), LTASSpeakerEncoder()))
    assert [voice.name for voice in voices] == SPEAKERS.split()
    assert all(len(voice.known) == 2 for voice in voices)


def test_a_model_judged_by_its_own_encoder_is_told_so(people: Path) -> None:
    own = tiny_encoded(0)
    mimic = Mimic(True)
    mimic.speaker_encoder = own
    table = similarity(cast(Lip2Speech, mimic), own.encoder, [(people, "test")], lips=1).table()
    assert "own encoder, which flatters it" in table
    assert "flatters" not in judge(people, obeys=True).table()


def test_one_voice_cannot_be_told_apart(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "clips", splits="test " * 4, speakers="ann")
    with pytest.raises(ValueError, match="two voices with 4 clips each are the least to tell apart, got 1"):
        similarity(cast(Lip2Speech, Mimic(True)), cast(XVectorNet, Ears()), [(folder, "test")])


def test_the_command_prints_the_table(people: Path, tmp_path: Path) -> None:
    config = XVectorConfig(channels=16, dilations=(2,), pool_dim=24, attention_dim=8, dim=12)
    torch.manual_seed(0)
    values = {"kind": KIND, "encoder": to_dict(config)}
    checkpoint.save(tmp_path / "judge", values, XVectorNet(config).state_dict(), "card")
    save_system(tmp_path / "model")
    arguments = ["similarity", f"{people}:test", "--encoder", str(tmp_path / "judge"), "--quiet"]
    done = CliRunner().invoke(app, [*arguments, "--model", str(tmp_path / "model"), "--lips", "1"])
    assert done.exit_code == 0, done.output
    assert done.output.count("| clips:test |") == 3
