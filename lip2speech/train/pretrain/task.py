"""Pre-training of AV-HuBERT: predict the cluster of each masked frame from video and audio.

Shi, Hsu, Lakhotia, Mohamed 2022, "Learning audio-visual speech representation by masked multimodal cluster
prediction", sections 3.2 and 3.3, appendix B. Both modalities are masked independently: video by substitution
with other frames of the clip, audio by a learned embedding. Half of the batches have one modality only. See
`iterations.py` for the source of the clusters.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lip2speech import checkpoint
from lip2speech.config import to_dict
from lip2speech.data.dataset import Clip, read_clips
from lip2speech.data.loader import IGNORE_INDEX
from lip2speech.data.unit_tokenizers import load_unit_tokenizer
from lip2speech.models.frontends.masked_prediction import MaskedPredictionHeadConfig
from lip2speech.train.core.device import autocast, training_device
from lip2speech.train.core.dummy_data import TRAIN_CLIPS, DummyData
from lip2speech.train.core.ema import EMA
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch, seed_step
from lip2speech.train.core.optim import OptimizerWithSchedule
from lip2speech.train.core.sampler import BucketBatchSampler
from lip2speech.train.core.task import TrainingTask
from lip2speech.train.pretrain.config import PretrainConfig
from lip2speech.train.pretrain.data import MaskedAVDataset, MaskedBatch, extract_clusters
from lip2speech.train.pretrain.model import MODALITIES, AVHubertPretrainModel, Modalities, masked_loss


class PretrainTask(TrainingTask):
    """Model, data and optimizer of one iteration, whose unit tokenizer exists.

    Args:
        cache: folder in which the clusters of all clips are stored; None: they are not stored.
    """

    def __init__(self, config: PretrainConfig, cache: Path | None = None):
        self.config = config
        torch.manual_seed(config.trainer.seed)
        device = training_device(config.trainer.device)
        self.tokenizer = load_unit_tokenizer(config.current.unit_tokenizer, device)
        check_n_units(config, self.tokenizer.n_units)
        head = MaskedPredictionHeadConfig(
            embed_dim=config.frontend.embed_dim,
            final_dim=config.final_dim,
            n_clusters=self.tokenizer.n_units,
            mask_dim=config.frontend.audio_feat_dim,
            temperature=config.temperature,
        )
        self.model = AVHubertPretrainModel(config.frontend, head, config.feature_grad_mult)
        self.train_set = self.dataset(read_clips(config.train_data, "train"), cache, "train")
        valid_clips = read_clips(config.train_data, "valid")
        valid_clips = valid_clips[:: -(-len(valid_clips) // config.valid_clips)]  # evenly from all folders
        self.valid_batches = self.fixed_batches(self.dataset(valid_clips, cache, "valid"))
        self.sampler: BucketBatchSampler | None = None
        if config.max_frames_per_batch:
            self.sampler = BucketBatchSampler(
                self.train_set.lengths, config.max_frames_per_batch, config.trainer.seed
            )
        self.optimizer = OptimizerWithSchedule(
            self.model.parameters(), config.optimizer, config.trainer.steps
        )
        self.ema = EMA(self.model, config.ema_decay)

    def dataset(self, clips: list[Clip], cache: Path | None, split: str) -> MaskedAVDataset:
        """Clips with their clusters."""
        c, file = self.config, cache / f"clusters-{split}.safetensors" if cache else None
        return MaskedAVDataset(
            clips,
            extract_clusters(clips, self.tokenizer, file),
            transform=c.transform,
            video_mask=c.video_mask,
            audio_mask=c.audio_mask,
            max_frames=c.max_frames,
            random=split == "train",
        )

    def fixed_batches(self, dataset: MaskedAVDataset) -> list[MaskedBatch]:
        """All clips in batches, with the same masks at every call."""
        size, rng, count = self.config.trainer.batch_size, np.random.default_rng(0), len(dataset.clips)
        return [dataset.collate(range(i, min(i + size, count)), rng) for i in range(0, count, size)]

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        rng = seed_step(self.config.trainer.seed, step, micro_batch)
        indices = self.sample_indices(rng, micro_batch)
        rng = micro_batch.spawn_rng(rng)
        batch = self.train_set.collate(indices, rng)
        self.model.train()
        loss, logs = self.losses(self.model, batch, self.sample_modalities(rng))
        logs["grad_norm"] = self.optimizer.step(loss, step, micro_batch)
        logs["skipped_steps"] = self.optimizer.skipped_steps
        self.ema.update(self.model, micro_batch)
        return logs

    def sample_indices(self, rng: np.random.Generator, micro_batch: MicroBatch) -> list[int]:
        """Random clips, or the next batch of the epoch."""
        if self.sampler is not None:
            return self.sampler.next_batch(micro_batch)
        size = micro_batch.count * self.config.trainer.batch_size
        return micro_batch.shard(self.train_set.sample_indices(size, rng))

    def sample_modalities(self, rng: np.random.Generator) -> Modalities:
        """The modalities of a batch: both, or one of them."""
        drop_one, keep_video = rng.random(2) < (self.config.modality_dropout, self.config.audio_dropout)
        return MODALITIES["av" if not drop_one else "video" if keep_video else "audio"]

    def losses(
        self, model: AVHubertPretrainModel, batch: MaskedBatch, modalities: Modalities
    ) -> tuple[Tensor, dict[str, float]]:
        """The total loss, and the loss and accuracy on masked frames."""
        batch = self.to_device(batch)
        with autocast(self.config.trainer.precision, self.device):
            features, feature_square = model(batch, modalities)
        logits = model.clusters(features.float())
        loss = masked_loss(logits, batch, self.config.unmasked_weight)
        hits = logits.argmax(-1)[batch.masked()] == batch.clusters[batch.masked()]
        total = loss + self.config.feature_penalty * feature_square
        logs = {"loss": loss.item(), "acc": hits.float().mean().item()}
        return total, logs | {"feature_square": feature_square.item()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss and accuracy on masked frames for each set of modalities.

        majority_baseline: accuracy of always predicting the most frequent cluster.
        """
        model, metrics = self.ema_model(), {}
        for name, modalities in MODALITIES.items():
            rows = [self.losses(model, batch, modalities)[1] for batch in self.valid_batches]
            for key in ("loss", "acc"):
                metrics[f"{name}/{key}"] = float(np.mean([row[key] for row in rows]))
        clusters = torch.cat([b.clusters[b.clusters != IGNORE_INDEX] for b in self.valid_batches])
        metrics["majority_baseline"] = float(clusters.bincount().max() / len(clusters))
        return metrics | {"loss": metrics["av/loss"]}

    def ema_model(self) -> AVHubertPretrainModel:
        """The model with averaged weights, in eval mode."""
        return self.ema.copy_to(AVHubertPretrainModel(self.config.frontend, self.model.clusters.config))

    def checkpointed(self) -> dict[str, Any]:
        parts = {"model": self.model, "ema": self.ema, "optimizer": self.optimizer}
        return parts | ({"sampler": self.sampler} if self.sampler else {})

    @classmethod
    def dummy_config(cls, config: PretrainConfig, dummy: DummyData) -> PretrainConfig:
        current = config.current
        frames = min(config.max_frames, config.max_frames_per_batch // TRAIN_CLIPS)
        path = current.unit_tokenizer or "unit tokenizer of the iteration"
        units = dummy.unit_tokenizer(path, current.n_units)
        iterations = tuple(replace(each, unit_tokenizer=units) for each in config.iterations)
        return replace(config, train_data=(dummy.clips(frames=frames),), iterations=iterations)

    def networks(self) -> dict[str, nn.Module]:
        return {"frontend": self.model.frontend, "clusters": self.model.clusters}

    def export(self, folder: Path) -> None:
        """Write a folder in the format of an imported public AV-HuBERT."""
        config = {
            "kind": "avhubert",
            "frontend": to_dict(self.config.frontend),
            "transform": to_dict(self.config.transform),
            "clusters": to_dict(self.model.clusters.config),
        }
        metrics = self.validate()
        card = (
            f"# AV-HuBERT encoder\nIteration {self.config.iteration} of `lip2speech train pretrain` on "
            f"{len(self.train_set.clips)} clips. Accuracy on masked frames of validation clips, "
            f"{self.tokenizer.n_units} clusters: {metrics['av/acc']:.3f} from audio and video, "
            f"{metrics['video/acc']:.3f} from video only, {metrics['majority_baseline']:.3f} by always "
            "predicting the most frequent cluster.\n"
        )
        checkpoint.save(folder, config, self.ema_model().state_dict(), card, overwrite=True)


def check_n_units(config: PretrainConfig, found: int) -> None:
    """Raise ValueError if the unit tokenizer has another number of units than the config."""
    if found != config.current.n_units:
        raise ValueError(
            f"{config.current.unit_tokenizer} has {found} units, the config has n_units "
            f"{config.current.n_units} for iteration {config.iteration}; change it, or remove the folder."
        )
