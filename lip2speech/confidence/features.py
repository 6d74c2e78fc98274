"""Confidence features: how undecided the heads are about each video frame, and how sharp its mouth crop
is."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lip2speech.models.prediction import Prediction
from lip2speech.video.sharpness import crop_sharpness

FEATURES = ("unit_entropy", "code_entropy", "head_agreement", "sharpness", "code_nll")
SPEECH_LOG_MEL = -8.5
"""Mean natural-log mel between pauses (the floor is -11.5) and words (-7.5 and more)."""


class FrameFeatures(NamedTuple):
    """What confidence is computed from.

    Attributes:
        values: (T, len(FEATURES) + 1) float32 on the CPU, all in 0..1: `FEATURES`, then how much of a frame
            is speech.
        code_bits: (T,) mean bits of a frame's codes under the code prior; NaN without one.
    """

    values: Tensor
    code_bits: Tensor


@torch.no_grad()
def confidence_features(
    prediction: Prediction, roi: NDArray[np.uint8] | Tensor, code_bits: Tensor | None = None
) -> FrameFeatures:
    """The features of each video frame, and how much of it is speech.

    - unit_entropy: entropy of the unit logits over its maximum.
    - code_entropy: the same of the code logits, averaged over codebooks. Those of the independent head are
      used: conditioned on previous codebooks, a wrong code looks as certain as a right one.
    - head_agreement: share of codebooks in which both code heads choose the same code.
    - sharpness: see `video.sharpness`.
    - code_nll: b / (b + log2 K) of the bits b of a frame's codes under the code prior. Uniform codes give
      0.5; unlike b / log2 K it is bounded, as a predicted code may cost more than a uniform one.
    - speech: sigmoid of the mel level around `SPEECH_LOG_MEL`; 1 for a model without a mel head.

    Args:
        prediction: of one clip (B = 1) of T video frames.
        roi: its mouth crops (T, 96, 96) uint8.
        code_bits: mean bits of each frame's codes under the code prior, (T,); None without one.

    Returns:
        T frames; a feature that the model lacks is 0.
    """
    p, frames = prediction, len(roi)
    rows = dict.fromkeys(FEATURES, torch.zeros(frames)) | {"speech": torch.ones(frames)}
    rows["sharpness"] = torch.from_numpy(crop_sharpness(torch.as_tensor(roi).cpu().numpy()))
    if p.mel is not None:
        rows["speech"] = torch.sigmoid(2 * (p.mel[0].mean(0) - SPEECH_LOG_MEL))
    if p.unit_logits is not None:
        rows["unit_entropy"] = normalized_entropy(p.unit_logits[0], 0)
    if code_bits is not None:
        rows["code_nll"] = code_bits / (code_bits + math.log2(p.require("code_logits").shape[2]))
    if p.independent_code_logits is not None:
        rows["code_entropy"] = normalized_entropy(p.independent_code_logits[0], 1).mean(0)
        if p.codes is not None:
            agree = p.independent_code_logits[0].argmax(1) == p.codes[0]
            rows["head_agreement"] = agree.float().mean(0)
    values = torch.stack([row.float().cpu().reshape(frames, -1).mean(1) for row in rows.values()], 1)
    return FrameFeatures(values, torch.full((frames,), math.nan) if code_bits is None else code_bits)


def normalized_entropy(logits: Tensor, dim: int) -> Tensor:
    """Entropy along `dim` over its maximum: 0 (certain) to 1 (uniform). Logits of -inf are not classes."""
    masked = logits == -math.inf
    log_p = logits.log_softmax(dim).masked_fill(masked, 0.0)
    return -(log_p.exp() * log_p).sum(dim) / (~masked).sum(dim).clamp_min(2).double().log().to(log_p)
