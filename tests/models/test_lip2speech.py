"""The lip model (lip2speech/models/lip2speech.py)."""

import pytest
import torch
from torch import Tensor

from lip2speech.models.lip2speech import LipModel


def video(batch: int, frames: int) -> Tensor:
    return torch.randn(batch, 1, frames, 88, 88, generator=torch.Generator().manual_seed(1))


def voice(batch: int) -> Tensor:
    return torch.randn(batch, 163, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_every_frame_has_mel_units_and_codes(tiny_model: LipModel, batch: int, frames: int) -> None:
    with torch.no_grad():
        found = tiny_model(video(batch, frames), voice(batch))
    assert found.mel.shape == (batch, 80, 4 * frames)
    assert found.unit_logits.shape == (batch, 8, 2 * frames)
    assert found.codes.shape == (batch, 2, 2 * frames)


def test_a_padded_batch_equals_single_clips(tiny_model: LipModel) -> None:
    x, speaker, lengths = video(2, 7), voice(2), [7, 3]
    padding = torch.arange(7)[None] >= torch.tensor(lengths)[:, None]
    with torch.no_grad():
        batch = tiny_model(x, speaker, padding).mel
        for i, length in enumerate(lengths):
            single = tiny_model(x[i : i + 1, :, :length], speaker[i : i + 1]).mel
            torch.testing.assert_close(batch[i : i + 1, :, : 4 * length], single, rtol=1e-4, atol=1e-4)


def test_every_task_has_gradients_in_the_front_end(tiny_model: LipModel) -> None:
    for name in ("mel", "unit_logits", "code_logits", "independent_code_logits"):
        tiny_model.zero_grad()
        tiny_model(video(1, 2), voice(1)).require(name).pow(2).mean().backward()
        stem = tiny_model.frontend.resnet.stem.weight.grad
        assert stem is not None, name
        assert stem.abs().max() > 0, name


def test_a_model_runs_in_bf16_under_autocast(tiny_model: LipModel) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = tiny_model(video(1, 2), voice(1))
    assert found.mel.dtype == torch.float32
    assert torch.isfinite(found.mel).all()
