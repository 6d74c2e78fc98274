"""SACodec (lip2speech/codecs/sacodec.py)."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.codecs import CODECS, build_codec, code_fingerprint, codec_name, load_codec
from lip2speech.codecs.quantization.simvq import SemanticCodebookConfig, SimVQConfig
from lip2speech.codecs.sacodec import SACodec, SACodecConfig
from lip2speech.config import to_dict
from lip2speech.modules.seanet import SEANetConfig
from lip2speech.modules.vocos import VocosConfig

TINY = SACodecConfig(
    encoder=SEANetConfig(dimension=6, n_filters=2, lstm=1, causal=False),
    semantic=SemanticCodebookConfig(10, 4),
    acoustic=SimVQConfig(16, 6, bias=False),
    decoder=VocosConfig(dimension=6, width=64, hidden=96, blocks=1),
)


def wav(samples: int, batch: int = 2) -> Tensor:
    return 0.1 * torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(1))


def build(config: SACodecConfig = TINY) -> SACodec:
    torch.manual_seed(0)
    codec = SACodec(config)
    codec.quantizer.semantic.set_centroids(torch.randn(10, 4))
    return codec.eval()


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_encoding_and_decoding_keeps_the_length(batch, frames):
    codec = build()
    codes = codec.encode(wav(320 * frames, batch))
    assert codes.shape == (batch, 2, frames)
    assert (codes.amax((0, 2)) < torch.tensor([10, 16])).all()
    y = codec.decode(codes)
    assert y.shape == (batch, 1, 320 * frames)
    assert y.dtype == torch.float32


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (319, 1), (321, 2), (1000, 4)])
def test_a_partial_last_frame_is_padded(samples, frames):
    assert build().encode(wav(samples)).shape[-1] == frames


def test_decoding_codes_equals_decoding_the_quantized_latent():
    codec, x = build(), wav(3200)
    quantized, codes, _ = codec.quantizer(codec.encode_latent(x))
    torch.testing.assert_close(codec.latent_from_codes(codec.encode(x)), quantized, rtol=0, atol=1e-6)
    torch.testing.assert_close(codec.decode(codes), codec.decode_latent(quantized), rtol=0, atol=1e-5)


def test_semantic_codes_alone_decode():
    codec, x = build(), wav(3200)
    semantic = codec.encode(x, 1)
    assert torch.equal(semantic, codec.encode(x)[:, :1])
    assert codec.decode(semantic).shape == x.shape


def test_a_training_pass_keeps_the_length_and_reaches_every_parameter():
    codec, x = build().train(), wav(1000)
    wav_hat, commit_losses, codes = codec(x)
    assert wav_hat.shape == x.shape
    assert commit_losses.shape == (2,)
    assert codes.shape == (2, 2, 4)
    (wav_hat.abs().mean() + (torch.tensor([25.0, 5.0]) * commit_losses).sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in codec.parameters())


def test_a_causal_encoder_gives_the_same_codes_in_steps():
    codec, x = build(replace(TINY, encoder=replace(TINY.encoder, causal=True))), wav(320 * 12)
    for size in (1, 2, 3, 8):
        state, chunks = None, []
        for chunk in x.split(320 * size, dim=-1):
            codes, state = codec.encode_step(chunk, state)
            chunks.append(codes)
        decoded, one_pass = (
            codec.latent_from_codes(torch.cat(chunks, -1)),
            codec.latent_from_codes(codec.encode(x)),
        )
        assert (decoded - one_pass).abs().max() <= 1e-6 * one_pass.abs().max()


def test_streaming_what_is_not_streamable_is_refused():
    codec = build()
    with pytest.raises(ValueError, match="run the whole input"):
        codec.encode_step(wav(320))
    with pytest.raises(ValueError, match="decoder attends to the whole input .* use a causal codec"):
        codec.decode_step(torch.zeros(1, 2, 3, dtype=torch.long))


def test_the_default_is_16_khz_at_50_hz_and_998_bits_per_second():
    with torch.device("meta"):
        codec = SACodec()
    assert (codec.sample_rate, codec.hop_length, codec.frame_rate) == (16000, 320, 50)
    assert codec.codebook_sizes == (1000, 1024)
    assert (codec.n_q, codec.codebook_size) == (2, 1024)
    assert codec.bits_per_second == pytest.approx(998.3, abs=0.05)


def test_the_bit_rate_at_24_khz_is_the_papers():
    with torch.device("meta"):
        codec = SACodec(SACodecConfig(sample_rate=24000))
    assert codec.bits_per_second == pytest.approx(1497, abs=1)


def test_a_saved_codec_keeps_the_centroids_and_gives_the_same_codes(tmp_path):
    codec = build()
    values = {"kind": "codec", "name": codec_name(codec.config), "codec": to_dict(codec.config)}
    checkpoint.save(tmp_path / "codec", values, codec.state_dict(), "# Codec\n")
    again = load_codec(tmp_path / "codec")
    assert torch.equal(again.encode(wav(999)), codec.encode(wav(999)))
    assert torch.equal(again.decode(again.encode(wav(999))), codec.decode(codec.encode(wav(999))))
    assert code_fingerprint(again) == code_fingerprint(codec)


def test_other_centroids_change_the_fingerprint():
    one, other = build(), build()
    other.quantizer.semantic.set_centroids(torch.ones(10, 4))
    assert code_fingerprint(one) != code_fingerprint(other)


def test_a_codec_is_built_from_its_config():
    assert type(build_codec(TINY)) is CODECS["sacodec"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            replace(TINY, acoustic=SimVQConfig(16, 8)),
            "codebook_dim and decoder.dimension must be equal, got 6, 8 and 6",
        ),
        (
            replace(TINY, encoder=replace(TINY.encoder, ratios=(8, 5, 4))),
            "encoder.ratios must multiply to decoder.hop_length, got 160 and 320",
        ),
        (replace(TINY, encoder=replace(TINY.encoder, channels=2)), "encoder.channels must be 1, got 2"),
    ],
)
def test_inconsistent_configs_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        SACodec(config)
