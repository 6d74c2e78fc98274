"""Training of a WaveNet (lip2speech/train/vocoder/wavenet.py) with very small numbers."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lip2speech import checkpoint
from lip2speech.config import ConfigError, from_dict
from lip2speech.models.prediction import Prediction
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder
from lip2speech.train.core.trainer import Trainer
from lip2speech.train.vocoder.wavenet import WaveNetTask, WaveNetTrainConfig
from lip2speech.vocoders import load_vocoder
from tests.factories import save_speaker_encoder


def config(folder: Path, **changes: Any) -> WaveNetTrainConfig:
    numbers = {
        "wavenet": {"stacks": 1, "layers": 3, "channels": 8, "skip": 8, "condition": 8, "classes": 32},
        "trainer": {"steps": 4, "batch_size": 2, "save_every": 2, "valid_every": 4},
        "optimizer": {"lr": 1e-2, "warmup_steps": 1, "weight_decay": 0.0},
        "train_data": [str(folder)],
        "segment_frames": 6,
        "mel_blur_sigma": 1.0,
        "mel_noise_std": 0.2,
        "ema_decay": 0.9,
    }
    return from_dict(WaveNetTrainConfig, numbers | changes)


def test_training_lowers_the_cross_entropy(prepared: Path) -> None:
    fast = {"lr": 3e-2, "warmup_steps": 1, "weight_decay": 0.0}
    task = WaveNetTask(config(prepared, trainer={"steps": 25, "batch_size": 2}, optimizer=fast))
    first = task.validate()["bits_per_sample"]
    assert first == pytest.approx(math.log2(32), abs=0.5)
    bits = [task.training_step(step)["bits_per_sample"] for step in range(25)]
    assert np.mean(bits[-3:]) < np.mean(bits[:3]) - 0.7, bits
    assert task.validate()["bits_per_sample"] < first - 0.3, (first, task.validate())


def test_a_resumed_run_equals_an_uninterrupted_one(prepared: Path, tmp_path: Path) -> None:
    numbers = config(prepared)
    Trainer(numbers.trainer, tmp_path / "whole", quiet=True).fit(WaveNetTask(numbers))
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "step-00000002.pt").rename(tmp_path / "half" / "step-00000002.pt")
    Trainer(numbers.trainer, tmp_path / "half", quiet=True).fit(WaveNetTask(numbers))
    whole, half = (checkpoint.load(tmp_path / name / "final").tensors for name in ("whole", "half"))
    assert all(torch.equal(whole[name], half[name]) for name in whole)


def test_a_trained_wavenet_is_exported_and_loads(prepared: Path, tmp_path: Path) -> None:
    task = WaveNetTask(config(prepared))
    Trainer(task.config.trainer, tmp_path, quiet=True).fit(task)
    loaded = load_vocoder(tmp_path / "final")
    p = Prediction(mel=torch.full((1, 80, 3), -6.0), speaker=torch.zeros(1, 163))
    assert torch.equal(loaded(p), task.ema_model()(p))
    assert checkpoint.load(tmp_path / "final").config["speaker"] == LTASSpeakerEncoder().fingerprint


def test_mels_are_normalized_by_the_training_statistics(prepared: Path) -> None:
    task = WaveNetTask(config(prepared))
    mel = torch.cat([t.mel.float() for t in task.train_set.targets], 1)[None]
    normal = task.vocoder.normalize(mel)
    torch.testing.assert_close(normal.mean(-1), torch.zeros(1, 80), atol=1e-3, rtol=0)
    assert normal.std(-1).max() < 1.01


def test_speaker_dim_must_match_the_speaker_encoder(prepared: Path, tmp_path: Path) -> None:
    encoder = str(save_speaker_encoder(tmp_path / "encoder"))
    with pytest.raises(ValueError, match="wavenet.speaker_dim is 163, speaker embeddings have 9 dimensions"):
        WaveNetTask(config(prepared, speaker_encoder=encoder))
    sizes = {"stacks": 1, "layers": 1, "channels": 4, "skip": 4, "condition": 4, "speaker_dim": 9}
    assert (
        WaveNetTask(config(prepared, speaker_encoder=encoder, wavenet=sizes)).training_step(0)[
            "bits_per_sample"
        ]
        > 0
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"segment_frames": 0},
            "segment_frames must be 1 or more, .* got 0, 1.0 and 0.2",
        ),
        ({"mel_blur_sigma": -1.0}, "mel_blur_sigma and mel_noise_std 0 or more"),
        ({"wavenet": {"mel": {"hop_length": 200}}}, "leave wavenet.mel at its default"),
    ],
)
def test_invalid_configs_are_refused(prepared: Path, change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(prepared, **change)
