"""What the training of all vocoders shares: config, segments, the network and its EMA, one optimizer."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

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
from lip2speech.train.core.task import Stateful, TrainingTask
from lip2speech.train.vocoder.data import VocoderDataset
from lip2speech.vocoders import TRAINED_VOCODERS
from lip2speech.vocoders.registry import KIND

N_VALIDATION_SEGMENTS = 16


@dataclass(frozen=True)
class BaseVocoderTrainConfig:
    """What the configs of all vocoders share. `kind` names the field that holds the vocoder's own config.

    Attributes:
        train_data: folders of prepared clips.
        speaker_encoder: folder of the speaker encoder; empty: the long-term average spectrum.
        segment_frames: mel frames of a segment.
        mel_blur_sigma: largest standard deviation of the Gaussian blur of the mel, in frames and bands; drawn
            for each segment.
        mel_noise_std: largest standard deviation of the noise added to the mel, in nats; drawn for each
            segment.
        ema_decay: of the averaged weights, which are validated and exported.
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
                "segment_frames must be 1 or more, mel_blur_sigma and mel_noise_std 0 or more, got "
                f"{self.segment_frames}, {self.mel_blur_sigma} and {self.mel_noise_std}."
            )
        if self.vocoder_config.mel != MelConfig():
            raise ValueError(
                f"prepared clips have the mel config {MelConfig()}, got {self.vocoder_config.mel}; leave "
                f"{self.name}.mel at its default."
            )

    @property
    def name(self) -> str:
        """The vocoder's name, a key of `TRAINED_VOCODERS`."""
        return str(self.__dict__["kind"])

    @property
    def vocoder_config(self) -> Any:
        """The vocoder's own config."""
        return self.__dict__[self.name]


Config = TypeVar("Config", bound=BaseVocoderTrainConfig)


class VocoderTask(TrainingTask, Generic[Config]):
    """A vocoder, its EMA and one optimizer.

    Args:
        config: of the run.
        unit_tokenizer: for a vocoder that is conditioned on units.
    """

    def __init__(self, config: Config, unit_tokenizer: UnitTokenizer | None = None):
        self.config, self.name = config, config.name
        torch.manual_seed(config.trainer.seed)
        self.speaker_encoder = load_speaker_encoder(config.speaker_encoder)
        if config.vocoder_config.speaker_dim not in (0, self.speaker_encoder.dim):
            raise ValueError(
                f"{self.name}.speaker_dim is {config.vocoder_config.speaker_dim}, speaker embeddings have "
                f"{self.speaker_encoder.dim} dimensions; set it to that, or to 0 for no conditioning."
            )
        self.train_set, self.valid_set = (
            VocoderDataset(
                config.train_data, split, config.segment_frames, self.speaker_encoder, unit_tokenizer
            )
            for split in ("train", "valid")
        )
        self.vocoder = self.build_vocoder()
        self.optimizer = OptimizerWithSchedule(
            self.vocoder.parameters(), config.optimizer, config.trainer.steps
        )
        self.ema = EMA(self.vocoder, config.ema_decay)

    def build_vocoder(self) -> Any:
        """The configured vocoder with random weights."""
        return TRAINED_VOCODERS[self.name](self.config.vocoder_config)

    @abstractmethod
    def quality(self) -> str:
        """Quality on held-out speech, for the model card."""

    def ema_model(self) -> Any:
        """The vocoder with EMA weights, in eval mode."""
        return self.ema.copy_to(TRAINED_VOCODERS[self.name](self.config.vocoder_config))

    def checkpointed(self) -> dict[str, Stateful]:
        """Vocoder, EMA, optimizer."""
        return {self.name: self.vocoder, "ema": self.ema, "optimizer": self.optimizer}

    @classmethod
    def dummy_config(cls, config: Config, dummy: DummyData) -> Config:
        """The config with dummy clips, and a dummy speaker encoder where the folder does not exist."""
        clips = dummy.clips(frames=config.segment_frames // per_video_frame(MEL_RATE) + 1)
        speaker_encoder = dummy.speaker_encoder(config.speaker_encoder, config.vocoder_config.speaker_dim)
        return replace(config, train_data=(clips,), speaker_encoder=speaker_encoder)

    def export(self, folder: Path) -> None:
        """Write the EMA vocoder as a checkpoint folder."""
        config = {
            "kind": KIND,
            "name": self.name,
            "vocoder": to_dict(self.config.vocoder_config),
            "speaker": self.speaker_encoder.fingerprint,
        }
        vocoder = self.ema_model()
        card = (
            f"# {type(vocoder).__name__}\nVocoder from {', '.join(vocoder.needs)}, trained by `lip2speech "
            f"train vocoder` on {len(self.train_set.clips)} clips. On held-out speech: {self.quality()}.\n"
        )
        checkpoint.save(folder, config, vocoder.state_dict(), card, overwrite=True)
