"""Spectral reconstruction losses: predicted mels, and waveforms at several resolutions."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.audio.mel import MelConfig, mel_filterbank

LOG_FLOOR = 1e-5


def mel_loss(predicted: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """L1 per value and spectral convergence per clip, both means (Choi et al. 2023, section 3.2).

    Args:
        predicted: (B, C, T).
        target: (B, C, T).
        mask: (B, 1, T), 1 at valid frames.

    Returns:
        L1 () and spectral convergence ().
    """
    error = (predicted - target) * mask
    l1 = error.abs().sum() / (mask.sum() * target.shape[1])
    scale = (target * mask).flatten(1).norm(dim=1).clamp_min(1e-3)
    return l1, (error.flatten(1).norm(dim=1) / scale).mean()


class MultiResolutionSTFTLoss(nn.Module):
    """Log-mel L1, log-magnitude L1 and spectral convergence, mean over several windows; insensitive to phase.

    Args:
        sample_rate: of both wavs, in Hz.
        windows: window lengths in samples; the hop is a quarter.

    Shape:
        two wavs (B, 1, T_a) -> ()
    """

    def __init__(self, sample_rate: int, windows: tuple[int, ...] = (128, 256, 512, 1024, 2048)):
        super().__init__()
        self.windows = windows
        for n_fft in windows:
            bank = _mel_filterbank(sample_rate, n_fft, min(80, n_fft // 8), "slaney")
            self.register_buffer(f"bank{n_fft}", bank, persistent=False)
            self.register_buffer(f"window{n_fft}", torch.hann_window(n_fft), persistent=False)

    def forward(self, wav: Tensor, target: Tensor) -> Tensor:
        """Loss ()."""
        total = wav.new_zeros(())
        for n_fft in self.windows:
            a, b = self.magnitude(wav, n_fft), self.magnitude(target, n_fft)
            bank = getattr(self, f"bank{n_fft}")
            mel_a, mel_b = ((m.transpose(1, 2) @ bank).clamp_min(LOG_FLOOR).log() for m in (a, b))
            log_a, log_b = (m.clamp_min(1e-3).log() for m in (a, b))
            convergence = (a - b).norm() / b.norm().clamp_min(1e-3)
            total = total + F.l1_loss(mel_a, mel_b) + 0.5 * F.l1_loss(log_a, log_b) + 0.5 * convergence
        return total / len(self.windows)

    def magnitude(self, wav: Tensor, n_fft: int) -> Tensor:
        """(B, 1, T_a) -> (B, F, T)."""
        return _magnitude(_stft(wav, n_fft, getattr(self, f"window{n_fft}")))


class MultiScaleMelLoss(nn.Module):
    """Multi-scale mel loss of SoundStream (Zeghidour et al. 2021, section III-E, equations 4 and 5).

    For windows of s = 64 .. 2048 samples, hop s / 4: L1 of mels, and sqrt(s / 2) times the L2 over the bands
    of each frame of log-mels. The paper sums over bands, frames and windows; these are means, and the second
    term is divided by its largest factor, so the loss is near 1 for any length. Short windows have fewer than
    64 bands: more would be narrower than a bin.

    Args:
        sample_rate: of both wavs, in Hz.
        n_mels: bands of the long windows.

    Shape:
        two wavs (B, 1, T_a) -> ()
    """

    WINDOWS = (64, 128, 256, 512, 1024, 2048)

    def __init__(self, sample_rate: int, n_mels: int = 64):
        super().__init__()
        for n_fft in self.WINDOWS:
            bank = _mel_filterbank(sample_rate, n_fft, min(n_mels, n_fft // 8), None)
            self.register_buffer(f"bank{n_fft}", bank, persistent=False)
            self.register_buffer(f"window{n_fft}", torch.hann_window(n_fft), persistent=False)

    def forward(self, wav: Tensor, target: Tensor) -> Tensor:
        """Loss ()."""
        total = wav.new_zeros(())
        for n_fft in self.WINDOWS:
            a, b = self.mel(wav, n_fft), self.mel(target, n_fft)
            log_error = (a.clamp_min(LOG_FLOOR).log() - b.clamp_min(LOG_FLOOR).log()).square()
            # The gradient of the root at 0 is infinite; equal bands must not give NaN.
            log_l2 = (log_error.mean(-1) + 1e-12).sqrt().mean()
            total = total + F.l1_loss(a, b) + math.sqrt(n_fft / self.WINDOWS[-1]) * log_l2
        return total / len(self.WINDOWS)

    def mel(self, wav: Tensor, n_fft: int) -> Tensor:
        """(B, 1, T_a) -> (B, T, n_mels) magnitudes, of unit power for white noise of unit power."""
        window = getattr(self, f"window{n_fft}")
        spectrum = _stft(wav, n_fft, window) / window.square().sum().sqrt()
        mel: Tensor = _magnitude(spectrum).transpose(1, 2) @ getattr(self, f"bank{n_fft}")
        return mel


def _mel_filterbank(sample_rate: int, n_fft: int, n_mels: int, norm: Literal["slaney"] | None) -> Tensor:
    """Filters up to the Nyquist frequency, (n_fft / 2 + 1, n_mels)."""
    config = MelConfig(
        sample_rate, n_fft, n_fft, hop_length=n_fft // 4, n_mels=n_mels, f_max=sample_rate / 2, norm=norm
    )
    return mel_filterbank(config)


def _stft(wav: Tensor, n_fft: int, window: Tensor) -> Tensor:
    """(B, 1, T_a) -> complex (B, F, T)."""
    return torch.stft(wav[:, 0], n_fft, n_fft // 4, window=window, return_complex=True)


def _magnitude(spectrum: Tensor) -> Tensor:
    return (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
