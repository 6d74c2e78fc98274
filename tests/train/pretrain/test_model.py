"""Modalities and the masked prediction loss (lip2speech/train/pretrain/model.py)."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from lip2speech.train.pretrain.model import MODALITIES, masked_loss
from lip2speech.train.pretrain.task import PretrainTask
from tests.train.pretrain.conftest import N_UNITS, batch_of, config


def test_masked_audio_does_not_change_the_features(task: PretrainTask) -> None:
    model, batch = task.ema_model(), batch_of(task)
    other = batch.audio.clone()
    other[batch.audio_mask[:, None].expand_as(other)] = 7.0
    features = model(batch, MODALITIES["audio"])[0]
    assert torch.equal(features, model(replace(batch, audio=other), MODALITIES["audio"])[0])
    assert not torch.allclose(features, model(replace(batch, audio=-batch.audio), MODALITIES["audio"])[0])


def test_a_dropped_modality_equals_a_missing_input(task: PretrainTask) -> None:
    model, batch = task.ema_model(), batch_of(task)
    batch = replace(batch, audio_mask=torch.zeros_like(batch.audio_mask))
    front, padding = model.frontend, batch.padding_mask
    torch.testing.assert_close(model(batch, MODALITIES["video"])[0], front(batch.video, None, padding))
    torch.testing.assert_close(model(batch, MODALITIES["audio"])[0], front(None, batch.audio, padding))
    torch.testing.assert_close(model(batch, MODALITIES["av"])[0], front(batch.video, batch.audio, padding))


def test_only_masked_frames_contribute_to_the_loss(task: PretrainTask) -> None:
    batch = batch_of(task)
    logits = torch.randn(*batch.clusters.shape, N_UNITS, requires_grad=True)
    loss = masked_loss(logits, batch)
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad.abs().sum(-1) > 0, batch.masked())
    torch.testing.assert_close(loss, F.cross_entropy(logits[batch.masked()], batch.clusters[batch.masked()]))


def test_unmasked_frames_contribute_with_their_weight(task: PretrainTask) -> None:
    batch = batch_of(task)
    logits, seen = torch.randn(*batch.clusters.shape, N_UNITS), ~batch.masked() & ~batch.padding_mask
    hidden, rest = (
        F.cross_entropy(logits[which], batch.clusters[which], reduction="sum")
        for which in (batch.masked(), seen)
    )
    expected = (hidden + 0.5 * rest) / int((~batch.padding_mask).sum())
    torch.testing.assert_close(masked_loss(logits, batch, 0.5), expected)
    assert seen.any()


def test_the_gradient_of_both_modalities_is_scaled_before_fusion(prepared: Path, units: str) -> None:
    grads = []
    for scale in (1.0, 0.1):
        task = PretrainTask(config(prepared, units, feature_grad_mult=scale))
        task.losses(task.model.eval(), batch_of(task), MODALITIES["av"])[0].backward()
        front = task.model.frontend
        grads.append(
            [p.grad for p in (front.video_proj.weight, front.audio_proj.weight, front.fusion_proj.weight)]
        )
    torch.testing.assert_close(0.1 * grads[0][0], grads[1][0])
    torch.testing.assert_close(0.1 * grads[0][1], grads[1][1])
    torch.testing.assert_close(grads[0][2], grads[1][2])


def test_the_mean_square_of_both_modalities_is_penalized(prepared: Path, units: str) -> None:
    losses = []
    for penalty in (0.0, 10.0):
        task = PretrainTask(config(prepared, units, feature_penalty=penalty))
        loss, logs = task.losses(task.model.eval(), batch_of(task), MODALITIES["av"])
        losses.append(loss.item())
    assert losses[1] - losses[0] == pytest.approx(10 * logs["feature_square"], rel=1e-4)
    front, batch = task.model.frontend, batch_of(task)
    kept, audio = (
        ~batch.padding_mask,
        torch.where(batch.audio_mask[:, None], task.model.clusters.mask_embedding[:, None], batch.audio),
    )
    both = torch.cat([front.audio_features(audio)[kept], front.video_features(batch.video, ~kept)[kept]], -1)
    assert logs["feature_square"] == pytest.approx(both.square().mean().item(), rel=1e-4)
