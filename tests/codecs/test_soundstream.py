"""SoundStream (lip2speech/codecs/soundstream.py): streaming, quantizer dropout, denoising."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lip2speech.codecs import CODECS, SoundStream, SoundStreamConfig, code_fingerprint
from lip2speech.codecs.quantization import QuantizerConfig, sample_quantizer_dropout

BASE = SoundStreamConfig()
TINY = replace(
    BASE,
    encoder=replace(BASE.encoder, dimension=6, n_filters=2),
    decoder=replace(BASE.decoder, dimension=6, n_filters=3),
    quantizer=QuantizerConfig(n_q=4, codebook_size=16, codebook_dim=6),
)


def wav(samples: int, batch: int = 2) -> Tensor:
    return 0.1 * torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(1))


def build(config: SoundStreamConfig = TINY) -> SoundStream:
    """Random weights, codebooks placed on noise, a switch that does something."""
    torch.manual_seed(0)
    codec = SoundStream(config)
    if codec.film is not None:
        torch.nn.init.normal_(codec.film.linear.weight)
    codec.quantizer.init_codebooks(codec.encode_latent(wav(32000)))
    return codec.eval()


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_encoding_and_decoding_keeps_the_length(batch, frames):
    codec = build()
    codes = codec.encode(wav(320 * frames, batch))
    assert codes.shape == (batch, 4, frames)
    y = codec.decode(codes)
    assert y.shape == (batch, 1, 320 * frames)
    assert y.dtype == torch.float32


@pytest.mark.parametrize(("sample_rate", "frame_rate"), [(16000, 50), (24000, 75)])
def test_the_sample_rate_is_configurable(sample_rate, frame_rate):
    codec = build(replace(TINY, sample_rate=sample_rate))
    assert (codec.frame_rate, codec.hop_length) == (frame_rate, 320)


def test_the_residual_units_are_the_papers():
    convs = [m for m in build().encoder.modules() if getattr(m, "dilation", 1) != 1]
    assert [c.dilation for c in convs if hasattr(c, "context")] == [3, 9] * 4
    assert not any(isinstance(m, torch.nn.LSTM) for m in build().modules())
    assert CODECS["soundstream"] is SoundStream


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_decoding_in_chunks_equals_one_pass(size):
    codec = build()
    codes = codec.encode(wav(320 * 12))
    state, chunks = None, []
    for chunk in codes.split(size, dim=-1):
        y, state = codec.decode_step(chunk, state)
        chunks.append(y)
    one_pass = codec.decode(codes)
    assert (torch.cat(chunks, -1) - one_pass).abs().max() <= 1e-6 * one_pass.abs().max()


@pytest.mark.parametrize("denoise", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_encoding_in_chunks_equals_one_pass(size, denoise):
    codec, x = build(), wav(320 * 12)
    state, chunks = None, []
    for chunk in x.split(320 * size, dim=-1):
        codes, state = codec.encode_step(chunk, state, denoise=denoise)
        chunks.append(codes)
    decoded = codec.latent_from_codes(torch.cat(chunks, -1))
    one_pass = codec.latent_from_codes(codec.encode(x, denoise=denoise))
    assert (decoded - one_pass).abs().max() <= 1e-6 * one_pass.abs().max()


@pytest.mark.parametrize("denoise", [False, True])
def test_a_latent_does_not_depend_on_later_audio(denoise):
    codec, x = build(), wav(320 * 12)
    other = x.clone()
    other[..., 320 * 7 :] = 0.5
    a, b = codec.encode_latent(x, denoise=denoise), codec.encode_latent(other, denoise=denoise)
    torch.testing.assert_close(a[..., :7], b[..., :7], rtol=0, atol=1e-6)
    assert not torch.allclose(a[..., 7:], b[..., 7:])


def test_a_wav_does_not_depend_on_later_codes():
    codec = build()
    codes = codec.encode(wav(320 * 12))
    other = codes.clone()
    other[..., 7:] = (other[..., 7:] + 1) % 16
    a, b = codec.decode(codes), codec.decode(other)
    torch.testing.assert_close(a[..., : 320 * 7], b[..., : 320 * 7], rtol=0, atol=1e-6)
    assert not torch.allclose(a[..., 320 * 7 :], b[..., 320 * 7 :])


@pytest.mark.parametrize("n_q", [1, 2, 3, 4])
def test_fewer_codebooks_are_the_first_of_all_and_decode(n_q):
    codec, x = build(), wav(320 * 5)
    codes = codec.encode(x, n_q)
    assert torch.equal(codes, codec.encode(x)[:, :n_q])
    assert codec.decode(codes).shape == x.shape


def test_more_codebooks_reduce_the_quantization_error():
    codec, x = build(), wav(32000)
    latent, codes = codec.encode_latent(x), codec.encode(x)
    errors = [(codec.latent_from_codes(codes[:, :n]) - latent).square().mean().item() for n in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True)


def test_the_denoise_flag_changes_the_codes_once_trained_and_starts_as_the_identity():
    codec, x = build(), wav(320 * 20)
    assert not torch.equal(codec.encode(x), codec.encode(x, denoise=True))
    fresh = SoundStream(TINY)
    assert torch.equal(fresh.encode_latent(x), fresh.encode_latent(x, denoise=True))
    assert torch.equal(fresh.encode_latent(x), fresh.encoder(x))


def test_the_denoise_flag_can_be_set_per_item_and_per_frame():
    codec, x = build(), wav(320 * 6)
    off, on = codec.encode_latent(x), codec.encode_latent(x, denoise=True)
    items = codec.encode_latent(x, denoise=torch.tensor([False, True]))
    assert torch.equal(items, torch.stack([off[0], on[1]]))
    flags = torch.tensor([[False] * 3 + [True] * 3] * 2)
    frames = codec.encode_latent(x, denoise=flags)
    torch.testing.assert_close(frames, torch.cat([off[..., :3], on[..., 3:]], -1))


def test_the_fingerprint_covers_the_film_layer():
    codec = build()
    before = code_fingerprint(codec)
    with torch.no_grad():
        codec.film.linear.bias += 1
    assert code_fingerprint(codec) != before


def test_a_codec_without_denoising_refuses_to_denoise():
    codec = build(replace(TINY, denoising=False))
    assert codec.encode(wav(320)).shape == (2, 4, 1)
    assert (codec.supports_denoising, build().supports_denoising) == (False, True)
    with pytest.raises(ValueError, match="this SoundStream cannot denoise"):
        codec.encode(wav(320), denoise=True)


def test_quantizer_dropout_uses_every_depth_and_reaches_every_parameter():
    codec, x = build().train(), wav(1000, batch=32)
    wav_hat, commit_loss, codes = codec(x, torch.arange(32) % 2 == 0)
    assert wav_hat.shape == x.shape
    assert set((codes >= 0).sum(1)[:, 0].tolist()) == {1, 2, 3, 4}
    (wav_hat.abs().mean() + commit_loss).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in codec.parameters())
    assert (codec.eval()(x)[2] >= 0).all()


def test_quantizer_dropout_draws_depths_uniformly_for_its_share_of_items():
    torch.manual_seed(0)
    assert sample_quantizer_dropout(4, 3, 0.0, torch.device("cpu")) is None
    depths = sample_quantizer_dropout(3000, 3, 0.5, torch.device("cpu"))
    shares = torch.bincount(depths, minlength=4) / 3000
    torch.testing.assert_close(shares, torch.tensor([0.0, 1 / 6, 1 / 6, 2 / 3]), rtol=0, atol=0.03)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.encode(torch.zeros(2, 320)), r"wav must be \(B, 1, T_a\) with T_a >= 1, got \(2, 320\)"),
        (lambda c: c.encode_step(wav(321)), "a step takes a multiple of 320 samples, got 321"),
        (
            lambda c: c.encode(wav(640), denoise=torch.ones(3, dtype=torch.bool)),
            r"denoise must be a bool, or a bool tensor of \(2,\) or \(2, 2\), got \(3,\)",
        ),
        (lambda c: c.encode(wav(640), denoise=torch.ones(2)), "got .* of torch.float32"),
        (lambda c: c.encode(wav(640), n_q=5), r"n_q must be in 1\.\.4, got 5"),
    ],
)
def test_invalid_inputs_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(build())


def test_inconsistent_configs_are_refused():
    with pytest.raises(ValueError, match=r"quantizer.codebook_dim must be equal, got 6, 6 and 8"):
        SoundStream(replace(TINY, quantizer=QuantizerConfig(codebook_dim=8)))
    with pytest.raises(ValueError, match=r"the same ratios and 1 channel, got \(8, 5, 4, 2\) and \(5, 8,"):
        SoundStream(replace(TINY, decoder=replace(TINY.decoder, ratios=(5, 8, 4, 2))))
    with pytest.raises(ValueError, match=r"quantizer_dropout must be in 0..1, got 2"):
        SoundStream(replace(TINY, quantizer_dropout=2.0))
