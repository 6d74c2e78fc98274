"""Losses of multi-task fine-tuning, taken at the best audio-video offset of each clip."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lip2speech import losses
from lip2speech.audio.mel import MelConfig
from lip2speech.constants import MEL_RATE, UNIT_RATE, per_video_frame
from lip2speech.data.loader import Batch
from lip2speech.models.prediction import Prediction
from lip2speech.train.finetune.config import LossWeights

VOICING_WEIGHT = 0.25  # of the cross entropy of voicing relative to the L1 of log2 F0


class AlignedTargets:
    """Targets of a batch, shifted by the offset at which each clip's mel fits the predicted mel best.

    The offsets are estimated once, from the first predicted mel, so that all heads are trained on targets of
    the same time.

    Args:
        mel_mean, mel_std: (n_mels,), to compare mels in standard deviations.
        code_frame_rate: of the batch's codes, in Hz.
    """

    def __init__(
        self, batch: Batch, mel_mean: Tensor, mel_std: Tensor, weights: LossWeights, code_frame_rate: int
    ):
        self.batch, self.weights, self.code_frame_rate = batch, weights, code_frame_rate
        self.mel_mean, self.mel_std = mel_mean[:, None], mel_std[:, None]
        self.mask = batch.mask()
        self._offsets: Tensor | None = None

    def normalize(self, mel: Tensor) -> Tensor:
        """A mel (B, n_mels, 4T) in standard deviations."""
        return (mel - self.mel_mean) / self.mel_std

    def offsets(self, mel: Tensor) -> Tensor:
        """Offset (B,) in mel frames at which the targets fit the predicted mel (B, n_mels, 4T) best."""
        if self._offsets is None:
            self._offsets = losses.best_offsets(
                self.normalize(mel.detach()),
                self.normalize(self.batch.mel),
                self.mask,
                max_offset=self.weights.max_offset,
                penalty=self.weights.offset_penalty,
            )
        return self._offsets

    def teacher_codes(self, mel: Tensor) -> Tensor:
        """Target codes (B, n_q, rT) for teacher forcing, given the predicted mel."""
        codes = self.shift(self.batch.codes, self.offsets(mel), self.code_frame_rate)
        return codes.clamp_min(0)  # the heads embed padding too; no loss counts it

    def shift(self, target: Tensor | None, offsets: Tensor, rate: int) -> Tensor:
        """A target at `rate` Hz, read `offsets` mel frames later."""
        assert target is not None, "only targets that the batch has are shifted"
        lengths = self.batch.lengths() * per_video_frame(rate)
        return losses.time_shift(target, offset_steps(offsets, rate), lengths)


def offset_steps(offsets: Tensor, rate: int) -> Tensor:
    """Offsets in mel frames as whole steps of a sequence at `rate` Hz, rounded toward zero."""
    return torch.div(offsets * rate, MEL_RATE, rounding_mode="trunc")


class MultiTaskLoss(nn.Module):
    """Weighted sum of the losses of all heads.

    The mel loss (L1 and spectral convergence) and label-smoothed units follow lip2speech-unit (Choi et al.
    2023, section 3.2).
    """

    def __init__(self, weights: LossWeights, mel: MelConfig):
        super().__init__()
        self.weights = weights
        self.estoi = losses.ESTOILoss(mel)

    def forward(self, prediction: Prediction, targets: AlignedTargets) -> tuple[Tensor, dict[str, float]]:
        """Returns the total () and the unweighted losses and accuracies by their log keys."""
        w, batch = self.weights, targets.batch
        mel = prediction.require("mel").float()
        offsets = targets.offsets(mel)
        target = targets.shift(batch.mel, offsets, MEL_RATE)
        l1, convergence = losses.mel_loss(targets.normalize(mel), targets.normalize(target), targets.mask)
        total = w.mel * l1 + w.spectral_convergence * convergence
        logs = {"mel": l1.item(), "offset": offsets.float().abs().mean().item()}
        estoi = self.estoi(mel, target, targets.mask)
        total, logs["estoi"] = total + w.estoi * estoi, estoi.item()
        for weight, loss, metrics in (
            self.pitch(prediction, targets, offsets),
            self.unit(prediction, targets, offsets),
            *self.code(prediction, targets, offsets),
        ):
            if loss is not None:
                total = total + weight * loss
                logs |= metrics
        return total, logs | {"loss": total.item()}

    def pitch(
        self, prediction: Prediction, targets: AlignedTargets, offsets: Tensor
    ) -> tuple[float, Tensor | None, dict[str, float]]:
        """Weight, loss and metrics of the pitch head; the loss is None without targets."""
        if targets.batch.pitch is None:
            return 0.0, None, {}
        target = targets.shift(targets.batch.pitch, offsets, MEL_RATE)
        f0, voicing = losses.pitch_loss(prediction.require("pitch"), target, targets.mask)
        metrics = {"f0_l1_octaves": f0.item(), "voicing_bce": voicing.item()}
        return self.weights.pitch, f0 + VOICING_WEIGHT * voicing, metrics

    def unit(
        self, prediction: Prediction, targets: AlignedTargets, offsets: Tensor
    ) -> tuple[float, Tensor | None, dict[str, float]]:
        """Weight, loss and metrics of the unit head; the loss is None without targets."""
        if targets.batch.units is None:
            return 0.0, None, {}
        target = targets.shift(targets.batch.units, offsets, UNIT_RATE)
        loss, accuracy = losses.token_loss(
            prediction.require("unit_logits"), target, label_smoothing=self.weights.label_smoothing
        )
        return self.weights.units, loss, {"acc/units": accuracy.item()}

    def code(
        self, prediction: Prediction, targets: AlignedTargets, offsets: Tensor
    ) -> list[tuple[float, Tensor | None, dict[str, float]]]:
        """Weight, loss and metrics of both code heads; empty without targets."""
        if targets.batch.codes is None:
            return []
        w = self.weights
        target = targets.shift(targets.batch.codes, offsets, targets.code_frame_rate)
        found: list[tuple[float, Tensor | None, dict[str, float]]] = []
        for field, key, weight in (
            ("code_logits", "acc/codes", w.codes),
            ("independent_code_logits", "acc/codes_independent", w.independent_codes),
        ):
            logits = prediction.require(field).transpose(1, 2)  # (B, K, n_q, T)
            loss, accuracy = losses.token_loss(logits, target, label_smoothing=w.label_smoothing)
            found.append((weight, loss, {key: accuracy.item()}))
        return found
