"""Losses of all training tasks. Each is a plain function or a module without weights.

Sources: mel + spectral convergence and label-smoothed units as in lip2speech-unit (Choi et al. 2023, section
3.2); multi-scale mel as in EnCodec (Defossez et al. 2022, section 3.4); hinge GAN and feature matching
likewise; letters by CTC (Graves et al. 2006) beside the speech tasks as in Kim et al. 2023 (multi-task lip to
speech synthesis in the wild, section 3.2); correlation of bands over time as ESTOI measures it (Jensen and
Taal 2016, section II), which as a loss does for mel what Kolbaek et al. 2018 did for STOI in enhancement.
The lag-tolerant mel loss is ours: sound and picture of real corpora are offset clip by clip.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import melscale_fbanks

from lip2speech.audio.mel import MelConfig

LOG_FLOOR = 1e-5


def shifted(target: Tensor, lags: Tensor, lengths: Tensor | None = None) -> Tensor:
    """target (B, ..., T) read `lags` (B,) steps later: out[b, ..., t] = target[b, ..., t + lag].

    What lies before the first and after the last of `lengths` (B,) steps (all by default) repeats the edge,
    so that no lag reads a clip's padding; the padding itself stays where it was.
    """
    steps = torch.arange(target.shape[-1], device=target.device)[None]
    ends = torch.full_like(lags, target.shape[-1]) if lengths is None else lengths.to(lags)
    moved = (steps + lags[:, None]).clamp_min(0).minimum(ends[:, None] - 1)
    index = torch.where(steps < ends[:, None], moved, steps)
    index = index.reshape(len(lags), *[1] * (target.ndim - 2), -1).expand_as(target)
    return target.gather(-1, index)


def pitch_loss(predicted: Tensor, target: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """How far the pitch is off where there is one (L1 in octaves), and the cross entropy of voicing.

    Shape: predicted (B, 2, T) with logits of voicing, target (B, 2, T) with its share, keep (B, 1, T).
    """
    keep = keep[:, 0]
    voiced = target[:, 1].clamp(0, 1)
    off = (predicted[:, 0] - target[:, 0]).abs() * voiced * keep
    entropy = F.binary_cross_entropy_with_logits(predicted[:, 1], voiced, reduction="none") * keep
    return off.sum() / (voiced * keep).sum().clamp_min(1.0), entropy.sum() / keep.sum().clamp_min(1.0)


def best_lags(predicted: Tensor, target: Tensor, keep: Tensor, *, max_lag: int, price: float) -> Tensor:
    """The lag (B,) in steps, within +-max_lag, whose L1 plus `price` per step is least (no gradient).

    Shape: predicted, target (B, C, T); keep (B, 1, T) of 0 and 1.
    """
    lengths = keep.sum((1, 2)).long()
    with torch.no_grad():
        costs = []
        for lag in range(-max_lag, max_lag + 1):
            moved = shifted(target, torch.full((len(target),), lag, device=target.device), lengths)
            error = ((predicted - moved).abs() * keep).sum((1, 2)) / (keep.sum((1, 2)) * target.shape[1])
            costs.append(error + price * abs(lag))
        return torch.stack(costs).argmin(0) - max_lag


def mel_loss(predicted: Tensor, target: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """L1 per value and spectral convergence per clip, both means. (B, C, T), keep (B, 1, T) of 0 and 1."""
    error = (predicted - target) * keep
    l1 = error.abs().sum() / (keep.sum() * target.shape[1])
    scale = (target * keep).flatten(1).norm(dim=1).clamp_min(1e-3)
    return l1, (error.flatten(1).norm(dim=1) / scale).mean()


def token_loss(logits: Tensor, tokens: Tensor, *, smoothing: float = 0.1) -> tuple[Tensor, Tensor]:
    """Cross entropy and accuracy, 0 without a token. logits (B, K, ...), tokens (B, ...), -100: padding.

    Smoothing is shared among the K tokens there are; one whose logit is -inf is none.
    """
    known = tokens != -100
    if not known.any():
        return logits.sum() * 0.0, logits.new_zeros(())
    rows = logits.movedim(1, -1).flatten(0, -2)  # (N, K): several times faster than K in the middle
    loss = smoothed_cross_entropy(rows.float(), tokens.flatten(), smoothing)
    hits = (logits.argmax(1) == tokens)[known].float().mean()
    return loss, hits


def smoothed_cross_entropy(rows: Tensor, tokens: Tensor, smoothing: float) -> Tensor:
    """Mean over tokens (N,) that are not -100 of rows (N, K), smoothed over the finite logits of a row."""
    absent = rows == -torch.inf
    if not absent.any():
        return F.cross_entropy(rows, tokens, ignore_index=-100, label_smoothing=smoothing)
    hit = F.cross_entropy(rows, tokens, ignore_index=-100)
    told = rows.log_softmax(-1).masked_fill(absent, 0.0).sum(-1) / (~absent).sum(-1)
    return (1 - smoothing) * hit - smoothing * told[tokens != -100].mean()


def text_loss(logits: Tensor, lengths: Tensor, text: Tensor) -> Tensor:
    """CTC per letter, mean over the clips that have a text; 0 without one or where it cannot fit.

    Shape: logits (B, T, 1 + letters), lengths (B,) of T, text (B, N) from 1 on, -100 where there is none.
    """
    counts = (text > 0).sum(1)
    told = counts > 0
    if not told.any():
        return logits.sum() * 0.0
    logs = logits[told].float().log_softmax(-1).transpose(0, 1)  # (T, B, K)
    letters, counts = text[told].clamp_min(0), counts[told]
    return F.ctc_loss(logs, letters, lengths[told], counts, zero_infinity=True)


class ESTOILoss(nn.Module):
    """1 - ESTOI of log-mels, nearly: the mean correlation of third-octave bands over stretches of 384 ms.

    L1 alone answers doubt with a flat mean; this asks for the rise and fall of every band instead, and for
    the shape over the bands at every moment, whatever their level. Stretches that are silent throughout
    (40 dB below the loudest) or reach into padding do not count. It differs from ESTOI in what a frame is
    (25 ms every 10 ms instead of every 12.8) and in that it drops silent stretches instead of silent frames.

    Shape: predicted, target (B, n_mels, T) natural log of magnitudes, keep (B, 1, T) of 0 and 1 -> scalar
    """

    bands: Tensor
    LOWEST, BANDS = 150.0, 15  # Hz, third octaves
    STRETCH, STEP = 38, 6  # frames of 10 ms
    SILENCE = 10 ** (-40 / 20)

    def __init__(self, config: MelConfig):
        super().__init__()
        self.register_buffer("bands", third_octaves(config, self.LOWEST, self.BANDS), persistent=False)

    def forward(self, predicted: Tensor, target: Tensor, keep: Tensor) -> Tensor:
        if predicted.shape[-1] < self.STRETCH:
            return predicted.sum() * 0.0
        a, b = self.stretches(predicted), self.stretches(target)  # (B, bands, W, STRETCH)
        loud = b.square().sum((1, 3)).sqrt()  # (B, W)
        loudest = loud.amax(1, keepdim=True)
        whole = keep.unfold(-1, self.STRETCH, self.STEP).amin(-1)[:, 0] > 0
        counted = whole & (loud > self.SILENCE * loudest)
        if not counted.any():
            return predicted.sum() * 0.0
        floor = 0.01 * self.SILENCE * loudest[:, None, None]  # a band without sound has no shape
        score = (self.normal(a, floor) * self.normal(b, floor)).sum(1).mean(-1)
        return 1 - score[counted].mean()

    def stretches(self, mel: Tensor) -> Tensor:
        """Log-mel (B, n_mels, T) -> magnitudes of the bands (B, bands, W, STRETCH)."""
        energy = torch.einsum("kn,bnt->bkt", self.bands, (2 * mel).exp())
        return (energy + 1e-12).sqrt().unfold(-1, self.STRETCH, self.STEP)

    def normal(self, x: Tensor, floor: Tensor) -> Tensor:
        """Mean 0 and length 1 over time in each band, then over the bands at each moment."""
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.norm(dim=-1, keepdim=True) + floor)
        x = x - x.mean(1, keepdim=True)
        return x / (x.norm(dim=1, keepdim=True) + 1e-4)


def third_octaves(config: MelConfig, lowest: float, count: int) -> Tensor:
    """How much of each mel band's energy lies in each third octave from `lowest` Hz on, (count, n_mels)."""
    size = config.n_fft // 2 + 1
    hertz = torch.linspace(0, config.sample_rate / 2, 8 * (size - 1) + 1)
    bank = melscale_fbanks(
        len(hertz),
        config.f_min,
        config.f_max,
        config.n_mels,
        config.sample_rate,
        config.norm,
        config.mel_scale,
    )
    centres = lowest * 2 ** (torch.arange(count) / 3)
    inside = (hertz >= centres[:, None] / 2 ** (1 / 6)) & (hertz < centres[:, None] * 2 ** (1 / 6))
    return inside.float() @ (bank / bank.sum(0).clamp_min(1e-9)) * (1 / bank.amax(0).clamp_min(1e-9))


class MultiResolutionSTFTLoss(nn.Module):
    """Log-mel L1, log-magnitude L1 and spectral convergence, mean over several windows; insensitive to phase.

    Shape: two wavs (B, 1, T_a) -> scalar
    """

    def __init__(self, sample_rate: int, windows: tuple[int, ...] = (128, 256, 512, 1024, 2048)):
        super().__init__()
        self.windows = windows
        for n_fft in windows:
            n_mels = min(80, n_fft // 8)
            bank = melscale_fbanks(
                n_fft // 2 + 1, 0.0, sample_rate / 2, n_mels, sample_rate, "slaney", "slaney"
            )
            self.register_buffer(f"bank{n_fft}", bank, persistent=False)
            self.register_buffer(f"window{n_fft}", torch.hann_window(n_fft), persistent=False)

    def forward(self, wav: Tensor, target: Tensor) -> Tensor:
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
        """(B, 1, T_a) -> (B, F, T)"""
        window = getattr(self, f"window{n_fft}")
        spectrum = torch.stft(wav[:, 0], n_fft, n_fft // 4, window=window, return_complex=True)
        return (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()


class MultiScaleMelLoss(nn.Module):
    """Multi-scale mel loss of SoundStream (Zeghidour et al. 2021, section III-E, equations 4 and 5).

    For windows of s = 64 .. 2048 samples, hop s / 4: L1 of mels, and sqrt(s / 2) times the L2 over the bands
    of each frame of log-mels. The paper sums over bands, frames and windows; these are means, and the second
    term is divided by its largest factor, so that the loss is near 1 whatever the length. Short windows have
    fewer than 64 bands: more would be narrower than a bin.

    Shape: two wavs (B, 1, T_a) -> scalar
    """

    WINDOWS = (64, 128, 256, 512, 1024, 2048)

    def __init__(self, sample_rate: int, n_mels: int = 64):
        super().__init__()
        for n_fft in self.WINDOWS:
            bank = melscale_fbanks(
                n_fft // 2 + 1, 0.0, sample_rate / 2, min(n_mels, n_fft // 8), sample_rate, None, "slaney"
            )
            self.register_buffer(f"bank{n_fft}", bank, persistent=False)
            self.register_buffer(f"window{n_fft}", torch.hann_window(n_fft), persistent=False)

    def forward(self, wav: Tensor, target: Tensor) -> Tensor:
        total = wav.new_zeros(())
        for n_fft in self.WINDOWS:
            a, b = self.mel(wav, n_fft), self.mel(target, n_fft)
            off = (a.clamp_min(LOG_FLOOR).log() - b.clamp_min(LOG_FLOOR).log()).square()
            # The root's slope at 0 is infinite; bands that agree must not make NaN.
            log_l2 = (off.mean(-1) + 1e-12).sqrt().mean()
            total = total + F.l1_loss(a, b) + math.sqrt(n_fft / self.WINDOWS[-1]) * log_l2
        return total / len(self.WINDOWS)

    def mel(self, wav: Tensor, n_fft: int) -> Tensor:
        """(B, 1, T_a) -> (B, T, n_mels) magnitudes, of unit power for white noise of unit power."""
        window = getattr(self, f"window{n_fft}")
        spectrum = torch.stft(wav[:, 0], n_fft, n_fft // 4, window=window, return_complex=True)
        spectrum = spectrum / window.square().sum().sqrt()
        magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
        return magnitude.transpose(1, 2) @ getattr(self, f"bank{n_fft}")


def si_sdr(wav: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal to distortion ratio in dB (Le Roux et al. 2019): two (B, 1, T_a) -> (B,)."""
    wav, target = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (wav, target))
    scale = (wav * target).sum(1, keepdim=True) / target.square().sum(1, keepdim=True).clamp_min(1e-12)
    signal, distortion = scale * target, wav - scale * target
    ratio = signal.square().sum(1).clamp_min(1e-12) / distortion.square().sum(1).clamp_min(1e-12)
    return 10 * ratio.log10()


def discriminator_loss(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Hinge loss of the discriminators, mean over scales."""
    terms = [F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(terms).mean()


def adversarial_loss(fake: list[Tensor]) -> Tensor:
    """Hinge loss of the generator, mean over scales."""
    return torch.stack([F.relu(1 - f).mean() for f in fake]).mean()


def feature_loss(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
    """Relative feature matching: L1 between feature maps divided by the real map's mean magnitude."""
    terms = [
        (f - r).abs().mean() / r.abs().mean().clamp_min(1e-4)
        for maps_r, maps_f in zip(real, fake, strict=True)
        for r, f in zip(maps_r, maps_f, strict=True)
    ]
    return torch.stack(terms).mean()
