"""VoxCeleb2: interviews from the web, six thousand people, no text.

Chung, Nagrani and Zisserman 2018, "VoxCeleb2: deep speaker recognition". The tree:
ROOT/{dev,test}/mp4/idNNNNN/VIDEO/NNNNN.mp4; `mp4` may be missing, as may `dev` and `test`. The sound is in
the mp4, or beside it (NNNNN.m4a or .wav), or below `aac` instead of `mp4`.

Who speaks is the id; 2 in 100 of dev are held out as "valid", by a hash. What is not dev is "test" when its
folder says so, else as dev.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from lip2speech.data.utterance import Utterance, is_held_out
from preprocess.validation import relative_stem

SPEAKER = re.compile(r"id\d{5}")
VALID_PERCENT = 2
AUDIO_SUFFIXES = (".m4a", ".wav")


def utterances(root: Path) -> Iterator[Utterance]:
    """Every clip idNNNNN/VIDEO/CLIP.mp4 below `root`, by path; its id is the path without the suffix."""
    empty = True
    for person in speaker_dirs(root):
        for video in sorted(person.glob("*/*.mp4")):
            empty = False
            yield _utterance(root, person.name, video)
    if empty:
        raise FileNotFoundError(
            f"{root}: no VoxCeleb2 here; expected dev/mp4/id00012/VIDEO/00001.mp4 and the like."
        )


def speaker_dirs(root: Path) -> Iterator[Path]:
    """The folders that are called idNNNNN and hold pictures, by path; nothing below them is listed."""
    for folder, inner, _ in os.walk(root):
        found = sorted(name for name in inner if SPEAKER.fullmatch(name))
        yield from (Path(folder, name) for name in found)
        inner[:] = sorted(set(inner) - set(found) - {"aac", "txt"})


def _utterance(root: Path, person: str, video: Path) -> Utterance:
    folders = (root.resolve().name, *video.relative_to(root).parts[:-1])
    split = "test" if "test" in folders else "valid" if is_held_out(person, VALID_PERCENT) else "train"
    return Utterance(relative_stem(root, video), video, _sound(root, video), "", person, split)


def _sound(root: Path, video: Path) -> Path | None:
    """The file that holds the sound, None where it can only be the video itself."""
    parts = ["aac" if part == "mp4" else part for part in video.relative_to(root).parts]
    places = (
        path.with_suffix(suffix) for path in (video, root.joinpath(*parts)) for suffix in AUDIO_SUFFIXES
    )
    return next((path for path in places if path.is_file()), None)
