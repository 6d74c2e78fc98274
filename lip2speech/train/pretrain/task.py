"""Pretraining of AV-HuBERT: guessing the cluster of each masked frame from lips and sound.

Shi, Hsu, Lakhotia, Mohamed 2022, "Learning audio-visual speech representation by masked multimodal cluster
prediction", sections 3.2 and 3.3, appendix B. Both streams are masked, each by itself: pictures by other
pictures of the clip, sound by a vector that is learned. Half of the batches have one stream alone. Where the
clusters come from is told by `iterations.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech import checkpoint
from lip2speech.config import to_dict
from lip2speech.data.dataset import Clip, read_clips
from lip2speech.data.loader import IGNORE_INDEX
from lip2speech.data.unit_tokenizers import load_unit_tokenizer
from lip2speech.models.frontends.avhubert import AVHubert, AVHubertConfig
from lip2speech.models.frontends.masked_prediction import MaskedPredictionHead, MaskedPredictionHeadConfig
from lip2speech.models.frontends.transforms import Transform
from lip2speech.train.core.config import OptimizerConfig, TrainerConfig
from lip2speech.train.core.device import autocast, training_device
from lip2speech.train.core.dummy_data import TRAIN_CLIPS, DummyData
from lip2speech.train.core.ema import EMA
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch, seed_step
from lip2speech.train.core.optim import OptimizerWithSchedule
from lip2speech.train.core.sampler import BucketBatchSampler
from lip2speech.train.core.task import TrainingTask
from lip2speech.train.pretrain.data import MaskedAVDataset, MaskedBatch, clusters_of
from lip2speech.train.pretrain.masking import SpanMask

Streams = tuple[bool, bool]
"""Whether the model hears, whether it sees."""

STREAMS: dict[str, Streams] = {"both": (True, True), "lips": (False, True), "sound": (True, False)}


@dataclass(frozen=True)
class PretrainIteration:
    """What one iteration guesses.

    n_units: clusters; layer: whose features are clustered, from 1, of the model of the iteration before, or
    of the folder `model`; 0: cepstra. units: folder of a unit teacher, which is taken as it is instead.
    """

    n_units: int = 100
    feature_layer: int = 0
    model: str = ""
    unit_tokenizer: str = ""


@dataclass(frozen=True)
class PretrainConfig:
    """One pretraining; the defaults are the published base model's last iteration on LRS3.

    train_data: prepared clips; iterations: what each of them guesses; iteration: which one this is, from 1;
    n_kmeans_frames: features that k-means looks at. video_mask, audio_mask: what is hidden. modality_dropout:
    chance that a batch has one stream alone; audio_dropout: that it is the lips then. unmasked_weight: what
    the loss of a frame that neither stream hides counts beside that of one that is hidden. feature_grad: what
    the gradient of both streams is multiplied by where they leave ResNet and projection; feature_penalty:
    of the mean square of what they are there. final_dim, temperature: of the comparison with the embeddings
    of the clusters. batch_frames: 0 draws trainer.batch_size random clips; else every clip comes once in an
    epoch, in batches of similar length that have at most so many video frames with their padding.
    max_frames: of a longer clip a random stretch is taken.
    """

    frontend: AVHubertConfig = field(default_factory=AVHubertConfig)
    transform: Transform = field(default_factory=Transform)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train_data: tuple[str, ...] = ()
    iterations: tuple[PretrainIteration, ...] = (PretrainIteration(),)
    iteration: int = 1
    n_kmeans_frames: int = 300_000
    video_mask: SpanMask = field(default_factory=lambda: SpanMask(mask_prob=0.3, mask_length=5))
    audio_mask: SpanMask = field(default_factory=lambda: SpanMask(mask_prob=0.8, mask_length=10))
    modality_dropout: float = 0.5
    audio_dropout: float = 0.5
    unmasked_weight: float = 0.0
    feature_grad_mult: float = 0.1
    feature_penalty: float = 10.0
    final_dim: int = 256
    temperature: float = 0.1
    ema_decay: float = 0.999
    max_frames_per_batch: int = 0
    max_frames: int = 400
    valid_clips: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.iteration <= len(self.iterations):
            raise ValueError(f"iteration must be 1 .. {len(self.iterations)}, got {self.iteration}.")
        if not (self.video_mask.mask_prob or self.audio_mask.mask_prob or self.unmasked_weight):
            raise ValueError("nothing is masked, so there is nothing to guess; give a mask a share above 0.")
        for name in ("modality_dropout", "audio_dropout", "unmasked_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 .. 1, got {getattr(self, name)}.")
        for name in ("max_frames", "valid_clips"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        for number, one in enumerate(self.iterations, 1):
            check_source(one, number, self.frontend.encoder_layers)

    @property
    def guessed(self) -> PretrainIteration:
        """What the iteration guesses that this is."""
        return self.iterations[self.iteration - 1]


def check_source(one: PretrainIteration, number: int, layers: int) -> None:
    """ValueError: the clusters of an iteration come from nowhere."""
    if one.unit_tokenizer:
        return
    if one.model and not one.feature_layer:
        raise ValueError(f"iteration {number} has a model but no layer of it; give its layer, from 1.")
    if one.feature_layer and number == 1 and not one.model:
        raise ValueError("iteration 1 has no model before it; give layer 0 (cepstra), or a model.")
    if not one.feature_layer and number > 1:
        raise ValueError(f"iteration {number} clusters a layer of the model before it; give its layer.")
    if one.feature_layer > layers and not one.model:
        raise ValueError(f"iteration {number}: layer must be 1 .. {layers}, got {one.feature_layer}.")


def check_count(config: PretrainConfig, found: int) -> None:
    """ValueError: there are not as many units as the recipe says."""
    if found != config.guessed.n_units:
        raise ValueError(
            f"{config.guessed.unit_tokenizer} has {found} units, the recipe says {config.guessed.n_units} for "
            f"iteration {config.iteration}; change its n_units, or remove the folder."
        )


class AVHubertPretrainModel(nn.Module):
    """The front end and the cluster head that guesses.

    Shape:
        forward: batch, which streams there are -> features (B, T, C), mean square of what the streams give ()
    """

    def __init__(
        self, frontend: AVHubertConfig, clusters: MaskedPredictionHeadConfig, feature_grad: float = 1.0
    ):
        super().__init__()
        self.frontend, self.clusters = AVHubert(frontend), MaskedPredictionHead(clusters)
        self.feature_grad = feature_grad

    def forward(self, batch: MaskedBatch, streams: Streams) -> tuple[Tensor, Tensor]:
        hears, sees = streams
        padding, heard, seen = batch.padding_mask, None, None
        if hears:
            vector = self.clusters.mask_embedding[:, None]
            audio = torch.where(batch.audio_mask[:, None], vector, batch.audio)
            heard = self.slowed(self.frontend.audio_features(audio))
        if sees:
            seen = self.slowed(self.frontend.video_features(batch.video, padding))
        given = [x[~padding].float().square().mean() for x in (heard, seen) if x is not None]
        features = self.frontend.encoder(self.frontend.fuse(seen, heard), padding)
        return features, torch.stack(given).sum() / 2  # a stream that is not there is zeros

    def slowed(self, x: Tensor) -> Tensor:
        """The same numbers; less of their gradient comes back."""
        return x.detach() + self.feature_grad * (x - x.detach())


class PretrainTask(TrainingTask):
    """Model, data and optimiser of one iteration, whose units are there.

    Args:
        store: folder that keeps the clusters of the clips; None: they are made for this time alone.
    """

    def __init__(self, config: PretrainConfig, store: Path | None = None):
        self.config = config
        torch.manual_seed(config.trainer.seed)
        self.teacher = load_unit_tokenizer(
            config.guessed.unit_tokenizer, training_device(config.trainer.device)
        )
        check_count(config, self.teacher.n_units)
        head = MaskedPredictionHeadConfig(
            embed_dim=config.frontend.embed_dim,
            final_dim=config.final_dim,
            n_clusters=self.teacher.n_units,
            mask_dim=config.frontend.audio_feat_dim,
            temperature=config.temperature,
        )
        self.model = AVHubertPretrainModel(config.frontend, head, config.feature_grad_mult)
        self.train_set = self.clips(read_clips(config.train_data, "train"), store, "train")
        held = read_clips(config.train_data, "valid")
        held = held[:: -(-len(held) // config.valid_clips)]  # of all folders
        self.held_out = self.fixed(self.clips(held, store, "valid"))
        self.sampler: BucketBatchSampler | None = None
        if config.max_frames_per_batch:
            self.sampler = BucketBatchSampler(
                self.train_set.lengths, config.max_frames_per_batch, config.trainer.seed
            )
        self.optimizer = OptimizerWithSchedule(
            self.model.parameters(), config.optimizer, config.trainer.steps
        )
        self.ema = EMA(self.model, config.ema_decay)

    def clips(self, clips: list[Clip], store: Path | None, split: str) -> MaskedAVDataset:
        """Clips with their clusters."""
        file = store / f"clusters-{split}.safetensors" if store else None
        c = self.config
        return MaskedAVDataset(
            clips,
            clusters_of(clips, self.teacher, file),
            transform=c.transform,
            video_mask=c.video_mask,
            audio_mask=c.audio_mask,
            max_frames=c.max_frames,
            random=split == "train",
        )

    def fixed(self, clips: MaskedAVDataset) -> list[MaskedBatch]:
        """All clips in batches, always with the same masks."""
        size, rng = self.config.trainer.batch_size, np.random.default_rng(0)
        count = len(clips.clips)
        return [clips.collate(range(i, min(i + size, count)), rng) for i in range(0, count, size)]

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        rng = seed_step(self.config.trainer.seed, step, micro_batch)
        chosen = self.choose(rng, micro_batch)
        rng = micro_batch.spawn_rng(rng)
        batch = self.train_set.collate(chosen, rng)
        self.model.train()
        loss, logs = self.losses(self.model, batch, self.streams(rng))
        logs["grad_norm"] = self.optimizer.step(loss, step, micro_batch)
        logs["skipped_steps"] = self.optimizer.skipped_steps
        self.ema.update(self.model, micro_batch)
        return logs

    def choose(self, rng: np.random.Generator, micro_batch: MicroBatch) -> list[int]:
        """A part of the step's batch: random clips, or the next of the epoch."""
        if self.sampler is not None:
            return self.sampler.next_batch(micro_batch)
        return micro_batch.shard(
            self.train_set.choose(micro_batch.count * self.config.trainer.batch_size, rng)
        )

    def streams(self, rng: np.random.Generator) -> Streams:
        """What a batch has: both, or one alone."""
        alone, lips = rng.random(2) < (self.config.modality_dropout, self.config.audio_dropout)
        return STREAMS["both" if not alone else "lips" if lips else "sound"]

    def losses(
        self, model: AVHubertPretrainModel, batch: MaskedBatch, streams: Streams
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss, and how often masked frames are guessed right."""
        batch = self.to_device(batch)
        with autocast(self.config.trainer.precision, self.device):
            features, square = model(batch, streams)
        logits = model.clusters(features.float())
        loss = masked_loss(logits, batch, self.config.unmasked_weight)
        right = logits.argmax(-1)[batch.masked()] == batch.clusters[batch.masked()]
        logs = {"acc": right.float().mean().item(), "features": square.item()}
        total = loss + self.config.feature_penalty * square
        return total, {"loss": loss.item()} | logs

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss and share of right guesses on masked frames, by the streams that the model has.

        chance: the share that is right when one always guesses the cluster that is most frequent.
        """
        model, figures = self.ema_model(), {}
        for name, streams in STREAMS.items():
            rows = [self.losses(model, batch, streams)[1] for batch in self.held_out]
            for key in ("loss", "acc"):
                figures[f"{name}.{key}"] = float(np.mean([row[key] for row in rows]))
        guessed = torch.cat([batch.clusters[batch.clusters != IGNORE_INDEX] for batch in self.held_out])
        figures["chance"] = float(guessed.bincount().max() / len(guessed))
        return figures | {"loss": figures["both.loss"]}

    def ema_model(self) -> AVHubertPretrainModel:
        """The model with averaged weights, in eval mode."""
        return self.ema.copy_to(AVHubertPretrainModel(self.config.frontend, self.model.clusters.config))

    def state_dict(self) -> dict[str, Any]:
        epochs = {"sampler": self.sampler.state_dict()} if self.sampler else {}
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        } | epochs

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.sampler and "sampler" in state:  # a run that began with random batches has none
            self.sampler.load_state_dict(state["sampler"])

    @classmethod
    def dummy_config(cls, config: PretrainConfig, dummy: DummyData) -> PretrainConfig:
        one = config.guessed
        frames = min(config.max_frames, config.max_frames_per_batch // TRAIN_CLIPS)
        units = dummy.unit_tokenizer(one.unit_tokenizer or "units of the iteration", one.n_units)
        iterations = tuple(replace(each, unit_tokenizer=units) for each in config.iterations)
        return replace(config, train_data=(dummy.clips(frames=frames),), iterations=iterations)

    def networks(self) -> dict[str, nn.Module]:
        return {"frontend": self.model.frontend, "clusters": self.model.clusters}

    def export(self, folder: Path) -> None:
        """A folder as the import of a public AV-HuBERT makes it."""
        config = {
            "kind": "avhubert",
            "frontend": to_dict(self.config.frontend),
            "transform": to_dict(self.config.transform),
            "clusters": to_dict(self.model.clusters.config),
        }
        figures = self.validate()
        card = (
            f"# AV-HuBERT encoder\nIteration {self.config.iteration} of `lip2speech train pretrain` on "
            f"{len(self.train_set.clips)} clips; of masked frames of clips that were held out it guesses "
            f"{figures['both.acc']:.3f} right, {figures['lips.acc']:.3f} from the lips alone, among "
            f"{self.teacher.n_units} clusters (the most frequent one alone: {figures['chance']:.3f}).\n"
        )
        checkpoint.save(folder, config, self.ema_model().state_dict(), card, overwrite=True)


def masked_loss(logits: Tensor, batch: MaskedBatch, unmasked_weight: float = 0.0) -> Tensor:
    """Cross entropy of logits (B, T, K) on masked frames, and as much of it elsewhere as the weight says.

    The mean is over the frames that count, whatever their weight, as published.
    """
    losses = F.cross_entropy(
        logits.transpose(1, 2), batch.clusters, ignore_index=IGNORE_INDEX, reduction="none"
    )
    weights = torch.where(batch.masked(), 1.0, unmasked_weight) * ~batch.padding_mask
    return (losses * weights).sum() / weights.count_nonzero().clamp_min(1)
