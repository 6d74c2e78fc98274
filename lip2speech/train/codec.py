"""Codec training: reconstruction first, then a GAN against the multi-scale STFT discriminator.

Losses and their order follow EnCodec (Defossez et al. 2022, section 3.4) without the time-domain L1, which a
phase-free encoder cannot serve. Speech comes from prepared clips and, when asked, from the synthetic talker's
voices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.codec import Codec
from lip2speech.codec.load import codec_config, codec_from_dict
from lip2speech.config import to_dict
from lip2speech.data.dataset import read_clips
from lip2speech.train import losses
from lip2speech.train.books import (
    CodebookUse,
    check_commit_weight,
    commitment_logs,
    take_anchors,
    used_share,
    weigh_commitment,
)
from lip2speech.train.discriminators import MSSTFTConfig, MSSTFTDiscriminator
from lip2speech.train.loop import Average, LoopConfig, Optimizer, OptimizerConfig, Task, autocast, seed_step


@dataclass(frozen=True)
class CodecDataConfig:
    """Where the speech comes from: prepared folders, and N sentences of the talker's training voices.

    weights: chance of each source, prepared folders first, the talker last; equal when empty.
    """

    folders: tuple[str, ...] = ()
    talker_sentences: int = 0
    weights: tuple[float, ...] = ()
    seconds: float = 0.8
    gain_db: float = 6.0


@dataclass(frozen=True)
class CodecTrainConfig:
    """One codec training run.

    name says which codec, `codec` what departs from its own config. The quantiser joins at `quantize_from`,
    the discriminator at `gan_from`; from `freeze_codes_from` on only the decoder learns, so that codes which
    another model has learned to predict stay valid.

    anchors: folder of units (k-means) that sacodec's semantic codebook is made of.
    commit_weight: one for all codebooks, or one for each where the codec tells them apart (sacodec).
    """

    name: str = "melcodec"
    codec: dict[str, Any] = field(default_factory=dict)
    anchors: str = ""
    loop: LoopConfig = field(default_factory=LoopConfig)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=8e-4, betas=(0.8, 0.99)))
    data: CodecDataConfig = field(default_factory=CodecDataConfig)
    discriminator: MSSTFTConfig = field(default_factory=MSSTFTConfig)
    quantize_from: int = 200
    gan_from: int = 20_000
    freeze_codes_from: int = 20_000
    gan_lr: float = 3e-4
    spectral_weight: float = 3.0
    commit_weight: float | tuple[float, ...] = 0.25
    adversarial_weight: float = 1.0
    feature_weight: float = 2.0
    ema: float = 0.999

    def __post_init__(self) -> None:
        # Every value of the codec's own config, so that it is checked before any work and printed whole.
        object.__setattr__(self, "codec", to_dict(codec_config(self.name, self.codec)))
        if self.freeze_codes_from <= self.quantize_from:
            raise ValueError(
                f"freeze_codes_from must come after quantize_from, got {self.freeze_codes_from} and "
                f"{self.quantize_from}; the codebooks would never be placed."
            )


class Speech:
    """Random segments of all speech of a split, held in memory as int16."""

    def __init__(self, config: CodecDataConfig, split: str, sample_rate: int):
        if sample_rate != 16000:
            raise ValueError(
                f"prepared clips are at 16000 Hz, the codec wants {sample_rate}; train it at 16000."
            )
        self.config = config
        self.samples = int(config.seconds * sample_rate)
        self.pools = [torch.cat([c.tensors()["wav"] for c in read_clips([f], split)]) for f in config.folders]
        if config.talker_sentences:
            self.pools.append(self.talker(split))
        if not self.pools:
            raise ValueError("no speech to train on; give data.folders, or data.talker_sentences.")
        if (shortest := min(map(len, self.pools))) <= self.samples:
            raise ValueError(f"a source has {shortest} samples, a segment {self.samples}; give more speech.")
        weights = np.array(config.weights or [1.0] * len(self.pools))
        if len(weights) != len(self.pools):
            raise ValueError(
                f"data.weights must have one number for each of {len(self.pools)} sources, got {weights}."
            )
        self.weights = weights / weights.sum()

    def talker(self, split: str) -> Tensor:
        """Speech of the synthetic voices (T_a,) int16."""
        from lip2speech.data.talker import audio_only

        count = self.config.talker_sentences if split == "train" else 40
        name = "train" if split == "train" else "test"
        wavs = [wav for wav, _, _ in audio_only(count, seed=7, split=name)]
        return (torch.cat([torch.as_tensor(w) for w in wavs]).clamp(-1, 1) * 32767).to(torch.int16)

    def draw(self, count: int, rng: np.random.Generator) -> Tensor:
        """(count, 1, samples) float32."""
        rows = []
        for pool in rng.choice(len(self.pools), count, p=self.weights):
            start = int(rng.integers(len(self.pools[pool]) - self.samples))
            gain = 10 ** (rng.uniform(-self.config.gain_db, self.config.gain_db) / 20)
            rows.append(self.pools[pool][start : start + self.samples].float() / 32768 * gain)
        return torch.stack(rows).unsqueeze(1).clamp(-1, 1)


class CodecTask(Task):
    """Generator (the codec), discriminator, two optimisers, an average of the generator."""

    def __init__(self, config: CodecTrainConfig):
        self.config = config
        torch.manual_seed(config.loop.seed)
        self.codec = self.new_codec()
        check_commit_weight(config.commit_weight, self.codec)
        take_anchors(self.codec, config.anchors)
        self.use = CodebookUse(self.codec.codebook_sizes)
        self.discriminator = MSSTFTDiscriminator(config.discriminator)
        self.spectral = losses.MultiScaleSpectral(self.codec.sample_rate)
        self.speech = Speech(config.data, "train", self.codec.sample_rate)
        self.held_out = Speech(config.data, "valid|test", self.codec.sample_rate)
        steps = config.loop.steps
        self.opt = Optimizer(self.codec.parameters(), config.optimizer, steps)
        gan = OptimizerConfig(lr=config.gan_lr, betas=(0.8, 0.99), warmup=100, final=0.1, grad_clip=10.0)
        self.gan_opt = Optimizer(self.discriminator.parameters(), gan, steps)
        self.average = Average(self.codec, config.ema)

    def new_codec(self) -> Codec:
        """The recipe's codec with random weights."""
        return codec_from_dict(self.config.name, self.config.codec)

    def update(self, step: int) -> dict[str, float]:
        rng = seed_step(self.config.loop.seed, step)
        wav = self.speech.draw(self.config.loop.batch_size, rng)
        self.set_mode(step)
        with autocast(self.config.loop.precision, wav.device):
            fake, commit = self.reconstruct(wav, step)
        fake, commit = fake.float(), commit.float()
        logs: dict[str, float] = {}
        gan = self.gan_terms(wav, fake, step, logs) if step >= self.config.gan_from else fake.new_zeros(())
        spectral = self.spectral(fake, wav)
        commitment = weigh_commitment(self.config.commit_weight, commit)
        loss = self.config.spectral_weight * spectral + commitment + gan
        logs |= {"spectral": spectral.item()} | commitment_logs(commit)
        logs["grad"] = self.opt.apply(loss, step)
        logs["skipped"] = self.opt.skipped + self.gan_opt.skipped
        self.average.update(self.codec)
        return logs

    def reconstruct(self, wav: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """(B, 1, T_a) -> what the codec makes of it (B, 1, T_a), commit_loss () or (n,), in training."""
        if step < self.config.quantize_from:
            latent = self.codec.latent(wav)
            return self.codec.decode_latent(latent)[..., : wav.shape[-1]], latent.new_zeros(())
        fake, commit, codes = self.codec(wav)
        self.use.add(codes)
        return fake, commit

    def set_mode(self, step: int) -> None:
        """Train everything; from `freeze_codes_from` on the decoder alone, from the averaged weights on."""
        self.codec.train()
        if step == self.config.freeze_codes_from:
            self.codec.load_state_dict(self.average.values)
        if step >= self.config.freeze_codes_from:
            for name, part in self.codec.named_children():
                if name != "decoder":
                    part.requires_grad_(False).eval()

    def gan_terms(self, wav: Tensor, fake: Tensor, step: int, logs: dict[str, float]) -> Tensor:
        """One discriminator update, then the generator's adversarial and feature losses."""
        precision, device = self.config.loop.precision, wav.device
        with autocast(precision, device):
            real_logits, _ = self.discriminator(wav)
            fake_logits, _ = self.discriminator(fake.detach())
        loss = losses.discriminator_loss(real_logits, fake_logits)
        self.gan_opt.apply(loss, step - self.config.gan_from)
        self.discriminator.requires_grad_(False)
        with autocast(precision, device):
            with torch.no_grad():
                _, real_maps = self.discriminator(wav)
            fake_logits, fake_maps = self.discriminator(fake)
        self.discriminator.requires_grad_(True)
        adversarial = losses.adversarial_loss(fake_logits)
        feature = losses.feature_loss(real_maps, fake_maps)
        logs |= {"d": loss.item(), "g": adversarial.item(), "feat": feature.item()}
        return self.config.adversarial_weight * adversarial + self.config.feature_weight * feature

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Spectral loss of the averaged codec on held-out speech: with one book, with all, not quantised."""
        codec = self.averaged()
        wav = self.held_out.draw(24, np.random.default_rng(1))
        codes = codec.encode(wav)
        figures = {f"n_q{n}": float(self.spectral(codec.decode(codes[:, :n]), wav)) for n in (1, codec.n_q)}
        figures["codes_used"] = used_share(codes, codec.codebook_sizes)
        figures |= self.use.report()
        figures["loss"] = float(self.spectral(codec.decode_latent(codec.latent(wav)), wav))
        return figures

    def averaged(self) -> Codec:
        """The codec with averaged weights, in eval mode."""
        codec = self.new_codec()
        codec.load_state_dict(self.average.values)
        return codec.eval()

    def state(self) -> dict[str, Any]:
        return {
            "codec": self.codec.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self.average.values,
            "count": self.average.count,
            "opt": self.opt.state(),
            "gan_opt": self.gan_opt.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.codec.load_state_dict(state["codec"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.average.values, self.average.count = state["average"], state["count"]
        self.opt.load_state(state["opt"])
        self.gan_opt.load_state(state["gan_opt"])

    def export(self, folder: Path) -> None:
        config = {"kind": "codec", "name": self.config.name, "codec": self.config.codec}
        card = "# Codec\nTrained by `lip2speech train codec`.\n"
        checkpoint.save(folder, config, self.averaged().state_dict(), card, overwrite=True)
