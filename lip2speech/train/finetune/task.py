"""Multi-task fine-tuning: lips to mel, units and codes at once.

The mel loss (L1 + spectral convergence) and label-smoothed units follow lip2speech-unit (Choi et al. 2023,
section 3.2). Two things are ours: a target may be read some steps earlier or later, whichever lag fits the
clip best, since sound and picture of real corpora are offset clip by clip; and the front end may rest for
`freeze_steps` and then learn at its own rate, so that a pretrained one is really fine-tuned.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lip2speech import checkpoint, losses
from lip2speech.codecs import code_fingerprint, load_codec
from lip2speech.config import to_dict
from lip2speech.constants import MEL_RATE, UNIT_RATE, per_video_frame
from lip2speech.data.augment import AugmentConfig
from lip2speech.data.dataset import read_clips
from lip2speech.data.loader import Batch, BatchCollator
from lip2speech.data.targets import ALPHABET, TargetExtractor, extract_targets
from lip2speech.data.unit_tokenizers import load_unit_tokenizer
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.lip2speech import LipModel, ModelConfig
from lip2speech.models.prediction import Prediction
from lip2speech.models.speaker_encoder import load_speaker_encoder
from lip2speech.modules.codebook_patterns import describe_codebooks
from lip2speech.train.core.config import OptimizerConfig, TrainerConfig
from lip2speech.train.core.device import autocast, training_device
from lip2speech.train.core.dummy_data import DummyData
from lip2speech.train.core.ema import EMA
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch, seed_step
from lip2speech.train.core.optim import OptimizerWithSchedule
from lip2speech.train.core.pretrained import init_from_checkpoint
from lip2speech.train.core.sampler import BucketBatchSampler
from lip2speech.train.core.task import TrainingTask
from lip2speech.vocoders.griffin_lim import GriffinLim

VOICING = 0.25  # of the cross entropy of voicing beside octaves
MIN_STD = 1e-2  # nats; a mel bin that never changes must not be divided by nothing


@dataclass(frozen=True)
class LossWeights:
    """Weights of the tasks; `lag`: the widest lag in mel frames, `lag_price`: what a step costs in mel L1.

    estoi: of the correlation of the mel's bands over time; pitch: of its error in octaves and a quarter of
    the cross entropy of voicing; text: of spelling what is said from the front end's features, a head that
    only training has.
    """

    mel: float = 2.0
    spectral_convergence: float = 1.0
    units: float = 0.3
    codes: float = 0.3
    independent_codes: float = 0.1
    max_offset: int = 6
    offset_penalty: float = 0.002
    label_smoothing: float = 0.1
    estoi: float = 0.0
    pitch: float = 0.0
    ctc: float = 0.0


@dataclass(frozen=True)
class FinetuneConfig:
    """One fine-tuning run.

    train_data: prepared clips; folder_weights: the share of each in a batch; units, codec: checkpoint
    folders of the teachers; speaker: of the encoder that hears voices, empty: their long-term
    spectrum; init: a lip model or a front end to start from; frontend_lr: what the optimizer's rate is
    multiplied by for the front end; chunks: how many frames attention sees at once, one drawn for each step
    (0: the whole clip), so that one causal model serves every delay; empty: always the whole clip. learn: how
    the names of parameters begin that learn, which `init` may lack or have in another size; empty: all learn,
    and it may lack none. batch_frames: 0 draws trainer.batch_size random clips; else every clip comes once in an
    epoch, in batches of similar length that have at most so many video frames with their padding.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    transform: Transform = field(default_factory=Transform)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train_data: tuple[str, ...] = ()
    sampling_weights: tuple[float, ...] = ()
    unit_tokenizer: str = ""
    codec_path: str = ""
    speaker_encoder: str = ""
    init_from: str = ""
    train_chunk_sizes: tuple[int, ...] = ()
    trainable: tuple[str, ...] = ()
    freeze_frontend_steps: int = 0
    frontend_lr_scale: float = 1.0
    ema_decay: float = 0.998
    max_frames_per_batch: int = 0
    valid_clips: int = 64

    def __post_init__(self) -> None:
        if self.max_frames_per_batch and self.sampling_weights:
            raise ValueError("with batch_frames every clip comes once in an epoch; leave folder_weights out.")


class FinetuneTask(TrainingTask):
    """Model, data and optimiser of multi-task fine-tuning."""

    def __init__(self, config: FinetuneConfig):
        self.config = config
        torch.manual_seed(config.trainer.seed)
        self.model = LipModel(config.model)
        whole = bool(config.init_from) and init_from_checkpoint(
            self.model, config.init_from, config.trainable
        )
        self.speller = nn.Linear(config.model.frontend.embed_dim, 1 + len(ALPHABET))
        maker = make_teachers(config)
        self.codec, self.speaker_encoder = maker.codec, maker.speaker_encoder
        self.bands = losses.ESTOILoss(maker.mel.config)
        self.train_set = self.batches(maker, "train", config.augment)
        self.valid_sets = self.validation(maker)
        lengths = [clip.n_frames for clip in self.train_set.clips]
        self.sampler = (
            BucketBatchSampler(lengths, config.max_frames_per_batch, config.trainer.seed)
            if config.max_frames_per_batch
            else None
        )
        if not whole:
            self.set_mel_statistics()
        self.optimizer = OptimizerWithSchedule(
            [*self.learning(), *self.speller.parameters()],
            config.optimizer,
            config.trainer.steps,
            scaled_parameters=self.model.frontend.parameters(),
            lr_scale=config.frontend_lr_scale,
        )
        self.ema = EMA(self.model, config.ema_decay)

    def batches(self, maker: TargetExtractor, split: str, augment: AugmentConfig | None) -> BatchCollator:
        """Clips of all folders with their targets."""
        clips = read_clips(self.config.train_data, split)
        weights = self.config.sampling_weights or None
        return BatchCollator(
            clips,
            extract_targets(clips, maker),
            config=augment,
            transform=self.config.transform,
            sampling_weights=weights,
            speaker_encoder=maker.speaker_encoder,
        )

    def validation(self, maker: TargetExtractor) -> dict[str, list[Batch]]:
        """Fixed plain batches of the valid split of each folder that has one."""
        sets: dict[str, list[Batch]] = {}
        for folder in self.config.train_data:
            rng = np.random.default_rng(0)
            try:
                clips = read_clips([folder], "valid")[: self.config.valid_clips]
            except ValueError:
                continue
            targets = extract_targets(clips, maker)
            held = BatchCollator(clips, targets, config=None, transform=self.config.transform)
            size = self.config.trainer.batch_size
            chosen = [range(i, min(i + size, len(clips))) for i in range(0, len(clips), size)]
            name = Path(folder).name
            sets[folder if name in sets else name] = [held.collate(c, rng) for c in chosen]
        return sets

    def set_mel_statistics(self) -> None:
        """Mean and deviation of the training mels go into the mel head."""
        mels = torch.cat([t.mel.float() for t in self.train_set.targets], 1)
        self.model.heads.mel_mean.copy_(mels.mean(1))
        self.model.heads.mel_std.copy_(mels.std(1).clamp_min(MIN_STD))

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        rng = seed_step(self.config.trainer.seed, step, micro_batch)
        batch = self.to_device(self.draw(rng, micro_batch))
        self.set_mode(step)
        with autocast(self.config.trainer.precision, self.device):
            codes = None if batch.codes is None else partial(self.given_codes, batch)
            chunk = (
                (int(rng.choice(self.config.train_chunk_sizes)) or None)
                if self.config.train_chunk_sizes
                else None
            )
            features = self.model.frontend(batch.video, padding_mask=batch.padding_mask, chunk=chunk)
            prediction = self.model.heads(features, batch.speaker, batch.padding_mask, codes)
        loss, logs = self.losses(prediction, batch)
        if self.config.weights.ctc and batch.text is not None:
            spelled = losses.ctc_loss(self.speller(features.float()), batch.lengths(), batch.text)
            loss, logs["text"] = loss + self.config.weights.ctc * spelled, spelled.item()
        logs["grad_norm"] = self.optimizer.step(loss, step, micro_batch)
        logs["skipped_steps"] = self.optimizer.skipped_steps
        self.ema.update(self.model, micro_batch)
        return logs

    def draw(self, rng: np.random.Generator, micro_batch: MicroBatch) -> Batch:
        """A part of the step's batch: random clips, or the next of the epoch."""
        if self.sampler is not None:
            chosen = self.sampler.next_batch(micro_batch)
        else:
            chosen = micro_batch.shard(
                self.train_set.sample_indices(micro_batch.count * self.config.trainer.batch_size, rng)
            )
        return self.train_set.collate(chosen, micro_batch.spawn_rng(rng))

    def learning(self) -> list[nn.Parameter]:
        """The parameters that learn; the others are frozen for good. ValueError: a prefix names none."""
        named = dict(self.model.named_parameters())
        for prefix in self.config.trainable:
            if not any(name.startswith(prefix) for name in named):
                raise ValueError(f"learn: no parameter's name begins with {prefix!r}.")
        for name, parameter in named.items():
            parameter.requires_grad_(not self.config.trainable or name.startswith(self.config.trainable))
        return [parameter for parameter in named.values() if parameter.requires_grad]

    def set_mode(self, step: int) -> None:
        """What learns in training mode; what is frozen keeps its statistics and drops nothing."""
        if not self.config.trainable:
            self.model.train()
            self.model.frontend.requires_grad_(step >= self.config.freeze_frontend_steps)
            return
        self.model.eval()
        for name, module in self.model.named_modules():
            if name.startswith(self.config.trainable):
                module.train()

    def lags(self, mel: Tensor, batch: Batch) -> Tensor:
        """The lag (B,), in mel frames, at which the targets fit the predicted mel (B, n_mels, 4T) best."""
        w = self.config.weights
        scaled, target = (mel - self.mean) / self.std, (batch.mel - self.mean) / self.std
        return losses.best_offsets(
            scaled, target, batch.mask(), max_offset=w.max_offset, penalty=w.offset_penalty
        )

    def given_codes(self, batch: Batch, mel: Tensor) -> Tensor:
        """Codes to condition on, read at the very lag of the targets, so that all books tell of one time."""
        codes = self.shift_target(
            batch.codes, self.lags(mel.detach(), batch), batch, self.config.model.heads.code_frame_rate
        )
        return codes.clamp_min(0)  # the heads embed padding too; no loss sees it

    def shift_target(self, target: Tensor | None, lags: Tensor, batch: Batch, rate: int) -> Tensor:
        """A target on a clock of `rate` Hz, read `lags` (in mel frames) later."""
        assert target is not None, "a batch has the targets that are asked for"
        return losses.time_shift(target, on_clock(lags, rate), batch.lengths() * per_video_frame(rate))

    def losses(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum and its parts."""
        w = self.config.weights
        mel = prediction.require("mel").float()
        lags = self.lags(mel, batch)
        target = self.shift_target(batch.mel, lags, batch, MEL_RATE)
        l1, convergence = losses.mel_loss(
            (mel - self.mean) / self.std, (target - self.mean) / self.std, batch.mask()
        )
        total = w.mel * l1 + w.spectral_convergence * convergence
        logs = {"mel": l1.item(), "lag": lags.float().abs().mean().item()}
        bands = self.bands(mel, target, batch.mask())
        total, logs["bands"] = total + w.estoi * bands, bands.item()
        if batch.pitch is not None:
            moved = self.shift_target(batch.pitch, lags, batch, MEL_RATE)
            octaves, voicing = losses.pitch_loss(prediction.require("pitch"), moved, batch.mask())
            total = total + w.pitch * (octaves + VOICING * voicing)
            logs |= {"octaves": octaves.item(), "voicing": voicing.item()}
        if batch.units is not None:
            moved = self.shift_target(batch.units, lags, batch, UNIT_RATE)
            loss, hits = losses.token_loss(
                prediction.require("unit_logits"), moved, label_smoothing=w.label_smoothing
            )
            total, logs = total + w.units * loss, logs | {"unit_acc": hits.item()}
        if batch.codes is not None:
            moved = self.shift_target(batch.codes, lags, batch, self.config.model.heads.code_frame_rate)
            for name, weight in (("code_logits", w.codes), ("independent_code_logits", w.independent_codes)):
                logits = prediction.require(name).transpose(1, 2)  # (B, K, n_q, T)
                loss, hits = losses.token_loss(logits, moved, label_smoothing=w.label_smoothing)
                total, logs = total + weight * loss, logs | {f"{name[:4]}_acc": hits.item()}
        return total, logs | {"loss": total.item()}

    @property
    def mean(self) -> Tensor:
        return self.model.heads.mel_mean[:, None]

    @property
    def std(self) -> Tensor:
        return self.model.heads.mel_std[:, None]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        model = self.ema_model()
        figures: dict[str, float] = {}
        for name, batches in self.valid_sets.items():
            rows = []
            for batch in map(self.to_device, batches):
                with autocast(self.config.trainer.precision, self.device):
                    prediction = model(batch.video, batch.speaker, batch.padding_mask)
                rows.append(self.losses(prediction, batch)[1])
            figures |= {f"{name}.{k}": float(np.mean([r[k] for r in rows])) for k in rows[0]}
        return figures

    def ema_model(self) -> LipModel:
        """The model with averaged weights, in eval mode."""
        return self.ema.copy_to(LipModel(self.config.model))

    def state_dict(self) -> dict[str, Any]:
        modules = {"model": self.model.state_dict(), "speller": self.speller.state_dict()}
        epochs = {"sampler": self.sampler.state_dict()} if self.sampler else {}
        return modules | {"ema": self.ema.state_dict(), "optimizer": self.optimizer.state_dict()} | epochs

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.speller.load_state_dict(state["speller"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.sampler and "sampler" in state:  # a run that began with random batches has none
            self.sampler.load_state_dict(state["sampler"])

    @torch.no_grad()
    def samples(self) -> dict[str, Tensor]:
        """The first held-out clip, from the predicted mel and from its own."""
        batch = self.to_device(next(iter(self.valid_sets.values()))[0])
        frames = int(batch.lengths()[0])
        said = self.ema_model()(batch.video[:1, :, :frames], batch.speaker[:1]).require("mel")
        heard = batch.mel[:1, :, : said.shape[-1]]
        speak = GriffinLim()
        return {k: speak(Prediction(mel=x.cpu()))[0, 0] for k, x in (("said", said), ("heard", heard))}

    @classmethod
    def dummy_config(cls, config: FinetuneConfig, dummy: DummyData) -> FinetuneConfig:
        heads, init = config.model.heads, config.init_from if Path(config.init_from).is_dir() else ""
        return replace(
            config,
            train_data=(dummy.clips(),),
            sampling_weights=(),
            unit_tokenizer=dummy.unit_tokenizer(config.unit_tokenizer, heads.n_units),
            codec_path=dummy.codec(config.codec_path, heads.codebook_sizes, heads.code_frame_rate),
            speaker_encoder=dummy.speaker_encoder(config.speaker_encoder, heads.speaker_dim),
            init_from=init,
        )

    def networks(self) -> dict[str, nn.Module]:
        return {"frontend": self.model.frontend, "heads": self.model.heads, "speller": self.speller}

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


def on_clock(lags: Tensor, rate: int) -> Tensor:
    """Lags in frames of the 100 Hz mel as whole steps of a clock of `rate` Hz, rounded toward none."""
    return torch.div(lags * rate, MEL_RATE, rounding_mode="trunc")


def make_teachers(config: FinetuneConfig) -> TargetExtractor:
    """Unit teacher, codec and speaker model; ValueError: the heads are of other sizes, or lack a teacher."""
    heads = config.model.heads
    device = training_device(config.trainer.device)
    units = load_unit_tokenizer(config.unit_tokenizer, device) if config.unit_tokenizer else None
    codec = load_codec(config.codec_path).to(device) if config.codec_path else None
    taught = units.n_units if units else 0
    if heads.n_units != taught:
        raise ValueError(
            f"model.heads.n_units is {heads.n_units}, the teacher {config.unit_tokenizer!r} has {taught}."
        )
    sizes = (codec.codebook_sizes, codec.frame_rate) if codec else ((), 0)
    wanted = (heads.codebook_sizes, heads.code_frame_rate) if heads.n_q else ((), 0)
    if sizes != wanted:
        raise ValueError(
            f"model.heads has {describe_codebooks(wanted[0])} at {wanted[1]} Hz, the codec {config.codec_path!r} "
            f"{describe_codebooks(sizes[0])} at {sizes[1]} Hz; set model.heads.n_q, codebook_size and code_rate to those."
        )
    speaker_encoder = load_speaker_encoder(config.speaker_encoder)
    if heads.speaker_dim != speaker_encoder.dim:
        raise ValueError(
            f"model.heads.speaker_dim is {heads.speaker_dim}, voices from {config.speaker_encoder or 'a spectrum'!r} "
            f"have {speaker_encoder.dim}."
        )
    return TargetExtractor(units, codec, pitch=bool(heads.pitch_dim), speaker_encoder=speaker_encoder)
