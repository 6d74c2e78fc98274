"""Codec training: one trainer for every codec, reconstruction first, then a GAN.

Losses and their order follow EnCodec (Defossez et al. 2022, section 3.4), its balancer when asked; those of
SoundStream (Zeghidour et al. 2021, section III) are other weights and discriminators. The time-domain L1 is
off by default: a phase-free encoder cannot serve it. Speech comes from prepared clips and, when asked, from
the synthetic talker's voices.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lip2speech import checkpoint, losses
from lip2speech.codecs import Codec, codec_config, codec_from_dict
from lip2speech.config import to_dict
from lip2speech.discriminators import MPDConfig, MSDConfig, MSSTFTDConfig, STFTDConfig, build_discriminators
from lip2speech.losses.balancer import Balancer
from lip2speech.train.codec.codebook_usage import (
    CodebookUsage,
    check_commit_weight,
    commitment_logs,
    take_anchors,
    used_share,
    weigh_commitment,
)
from lip2speech.train.codec.data import CodecDataConfig, SpeechSegments
from lip2speech.train.codec.init import even_out
from lip2speech.train.codec.noise import NoiseAugmenter, NoiseConfig
from lip2speech.train.core.config import OptimizerConfig, TrainerConfig
from lip2speech.train.core.device import autocast
from lip2speech.train.core.dummy_data import DummyData
from lip2speech.train.core.ema import EMA
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch, seed_step
from lip2speech.train.core.optim import OptimizerWithSchedule
from lip2speech.train.core.task import TrainingTask
from lip2speech.train.gan import AdversarialTrainer, build_adversary

SWITCH = {"off": False, "on": True}


@dataclass(frozen=True)
class CodecTrainConfig:
    """One codec training run.

    name says which codec, `codec` what departs from its own config. The quantiser joins at `quantize_from`,
    the discriminators at `gan_from`; from `freeze_codes_from` on only the decoder learns, so that codes which
    another model has learned to predict stay valid. With `balance` the weights (all but the commitment's) are
    shares of the gradient at the output instead of factors. `noise` trains a codec's denoising switch.

    semantic_centroids: folder of units (k-means) that sacodec's semantic codebook is made of.
    commit_weight: one for all codebooks, or one for each where the codec tells them apart (sacodec).
    """

    name: str = "melcodec"
    codec: dict[str, Any] = field(default_factory=dict)
    semantic_centroids: str = ""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=8e-4, betas=(0.8, 0.99)))
    data: CodecDataConfig = field(default_factory=CodecDataConfig)
    noise: NoiseConfig | None = None
    msstftd: MSSTFTDConfig | None = field(default_factory=MSSTFTDConfig)
    msd: MSDConfig | None = None
    stftd: STFTDConfig | None = None
    mpd: MPDConfig | None = None
    disc_update_prob: float = 1.0
    quantizer_start_step: int = 200
    disc_start_step: int = 20_000
    freeze_encoder_step: int = 20_000
    disc_lr: float = 3e-4
    disc_betas: tuple[float, float] = (0.8, 0.99)
    wave_weight: float = 0.0
    mel_weight: float = 0.0
    spectral_weight: float = 3.0
    commit_weight: float | tuple[float, ...] = 0.25
    adversarial_weight: float = 1.0
    feature_weight: float = 2.0
    use_balancer: bool = False
    balancer_decay: float = 0.999
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        # Every value of the codec's own config, so that it is checked before any work and printed whole.
        object.__setattr__(self, "codec", to_dict(codec_config(self.name, self.codec)))
        if self.freeze_encoder_step <= self.quantizer_start_step:
            raise ValueError(
                f"freeze_codes_from must come after quantize_from, got {self.freeze_encoder_step} and "
                f"{self.quantizer_start_step}; the codebooks would never be placed."
            )
        if not 0 < self.disc_update_prob <= 1:
            raise ValueError(
                f"discriminator_chance must be above 0 and at most 1, got {self.disc_update_prob}."
            )
        if not any((self.wave_weight, self.mel_weight, self.spectral_weight)):
            raise ValueError("no loss compares the wav; set wave_weight, mel_weight or spectral_weight.")

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each loss at the output that has one, by its name in the log."""
        weights = {
            "wave": self.wave_weight,
            "mel": self.mel_weight,
            "spectral": self.spectral_weight,
            "g": self.adversarial_weight,
            "feat": self.feature_weight,
        }
        return {name: weight for name, weight in weights.items() if weight}


class CodecTask(TrainingTask):
    """Generator (the codec), its adversary, two optimisers, an average of the generator."""

    def __init__(self, config: CodecTrainConfig):
        self.config = config
        torch.manual_seed(config.trainer.seed)
        self.codec = self.new_codec()
        check_commit_weight(config.commit_weight, self.codec)
        take_anchors(self.codec, config.semantic_centroids)
        self.use = CodebookUsage(self.codec.codebook_sizes)
        if config.noise is not None and not self.codec.supports_denoising:
            raise ValueError(f"noise is for codecs with a denoising switch, {config.name} has none; drop it.")
        sample_rate = self.sample_rate = self.codec.sample_rate
        self.adversary = self.new_adversary()
        self.spectral, self.mel = (
            losses.MultiResolutionSTFTLoss(sample_rate),
            losses.MultiScaleMelLoss(sample_rate),
        )
        self.speech = SpeechSegments(config.data, "train", sample_rate)
        self.held_out = SpeechSegments(config.data, "valid", sample_rate)
        self.noise = None if config.noise is None else NoiseAugmenter(config.noise, sample_rate)
        even_out(
            self.codec,
            self.speech.draw(config.trainer.batch_size, np.random.default_rng(config.trainer.seed)),
        )
        self.optimizer = OptimizerWithSchedule(
            self.codec.parameters(), config.optimizer, config.trainer.steps
        )
        self.balancer = Balancer(config.weights, decay=config.balancer_decay) if config.use_balancer else None
        self.ema = EMA(self.codec, config.ema_decay)

    def new_codec(self) -> Codec:
        """The recipe's codec with random weights."""
        return codec_from_dict(self.config.name, self.config.codec)

    def new_adversary(self) -> AdversarialTrainer | None:
        """The recipe's discriminators; none if their time never comes."""
        c = self.config
        if c.disc_start_step >= c.trainer.steps:
            return None
        return build_adversary(
            build_discriminators(c.msstftd, c.msd, c.stftd, c.mpd),
            c.trainer.steps,
            lr=c.disc_lr,
            betas=c.disc_betas,
            precision=c.trainer.precision,
            chance=c.disc_update_prob,
        )

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        rng = seed_step(self.config.trainer.seed, step, micro_batch)
        wav = micro_batch.shard(self.speech.draw(micro_batch.count * self.config.trainer.batch_size, rng))
        given, wanted, denoise = self.to_device(self.pairs(wav, micro_batch.spawn_rng(rng)))
        self.set_mode(step)
        with autocast(self.config.trainer.precision, self.device):
            fake, commit = self.reconstruct(given, denoise, step)
        fake, commit = fake.float(), commit.float()
        logs: dict[str, float] = {}
        terms: dict[str, Tensor] = {}
        if self.adversary is not None and step >= self.config.disc_start_step:
            logs |= self.adversary.update(wanted, fake, step - self.config.disc_start_step, rng, micro_batch)
            terms |= self.adversary.terms(wanted, fake)
        terms |= self.reconstruction_terms(fake, wanted)
        logs |= {name: term.item() for name, term in terms.items()} | commitment_logs(commit)
        loss = self.weigh(terms, fake) + weigh_commitment(self.config.commit_weight, commit)
        logs["grad_norm"] = self.optimizer.step(loss, step, micro_batch)
        logs["skipped_steps"] = self.optimizer.skipped_steps + (
            self.adversary.optimizer.skipped_steps if self.adversary else 0
        )
        self.ema.update(self.codec, micro_batch)
        return logs

    def pairs(self, wav: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the codec hears and should say (B, 1, T_a), and its switch (B,) where it has one to learn."""
        return (wav, wav, None) if self.noise is None else self.noise.pairs(wav, rng)

    def reconstruct(self, wav: Tensor, denoise: Tensor | None, step: int) -> tuple[Tensor, Tensor]:
        """(B, 1, T_a) -> what the codec makes of it (B, 1, T_a), commit_loss () or (n,), in training."""
        mode: dict[str, Tensor] = {} if denoise is None else {"denoise": denoise}
        if step < self.config.quantizer_start_step:
            latent = self.codec.encode_latent(wav, **mode)
            return self.codec.decode_latent(latent)[..., : wav.shape[-1]], latent.new_zeros(())
        fake, commit, codes = self.codec(wav, **mode)
        self.use.add(codes)
        return fake, commit

    def reconstruction_terms(self, fake: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """Losses that compare two (B, 1, T_a), those with a weight."""
        known: dict[str, Any] = {
            "wave": torch.nn.functional.l1_loss,
            "mel": self.mel,
            "spectral": self.spectral,
        }
        return {name: loss(fake, wanted) for name, loss in known.items() if name in self.config.weights}

    def weigh(self, terms: dict[str, Tensor], fake: Tensor) -> Tensor:
        """One loss () of all at the output (B, 1, T_a): their weighted sum, or the balancer's stand-in."""
        weights = self.config.weights
        terms = {name: term for name, term in terms.items() if name in weights}
        if self.balancer is not None:
            return self.balancer(terms, fake)
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def set_mode(self, step: int) -> None:
        """Train everything; from `freeze_codes_from` on the decoder alone, from the averaged weights on."""
        self.codec.train()
        if step == self.config.freeze_encoder_step:
            self.codec.load_state_dict(self.ema.shadow)
        if step >= self.config.freeze_encoder_step:
            for name, part in self.codec.named_children():
                if name != "decoder":
                    part.requires_grad_(False).eval()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Spectral loss of the averaged codec on held-out speech: with one book, with all, not quantised."""
        codec = self.ema_model()
        rng = np.random.default_rng(1)
        wav = self.to_device(self.held_out.draw(24, rng))
        codes = codec.encode(wav)
        figures = {
            f"n_q{n}": float(self.spectral(decoded(codec, codes[:, :n], wav), wav)) for n in (1, codec.n_q)
        }
        figures["codes_used"] = used_share(codes, codec.codebook_sizes)
        figures |= self.use.report()
        figures["loss"] = float(
            self.spectral(codec.decode_latent(codec.encode_latent(wav))[..., : wav.shape[-1]], wav)
        )
        return figures if self.noise is None else figures | self.denoising(codec, wav, rng)

    def denoising(self, codec: Any, wav: Tensor, rng: np.random.Generator) -> dict[str, float]:
        """SI-SDR in dB of noisy speech (B, 1, T_a) with the switch off and on, to the clean speech."""
        assert self.noise is not None, "validate asks for it only with noise"
        clean, noisy = self.to_device(self.noise.mix(wav.cpu(), rng))
        sounds = {name: decoded(codec, codec.encode(noisy, denoise=on), wav) for name, on in SWITCH.items()}
        return {f"si_sdr_{name}": float(losses.si_sdr(x, clean).mean()) for name, x in sounds.items()}

    def ema_model(self) -> Codec:
        """The codec with averaged weights, in eval mode."""
        return self.ema.copy_to(self.new_codec())

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "codec": self.codec.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.balancer:
            state["balancer"] = self.balancer.state_dict()
        return state | (self.adversary.state_dict() if self.adversary else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.codec.load_state_dict(state["codec"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.adversary and "discriminator" in state:  # a run may have gone so far without
            self.adversary.load_state_dict(state)
        if self.balancer and "balancer" in state:
            self.balancer.load_state_dict(state["balancer"])

    @torch.no_grad()
    def samples(self) -> dict[str, Tensor]:
        """A held-out segment and what codes make of it."""
        codec, wav = self.ema_model(), self.to_device(self.held_out.draw(1, np.random.default_rng(1)))
        return {"heard": wav[0, 0], "decoded": decoded(codec, codec.encode(wav), wav)[0, 0]}

    @classmethod
    def dummy_config(cls, config: CodecTrainConfig, dummy: DummyData) -> CodecTrainConfig:
        rate = codec_from_dict(config.name, config.codec).sample_rate
        sounds = dummy.audio_dir(config.data.seconds, rate)
        data = replace(
            config.data, prepared_dirs=(), audio_dirs=(sounds,), synthetic_sentences=0, sampling_weights=()
        )
        anchor = config.codec.get("semantic", {})
        anchors = dummy.unit_tokenizer(
            config.semantic_centroids, anchor.get("codebook_size", 0), anchor.get("centroid_dim", 0)
        )
        return replace(config, data=data, semantic_centroids=anchors)

    def networks(self) -> dict[str, nn.Module]:
        judges = {"discriminators": self.adversary.discriminator} if self.adversary else {}
        return dict(self.codec.named_children()) | judges

    def export(self, folder: Path) -> None:
        config = {"kind": "codec", "name": self.config.name, "codec": self.config.codec}
        card = "# Codec\nTrained by `lip2speech train codec`.\n"
        checkpoint.save(folder, config, self.ema_model().state_dict(), card, overwrite=True)


def decoded(codec: Codec, codes: Tensor, wav: Tensor) -> Tensor:
    """The sound of codes (B, n_q, T_c), as long as the wav (B, 1, T_a) they were made of."""
    return codec.decode(codes)[..., : wav.shape[-1]]
