"""Speaker similarity (lip2speech/evaluation/speaker_similarity.py)."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lip2speech.evaluation.speaker_similarity import (
    DEFAULT_VOICE,
    GROUND_TRUTH,
    TARGET_VOICE,
    SimilarityReport,
    evaluate_speaker_similarity,
    read_target_speakers,
)
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder, SpeakerEncoder
from lip2speech.models.speaker_encoder.xvector import XVectorNet
from lip2speech.pipeline import Lip2Speech
from tests.factories import prepare, synthetic_voice, tiny_speaker_encoder

SPEAKERS = "ann ben cat"
DEFAULT_F0 = -0.7  # octaves above 128 Hz


class F0Encoder:
    """An evaluation encoder that knows speakers by their F0: a soft one-hot of it."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def embed(self, wav: Tensor) -> Tensor:
        f0 = LTASSpeakerEncoder().embed(wav)[-2]
        distances = (f0 - torch.linspace(-1, 1, 41)) / 0.05
        return torch.nn.functional.normalize(torch.exp(-(distances**2)), dim=0)


class F0Model:
    """A model that synthesizes a tone with the F0 of the target speaker, or always of the default voice."""

    def __init__(self, conditioned: bool) -> None:
        self.conditioned = conditioned

    speaker_encoder: SpeakerEncoder = LTASSpeakerEncoder()

    def speaker_embedding(self, _: object) -> Tensor:
        return torch.full((163,), DEFAULT_F0)

    def synthesize(self, roi: Any, embedding: Tensor, vocoder: str | None) -> Tensor:
        f0 = float(embedding[-2]) if self.conditioned else DEFAULT_F0
        return synthetic_voice(len(roi), 128 * 2**f0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three speakers of four clips, with an F0 of 110, 150 and 190 Hz."""
    folder = prepare(tmp_path_factory.mktemp("speakers") / "clips", splits="test " * 12, speakers=SPEAKERS)
    for i in range(12):
        path = folder / "clips" / f"clip{i}.safetensors"
        tensors = load_file(path)
        tensors["wav"] = (synthetic_voice(len(tensors["roi"]), 110.0 + 40 * (i % 3)) * 32_000).to(torch.int16)
        save_file(tensors, path)
    return folder


def run(prepared: Path, *, conditioned: bool) -> SimilarityReport:
    model, encoder = cast(Lip2Speech, F0Model(conditioned)), cast(XVectorNet, F0Encoder())
    return evaluate_speaker_similarity(model, encoder, [(prepared, "test")], clips_per_speaker=3)


def test_a_model_that_follows_the_embedding_is_identified_as_its_target(prepared: Path) -> None:
    report = run(prepared, conditioned=True)
    accuracy, target, others, nearest, f0_error = report.metrics("clips:test", TARGET_VOICE)
    assert accuracy == 1
    assert target > 0.9
    assert others < 0.2
    assert nearest < 0.5
    assert f0_error < 0.3
    assert report.metrics("clips:test", GROUND_TRUTH)[0] == 1
    assert "3 speakers; chance level 0.333." in report.table()


def test_a_model_that_ignores_the_embedding_is_at_chance_level(prepared: Path) -> None:
    report = run(prepared, conditioned=False)
    target = report.metrics("clips:test", TARGET_VOICE)
    assert target[0] <= 1 / 3
    assert target[4] > 3  # semitones
    assert target == report.metrics("clips:test", DEFAULT_VOICE)


def test_the_centroid_and_the_voice_are_of_different_clips(prepared: Path) -> None:
    encoder = cast(XVectorNet, F0Encoder())
    speakers = list(read_target_speakers(prepared, "test", encoder, LTASSpeakerEncoder()))
    assert [speaker.name for speaker in speakers] == SPEAKERS.split()
    assert all(len(speaker.items) == 2 for speaker in speakers)


def test_an_evaluation_with_the_models_own_encoder_is_marked(prepared: Path) -> None:
    own = tiny_speaker_encoder(0)
    model = F0Model(True)
    model.speaker_encoder = own
    report = evaluate_speaker_similarity(
        cast(Lip2Speech, model), own.encoder, [(prepared, "test")], clips_per_speaker=1
    )
    assert "model's own, which biases the scores" in report.table()
    assert "biases" not in run(prepared, conditioned=True).table()


def test_a_single_speaker_is_refused(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "clips", splits="test " * 4, speakers="ann")
    with pytest.raises(ValueError, match="at least two speakers with 4 clips each, got 1"):
        evaluate_speaker_similarity(
            cast(Lip2Speech, F0Model(True)), cast(XVectorNet, F0Encoder()), [(folder, "test")]
        )
