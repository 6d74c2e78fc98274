"""Any folder of talking-face videos as a corpus: ROOT[/SPEAKER]/NAME.mp4, NAME.txt and NAME.wav beside it.
NAME.wav beside it.

The folder that holds a video names its speaker; videos directly in the root belong to the speaker
"unknown". The split is "train" for all, unless a folder above the video is named train, valid, test or
unseen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lip2speech.data.corpus import Utterance

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m4v", ".ts")
_SPLITS = ("train", "valid", "test", "unseen")


def utterances(root: Path) -> Iterator[Utterance]:
    """Every video below `root`, in the order of its path; its id is the path without the suffix."""
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root}: not a folder; expected a folder of videos: check --root")
    for video in sorted(root.rglob("*")):
        if video.suffix.lower() in VIDEO_SUFFIXES and video.is_file():
            yield _utterance(root, video)


def _utterance(root: Path, video: Path) -> Utterance:
    folders = video.relative_to(root).parent.parts
    words, wav = video.with_suffix(".txt"), video.with_suffix(".wav")
    speakers = [name for name in folders if name not in _SPLITS]
    return Utterance(
        id=video.relative_to(root).with_suffix("").as_posix(),
        video=video,
        wav=wav if wav.is_file() else None,
        text=" ".join(words.read_text(encoding="utf-8").split()).lower() if words.is_file() else "",
        speaker="/".join(speakers) or "unknown",
        split=next((name for name in folders if name in _SPLITS), "train"),
    )
