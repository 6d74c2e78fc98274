"""The GRID corpus: 34 speakers, six-word sentences, 3 s clips with audio.

Cooke, Barker, Cunningham and Shao 2006, "An audio-visual corpus for speech perception and automatic speech
recognition", JASA 120(5):2421. A clip's name encodes its sentence: `bbaf2n` is "bin blue at f two now".

Accepted layouts: a folder per speaker (`s1` to `s34`) anywhere below the root, or the root itself, with the
videos at any depth inside it (`s1/bbaf2n.mpg`, `s1/video/mpg_6000/bbaf2n.mpg`, `s1/bbaf2n.mp4`). The audio
is in the video, or in a wav of the same name below a folder of that speaker (`s1/bbaf2n.wav`,
`audio_25k/s1/bbaf2n.wav`).
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from lip2speech.data.utterance import Utterance

COMMANDS = {"b": "bin", "l": "lay", "p": "place", "s": "set"}
COLORS = {"b": "blue", "g": "green", "r": "red", "w": "white"}
PREPOSITIONS = {"a": "at", "b": "by", "i": "in", "w": "with"}
LETTERS = {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"}
DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS = dict(zip("z123456789", DIGIT_WORDS, strict=True))
ADVERBS = {"a": "again", "n": "now", "p": "please", "s": "soon"}
SLOTS = (COMMANDS, COLORS, PREPOSITIONS, LETTERS, DIGITS, ADVERBS)

SPEAKER = re.compile(r"s[1-9][0-9]?")
SENTENCE_CODE = re.compile("".join(f"[{''.join(slot)}]" for slot in SLOTS))
GRID_SUFFIXES = frozenset({".mpg", ".mp4"})
SPLIT_FILE = "split.tsv"
UNLISTED = "unlisted"
HELD_OUT_PERCENT = 5  # each of valid and test, without a split.tsv


def code_to_text(code: str) -> str:
    """The sentence of a clip's name: `bbaf2n` -> `bin blue at f two now`."""
    if not SENTENCE_CODE.fullmatch(code.lower()):
        raise ValueError(f"{code!r} is not a GRID sentence code; expected six characters such as bbaf2n.")
    return " ".join(slot[character] for slot, character in zip(SLOTS, code.lower(), strict=True))


def hashed_split(text: str) -> str:
    """The split of a sentence without a `split.tsv`: the same for every speaker and machine."""
    percentile = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 100
    if percentile < HELD_OUT_PERCENT:
        return "test"
    return "valid" if percentile < 2 * HELD_OUT_PERCENT else "train"


def utterances(root: Path) -> Iterator[Utterance]:
    """All clips below `root`, sorted by speaker and name.

    With a `split.tsv` (columns clip, split, text) in `root`, clips have the split of their row, or `unlisted`
    without a row. Otherwise a hash of the sentence holds out 5 % for valid and 5 % for test. Of a clip in two
    qualities the larger file counts. Other videos are ignored.

    Raises:
        FileNotFoundError: There is no clip, or a clip of `split.tsv` is missing.
        ValueError: `split.tsv` is malformed, or contradicts a clip's name.
    """
    root = Path(root)
    videos = _find(root, GRID_SUFFIXES)
    if not videos:
        raise FileNotFoundError(
            f"{root}: no GRID clip here; expected one folder per speaker, with s1/bbaf2n.mpg and so on."
        )
    wavs, splits = _find(root, frozenset({".wav"})), _read_splits(root)
    missing = sorted(set(splits or ()) - set(videos))
    if missing:
        raise FileNotFoundError(
            f"{root / SPLIT_FILE}: {len(missing)} of its clips are not here, the first is "
            f"{'/'.join(missing[0])}; complete the copy or shorten the list."
        )
    for speaker, code in sorted(videos, key=lambda clip: (int(clip[0][1:]), clip[1])):
        text = code_to_text(code)
        split = hashed_split(text) if splits is None else splits.get((speaker, code), UNLISTED)
        yield Utterance(
            id=f"{speaker}_{code}",
            video=videos[speaker, code],
            wav=wavs.get((speaker, code)),
            text=text,
            speaker=speaker,
            split=split,
        )


def _find(root: Path, suffixes: frozenset[str]) -> dict[tuple[str, str], Path]:
    """(speaker, code) -> file, of files that are named by a sentence code below a speaker's folder."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(root.rglob("*")):
        code = path.stem.lower()
        if path.suffix.lower() not in suffixes or not SENTENCE_CODE.fullmatch(code) or not path.is_file():
            continue
        folders = (root.resolve().name, *path.relative_to(root).parts[:-1])
        speakers = [name for name in folders if SPEAKER.fullmatch(name)]
        if not speakers:
            continue
        key = (speakers[-1], code)
        if key not in found or path.stat().st_size > found[key].stat().st_size:
            found[key] = path
    return found


def _read_splits(root: Path) -> dict[tuple[str, str], str] | None:
    """(speaker, code) -> split of `split.tsv`; None if there is none."""
    path = root / SPLIT_FILE
    if not path.is_file():
        return None
    splits = {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t")
        if not {"clip", "split"} <= set(rows.fieldnames or ()):
            raise ValueError(
                f"{path}: columns must be clip, split and (optional) text, got {rows.fieldnames}."
            )
        for row in rows:
            clip = Path(row["clip"])
            key, text = (clip.parts[0], clip.stem.lower()), row.get("text")
            if text and text != code_to_text(key[1]):
                raise ValueError(
                    f"{path}: {row['clip']} encodes {code_to_text(key[1])!r}, but its row has {text!r}."
                )
            splits[key] = row["split"]
    return splits
