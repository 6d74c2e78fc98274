"""EnCodec: parity, segments, streaming (lip2speech/codecs/encodec.py, base.py, __init__.py)."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lip2speech.codecs import CODECS, MelCodecConfig, SoundStreamConfig, build_codec
from lip2speech.codecs.encodec import EnCodec, EnCodecConfig, join_segments
from lip2speech.codecs.quantization import QuantizerConfig
from lip2speech.modules.seanet import SEANetConfig
from tests.codecs import golden

TINY = EnCodecConfig(
    seanet=SEANetConfig(dimension=6, n_filters=2, lstm=1),
    quantizer=QuantizerConfig(n_q=3, codebook_size=16, codebook_dim=6),
)


def wav(samples: int, batch: int = 2) -> Tensor:
    return 0.1 * torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(1))


def build(config: EnCodecConfig = TINY) -> EnCodec:
    torch.manual_seed(0)
    codec = EnCodec(config)
    codec.quantizer.init_codebooks(codec.encode_latent(wav(32000)))
    return codec.eval()


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_encoding_and_decoding_keeps_the_length(batch, frames):
    codec = build()
    codes = codec.encode(wav(320 * frames, batch))
    assert codes.shape == (batch, 3, frames)
    y = codec.decode(codes)
    assert y.shape == (batch, 1, 320 * frames)
    assert y.dtype == torch.float32


@pytest.mark.parametrize("name", golden.WHOLE)
def test_outputs_match_the_official_encodec(name):
    worst = max(golden.whole_rows(name), key=lambda row: row[1])
    assert worst[1] <= 1, worst


def test_normalized_overlapping_segments_match_the_official_ones():
    worst = max(golden.segmented_rows(), key=lambda row: row[1])
    assert worst[1] <= 1, worst


@pytest.mark.parametrize(("sample_rate", "frame_rate"), [(16000, 50), (24000, 75), (48000, 150)])
def test_the_sample_rate_is_configurable(sample_rate, frame_rate):
    codec = build(replace(TINY, sample_rate=sample_rate))
    assert codec.frame_rate == frame_rate
    assert codec.hop_length == 320


@pytest.mark.parametrize(("kbps", "n_q"), [(0.1, 1), (0.25, 1), (0.5, 2), (1.9, 7), (2.0, 8), (99, 8)])
def test_n_q_follows_from_the_bandwidth(kbps, n_q):
    codec, _, _ = golden.encodec("full_16k_50hz_causal")
    assert codec.n_q_for_bandwidth(kbps) == n_q


def test_the_bit_rate_sums_over_codebooks():
    codec = build()
    assert codec.codebook_sizes == (16, 16, 16)
    assert codec.bits_per_second == 50 * 3 * 4


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


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_encoding_in_chunks_equals_one_pass(size):
    codec, x = build(), wav(320 * 12)
    state, chunks = None, []
    for chunk in x.split(320 * size, dim=-1):
        codes, state = codec.encode_step(chunk, state)
        chunks.append(codes)
    decoded, one_pass = (
        codec.latent_from_codes(torch.cat(chunks, -1)),
        codec.latent_from_codes(codec.encode(x)),
    )
    assert (decoded - one_pass).abs().max() <= 1e-6 * one_pass.abs().max()


def test_a_latent_can_be_decoded_in_steps():
    codec = build()
    codes = codec.encode(wav(640))
    from_codes, _ = codec.decode_step(codes)
    from_latent, _ = codec.decode_step(codec.latent_from_codes(codes))
    assert torch.equal(from_codes, from_latent)


def test_a_training_pass_keeps_the_length_and_reaches_every_parameter():
    codec, x = build().train(), wav(1000)
    wav_hat, commit_loss, codes = codec(x)
    assert wav_hat.shape == x.shape
    assert codes.shape == (2, 3, 4)
    (wav_hat.abs().mean() + commit_loss).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in codec.parameters())


def test_quantizer_dropout_is_off_in_eval_mode():
    codec, x = build().train(), wav(320 * 4, batch=32)
    depths = (codec(x)[2] >= 0).sum(1)[:, 0]
    assert set(depths.tolist()) == {1, 2, 3}
    assert (codec.eval()(x)[2] >= 0).all()
    assert (build(replace(TINY, quantizer_dropout=0.0)).train()(x)[2] >= 0).all()


def test_joining_segments_of_one_signal_gives_the_signal():
    signal = torch.arange(30.0).view(1, 1, 30)
    segments = [signal[..., 0:12], signal[..., 9:21], signal[..., 18:30]]
    torch.testing.assert_close(join_segments(segments, 9), signal)


def test_a_saved_codec_gives_the_same_audio(tmp_path):
    codec = build()
    torch.save(codec.state_dict(), tmp_path / "codec.pt")
    again = EnCodec(TINY).eval()
    again.load_state_dict(torch.load(tmp_path / "codec.pt", weights_only=True))
    assert torch.equal(again.decode(again.encode(wav(999))), codec.decode(codec.encode(wav(999))))


def test_a_codec_is_built_from_its_config():
    assert type(build_codec(TINY)) is CODECS["encodec"]
    assert type(build_codec(MelCodecConfig())) is CODECS["melcodec"]
    assert type(build_codec(SoundStreamConfig())) is CODECS["soundstream"]
    with pytest.raises(ValueError, match="config must be one of EnCodecConfig, MelCodecConfig, .* got dict"):
        build_codec({})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.encode(torch.zeros(2, 320)), r"wav must be \(B, 1, T_a\) with T_a >= 1, got \(2, 320\)"),
        (lambda c: c.encode(torch.zeros(1, 2, 320)), r"wav must be \(B, 1, T_a\) .* got \(1, 2, 320\)"),
        (lambda c: c.encode(torch.zeros(1, 1, 0)), r"T_a >= 1, got \(1, 1, 0\)"),
        (lambda c: c.encode_step(wav(321)), "a step takes a multiple of 320 samples, got 321"),
    ],
)
def test_wavs_of_a_wrong_shape_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(build())


def test_a_segmented_codec_refuses_to_encode_to_codes_alone():
    codec = build(replace(TINY, normalize=True))
    with pytest.raises(ValueError, match="use encode_segments and decode_segments"):
        codec.encode(wav(320))
    segments = codec.encode_segments(wav(700))
    assert codec.decode_segments(segments).shape == (2, 1, 960)


def test_inconsistent_configs_are_refused():
    with pytest.raises(ValueError, match=r"codebook_dim must equal seanet.dimension, got 6 and 8"):
        EnCodec(replace(TINY, seanet=replace(TINY.seanet, dimension=8)))
    with pytest.raises(ValueError, match="sample_rate must be a multiple of hop_length, got 22050 and 320"):
        _ = EnCodec(replace(TINY, sample_rate=22050)).frame_rate
