"""Codec training: one task for every codec, reconstruction first, then a GAN.

Losses follow EnCodec (Défossez et al. 2022, section 3.4), with its balancer on request; those of SoundStream
(Zeghidour et al. 2021, section III) are other weights and discriminators.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech import checkpoint, losses
from lip2speech.codecs import Codec, codec_from_dict
from lip2speech.discriminators import build_discriminators
from lip2speech.losses.balancer import Balancer
from lip2speech.train.codec.codebook_usage import CodebookUsage, codebook_usage
from lip2speech.train.codec.commitment import check_commit_weight, commitment_metrics, weighted_commitment
from lip2speech.train.codec.config import CodecTrainConfig
from lip2speech.train.codec.data import SpeechSegments
from lip2speech.train.codec.init import load_semantic_centroids, lsuv_init
from lip2speech.train.codec.noise import NoiseAugmenter
from lip2speech.train.core.device import autocast
from lip2speech.train.core.dummy_data import DummyData
from lip2speech.train.core.ema import EMA
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch, seed_step
from lip2speech.train.core.optim import OptimizerWithSchedule
from lip2speech.train.core.task import Stateful, TrainingTask
from lip2speech.train.gan import AdversarialTrainer, build_adversarial_trainer

N_VALIDATION_SEGMENTS = 24


class CodecTask(TrainingTask):
    """The codec as generator, discriminators, an optimizer for each, and an EMA of the codec."""

    def __init__(self, config: CodecTrainConfig):
        self.config = config
        torch.manual_seed(config.trainer.seed)
        self.codec = self.build_codec()
        check_commit_weight(config.commit_weight, self.codec)
        load_semantic_centroids(self.codec, config.semantic_centroids)
        self.usage = CodebookUsage(self.codec.codebook_sizes)
        if config.noise is not None and not self.codec.supports_denoising:
            raise ValueError(f"noise is for codecs that can denoise, {config.name} cannot; remove noise.")
        sample_rate = self.sample_rate = self.codec.sample_rate
        self.gan = self.build_gan()
        self.spectral_loss = losses.MultiResolutionSTFTLoss(sample_rate)
        self.mel_loss = losses.MultiScaleMelLoss(sample_rate)
        self.train_set = SpeechSegments(config.data, "train", sample_rate)
        self.valid_set = SpeechSegments(config.data, "valid", sample_rate)
        self.noise = None if config.noise is None else NoiseAugmenter(config.noise, sample_rate)
        rng = np.random.default_rng(config.trainer.seed)
        lsuv_init(self.codec, self.train_set.sample(config.trainer.batch_size, rng))
        self.optimizer = OptimizerWithSchedule(
            self.codec.parameters(), config.optimizer, config.trainer.steps
        )
        self.balancer = (
            Balancer(config.loss_weights, decay=config.balancer_decay) if config.use_balancer else None
        )
        self.ema = EMA(self.codec, config.ema_decay)

    def build_codec(self) -> Codec:
        """The configured codec with random weights."""
        return codec_from_dict(self.config.name, self.config.codec)

    def build_gan(self) -> AdversarialTrainer | None:
        """The configured discriminators; None if they would start after the last step."""
        c = self.config
        if c.disc_start_step >= c.trainer.steps:
            return None
        return build_adversarial_trainer(
            build_discriminators(c.msstftd, c.msd, c.stftd, c.mpd),
            c.trainer.steps,
            lr=c.disc_lr,
            betas=c.disc_betas,
            precision=c.trainer.precision,
            update_prob=c.disc_update_prob,
        )

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        """One micro-batch: reconstruct, update the discriminators, then the codec."""
        rng = seed_step(self.config.trainer.seed, step, micro_batch)
        wav = micro_batch.shard(
            self.train_set.sample(micro_batch.count * self.config.trainer.batch_size, rng)
        )
        wav, target, denoise = self.to_device(self.make_pairs(wav, micro_batch.spawn_rng(rng)))
        self.set_mode(step)
        with autocast(self.config.trainer.precision, self.device):
            fake, commit = self.reconstruct(wav, denoise, step)
        fake, commit = fake.float(), commit.float()
        metrics: dict[str, float] = {}
        terms: dict[str, Tensor] = {}
        if self.gan is not None and step >= self.config.disc_start_step:
            gan_step = step - self.config.disc_start_step
            metrics |= self.gan.discriminator_step(target, fake, gan_step, rng, micro_batch)
            terms |= self.gan.generator_losses(target, fake)
        terms |= self.reconstruction_losses(fake, target)
        metrics |= {name: term.item() for name, term in terms.items()} | commitment_metrics(commit)
        loss = self.weighted_sum(terms, fake) + weighted_commitment(self.config.commit_weight, commit)
        metrics["grad_norm"] = self.optimizer.step(loss, step, micro_batch)
        skipped = self.gan.optimizer.skipped_steps if self.gan else 0
        metrics["skipped_steps"] = self.optimizer.skipped_steps + skipped
        self.ema.update(self.codec, micro_batch)
        return metrics

    def make_pairs(self, wav: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """Input and target (B, 1, T_a), and the denoise flag (B,) if the codec learns to denoise."""
        return (wav, wav, None) if self.noise is None else self.noise.make_pairs(wav, rng)

    def reconstruct(self, wav: Tensor, denoise: Tensor | None, step: int) -> tuple[Tensor, Tensor]:
        """Training pass: (B, 1, T_a) -> reconstruction (B, 1, T_a), commitment losses () or (n,)."""
        flags: dict[str, Tensor] = {} if denoise is None else {"denoise": denoise}
        if step < self.config.quantizer_start_step:
            latent = self.codec.encode_latent(wav, **flags)
            return self.codec.decode_latent(latent)[..., : wav.shape[-1]], latent.new_zeros(())
        fake, commit, codes = self.codec(wav, **flags)
        self.usage.add(codes)
        return fake, commit

    def reconstruction_losses(self, fake: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Losses of two wavs (B, 1, T_a) that have a weight."""
        known: dict[str, Any] = {
            "loss/wave": F.l1_loss,
            "loss/mel": self.mel_loss,
            "loss/spectral": self.spectral_loss,
        }
        weights = self.config.loss_weights
        return {name: loss(fake, target) for name, loss in known.items() if name in weights}

    def weighted_sum(self, terms: dict[str, Tensor], fake: Tensor) -> Tensor:
        """One loss () at the output (B, 1, T_a): the weighted sum, or the balancer's surrogate."""
        weights = self.config.loss_weights
        terms = {name: term for name, term in terms.items() if name in weights}
        if self.balancer is not None:
            return self.balancer(terms, fake)
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def set_mode(self, step: int) -> None:
        """Train all; from `freeze_encoder_step` only the decoder, starting from the EMA weights."""
        self.codec.train()
        if step == self.config.freeze_encoder_step:
            self.codec.load_state_dict(self.ema.shadow)
        if step >= self.config.freeze_encoder_step:
            for name, child in self.codec.named_children():
                if name != "decoder":
                    child.requires_grad_(False).eval()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Spectral loss of the EMA codec with one codebook, with all, and without quantization (`loss`)."""
        codec = self.ema_model()
        rng = np.random.default_rng(1)
        wav = self.to_device(self.valid_set.sample(N_VALIDATION_SEGMENTS, rng))
        codes = codec.encode(wav)
        metrics = {
            f"spectral_nq{n}": float(self.spectral_loss(decode_like(codec, codes[:, :n], wav), wav))
            for n in (1, codec.n_q)
        }
        metrics["codebook_usage"] = codebook_usage(codes, codec.codebook_sizes)
        metrics |= self.usage.report()
        unquantized = codec.decode_latent(codec.encode_latent(wav))[..., : wav.shape[-1]]
        metrics["loss"] = float(self.spectral_loss(unquantized, wav))
        return metrics if self.noise is None else metrics | self.denoising_metrics(codec, wav, rng)

    def denoising_metrics(self, codec: Any, wav: Tensor, rng: np.random.Generator) -> dict[str, float]:
        """SI-SDR in dB of noisy speech (B, 1, T_a) decoded with the denoise flag off and on."""
        assert self.noise is not None, "only called with noise augmentation"
        clean, noisy = self.to_device(self.noise.mix(wav.cpu(), rng))
        metrics = {}
        for name, denoise in (("off", False), ("on", True)):
            decoded = decode_like(codec, codec.encode(noisy, denoise=denoise), wav)
            metrics[f"si_sdr_denoise_{name}"] = float(losses.si_sdr(decoded, clean).mean())
        return metrics

    def ema_model(self) -> Codec:
        """The codec with EMA weights, in eval mode."""
        return self.ema.copy_to(self.build_codec())

    def checkpointed(self) -> dict[str, Stateful]:
        """Codec, EMA, optimizer; discriminators and balancer start fresh if the run had none before."""
        parts: dict[str, Stateful] = {"codec": self.codec, "ema": self.ema, "optimizer": self.optimizer}
        if self.balancer is not None:
            parts["balancer"] = self.balancer
        if self.gan is not None:
            parts["gan"] = self.gan
        return parts

    @torch.no_grad()
    def samples(self) -> dict[str, Tensor]:
        """A validation segment and its reconstruction from codes."""
        codec, wav = self.ema_model(), self.to_device(self.valid_set.sample(1, np.random.default_rng(1)))
        return {"original": wav[0, 0], "decoded": decode_like(codec, codec.encode(wav), wav)[0, 0]}

    @classmethod
    def dummy_config(cls, config: CodecTrainConfig, dummy: DummyData) -> CodecTrainConfig:
        """The config with dummy audio, and dummy centroids where the folder does not exist."""
        sample_rate = codec_from_dict(config.name, config.codec).sample_rate
        audio_dir = dummy.audio_dir(config.data.seconds, sample_rate)
        data = replace(
            config.data, prepared_dirs=(), audio_dirs=(audio_dir,), synthetic_sentences=0, sampling_weights=()
        )
        sizes = config.codec.get("semantic", {})
        centroids = dummy.unit_tokenizer(
            config.semantic_centroids, sizes.get("codebook_size", 0), sizes.get("centroid_dim", 0)
        )
        return replace(config, data=data, semantic_centroids=centroids)

    def networks(self) -> dict[str, nn.Module]:
        """The parts of the codec, and the discriminators."""
        discriminators = {"discriminators": self.gan.discriminator} if self.gan else {}
        return dict(self.codec.named_children()) | discriminators

    def export(self, folder: Path) -> None:
        """Write the EMA codec as a checkpoint folder."""
        config = {"kind": "codec", "name": self.config.name, "codec": self.config.codec}
        card = "# Codec\nTrained by `lip2speech train codec`.\n"
        checkpoint.save(folder, config, self.ema_model().state_dict(), card, overwrite=True)


def decode_like(codec: Codec, codes: Tensor, wav: Tensor) -> Tensor:
    """Decode codes (B, n_q, T_c), trimmed to the length of the wav (B, 1, T_a) they come from."""
    return codec.decode(codes)[..., : wav.shape[-1]]
