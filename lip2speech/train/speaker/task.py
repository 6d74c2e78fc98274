"""Training of the speaker encoder: speaker classification of prepared clips.

Trained by additive angular margin softmax over the training speakers and validated by the equal error rate on
held-out speakers. Mels are augmented with other levels, spectral slopes and noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lip2speech import checkpoint
from lip2speech.config import to_dict
from lip2speech.data.dataset import read_clips
from lip2speech.models.speaker_encoder.xvector import KIND, MIN_FRAMES, XVectorConfig, XVectorNet
from lip2speech.train.core.config import OptimizerConfig, TrainerConfig
from lip2speech.train.core.device import autocast
from lip2speech.train.core.dummy_data import DummyData
from lip2speech.train.core.ema import EMA
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch, seed_step
from lip2speech.train.core.optim import OptimizerWithSchedule
from lip2speech.train.core.task import TrainingTask
from lip2speech.train.speaker.data import SpeakerClips, augment, is_held_out, speaker_key
from lip2speech.train.speaker.loss import AAMSoftmax, equal_error_rate

MIN_SPEAKERS = 2


@dataclass(frozen=True)
class SpeakerTrainConfig:
    """One training run.

    Attributes:
        train_data: folders of prepared clips, of which the training split is used.
        held_out: one in this many speakers is for validation, chosen by a hash of the name.
        segment_frames: mel frames of a training example.
        aam_margin: in radians.
        aam_scale: of the cosines.
        tilt: largest spectral slope of the augmentation, in nats between the lowest and the highest band.
        floor: smallest distance of the added noise from the maximum of a mel, in nats.
    """

    encoder: XVectorConfig = field(default_factory=XVectorConfig)
    trainer: TrainerConfig = field(default_factory=lambda: TrainerConfig(steps=2500, batch_size=32))
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train_data: tuple[str, ...] = ()
    held_out: int = 10
    segment_frames: int = 120
    aam_margin: float = 0.2
    aam_scale: float = 30.0
    tilt: float = 1.5
    floor: float = 4.0
    ema_decay: float = 0.998

    def __post_init__(self) -> None:
        if self.segment_frames < MIN_FRAMES or self.held_out < 2:
            raise ValueError(
                f"segment_frames must be {MIN_FRAMES} or more and held_out 2 or more, got "
                f"{self.segment_frames} and {self.held_out}."
            )


class SpeakerTask(TrainingTask):
    """Encoder, classification head, data and optimizer."""

    def __init__(self, config: SpeakerTrainConfig):
        self.config = config
        torch.manual_seed(config.trainer.seed)
        clips = read_clips(config.train_data, "train")
        valid = [clip for clip in clips if is_held_out(speaker_key(clip), config.held_out)]
        train = [clip for clip in clips if not is_held_out(speaker_key(clip), config.held_out)]
        self.train_set, self.valid_set = SpeakerClips(train), SpeakerClips(valid)
        for purpose, speakers in (("training", self.train_set), ("validation", self.valid_set)):
            if len(speakers.names) < MIN_SPEAKERS:
                raise ValueError(
                    f"{purpose} needs {MIN_SPEAKERS} speakers or more, got {len(speakers.names)}; give more "
                    "folders, or change held_out."
                )
        self.encoder = XVectorNet(config.encoder)
        self.head = AAMSoftmax(
            len(self.train_set.names), config.encoder.dim, config.aam_margin, config.aam_scale
        )
        self.optimizer = OptimizerWithSchedule(
            [*self.encoder.parameters(), *self.head.parameters()], config.optimizer, config.trainer.steps
        )
        self.ema = EMA(self.encoder, config.ema_decay)

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        c = self.config
        rng = seed_step(c.trainer.seed, step, micro_batch)
        sampled = self.train_set.sample(micro_batch.count * c.trainer.batch_size, c.segment_frames, rng)
        mel, labels = map(micro_batch.shard, sampled)
        mel, labels = self.to_device((augment(mel, c.tilt, c.floor), labels))
        self.encoder.train()
        with autocast(c.trainer.precision, self.device):
            embeddings = self.encoder(mel)
        loss, accuracy = self.head(embeddings.float(), labels)
        logs = {"loss": loss.item(), "acc": accuracy.item()}
        logs["grad_norm"] = self.optimizer.step(loss, step, micro_batch)
        logs["skipped_steps"] = self.optimizer.skipped_steps
        self.ema.update(self.encoder, micro_batch)
        return logs

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Equal error rate on the held-out speakers."""
        encoder = self.ema_model()
        mels = [self.to_device(mel.float()[None]) for mel in self.valid_set.mels]
        eer = equal_error_rate(torch.cat([encoder(mel).cpu() for mel in mels]), self.valid_set.labels)
        return {"eer": eer, "n_speakers": float(len(self.valid_set.names)), "loss": eer}

    def ema_model(self) -> XVectorNet:
        """The encoder with averaged weights, in eval mode."""
        return self.ema.copy_to(XVectorNet(self.config.encoder))

    def checkpointed(self) -> dict[str, Any]:
        return {"encoder": self.encoder, "head": self.head, "ema": self.ema, "optimizer": self.optimizer}

    @classmethod
    def dummy_config(cls, config: SpeakerTrainConfig, dummy: DummyData) -> SpeakerTrainConfig:
        valid: list[str] = []
        train: list[str] = []
        for name in [f"speaker{i}" for i in range(20 * config.held_out)]:
            held_out = is_held_out(f"{dummy.folder.name}/{name}", config.held_out)
            (valid if held_out else train).append(name)
        speakers = (*valid[:MIN_SPEAKERS], *train[:MIN_SPEAKERS])
        return replace(config, train_data=(dummy.clips(speakers=speakers),))

    def networks(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "head": self.head}

    def export(self, folder: Path) -> None:
        config = {"kind": KIND, "encoder": to_dict(self.config.encoder)}
        n_train, n_valid = len(self.train_set.names), len(self.valid_set.names)
        card = (
            f"# Speaker encoder\nTrained by `lip2speech train speaker` on {n_train} speakers; equal error "
            f"rate on {n_valid} others: {self.validate()['eer']:.3f}.\n"
        )
        checkpoint.save(folder, config, self.ema_model().state_dict(), card, overwrite=True)
