"""Takes: videos of one person who mouths known prompts, each with its words in a file of the same name
(data/prompts.py says how they lie in a folder).

The pictures go through the very reading and cropping of `convert`. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lip2speech.audio.io import read_wav
from lip2speech.constants import VIDEO_FPS
from lip2speech.data.prompts import list_videos, read_prompt

LEAST_FACE = 0.8  # share of frames with a face; a gap may hide a word
LONGEST_S = 20  # one prompt a video: the warp's cost grows with the square
VOICE_STRIDE = 7  # from one synthetic voice to the next, so that few of them already differ


@dataclass(frozen=True)
class Recording:
    """One prompt and the mouth that says it: roi (T, 96, 96) uint8, wav (T_a,) at 16 kHz or None."""

    id: str
    text: str
    roi: Tensor
    wav: Tensor | None = None

    def sounds(self, voices: int) -> list[Tensor]:
        """What it should sound like, (T_a,) each: its own sound, or the prompt in some synthetic voices."""
        if self.wav is not None:
            return [self.wav]
        from lip2speech.data.synthetic.prompts import synthesize_prompt

        return [torch.from_numpy(synthesize_prompt(self.text, VOICE_STRIDE * i)) for i in range(voices)]


def read_takes(
    folder: Path, progress: Callable[[float], None] | None = None
) -> tuple[list[Recording], list[str]]:
    """The takes of a folder by name, and a line for each video that cannot be used.

    Raises:
        ValueError: no such folder, or no video beside its prompt.
    """
    videos = list_videos(folder)
    if not videos:
        raise ValueError(f"{folder}: no video lies beside its prompt; record 001.txt as 001.mp4 and so on.")
    takes, failures = [], []
    for done, video in enumerate(videos, 1):
        try:
            takes.append(read_take(video))
        except ValueError as error:
            failures.append(str(error))
        if progress is not None:
            progress(done / len(videos))
    return takes, failures


def read_take(video: Path) -> Recording:
    """One video and its prompt; ValueError when the video cannot teach it."""
    from lip2speech.video import NoFaceError, load_roi

    text = read_prompt(video.with_suffix(".txt")).lower()
    if not text:
        raise ValueError(f"{video}: its prompt {video.stem}.txt is empty; write down what is mouthed.")
    roi, report = load_roi(video)
    if report.face_detection_rate < LEAST_FACE:
        raise NoFaceError(
            f"{video}: a face in {report.face_detection_rate:.0%} of the frames; record it again."
        )
    if len(roi) > LONGEST_S * VIDEO_FPS:
        raise ValueError(f"{video}: {len(roi) / VIDEO_FPS:.0f} s; record one prompt a video.")
    sound = video.with_suffix(".wav")
    return Recording(video.stem, text, torch.from_numpy(roi), read_wav(sound) if sound.is_file() else None)


def split_takes(takes: Sequence[Recording], held_out: int) -> tuple[list[Recording], list[Recording]]:
    """Those to learn from and the last `held_out` to test on; no sentence is in both."""
    if not 0 <= held_out < len(takes):
        raise ValueError(
            f"cannot hold out {held_out} of {len(takes)} videos; record more, or hold out fewer."
        )
    first = len(takes) - held_out
    tested = list(takes[first:])
    known = {take.text for take in tested}
    return [take for take in takes[:first] if take.text not in known], tested
