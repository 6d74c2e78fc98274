"""A speaker encoder without learned weights: the long-term average spectrum (LTAS) and F0.

The embedding holds mean and standard deviation of the log-mel over speech frames (vocal tract and microphone)
and the 10, 50 and 90 % quantiles of log2 F0, so it fits every model trained on this definition.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lip2speech.audio.mel import LogMel, MelConfig, warp_mel
from lip2speech.audio.pitch import pitch_quantiles
from lip2speech.models.speaker_encoder.base import check_recording, shift_pitch

LTAS_DIM = 163
SPEECH_FLOOR_NATS = 3.5
"""Below the loudest frame; quieter frames are pauses, which describe the room instead of the speaker."""


class LTASSpeakerEncoder:
    """See `base.SpeakerEncoder`."""

    dim = LTAS_DIM
    fingerprint = "ltas"

    def embed(self, wav: Tensor) -> Tensor:
        """(T_a,) at 16 kHz -> (163,) float32."""
        check_recording(wav)
        wav = wav / wav.abs().max()
        mel = LogMel(MelConfig())(wav[None, None])[0]  # (80, T)
        energy = mel.exp().sum(0).log()
        mel = mel[:, energy > energy.max() - SPEECH_FLOOR_NATS]
        spectrum = torch.cat([mel.mean(1), mel.std(1, correction=0)]) / 4.0 + torch.tensor(
            [1.0] * 80 + [0.0] * 80
        )
        return torch.cat([spectrum, pitch_quantiles(wav)])

    def mean(self, embeddings: Tensor) -> Tensor:
        """(N, 163) -> (163,)."""
        return embeddings.mean(0)

    def warp_vocal_tract(self, embedding: Tensor, mel: Tensor, factor: float) -> Tensor:
        """(163,) -> (163,); `mel` is not used."""
        mean, std, pitch = embedding.split([80, 80, 3])
        warped = [warp_mel(x, factor, MelConfig()) for x in (mean, std)]
        return torch.cat([*warped, shift_pitch(pitch, factor)])
