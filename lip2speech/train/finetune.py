"""Multi-task fine-tuning: lips to mel, units and codes at once.

The mel loss (L1 + spectral convergence) and label-smoothed units follow lip2speech-unit (Choi et al. 2023, section
3.2). Two things are ours: a target may be read some steps earlier or later, whichever lag fits the clip best, since
sound and picture of real corpora are offset clip by clip; and the front end learns at its own, lower rate after
`freeze_steps`, so that a pretrained one is really fine-tuned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.codec.load import load_codec
from lip2speech.config import to_dict
from lip2speech.data.augment import AugmentConfig
from lip2speech.data.batch import IGNORED, Batch, Batches
from lip2speech.data.dataset import read_clips
from lip2speech.data.targets import TargetMaker, UnitTeacher, make_targets
from lip2speech.frontend.transforms import Transform
from lip2speech.model import LipModel, ModelConfig
from lip2speech.prediction import Prediction
from lip2speech.train import losses
from lip2speech.train.loop import Average, LoopConfig, Optimizer, OptimizerConfig, Task, autocast, seed_step


@dataclass(frozen=True)
class LossWeights:
    """Weights of the tasks; `lag` is the widest lag in mel frames, `lag_price` what a step costs in mel L1."""

    mel: float = 2.0
    convergence: float = 1.0
    units: float = 0.3
    codes: float = 0.3
    independent_codes: float = 0.1
    lag: int = 6
    lag_price: float = 0.002
    smoothing: float = 0.1


@dataclass(frozen=True)
class FinetuneConfig:
    """One fine-tuning run.

    folders: prepared clips; folder_weights: the share of each in a batch; units, codec: checkpoint folders of the
    teachers; init: a run's final folder or a front end to start from.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    transform: Transform = field(default_factory=Transform)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    loop: LoopConfig = field(default_factory=LoopConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    folders: tuple[str, ...] = ()
    folder_weights: tuple[float, ...] = ()
    units: str = ""
    codec: str = ""
    init: str = ""
    freeze_steps: int = 0
    frontend_lr: float = 1.0
    ema: float = 0.998
    valid_clips: int = 64


class FinetuneTask(Task):
    """Model, data and optimiser of multi-task fine-tuning."""

    def __init__(self, config: FinetuneConfig):
        self.config = config
        torch.manual_seed(config.loop.seed)
        self.model = LipModel(config.model)
        if config.init:
            load_initial(self.model, config.init)
        units = UnitTeacher.load(config.units) if config.units else None
        maker = TargetMaker(units, load_codec(config.codec) if config.codec else None)
        self.train_set = self.batches(maker, "train", config.augment)
        self.valid_sets = self.validation(maker)
        if not config.init:
            self.set_mel_statistics()
        self.opt = Optimizer(self.model.parameters(), config.optimizer, config.loop.steps)
        self.average = Average(self.model, config.ema)

    def batches(self, maker: TargetMaker, split: str, augment: AugmentConfig | None) -> Batches:
        """Clips of all folders with their targets."""
        clips = read_clips(self.config.folders, split)
        weights = self.config.folder_weights or None
        return Batches(
            clips, make_targets(clips, maker), config=augment, transform=self.config.transform, weights=weights
        )

    def validation(self, maker: TargetMaker) -> dict[str, list[Batch]]:
        """Fixed plain batches for each folder from its valid split, or from test where there is none."""
        sets = {}
        for folder in self.config.folders:
            rng = np.random.default_rng(0)
            try:
                clips = read_clips([folder], "valid")
            except ValueError:
                continue
            clips = clips[: self.config.valid_clips]
            held = Batches(clips, make_targets(clips, maker), config=None, transform=self.config.transform)
            size = self.config.loop.batch_size
            chosen = [range(i, min(i + size, len(clips))) for i in range(0, len(clips), size)]
            sets[Path(folder).name] = [held.collate(c, rng) for c in chosen]
        return sets

    def set_mel_statistics(self) -> None:
        """Mean and deviation of the training mels go into the mel head."""
        mels = torch.cat([t.mel.float() for t in self.train_set.targets], 1)
        self.model.heads.mel_mean.copy_(mels.mean(1))
        self.model.heads.mel_std.copy_(mels.std(1))

    def update(self, step: int) -> dict[str, float]:
        rng = seed_step(self.config.loop.seed, step)
        batch = self.train_set.draw(self.config.loop.batch_size, rng)
        self.model.train()
        self.model.frontend.requires_grad_(step >= self.config.freeze_steps)
        with autocast(self.config.loop.precision, batch.video.device):
            teacher = None if batch.codes is None else batch.codes.clamp_min(0)
            prediction = self.model(batch.video, batch.speaker, batch.padding_mask, teacher)
        loss, logs = self.losses(prediction, batch)
        logs["grad"] = self.opt.apply(loss, step)
        self.average.update(self.model)
        return logs

    def losses(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum and its parts."""
        w = self.config.weights
        mel = prediction.require("mel").float()
        keep = (~batch.padding_mask).float().repeat_interleave(4, 1).unsqueeze(1)  # (B, 1, 4T)
        scaled = (mel - self.mean) / self.std
        target = (batch.mel - self.mean) / self.std
        lags = losses.best_lags(scaled, target, keep, max_lag=w.lag, price=w.lag_price)
        l1, convergence = losses.mel_loss(scaled, losses.shifted(target, lags), keep)
        total = w.mel * l1 + w.convergence * convergence
        logs = {"mel": float(l1), "lag": float(lags.float().abs().mean())}
        if batch.units is not None:
            moved = losses.shifted(batch.units, half(lags))
            loss, hits = losses.token_loss(prediction.require("unit_logits"), moved, smoothing=w.smoothing)
            total, logs = total + w.units * loss, logs | {"unit_acc": float(hits)}
        if batch.codes is not None:
            moved = losses.shifted(batch.codes, half(lags))
            for name, weight in (("code_logits", w.codes), ("independent_code_logits", w.independent_codes)):
                logits = prediction.require(name).transpose(1, 2)  # (B, K, n_q, T)
                loss, hits = losses.token_loss(logits, moved, smoothing=w.smoothing)
                total, logs = total + weight * loss, logs | {f"{name[:4]}_acc": float(hits)}
        return total, logs | {"loss": float(total)}

    @property
    def mean(self) -> Tensor:
        return self.model.heads.mel_mean[:, None]

    @property
    def std(self) -> Tensor:
        return self.model.heads.mel_std[:, None]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        model = self.averaged()
        figures: dict[str, float] = {}
        for name, batches in self.valid_sets.items():
            rows = []
            for batch in batches:
                with autocast(self.config.loop.precision, batch.video.device):
                    prediction = model(batch.video, batch.speaker, batch.padding_mask)
                rows.append(self.losses(prediction, batch)[1])
            figures |= {f"{name}.{k}": float(np.mean([r[k] for r in rows])) for k in rows[0]}
        return figures

    def averaged(self) -> LipModel:
        """The model with averaged weights, in eval mode."""
        model = LipModel(self.config.model)
        model.load_state_dict(self.average.values)
        return model.eval()

    def state(self) -> dict[str, Any]:
        average = {"values": self.average.values, "count": self.average.count}
        return {"model": self.model.state_dict(), "average": average, "opt": self.opt.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.average.values, self.average.count = state["average"]["values"], state["average"]["count"]
        self.opt.load_state(state["opt"])

    def export(self, folder: Path) -> None:
        config = {
            "kind": "lip-model",
            "model": to_dict(self.config.model),
            "transform": to_dict(self.config.transform),
        }
        card = "# Lip model\nTrained by `lip2speech train finetune`.\n"
        checkpoint.save(folder, config, self.averaged().state_dict(), card, overwrite=True)


def half(lags: Tensor) -> Tensor:
    """Lags of the 100 Hz mel on a 50 Hz clock."""
    return torch.div(lags, 2, rounding_mode="trunc")


def load_initial(model: LipModel, folder: str | Path) -> None:
    """Start from a lip model, or put an AV-HuBERT checkpoint into the front end alone."""
    loaded = checkpoint.load(folder)
    module = model if loaded.config.get("kind") == "lip-model" else model.frontend
    checkpoint.load_into(module, loaded.tensors)


__all__ = ["IGNORED", "FinetuneConfig", "FinetuneTask", "LossWeights"]
