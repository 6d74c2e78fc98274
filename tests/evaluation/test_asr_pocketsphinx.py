"""The recogniser on sounds without words, and on espeak's where that is installed."""

import numpy as np
import pytest

from lip2speech.evaluation.asr.pocketsphinx import WORDS, PocketSphinxASR, fits_grammar

RATE = 16000


@pytest.fixture(scope="module")
def recogniser() -> PocketSphinxASR:
    return PocketSphinxASR()


@pytest.mark.parametrize("kind", ["nothing", "silence", "tone", "click"])
def test_a_sound_without_words_gives_no_words(recogniser: PocketSphinxASR, kind: str) -> None:
    t = np.arange(3 * RATE, dtype=np.float32) / RATE
    click = np.zeros_like(t)
    click[RATE] = 0.5
    sounds = {"nothing": t[:0], "silence": 0 * t, "tone": 0.3 * np.sin(2 * np.pi * 440 * t), "click": click}
    assert recogniser.transcribe(sounds[kind].astype(np.float32)) == ""
    assert recogniser.hear(sounds[kind].astype(np.float32)) == []


def test_only_sentences_of_the_grammar_fit_it() -> None:
    assert fits_grammar("Bin blue at f two now")
    assert not fits_grammar("bin blue at f two")
    assert not fits_grammar("bin blue at w two now")
    assert not fits_grammar("")
    assert [len(words) for words in WORDS] == [4, 4, 4, 25, 10, 4]


def test_synthetic_speech_is_understood_and_earlier_sounds_change_nothing(
    recogniser: PocketSphinxASR,
) -> None:
    pytest.importorskip("espeakng_loader")
    from lip2speech.data.synthetic import synthesize_audio
    from lip2speech.evaluation.metrics.intelligibility import edit_errors

    spoken = [(wav, text) for wav, text, _ in synthesize_audio(8, 3)]
    heard = [recogniser.transcribe(wav) for wav, _ in spoken]
    errors = sum(edit_errors(text, words) for (_, text), words in zip(spoken, heard, strict=True))
    assert errors <= 0.35 * 6 * len(spoken)
    assert [recogniser.transcribe(wav) for wav, _ in reversed(spoken)] == heard[::-1]
    assert [recogniser.transcribe(0.1 * wav) for wav, _ in spoken] == heard
    for (wav, _), transcript in zip(spoken, heard, strict=True):
        words = recogniser.hear(wav)
        assert " ".join(heard_word.word for heard_word in words) == transcript
        times = [time for heard_word in words for time in (heard_word.start, heard_word.end)]
        assert times == sorted(times) and times[0] > 0 and times[-1] <= len(wav) / RATE + 0.01
