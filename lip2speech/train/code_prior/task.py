"""Training of the prior over codec codes: next-code prediction on the codes of prepared clips.

See `models/code_prior.py`. The speaker embedding comes from another clip of the speaker, as in synthesis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lip2speech import checkpoint
from lip2speech.codecs import Codec, code_fingerprint, load_codec
from lip2speech.config import to_dict
from lip2speech.constants import UNIT_RATE, per_video_frame
from lip2speech.data.dataset import MIN_FRAMES, group_by_speaker, read_clips, sample_other_clip
from lip2speech.data.targets import TargetExtractor
from lip2speech.models.code_prior import KIND, CodePrior, CodePriorConfig, bits_per_code, build_code_prior
from lip2speech.models.speaker_encoder import SpeakerEncoder, load_speaker_encoder
from lip2speech.modules.codebook_patterns import describe_codebooks
from lip2speech.train.core.config import OptimizerConfig, TrainerConfig
from lip2speech.train.core.device import autocast, training_device
from lip2speech.train.core.dummy_data import DummyData
from lip2speech.train.core.ema import EMA
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch, seed_step
from lip2speech.train.core.optim import OptimizerWithSchedule
from lip2speech.train.core.task import TrainingTask

N_VALID_SEGMENTS = 16


@dataclass(frozen=True)
class CodePriorTrainConfig:
    """One training run.

    Attributes:
        train_data: folders of prepared clips.
        codec_path: checkpoint folder of the codec whose codes are modeled.
        speaker_encoder: checkpoint folder; empty for the long-term average spectrum.
        segment_steps: code steps of a training example.
    """

    prior: CodePriorConfig = field(default_factory=CodePriorConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train_data: tuple[str, ...] = ()
    codec_path: str = ""
    speaker_encoder: str = ""
    segment_steps: int = 100
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        if self.segment_steps < 2:
            raise ValueError(
                f"segment_steps must be 2 or more, since codes are predicted from previous ones; got "
                f"{self.segment_steps}."
            )


class CodeSegments:
    """Codes and speaker embeddings, in memory, of all clips of a split that are at least a segment long."""

    def __init__(self, config: CodePriorTrainConfig, split: str, codec: Codec, encoder: SpeakerEncoder):
        min_frames = math.ceil(config.segment_steps / per_video_frame(codec.frame_rate))
        self.clips = read_clips(config.train_data, split, min_frames=max(MIN_FRAMES, min_frames))
        self.steps = config.segment_steps
        extractor = TargetExtractor(None, codec, speaker_encoder=encoder)
        targets = [extractor(clip) for clip in self.clips]
        self.speakers = [t.speaker for t in targets]
        self.codes = [t.codes[: config.prior.n_q] for t in targets if t.codes is not None]
        self.groups = group_by_speaker(self.clips)

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Random segments: codes (count, n_q, steps), embeddings (count, S) of the speakers' other clips."""
        chosen = rng.choice(len(self.clips), count, replace=count > len(self.clips))
        others = [sample_other_clip(self.clips, self.groups, int(i), rng) for i in chosen]
        speakers = torch.stack([self.speakers[i] for i in others])
        return torch.stack([self.segment(int(i), rng) for i in chosen]), speakers

    def segment(self, i: int, rng: np.random.Generator) -> Tensor:
        """A random segment of one clip's codes (n_q, steps)."""
        start = int(rng.integers(self.codes[i].shape[1] - self.steps + 1))
        return self.codes[i][:, start : start + self.steps]


class CodePriorTask(TrainingTask):
    """The prior, data and optimizer."""

    def __init__(self, config: CodePriorTrainConfig):
        self.config = config
        torch.manual_seed(config.trainer.seed)
        self.codec = load_codec(config.codec_path).to(training_device(config.trainer.device))
        self.speaker_encoder = load_speaker_encoder(config.speaker_encoder)
        check_sizes(config.prior, self.codec, self.speaker_encoder)
        self.train_set = CodeSegments(config, "train", self.codec, self.speaker_encoder)
        self.valid_set = CodeSegments(config, "valid", self.codec, self.speaker_encoder)
        self.prior = build_code_prior(config.prior)
        self.optimizer = OptimizerWithSchedule(
            self.prior.parameters(), config.optimizer, config.trainer.steps
        )
        self.ema = EMA(self.prior, config.ema_decay)

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        rng = seed_step(self.config.trainer.seed, step, micro_batch)
        sampled = self.train_set.sample(micro_batch.count * self.config.trainer.batch_size, rng)
        codes, speakers = self.to_device([micro_batch.shard(rows) for rows in sampled])
        self.prior.train()
        with autocast(self.config.trainer.precision, self.device):
            logits = self.prior(codes, self.condition(speakers))
        bits = bits_per_code(logits.float(), codes).mean()
        logs = {"bits": bits.item()}
        logs["grad_norm"] = self.optimizer.step(bits * math.log(2), step, micro_batch)
        logs["skipped_steps"] = self.optimizer.skipped_steps
        self.ema.update(self.prior, micro_batch)
        return logs

    def condition(self, speakers: Tensor) -> Tensor | None:
        """Speaker embeddings (B, S), or None for a prior without speaker conditioning."""
        return speakers if self.config.prior.speaker_dim else None

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Bits per code on validation speech, by codebook, and with the same codes in random order of time.

        The difference to the latter is what the prior knows beyond the frequencies of codes.
        """
        prior, rng = self.ema_model(), np.random.default_rng(1)
        codes, speakers = self.to_device(self.valid_set.sample(N_VALID_SEGMENTS, rng))
        bits = prior.bits(codes, self.condition(speakers))
        order = torch.from_numpy(rng.permutation(codes.shape[-1]))
        shuffled = prior.bits(codes[..., order], self.condition(speakers))
        metrics = {f"bits/{i}": float(codebook.mean()) for i, codebook in enumerate(bits.unbind(1))}
        mean = float(bits.mean())
        return metrics | {"bits": mean, "bits_shuffled": float(shuffled.mean()), "loss": mean}

    def ema_model(self) -> CodePrior:
        """The prior with averaged weights, in eval mode."""
        return self.ema.copy_to(build_code_prior(self.config.prior))

    def checkpointed(self) -> dict[str, Any]:
        return {"prior": self.prior, "ema": self.ema, "optimizer": self.optimizer}

    @classmethod
    def dummy_config(cls, config: CodePriorTrainConfig, dummy: DummyData) -> CodePriorTrainConfig:
        prior = config.prior
        codec = dummy.codec(config.codec_path, prior.codebook_sizes, UNIT_RATE)
        speaker_encoder = dummy.speaker_encoder(config.speaker_encoder, prior.speaker_dim)
        frames = config.segment_steps // per_video_frame(load_codec(codec).frame_rate) + 1
        clips = dummy.clips(frames=frames)
        return replace(config, train_data=(clips,), codec_path=codec, speaker_encoder=speaker_encoder)

    def networks(self) -> dict[str, nn.Module]:
        return {"prior": self.prior}

    def export(self, folder: Path) -> None:
        config = {
            "kind": KIND,
            KIND: to_dict(self.config.prior),
            "codec": code_fingerprint(self.codec),
            "speaker": self.speaker_encoder.fingerprint,
        }
        metrics = self.validate()
        card = (
            f"# Code prior\nTrained by `lip2speech train code-prior` on {len(self.train_set.clips)} clips; "
            f"{metrics['bits']:.3f} bits per code on validation speech, {metrics['bits_shuffled']:.3f} with "
            "the codes in random order of time.\n"
        )
        checkpoint.save(folder, config, self.ema_model().state_dict(), card, overwrite=True)


def check_sizes(config: CodePriorConfig, codec: Codec, encoder: SpeakerEncoder) -> None:
    """Raise ValueError if the codec has other codebooks, or the speaker embedding another size."""
    if config.codebook_sizes != codec.codebook_sizes[: config.n_q]:
        raise ValueError(
            f"the prior models {describe_codebooks(config.codebook_sizes)}, the codec has "
            f"{describe_codebooks(codec.codebook_sizes)}; set prior.n_q and prior.codebook_size to those."
        )
    if config.speaker_dim not in (0, encoder.dim):
        raise ValueError(
            f"prior.speaker_dim is {config.speaker_dim}, speaker embeddings have {encoder.dim} values; set "
            "it to that, or to 0 for no speaker conditioning."
        )
