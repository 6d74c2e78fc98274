"""What the heads say about a silent video, before any vocoder: the fields that vocoders read from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """Mel, units, codec codes and pitch of one batch, all on whole multiples of the 25 Hz video clock.

    A field is None when the model has no such head. Shapes for T video frames:

        mel                     (B, n_mels, 4T)      natural log, 100 Hz
        unit_logits             (B, n_units, 2T)     50 Hz
        code_logits             (B, n_q, K, rT)      codec.frame_rate = 25 r; book i given the books before it
        independent_code_logits (B, n_q, K, rT)      the same books, each predicted on its own
        codes                   (B, n_q, rT)         the books that `code_logits` were conditioned on
        pitch                   (B, 2, 4T)           log2(F0 / 128 Hz), and the logit of being voiced; 100 Hz
        speaker                 (B, S)               the voice that was asked for
    """

    mel: Tensor | None = None
    unit_logits: Tensor | None = None
    code_logits: Tensor | None = None
    independent_code_logits: Tensor | None = None
    codes: Tensor | None = None
    pitch: Tensor | None = None
    speaker: Tensor | None = None

    def cut(self, first: int, count: int, frames: int) -> Prediction:
        """What is said of `count` of its `frames` video frames, from number `first` on."""
        over_time = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "speaker"}
        rates = {name: x.shape[-1] // frames for name, x in over_time.items() if x is not None}
        return replace(
            self, **{n: over_time[n][..., first * r : (first + count) * r] for n, r in rates.items()}
        )

    def require(self, name: str) -> Tensor:
        """The field `name`; ValueError when this prediction does not hold it."""
        value = getattr(self, name)
        if value is None:
            held = [f.name for f in fields(self) if getattr(self, f.name) is not None]
            raise ValueError(
                f"this route needs {name}, the model predicts {held}; choose another route or model."
            )
        return value
