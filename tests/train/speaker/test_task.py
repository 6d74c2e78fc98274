"""Training of tiny speaker encoders (lip2speech/train/speaker/task.py)."""

from pathlib import Path

import pytest
import torch

from lip2speech import checkpoint
from lip2speech.models.speaker_encoder.xvector import XVectorConfig, XVectorNet, load_xvector
from lip2speech.train.core.config import OptimizerConfig, TrainerConfig
from lip2speech.train.core.trainer import Trainer
from lip2speech.train.speaker.task import SpeakerTask, SpeakerTrainConfig
from tests.factories import prepare

TINY = XVectorConfig(channels=16, dilations=(2,), pool_dim=24, attention_dim=8, dim=12)


@pytest.fixture(scope="module")
def speakers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of six speakers, of which some are held out."""
    return prepare(
        tmp_path_factory.mktemp("speakers") / "clips", splits="train " * 12, speakers="a b c d e f"
    )


def config(folder: Path, **loop: int) -> SpeakerTrainConfig:
    values = {"steps": 4, "batch_size": 4, "valid_every": 4, "save_every": 2, "log_every": 2} | loop
    return SpeakerTrainConfig(
        encoder=TINY,
        trainer=TrainerConfig(**values),  # type: ignore[arg-type]
        optimizer=OptimizerConfig(warmup_steps=2),
        train_data=(str(folder),),
        held_out=2,
        segment_frames=50,
    )


@pytest.mark.parametrize(("batch", "frames"), [(1, 50), (2, 51), (3, 200)])
def test_an_embedding_is_a_unit_vector(batch: int, frames: int) -> None:
    encoder = XVectorNet(TINY).eval()
    embeddings = encoder(torch.randn(batch, 80, frames))
    assert embeddings.shape == (batch, 12)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(batch))


def test_the_embedding_does_not_depend_on_loudness() -> None:
    encoder = XVectorNet(TINY).eval()
    wav = 0.3 * torch.randn(16000)
    torch.testing.assert_close(encoder.embed(wav), encoder.embed(0.1 * wav), atol=1e-3, rtol=0)


def test_audio_shorter_than_half_a_second_is_refused() -> None:
    with pytest.raises(ValueError, match="half a second of speech or more, got 0.25 s"):
        XVectorNet(TINY).eval().embed(torch.randn(4000))


def test_a_trained_encoder_is_exported_and_loaded(speakers: Path, tmp_path: Path) -> None:
    task = SpeakerTask(config(speakers))
    Trainer(task.config.trainer, tmp_path / "run", quiet=True).fit(task)
    encoder = load_xvector(tmp_path / "run" / "final")
    wav = torch.randn(16000)
    assert torch.equal(encoder.embed(wav), task.ema_model().embed(wav))


def test_a_resumed_run_exports_the_same_bits_as_an_uninterrupted_one(speakers: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    Trainer(config(speakers).trainer, whole, quiet=True).fit(SpeakerTask(config(speakers)))
    task = SpeakerTask(config(speakers))  # the schedule is that of four steps
    Trainer(config(speakers, steps=2).trainer, parts, quiet=True).fit(task)
    Trainer(config(speakers).trainer, parts, quiet=True).fit(SpeakerTask(config(speakers)))
    first, second = (checkpoint.load(folder / "final").tensors for folder in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_lowers_the_loss(speakers: Path) -> None:
    task = SpeakerTask(config(speakers, steps=40))
    logs = [task.training_step(step) for step in range(40)]
    assert sum(log["loss"] for log in logs[-5:]) < 0.7 * sum(log["loss"] for log in logs[:5])


def test_a_single_speaker_is_refused(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "clips", splits="train train", speakers="a")
    with pytest.raises(ValueError, match="needs 2 speakers or more, got"):
        SpeakerTask(config(folder))


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "x", {"kind": "lip-model"}, {"a": torch.zeros(1)}, "card")
    with pytest.raises(checkpoint.CheckpointError, match="'lip-model', expected 'speaker-encoder'"):
        load_xvector(tmp_path / "x")
