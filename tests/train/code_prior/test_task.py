"""Training of a likelihood of codes (lip2speech/train/code_prior/task.py) with very small numbers."""

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
    numbers = {
        "prior": {"n_q": 2, "codebook_size": 16, "channels": 8, "layers": 2},
        "trainer": {"steps": 4, "batch_size": 2, "save_every": 2, "valid_every": 4},
        "optimizer": {"lr": 1e-2, "warmup_steps": 1},
        "train_data": [str(folder)],
        "codec_path": str(codec),
        "segment_steps": 12,
        "ema_decay": 0.9,
    }
    return from_dict(CodePriorTrainConfig, numbers | changes)


def test_training_saves_bits(prepared: Path, codec: Path) -> None:
    task = CodePriorTask(config(prepared, codec, trainer={"steps": 30, "batch_size": 4}))
    first = task.validate()["bits"]
    bits = [task.training_step(step)["bits"] for step in range(30)]
    assert np.mean(bits[-3:]) < np.mean(bits[:3]) - 0.5, bits
    assert task.validate()["bits"] < first - 0.3


def test_a_resumed_run_ends_as_an_uninterrupted_one(prepared: Path, codec: Path, tmp_path: Path) -> None:
    numbers = config(prepared, codec)
    Trainer(numbers.trainer, tmp_path / "whole", quiet=True).fit(CodePriorTask(numbers))
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "step-00000002.pt").rename(tmp_path / "half" / "step-00000002.pt")
    Trainer(numbers.trainer, tmp_path / "half", quiet=True).fit(CodePriorTask(numbers))
    whole, half = (checkpoint.load(tmp_path / name / "final").tensors for name in ("whole", "half"))
    assert all(torch.equal(whole[name], half[name]) for name in whole)


def test_a_trained_network_is_written_and_read(prepared: Path, codec: Path, tmp_path: Path) -> None:
    task = CodePriorTask(config(prepared, codec))
    Trainer(task.config.trainer, tmp_path, quiet=True).fit(task)
    codes, voices = task.held_out.draw(2, np.random.default_rng(0))
    loaded = load_code_prior(tmp_path / "final")
    assert torch.equal(loaded.bits(codes, voices), task.ema_model().bits(codes, voices))
    stored = checkpoint.load(tmp_path / "final").config
    assert (stored["codec"], stored["speaker"]) == (code_fingerprint(task.codec), "ltas")


def test_it_learns_the_codes_of_books_of_different_sizes(prepared: Path, tmp_path: Path) -> None:
    sizes = {"n_q": 2, "codebook_size": [6, 16], "channels": 8, "layers": 2}
    task = CodePriorTask(config(prepared, save_sacodec(tmp_path / "sa"), prior=sizes))
    bits = [task.training_step(step)["bits"] for step in range(12)]
    assert np.mean(bits[-3:]) < np.mean(bits[:3])
    assert task.validate()["book0"] < 1.5 * np.log2(6)


@pytest.mark.parametrize("dim", [0, 163])
def test_validation_tells_every_book_and_shuffled_time(prepared: Path, codec: Path, dim: int) -> None:
    sizes = {"n_q": 2, "codebook_size": 16, "channels": 4, "layers": 1, "speaker_dim": dim, "type": "plain"}
    task = CodePriorTask(config(prepared, codec, prior=sizes))
    figures = task.validate()
    assert set(figures) == {"book0", "book1", "bits", "shuffled", "loss"}
    assert figures["bits"] == pytest.approx((figures["book0"] + figures["book1"]) / 2, abs=1e-5)
    assert task.validate() == figures


def test_a_segment_is_a_stretch_of_a_clips_codes(prepared: Path, codec: Path) -> None:
    grids = CodePriorTask(config(prepared, codec)).train_set
    codes, voices = grids.draw(3, np.random.default_rng(0))
    assert (codes.shape, voices.shape) == ((3, 2, 12), (3, 163))
    segment, whole = grids.segment(1, np.random.default_rng(0)), grids.codes[1]
    assert whole.shape == (2, 2 * grids.clips[1].n_frames)
    assert any(torch.equal(whole[:, s : s + 12], segment) for s in range(whole.shape[1] - 11))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_q": 3, "codebook_size": 16}, "is of 3 codebooks of 16, the codec has 2 codebooks of 16"),
        ({"n_q": 2, "codebook_size": 32}, "is of 2 codebooks of 32, the codec has 2 codebooks of 16"),
        (
            {"n_q": 2, "codebook_size": 16, "speaker_dim": 9},
            "vector_dim is 9, voices are heard as 163 numbers",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(prepared: Path, codec: Path, sizes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CodePriorTask(config(prepared, codec, prior=sizes))


def test_a_segment_of_one_step_is_refused(prepared: Path, codec: Path) -> None:
    with pytest.raises(ConfigError, match="steps must be 2 or more"):
        config(prepared, codec, segment_steps=1)
