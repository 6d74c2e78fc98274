"""Training of every waveform codec with its config, made small (lip2speech/train/codec/task.py)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lip2speech.codecs import load_codec
from lip2speech.config import ConfigError, dump_yaml, from_dict, load_yaml
from lip2speech.train.codec import CodecTask, CodecTrainConfig
from lip2speech.train.core.trainer import Trainer

CONFIGS = Path(__file__).parents[3] / "configs" / "codec"
QUANTIZER = {"n_q": 2, "codebook_size": 16, "codebook_dim": 6}
HALF = {"n_filters": 2, "dimension": 6}
SMALL: dict[str, dict[str, Any]] = {
    "encodec": {
        "codec": {"seanet": HALF | {"lstm": 1}, "quantizer": QUANTIZER},
        "msstftd": {"filters": 2, "n_ffts": [256, 128]},
    },
    "soundstream": {
        "codec": {"encoder": HALF, "decoder": HALF, "quantizer": QUANTIZER},
        "msd": {"filters": 4, "max_filters": 8},
        "stftd": {"filters": 2, "n_fft": 128, "hop_length": 32},
    },
}
FAMILY = sorted(SMALL)


def config(name: str, folder: Path, /, **changes: Any) -> CodecTrainConfig:
    """The config in configs/codec with few weights and steps."""
    numbers = load_yaml(CONFIGS / f"{name}.yaml") | SMALL[name]
    numbers |= {
        "trainer": {"steps": 6, "batch_size": 4, "save_every": 3, "valid_every": 6},
        "optimizer": {"lr": 3e-3, "warmup_steps": 1},
        "data": {"prepared_dirs": [str(folder)], "seconds": 0.2},
        "quantizer_start_step": 0,
        "disc_start_step": 2,
        "freeze_encoder_step": 99,
        "ema_decay": 0.9,
    }
    return from_dict(CodecTrainConfig, numbers | changes)


@pytest.mark.parametrize("name", FAMILY)
def test_a_run_resumes_to_the_same_bits_and_exports(name: str, prepared: Path, tmp_path: Path) -> None:
    numbers = config(name, prepared)
    Trainer(numbers.trainer, tmp_path / "whole", quiet=True).fit(CodecTask(numbers))
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "step-00000003.pt").rename(tmp_path / "half" / "step-00000003.pt")
    Trainer(numbers.trainer, tmp_path / "half", quiet=True).fit(CodecTask(numbers))
    whole, half = (load_codec(tmp_path / part / "final") for part in ("whole", "half"))
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, half.state_dict()[key]), key
    codes = whole.encode(torch.zeros(1, 1, 640))
    assert (codes.shape, whole.decode(codes[:, :1]).shape) == ((1, 2, 2), (1, 1, 640))


@pytest.mark.parametrize("name", FAMILY)
def test_the_mel_loss_falls(name: str, prepared: Path) -> None:
    task = CodecTask(config(name, prepared, disc_start_step=99, optimizer={"lr": 1e-2, "warmup_steps": 1}))
    losses = [task.training_step(step)["loss/mel"] for step in range(16)]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:2])


@pytest.mark.parametrize("name", FAMILY)
def test_every_part_of_the_codec_and_the_discriminators_learn(name: str, prepared: Path) -> None:
    task = CodecTask(config(name, prepared, disc_update_prob=1.0))
    for step in range(2):
        assert "loss/disc" not in task.training_step(step)
    discriminator = task.gan.discriminator
    before = {k: v.detach().clone() for k, v in task.codec.state_dict().items()}
    weights = {k: v.detach().clone() for k, v in discriminator.named_parameters()}
    logs = task.training_step(2)
    assert {
        "loss/disc",
        "loss/adv",
        "loss/feat_match",
        "loss/wave",
        "loss/mel",
        "loss/commit",
        "grad_norm",
        "skipped_steps",
    } == set(logs)
    assert logs["skipped_steps"] == 0
    after = task.codec.state_dict()
    film = ("film.",) if name == "soundstream" else ()
    for part in ("encoder.", "quantizer.codebooks.0.entries", "decoder.", *film):
        assert any(not torch.equal(after[n], before[n]) for n in after if n.startswith(part)), part
    moved = {k for k, v in discriminator.named_parameters() if not torch.equal(v, weights[k])}
    assert all(
        any(k.startswith(f"discriminators.{i}.") for k in moved)
        for i in range(len(discriminator.discriminators))
    )


def test_the_balancer_ignores_the_scale_of_a_loss(prepared: Path) -> None:
    """Ten times all weights: ten times the gradient without it, the same with it (one step, no clipping)."""
    norms = {}
    for balance in (False, True):
        for factor in (1.0, 10.0):
            weights = {"wave_weight": factor, "mel_weight": factor}
            changes: dict[str, Any] = {
                "use_balancer": balance,
                "commit_weight": 0.0,
                "disc_start_step": 99,
                **weights,
            }
            norms[balance, factor] = CodecTask(config("encodec", prepared, **changes)).training_step(0)[
                "grad_norm"
            ]
    assert norms[False, 10.0] == pytest.approx(10 * norms[False, 1.0], rel=1e-3)
    assert norms[True, 10.0] == pytest.approx(norms[True, 1.0], rel=1e-3)


def test_a_run_can_resume_with_discriminators_and_balancer_switched_on(prepared: Path) -> None:
    plain = CodecTask(config("encodec", prepared, disc_start_step=99, use_balancer=False))
    plain.training_step(0)
    state = plain.state_dict()
    assert not {"discriminator", "balancer"} & set(state)
    task = CodecTask(config("encodec", prepared, disc_start_step=1, use_balancer=True))
    task.load_state_dict(state)
    assert all(torch.equal(x, task.codec.state_dict()[name]) for name, x in state["codec"].items())
    assert {"loss/disc", "loss/adv", "loss/feat_match"} < set(task.training_step(1))


def test_both_denoise_flags_are_trained_and_validated(prepared: Path) -> None:
    task = CodecTask(config("soundstream", prepared))
    flags = []
    forward = task.codec.film.forward
    task.codec.film.forward = lambda x, flag: flags.append(flag) or forward(x, flag)
    for step in range(4):
        task.training_step(step)
    assert {bool(on) for flag in flags for on in flag} == {True, False}
    metrics = task.validate()
    usage = {"codebook_usage", "codebook_usage/0", "codebook_usage/1"}
    spectral = {"spectral_nq1", "spectral_nq2", "loss"}
    assert {"si_sdr_denoise_off", "si_sdr_denoise_on"} | usage | spectral == set(metrics)
    assert all(np.isfinite(value) for value in metrics.values())


def test_codes_with_and_without_denoising_are_unchanged_once_the_encoder_is_frozen(prepared: Path) -> None:
    task = CodecTask(config("soundstream", prepared, freeze_encoder_step=3))
    wav = 0.1 * torch.randn(2, 1, 3200, generator=torch.Generator().manual_seed(0))
    for step in range(3):
        task.training_step(step)
    before, decoder = task.ema_model(), task.codec.decoder
    weights = [p.detach().clone() for p in decoder.parameters()]
    for step in range(3, 6):
        task.training_step(step)
    after: Any = task.ema_model()
    for denoise in (False, True):
        assert torch.equal(after.encode(wav, denoise=denoise), before.encode(wav, denoise=denoise))
    assert not all(torch.equal(a, b) for a, b in zip(weights, decoder.parameters(), strict=True))


def test_noise_is_refused_for_a_codec_that_cannot_denoise(prepared: Path) -> None:
    with pytest.raises(ValueError, match="noise is for codecs that can denoise, encodec cannot"):
        CodecTask(config("encodec", prepared, noise={}))


def test_a_config_is_completed_with_the_codecs_defaults(prepared: Path) -> None:
    numbers = config("soundstream", prepared)
    assert numbers.codec["encoder"]["dilation_base"] == 3
    assert "dilation_base: 3" in dump_yaml(numbers)
    assert config("soundstream", prepared, codec=numbers.codec).codec == numbers.codec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "opus"}, "no codec is called 'opus'; known: encodec, melcodec, sacodec, soundstream"),
        ({"codec": {"encodr": {}}}, "codec soundstream: unknown key 'encodr'; did you mean encoder"),
        ({"disc_update_prob": 0.0}, "disc_update_prob must be above 0 and at most 1, got 0.0"),
        ({"mel_weight": 0.0, "wave_weight": 0.0}, "there is no reconstruction loss; set wave_weight"),
    ],
)
def test_invalid_configs_are_refused(prepared: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config("soundstream", prepared, **changes)


def test_a_gan_without_discriminators_is_refused(prepared: Path) -> None:
    with pytest.raises(ValueError, match="no discriminator is configured"):
        CodecTask(config("encodec", prepared, msstftd=None))
    assert CodecTask(config("encodec", prepared, msstftd=None, disc_start_step=99)).gan is None


def test_the_period_discriminator_can_be_added(prepared: Path) -> None:
    mpd = {"periods": [2, 3], "filters": 2, "max_filters": 4}
    task = CodecTask(config("encodec", prepared, disc_start_step=0, mpd=mpd))
    assert len(task.gan.discriminator.discriminators) == 2 + 2  # beside those of the multi-scale STFT
    assert task.training_step(0)["skipped_steps"] == 0
