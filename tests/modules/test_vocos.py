"""The Vocos decoder (lip2speech/modules/vocos.py)."""

from dataclasses import replace

import pytest
import torch

from lip2speech.modules.vocos import MAX_MAGNITUDE, SpectrumHead, VocosConfig, VocosDecoder, inverse_stft
from tests.codecs import golden

TINY = VocosConfig(dimension=6, width=64, hidden=96, blocks=1, n_fft=64, hop_length=16)


def decoder(config: VocosConfig = TINY) -> VocosDecoder:
    torch.manual_seed(0)
    return VocosDecoder(config).eval()


def latent(frames: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 6, frames, generator=torch.Generator().manual_seed(1))


def test_outputs_match_the_official_wavtokenizer_decoder():
    worst = max(golden.vocos_rows(), key=lambda row: row[1])
    assert worst[1] <= 1, worst


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_a_frame_becomes_one_hop_of_samples(batch, frames):
    wav = decoder()(latent(frames, batch))
    assert wav.shape == (batch, 1, 16 * frames)
    assert wav.dtype == torch.float32
    assert wav.isfinite().all()


@pytest.mark.parametrize(("n_fft", "hop_length"), [(64, 16), (1280, 320), (48, 24)])
def test_the_inverse_stft_reconstructs_the_signal(n_fft, hop_length):
    wav = torch.randn(2, 9 * hop_length, generator=torch.Generator().manual_seed(0))
    window, surplus = torch.hann_window(n_fft), (n_fft - hop_length) // 2
    framed = torch.nn.functional.pad(wav, (surplus, surplus)).unfold(1, n_fft, hop_length)
    spectrum = torch.fft.rfft(framed * window).transpose(1, 2)
    torch.testing.assert_close(inverse_stft(spectrum, window, hop_length), wav, rtol=0, atol=1e-5)


def test_the_inverse_stft_matches_a_loop():
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.complex(*torch.randn(2, 1, 9, 5, generator=generator))
    window, wav, energy = torch.hann_window(16), torch.zeros(12 + 20), torch.zeros(12 + 20)
    for frame in range(5):
        span = slice(4 * frame, 4 * frame + 16)
        wav[span] += window * torch.fft.irfft(spectrum[0, :, frame], 16)
        energy[span] += window**2
    expected = (wav / energy)[6:26]
    torch.testing.assert_close(inverse_stft(spectrum, window, 4)[0], expected, rtol=0, atol=1e-5)


def test_magnitudes_are_bounded_and_phases_kept():
    """Clamping the wrong half would leave the magnitude unbounded and rotate the phase."""
    head = SpectrumHead(TINY)
    torch.nn.init.zeros_(head.out.weight)
    with torch.no_grad():
        head.out.bias[:33] = torch.linspace(-1, 200, 33)
        head.out.bias[33:] = torch.linspace(0, 300, 33)
    spectrum = head.spectrum(torch.zeros(1, 64, 1))[0, :, 0]
    log_magnitude = torch.linspace(-1, 200, 33).clamp(max=torch.tensor(MAX_MAGNITUDE).log())
    expected = torch.polar(log_magnitude.exp(), torch.linspace(0, 300, 33))
    torch.testing.assert_close(spectrum, expected, rtol=1e-5, atol=1e-3)
    spectrum.abs().sum().backward()
    assert head.out.bias.grad.isfinite().all()


def test_every_frame_depends_on_every_other():
    """Because of attention, which is why the codec refuses to stream."""
    net, x = decoder(), latent(40, batch=1)
    changed = x.clone()
    changed[..., -1] += 1
    assert (net(changed)[..., :16] - net(x)[..., :16]).abs().max() > 0


def test_training_in_bfloat16_gives_finite_float32_audio():
    net = decoder().train()
    with torch.autocast("cpu", torch.bfloat16):
        wav = net(latent(5))
    wav.square().mean().backward()
    assert wav.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_the_default_has_the_published_size():
    with torch.device("meta"):
        net = VocosDecoder(VocosConfig())
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(62.95e6, rel=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 48}, "width must be a multiple of 32 .*, got 48"),
        ({"n_fft": 24}, r"n_fft must be at least 2 \* hop_length .* got 24 and 16"),
        ({"n_fft": 63}, "differ from it by an even number, got 63 and 16"),
    ],
)
def test_inconsistent_configs_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        VocosDecoder(replace(TINY, **changes))
