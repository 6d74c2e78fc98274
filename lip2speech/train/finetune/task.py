"""Multi-task fine-tuning: mouth crops to mel, units and codes at once.

Two things go beyond lip2speech-unit (Choi et al. 2023). Targets may be read a few steps earlier or later,
whichever offset fits a clip best, because audio and video of real corpora are offset by a clip-dependent
amount. And the front end may be frozen for `freeze_frontend_steps` and then trained at its own learning rate.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lip2speech import checkpoint, losses
from lip2speech.audio.mel import MIN_MEL_STD
from lip2speech.codecs import code_fingerprint
from lip2speech.config import to_dict
from lip2speech.data.augment import AugmentConfig
from lip2speech.data.dataset import read_clips
from lip2speech.data.loader import Batch, BatchCollator
from lip2speech.data.targets import ALPHABET, TargetExtractor, extract_targets
from lip2speech.models.lip2speech import LipModel
from lip2speech.models.prediction import Prediction
from lip2speech.train.core.device import autocast
from lip2speech.train.core.dummy_data import DummyData
from lip2speech.train.core.ema import EMA
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch, seed_step
from lip2speech.train.core.optim import OptimizerWithSchedule
from lip2speech.train.core.pretrained import init_from_checkpoint
from lip2speech.train.core.sampler import BucketBatchSampler
from lip2speech.train.core.task import TrainingTask
from lip2speech.train.finetune.config import FinetuneConfig
from lip2speech.train.finetune.losses import AlignedTargets, MultiTaskLoss
from lip2speech.train.finetune.targets import build_target_extractor
from lip2speech.vocoders.griffin_lim import GriffinLim


class FinetuneTask(TrainingTask):
    """Lip model, CTC head, data and optimizer of fine-tuning."""

    def __init__(self, config: FinetuneConfig):
        self.config = config
        torch.manual_seed(config.trainer.seed)
        self.model = LipModel(config.model)
        is_whole_model = bool(config.init_from) and init_from_checkpoint(
            self.model, config.init_from, config.trainable
        )
        self.ctc_head = nn.Linear(config.model.frontend.embed_dim, 1 + len(ALPHABET))
        extractor = build_target_extractor(config)
        self.codec, self.speaker_encoder = extractor.codec, extractor.speaker_encoder
        self.loss = MultiTaskLoss(config.weights, extractor.mel.config)
        self.train_set = self.build_train_set(extractor, config.augment)
        self.valid_sets = self.build_valid_sets(extractor)
        self.sampler: BucketBatchSampler | None = None
        if config.max_frames_per_batch:
            lengths = [clip.n_frames for clip in self.train_set.clips]
            self.sampler = BucketBatchSampler(lengths, config.max_frames_per_batch, config.trainer.seed)
        if not is_whole_model:
            self.set_mel_statistics()
        self.optimizer = OptimizerWithSchedule(
            [*self.trainable_parameters(), *self.ctc_head.parameters()],
            config.optimizer,
            config.trainer.steps,
            scaled_parameters=self.model.frontend.parameters(),
            lr_scale=config.frontend_lr_scale,
        )
        self.ema = EMA(self.model, config.ema_decay)

    def build_train_set(self, extractor: TargetExtractor, augment: AugmentConfig) -> BatchCollator:
        """Training clips of all folders with their targets."""
        clips = read_clips(self.config.train_data, "train")
        return BatchCollator(
            clips,
            extract_targets(clips, extractor),
            config=augment,
            transform=self.config.transform,
            sampling_weights=self.config.sampling_weights or None,
            speaker_encoder=extractor.speaker_encoder,
        )

    def build_valid_sets(self, extractor: TargetExtractor) -> dict[str, list[Batch]]:
        """Fixed batches without augmentation of each folder that has validation clips, by folder name."""
        sets: dict[str, list[Batch]] = {}
        for folder in self.config.train_data:
            rng = np.random.default_rng(0)
            try:
                clips = read_clips([folder], "valid")[: self.config.valid_clips]
            except ValueError:  # no clip of that split
                continue
            targets = extract_targets(clips, extractor)
            collator = BatchCollator(clips, targets, config=None, transform=self.config.transform)
            size = self.config.trainer.batch_size
            chosen = [range(i, min(i + size, len(clips))) for i in range(0, len(clips), size)]
            name = Path(folder).name
            sets[folder if name in sets else name] = [collator.collate(c, rng) for c in chosen]
        return sets

    def set_mel_statistics(self) -> None:
        """Set mean and standard deviation of the mel head to those of the training mels."""
        mels = torch.cat([t.mel.float() for t in self.train_set.targets], 1)
        self.model.heads.mel_mean.copy_(mels.mean(1))
        self.model.heads.mel_std.copy_(mels.std(1).clamp_min(MIN_MEL_STD))

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        c = self.config
        rng = seed_step(c.trainer.seed, step, micro_batch)
        batch = self.to_device(self.sample(rng, micro_batch))
        self.set_mode(step)
        targets = self.align(batch)
        with autocast(c.trainer.precision, self.device):
            chunk = (int(rng.choice(c.train_chunk_sizes)) or None) if c.train_chunk_sizes else None
            features = self.model.frontend(batch.video, padding_mask=batch.padding_mask, chunk=chunk)
            codes = None if batch.codes is None else targets.teacher_codes
            prediction = self.model.heads(features, batch.speaker, batch.padding_mask, codes)
        loss: Tensor
        logs: dict[str, float]
        loss, logs = self.loss(prediction, targets)
        if c.weights.ctc and batch.text is not None:
            ctc = losses.ctc_loss(self.ctc_head(features.float()), batch.lengths(), batch.text)
            loss, logs["ctc"] = loss + c.weights.ctc * ctc, ctc.item()
        logs["grad_norm"] = self.optimizer.step(loss, step, micro_batch)
        logs["skipped_steps"] = self.optimizer.skipped_steps
        self.ema.update(self.model, micro_batch)
        return logs

    def sample(self, rng: np.random.Generator, micro_batch: MicroBatch) -> Batch:
        """Random clips, or the next batch of the epoch."""
        if self.sampler is not None:
            chosen = self.sampler.next_batch(micro_batch)
        else:
            size = micro_batch.count * self.config.trainer.batch_size
            chosen = micro_batch.shard(self.train_set.sample_indices(size, rng))
        return self.train_set.collate(chosen, micro_batch.spawn_rng(rng))

    def align(self, batch: Batch) -> AlignedTargets:
        """The targets of a batch, to be aligned with a prediction."""
        heads = self.model.heads
        rate = self.config.model.heads.code_frame_rate
        return AlignedTargets(batch, heads.mel_mean, heads.mel_std, self.config.weights, rate)

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Freeze all parameters but those under `trainable` prefixes; ValueError if a prefix matches none."""
        named = dict(self.model.named_parameters())
        for prefix in self.config.trainable:
            if not any(name.startswith(prefix) for name in named):
                raise ValueError(f"trainable: no parameter's name starts with {prefix!r}.")
        for name, parameter in named.items():
            parameter.requires_grad_(not self.config.trainable or name.startswith(self.config.trainable))
        return [parameter for parameter in named.values() if parameter.requires_grad]

    def set_mode(self, step: int) -> None:
        """Train mode for trained modules; frozen ones keep their statistics and have no dropout."""
        if not self.config.trainable:
            self.model.train()
            self.model.frontend.requires_grad_(step >= self.config.freeze_frontend_steps)
            return
        self.model.eval()
        for name, module in self.model.named_modules():
            if name.startswith(self.config.trainable):
                module.train()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """All metrics on each validation set, as FOLDER/METRIC."""
        model = self.ema_model()
        metrics: dict[str, float] = {}
        for name, batches in self.valid_sets.items():
            rows = []
            for batch in map(self.to_device, batches):
                with autocast(self.config.trainer.precision, self.device):
                    prediction = model(batch.video, batch.speaker, batch.padding_mask)
                rows.append(self.loss(prediction, self.align(batch))[1])
            metrics |= {f"{name}/{key}": float(np.mean([row[key] for row in rows])) for key in rows[0]}
        return metrics

    def ema_model(self) -> LipModel:
        """The model with averaged weights, in eval mode."""
        return self.ema.copy_to(LipModel(self.config.model))

    def checkpointed(self) -> dict[str, Any]:
        parts = {"model": self.model, "ctc_head": self.ctc_head, "ema": self.ema, "optimizer": self.optimizer}
        return parts | ({"sampler": self.sampler} if self.sampler else {})

    @torch.no_grad()
    def samples(self) -> dict[str, Tensor]:
        """The first validation clip by Griffin-Lim, from the predicted and from the reference mel."""
        batch = self.to_device(next(iter(self.valid_sets.values()))[0])
        frames = int(batch.lengths()[0])
        predicted = self.ema_model()(batch.video[:1, :, :frames], batch.speaker[:1]).require("mel")
        mels = {"predicted": predicted, "reference": batch.mel[:1, :, : predicted.shape[-1]]}
        vocoder = GriffinLim()
        return {name: vocoder(Prediction(mel=mel.cpu()))[0, 0] for name, mel in mels.items()}

    @classmethod
    def dummy_config(cls, config: FinetuneConfig, dummy: DummyData) -> FinetuneConfig:
        heads = config.model.heads
        return replace(
            config,
            train_data=(dummy.clips(),),
            sampling_weights=(),
            unit_tokenizer=dummy.unit_tokenizer(config.unit_tokenizer, heads.n_units),
            codec_path=dummy.codec(config.codec_path, heads.codebook_sizes, heads.code_frame_rate),
            speaker_encoder=dummy.speaker_encoder(config.speaker_encoder, heads.speaker_dim),
            init_from=config.init_from if Path(config.init_from).is_dir() else "",
        )

    def networks(self) -> dict[str, nn.Module]:
        return {"frontend": self.model.frontend, "heads": self.model.heads, "ctc_head": self.ctc_head}

    def export(self, folder: Path) -> None:
        config = {
            "kind": "lip-model",
            "model": to_dict(self.config.model),
            "transform": to_dict(self.config.transform),
            "codec": code_fingerprint(self.codec) if self.codec else None,
            "speaker": self.speaker_encoder.fingerprint,
        }
        card = "# Lip model\nTrained by `lip2speech train finetune`.\n"
        checkpoint.save(folder, config, self.ema_model().state_dict(), card, overwrite=True)
