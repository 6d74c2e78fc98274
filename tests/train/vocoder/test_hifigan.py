"""Training of a HiFi-GAN (lip2speech/train/vocoder/hifigan.py) with very small numbers."""

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
from lip2speech.train.kmeans import KMeansConfig, fit_kmeans
from lip2speech.train.vocoder.hifigan import HiFiGANTask, HiFiGANTrainConfig
from lip2speech.vocoders import load_vocoder
from tests.factories import save_speaker_encoder


@pytest.fixture(scope="module")
def units(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a unit tokenizer with eight units."""
    folder = tmp_path_factory.mktemp("units") / "units"
    fit_kmeans(KMeansConfig(train_data=(str(prepared),), n_units=8), folder)
    return str(folder)


def config(folder: Path, units: str, **changes: Any) -> HiFiGANTrainConfig:
    numbers = {
        "hifigan": {
            "n_units": 8, "unit_dim": 8, "channels": 32, "ratios": [5, 4, 4, 2], "kernels": [11, 8, 8, 4],
            "block_kernels": [3], "dilations": [[1]],
        },
        "trainer": {"steps": 4, "batch_size": 2, "save_every": 2, "valid_every": 4},
        "optimizer": {"lr": 3e-3, "warmup_steps": 1},
        "train_data": [str(folder)],
        "unit_tokenizer": units,
        "segment_frames": 12,
        "mel_blur_sigma": 1.0,
        "mel_noise_std": 0.2,
        "unit_substitution_prob": 0.5,
        "mpd": {"periods": [2, 3], "filters": 2, "max_filters": 4, "layers": 2},
        "msd": {"filters": 4, "max_filters": 4, "scales": 1},
        "disc_start_step": 1,
        "ema_decay": 0.9,
    }  # fmt: skip
    return from_dict(HiFiGANTrainConfig, numbers | changes)


def test_the_mel_distance_falls(prepared: Path, units: str) -> None:
    task = HiFiGANTask(config(prepared, units, disc_start_step=99, optimizer={"lr": 1e-2, "warmup_steps": 1}))
    assert task.gan is None
    first = task.validate()["mel"]
    mel = [task.training_step(step)["loss/mel"] for step in range(25)]
    assert np.mean(mel[-3:]) < 0.85 * np.mean(mel[:3]), mel
    assert task.validate()["mel"] < 0.85 * first, (first, task.validate())


def test_generator_and_discriminators_learn_from_disc_start_step(prepared: Path, units: str) -> None:
    task = HiFiGANTask(config(prepared, units))
    assert task.gan is not None
    assert set(task.training_step(0)) == {"loss/mel", "grad_norm", "skipped_steps"}
    discriminator = {k: v.detach().clone() for k, v in task.gan.discriminator.named_parameters()}
    vocoder = {k: v.detach().clone() for k, v in task.vocoder.named_parameters()}
    logs = task.training_step(1)
    assert set(logs) == {"loss/disc", "loss/adv", "loss/feat_match", "loss/mel", "grad_norm", "skipped_steps"}
    assert logs["skipped_steps"] == 0
    moved = {k for k, v in task.gan.discriminator.named_parameters() if not torch.equal(v, discriminator[k])}
    assert all(any(k.startswith(f"discriminators.{i}.") for k in moved) for i in range(2 + 1))
    still = {k for k, v in task.vocoder.named_parameters() if torch.equal(v, vocoder[k])}
    assert not still, still


def test_a_resumed_run_equals_an_uninterrupted_one(prepared: Path, units: str, tmp_path: Path) -> None:
    numbers = config(prepared, units)
    Trainer(numbers.trainer, tmp_path / "whole", quiet=True).fit(HiFiGANTask(numbers))
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "step-00000002.pt").rename(tmp_path / "half" / "step-00000002.pt")
    Trainer(numbers.trainer, tmp_path / "half", quiet=True).fit(HiFiGANTask(numbers))
    whole, half = (checkpoint.load(tmp_path / name / "final").tensors for name in ("whole", "half"))
    assert all(torch.equal(whole[name], half[name]) for name in whole)


def test_a_trained_hifigan_is_exported_and_loads(prepared: Path, units: str, tmp_path: Path) -> None:
    task = HiFiGANTask(config(prepared, units))
    Trainer(task.config.trainer, tmp_path, quiet=True).fit(task)
    loaded = load_vocoder(tmp_path / "final")
    logits = torch.nn.functional.one_hot(torch.tensor([[3, 1]]), 8).transpose(1, 2).float()
    p = Prediction(mel=torch.full((1, 80, 4), -6.0), unit_logits=logits, speaker=torch.zeros(1, 163))
    with torch.no_grad():
        assert torch.equal(loaded(p), task.ema_model()(p))
    written = checkpoint.load(tmp_path / "final")
    assert (written.config["name"], written.config["speaker"]) == (
        "hifigan",
        LTASSpeakerEncoder().fingerprint,
    )
    assert "nats" in written.card
    assert "mel, unit_logits, speaker" in written.card


def test_degrading_changes_mel_and_units_but_not_wav_and_speaker(prepared: Path, units: str) -> None:
    task = HiFiGANTask(config(prepared, units, unit_substitution_prob=1.0))
    batch = task.train_set.sample(4, np.random.default_rng(0))
    assert batch.units is not None
    torch.manual_seed(0)
    degraded = task.degrade(batch)
    assert degraded.units is not None
    assert torch.equal(degraded.wav, batch.wav)
    assert torch.equal(degraded.speaker, batch.speaker)
    assert not torch.equal(degraded.mel, batch.mel)
    assert not torch.equal(degraded.units, batch.units)


def test_sizes_must_match_the_unit_tokenizer_and_the_speaker_encoder(
    prepared: Path, units: str, tmp_path: Path
) -> None:
    sizes = {"unit_dim": 8, "channels": 32, "ratios": [5, 4, 4, 2], "kernels": [11, 8, 8, 4]}
    with pytest.raises(ValueError, match="hifigan.n_units is 100, the unit tokenizer .*units' has 8"):
        HiFiGANTask(config(prepared, units, hifigan=sizes))
    with pytest.raises(ValueError, match="conditioned on units; set unit_tokenizer=FOLDER"):
        HiFiGANTask(config(prepared, ""))
    encoder = str(save_speaker_encoder(tmp_path / "encoder"))
    with pytest.raises(ValueError, match="hifigan.speaker_dim is 163, speaker embeddings have 9 dimensions"):
        HiFiGANTask(config(prepared, units, speaker_encoder=encoder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segment_frames": 11}, "segment_frames must be a multiple of 2 .* got 11 and 0.5"),
        ({"unit_substitution_prob": 1.1}, "unit_substitution_prob in 0..1, got 12 and 1.1"),
        ({"mel_blur_sigma": -1.0}, "mel_blur_sigma and mel_noise_std 0 or more"),
        ({"hifigan": {"mel": {"f_max": 7600.0}}}, "leave hifigan.mel at its default"),
    ],
)
def test_invalid_configs_are_refused(prepared: Path, change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(prepared, "units", **change)
