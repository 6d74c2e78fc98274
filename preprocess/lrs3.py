"""LRS3: TED talks by thousands of speakers, with transcripts.

Afouras, Chung and Zisserman 2018, "LRS3-TED: a large-scale dataset for visual speech recognition". The layout
is ROOT/{pretrain,trainval,test}/VIDEO/NNNNN.mp4, with NNNNN.txt next to it.

Clips of trainval and test are short, whole utterances. Those of pretrain last minutes, so they are segmented
at the longest pauses between words until no segment exceeds 15 s (the limit of AV-HuBERT's preparation, too):
pretrain/VIDEO/NNNNN_0, _1, ... The speaker is the talk's folder; 4 % of the talks of pretrain and trainval
are held out as "valid", by a hash of their names, the same talks in both sets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lip2speech.data.utterance import RejectedClip, Utterance, is_held_out

SETS = ("pretrain", "trainval", "test")
VALID_PERCENT = 4  # of the talks; the published validation list has 1,200 of 32,000 clips of trainval
MAX_SEGMENT_S = 15.0
MIN_SEGMENT_S = 1.0  # no shorter segment, if there is another place to cut
MARGIN_S = 0.2  # of silence kept before the first and after the last word of a segment
MAX_TEXT_BYTES = 1 << 20  # an hour of talk with its face boxes needs a tenth of it
MAX_WORDS = 5000
_TAG = re.compile(r"\{[^}]*\}")  # {LG} and similar: laughter, noise


@dataclass(frozen=True)
class TimedTextWord:
    """A word with its start and end, seconds from the start of the clip."""

    text: str
    start: float
    end: float


def utterances(root: Path) -> Iterator[Utterance | RejectedClip]:
    """Every clip of the sets that exist, sorted by path; a clip without a valid transcript is rejected."""
    sets = [name for name in SETS if (root / name).is_dir()]
    if not sets:
        raise FileNotFoundError(
            f"{root}: no LRS3 here; expected {', '.join(SETS)}, with VIDEO/NNNNN.mp4 and .txt in them."
        )
    for name in sets:
        for talk in sorted(path for path in (root / name).iterdir() if path.is_dir()):
            for stem in sorted({path.stem for path in talk.iterdir() if path.suffix in (".mp4", ".txt")}):
                yield from _clips(name, talk, stem)


def _clips(name: str, talk: Path, stem: str) -> Iterator[Utterance | RejectedClip]:
    """The utterances of one video."""
    clip_id, video = f"{name}/{talk.name}/{stem}", talk / f"{stem}.mp4"
    split = "test" if name == "test" else "valid" if is_held_out(talk.name, VALID_PERCENT) else "train"
    try:
        if not video.is_file():
            raise ValueError(f"{stem}.txt exists, but no {stem}.mp4 next to it; complete the copy")
        text = read_text(talk / f"{stem}.txt")
        if name != "pretrain":
            yield Utterance(clip_id, video, None, parse_sentence(text), talk.name, split)
            return
        segments = segment_words(parse_word_times(text))
    except (ValueError, OSError) as error:
        yield RejectedClip(clip_id, str(error))
        return
    for i, segment in enumerate(segments):
        sentence = " ".join(word.text for word in segment)
        start, end = segment_bounds(segments, i)
        if end - start > MAX_SEGMENT_S:
            yield RejectedClip(
                f"{clip_id}_{i}", f"the word {sentence!r} lasts longer than {MAX_SEGMENT_S:g} s"
            )
        else:
            yield Utterance(f"{clip_id}_{i}", video, None, sentence, talk.name, split, start, end)


def read_text(path: Path) -> str:
    """A clip's text file. ValueError: it is missing, a link or too large."""
    if not path.is_file():
        raise ValueError(f"{path.name} is missing next to the video; complete the copy")
    if path.is_symlink() or path.stat().st_size > MAX_TEXT_BYTES:
        raise ValueError(
            f"{path.name} is a link or larger than {MAX_TEXT_BYTES} bytes; expected a clip's text"
        )
    return path.read_text(encoding="utf-8", errors="replace")


def parse_sentence(text: str) -> str:
    """The transcript of the line `Text:  THE WORDS`, lower case."""
    first = text.partition("\n")[0]
    if not first.startswith("Text:"):
        raise ValueError(f"its text begins {first[:40]!r}, expected 'Text:  THE WORDS'")
    return normalize_text(first.removeprefix("Text:"))


def parse_word_times(text: str) -> list[TimedTextWord]:
    """The rows below `WORD START END ASDSCORE`, without tags.

    Raises:
        ValueError: There are no such rows, or a row's times are invalid or not after those of the row before.
    """
    lines = iter(text.splitlines())
    if not any(line.split()[:3] == ["WORD", "START", "END"] for line in lines):
        raise ValueError("its text has no word times; expected rows below WORD START END ASDSCORE")
    words: list[TimedTextWord] = []
    for line in filter(str.strip, lines):
        if len(words) == MAX_WORDS:
            raise ValueError(f"its text has more than {MAX_WORDS} words")
        word = _parse_word(line, words[-1].end if words else 0.0)
        if word.text:
            words.append(word)
    if not words:
        raise ValueError("its text has no words")
    return words


def _parse_word(line: str, earliest: float) -> TimedTextWord:
    fields = line.split()
    try:
        start, end = float(fields[1]), float(fields[2])
    except (IndexError, ValueError):
        start = end = math.nan
    # Adjacent words may overlap by a rounding of their two decimals.
    if not earliest - 0.02 <= start <= end < math.inf:
        raise ValueError(
            f"its row {line[:60]!r} is not a word after {earliest:.2f} s; expected WORD START END"
        )
    return TimedTextWord(normalize_text(fields[0]), start, end)


def normalize_text(text: str) -> str:
    """Lower case, single spaces, no {TAGS}."""
    return " ".join(_TAG.sub(" ", text).lower().split())


def segment_words(words: list[TimedTextWord]) -> list[list[TimedTextWord]]:
    """Segments of at most `MAX_SEGMENT_S` with their margins, or of a single word."""
    segments: list[list[TimedTextWord]] = []
    pending = [words]
    while pending:
        segment = pending.pop()
        if len(segment) == 1 or segment[-1].end - segment[0].start + 2 * MARGIN_S <= MAX_SEGMENT_S:
            segments.append(segment)
            continue
        cut = longest_pause(segment)
        pending += [segment[cut:], segment[:cut]]
    return segments


def longest_pause(segment: list[TimedTextWord]) -> int:
    """Index of the word after the longest pause; of equal pauses the one nearest to the middle."""
    middle = (segment[0].start + segment[-1].end) / 2

    def shorter_half_s(i: int) -> float:
        return min(segment[i - 1].end - segment[0].start, segment[-1].end - segment[i].start)

    candidates = range(1, len(segment))
    return max(
        [i for i in candidates if shorter_half_s(i) >= MIN_SEGMENT_S] or candidates,
        key=lambda i: (round(segment[i].start - segment[i - 1].end, 3), -abs(segment[i].start - middle)),
    )


def segment_bounds(segments: list[list[TimedTextWord]], i: int) -> tuple[float, float]:
    """Start and end of a segment, seconds: half of the adjacent pause is added, at most `MARGIN_S`."""
    segment = segments[i]
    before = segments[i - 1][-1].end if i else -math.inf
    after = segments[i + 1][0].start if i + 1 < len(segments) else math.inf
    start = segment[0].start - min(MARGIN_S, max(0.0, (segment[0].start - before) / 2))
    end = segment[-1].end + min(MARGIN_S, max(0.0, (after - segment[-1].end) / 2))
    return round(max(0.0, start), 3), round(end, 3)
