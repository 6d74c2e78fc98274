"""Training of a likelihood of codes on prepared clips: the bits it takes to tell each, given those before.

See `likelihood.py`. The codes are those of a codec's checkpoint; the voice is told by another clip of the
speaker, as it is when somebody speaks.
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
from lip2speech.codecs import code_fingerprint, load_codec
from lip2speech.codecs.base import Codec
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

HELD_OUT = 16  # segments that validation looks at


@dataclass(frozen=True)
class CodePriorTrainConfig:
    """One training run.

    train_data: prepared clips; codec: folder of what makes the codes; speaker: folder of the encoder that hears
    voices, empty: their long-term spectrum; steps: of codes that a segment has.
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
                f"steps must be 2 or more, for codes are told by those before; got {self.segment_steps}."
            )


class CodeSegments:
    """The codes and voices of all clips of a split that are long enough for a segment, in memory."""

    def __init__(self, config: CodePriorTrainConfig, split: str, codec: Codec, speaker_encoder: SpeakerEncoder):
        needed = math.ceil(config.segment_steps / per_video_frame(codec.frame_rate))
        self.clips = read_clips(config.train_data, split, min_frames=max(MIN_FRAMES, needed))
        self.steps, maker = config.segment_steps, TargetExtractor(None, codec, speaker_encoder=speaker_encoder)
        targets = [maker(clip) for clip in self.clips]
        self.voices = [t.speaker for t in targets]
        self.codes = [t.codes[: config.prior.n_q] for t in targets if t.codes is not None]
        self.groups = group_by_speaker(self.clips)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Random segments: codes (count, n_q, steps), voices (count, S) of other clips."""
        chosen = rng.choice(len(self.clips), count, replace=count > len(self.clips))
        voices = [self.voices[sample_other_clip(self.clips, self.groups, int(i), rng)] for i in chosen]
        return torch.stack([self.segment(int(i), rng) for i in chosen]), torch.stack(voices)

    def segment(self, i: int, rng: np.random.Generator) -> Tensor:
        """A random stretch of one clip's codes (n_q, steps)."""
        start = int(rng.integers(self.codes[i].shape[1] - self.steps + 1))
        return self.codes[i][:, start : start + self.steps]


class CodePriorTask(TrainingTask):
    """The network, its average, one optimiser."""

    def __init__(self, config: CodePriorTrainConfig):
        self.config = config
        torch.manual_seed(config.trainer.seed)
        self.codec = load_codec(config.codec_path).to(training_device(config.trainer.device))
        self.speaker_encoder = load_speaker_encoder(config.speaker_encoder)
        check_sizes(config.prior, self.codec, self.speaker_encoder)
        self.train_set = CodeSegments(config, "train", self.codec, self.speaker_encoder)
        self.held_out = CodeSegments(config, "valid", self.codec, self.speaker_encoder)
        self.network = build_code_prior(config.prior)
        self.optimizer = OptimizerWithSchedule(
            self.network.parameters(), config.optimizer, config.trainer.steps
        )
        self.ema = EMA(self.network, config.ema_decay)

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        rng = seed_step(self.config.trainer.seed, step, micro_batch)
        drawn = self.train_set.draw(micro_batch.count * self.config.trainer.batch_size, rng)
        codes, voices = self.to_device([micro_batch.shard(rows) for rows in drawn])
        self.network.train()
        with autocast(self.config.trainer.precision, self.device):
            logits = self.network(codes, self.heard(voices))
        bits = bits_per_code(logits.float(), codes).mean()
        logs = {"bits": bits.item(), "grad_norm": self.optimizer.step(bits * math.log(2), step, micro_batch)}
        self.ema.update(self.network, micro_batch)
        return logs | {"skipped_steps": self.optimizer.skipped_steps}

    def heard(self, voices: Tensor) -> Tensor | None:
        """The voices (B, S), for a network that is told them."""
        return voices if self.config.prior.speaker_dim else None

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Bits for a code of held-out speech, of each book, and of the same codes in a random order of time.

        How much more the last are is how far it tells speech from what has its codes alone.
        """
        network, rng = self.ema_model(), np.random.default_rng(1)
        codes, voices = self.to_device(self.held_out.draw(HELD_OUT, rng))
        bits = network.bits(codes, self.heard(voices))
        order = torch.from_numpy(rng.permutation(codes.shape[-1]))
        shuffled = network.bits(codes[..., order], self.heard(voices))
        figures = {f"book{i}": float(book.mean()) for i, book in enumerate(bits.unbind(1))}
        mean = float(bits.mean())
        return figures | {"bits": mean, "shuffled": float(shuffled.mean()), "loss": mean}

    def ema_model(self) -> CodePrior:
        """The network with averaged weights, in eval mode."""
        return self.ema.copy_to(build_code_prior(self.config.prior))

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])

    @classmethod
    def dummy_config(cls, config: CodePriorTrainConfig, dummy: DummyData) -> CodePriorTrainConfig:
        sizes = config.prior
        codec = dummy.codec(config.codec_path, sizes.codebook_sizes, UNIT_RATE)
        speaker = dummy.speaker_encoder(config.speaker_encoder, sizes.speaker_dim)
        clips = dummy.clips(frames=config.segment_steps // per_video_frame(load_codec(codec).frame_rate) + 1)
        return replace(config, train_data=(clips,), codec_path=codec, speaker_encoder=speaker)

    def networks(self) -> dict[str, nn.Module]:
        return {"likelihood": self.network}

    def export(self, folder: Path) -> None:
        config = {
            "kind": KIND,
            KIND: to_dict(self.config.prior),
            "codec": code_fingerprint(self.codec),
            "speaker": self.speaker_encoder.fingerprint,
        }
        figures = self.validate()
        card = (
            "# Likelihood of codes\nTrained by `lip2speech train code-prior` on "
            f"{len(self.train_set.clips)} clips; {figures['bits']:.3f} bits for a code of speech that was "
            f"held out, {figures['shuffled']:.3f} when its time is shuffled.\n"
        )
        checkpoint.save(folder, config, self.ema_model().state_dict(), card, overwrite=True)


def check_sizes(config: CodePriorConfig, codec: Codec, speaker_encoder: SpeakerEncoder) -> None:
    """ValueError: the codec has other books, or the voices another size."""
    if config.codebook_sizes != codec.codebook_sizes[: config.n_q]:
        raise ValueError(
            f"the likelihood is of {describe_codebooks(config.codebook_sizes)}, the codec has "
            f"{describe_codebooks(codec.codebook_sizes)}; give likelihood.n_q and likelihood.codebook_size that fit."
        )
    if config.speaker_dim not in (0, speaker_encoder.dim):
        raise ValueError(
            f"likelihood.vector_dim is {config.speaker_dim}, voices are heard as {speaker_encoder.dim} numbers; "
            "give that, or 0 for no voice."
        )
