"""Adaptation to one silent speaker: low-rank adapters trained on silent videos of known prompts.

A silent speaker has no audio, so the targets are the prompts read by a speech synthesizer (or recorded
earlier), aligned to the video by soft-DTW between prediction and target, as Gaddy and Klein 2020 ("Digital
voicing of silent speech") aligned silent with voiced recordings. The ResNet trunk is frozen and runs once per
crop; the adapters behind it are merged after training, so the result is an ordinary model folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lip2speech import checkpoint
from lip2speech.checkpoint import Checkpoint
from lip2speech.components import speaker_encoder_from_checkpoint, trainable_model_from_checkpoint
from lip2speech.config import from_dict
from lip2speech.constants import UNIT_RATE, per_video_frame
from lip2speech.data.unit_tokenizers import UnitTokenizer, require_rate
from lip2speech.losses.soft_dtw import soft_dtw
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.lip2speech import LipModel
from lip2speech.models.speaker_encoder import SpeakerEncoder
from lip2speech.train.adapt.lora import add_adapters, merge_adapters
from lip2speech.train.adapt.recordings import Recording
from lip2speech.train.adapt.targets import TargetSynthesizer, pairwise_cost
from lip2speech.train.core.config import OptimizerConfig
from lip2speech.train.core.device import Device, move_to, training_device
from lip2speech.train.core.micro_batch import seed_step
from lip2speech.train.core.optim import OptimizerWithSchedule


@dataclass(frozen=True)
class AdaptConfig:
    """Adaptation to one speaker; the defaults take minutes on a CPU.

    Attributes:
        unit_tokenizer: checkpoint folder of the tokenizer that the model was trained with; empty: mel loss
            only.
        lora_target_modules: suffixes of the names of the adapted linear layers.
        n_tts_voices: synthetic voices that read each prompt.
        n_crops: crops of each video; the first one is the center.
        dtw_gamma: softness of the alignment, in units of the loss.
        dtw_bandwidth_s: largest distance of the alignment from the diagonal, in seconds of the shorter side.
        unit_loss_weight: of the cross entropy of units relative to the mel's L1.
    """

    unit_tokenizer: str = ""
    lora_target_modules: tuple[str, ...] = ("video_proj", "q_proj", "v_proj", "fc1", "fc2", "heads.in_proj")
    lora_rank: int = 4
    steps: int = 300
    batch_size: int = 4
    seed: int = 0
    device: Device = "auto"
    n_tts_voices: int = 2
    n_crops: int = 2
    dtw_gamma: float = 0.05
    dtw_bandwidth_s: float = 0.6
    unit_loss_weight: float = 0.2
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=2e-3, warmup_steps=20))

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "n_tts_voices", "n_crops"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}.")


class AdaptationTrainer:
    """Trains adapters of a frozen model on the recordings of one speaker.

    Attributes:
        n_trainable: number of trained parameters.
    """

    def __init__(
        self,
        model: LipModel,
        transform: Transform,
        recordings: Sequence[Recording],
        config: AdaptConfig,
        speaker_encoder: SpeakerEncoder,
    ):
        if not recordings:
            raise ValueError("no video to train on; record the prompts, or hold out fewer.")
        synthesizer = TargetSynthesizer(config.unit_tokenizer, config.n_tts_voices, speaker_encoder)
        check_heads(model, synthesizer.unit_tokenizer)
        torch.manual_seed(config.seed)
        self.device = training_device(config.device)
        self.model, self.config = model.to(self.device).eval(), config
        self.trunk_features = [self.crop_features(recording.roi, transform) for recording in recordings]
        self.targets = move_to([synthesizer(recording) for recording in recordings], self.device)
        trainable = add_adapters(model, config.lora_target_modules, config.lora_rank)
        self.n_trainable = sum(p.numel() for p in trainable)
        self.optimizer = OptimizerWithSchedule(trainable, config.optimizer, config.steps)

    @torch.no_grad()
    def crop_features(self, roi: Tensor, transform: Transform) -> list[Tensor]:
        """Trunk features (T, C) of each crop of a video: the center, then random crops and flips."""
        crops = [transform(roi)] + [transform.random(roi) for _ in range(self.config.n_crops - 1)]
        return [self.model.frontend.resnet(crop.to(self.device))[0] for crop in crops]

    def training_step(self, step: int) -> float:
        """One training step; returns the loss per 20 ms step."""
        rng = seed_step(self.config.seed, step)
        size = min(self.config.batch_size, len(self.trunk_features))
        chosen = rng.choice(len(self.trunk_features), size, replace=False)
        self.model.train()
        loss = self.loss([int(i) for i in chosen], rng)
        self.optimizer.step(loss, step)
        return loss.item()

    def loss(self, chosen: Sequence[int], rng: np.random.Generator) -> Tensor:
        """Soft-DTW of the recordings at indices `chosen`, each with a random crop and a random voice."""
        trunk = [self.trunk_features[i][rng.integers(len(self.trunk_features[i]))] for i in chosen]
        targets = [self.targets[i][rng.integers(len(self.targets[i]))] for i in chosen]
        lengths = torch.tensor([len(x) for x in trunk], device=self.device)
        padding = torch.arange(int(lengths.max()), device=self.device)[None] >= lengths[:, None]
        frontend = self.model.frontend
        video = frontend.video_proj(pad_sequence(trunk, batch_first=True))
        features = frontend.encoder(frontend.fuse(video, None), padding)
        speakers = torch.stack([t.speaker for t in targets])
        prediction = self.model.heads(features, speakers, padding)
        cost = pairwise_cost(self.model, prediction, targets, self.config.unit_loss_weight)
        rows = lengths * per_video_frame(UNIT_RATE)
        columns = torch.tensor([len(t.mel) for t in targets], device=self.device)
        band = self.config.dtw_bandwidth_s * UNIT_RATE
        return (soft_dtw(cost, rows, columns, gamma=self.config.dtw_gamma, band=band) / rows).mean()

    def merged_model(self) -> LipModel:
        """The model with its adapters merged, on the CPU, in eval mode."""
        merge_adapters(self.model)
        return self.model.cpu().eval()


def adapt(
    loaded: Checkpoint,
    recordings: Sequence[Recording],
    config: AdaptConfig,
    out: Path,
    *,
    progress: Callable[[float], None] | None = None,
    overwrite: bool = False,
) -> tuple[int, list[float]]:
    """Adapt a model and write its folder.

    Returns:
        the number of trained parameters, and the loss of every step.
    """
    model = trainable_model_from_checkpoint(loaded)
    transform = from_dict(Transform, loaded.config["transform"], "transform")
    trainer = AdaptationTrainer(model, transform, recordings, config, speaker_encoder_from_checkpoint(loaded))
    losses = []
    for step in range(config.steps):
        losses.append(trainer.training_step(step))
        if progress is not None:
            progress((step + 1) / config.steps)
    adapted = {f"model.{name}": tensor for name, tensor in trainer.merged_model().state_dict().items()}
    written_by = "by `lip2speech adapt train`"
    card = f"{loaded.card}\nAdapted to one speaker on {len(recordings)} silent prompts {written_by}.\n"
    # the base model's calibration does not hold for the adapted model
    inference = {key: value for key, value in loaded.config["inference"].items() if key != "confidence"}
    values = loaded.config | {"inference": inference}
    checkpoint.save(out, values, loaded.tensors | adapted, card, overwrite=overwrite, fp16=True)
    return trainer.n_trainable, losses


def check_heads(model: LipModel, tokenizer: UnitTokenizer | None) -> None:
    """Raise ValueError if the model has no mel head, or the tokenizer other units than the model."""
    heads = model.config.heads
    if not heads.n_mels:
        raise ValueError("the model has no mel head, which adaptation needs; take another model.")
    require_rate(tokenizer, UNIT_RATE)
    if tokenizer is not None and tokenizer.n_units != heads.n_units:
        raise ValueError(f"the model has {heads.n_units} units, the unit tokenizer {tokenizer.n_units}.")
