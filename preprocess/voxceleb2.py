"""VoxCeleb2: interviews from the web, six thousand speakers, no transcripts.

Chung, Nagrani and Zisserman 2018, "VoxCeleb2: deep speaker recognition". The layout is
ROOT/{dev,test}/mp4/idNNNNN/VIDEO/NNNNN.mp4; `mp4`, `dev` and `test` are optional. The audio is in the mp4,
next to it (NNNNN.m4a or .wav), or below `aac` instead of `mp4`.

The speaker is the id; 2 % of the speakers are held out as "valid", by a hash of the id. Clips below a folder
`test` are "test", all others are treated as dev.
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
    """Every clip idNNNNN/VIDEO/CLIP.mp4 below `root`, sorted by path; its id is the path without suffix."""
    empty = True
    for speaker_dir in speaker_dirs(root):
        for video in sorted(speaker_dir.glob("*/*.mp4")):
            empty = False
            yield _utterance(root, speaker_dir.name, video)
    if empty:
        raise FileNotFoundError(
            f"{root}: no VoxCeleb2 here; expected files such as dev/mp4/id00012/VIDEO/00001.mp4."
        )


def speaker_dirs(root: Path) -> Iterator[Path]:
    """The folders of videos named idNNNNN, sorted by path; they are not descended into."""
    for folder, subfolders, _ in os.walk(root):
        found = sorted(name for name in subfolders if SPEAKER.fullmatch(name))
        yield from (Path(folder, name) for name in found)
        subfolders[:] = sorted(set(subfolders) - set(found) - {"aac", "txt"})


def _utterance(root: Path, speaker: str, video: Path) -> Utterance:
    folders = (root.resolve().name, *video.relative_to(root).parts[:-1])
    split = "test" if "test" in folders else "valid" if is_held_out(speaker, VALID_PERCENT) else "train"
    return Utterance(relative_stem(root, video), video, _find_audio(root, video), "", speaker, split)


def _find_audio(root: Path, video: Path) -> Path | None:
    """The separate audio file, or None if there is none."""
    parts = ["aac" if part == "mp4" else part for part in video.relative_to(root).parts]
    candidates = (p.with_suffix(suffix) for p in (video, root.joinpath(*parts)) for suffix in AUDIO_SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)
