"""One row of any corpus: where a clip's picture, sound and words are.

Every corpus adapter (`grid`, the synthetic talker, LRS3, ...) is a function `utterances(root)` that yields
these rows in a fixed order, and `Refused` for what it cannot use. A row holds paths, never samples; it knows
nothing of models or of how the clip is cropped.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Utterance:
    """One clip of one speaker.

    Args:
        id: name that is unique within the corpus; may hold `/` (`s1/bbaf2n`).
        video: file with the picture.
        wav: file with the sound, or None when the sound is inside `video`.
        text: what is said, lower case, words separated by one space; empty when unknown.
        speaker: name of the voice, unique within the corpus.
        split: `train`, `valid`, `test`, or a set of the corpus' own (GRID: `unseen`).
        start_s, end_s: the part of the files that is the clip; None: up to their end.
    """

    id: str
    video: Path
    wav: Path | None
    text: str
    speaker: str
    split: str
    start_s: float = 0.0
    end_s: float | None = None


@dataclass(frozen=True)
class RejectedClip:
    """What stands in a corpus where a clip should be and cannot be one, and why.

    Args:
        id: the clip it would have been, or the line of a list (`subset.txt:17`).
    """

    id: str
    reason: str


def is_held_out(name: str, percent: int) -> bool:
    """Whether `percent` in 100 names, told by their hash, hold this one: the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 100 < percent
