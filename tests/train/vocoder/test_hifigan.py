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
    """The folder of a teacher of eight units."""
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
        "folders": [str(folder)],
        "units": units,
        "frames": 12,
        "blur": 1.0,
        "noise": 0.2,
        "swaps": 0.5,
        "mpd": {"periods": [2, 3], "filters": 2, "max_filters": 4, "layers": 2},
        "msd": {"filters": 4, "max_filters": 4, "scales": 1},
        "disc_start_step": 1,
        "ema": 0.9,
    }  # fmt: skip
    return from_dict(HiFiGANTrainConfig, numbers | changes)


def test_the_mel_comes_near(prepared: Path, units: str) -> None:
    task = HiFiGANTask(config(prepared, units, gan_from=99, optimizer={"lr": 1e-2, "warmup_steps": 1}))
    assert task.adversary is None
    first = task.validate()["mel"]
    mel = [task.training_step(step)["mel"] for step in range(25)]
    assert np.mean(mel[-3:]) < 0.85 * np.mean(mel[:3]), mel
    assert task.validate()["mel"] < 0.85 * first, (first, task.validate())


def test_both_sides_of_the_gan_learn_from_their_step_on(prepared: Path, units: str) -> None:
    task = HiFiGANTask(config(prepared, units))
    assert task.adversary is not None
    assert set(task.training_step(0)) == {"mel", "grad_norm", "skipped_steps"}
    judge = {k: v.detach().clone() for k, v in task.adversary.discriminator.named_parameters()}
    vocoder = {k: v.detach().clone() for k, v in task.vocoder.named_parameters()}
    logs = task.training_step(1)
    assert set(logs) == {"d", "g", "feat", "mel", "grad_norm", "skipped_steps"} and logs["skipped_steps"] == 0
    moved = {k for k, v in task.adversary.discriminator.named_parameters() if not torch.equal(v, judge[k])}
    assert all(any(k.startswith(f"scales.{i}.") for k in moved) for i in range(2 + 1))
    still = {k for k, v in task.vocoder.named_parameters() if torch.equal(v, vocoder[k])}
    assert not still, still


def test_a_resumed_run_ends_as_an_uninterrupted_one(prepared: Path, units: str, tmp_path: Path) -> None:
    numbers = config(prepared, units)
    Trainer(numbers.trainer, tmp_path / "whole", quiet=True).fit(HiFiGANTask(numbers))
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "step-00000002.pt").rename(tmp_path / "half" / "step-00000002.pt")
    Trainer(numbers.trainer, tmp_path / "half", quiet=True).fit(HiFiGANTask(numbers))
    whole, half = (checkpoint.load(tmp_path / name / "final").tensors for name in ("whole", "half"))
    assert all(torch.equal(whole[name], half[name]) for name in whole)


def test_a_trained_hifigan_is_written_and_read(prepared: Path, units: str, tmp_path: Path) -> None:
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
    assert "nats" in written.card and "mel, unit_logits, speaker" in written.card


def test_it_learns_from_worse_inputs_and_the_same_sound(prepared: Path, units: str) -> None:
    task = HiFiGANTask(config(prepared, units, swaps=1.0))
    drawn = task.train_set.draw(4, np.random.default_rng(0))
    assert drawn.units is not None
    torch.manual_seed(0)
    worse = task.worsened(drawn)
    assert worse.units is not None
    assert torch.equal(worse.wav, drawn.wav) and torch.equal(worse.speaker, drawn.speaker)
    assert not torch.equal(worse.mel, drawn.mel) and not torch.equal(worse.units, drawn.units)


def test_sizes_are_those_of_teacher_and_voice(prepared: Path, units: str, tmp_path: Path) -> None:
    sizes = {"unit_dim": 8, "channels": 32, "ratios": [5, 4, 4, 2], "kernels": [11, 8, 8, 4]}
    with pytest.raises(ValueError, match="hifigan.n_units is 100, the teacher .*units' has 8"):
        HiFiGANTask(config(prepared, units, hifigan=sizes))
    with pytest.raises(ValueError, match="none are taught; give units=FOLDER"):
        HiFiGANTask(config(prepared, ""))
    ears = str(save_speaker_encoder(tmp_path / "ears"))
    with pytest.raises(ValueError, match="hifigan.speaker_dim is 163, voices are heard as 9 numbers"):
        HiFiGANTask(config(prepared, units, speaker=ears))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 11}, "frames must be even, for a unit lasts 2 of them, .* got 11 and 0.5"),
        ({"swaps": 1.1}, "swaps a share of 0 to 1, got 12 and 1.1"),
        ({"blur": -1.0}, "blur and noise 0 or more"),
        ({"hifigan": {"mel": {"f_max": 7600.0}}}, "leave hifigan.mel as it is"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(prepared: Path, change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(prepared, "units", **change)
