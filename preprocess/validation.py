"""What a corpus may name: ids that can be file names, files inside its root, lists without odd lines.

A corpus comes from elsewhere, so each thing it names is looked at by itself, and refused by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from lip2speech.data.utterance import RejectedClip, Utterance

# Ids become file names. Parts may begin with "-" (YouTube ids do) but never with a dot.
_PART = r"[A-Za-z0-9_-][A-Za-z0-9_.+-]*"
_ID = re.compile(rf"{_PART}(/{_PART})*")
_LONGEST_ID = 200
_SUFFIXES = (".mp4", ".txt")  # that a line of a list may carry


def check_id(clip_id: str) -> str:
    """The id itself, or ValueError where it cannot safely be a file name below the prepared folder."""
    if len(clip_id) > _LONGEST_ID or not _ID.fullmatch(clip_id):
        raise ValueError(
            f"clip id {clip_id[:80]!r} cannot be a file name; expected letters, digits and _ - + . in parts "
            f"joined by '/', none beginning with '.', at most {_LONGEST_ID} characters: rename the clip"
        )
    return clip_id


def check_inside(root: Path, utterance: Utterance) -> None:
    """ValueError where a file of the clip lies outside `root`, which a link can bring about."""
    top = root.resolve()
    for path in filter(None, (utterance.video, utterance.wav)):
        if not path.resolve().is_relative_to(top):
            raise ValueError(
                f"{path.name} is a link that leads out of the corpus, to {path.resolve()}; "
                "give the folder that holds the files as --root"
            )


def filter_clips(
    found: Iterable[Utterance | RejectedClip], root: Path, lines: Path
) -> Iterator[Utterance | RejectedClip]:
    """Those clips of a corpus that a list names: a video's path below the root, without its suffix, a line.

    Pieces of a video are named by the video. A line that names nothing, or that leads out of the root, is
    refused by its number.
    """
    wanted: dict[str, int] = {}
    for number, line in enumerate(lines.read_text(encoding="utf-8", errors="replace").split("\n"), 1):
        name = line.removesuffix("\r")
        for suffix in _SUFFIXES:
            name = name.removesuffix(suffix)
        try:
            if name:
                wanted.setdefault(check_list_line(name), number)
        except ValueError as error:
            yield RejectedClip(f"{lines.name}:{number}", str(error))
    unseen = dict(wanted)
    for clip in found:
        names = _names(root, clip)
        if not names.isdisjoint(wanted):
            for name in names:
                unseen.pop(name, None)
            yield clip
    for name, number in unseen.items():
        yield RejectedClip(f"{lines.name}:{number}", f"no clip of the corpus is called {name}")


def _names(root: Path, clip: Utterance | RejectedClip) -> set[str]:
    """What a list may call a clip; a refused one may be a piece of a video."""
    if isinstance(clip, RejectedClip):
        return {clip.id, clip.id.rpartition("_")[0]}
    return {relative_stem(root, clip.video)}


def check_list_line(name: str) -> str:
    """A line of a list, or ValueError where it is no plain path below the root."""
    if not name.isprintable():
        raise ValueError(f"{name[:80]!r} holds control characters; expected the path of a clip")
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or ".." in parts or "/".join(parts) != name:
        raise ValueError(f"{name[:80]!r} is no plain path below the root; expected folder/folder/clip")
    return check_id(name)


def relative_stem(root: Path, video: Path) -> str:
    """A video's path below the root, without its suffix."""
    return video.relative_to(root).with_suffix("").as_posix()
