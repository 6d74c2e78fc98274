"""ESTOI as a training loss on log-mels (Jensen and Taal 2016, section II; as a loss for mel what Kolbæk et
al. 2018 did for STOI in speech enhancement).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from lip2speech.audio.mel import MelConfig, mel_filterbank


class ESTOILoss(nn.Module):
    """1 - approximate ESTOI: mean correlation of third-octave bands over segments of 384 ms.

    Under uncertainty L1 alone favors a flat mean; this rewards the modulation of every band and the spectral
    shape of every frame, whatever their level. Segments that are silent throughout (40 dB below the loudest)
    or that contain padding are ignored. Differences from ESTOI: frames are 25 ms every 10 ms instead of every
    12.8 ms, and silent segments are dropped instead of silent frames.

    Shape:
        predicted, target (B, n_mels, T) natural log of magnitudes, mask (B, 1, T) with 1 at valid frames ->
        ()
    """

    bands: Tensor
    MIN_HZ, N_BANDS = 150.0, 15  # third octaves
    SEGMENT, STEP = 38, 6  # frames of 10 ms
    SILENCE = 10 ** (-40 / 20)

    def __init__(self, config: MelConfig):
        super().__init__()
        bands = third_octave_bands(config, self.MIN_HZ, self.N_BANDS)
        self.register_buffer("bands", bands, persistent=False)

    def forward(self, predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Loss (); 0 when no segment counts."""
        if predicted.shape[-1] < self.SEGMENT:
            return predicted.sum() * 0.0
        a, b = self.segments(predicted), self.segments(target)  # (B, bands, W, SEGMENT)
        energy = b.square().sum((1, 3)).sqrt()  # (B, W)
        loudest = energy.amax(1, keepdim=True)
        complete = mask.unfold(-1, self.SEGMENT, self.STEP).amin(-1)[:, 0] > 0
        counted = complete & (energy > self.SILENCE * loudest)
        if not counted.any():
            return predicted.sum() * 0.0
        floor = 0.01 * self.SILENCE * loudest[:, None, None]  # a silent band has no shape
        score = (self.normalize(a, floor) * self.normalize(b, floor)).sum(1).mean(-1)
        return 1 - score[counted].mean()

    def segments(self, mel: Tensor) -> Tensor:
        """Log-mel (B, n_mels, T) -> band magnitudes (B, bands, W, SEGMENT)."""
        energy = torch.einsum("kn,bnt->bkt", self.bands, (2 * mel).exp())
        return (energy + 1e-12).sqrt().unfold(-1, self.SEGMENT, self.STEP)

    def normalize(self, x: Tensor, floor: Tensor) -> Tensor:
        """Zero mean and unit norm over time in each band, then over the bands of each frame."""
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.norm(dim=-1, keepdim=True) + floor)
        x = x - x.mean(1, keepdim=True)
        normalized: Tensor = x / (x.norm(dim=1, keepdim=True) + 1e-4)
        return normalized


def third_octave_bands(config: MelConfig, min_hz: float, n_bands: int) -> Tensor:
    """Share of each mel band's energy in each third octave centered from `min_hz` up, (n_bands, n_mels)."""
    size = config.n_fft // 2 + 1
    hertz = torch.linspace(0, config.sample_rate / 2, 8 * (size - 1) + 1)
    bank = mel_filterbank(replace(config, n_fft=8 * config.n_fft))
    centers = min_hz * 2 ** (torch.arange(n_bands) / 3)
    inside = (hertz >= centers[:, None] / 2 ** (1 / 6)) & (hertz < centers[:, None] * 2 ** (1 / 6))
    return inside.float() @ (bank / bank.sum(0).clamp_min(1e-9)) * (1 / bank.amax(0).clamp_min(1e-9))
