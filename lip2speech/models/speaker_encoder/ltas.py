"""A voice as its long-term spectrum: a speaker model with nothing learned.

The vector holds the mean and the deviation of the log-mel over speech frames (vocal tract and microphone) and
the 10, 50 and 90 % quantiles of log2 F0 (register and liveliness), so one made today fits every model trained
on this definition. Knows nothing of consent.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lip2speech.audio.mel import LogMel, MelConfig, warp_mel
from lip2speech.audio.pitch import pitch_quantiles
from lip2speech.models.speaker_encoder.base import check_recording, raise_pitch

SPECTRUM_DIM = 163
SPEECH_FLOOR = 3.5  # nats below the loudest frame; quieter frames are pauses and tell the room, not the voice


class LTASSpeakerEncoder:
    """See the module and `base.SpeakerEncoder`."""

    dim = SPECTRUM_DIM
    fingerprint = "spectrum"

    def embed(self, wav: Tensor) -> Tensor:
        """(T_a,) at 16 kHz -> (163,) float32."""
        check_recording(wav)
        level = wav / wav.abs().max()
        mel = LogMel(MelConfig())(level[None, None])[0]  # (80, T)
        energy = mel.exp().sum(0).log()
        mel = mel[:, energy > energy.max() - SPEECH_FLOOR]
        spectrum = torch.cat([mel.mean(1), mel.std(1, correction=0)]) / 4.0 + torch.tensor(
            [1.0] * 80 + [0.0] * 80
        )
        return torch.cat([spectrum, pitch_quantiles(level)])

    def mean(self, vectors: Tensor) -> Tensor:
        return vectors.mean(0)

    def shorten_tract(self, vector: Tensor, mel: Tensor, factor: float) -> Tensor:
        mean, deviation, pitch = vector.split([80, 80, 3])
        moved = [warp_mel(x, factor, MelConfig()) for x in (mean, deviation)]
        return torch.cat([*moved, raise_pitch(pitch, factor)])
