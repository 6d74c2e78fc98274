"""An offline recogniser as a meter of intelligibility: pocketsphinx, bound to the GRID sentence grammar.

The English acoustic model lies inside pocketsphinx's wheel. The grammar (Cooke et al. 2006) has six places:
command, colour, preposition, letter, digit, adverb; the best guess without listening is wrong in about 81 %
of the words. True sound gets 6 to 12 % by speaker, so differences of a few words mean little. It knows one
language and one grammar.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lip2speech.data.grid import SLOTS
from lip2speech.evaluation.metrics.intelligibility import Wav, check_wav, is_silent

WORDS = tuple(tuple(slot.values()) for slot in SLOTS)
"""The words of each place of the grammar."""
# The article's pronunciation of "a" is never the letter.
_NOT_SAID = {"a": "AH"}
# All sounds are brought to this root mean square: low enough that no peak of speech is clipped.
_LEVEL = 0.02
_FRAMES = 100  # a second, in which pocketsphinx tells the places of words


class TimedWord(NamedTuple):
    """A word and when it was said, in seconds from the beginning of the sound."""

    word: str
    start: float
    end: float


def fits_grammar(text: str) -> bool:
    """Whether the recogniser could say `text` at all."""
    words = text.lower().split()
    return len(words) == len(WORDS) and all(word in slot for word, slot in zip(words, WORDS, strict=True))


class PocketSphinxASR:
    """`transcribe` sound into a sentence of the grammar; about 0.05 s per 3 s of sound."""

    recipe = "pocketsphinx, its own English model, bound to the GRID sentence grammar"

    def covers(self, text: str) -> bool:
        """Whether `text` is of the grammar."""
        return fits_grammar(text)

    def __init__(self) -> None:
        from pocketsphinx import Decoder, get_model_path

        model = Path(get_model_path()) / "en-us"
        with tempfile.TemporaryDirectory() as folder:
            dictionary = Path(folder) / "grid.dict"
            dictionary.write_text(_small_dictionary(model / "cmudict-en-us.dict"), encoding="utf-8")
            self._decoder: Any = Decoder(
                hmm=str(model / "en-us"), dict=str(dictionary), lm=None, samprate=16000, loglevel="FATAL"
            )
        self._decoder.add_jsgf_string("grid", _grammar())
        self._decoder.activate_search("grid")

    def transcribe(self, wav: Wav) -> str:
        """(T_a,) at 16 kHz -> six words, or "" for silence and what fits no sentence at all."""
        return self._listen(wav)

    def hear(self, wav: Wav) -> list[TimedWord]:
        """As `transcribe`, with the place of each word; empty where nothing was understood."""
        if not self._listen(wav):
            return []
        # Silences are called <s>, <sil> and the like; a second pronunciation is "a(2)".
        spoken = [s for s in self._decoder.seg() if s.word[0] not in "<[("]
        return [
            TimedWord(s.word.partition("(")[0], s.start_frame / _FRAMES, (s.end_frame + 1) / _FRAMES)
            for s in spoken
        ]

    def _listen(self, wav: Wav) -> str:
        samples = check_wav(wav)
        if is_silent(samples):
            return ""
        level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
        pcm = np.round(np.clip(samples * (_LEVEL / level), -1, 1) * 32767).astype(np.int16)
        # Without this the noise and mean estimates of earlier sounds colour this one.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), no_search=False, full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""


def _grammar() -> str:
    places = " ".join("( " + " | ".join(words) + " )" for words in WORDS)
    return f"#JSGF V1.0;\ngrammar grid;\npublic <sentence> = {places} ;\n"


def _small_dictionary(path: Path) -> str:
    """The grammar's words out of the big dictionary: loads in 10 ms, and "a" is the letter only."""
    wanted = {word for words in WORDS for word in words}
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        head, _, phones = line.partition(" ")
        word = head.partition("(")[0]
        if word in wanted and _NOT_SAID.get(word) != phones.strip():
            found.setdefault(word, []).append(phones.strip())
    if missing := wanted - set(found):
        raise ValueError(f"{path}: no pronunciation of {', '.join(sorted(missing))}; reinstall pocketsphinx.")
    # The first pronunciation has the bare name, further ones a number.
    return "".join(
        f"{word}{f'({i})' if i > 1 else ''} {phones}\n"
        for word, variants in sorted(found.items())
        for i, phones in enumerate(variants, 1)
    )
