"""Output of the heads, and input of the vocoders."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """Mel, units, codes and pitch of one batch, all at whole multiples of the video rate of 25 Hz.

    A field is None if the model has no such head. Shapes for T video frames:

        mel                     (B, n_mels, 4T)      natural log, 100 Hz
        unit_logits             (B, n_units, 2T)     50 Hz
        code_logits             (B, n_q, K, rT)      codec.frame_rate = 25 r; given previous codebooks
        independent_code_logits (B, n_q, K, rT)      the same codebooks, each predicted independently
        codes                   (B, n_q, rT)         the codes that `code_logits` were conditioned on
        pitch                   (B, 2, 4T)           log2(F0 / 128 Hz) and the voicing logit, 100 Hz
        speaker                 (B, S)               the speaker embedding
    """

    mel: Tensor | None = None
    unit_logits: Tensor | None = None
    code_logits: Tensor | None = None
    independent_code_logits: Tensor | None = None
    codes: Tensor | None = None
    pitch: Tensor | None = None
    speaker: Tensor | None = None

    def slice_frames(self, first: int, count: int, frames: int) -> Prediction:
        """`count` video frames from frame `first` on, of a prediction of `frames` video frames."""
        over_time = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "speaker"}
        rates = {name: x.shape[-1] // frames for name, x in over_time.items() if x is not None}
        return replace(
            self, **{n: over_time[n][..., first * r : (first + count) * r] for n, r in rates.items()}
        )

    def require(self, name: str) -> Tensor:
        """The field `name`; ValueError if it is None."""
        value = getattr(self, name)
        if value is None:
            present = [f.name for f in fields(self) if getattr(self, f.name) is not None]
            raise ValueError(
                f"this vocoder needs {name}, the model predicts {present}; choose another vocoder or model."
            )
        out: Tensor = value
        return out
