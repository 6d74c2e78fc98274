"""HiFi-GAN training on prepared clips, conditioned on mel, units and the speaker embedding of another clip.

Kong, Kim and Bae 2020, section 2.4: L1 of log-mels, adversarial loss and feature matching. The discriminators
are the paper's, of periods and of the waveform at several rates; a multi-scale STFT discriminator is
optional. GAN losses are those of `gan.py`: means over discriminators where the paper sums over eight, hence
eight times its weights of 1 and 2. Mels are computed on the segment only, zero-padded at its ends for both
wavs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

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
from lip2speech.train.core.task import Stateful
from lip2speech.train.gan import AdversarialTrainer, build_adversarial_trainer
from lip2speech.train.vocoder.base import N_VALIDATION_SEGMENTS, BaseVocoderTrainConfig, VocoderTask
from lip2speech.train.vocoder.data import UNIT_RATIO, VocoderBatch, blur_and_noise_mel, corrupt_units
from lip2speech.vocoders.hifigan import HiFiGAN, HiFiGANConfig


@dataclass(frozen=True)
class HiFiGANTrainConfig(BaseVocoderTrainConfig):
    """One training run of a HiFi-GAN.

    With a mel_weight of 45 gradient norms are far above 1, so clipping only catches outliers.

    Attributes:
        unit_tokenizer: folder of the unit tokenizer.
        unit_substitution_prob: largest share of wrong units; drawn for each segment.
        mpd: multi-period discriminator; None: off, as for the other two.
        msd: multi-scale waveform discriminator.
        msstftd: multi-scale STFT discriminator.
        disc_start_step: the GAN losses are off before this step.
        disc_lr: peak learning rate of the discriminators.
        disc_betas: of their AdamW.
        mel_weight: of the log-mel L1.
        adversarial_weight: of the generator's hinge loss.
        feature_weight: of feature matching.
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
                f"segment_frames must be a multiple of {UNIT_RATIO} and unit_substitution_prob in 0..1, got "
                f"{self.segment_frames} and {self.unit_substitution_prob}."
            )


class HiFiGANTask(VocoderTask[HiFiGANTrainConfig]):
    """The generator, its EMA, discriminators, and an optimizer for each."""

    def __init__(self, config: HiFiGANTrainConfig):
        if not config.unit_tokenizer:
            raise ValueError(
                "HiFi-GAN is conditioned on units; set unit_tokenizer=FOLDER, written by `lip2speech "
                "train kmeans`."
            )
        tokenizer = load_unit_tokenizer(config.unit_tokenizer, training_device(config.trainer.device))
        if tokenizer.n_units != config.hifigan.n_units:
            raise ValueError(
                f"hifigan.n_units is {config.hifigan.n_units}, the unit tokenizer {config.unit_tokenizer!r} "
                f"has {tokenizer.n_units}; set it to that."
            )
        super().__init__(config, tokenizer)
        self.gan = self.build_gan()
        self.log_mel = LogMel(config.hifigan.mel)

    def build_gan(self) -> AdversarialTrainer | None:
        """The configured discriminators; None if they would start after the last step."""
        c = self.config
        if c.disc_start_step >= c.trainer.steps:
            return None
        return build_adversarial_trainer(
            build_discriminators(c.msstftd, c.msd, c.mpd),
            c.trainer.steps,
            lr=c.disc_lr,
            betas=c.disc_betas,
            precision=c.trainer.precision,
        )

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        """One micro-batch: generate, update the discriminators, then the generator."""
        c = self.config
        rng = seed_step(c.trainer.seed, step, micro_batch)
        batch = self.train_set.sample(micro_batch.count * c.trainer.batch_size, rng).shard(micro_batch)
        batch = self.to_device(self.degrade(batch))
        real = batch.wav.unsqueeze(1)
        self.vocoder.train()
        with autocast(c.trainer.precision, self.device):
            fake = generate(self.vocoder, batch)
        fake = fake.float()
        metrics: dict[str, float] = {}
        mel = self.mel_distance(fake, real)
        loss = c.mel_weight * mel
        if self.gan is not None and step >= c.disc_start_step:
            metrics |= self.gan.discriminator_step(real, fake, step - c.disc_start_step, rng, micro_batch)
            terms = self.gan.generator_losses(real, fake)
            loss = loss + c.adversarial_weight * terms["loss/adv"]
            loss = loss + c.feature_weight * terms["loss/feat_match"]
            metrics |= {name: term.item() for name, term in terms.items()}
        metrics |= {"loss/mel": mel.item(), "grad_norm": self.optimizer.step(loss, step, micro_batch)}
        self.ema.update(self.vocoder, micro_batch)
        skipped = self.gan.optimizer.skipped_steps if self.gan else 0
        return metrics | {"skipped_steps": self.optimizer.skipped_steps + skipped}

    def degrade(self, batch: VocoderBatch) -> VocoderBatch:
        """The same segments with mel and units degraded as if predicted from lips."""
        assert batch.units is not None, "the dataset was built with a unit tokenizer"
        mel = blur_and_noise_mel(batch.mel, self.config.mel_blur_sigma, self.config.mel_noise_std)
        units = corrupt_units(batch.units, self.config.unit_substitution_prob)
        return VocoderBatch(batch.wav, mel, batch.speaker, units)

    def mel_distance(self, fake: Tensor, real: Tensor) -> Tensor:
        """L1 () of the log-mels of two wavs (B, 1, T_a)."""
        return F.l1_loss(self.log_mel(fake), self.log_mel(real))

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mel distance of the EMA generator on fixed held-out segments, clean and degraded."""
        torch.manual_seed(1)
        vocoder = self.ema_model()
        batch = self.valid_set.sample(N_VALIDATION_SEGMENTS, np.random.default_rng(1))
        real = self.to_device(batch.wav.unsqueeze(1))
        clean, degraded = (
            float(self.mel_distance(generate(vocoder, inputs), real))
            for inputs in map(self.to_device, (batch, self.degrade(batch)))
        )
        return {"mel": clean, "mel_degraded": degraded, "loss": clean}

    def quality(self) -> str:
        """Mel distance."""
        return f"log-mel L1 of {self.validate()['mel']:.3f} nats"

    @classmethod
    def dummy_config(cls, config: HiFiGANTrainConfig, dummy: DummyData) -> HiFiGANTrainConfig:
        """As for every vocoder, with a dummy unit tokenizer where the folder does not exist."""
        config = super().dummy_config(config, dummy)
        tokenizer = dummy.unit_tokenizer(config.unit_tokenizer, config.hifigan.n_units)
        return replace(config, unit_tokenizer=tokenizer)

    def networks(self) -> dict[str, nn.Module]:
        """The generator and the discriminators."""
        discriminators = {"discriminators": self.gan.discriminator} if self.gan else {}
        return {self.name: self.vocoder} | discriminators

    def checkpointed(self) -> dict[str, Stateful]:
        """Generator, EMA, optimizer; discriminators, which start fresh if the run had none before."""
        return super().checkpointed() | ({"gan": self.gan} if self.gan else {})


def generate(vocoder: HiFiGAN, batch: VocoderBatch) -> Tensor:
    """The vocoder's wavs (B, 1, T_a) for a batch."""
    assert batch.units is not None, "the dataset was built with a unit tokenizer"
    return vocoder.generate(batch.mel, batch.units, batch.speaker)
