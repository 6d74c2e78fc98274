"""Training of a WaveNet on prepared clips: the bits it takes to tell each sample, given mel, voice and past.

van den Oord et al. 2016 (see `vocoder/wavenet.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.train.core.device import autocast
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch, seed_step
from lip2speech.train.vocoder.base import HELD_OUT, VocoderTask, VocoderTrainConfig
from lip2speech.train.vocoder.data import smear
from lip2speech.vocoders.wavenet import WaveNet, WaveNetConfig, mu_law_encode


@dataclass(frozen=True)
class WaveNetTrainConfig(VocoderTrainConfig):
    """One training run of a WaveNet."""

    kind: Literal["wavenet"] = "wavenet"
    wavenet: WaveNetConfig = field(default_factory=WaveNetConfig)


class WaveNetTask(VocoderTask):
    """The network, its average, one optimiser."""

    def new_vocoder(self) -> WaveNet:
        wavenet: WaveNet = super().new_vocoder()
        mean, std = self.train_set.statistics()
        wavenet.mel_mean.copy_(mean)
        wavenet.mel_std.copy_(std)
        return wavenet

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        rng = seed_step(self.config.trainer.seed, step, micro_batch)
        drawn = self.train_set.draw(micro_batch.count * self.config.trainer.batch_size, rng).of(micro_batch)
        drawn = self.to_device(
            replace(drawn, mel=smear(drawn.mel, self.config.mel_blur_sigma, self.config.mel_noise_std))
        )
        self.vocoder.train()
        bits = bits_per_sample(
            self.vocoder, drawn.wav, drawn.mel, drawn.speaker, self.config.trainer.precision
        )
        logs = {"bits": bits.item(), "grad_norm": self.optimizer.step(bits * math.log(2), step, micro_batch)}
        self.ema.update(self.vocoder, micro_batch)
        return logs | {"skipped_steps": self.optimizer.skipped_steps}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Bits for a sample of held-out speech, by the averaged network; the same segments every time."""
        wavenet = self.ema_model()
        drawn = self.to_device(self.held_out.draw(HELD_OUT, np.random.default_rng(1)))
        # all at once take too much memory
        told = [bits_per_sample(wavenet, one.wav, one.mel, one.speaker).item() for one in drawn.single()]
        bits = float(np.mean(told))
        return {"bits": bits, "loss": bits}

    def quality(self) -> str:
        return f"{self.validate()['bits']:.3f} bits for a sample"


def bits_per_sample(
    wavenet: WaveNet, wav: Tensor, mel: Tensor, speaker: Tensor, precision: str = "fp32"
) -> Tensor:
    """What it takes to tell each class: wav (B, T_a), mel (B, 80, F), speaker (B, S) -> ()."""
    codes = mu_law_encode(wav, wavenet.config.classes)
    with autocast(precision, wav.device):
        logits = wavenet.logits(codes, mel, speaker)
    return F.cross_entropy(logits.float(), codes) / math.log(2)
