"""Silent speech of the synthetic corpus, and synthesized prompts."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from lip2speech.data.synthetic import make_corpus, utterances
from lip2speech.data.synthetic.articulation import SilentSpeechStyle, apply_silent_style
from lip2speech.data.synthetic.clip import SynthesisJob, make_utterance, silent_speech_style
from lip2speech.data.synthetic.prompts import sample_prompts, synthesize_prompt
from lip2speech.data.synthetic.render.mouth import JAW, OPENING, SPREAD
from lip2speech.data.synthetic.sentences import sentence_split
from lip2speech.data.synthetic.visemes import TARGETS, mouth_track
from lip2speech.data.synthetic.voices import synthesize_utterance

SEED = 4


def sample_styles(count: int) -> list[SilentSpeechStyle]:
    return [SilentSpeechStyle.sample(np.random.default_rng(i)) for i in range(count)]


def test_silent_styles_are_slower_less_open_and_different() -> None:
    styles = sample_styles(40)
    tempos, openings = (np.array(x) for x in zip(*((p.tempo, p.gains[OPENING]) for p in styles), strict=True))
    assert tempos.min() >= 1.1
    assert 1.2 < tempos.mean() < 1.5
    assert openings.mean() < 0.95
    assert openings.std() > 0.1
    assert all(p.gains[JAW] < p.gains[OPENING] and p.gains[SPREAD] > 1 for p in styles)
    assert not np.array_equal(styles[0].viseme_offsets["i"], styles[1].viseme_offsets["i"])


def test_closures_and_openings_keep_their_sign_in_every_style() -> None:
    for style in sample_styles(40):
        for name, (targets, _) in style.table().items():
            voiced = TARGETS[name][0][OPENING]
            assert np.sign(targets[OPENING]) == np.sign(voiced), name
    assert set(style.table()) == set(TARGETS)


def test_mouthed_words_take_longer() -> None:
    speech, style = synthesize_utterance("test", SEED, 0), sample_styles(1)[0]
    mouthed = apply_silent_style(speech, style, np.random.default_rng(0))
    assert [p.name for p in mouthed.phonemes] == [p.name for p in speech.phonemes]
    voiced_s, mouthed_s = (x.phonemes[-1].end - x.phonemes[0].start for x in (speech, mouthed))
    assert mouthed_s / voiced_s == pytest.approx(style.tempo, rel=0.15)
    assert not mouthed.wav.any()
    assert mouthed.n_frames > speech.n_frames
    small, large = (
        mouth_track(x.phonemes, x.n_frames, t)[:, JAW].max()
        for x, t in ((mouthed, style.table()), (speech, TARGETS))
    )
    assert small < large


def test_a_speaker_has_one_style_and_different_words_per_clip() -> None:
    jobs = [SynthesisJob(Path(), "test", SEED, i, "drawn", "mouthed", 3) for i in range(2)]
    first, second = (silent_speech_style(job) for job in jobs)
    assert first is not None
    assert second is not None
    assert first.tempo == second.tempo
    assert first.gains == second.gains
    assert make_utterance(jobs[0], first).text != make_utterance(jobs[1], second).text
    other = silent_speech_style(SynthesisJob(Path(), "test", SEED, 0, "drawn", "mouthed", 4))
    assert other is not None
    assert other.tempo != first.tempo
    assert silent_speech_style(SynthesisJob(Path(), "test", SEED, 0, "drawn")) is None


def test_a_voiced_speaker_has_one_voice() -> None:
    voices = {
        make_utterance(SynthesisJob(Path(), "test", SEED, i, "drawn", "voiced", 5), None).voice.name
        for i in range(4)
    }
    assert len(voices) == 1


def test_a_mouthed_clip_has_no_audio_but_text_and_phoneme_times(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_corpus(tmp_path / name, 1, SEED, "test", articulation="mouthed", speaker_id=3)
    (clip,) = utterances(tmp_path / "a")
    again = tmp_path / "b" / clip.video.name
    assert clip.speaker == "test-0003"
    assert clip.video.read_bytes() == again.read_bytes()
    with av.open(str(clip.video)) as container:
        assert not container.streams.audio
    facts = json.loads(clip.video.with_suffix(".json").read_text())
    assert facts["articulation"] == "mouthed"
    assert facts["voice"] is None
    assert facts["tempo"] >= 1.1
    assert facts["text"] == clip.text
    assert facts["phonemes"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"articulation": "sung"}, "articulation must be one of voiced, mouthed, got 'sung'"),
        (
            {"speaker_id": 200, "split": "test"},
            "speaker_id must be a drawn face, 0 to 199 of split 'test', got 200",
        ),
        ({"speaker_id": 0, "faces": "photo"}, "speaker_id must be a drawn face"),
    ],
)
def test_invalid_speakers_and_articulations_are_rejected(
    tmp_path: Path, arguments: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_corpus(tmp_path / "out", 1, 0, **arguments)
    assert not (tmp_path / "out").exists()


def test_prompts_are_different_sentences_of_the_test_split() -> None:
    prompts = sample_prompts(30, 1)
    assert len(set(prompts)) == 30
    assert {sentence_split(p) for p in prompts} == {"test"}
    assert prompts == sample_prompts(30, 1)
    assert prompts[:5] != sample_prompts(5, 2)
    with pytest.raises(ValueError, match="count must be 1 or more"):
        sample_prompts(0, 0)


def test_any_prompt_is_synthesized_in_several_voices() -> None:
    first, second = (synthesize_prompt("good morning", voice) for voice in (0, 7))
    assert first.dtype == np.float32
    assert 0.1 < np.abs(first).max() < 1
    assert len(first) > 16000
    assert len(first) != len(second) or not np.array_equal(first, second)
    for text in ("...", "[[h@]]"):
        with pytest.raises(ValueError, match="cannot be synthesized"):
            synthesize_prompt(text, 0)
