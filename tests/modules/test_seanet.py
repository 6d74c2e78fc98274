"""SEANet against the official code, and its streaming (lip2speech/modules/seanet.py)."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lip2speech.modules.conv import fold_weight_norm
from lip2speech.modules.seanet import SEANetConfig, SEANetDecoder, SEANetEncoder
from tests.codecs import golden

TINY = SEANetConfig(dimension=6, n_filters=2, n_residual_layers=2, ratios=(4, 3, 2), lstm=1)
HOP = 24


def build(kind: type, config: SEANetConfig = TINY):
    torch.manual_seed(0)
    return kind(config).eval()


def latent(frames: int, batch: int = 2, dimension: int = 6) -> Tensor:
    return torch.randn(batch, dimension, frames, generator=torch.Generator().manual_seed(1))


def wav(samples: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(2))


def largest_share(actual: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert actual.shape == expected.shape
    return ((actual - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_hop_length_samples_become_one_frame_and_back(batch, frames):
    z = build(SEANetEncoder)(wav(frames * HOP, batch))
    assert z.shape == (batch, 6, frames)
    y = build(SEANetDecoder)(z)
    assert y.shape == (batch, 1, frames * HOP)
    assert y.dtype == torch.float32
    assert y.is_contiguous()


@pytest.mark.parametrize("samples", [1, 23, 25, 100])
def test_a_partial_last_frame_is_padded(samples):
    assert build(SEANetEncoder)(wav(samples)).shape[-1] == -(-samples // HOP)


@pytest.mark.parametrize("name", golden.SEANETS)
def test_outputs_match_the_official_seanet(name):
    worst = max(golden.seanet_rows(name), key=lambda row: row[1])
    assert worst[1] <= 1, worst


def test_the_published_24_khz_size_has_the_published_parameters():
    config = SEANetConfig(pad_mode="reflect")
    assert sum(p.numel() for p in SEANetEncoder(config).parameters()) == 7_425_792
    assert sum(p.numel() for p in SEANetDecoder(config).parameters()) == 7_426_018


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("true_skip", [True, False])
def test_decoding_in_chunks_equals_one_pass(size, true_skip):
    decoder, z = build(SEANetDecoder, replace(TINY, true_skip=true_skip)), latent(16)
    state, chunks = None, []
    for chunk in z.split(size, dim=-1):
        y, state = decoder.step(chunk, state)
        chunks.append(y)
    assert largest_share(torch.cat(chunks, -1), decoder(z)) <= 1e-6


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_encoding_in_chunks_equals_one_pass(size):
    encoder, x = build(SEANetEncoder), wav(16 * HOP)
    state, chunks = None, []
    for chunk in x.split(size * HOP, dim=-1):
        z, state = encoder.step(chunk, state)
        chunks.append(z)
    assert largest_share(torch.cat(chunks, -1), encoder(x)) <= 1e-6


def test_a_decoded_frame_does_not_depend_on_later_ones():
    decoder, z = build(SEANetDecoder), latent(8)
    for frames in range(1, 8):
        changed = torch.cat([z[..., :frames], z[..., frames:] * 3 + 1], dim=-1)
        known = decoder(z)[..., : frames * HOP]
        assert largest_share(decoder(changed)[..., : frames * HOP], known) <= 1e-6


def test_a_latent_does_not_depend_on_later_samples():
    encoder, x = build(SEANetEncoder), wav(8 * HOP)
    changed = torch.cat([x[..., : 3 * HOP], -x[..., 3 * HOP :]], dim=-1)
    assert largest_share(encoder(changed)[..., :3], encoder(x)[..., :3]) <= 1e-6


def test_reflection_padding_needs_a_long_first_step():
    decoder, z = build(SEANetDecoder, replace(TINY, pad_mode="reflect")), latent(16)
    changed = torch.cat([z[..., :1], z[..., 1:] * 3 + 1], dim=-1)
    assert not torch.allclose(decoder(changed)[..., :HOP], decoder(z)[..., :HOP])
    with pytest.raises(ValueError, match="pad_mode='reflect' needs more than 6 samples, got 6"):
        decoder.step(z[..., :6])


@pytest.mark.parametrize("size", [1, 2, 8])
def test_chunks_with_reflection_padding_equal_one_pass_after_seven_frames(size):
    config = replace(TINY, pad_mode="reflect", lstm=1)
    encoder, decoder, x = build(SEANetEncoder, config), build(SEANetDecoder, config), wav(16 * HOP)
    for layer, signal, unit in ((encoder, x, HOP), (decoder, encoder(x), 1)):
        y, state = layer.step(signal[..., : 7 * unit])
        chunks = [y]
        for chunk in signal[..., 7 * unit :].split(size * unit, dim=-1):
            y, state = layer.step(chunk, state)
            chunks.append(y)
        assert largest_share(torch.cat(chunks, -1), layer(signal)) <= 1e-6


def test_folding_weight_norm_keeps_the_output():
    decoder, z = build(SEANetDecoder), latent(4)
    before = decoder(z)
    assert largest_share(fold_weight_norm(decoder)(z), before) <= 1e-6
    assert not [name for name in decoder.state_dict() if "parametrizations" in name]


def test_every_parameter_has_a_gradient_in_bfloat16():
    encoder, decoder = build(SEANetEncoder), build(SEANetDecoder)
    with torch.autocast("cpu", torch.bfloat16):
        y = decoder(encoder(wav(4 * HOP)))
    y.float().pow(2).mean().backward()
    for name, weight in [*encoder.named_parameters(), *decoder.named_parameters()]:
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name


def test_an_unknown_final_activation_is_refused():
    with pytest.raises(ValueError, match="final_activation must be null or Tanh, got 'ReLU'"):
        build(SEANetDecoder, replace(TINY, final_activation="ReLU"))
