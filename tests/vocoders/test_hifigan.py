"""HiFi-GAN on mel, units and a speaker embedding (lip2speech/vocoders/hifigan.py)."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.audio.mel import MelConfig
from lip2speech.models.prediction import Prediction
from lip2speech.modules.conv import fold_weight_norm
from lip2speech.vocoders import HiFiGAN, HiFiGANConfig
from lip2speech.vocoders.hifigan import UNIT_MEL, MRFBlock

SMALL = HiFiGANConfig(n_units=8, unit_dim=4, speaker_dim=6, channels=32)


@pytest.fixture(scope="module")
def vocoder() -> HiFiGAN:
    torch.manual_seed(0)
    return HiFiGAN(SMALL).eval()


def prediction(batch: int, frames: int, seed: int = 0) -> Prediction:
    generator = torch.Generator().manual_seed(seed)
    return Prediction(
        mel=torch.randn(batch, 80, 4 * frames, generator=generator),
        unit_logits=torch.randn(batch, 8, 2 * frames, generator=generator),
        speaker=torch.randn(batch, 6, generator=generator),
    )


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_a_video_frame_becomes_640_samples(vocoder: HiFiGAN, batch: int, frames: int) -> None:
    wav = vocoder(prediction(batch, frames))
    assert (wav.shape, wav.dtype) == ((batch, 1, 640 * frames), torch.float32)
    assert wav.abs().max() <= 1
    assert vocoder.sample_rate == 16_000


@torch.no_grad()
@pytest.mark.parametrize("name", ["mel", "unit_logits", "speaker"])
def test_every_input_is_used_and_required(vocoder: HiFiGAN, name: str) -> None:
    given, other = prediction(1, 3), prediction(1, 3, seed=1)
    changed = replace(given, **{name: getattr(other, name)})
    assert not torch.allclose(vocoder(changed), vocoder(given), atol=1e-6)
    with pytest.raises(ValueError, match=f"needs {name}"):
        vocoder(replace(given, **{name: None}))


@torch.no_grad()
def test_the_most_likely_unit_is_rendered(vocoder: HiFiGAN) -> None:
    given = prediction(2, 3)
    assert given.mel is not None
    assert given.unit_logits is not None
    assert given.speaker is not None
    output = vocoder.generate(given.mel, given.unit_logits.argmax(1), given.speaker)
    assert torch.equal(vocoder(given), output)


@torch.no_grad()
def test_clips_of_a_batch_do_not_influence_each_other(vocoder: HiFiGAN) -> None:
    both = prediction(2, 3)
    for i in range(2):
        alone = Prediction(**{name: getattr(both, name)[i : i + 1] for name in vocoder.needs})
        torch.testing.assert_close(vocoder(alone)[0], vocoder(both)[i], rtol=0, atol=1e-6)


@torch.no_grad()
def test_folding_the_weight_norm_changes_nothing() -> None:
    vocoder = HiFiGAN(SMALL).eval()
    given, before = prediction(1, 2), vocoder(prediction(1, 2))
    fold_weight_norm(vocoder)
    assert not any("parametrizations" in name for name in vocoder.state_dict())
    torch.testing.assert_close(vocoder(given), before, rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_residual_block_is_the_papers_loop() -> None:
    torch.manual_seed(1)
    block, x = MRFBlock(4, 5, (1, 3)).eval(), torch.randn(2, 4, 20)
    weights = [
        (p.conv.weight, p.conv.bias) for pair in zip(block.convs1, block.convs2, strict=True) for p in pair
    ]
    y = x
    for (first, bias1), (second, bias2), dilation in zip(weights[::2], weights[1::2], (1, 3), strict=True):
        inner = F.conv1d(F.leaky_relu(y, 0.1), first, bias1, padding=2 * dilation, dilation=dilation)
        y = y + F.conv1d(F.leaky_relu(inner, 0.1), second, bias2, padding=2)
    torch.testing.assert_close(block(x), y, rtol=0, atol=1e-5)


def test_a_few_training_steps_reduce_the_error() -> None:
    torch.manual_seed(0)
    vocoder, given = HiFiGAN(SMALL), prediction(1, 2)
    target = 0.3 * torch.sin(torch.arange(1280.0) / 10)[None, None]
    optimizer = torch.optim.Adam(vocoder.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = F.mse_loss(vocoder(given), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_streaming_is_refused(vocoder: HiFiGAN) -> None:
    with pytest.raises(ValueError, match="HiFiGAN does not stream"):
        vocoder.step(prediction(1, 1))


@pytest.mark.parametrize(
    ("mel", "units", "speaker"),
    [
        (torch.zeros(1, 80, 5), torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 6)),
        (torch.zeros(1, 40, 4), torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 6)),
        (torch.zeros(1, 80, 4), torch.zeros(1, 2, dtype=torch.long), torch.zeros(2, 6)),
        (torch.zeros(1, 80, 4), torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 7)),
        (torch.zeros(1, 80, 0), torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, 6)),
        (torch.zeros(1, 80, 4), torch.zeros(2, dtype=torch.long), torch.zeros(1, 6)),
    ],
)
def test_mismatched_shapes_are_refused(vocoder: HiFiGAN, mel: Tensor, units: Tensor, speaker: Tensor) -> None:
    with pytest.raises(ValueError, match=r"must be \(B, 80, 2N\), \(B, N\) and \(B, 6\), got"):
        vocoder.generate(mel, units, speaker)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"ratios": (5, 4, 2, 2)}, "ratios and kernels must be equally many"),
        ({"ratios": (5, 4, 2, 2, 4)}, "ratios must multiply to hop_length 160"),
        ({"mel": MelConfig(hop_length=320)}, "ratios must multiply to hop_length 320"),
        ({"kernels": (10, 8, 4, 4, 4)}, "kernels must exceed their ratios by 0, 2, 4"),
        ({"kernels": (3, 8, 4, 4, 4)}, "kernels must exceed their ratios by 0, 2, 4"),
        ({"block_kernels": (3, 7, 10)}, "block_kernels must be odd"),
        ({"dilations": ((1, 3, 5),)}, "block_kernels and dilations"),
        ({"channels": 48}, "channels a multiple of 32"),
    ],
)
def test_invalid_configs_are_refused(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HiFiGANConfig(**numbers)


def test_the_defaults_are_the_published_config() -> None:
    assert HiFiGANConfig().mel == UNIT_MEL == MelConfig(n_fft=640, win_length=640, pad="reflect")
    with torch.device("meta"):
        size = sum(p.numel() for p in HiFiGAN().parameters())
    assert round(size / 1e6, 1) == 14.1
