"""The phase-free codec (lip2speech/codecs/melcodec.py)."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lip2speech.codecs.melcodec import MelCodec, MelCodecConfig, MelEncoderConfig
from lip2speech.codecs.quantization import QuantizerConfig
from lip2speech.modules.seanet import SEANetConfig

TINY = MelCodecConfig(
    encoder=MelEncoderConfig(width=16, blocks=(1, 1), expansion=2),
    quantizer=QuantizerConfig(n_q=3, codebook_size=16, codebook_dim=12),
    decoder=replace(MelCodecConfig().decoder, dimension=12, n_filters=2),
)


def wav(samples: int, batch: int = 2) -> Tensor:
    return 0.1 * torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(1))


def build(config: MelCodecConfig = TINY) -> MelCodec:
    torch.manual_seed(0)
    codec = MelCodec(config)
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


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (319, 1), (321, 2), (1000, 4)])
def test_a_partial_last_frame_is_padded(samples, frames):
    assert build().encode(wav(samples)).shape[-1] == frames


@pytest.mark.parametrize("video_frames", [1, 2, 7])
def test_four_mel_frames_give_two_latent_frames(video_frames):
    mel = torch.zeros(2, 80, 4 * video_frames)
    assert build().latent_from_mel(mel).shape == (2, 12, 2 * video_frames)


def test_a_wav_and_its_mel_have_the_same_latent():
    codec, x = build(), wav(3200)
    assert torch.equal(codec.latent_from_mel(codec.mel(x)), codec.encode_latent(x))


def test_codes_do_not_depend_on_phase():
    """A wav turned upside down has other samples and the same magnitudes."""
    codec, x = build(), wav(3200)
    torch.testing.assert_close(codec.encode_latent(-x), codec.encode_latent(x))


def test_decoding_codes_equals_decoding_the_quantized_latent():
    codec, x = build(), wav(3200)
    quantized, codes, _ = codec.quantizer(codec.encode_latent(x))
    torch.testing.assert_close(codec.latent_from_codes(codec.encode(x)), quantized, rtol=0, atol=1e-6)
    torch.testing.assert_close(codec.decode(codes), codec.decode_latent(quantized), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_decoding_in_chunks_equals_one_pass(size):
    codec = build()
    latent = codec.encode_latent(wav(320 * 12))
    state, chunks = None, []
    for chunk in latent.split(size, dim=-1):
        y, state = codec.decode_step(chunk, state)
        chunks.append(y)
    one_pass = codec.decode_latent(latent)
    assert (torch.cat(chunks, -1) - one_pass).abs().max() <= 1e-6 * one_pass.abs().max()


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_encoding_in_chunks_equals_one_pass_with_one_frame_of_latency(size):
    codec, x = build(), wav(320 * 12)
    state, chunks = None, []
    for chunk in torch.nn.functional.pad(x, (0, 320)).split(320 * size, dim=-1):
        codes, state = codec.encode_step(chunk, state)
        chunks.append(codes)
    assert chunks[0].shape[-1] == size - 1
    decoded, one_pass = (
        codec.latent_from_codes(torch.cat(chunks, -1)),
        codec.latent_from_codes(codec.encode(x)),
    )
    assert (decoded - one_pass).abs().max() <= 1e-6 * one_pass.abs().max()


def test_a_latent_frame_looks_ahead_by_120_samples_only():
    codec, x = build(), wav(320 * 8)
    changed = x.clone()
    changed[..., 3 * 320 + 120 :] = 1
    torch.testing.assert_close(
        codec.encode_latent(changed)[..., :3], codec.encode_latent(x)[..., :3], rtol=0, atol=1e-5
    )


def test_a_decoded_frame_does_not_depend_on_later_ones():
    codec, latent = build(), torch.randn(1, 12, 8, generator=torch.Generator().manual_seed(3))
    changed = torch.cat([latent[..., :3], -latent[..., 3:]], dim=-1)
    known = codec.decode_latent(latent)[..., : 3 * 320]
    assert (codec.decode_latent(changed)[..., : 3 * 320] - known).abs().max() <= 1e-6 * known.abs().max()


def test_the_encoder_can_be_non_causal():
    codec = build(replace(TINY, encoder=replace(TINY.encoder, causal=False)))
    assert codec.encode(wav(3200)).shape == (2, 3, 10)
    with pytest.raises(ValueError, match="causal=False.* run the whole input"):
        codec.encode_step(wav(3200))


@pytest.mark.parametrize("bypass_prob", [0.0, 0.5, 1.0])
def test_a_training_pass_keeps_the_length_and_reaches_every_parameter(bypass_prob):
    torch.manual_seed(0)
    codec, x = build().train(), wav(1000, batch=8)
    wav_hat, commit_loss, _ = codec(x, bypass_prob)
    assert wav_hat.shape == x.shape
    (wav_hat.abs().mean() + commit_loss).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in codec.parameters())


def test_some_items_bypass_the_quantizer_and_the_others_use_one_to_all_codebooks():
    torch.manual_seed(0)
    codec, x = build(), wav(640, batch=64)
    wav_hat, _, codes = codec(x, 0.5)
    plain = (wav_hat - codec.decode_latent(codec.encode_latent(x))).abs().amax(dim=(1, 2)) < 1e-6
    assert 20 <= int(plain.sum()) <= 44
    used = (codes[:, :, 0] >= 0).sum(dim=1)
    assert (used[plain] == 3).all()
    assert set(used[~plain].tolist()) == {1, 2, 3}


def test_bypass_0_quantizes_every_item_and_bypass_1_leaves_the_codebooks_unchanged():
    codec, x = build().train(), wav(640)
    before = codec.quantizer.codebooks[0].entries.clone()
    wav_hat, commit_loss, codes = codec(x, 1.0)
    assert codes is None
    assert commit_loss == 0
    assert torch.equal(codec.quantizer.codebooks[0].entries, before)
    torch.testing.assert_close(wav_hat, codec.decode_latent(codec.encode_latent(x)))


def test_a_few_training_steps_reconstruct_a_tone():
    torch.manual_seed(0)
    codec = build(replace(TINY, quantizer_bypass_prob=0.25)).train()
    before = [codebook.entries.clone() for codebook in codec.quantizer.codebooks]
    x = 0.5 * torch.sin(torch.arange(3200) * 0.05).expand(4, 1, 3200)
    optimizer = torch.optim.Adam(codec.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        wav_hat, commit_loss, _ = codec(x)
        loss = (codec.mel(wav_hat) - codec.mel(x)).abs().mean() + 0.25 * commit_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] * 0.7
    assert all(not torch.equal(a, b.entries) for a, b in zip(before, codec.quantizer.codebooks, strict=True))


def test_training_in_bfloat16_gives_finite_audio():
    codec, x = build().train(), wav(640)
    with torch.autocast("cpu", torch.bfloat16):
        wav_hat, commit_loss, _ = codec(x)
    (wav_hat.float().abs().mean() + commit_loss).backward()
    assert wav_hat.isfinite().all()


def test_the_default_is_50_hz_and_small():
    codec = MelCodec()
    assert (codec.sample_rate, codec.hop_length, codec.frame_rate) == (16000, 320, 50)
    assert (codec.n_q, codec.codebook_size) == (4, 512)
    assert sum(p.numel() for p in codec.parameters()) < 2.1e6
    assert isinstance(codec.config.decoder, SEANetConfig)
    assert codec.config.decoder.pad_mode == "constant"


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 81, 8), r"mel must be \(B, 80, T\) with T a multiple of 2, got \(2, 81, 8\)"),
        ((2, 80, 7), r"mel must be \(B, 80, T\) with T a multiple of 2, got \(2, 80, 7\)"),
        ((80, 8), r"got \(80, 8\)"),
    ],
)
def test_mels_of_a_wrong_shape_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        build().latent_from_mel(torch.zeros(shape))


@pytest.mark.parametrize(
    "config",
    [
        replace(TINY, quantizer=replace(TINY.quantizer, codebook_dim=8)),
        replace(TINY, decoder=replace(TINY.decoder, ratios=(8, 5, 4))),
    ],
)
def test_inconsistent_configs_are_refused(config):
    with pytest.raises(ValueError, match="codebook_dim must equal decoder.dimension and decoder.ratios"):
        MelCodec(config)
