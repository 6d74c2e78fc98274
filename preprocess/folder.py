"""Any folder of talking-face videos as a corpus: ROOT[/SPEAKER]/NAME.mp4, NAME.txt and NAME.wav next to it.

The folder of a video is its speaker's name; videos directly in the root have the speaker "unknown". The split
is "train", unless a folder above the video is named train, valid, test or unseen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lip2speech.constants import VIDEO_SUFFIXES
from lip2speech.data.utterance import RejectedClip, Utterance
from preprocess.validation import relative_stem

MAX_TEXT_BYTES = 1 << 20
_SPLITS = ("train", "valid", "test", "unseen")


def utterances(root: Path) -> Iterator[Utterance | RejectedClip]:
    """Every video below `root`, sorted by path; its id is the path without the suffix."""
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root}: not a folder; expected a folder of videos: check --root")
    for video in sorted(root.rglob("*")):
        if video.suffix.lower() in VIDEO_SUFFIXES and video.is_file():
            try:
                yield _utterance(root, video)
            except (ValueError, OSError) as error:
                yield RejectedClip(relative_stem(root, video), str(error))


def _utterance(root: Path, video: Path) -> Utterance:
    folders = video.relative_to(root).parent.parts
    transcript, wav = video.with_suffix(".txt"), video.with_suffix(".wav")
    speaker = [name for name in folders if name not in _SPLITS]
    return Utterance(
        id=relative_stem(root, video),
        video=video,
        wav=wav if wav.is_file() else None,
        text=_read_text(transcript) if transcript.is_file() else "",
        speaker="/".join(speaker) or "unknown",
        split=next((name for name in folders if name in _SPLITS), "train"),
    )


def _read_text(path: Path) -> str:
    """A transcript, lower case. ValueError: a link, too large, or not text."""
    if path.is_symlink() or path.stat().st_size > MAX_TEXT_BYTES:
        raise ValueError(
            f"{path.name} is a link or larger than {MAX_TEXT_BYTES} bytes; expected a transcript"
        )
    return " ".join(path.read_text(encoding="utf-8").split()).lower()
