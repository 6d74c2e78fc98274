"""Adaptation to one silent speaker (lip2speech/train/adapt/trainer.py) with tiny models."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lip2speech import checkpoint
from lip2speech.config import from_dict
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder
from lip2speech.pipeline import Lip2Speech
from lip2speech.train.adapt.recordings import Recording
from lip2speech.train.adapt.trainer import AdaptationTrainer, AdaptConfig, adapt, check_heads
from tests.data.test_unit_tokenizers import make_mfcc_tokenizer
from tests.factories import make_model, save_system, synthetic_voice


def config(**changes: Any) -> AdaptConfig:
    values = {"steps": 20, "batch_size": 2, "n_crops": 2, "optimizer": {"lr": 5e-2, "warmup_steps": 1}}
    return from_dict(AdaptConfig, values | changes)


def recording(i: int, frames: int = 16) -> Recording:
    """Noise for video, and audio that is shorter than the video."""
    generator = torch.Generator().manual_seed(i)
    roi = torch.randint(256, (frames + i, 96, 96), dtype=torch.uint8, generator=generator)
    return Recording(
        f"{i:03d}", f"word {i}", roi, synthetic_voice(frames - 2, 110.0 + 20 * i)[: -7 * i or None]
    )


def trainer(recordings: list[Recording], values: AdaptConfig) -> AdaptationTrainer:
    return AdaptationTrainer(make_model(), Transform(), recordings, values, LTASSpeakerEncoder())


def test_training_lowers_the_loss_and_leaves_the_trunk_unchanged(units: str) -> None:
    work = trainer([recording(i) for i in range(3)], config(unit_tokenizer=units))
    trunk = {name: tensor.clone() for name, tensor in work.model.frontend.resnet.state_dict().items()}

    @torch.no_grad()
    def loss() -> float:
        work.model.eval()
        return float(work.loss([0, 1, 2], np.random.default_rng(0)))

    before = loss()
    for step in range(20):
        work.training_step(step)
    assert loss() < 0.98 * before
    assert all(torch.equal(t, trunk[name]) for name, t in work.model.frontend.resnet.state_dict().items())


def test_the_adapted_folder_differs_from_its_base_in_the_adapted_layers_only(
    units: str, tmp_path: Path
) -> None:
    base = save_system(tmp_path / "base")
    fractions: list[float] = []
    loaded = checkpoint.load(base)
    loaded.config["inference"]["confidence"] = {"bias": 1.0}
    size, losses = adapt(
        loaded,
        [recording(0)],
        config(unit_tokenizer=units, steps=3),
        tmp_path / "adapted",
        progress=fractions.append,
    )
    assert len(losses) == 3
    assert size > 0
    assert fractions[-1] == 1.0
    old, new = checkpoint.load(base), checkpoint.load(tmp_path / "adapted")
    assert "Adapted to one speaker" in new.card
    assert "confidence" not in new.config["inference"]  # the base's calibration does not hold
    old.config["inference"].pop("confidence", None)
    assert old.config == new.config
    changed = {n for n, t in old.tensors.items() if not torch.allclose(t, new.tensors[n], 1e-3, 1e-3)}
    assert changed
    assert all("proj" in n or "fc" in n or "heads.in_proj" in n for n in changed)
    Lip2Speech.from_pretrained(tmp_path / "adapted", "cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_target_modules": ["nonsense"]}, "no linear layer"),
        ({"n_tts_voices": 0}, "n_tts_voices must be 1 or more, got 0"),
    ],
)
def test_an_invalid_config_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trainer([recording(0)], config(**changes))


def test_adaptation_without_recordings_is_refused() -> None:
    with pytest.raises(ValueError, match="no video to train on"):
        trainer([], config())


def test_a_tokenizer_of_other_units_than_the_models_is_refused() -> None:
    with pytest.raises(ValueError, match="the model has 8 units, the unit tokenizer 5"):
        check_heads(make_model(), make_mfcc_tokenizer(5))
