"""One row of any corpus: where a clip's picture, sound and words are.

Every corpus adapter (`grid`, the synthetic talker, ...) is a function `utterances(root)` that yields these
rows in a fixed order. A row holds paths, never samples; it knows nothing of models or of how the clip is
cropped.
"""

from __future__ import annotations

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
    """

    id: str
    video: Path
    wav: Path | None
    text: str
    speaker: str
    split: str
