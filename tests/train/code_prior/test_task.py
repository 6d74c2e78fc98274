"""Training of tiny code priors (lip2speech/train/code_prior/task.py)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lip2speech import checkpoint
from lip2speech.codecs import code_fingerprint
from lip2speech.config import ConfigError, from_dict
from lip2speech.models.code_prior import load_code_prior
from lip2speech.train.code_prior.task import CodePriorTask, CodePriorTrainConfig
from lip2speech.train.core.trainer import Trainer
from tests.factories import save_codec, save_sacodec


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_codec(tmp_path_factory.mktemp("codecs") / "tiny")


def config(folder: Path, codec: Path, **changes: Any) -> CodePriorTrainConfig:
    values = {
        "prior": {"n_q": 2, "codebook_size": 16, "channels": 8, "layers": 2},
        "trainer": {"steps": 4, "batch_size": 2, "save_every": 2, "valid_every": 4},
        "optimizer": {"lr": 1e-2, "warmup_steps": 1},
        "train_data": [str(folder)],
        "codec_path": str(codec),
        "segment_steps": 12,
        "ema_decay": 0.9,
    }
    return from_dict(CodePriorTrainConfig, values | changes)


def test_training_lowers_the_bits_per_code(prepared: Path, codec: Path) -> None:
    task = CodePriorTask(config(prepared, codec, trainer={"steps": 30, "batch_size": 4}))
    first = task.validate()["bits"]
    bits = [task.training_step(step)["bits"] for step in range(30)]
    assert np.mean(bits[-3:]) < np.mean(bits[:3]) - 0.5, bits
    assert task.validate()["bits"] < first - 0.3


def test_a_resumed_run_exports_the_same_bits_as_an_uninterrupted_one(
    prepared: Path, codec: Path, tmp_path: Path
) -> None:
    values = config(prepared, codec)
    Trainer(values.trainer, tmp_path / "whole", quiet=True).fit(CodePriorTask(values))
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "step-00000002.pt").rename(tmp_path / "half" / "step-00000002.pt")
    Trainer(values.trainer, tmp_path / "half", quiet=True).fit(CodePriorTask(values))
    whole, half = (checkpoint.load(tmp_path / name / "final").tensors for name in ("whole", "half"))
    assert all(torch.equal(whole[name], half[name]) for name in whole)


def test_a_trained_prior_is_exported_and_loaded(prepared: Path, codec: Path, tmp_path: Path) -> None:
    task = CodePriorTask(config(prepared, codec))
    Trainer(task.config.trainer, tmp_path, quiet=True).fit(task)
    codes, speakers = task.valid_set.sample(2, np.random.default_rng(0))
    loaded = load_code_prior(tmp_path / "final")
    assert torch.equal(loaded.bits(codes, speakers), task.ema_model().bits(codes, speakers))
    stored = checkpoint.load(tmp_path / "final").config
    assert (stored["codec"], stored["speaker"]) == (code_fingerprint(task.codec), "ltas")


def test_codebooks_of_different_sizes_are_modeled(prepared: Path, tmp_path: Path) -> None:
    sizes = {"n_q": 2, "codebook_size": [6, 16], "channels": 8, "layers": 2}
    task = CodePriorTask(config(prepared, save_sacodec(tmp_path / "sa"), prior=sizes))
    bits = [task.training_step(step)["bits"] for step in range(12)]
    assert np.mean(bits[-3:]) < np.mean(bits[:3])
    assert task.validate()["bits/0"] < 1.5 * np.log2(6)


@pytest.mark.parametrize("dim", [0, 163])
def test_validation_reports_bits_by_codebook_and_for_shuffled_codes(
    prepared: Path, codec: Path, dim: int
) -> None:
    sizes = {"n_q": 2, "codebook_size": 16, "channels": 4, "layers": 1, "speaker_dim": dim, "type": "plain"}
    task = CodePriorTask(config(prepared, codec, prior=sizes))
    metrics = task.validate()
    assert set(metrics) == {"bits/0", "bits/1", "bits", "bits_shuffled", "loss"}
    assert metrics["bits"] == pytest.approx((metrics["bits/0"] + metrics["bits/1"]) / 2, abs=1e-5)
    assert task.validate() == metrics


def test_a_segment_is_a_span_of_a_clips_codes(prepared: Path, codec: Path) -> None:
    segments = CodePriorTask(config(prepared, codec)).train_set
    codes, speakers = segments.sample(3, np.random.default_rng(0))
    assert (codes.shape, speakers.shape) == ((3, 2, 12), (3, 163))
    segment, whole = segments.segment(1, np.random.default_rng(0)), segments.codes[1]
    assert whole.shape == (2, 2 * segments.clips[1].n_frames)
    assert any(torch.equal(whole[:, s : s + 12], segment) for s in range(whole.shape[1] - 11))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"n_q": 3, "codebook_size": 16},
            "the prior models 3 codebooks of 16, the codec has 2 codebooks of 16",
        ),
        (
            {"n_q": 2, "codebook_size": 32},
            "the prior models 2 codebooks of 32, the codec has 2 codebooks of 16",
        ),
        (
            {"n_q": 2, "codebook_size": 16, "speaker_dim": 9},
            "speaker_dim is 9, speaker embeddings have 163 values",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(prepared: Path, codec: Path, sizes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CodePriorTask(config(prepared, codec, prior=sizes))


def test_a_segment_of_one_step_is_refused(prepared: Path, codec: Path) -> None:
    with pytest.raises(ConfigError, match="segment_steps must be 2 or more"):
        config(prepared, codec, segment_steps=1)
