"""The speaker encoder and its training (lip2speech/models/speaker_encoder/xvector.py, lip2speech/train/speaker/task.py)."""

from pathlib import Path

import pytest
import torch

from lip2speech import checkpoint
from lip2speech.models.speaker_encoder.xvector import XVectorConfig, XVectorNet, load_xvector
from lip2speech.train.core.config import OptimizerConfig, TrainerConfig
from lip2speech.train.core.trainer import Trainer
from lip2speech.train.speaker.task import (
    SpeakerTask,
    SpeakerTrainConfig,
    disturb,
    equal_error_rate,
    is_held_out,
    margin_loss,
)
from tests.factories import prepare

TINY = XVectorConfig(channels=16, dilations=(2,), pool_dim=24, attention_dim=8, dim=12)


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of six voices, of which some are held out."""
    return prepare(tmp_path_factory.mktemp("voices") / "clips", splits="train " * 12, speakers="a b c d e f")


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
def test_a_voice_is_a_unit_vector(batch: int, frames: int) -> None:
    encoder = XVectorNet(TINY).eval()
    vectors = encoder(torch.randn(batch, 80, frames))
    assert vectors.shape == (batch, 12)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(batch))


def test_loudness_does_not_matter() -> None:
    encoder = XVectorNet(TINY).eval()
    wav = 0.3 * torch.randn(16000)
    torch.testing.assert_close(encoder.embed(wav), encoder.embed(0.1 * wav), atol=1e-3, rtol=0)


def test_too_short_a_sound_is_refused() -> None:
    with pytest.raises(ValueError, match="half a second and more, got 0.25 s"):
        XVectorNet(TINY).eval().embed(torch.randn(4000))


def test_a_trained_encoder_is_written_and_read(voices: Path, tmp_path: Path) -> None:
    task = SpeakerTask(config(voices))
    Trainer(task.config.trainer, tmp_path / "run", quiet=True).fit(task)
    encoder = load_xvector(tmp_path / "run" / "final")
    wav = torch.randn(16000)
    assert torch.equal(encoder.embed(wav), task.ema_model().embed(wav))


def test_a_resumed_run_ends_as_an_uninterrupted_one(voices: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    Trainer(config(voices).trainer, whole, quiet=True).fit(SpeakerTask(config(voices)))
    task = SpeakerTask(config(voices))  # the schedule is that of four steps
    Trainer(config(voices, steps=2).trainer, parts, quiet=True).fit(task)
    Trainer(config(voices).trainer, parts, quiet=True).fit(SpeakerTask(config(voices)))
    first, second = (checkpoint.load(folder / "final").tensors for folder in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_tells_voices_apart(voices: Path) -> None:
    task = SpeakerTask(config(voices, steps=40))
    logs = [task.training_step(step) for step in range(40)]
    assert sum(log["loss"] for log in logs[-5:]) < 0.7 * sum(log["loss"] for log in logs[:5])


def test_one_voice_is_not_enough(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "clips", splits="train train", speakers="a")
    with pytest.raises(ValueError, match="2 voices to .* are the least, got"):
        SpeakerTask(config(folder))


def test_something_else_is_no_encoder(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "x", {"kind": "lip-model"}, {"a": torch.zeros(1)}, "card")
    with pytest.raises(checkpoint.CheckpointError, match="'lip-model', expected 'speaker-encoder'"):
        load_xvector(tmp_path / "x")


def test_held_out_voices_do_not_depend_on_the_others() -> None:
    names = [f"talkers/{i}" for i in range(200)]
    kept = [name for name in names if is_held_out(name, 10)]
    assert 8 <= len(kept) <= 40
    assert kept[3:] == [name for name in names[names.index(kept[3]) :] if is_held_out(name, 10)]


def test_a_disturbed_mel_keeps_its_loud_places() -> None:
    torch.manual_seed(0)
    mel = torch.full((4, 80, 60), -20.0)
    mel[:, 20:30, 20:40] = 0.0
    other = disturb(mel, tilt=1.5, floor=4.0)
    assert (other[:, 20:30, 20:40].mean() - other[:, 60:, :10].mean()) > 2
    assert (other[:, 60:] > mel[:, 60:] + 2).all()  # noise fills what was silent


def test_the_margin_makes_the_right_voice_harder() -> None:
    cosines, voices = torch.tensor([[0.8, 0.1], [0.0, 0.7]]), torch.tensor([0, 1])
    plain = torch.nn.functional.cross_entropy(30 * cosines, voices)
    torch.testing.assert_close(margin_loss(cosines, voices, 0.0, 30.0), plain)
    assert margin_loss(cosines, voices, 0.2, 30.0) > plain


def test_the_equal_error_rate_of_known_pairs() -> None:
    apart = torch.eye(4)[[0, 0, 1, 1]]
    assert equal_error_rate(apart, torch.tensor([0, 0, 1, 1])) == 0
    assert equal_error_rate(apart, torch.tensor([0, 1, 0, 1])) >= 0.5
    with pytest.raises(ValueError, match="two clips of one voice"):
        equal_error_rate(apart[:2], torch.tensor([0, 1]))
