"""What the training of every vocoder has: a recipe, segments, the network and its average, one optimiser.

What is lost, and how it is told in the log, is each vocoder's own: `wavenet.py`, `hifigan.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from lip2speech import checkpoint
from lip2speech.audio.mel import MelConfig
from lip2speech.config import to_dict
from lip2speech.constants import MEL_RATE, per_video_frame
from lip2speech.data.unit_tokenizers import UnitTokenizer
from lip2speech.models.speaker_encoder import load_speaker_encoder
from lip2speech.train.core.config import OptimizerConfig, TrainerConfig
from lip2speech.train.core.dummy_data import DummyData
from lip2speech.train.core.ema import EMA
from lip2speech.train.core.optim import OptimizerWithSchedule
from lip2speech.train.core.task import TrainingTask
from lip2speech.train.vocoder.data import VocoderDataset
from lip2speech.vocoders import TRAINED_VOCODERS
from lip2speech.vocoders.registry import KIND

HELD_OUT = 16  # segments that validation looks at


@dataclass(frozen=True)
class VocoderTrainConfig:
    """What the recipe of any vocoder says. Its `kind` names the field that holds the vocoder's own sizes.

    train_data: prepared clips; speaker: folder of the encoder that hears voices, empty: their long-term
    spectrum; frames: of mel that a segment has; blur: the widest Gaussian over the mel, its deviation in
    frames and bands; noise: the largest deviation of what is added to it, in nats. Each segment gets its own
    share of both.
    """

    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(weight_decay=0.0))
    train_data: tuple[str, ...] = ()
    speaker_encoder: str = ""
    segment_frames: int = 50
    mel_blur_sigma: float = 0.0
    mel_noise_std: float = 0.0
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        if self.segment_frames < 1 or min(self.mel_blur_sigma, self.mel_noise_std) < 0:
            raise ValueError(
                "frames must be 1 or more, blur and noise 0 or more, got "
                f"{self.segment_frames}, {self.mel_blur_sigma} and {self.mel_noise_std}."
            )
        if self.sizes.mel != MelConfig():
            raise ValueError(
                f"prepared clips are told by the mel recipe {MelConfig()}, the {self.name}'s is "
                f"{self.sizes.mel}; leave {self.name}.mel as it is."
            )

    @property
    def name(self) -> str:
        """The vocoder's name, and its route's."""
        return str(self.__dict__["kind"])

    @property
    def sizes(self) -> Any:
        """The vocoder's own config."""
        return self.__dict__[self.name]


class VocoderTask(TrainingTask):
    """The network, its average, one optimiser.

    Args:
        units: what gives sounds their units, for a vocoder that is told them.
    """

    def __init__(self, config: Any, units: UnitTokenizer | None = None):
        self.config, self.name = config, config.name
        torch.manual_seed(config.trainer.seed)
        self.speaker_encoder = load_speaker_encoder(config.speaker_encoder)
        if config.sizes.speaker_dim not in (0, self.speaker_encoder.dim):
            raise ValueError(
                f"{self.name}.speaker_dim is {config.sizes.speaker_dim}, voices are heard as "
                f"{self.speaker_encoder.dim} numbers; give that, or 0 for no voice."
            )
        self.train_set, self.held_out = (
            VocoderDataset(config.train_data, split, config.segment_frames, self.speaker_encoder, units)
            for split in ("train", "valid")
        )
        self.vocoder = self.new_vocoder()
        self.optimizer = OptimizerWithSchedule(
            self.vocoder.parameters(), config.optimizer, config.trainer.steps
        )
        self.ema = EMA(self.vocoder, config.ema_decay)

    def new_vocoder(self) -> Any:
        """The recipe's vocoder with random weights."""
        return TRAINED_VOCODERS[self.name](self.config.sizes)

    @abstractmethod
    def quality(self) -> str:
        """What the card says of the finished vocoder on held-out speech."""

    def ema_model(self) -> Any:
        """The vocoder with averaged weights, in eval mode."""
        return self.ema.copy_to(TRAINED_VOCODERS[self.name](self.config.sizes))

    def state_dict(self) -> dict[str, Any]:
        return {
            self.name: self.vocoder.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.vocoder.load_state_dict(state[self.name])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])

    @classmethod
    def dummy_config(cls, config: Any, dummy: DummyData) -> Any:
        clips = dummy.clips(frames=config.segment_frames // per_video_frame(MEL_RATE) + 1)
        return replace(
            config,
            train_data=(clips,),
            speaker_encoder=dummy.speaker_encoder(config.speaker_encoder, config.sizes.speaker_dim),
        )

    def export(self, folder: Path) -> None:
        config = {
            "kind": KIND,
            "name": self.name,
            "vocoder": to_dict(self.config.sizes),
            "speaker": self.speaker_encoder.fingerprint,
        }
        vocoder = self.ema_model()
        card = (
            f"# {type(vocoder).__name__}\nFrom {', '.join(vocoder.needs)} to sound, trained by `lip2speech "
            f"train vocoder` on {len(self.train_set.clips)} clips; {self.quality()} of speech that was held "
            "out.\n"
        )
        checkpoint.save(folder, config, vocoder.state_dict(), card, overwrite=True)
