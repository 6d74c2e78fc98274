"""One row of any corpus: where a clip's video, audio and transcript are.

A corpus adapter (`grid`, `synthetic`, LRS3, ...) is a function `utterances(root)` that yields an `Utterance`
per clip in a fixed order, or a `RejectedClip`. Rows hold paths, never samples, and know neither models nor
cropping.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Utterance:
    """One clip of one speaker.

    Args:
        id: Unique within the corpus; may contain `/` (`s1/bbaf2n`).
        video: The video file.
        wav: The audio file, or None if the audio is in `video`.
        text: Transcript, lower case, single spaces; empty if unknown.
        speaker: Name of the speaker, unique within the corpus.
        split: `train`, `valid`, `test`, or a split of this corpus (GRID: `unseen`).
        start_s: Start of the clip in the files, seconds.
        end_s: End of the clip in the files, seconds; None for the end of the files.
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
    """A clip of a corpus that cannot be used.

    Args:
        id: The clip's id, or the line of a file list (`subset.txt:17`).
        reason: Why it was rejected.
    """

    id: str
    reason: str


def is_held_out(name: str, percent: int) -> bool:
    """Whether a name is among `percent` in 100, by its hash: the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 100 < percent
