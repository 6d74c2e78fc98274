"""pocketsphinx with the GRID grammar (lip2speech/evaluation/asr/pocketsphinx.py)."""

import numpy as np
import pytest

from lip2speech.evaluation.asr.pocketsphinx import SLOT_WORDS, PocketSphinxASR, in_grammar
from lip2speech.evaluation.metrics.error_rates import edit_distance

RATE = 16000


@pytest.fixture(scope="module")
def asr() -> PocketSphinxASR:
    return PocketSphinxASR()


@pytest.mark.parametrize("kind", ["empty", "silence", "tone", "click"])
def test_audio_without_words_has_an_empty_transcript(asr: PocketSphinxASR, kind: str) -> None:
    t = np.arange(3 * RATE, dtype=np.float32) / RATE
    click = np.zeros_like(t)
    click[RATE] = 0.5
    audio = {"empty": t[:0], "silence": 0 * t, "tone": 0.3 * np.sin(2 * np.pi * 440 * t), "click": click}
    wav = audio[kind].astype(np.float32)
    assert asr.transcribe(wav) == ""
    assert asr.align(wav) == []


def test_only_sentences_of_the_grammar_are_in_it() -> None:
    assert in_grammar("Bin blue at f two now")
    assert not in_grammar("bin blue at f two")
    assert not in_grammar("bin blue at w two now")
    assert not in_grammar("")
    assert [len(words) for words in SLOT_WORDS] == [4, 4, 4, 25, 10, 4]


@pytest.fixture(scope="module")
def utterances() -> list[tuple[np.ndarray, str]]:
    """Three synthesized sentences: audio (T_a,) and text."""
    pytest.importorskip("espeakng_loader")
    from lip2speech.data.synthetic import synthesize_audio

    return [(wav, text) for wav, text, _ in synthesize_audio(8, 3)]


def test_most_words_of_synthetic_speech_are_recognized(
    asr: PocketSphinxASR, utterances: list[tuple[np.ndarray, str]]
) -> None:
    errors = sum(edit_distance(text, asr.transcribe(wav)) for wav, text in utterances)
    assert errors <= 0.35 * 6 * len(utterances)


def test_the_transcript_depends_on_neither_level_nor_earlier_utterances(
    asr: PocketSphinxASR, utterances: list[tuple[np.ndarray, str]]
) -> None:
    transcripts = [asr.transcribe(wav) for wav, _ in utterances]
    assert [asr.transcribe(wav) for wav, _ in reversed(utterances)] == transcripts[::-1]
    assert [asr.transcribe(0.1 * wav) for wav, _ in utterances] == transcripts


def test_word_boundaries_are_in_order_and_within_the_audio(
    asr: PocketSphinxASR, utterances: list[tuple[np.ndarray, str]]
) -> None:
    for wav, _ in utterances:
        words = asr.align(wav)
        assert " ".join(word.word for word in words) == asr.transcribe(wav)
        times = [time for word in words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert times[0] > 0
        assert times[-1] <= len(wav) / RATE + 0.01
