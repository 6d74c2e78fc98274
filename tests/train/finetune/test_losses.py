"""Losses at the best offset of each clip (lip2speech/train/finetune/losses.py)."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lip2speech.data.loader import Batch
from lip2speech.models.prediction import Prediction
from lip2speech.train.finetune.losses import offset_steps
from lip2speech.train.finetune.task import FinetuneTask
from tests.train.finetune.conftest import config


def batch_of(mel: Tensor, lengths: list[int], codes: Tensor | None = None) -> Batch:
    frames = mel.shape[-1] // 4
    padding = torch.arange(frames)[None] >= torch.tensor(lengths)[:, None]
    video, speaker = torch.zeros(len(mel), 1, frames, 1, 1), torch.zeros(len(mel), 163)
    return Batch(video, padding, mel, None, codes, speaker)


def random_mel(task: FinetuneTask) -> Tensor:
    """(2, 80, 40) with the statistics of the training mels."""
    heads = task.model.heads
    noise = torch.randn(2, 80, 40, generator=torch.Generator().manual_seed(0))
    return noise * heads.mel_std[:, None] + heads.mel_mean[:, None]


def delayed(mel: Tensor) -> Tensor:
    """The same mel four frames later."""
    return torch.cat([mel[..., :1].expand(2, 80, 4), mel[..., :-4]], 2)


def test_the_offset_of_a_delayed_target_is_found(task: FinetuneTask) -> None:
    mel = random_mel(task)
    assert task.align(batch_of(delayed(mel), [10, 10])).offsets(mel).tolist() == [4, 4]


def test_the_offset_search_makes_a_delayed_target_cheap(task: FinetuneTask) -> None:
    mel = random_mel(task)
    batch = batch_of(delayed(mel), [10, 10])
    loss, logs = task.loss(Prediction(mel=mel), task.align(batch))
    assert logs["offset"] == 4
    mismatched, _ = task.loss(Prediction(mel=mel.flip(0)), task.align(batch))
    assert loss < 0.3 * mismatched


def test_teacher_codes_are_shifted_by_the_offset_of_their_clip(task: FinetuneTask) -> None:
    mel = random_mel(task)
    codes = torch.arange(20).remainder(16).expand(2, 2, 20).clone()
    targets = task.align(batch_of(delayed(mel), [10, 10], codes=codes))
    found = targets.teacher_codes(mel)
    assert torch.equal(found[..., :18], codes[..., 2:])  # 4 mel frames are 2 code steps
    assert torch.equal(found, targets.shift(codes, torch.tensor([4, 4]), 50))


def test_offsets_are_estimated_once_for_teacher_codes_and_losses(task: FinetuneTask) -> None:
    mel = random_mel(task)
    codes = torch.zeros(2, 2, 20, dtype=torch.long)
    targets = task.align(batch_of(delayed(mel), [10, 10], codes=codes))
    targets.teacher_codes(mel)
    assert targets.offsets(torch.zeros_like(mel)).tolist() == [4, 4]


@pytest.mark.parametrize("offset", [-6, 6])
def test_a_shifted_target_of_a_short_clip_reads_no_padding(task: FinetuneTask, offset: int) -> None:
    mel = torch.zeros(1, 80, 40)
    mel[..., :24] = -5.0
    codes = torch.full((1, 2, 20), -100)
    codes[..., :12] = 3
    targets, offsets = task.align(batch_of(mel, [6], codes=codes)), torch.tensor([offset])
    assert (targets.shift(mel, offsets, 100)[..., :24] == -5).all()
    assert (targets.shift(codes, offsets, 50)[..., :12] == 3).all()
    assert (targets.shift(codes, offsets, 50)[..., 12:] == -100).all()


@pytest.mark.parametrize(
    ("rate", "expected"), [(100, [-6, -1, 0, 5]), (50, [-3, 0, 0, 2]), (75, [-4, 0, 0, 3])]
)
def test_offsets_are_rounded_toward_zero_at_every_rate(rate: int, expected: list[int]) -> None:
    assert offset_steps(torch.tensor([-6, -1, 0, 5]), rate).tolist() == expected


def test_the_estoi_loss_is_added_with_its_weight(prepared: Path, teachers: dict[str, str]) -> None:
    without, with_estoi = (
        FinetuneTask(config(prepared, teachers, weights={"estoi": weight})).training_step(0)
        for weight in (0.0, 2.0)
    )
    assert with_estoi["loss"] == pytest.approx(without["loss"] + 2 * without["estoi"], rel=1e-4)
