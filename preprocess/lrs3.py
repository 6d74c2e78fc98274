"""LRS3: talks from TED, spoken by thousands, with what is said.

Afouras, Chung and Zisserman 2018, "LRS3-TED: a large-scale dataset for visual speech recognition". The tree:
ROOT/{pretrain,trainval,test}/VIDEO/NNNNN.mp4, and NNNNN.txt beside it.

Clips of trainval and test are short, and whole utterances. Those of pretrain go on for minutes, so they are
cut at the widest pauses between words until none is longer than 15 s (the length at which AV-HuBERT's
preparation cuts, too): pretrain/VIDEO/NNNNN_0, _1, ... Who speaks is the talk's folder; 4 in 100 talks of
pretrain and trainval are held out as "valid", by a hash of their names, both sets alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lip2speech.data.utterance import RejectedClip, Utterance, is_held_out

SETS = ("pretrain", "trainval", "test")
VALID_PERCENT = 4  # of the talks; the published validation list holds 1,200 of 32,000 clips of trainval
MAX_SEGMENT_S = 15.0
MIN_SEGMENT_S = 1.0  # no piece shorter, where there is another place to cut
MARGIN_S = 0.2  # of silence kept before the first and after the last word of a piece
MAX_TEXT = 1 << 20  # bytes; an hour of talk with its face boxes needs a tenth of it
MAX_WORDS = 5000
_TAG = re.compile(r"\{[^}]*\}")  # {LG} and its kin: laughter, noise


@dataclass(frozen=True)
class TimedTextWord:
    """A word and when it is said, seconds from the beginning of its clip."""

    text: str
    start: float
    end: float


def utterances(root: Path) -> Iterator[Utterance | RejectedClip]:
    """Every clip of the sets that are there, by path; a clip without words, or with odd ones, is refused."""
    sets = [name for name in SETS if (root / name).is_dir()]
    if not sets:
        raise FileNotFoundError(
            f"{root}: no LRS3 here; expected {', '.join(SETS)}, with VIDEO/NNNNN.mp4 and .txt in them."
        )
    for name in sets:
        for talk in sorted(path for path in (root / name).iterdir() if path.is_dir()):
            for stem in sorted({path.stem for path in talk.iterdir() if path.suffix in (".mp4", ".txt")}):
                yield from _clip(name, talk, stem)


def _clip(name: str, talk: Path, stem: str) -> Iterator[Utterance | RejectedClip]:
    """The utterances of one video."""
    clip_id, video = f"{name}/{talk.name}/{stem}", talk / f"{stem}.mp4"
    split = "test" if name == "test" else "valid" if is_held_out(talk.name, VALID_PERCENT) else "train"
    try:
        if not video.is_file():
            raise ValueError(f"there is {stem}.txt and no {stem}.mp4 beside it; complete the copy")
        text = read_text(talk / f"{stem}.txt")
        if name != "pretrain":
            yield Utterance(clip_id, video, None, parse_sentence(text), talk.name, split)
            return
        pieces = segment_words(parse_word_times(text))
    except (ValueError, OSError) as error:
        yield RejectedClip(clip_id, str(error))
        return
    for number, piece in enumerate(pieces):
        said = " ".join(word.text for word in piece)
        start, end = segment_bounds(pieces, number)
        if end - start > MAX_SEGMENT_S:
            yield RejectedClip(
                f"{clip_id}_{number}", f"the word {said!r} lasts longer than {MAX_SEGMENT_S:g} s"
            )
        else:
            yield Utterance(f"{clip_id}_{number}", video, None, said, talk.name, split, start, end)


def read_text(path: Path) -> str:
    """A clip's text file. ValueError: there is none, or it is far too large."""
    if not path.is_file():
        raise ValueError(f"{path.name} is missing beside the video; complete the copy")
    if path.is_symlink() or path.stat().st_size > MAX_TEXT:
        raise ValueError(f"{path.name} is a link or larger than {MAX_TEXT} bytes; expected a clip's text")
    return path.read_text(encoding="utf-8", errors="replace")


def parse_sentence(text: str) -> str:
    """The words of the line `Text:  THE WORDS`, lower case."""
    first = text.partition("\n")[0]
    if not first.startswith("Text:"):
        raise ValueError(f"its text begins {first[:40]!r}, expected 'Text:  THE WORDS'")
    return normalize_text(first.removeprefix("Text:"))


def parse_word_times(text: str) -> list[TimedTextWord]:
    """The rows below `WORD START END ASDSCORE`, those that are no words left out.

    Raises:
        ValueError: no such rows, or one whose times are no times or not after those of the row before.
    """
    lines = iter(text.splitlines())
    if not any(line.split()[:3] == ["WORD", "START", "END"] for line in lines):
        raise ValueError("its text has no word times; expected rows below WORD START END ASDSCORE")
    said: list[TimedTextWord] = []
    for line in filter(str.strip, lines):
        if len(said) == MAX_WORDS:
            raise ValueError(f"its text has more than {MAX_WORDS} words")
        word = _word(line, said[-1].end if said else 0.0)
        if word.text:
            said.append(word)
    if not said:
        raise ValueError("its text holds no word")
    return said


def _word(line: str, earliest: float) -> TimedTextWord:
    fields = line.split()
    try:
        start, end = float(fields[1]), float(fields[2])
    except (IndexError, ValueError):
        start = end = math.nan
    # Neighbours may overlap by a rounding of their two decimals.
    if not earliest - 0.02 <= start <= end < math.inf:
        raise ValueError(f"its row {line[:60]!r} is no word after {earliest:.2f} s; expected WORD START END")
    return TimedTextWord(normalize_text(fields[0]), start, end)


def normalize_text(said: str) -> str:
    """Lower case, one space between words, no {TAGS}."""
    return " ".join(_TAG.sub(" ", said).lower().split())


def segment_words(said: list[TimedTextWord]) -> list[list[TimedTextWord]]:
    """Runs of words that last `MAX_SEGMENT_S` at most with their margins, or are one word."""
    done: list[list[TimedTextWord]] = []
    waiting = [said]
    while waiting:
        run = waiting.pop()
        if len(run) == 1 or run[-1].end - run[0].start + 2 * MARGIN_S <= MAX_SEGMENT_S:
            done.append(run)
            continue
        at = longest_pause(run)
        waiting += [run[at:], run[:at]]
    return done


def longest_pause(run: list[TimedTextWord]) -> int:
    """Before which word to cut: the widest pause, of equals the one nearest to the middle."""
    middle = (run[0].start + run[-1].end) / 2
    places = range(1, len(run))
    far = [
        i for i in places if min(run[i - 1].end - run[0].start, run[-1].end - run[i].start) >= MIN_SEGMENT_S
    ]
    return max(
        far or places,
        key=lambda i: (round(run[i].start - run[i - 1].end, 3), -abs(run[i].start - middle)),
    )


def segment_bounds(pieces: list[list[TimedTextWord]], number: int) -> tuple[float, float]:
    """Seconds from which to which a piece goes: half of the pause beside it, `MARGIN_S` at most."""
    piece = pieces[number]
    before = pieces[number - 1][-1].end if number else -math.inf
    after = pieces[number + 1][0].start if number + 1 < len(pieces) else math.inf
    start = piece[0].start - min(MARGIN_S, max(0.0, (piece[0].start - before) / 2))
    end = piece[-1].end + min(MARGIN_S, max(0.0, (after - piece[-1].end) / 2))
    return round(max(0.0, start), 3), round(end, 3)
