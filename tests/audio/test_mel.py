"""The log-mel spectrogram (lip2speech/audio/mel.py)."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lip2speech.audio.mel import LogMel, MelConfig, mel_filterbank, mel_to_linear, warp_mel


def sine(hz: float, samples: int = 16000) -> Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(samples) / 16000)[None, None]


def noise(samples: int, batch: int = 1) -> Tensor:
    return 0.1 * torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize(("samples", "frames"), [(160, 1), (320, 2), (1120, 7), (159, 0), (1279, 7)])
def test_same_padding_gives_one_frame_per_hop(batch, samples, frames):
    mel = LogMel()(noise(samples, batch))
    assert mel.shape == (batch, 80, frames)
    assert mel.dtype == torch.float32


def test_center_padding_gives_one_frame_more():
    assert LogMel(MelConfig(pad="center"))(noise(1600)).shape == (1, 80, 11)


@pytest.mark.parametrize("hz", [250.0, 1000.0, 3300.0, 6000.0])
def test_a_pure_tone_is_loudest_in_its_own_band(hz):
    band = int(LogMel()(sine(hz))[0].mean(-1).argmax())
    filters = mel_filterbank(MelConfig())
    bins = filters[:, band].nonzero()[:, 0] * 16000 / 512
    assert bins.min() - 31.25 <= hz <= bins.max() + 31.25


def test_silence_is_at_the_log_floor():
    mel = LogMel()(torch.zeros(1, 1, 800))
    torch.testing.assert_close(mel, torch.full_like(mel, math.log(1e-5)))


def test_one_frame_equals_the_dft_written_out():
    wav = noise(1600)
    padded = torch.nn.functional.pad(wav[0, 0], (176, 176)).double()
    window = torch.zeros(512, dtype=torch.float64)
    for n in range(400):
        window[56 + n] = 0.5 - 0.5 * math.cos(2 * math.pi * n / 400)
    windowed = padded[3 * 160 : 3 * 160 + 512] * window
    cycles = torch.outer(torch.arange(257), torch.arange(512)).double() / 512
    magnitude = torch.polar(torch.ones_like(cycles), -2 * math.pi * cycles) @ windowed.to(torch.complex128)
    expected = (mel_filterbank(MelConfig()).double().t() @ magnitude.abs()).log()
    torch.testing.assert_close(LogMel()(wav)[0, :, 3].double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("norm", ["slaney", None])
def test_the_filterbank_matches_torchaudio(scale, norm):
    torchaudio = pytest.importorskip("torchaudio")
    config = MelConfig(mel_scale=scale, norm=norm, f_min=50.0, f_max=7600.0)
    expected = torchaudio.functional.melscale_fbanks(257, 50.0, 7600.0, 80, 16000, norm, scale)
    torch.testing.assert_close(mel_filterbank(config), expected, rtol=0, atol=1e-5 * float(expected.max()))


@pytest.mark.parametrize("size", [40, 160, 320, 1000])
def test_chunks_of_any_size_equal_one_pass(size):
    mel, wav, state, pieces = LogMel(), noise(4800), None, []
    for chunk in torch.nn.functional.pad(wav, (0, 176)).split(size, dim=-1):
        frames, state = mel.step(chunk, state)
        pieces.append(frames)
    torch.testing.assert_close(torch.cat(pieces, -1), mel(wav), rtol=0, atol=1e-5)


def test_a_frame_depends_on_at_most_120_samples_past_its_hop():
    mel, wav = LogMel(), noise(3200)
    changed = wav.clone()
    changed[..., 5 * 160 + 120 :] = 1
    torch.testing.assert_close(mel(changed)[..., :5], mel(wav)[..., :5], rtol=0, atol=1e-5)
    assert not torch.equal(mel(changed)[..., 5], mel(wav)[..., 5])


def test_there_are_no_parameters_and_no_stored_buffers():
    assert not list(LogMel().parameters())
    assert not LogMel().state_dict()


def test_autocast_does_not_reduce_precision():
    mel, wav = LogMel(), noise(1600)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mel(wav), mel(wav.float()))
        assert mel(wav).dtype == torch.float32


def test_the_linear_spectrum_reproduces_the_mel():
    mel = LogMel()(noise(4800) + sine(440, 4800))
    linear = mel_to_linear(mel)
    assert linear.shape == (1, 257, 30)
    assert float(linear.min()) >= 0
    reconstructed = (mel_filterbank(MelConfig()).t() @ linear).log()
    assert float((reconstructed - mel).abs().mean()) < 0.01


def test_a_wav_without_a_channel_dimension_is_refused():
    with pytest.raises(ValueError, match=r"wav must be \(B, 1, T_a\), got \(2, 160\)"):
        LogMel()(torch.zeros(2, 160))


def test_a_hop_that_cannot_be_centered_is_refused():
    with pytest.raises(ValueError, match="n_fft - hop_length must be even, got"):
        LogMel(MelConfig(hop_length=161))


@pytest.mark.parametrize(
    "change",
    [{"win_length": 600}, {"hop_length": 0}, {"hop_length": 513}, {"n_mels": 0}, {"n_fft": 10**9}],
)
def test_invalid_sizes_are_refused(change):
    with pytest.raises(ValueError, match=r"hop_length and win_length must be 1 .. n_fft, n_fft \* n_"):
        replace(MelConfig(), **change)


def test_center_padding_refuses_to_stream():
    with pytest.raises(ValueError, match='only pad "same" supports streaming'):
        LogMel(MelConfig(pad="center")).step(noise(160))


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_a_warped_mel_peaks_at_the_scaled_frequency(factor):
    time = torch.arange(16_000) / 16_000
    tones = (torch.sin(2 * math.pi * hz * time)[None, None] for hz in (1500, 1500 * factor))
    low, high = (LogMel()(tone)[0].exp().mean(1) for tone in tones)
    moved = warp_mel(low, factor, MelConfig())
    assert abs(int(moved.argmax()) - int(high.argmax())) <= (factor != 1)
    if factor == 1:
        assert torch.equal(moved, low)


def test_warping_keeps_a_flat_mel():
    flat = torch.full((80, 7), -3.0)
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert torch.allclose(warp_mel(flat, factor, MelConfig()), flat)


def test_reflect_padding_matches_lip2speech_unit():
    """Its official features: windows of 40 ms, centered, reflect padding."""
    stored = load_file(Path(__file__).parents[1] / "golden" / "unitmodel" / "mel.safetensors")
    wav = stored["wav_int16"].float()[None, None] / 32768
    found = LogMel(MelConfig(n_fft=640, win_length=640, pad="reflect"))(wav)[0].T
    torch.testing.assert_close(found, stored["mel_640_160"], rtol=0, atol=1e-4)


def test_audio_too_short_for_reflect_padding_is_refused():
    with pytest.raises(ValueError, match="needs more than 256 samples, got 200"):
        LogMel(MelConfig(pad="reflect"))(noise(200))
