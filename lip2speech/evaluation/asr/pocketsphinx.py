"""Offline ASR: pocketsphinx with its English acoustic model, constrained to the GRID sentence grammar.

The grammar (Cooke et al. 2006) has six slots: command, color, preposition, letter, digit, adverb. The best
guess without audio has a WER of about 81 %, ground-truth audio 6 to 12 % depending on the speaker, so a
difference of a few words means little.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lip2speech.data.grid import SLOTS
from lip2speech.evaluation.metrics.common import Wav, check_wav, is_silent

SLOT_WORDS = tuple(tuple(slot.values()) for slot in SLOTS)
"""The words allowed in each slot of the grammar."""
# The article's pronunciation of "a" is never the letter.
_EXCLUDED_PRONUNCIATIONS = {"a": "AH"}
# Every waveform is normalized to this RMS, low enough that no peak of speech is clipped.
_TARGET_RMS = 0.02
_FRAMES_PER_SECOND = 100  # in which pocketsphinx reports word boundaries


class TimedWord(NamedTuple):
    """A recognized word and its start and end in seconds."""

    word: str
    start: float
    end: float


def in_grammar(text: str) -> bool:
    """Whether `text` is a sentence of the GRID grammar."""
    words = text.lower().split()
    if len(words) != len(SLOT_WORDS):
        return False
    return all(word in slot for word, slot in zip(words, SLOT_WORDS, strict=True))


class PocketSphinxASR:
    """Recognizes one sentence of the grammar; about 0.05 s for 3 s of audio."""

    description = "pocketsphinx, bundled English model, constrained to the GRID sentence grammar"

    def __init__(self) -> None:
        from pocketsphinx import Decoder, get_model_path

        model = Path(get_model_path()) / "en-us"
        with tempfile.TemporaryDirectory() as folder:
            dictionary = Path(folder) / "grid.dict"
            dictionary.write_text(_grammar_dictionary(model / "cmudict-en-us.dict"), encoding="utf-8")
            self._decoder: Any = Decoder(
                hmm=str(model / "en-us"), dict=str(dictionary), lm=None, samprate=16000, loglevel="FATAL"
            )
        self._decoder.add_jsgf_string("grid", _jsgf_grammar())
        self._decoder.activate_search("grid")

    def supports(self, text: str) -> bool:
        """Whether `text` is a sentence of the grammar."""
        return in_grammar(text)

    def transcribe(self, wav: Wav) -> str:
        """(T_a,) at 16 kHz -> six words, or "" for silence and for audio that matches no sentence."""
        samples = check_wav(wav)
        if is_silent(samples):
            return ""
        rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
        pcm = np.round(np.clip(samples * (_TARGET_RMS / rms), -1, 1) * 32767).astype(np.int16)
        # Otherwise noise and cepstral mean estimates of earlier utterances affect this one.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), no_search=False, full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return str(hypothesis.hypstr) if hypothesis else ""

    def align(self, wav: Wav) -> list[TimedWord]:
        """As `transcribe`, with word boundaries; empty if nothing was recognized."""
        if not self.transcribe(wav):
            return []
        # Silences are named <s>, <sil> and the like; a second pronunciation is "a(2)".
        segments = [segment for segment in self._decoder.seg() if segment.word[0] not in "<[("]
        return [
            TimedWord(
                segment.word.partition("(")[0],
                segment.start_frame / _FRAMES_PER_SECOND,
                (segment.end_frame + 1) / _FRAMES_PER_SECOND,
            )
            for segment in segments
        ]


def _jsgf_grammar() -> str:
    slots = " ".join("( " + " | ".join(words) + " )" for words in SLOT_WORDS)
    return f"#JSGF V1.0;\ngrammar grid;\npublic <sentence> = {slots} ;\n"


def _grammar_dictionary(path: Path) -> str:
    """The grammar's words from the full dictionary: loads in 10 ms, and "a" is only the letter."""
    wanted = {word for words in SLOT_WORDS for word in words}
    pronunciations: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        head, _, phones = line.partition(" ")
        word = head.partition("(")[0]
        if word in wanted and _EXCLUDED_PRONUNCIATIONS.get(word) != phones.strip():
            pronunciations.setdefault(word, []).append(phones.strip())
    if missing := wanted - set(pronunciations):
        raise ValueError(f"{path}: no pronunciation of {', '.join(sorted(missing))}; reinstall pocketsphinx.")
    # The first pronunciation has the bare word as its key, further ones a number.
    return "".join(
        f"{word}{f'({i})' if i > 1 else ''} {phones}\n"
        for word, variants in sorted(pronunciations.items())
        for i, phones in enumerate(variants, 1)
    )
