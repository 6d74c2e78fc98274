"""A model becomes one silent person's own: videos of known prompts teach a small adapter.

Nobody has a sound of a silent person, so the targets are the prompts as a synthesiser reads them (or as the
person once said them), and time is warped to fit: soft-DTW between what is predicted and what should be said,
as Gaddy and Klein 2020 ("Digital voicing of silent speech") aligned silent with voiced recordings. The
pictures' trunk is frozen and runs once for each view of a video; low-rank adapters behind it learn and are
merged, so that what is written is a model folder like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.audio.mel import LogMel
from lip2speech.checkpoint import Checkpoint
from lip2speech.components import speaker_model_of, trainable_model_of
from lip2speech.config import from_dict
from lip2speech.constants import UNIT_RATE, per_video_frame
from lip2speech.data.unit_tokenizers import SAMPLES_PER_UNIT, UnitTokenizer, load_unit_tokenizer, require_rate
from lip2speech.losses.soft_dtw import soft_dtw, soft_dtw_alignment
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.lip2speech import LipModel
from lip2speech.models.prediction import Prediction
from lip2speech.models.speaker_encoder import SpeakerEncoder
from lip2speech.pipeline import Lip2Speech
from lip2speech.train.adapt.lora import attach, merge
from lip2speech.train.adapt.recordings import Recording
from lip2speech.train.core.config import OptimizerConfig
from lip2speech.train.core.device import Device, choose_device, move_to
from lip2speech.train.core.micro_batch import seed_step
from lip2speech.train.core.optim import OptimizerWithSchedule

HARD = 0.005  # a gamma at which the soft path is nearly the one best path

WordErrorFn = Callable[[Tensor, str], int]
"""How many words of a text a listener gets wrong in a sound (T_a,) at 16 kHz."""


@dataclass(frozen=True)
class AdaptConfig:
    """One adaptation; the defaults take minutes on a CPU.

    unit_tokenizer: folder of the unit teacher the model learned from; empty: mel alone. layers: endings of the names
    of the linear layers that learn. voices: how many synthesised voices teach. views: crops of each video,
    the first one plain. gamma: softness of the warp, in the loss' own units; band: how far it may leave the
    diagonal, in seconds of the shorter side. unit_weight: of a unit's cross entropy beside the mel's L1.
    device: auto is a GPU where there is one.
    """

    unit_tokenizer: str = ""
    lora_target_modules: tuple[str, ...] = ("video_proj", "q_proj", "v_proj", "fc1", "fc2", "heads.inp")
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


@dataclass(frozen=True)
class AdaptationTarget:
    """What one prompt should sound like, N steps of 20 ms: mel (N, 160), units (N,) or None, voice (S,)."""

    wav: Tensor
    mel: Tensor
    units: Tensor | None
    speaker: Tensor


class TargetSynthesizer:
    """Makes targets: a take's own sound where it has one, else the prompt read in synthetic voices."""

    def __init__(self, config: AdaptConfig, speakers: SpeakerEncoder):
        self.config, self.mel, self.speakers = config, LogMel(), speakers
        self.units = load_unit_tokenizer(config.unit_tokenizer) if config.unit_tokenizer else None

    @torch.no_grad()
    def __call__(self, take: Recording) -> list[AdaptationTarget]:
        """One target for each voice."""
        return [self.target(wav) for wav in take.sounds(self.config.n_tts_voices)]

    def target(self, wav: Tensor) -> AdaptationTarget:
        """Of a sound (T_a,) at 16 kHz."""
        wav = torch.nn.functional.pad(wav, (0, -len(wav) % SAMPLES_PER_UNIT))
        mel = self.mel(wav[None, None])
        units = self.units(wav) if self.units else None
        return AdaptationTarget(wav, pairs(mel)[0], units, self.speakers.embed(wav))


def pairs(mel: Tensor) -> Tensor:
    """Mel (B, 80, 2N) at 100 Hz -> two frames side by side on the units' clock, (B, N, 160)."""
    return mel.unflatten(2, (-1, 2)).permute(0, 2, 3, 1).flatten(2)


def pair_costs(
    model: LipModel, prediction: Prediction, targets: Sequence[AdaptationTarget], unit_weight: float
) -> Tensor:
    """What it costs to say step j of each target at step i of its clip, (B, 2T, N), padded at the end."""
    std = model.heads.mel_std.repeat(2)
    longest = max(len(t.mel) for t in targets)
    mels = torch.stack([torch.nn.functional.pad(t.mel, (0, 0, 0, longest - len(t.mel))) for t in targets])
    said = pairs(prediction.require("mel").float())
    cost = torch.cdist(said / std, mels / std, p=1) / said.shape[-1]
    if unit_weight and targets[0].units is not None:
        logs = prediction.require("unit_logits").float().log_softmax(1)  # (B, K, 2T)
        units = [t.units for t in targets if t.units is not None]
        told = [
            torch.nn.functional.pad(row[u], (0, 0, 0, longest - len(u)))
            for row, u in zip(logs, units, strict=True)
        ]
        cost = cost - unit_weight * torch.stack(told).mT  # (B, N, 2T) -> (B, 2T, N)
    return cost


class AdaptationTrainer:
    """One person's takes, their targets, and a frozen model with adapters that learns from them."""

    def __init__(
        self,
        model: LipModel,
        transform: Transform,
        takes: Sequence[Recording],
        config: AdaptConfig,
        speakers: SpeakerEncoder,
    ):
        if not takes:
            raise ValueError("no video to learn from; record the prompts, or hold out fewer.")
        reader = TargetSynthesizer(config, speakers)
        check_units(model, reader.units)
        torch.manual_seed(config.seed)
        self.device = choose_device(config.device)
        self.model, self.config = model.to(self.device).eval(), config
        self.seen = [self.views(take.roi, transform) for take in takes]
        self.targets = move_to([reader(take) for take in takes], self.device)
        learning = attach(model, config.lora_target_modules, config.lora_rank)
        self.size = sum(p.numel() for p in learning)
        self.optimizer = OptimizerWithSchedule(learning, config.optimizer, config.steps)

    @torch.no_grad()
    def views(self, roi: Tensor, transform: Transform) -> list[Tensor]:
        """What the trunk sees of one video, (T, C) for each view: the middle, then random crops and flips."""
        crops = [transform(roi)] + [transform.random(roi) for _ in range(self.config.n_crops - 1)]
        return [self.model.frontend.resnet(crop.to(self.device))[0] for crop in crops]

    def training_step(self, step: int) -> float:
        """One training step; its loss, per step of 20 ms."""
        rng = seed_step(self.config.seed, step)
        size = min(self.config.batch_size, len(self.seen))
        chosen = rng.choice(len(self.seen), size, replace=False)
        self.model.train()
        loss = self.loss([int(i) for i in chosen], rng)
        self.optimizer.step(loss, step)
        return loss.item()

    def loss(self, chosen: Sequence[int], rng: np.random.Generator) -> Tensor:
        """Soft-DTW of the takes at positions `chosen`, each in a random view and a random voice."""
        seen = [self.seen[i][rng.integers(len(self.seen[i]))] for i in chosen]
        targets = [self.targets[i][rng.integers(len(self.targets[i]))] for i in chosen]
        lengths = torch.tensor([len(x) for x in seen], device=self.device)
        padding = torch.arange(int(lengths.max()), device=self.device)[None] >= lengths[:, None]
        vectors = torch.nn.utils.rnn.pad_sequence(seen, batch_first=True)
        frontend = self.model.frontend
        features = frontend.encoder(frontend.join(frontend.video_proj(vectors), None), padding)
        voices = torch.stack([t.speaker for t in targets])
        prediction = self.model.heads(features, voices, padding)
        cost = pair_costs(self.model, prediction, targets, self.config.unit_loss_weight)
        rows = lengths * per_video_frame(UNIT_RATE)
        columns = torch.tensor([len(t.mel) for t in targets], device=self.device)
        band = self.config.dtw_bandwidth_s * UNIT_RATE
        return (soft_dtw(cost, rows, columns, gamma=self.config.dtw_gamma, band=band) / rows).mean()

    def finish(self) -> LipModel:
        """The model with the adapters merged, on the CPU, in eval mode."""
        merge(self.model)
        return self.model.cpu().eval()


def adapt(
    loaded: Checkpoint,
    takes: Sequence[Recording],
    config: AdaptConfig,
    out: Path,
    *,
    progress: Callable[[float], None] | None = None,
    overwrite: bool = False,
) -> tuple[int, list[float]]:
    """Write the adapted model folder; how many numbers learned, and the loss of every step."""
    model = trainable_model_of(loaded)
    transform = from_dict(Transform, loaded.config["transform"], "transform")
    work = AdaptationTrainer(model, transform, takes, config, speaker_model_of(loaded))
    losses = []
    for step in range(config.steps):
        losses.append(work.training_step(step))
        if progress is not None:
            progress((step + 1) / config.steps)
    learned = {f"model.{name}": tensor for name, tensor in work.finish().state_dict().items()}
    card = f"{loaded.card}\nAdapted to one silent person on {len(takes)} prompts by `lip2speech adapt fit`.\n"
    # how sure the other model was tells nothing of this one
    pipeline = {key: value for key, value in loaded.config["inference"].items() if key != "confidence"}
    values = loaded.config | {"inference": pipeline}
    checkpoint.save(out, values, loaded.tensors | learned, card, overwrite=overwrite, fp16=True)
    return work.size, losses


@dataclass(frozen=True)
class AdaptationMetrics:
    """Shares of units that are right and of words that are wrong; None where nobody can tell."""

    units: float | None
    words: float | None


def measure(
    speech: Lip2Speech, takes: Sequence[Recording], config: AdaptConfig, ear: WordErrorFn | None
) -> AdaptationMetrics:
    """How well a model reads takes it did not learn from, in the first of the voices.

    A unit is right when it is the one that the synthesised prompt has at the step the best path leads to; the
    path is that of the mels.
    """
    reader = TargetSynthesizer(config, speech.speaker_encoder)
    hits: list[Tensor] = []
    wrong = words = 0
    for take in takes:
        target = reader(take)[0]
        prediction = speech.predict(take.roi, target.speaker)
        if target.units is not None:
            said = prediction.require("unit_logits")[0].argmax(0)  # (2T,)
            hits.append(said == target.units[best_path(speech.model, prediction, target, config)])
        if ear is not None:
            wrong += ear(speech.vocode(prediction), take.text)
            words += len(take.text.split())
    right = float(torch.cat(hits).float().mean()) if hits else None
    return AdaptationMetrics(right, wrong / words if words else None)


def ceiling(takes: Sequence[Recording], config: AdaptConfig, ear: WordErrorFn) -> float:
    """The share of words that the listener gets wrong in the synthesised prompts themselves."""
    wrong = sum(ear(take.sounds(config.n_tts_voices)[0], take.text) for take in takes)
    return wrong / sum(len(take.text.split()) for take in takes)


def best_path(
    model: LipModel, prediction: Prediction, target: AdaptationTarget, config: AdaptConfig
) -> Tensor:
    """For each step of a clip the step of its target that it says, by the mels alone: (2T,)."""
    cost = pair_costs(model, prediction, [target], 0.0)
    rows, columns = (torch.tensor([size]) for size in cost.shape[1:])
    through = soft_dtw_alignment(cost, rows, columns, gamma=HARD, band=config.dtw_bandwidth_s * UNIT_RATE)
    return through[0].argmax(1)


def check_units(model: LipModel, teacher: UnitTokenizer | None) -> None:
    """Refuse a model without a mel, and a teacher of other units than the model's."""
    heads = model.config.heads
    if not heads.n_mels:
        raise ValueError("this model predicts no mel, which adaptation compares; take another model.")
    require_rate(teacher, UNIT_RATE)
    if teacher is not None and teacher.n_units != heads.n_units:
        raise ValueError(f"the model has {heads.n_units} units, the teacher {teacher.n_units}.")
