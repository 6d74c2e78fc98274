"""Targets of adaptation and their soft-DTW cost against a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.audio.mel import LogMel
from lip2speech.data.unit_tokenizers import SAMPLES_PER_UNIT, load_unit_tokenizer
from lip2speech.models.lip2speech import LipModel
from lip2speech.models.prediction import Prediction
from lip2speech.models.speaker_encoder import SpeakerEncoder
from lip2speech.train.adapt.recordings import Recording


@dataclass(frozen=True)
class AdaptationTarget:
    """Target speech of a prompt in N steps of 20 ms.

    Attributes:
        wav: (T_a,) at 16 kHz.
        mel: (N, 160), two mel frames per step.
        units: (N,), or None without a unit tokenizer.
        speaker: embedding (S,).
    """

    wav: Tensor
    mel: Tensor
    units: Tensor | None
    speaker: Tensor


class TargetSynthesizer:
    """Makes targets from the recorded audio if there is any, else from the prompt in synthetic voices.

    Args:
        unit_tokenizer: its checkpoint folder, empty for none.
        n_voices: synthetic voices for each prompt.
    """

    def __init__(self, unit_tokenizer: str, n_voices: int, speaker_encoder: SpeakerEncoder):
        self.n_voices, self.mel, self.speaker_encoder = n_voices, LogMel(), speaker_encoder
        self.unit_tokenizer = load_unit_tokenizer(unit_tokenizer) if unit_tokenizer else None

    @torch.no_grad()
    def __call__(self, recording: Recording) -> list[AdaptationTarget]:
        """One target for each voice."""
        return [self.target(wav) for wav in recording.target_audio(self.n_voices)]

    def target(self, wav: Tensor) -> AdaptationTarget:
        """The target for audio (T_a,) at 16 kHz."""
        wav = F.pad(wav, (0, -len(wav) % SAMPLES_PER_UNIT))
        units = self.unit_tokenizer(wav) if self.unit_tokenizer else None
        mel = stack_frames(self.mel(wav[None, None]))[0]
        return AdaptationTarget(wav, mel, units, self.speaker_encoder.embed(wav))


def stack_frames(mel: Tensor) -> Tensor:
    """Mel (B, 80, 2N) at 100 Hz -> two consecutive frames side by side at 50 Hz, (B, N, 160)."""
    pairs = mel.reshape(*mel.shape[:2], -1, 2)  # (B, 80, N, 2)
    return pairs.permute(0, 2, 3, 1).flatten(2)


def pairwise_cost(
    model: LipModel, prediction: Prediction, targets: Sequence[AdaptationTarget], unit_weight: float
) -> Tensor:
    """Cost of pairing step i of each prediction with step j of its target.

    The mean L1 distance of mels in standard deviations, plus `unit_weight` times the cross entropy of the
    unit.

    Returns:
        (B, 2T, N), padded at the end.
    """
    std = model.heads.mel_std.repeat(2)
    longest = max(len(t.mel) for t in targets)
    mels = torch.stack([F.pad(t.mel, (0, 0, 0, longest - len(t.mel))) for t in targets])
    predicted = stack_frames(prediction.require("mel").float())
    cost = torch.cdist(predicted / std, mels / std, p=1) / predicted.shape[-1]
    if unit_weight and targets[0].units is not None:
        log_p = prediction.require("unit_logits").float().log_softmax(1)  # (B, K, 2T)
        units = [t.units for t in targets if t.units is not None]
        log_p_of_units = [
            F.pad(row[u], (0, 0, 0, longest - len(u))) for row, u in zip(log_p, units, strict=True)
        ]
        cost = cost - unit_weight * torch.stack(log_p_of_units).mT  # (B, N, 2T) -> (B, 2T, N)
    return cost
