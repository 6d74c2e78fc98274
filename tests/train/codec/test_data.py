"""Segments of speech for codecs (lip2speech/train/codec/data.py)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import lip2speech.train.codec.data
from lip2speech.audio.io import write_wav
from lip2speech.data.synthetic import synthesize_audio
from lip2speech.train.codec.data import (
    FILES_PER_VALIDATION_FILE,
    SENTENCE_SEED,
    CodecDataConfig,
    FileSource,
    SpeechSegments,
    synthesize,
    validation_files,
)
from tests.factories import prepare


def test_segments_are_scaled_speech(prepared: Path) -> None:
    speech = SpeechSegments(CodecDataConfig(prepared_dirs=(str(prepared),), seconds=0.1), "train", 16_000)
    drawn = speech.sample(6, np.random.default_rng(0))
    assert drawn.shape == (6, 1, 1600)
    assert drawn.abs().max() <= 1
    assert torch.equal(drawn, speech.sample(6, np.random.default_rng(0)))
    assert len({float(x.abs().max()) for x in drawn}) > 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"prepared_dirs": ()}, "no speech to train on; set data.prepared_dirs"),
        ({"seconds": 60.0}, "a source has .* samples, a segment 960000; add more speech"),
        ({"sampling_weights": (0.0,)}, "must have one value above 0 for each of 1 sources, got .0"),
        (
            {"sampling_weights": (0.5, 0.5)},
            "data.sampling_weights must have one value above 0 for each of 1 sources",
        ),
    ],
)
def test_invalid_sources_are_refused(prepared: Path, data: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpeechSegments(CodecDataConfig(**({"prepared_dirs": (str(prepared),)} | data)), "train", 16_000)


def test_splits_are_disjoint_and_training_folders_must_have_clips(tmp_path: Path) -> None:
    alone, short = prepare(tmp_path / "a", splits="train test"), str(prepare(tmp_path / "b", splits="train"))
    config = CodecDataConfig(
        prepared_dirs=(str(prepare(tmp_path / "all")), str(alone)), sampling_weights=(0.2, 0.8), seconds=0.1
    )
    train, valid = (SpeechSegments(config, split, 16_000) for split in ("train", "valid"))
    assert [len(s.wav) for s in train.sources] == [640 * (14 + 15 + 16), 640 * 14]
    assert [len(s.wav) for s in valid.sources] == [640 * 17]
    assert valid.weights == [1.0]
    with pytest.raises(ValueError, match="no clip of split 'valid' in .*; give folders that have some"):
        SpeechSegments(CodecDataConfig(prepared_dirs=(short,), seconds=0.1), "valid", 16_000)
    with pytest.raises(ValueError, match="no clip of split 'train'"):  # every training folder must have clips
        SpeechSegments(
            replace(config, prepared_dirs=(short, str(prepare(tmp_path / "c", splits="test")))),
            "train",
            16_000,
        )


def test_synthetic_validation_speech_has_other_utterances_of_the_same_voices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lip2speech.train.codec.data, "N_VALIDATION_SENTENCES", 2)
    known = [
        torch.cat([torch.as_tensor(wav) for wav, _, _ in synthesize_audio(2, seed)])
        for seed in (SENTENCE_SEED, SENTENCE_SEED + 1)
    ]
    found = [synthesize(2, split).float() / 32767 for split in ("train", "valid")]
    assert not torch.equal(found[0][:16_000], found[1][:16_000])
    for ours, theirs in zip(found, known, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)


def tones(folder: Path, count: int, rate: int, seconds: float = 0.5) -> Path:
    """Files of a steady tone, each of its own loudness."""
    time = torch.arange(int(seconds * rate)) / rate
    for i in range(count):
        (folder / str(i % 2)).mkdir(parents=True, exist_ok=True)
        write_wav(folder / str(i % 2) / f"{i}.wav", (i + 1) / (2 * count) * torch.sin(2000 * time), rate)
    return folder


def test_prepared_clips_are_refused_for_a_24_khz_codec(prepared: Path) -> None:
    with pytest.raises(ValueError, match="at 16000 Hz, the codec at 24000 Hz; use data.audio_dirs"):
        SpeechSegments(CodecDataConfig(prepared_dirs=(str(prepared),)), "train", 24_000)


@pytest.mark.parametrize("rate", [24_000, 44_100, 48_000])
def test_segments_of_audio_files_are_resampled_to_the_codec_rate(tmp_path: Path, rate: int) -> None:
    config = CodecDataConfig(audio_dirs=(str(tones(tmp_path, 4, rate)),), seconds=0.1, gain_jitter_db=0.0)
    drawn = SpeechSegments(config, "train", 24_000).sample(20, np.random.default_rng(0))
    assert drawn.shape == (20, 1, 2400)
    crossings = (drawn[:, 0, 1:-1].sign().diff(dim=-1) != 0).sum(-1)
    assert (crossings - 2 * 2000 / (2 * np.pi) * 0.1).abs().max() <= 2  # the tone's own pitch
    loudness = drawn.abs().amax(-1).flatten().tolist()
    assert len({round(x, 1) for x in loudness}) == 3  # of four files one is held out


def test_training_uses_no_validation_file(tmp_path: Path) -> None:
    folder = tones(tmp_path, 7, 16_000)
    train, valid = (FileSource(folder, split, 16_000, 800).paths for split in ("train", "valid"))
    assert len(valid) == 1
    assert len(train) == 6
    assert not set(train) & set(valid)
    names = [folder / f"{i}.wav" for i in range(3 * FILES_PER_VALIDATION_FILE + 1)]
    assert len(validation_files(names, folder)) == 4
    assert set(validation_files(names[::-1], folder)) == set(validation_files(names, folder))


def test_files_are_sampled_in_proportion_to_their_length(tmp_path: Path) -> None:
    for name, samples in (("a", 3200), ("b", 3200), ("long", 160_000), ("short", 100)):
        write_wav(tmp_path / f"{name}.wav", torch.ones(samples) / 2, 16_000)
    source = FileSource(tmp_path, "train", 16_000, 1600)
    probabilities = dict(zip((p.stem for p in source.paths), source.probabilities, strict=True))
    assert set(probabilities) == {
        "a",
        "b",
        "long",
    }  # one is too short, and its hash makes it the validation file
    assert probabilities["long"] == pytest.approx(160 / 166.4)


def test_recordings_of_a_lower_rate_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is at 16000 Hz, the codec at 24000 Hz; use recordings"):
        SpeechSegments(CodecDataConfig(audio_dirs=(str(tones(tmp_path, 3, 16_000)),)), "train", 24_000)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_text("not audio")
    with pytest.raises(ValueError, match="x.wav cannot be read as audio"):
        FileSource(tmp_path, "valid", 16_000, 100)


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none of its 0 audio files .* add more speech"):
        FileSource(tmp_path, "train", 16_000, 100)
