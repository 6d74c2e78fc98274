"""WaveNet training on prepared clips: cross entropy of each sample given mel, speaker embedding and past
samples.

van den Oord et al. 2016; see `lip2speech/vocoders/wavenet.py`.
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
from lip2speech.train.vocoder.base import N_VALIDATION_SEGMENTS, BaseVocoderTrainConfig, VocoderTask
from lip2speech.train.vocoder.data import blur_and_noise_mel
from lip2speech.vocoders.wavenet import WaveNet, WaveNetConfig, mu_law_encode


@dataclass(frozen=True)
class WaveNetTrainConfig(BaseVocoderTrainConfig):
    """One training run of a WaveNet."""

    kind: Literal["wavenet"] = "wavenet"
    wavenet: WaveNetConfig = field(default_factory=WaveNetConfig)


class WaveNetTask(VocoderTask[WaveNetTrainConfig]):
    """A WaveNet, its EMA and one optimizer."""

    def build_vocoder(self) -> WaveNet:
        """A WaveNet with random weights that normalizes by the training mels."""
        wavenet: WaveNet = super().build_vocoder()
        mean, std = self.train_set.mel_statistics()
        wavenet.mel_mean.copy_(mean)
        wavenet.mel_std.copy_(std)
        return wavenet

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        """One micro-batch."""
        c = self.config
        rng = seed_step(c.trainer.seed, step, micro_batch)
        batch = self.train_set.sample(micro_batch.count * c.trainer.batch_size, rng).shard(micro_batch)
        degraded = blur_and_noise_mel(batch.mel, c.mel_blur_sigma, c.mel_noise_std)
        batch = self.to_device(replace(batch, mel=degraded))
        self.vocoder.train()
        bits = bits_per_sample(self.vocoder, batch.wav, batch.mel, batch.speaker, c.trainer.precision)
        metrics = {
            "bits_per_sample": bits.item(),
            "grad_norm": self.optimizer.step(bits * math.log(2), step, micro_batch),
        }
        self.ema.update(self.vocoder, micro_batch)
        return metrics | {"skipped_steps": self.optimizer.skipped_steps}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Bits per sample of the EMA model on fixed held-out segments."""
        wavenet = self.ema_model()
        batch = self.to_device(self.valid_set.sample(N_VALIDATION_SEGMENTS, np.random.default_rng(1)))
        # One by one: together they take too much memory.
        rows = [bits_per_sample(wavenet, one.wav, one.mel, one.speaker).item() for one in batch.split_items()]
        bits = float(np.mean(rows))
        return {"bits_per_sample": bits, "loss": bits}

    def quality(self) -> str:
        """Bits per sample."""
        return f"{self.validate()['bits_per_sample']:.3f} bits per sample"


def bits_per_sample(
    wavenet: WaveNet, wav: Tensor, mel: Tensor, speaker: Tensor, precision: str = "fp32"
) -> Tensor:
    """Cross entropy in bits (): wav (B, T_a), mel (B, 80, F), speaker (B, S)."""
    codes = mu_law_encode(wav, wavenet.config.classes)
    with autocast(precision, wav.device):
        logits = wavenet.logits(codes, mel, speaker)
    return F.cross_entropy(logits.float(), codes) / math.log(2)
