"""Scale-invariant signal-to-distortion ratio of waveforms."""

from __future__ import annotations

from torch import Tensor


def si_sdr(wav: Tensor, target: Tensor) -> Tensor:
    """SI-SDR in dB (Le Roux et al. 2019): two (B, 1, T_a) -> (B,)."""
    wav, target = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (wav, target))
    scale = (wav * target).sum(1, keepdim=True) / target.square().sum(1, keepdim=True).clamp_min(1e-12)
    signal, distortion = scale * target, wav - scale * target
    ratio = signal.square().sum(1).clamp_min(1e-12) / distortion.square().sum(1).clamp_min(1e-12)
    return 10 * ratio.log10()
