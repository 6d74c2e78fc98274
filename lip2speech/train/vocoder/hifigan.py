"""Training of a HiFi-GAN on prepared clips: mel, units and another clip's voice in, sound out.

Kong, Kim, Bae 2020, section 2.4: the generator's log-mel is to be that of the sound, and discriminators are
to take its sound for real, inside (features) and at their outputs. The judges are the paper's, of periods and
of the wave at several rates; a multi-scale STFT may join. Losses at the discriminators are `adversary.py`'s:
means over the judges where the paper adds up its eight, hence eight times its weights of 1 and 2. Mels are
compared over the segment alone, with silence beyond the ends of both.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.data.unit_tokenizers import load_unit_tokenizer
from lip2speech.discriminators import MPDConfig, MSDConfig, MSSTFTDConfig, build_discriminators
from lip2speech.train.core.config import OptimizerConfig
from lip2speech.train.core.device import autocast, training_device
from lip2speech.train.core.dummy_data import DummyData
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch, seed_step
from lip2speech.train.gan import AdversarialTrainer, build_adversary
from lip2speech.train.vocoder.base import HELD_OUT, VocoderTask, VocoderTrainConfig
from lip2speech.train.vocoder.data import UNIT_RATIO, VocoderBatch, smear, swap
from lip2speech.vocoders.hifigan import HiFiGAN, HiFiGANConfig


@dataclass(frozen=True)
class HiFiGANTrainConfig(VocoderTrainConfig):
    """One training run of a HiFi-GAN.

    unit_tokenizer: folder of the unit teacher; swaps: the largest share of units that are not those of the sound, of
    which each segment gets its own share. The discriminators join at `gan_from`. Gradients are far above 1,
    with a mel_weight of 45, so they are clipped where they would blow up alone.
    """

    kind: Literal["hifigan"] = "hifigan"
    hifigan: HiFiGANConfig = field(
        default_factory=lambda: HiFiGANConfig(mel=MelConfig(), n_units=100, speaker_dim=163)
    )
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            lr=2e-4, betas=(0.8, 0.99), weight_decay=0.0, grad_clip=1000.0
        )
    )
    unit_tokenizer: str = ""
    unit_substitution_prob: float = 0.0
    mpd: MPDConfig | None = field(default_factory=MPDConfig)
    msd: MSDConfig | None = field(default_factory=MSDConfig)
    msstftd: MSSTFTDConfig | None = None
    disc_start_step: int = 0
    disc_lr: float = 2e-4
    disc_betas: tuple[float, float] = (0.8, 0.99)
    mel_weight: float = 45.0
    adversarial_weight: float = 8.0
    feature_weight: float = 16.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.segment_frames % UNIT_RATIO or not 0 <= self.unit_substitution_prob <= 1:
            raise ValueError(
                f"frames must be even, for a unit lasts {UNIT_RATIO} of them, and swaps a share of 0 to 1, "
                f"got {self.segment_frames} and {self.unit_substitution_prob}."
            )


class HiFiGANTask(VocoderTask):
    """Generator and average, its adversary, two optimisers."""

    def __init__(self, config: HiFiGANTrainConfig):
        if not config.unit_tokenizer:
            raise ValueError(
                "HiFi-GAN is told units and none are taught; give units=FOLDER, written by `lip2speech train "
                "kmeans`."
            )
        teacher = load_unit_tokenizer(config.unit_tokenizer, training_device(config.trainer.device))
        if teacher.n_units != config.hifigan.n_units:
            raise ValueError(
                f"hifigan.n_units is {config.hifigan.n_units}, the teacher {config.unit_tokenizer!r} has "
                f"{teacher.n_units}."
            )
        super().__init__(config, teacher)
        self.adversary = self.new_adversary()
        self.mel = LogMel(config.hifigan.mel)

    def new_adversary(self) -> AdversarialTrainer | None:
        """The recipe's discriminators; none if their time never comes."""
        c = self.config
        if c.disc_start_step >= c.trainer.steps:
            return None
        return build_adversary(
            build_discriminators(c.msstftd, c.msd, c.mpd),
            c.trainer.steps,
            lr=c.disc_lr,
            betas=c.disc_betas,
            precision=c.trainer.precision,
        )

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        c = self.config
        rng = seed_step(c.trainer.seed, step, micro_batch)
        drawn = self.train_set.draw(micro_batch.count * c.trainer.batch_size, rng).of(micro_batch)
        drawn = self.to_device(self.worsened(drawn))
        real = drawn.wav.unsqueeze(1)
        self.vocoder.train()
        with autocast(c.trainer.precision, self.device):
            fake = synthesise(self.vocoder, drawn)
        fake = fake.float()
        logs: dict[str, float] = {}
        mel = self.mel_distance(fake, real)
        loss = c.mel_weight * mel
        if self.adversary is not None and step >= c.disc_start_step:
            logs |= self.adversary.update(real, fake, step - c.disc_start_step, rng, micro_batch)
            terms = self.adversary.terms(real, fake)
            loss = loss + c.adversarial_weight * terms["g"] + c.feature_weight * terms["feat"]
            logs |= {name: term.item() for name, term in terms.items()}
        logs |= {"mel": mel.item(), "grad_norm": self.optimizer.step(loss, step, micro_batch)}
        self.ema.update(self.vocoder, micro_batch)
        skipped = self.optimizer.skipped_steps + (
            self.adversary.optimizer.skipped_steps if self.adversary else 0
        )
        return logs | {"skipped_steps": skipped}

    def worsened(self, drawn: VocoderBatch) -> VocoderBatch:
        """The same sounds with mel and units as lips predict them."""
        assert drawn.units is not None, "the segments were made with a teacher"
        mel = smear(drawn.mel, self.config.mel_blur_sigma, self.config.mel_noise_std)
        return VocoderBatch(
            drawn.wav, mel, drawn.speaker, swap(drawn.units, self.config.unit_substitution_prob)
        )

    def mel_distance(self, fake: Tensor, real: Tensor) -> Tensor:
        """L1 of the log-mels of two (B, 1, T_a), ()."""
        return F.l1_loss(self.mel(fake), self.mel(real))

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mel distance of the averaged generator to held-out speech, from its own mel and units, and from
        worse ones; the same segments every time."""
        torch.manual_seed(1)
        vocoder, drawn = self.ema_model(), self.held_out.draw(HELD_OUT, np.random.default_rng(1))
        real = self.to_device(drawn.wav.unsqueeze(1))
        mel, worse = (
            float(self.mel_distance(synthesise(vocoder, told), real))
            for told in map(self.to_device, (drawn, self.worsened(drawn)))
        )
        return {"mel": mel, "mel_worsened": worse, "loss": mel}

    def quality(self) -> str:
        return f"its mel is {self.validate()['mel']:.3f} nats from that"

    @classmethod
    def dummy_config(cls, config: HiFiGANTrainConfig, dummy: DummyData) -> HiFiGANTrainConfig:
        config = super().dummy_config(config, dummy)
        return replace(
            config, unit_tokenizer=dummy.unit_tokenizer(config.unit_tokenizer, config.hifigan.n_units)
        )

    def networks(self) -> dict[str, nn.Module]:
        judges = {"discriminators": self.adversary.discriminator} if self.adversary else {}
        return {self.name: self.vocoder} | judges

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | (self.adversary.state_dict() if self.adversary else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if self.adversary and "discriminator" in state:  # a shorter run may have ended before its time
            self.adversary.load_state_dict(state)


def synthesise(vocoder: HiFiGAN, told: VocoderBatch) -> Tensor:
    """The sound of what it is told (B, 1, T_a)."""
    assert told.units is not None, "the segments were made with a teacher"
    return vocoder.generate(told.mel, told.units, told.speaker)
