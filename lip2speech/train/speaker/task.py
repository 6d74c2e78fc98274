"""Training of the speaker encoder: telling the voices of prepared clips apart.

Additive angular margin softmax (ArcFace, Deng et al. 2019) over the training voices; what counts is the equal
error rate on voices that were held out whole. Sound is disturbed as rooms and microphones do: another
level, a tilted spectrum, noise.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech import checkpoint
from lip2speech.audio.mel import LogMel
from lip2speech.config import to_dict
from lip2speech.data.dataset import Clip, read_clips
from lip2speech.models.speaker_encoder.xvector import KIND, MIN_FRAMES, XVectorConfig, XVectorNet
from lip2speech.train.core.config import OptimizerConfig, TrainerConfig
from lip2speech.train.core.device import autocast
from lip2speech.train.core.dummy_data import DummyData
from lip2speech.train.core.ema import EMA
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch, seed_step
from lip2speech.train.core.optim import OptimizerWithSchedule
from lip2speech.train.core.task import TrainingTask

LEAST_VOICES = 2


@dataclass(frozen=True)
class SpeakerTrainConfig:
    """One training run.

    train_data: prepared clips, whose training split is heard. held_out: of so many voices one is kept for
    validation, chosen by its name. frames: of mel that a training example has. tilt, gain: widest disturbance
    in nats of log-mel (the spectrum's slope from the lowest to the highest band; the level against a noise
    floor that lies `floor` nats below the clip's loudest frame at its nearest).
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
                f"frames must be {MIN_FRAMES} or more and held_out 2 or more, got {self.segment_frames} and "
                f"{self.held_out}."
            )


class SpeakerClips:
    """Mels (80, T) of clips by voice, held in memory."""

    def __init__(self, clips: Sequence[Clip]):
        self.names = sorted({name_of(clip) for clip in clips})
        mel = LogMel()
        place = {name: i for i, name in enumerate(self.names)}
        self.mels = [mel(clip.wav()[None, None])[0].half() for clip in clips]
        self.labels = torch.tensor([place[name_of(clip)] for clip in clips])
        self.own = [torch.nonzero(self.labels == i)[:, 0].tolist() for i in range(len(self.names))]

    def draw(self, count: int, frames: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Mels (count, 80, frames) of random voices, and which, (count,)."""
        voices = rng.choice(len(self.names), count, replace=count > len(self.names))
        rows = [self.cut(int(rng.choice(self.own[v])), frames, rng) for v in voices]
        return torch.stack(rows), torch.from_numpy(voices)

    def cut(self, i: int, frames: int, rng: np.random.Generator) -> Tensor:
        """A random stretch (80, frames) of a clip; a shorter clip is repeated."""
        mel = self.mels[i].float()
        if mel.shape[1] < frames:
            mel = mel.repeat(1, math.ceil(frames / mel.shape[1]))
        start = int(rng.integers(mel.shape[1] - frames + 1))
        return mel[:, start : start + frames]


class SpeakerTask(TrainingTask):
    """Encoder, one centre for each training voice, data and optimiser."""

    def __init__(self, config: SpeakerTrainConfig):
        self.config = config
        torch.manual_seed(config.trainer.seed)
        clips = read_clips(config.train_data, "train")
        known = [clip for clip in clips if not is_held_out(name_of(clip), config.held_out)]
        unknown = [clip for clip in clips if is_held_out(name_of(clip), config.held_out)]
        self.train_set, self.held_out = SpeakerClips(known), SpeakerClips(unknown)
        for name, voices in (("train on", self.train_set), ("hold out", self.held_out)):
            if len(voices.names) < LEAST_VOICES:
                raise ValueError(
                    f"{LEAST_VOICES} voices to {name} are the least, got {len(voices.names)}; "
                    "give more folders, or change held_out."
                )
        self.encoder = XVectorNet(config.encoder)
        self.centres = nn.Parameter(torch.randn(len(self.train_set.names), config.encoder.dim))
        self.optimizer = OptimizerWithSchedule(
            [*self.encoder.parameters(), self.centres], config.optimizer, config.trainer.steps
        )
        self.ema = EMA(self.encoder, config.ema_decay)

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        rng = seed_step(self.config.trainer.seed, step, micro_batch)
        size = micro_batch.count * self.config.trainer.batch_size
        mel, voices = map(micro_batch.shard, self.train_set.draw(size, self.config.segment_frames, rng))
        mel, voices = self.to_device((disturb(mel, self.config.tilt, self.config.floor), voices))
        self.encoder.train()
        with autocast(self.config.trainer.precision, self.device):
            vectors = self.encoder(mel)
        cosines = vectors.float() @ F.normalize(self.centres, dim=-1).T
        loss = margin_loss(cosines, voices, self.config.aam_margin, self.config.aam_scale)
        logs = {"loss": loss.item(), "right": (cosines.argmax(1) == voices).float().mean().item()}
        logs["grad_norm"] = self.optimizer.step(loss, step, micro_batch)
        self.ema.update(self.encoder, micro_batch)
        return logs

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        encoder = self.ema_model()
        vectors = torch.cat([encoder(self.to_device(mel.float()[None])).cpu() for mel in self.held_out.mels])
        rate = equal_error_rate(vectors, self.held_out.labels)
        return {"eer": rate, "voices": float(len(self.held_out.names)), "loss": rate}

    def ema_model(self) -> XVectorNet:
        """The encoder with averaged weights, in eval mode."""
        return self.ema.copy_to(XVectorNet(self.config.encoder))

    def state_dict(self) -> dict[str, Any]:
        modules = {"encoder": self.encoder.state_dict(), "centres": self.centres.detach()}
        return modules | {"ema": self.ema.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.encoder.load_state_dict(state["encoder"])
        self.centres.data.copy_(state["centres"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])

    @classmethod
    def dummy_config(cls, config: SpeakerTrainConfig, dummy: DummyData) -> SpeakerTrainConfig:
        names = [f"voice{i}" for i in range(20 * config.held_out)]
        held: list[str] = []
        known: list[str] = []
        for name in names:
            (held if is_held_out(f"{dummy.folder.name}/{name}", config.held_out) else known).append(name)
        return replace(
            config, train_data=(dummy.clips(speakers=(*held[:LEAST_VOICES], *known[:LEAST_VOICES])),)
        )

    def networks(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "centres": nn.ParameterList([self.centres])}

    def export(self, folder: Path) -> None:
        config = {"kind": KIND, "encoder": to_dict(self.config.encoder)}
        known, unknown = (len(voices.names) for voices in (self.train_set, self.held_out))
        card = (
            f"# Speaker encoder\nTold {known} voices apart by `lip2speech train speaker`; "
            f"equal error rate on {unknown} others: {self.validate()['eer']:.3f}.\n"
        )
        checkpoint.save(folder, config, self.ema_model().state_dict(), card, overwrite=True)


def name_of(clip: Clip) -> str:
    """A voice's name among several corpora."""
    return f"{clip.folder.name}/{clip.speaker}"


def is_held_out(name: str, one_of: int) -> bool:
    """Whether a voice is for validation: the same ones whatever else is in the folders."""
    return zlib.crc32(name.encode()) % one_of == 0


def disturb(mel: Tensor, tilt: float, floor: float) -> Tensor:
    """Log-mels (B, 80, T) as through other microphones and in other rooms.

    Each gets a slope over the bands of up to +-`tilt` nats, and steady noise of a random colour between
    `floor` and three times as many nats below its loudest value.
    """
    batch, bands = mel.shape[:2]
    slope = torch.linspace(-0.5, 0.5, bands)[None, :, None]
    mel = mel + slope * (torch.rand(batch, 1, 1) * 2 - 1) * tilt
    level = mel.amax((1, 2), keepdim=True) - floor * (1 + 2 * torch.rand(batch, 1, 1))
    noise = level + slope * (torch.rand(batch, 1, 1) * 2 - 1) * 2 * tilt + 0.3 * torch.randn_like(mel)
    return torch.logaddexp(2 * mel, 2 * noise) / 2


def margin_loss(cosines: Tensor, voices: Tensor, margin: float, scale: float) -> Tensor:
    """Cross entropy of cosines (B, V) to the centres, the right one's angle widened by `margin` radians."""
    right = cosines.gather(1, voices[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
    widened = torch.cos((right.acos() + margin).clamp_max(math.pi))
    return F.cross_entropy(scale * cosines.scatter(1, voices[:, None], widened), voices)


def equal_error_rate(vectors: Tensor, labels: Tensor) -> float:
    """Where as many pairs of one voice are refused as pairs of two are taken for one.

    Shape: unit vectors (N, C), labels (N,) -> 0 to 1.
    """
    cosines = vectors @ vectors.T
    pairs = torch.triu(torch.ones_like(cosines, dtype=torch.bool), 1)
    same = labels[:, None] == labels[None]
    right, wrong = cosines[pairs & same], cosines[pairs & ~same]
    if not len(right) or not len(wrong):
        raise ValueError("an equal error rate needs two clips of one voice and clips of two voices.")
    thresholds = torch.cat([right, wrong]).unique()
    refused = torch.searchsorted(right.sort().values, thresholds) / len(right)
    taken = 1 - torch.searchsorted(wrong.sort().values, thresholds) / len(wrong)
    best = (refused - taken).abs().argmin()
    return float((refused[best] + taken[best]) / 2)
