"""Segments for vocoder training and their degradation (lip2speech/train/vocoder/data.py)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lip2speech.models.speaker_encoder import LTASSpeakerEncoder
from lip2speech.train.vocoder.data import SPAN_UNITS, VocoderDataset, blur_and_noise_mel, corrupt_units
from tests.factories import prepare


class Steps:
    """A unit tokenizer that numbers the units of a clip."""

    n_units, rate, fingerprint = 1000, 50, "steps"

    def __call__(self, wav: Tensor) -> Tensor:
        return torch.arange(len(wav) // 320)


def dataset(folder: Path, frames: int, units: Steps | None = None, split: str = "train") -> VocoderDataset:
    return VocoderDataset((str(folder),), split, frames, LTASSpeakerEncoder(), units)


def test_a_segments_mel_matches_its_audio(prepared: Path) -> None:
    found = dataset(prepared, 40)
    batch = found.sample(3, np.random.default_rng(0))
    assert (batch.wav.shape, batch.mel.shape, batch.speaker.shape) == ((3, 6400), (3, 80, 40), (3, 163))
    assert batch.units is None
    for i, target in enumerate(found.targets):  # each segment is found in its clip, at one and the same place
        wav = found.wavs[i].float() / 32768.0
        segment, cut, _ = found.segment(i, np.random.default_rng(i))
        starts = [
            s for s in range(target.mel.shape[1] - 39) if torch.equal(target.mel[:, s : s + 40].float(), cut)
        ]
        assert any(torch.equal(wav[160 * s : 160 * s + 6400], segment) for s in starts)


def test_a_segments_units_match_its_audio(prepared: Path) -> None:
    found = dataset(prepared, 6, Steps())
    starts = set()
    for seed in range(20):
        wav, mel, units = found.segment(0, np.random.default_rng(seed))
        assert units is not None
        assert len(units) == 3
        first = int(units[0])
        assert torch.equal(units, first + torch.arange(3))
        assert torch.equal(wav, found.wavs[0][320 * first : 320 * first + 960].float() / 32768.0)
        assert torch.equal(mel, found.targets[0].mel[:, 2 * first : 2 * first + 6].float())
        starts.add(first)
    assert {min(starts), max(starts)} <= set(range(26))
    assert len(starts) > 8
    batch = found.sample(4, np.random.default_rng(0))
    assert batch.units is not None
    assert batch.units.shape == (4, 3)
    single = list(batch.split_items())
    assert [one.mel.shape for one in single] == [(1, 80, 6)] * 4
    assert torch.equal(torch.cat([one.units for one in single if one.units is not None]), batch.units)


def test_the_speaker_embedding_comes_from_another_clip_of_the_speaker(prepared: Path) -> None:
    found = dataset(prepared, 6)
    owner = {tuple(voice.tolist()): i for i, voice in enumerate(found.speakers)}
    batch = found.sample(5, np.random.default_rng(0))
    assert len(batch.mel) == len(owner) == 5  # every clip once, in some order
    sources = [owner[tuple(voice.tolist())] for voice in batch.speaker]
    order = np.random.default_rng(0).choice(5, 5, replace=False)
    for i, j in zip(order, sources, strict=True):
        assert i != j
        assert found.clips[i].speaker == found.clips[j].speaker


def test_clips_shorter_than_a_segment_are_left_out(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "clips", splits="train train train", frames=14)
    assert [clip.n_frames for clip in dataset(folder, 60).clips] == [15, 16]
    with pytest.raises(ValueError, match="no clip of split 'train'"):
        dataset(folder, 80)


def test_degraded_mels_keep_their_level_and_lose_their_edges() -> None:
    torch.manual_seed(0)
    mel = torch.zeros(3, 80, 40)
    mel[:, 30:50, 10:30] = 4.0
    soft = blur_and_noise_mel(mel, 2.0, 0.0)
    assert soft.shape == mel.shape
    torch.testing.assert_close(soft[:, 40, 20], mel[:, 40, 20], atol=1e-2, rtol=0)
    edges = [float(x.diff(dim=1).abs().max()) for x in soft]
    assert min(edges) < 2
    assert max(edges) < 4.01
    assert len(set(edges)) == 3  # the blur differs between items
    rough = blur_and_noise_mel(mel, 0.0, 1.0)
    assert 0 < (rough - mel).std() < 1
    assert abs(float((rough - mel).mean())) < 0.02
    assert torch.equal(blur_and_noise_mel(mel, 0.0, 0.0), mel)


def test_units_are_substituted_in_whole_spans_from_elsewhere() -> None:
    torch.manual_seed(0)
    units = torch.arange(64 * 20).view(64, 20)  # each unit encodes its position
    result = corrupt_units(units, 1.0)
    wrong = result != units
    spans = wrong.view(64, -1, SPAN_UNITS)
    assert torch.equal(spans.any(-1), spans.all(-1))
    inner = result.view(64, -1, SPAN_UNITS)
    steps = inner.diff(dim=-1) % (64 * 20)
    assert (steps == 1).all()  # a span is copied as a whole
    rows = spans.any(-1).float().mean(1)
    assert 0.4 < rows.mean() < 0.6
    assert rows.min() < 0.2
    assert rows.max() > 0.8
    neighbor = ((result - units).abs() == SPAN_UNITS)[wrong].float().mean()
    assert 0.4 < neighbor < 0.6


def test_a_probability_of_0_substitutes_nothing() -> None:
    units = torch.arange(30).view(3, 10)
    assert torch.equal(corrupt_units(units, 0.0), units)


@pytest.mark.parametrize("steps", [1, 3, 6, 7])
def test_substitutes_come_from_the_batch_for_any_length(steps: int) -> None:
    torch.manual_seed(0)
    units = torch.randint(5, 9, (4, steps))
    for _ in range(20):
        result = corrupt_units(units, 1.0)
        assert result.shape == units.shape
        assert set(result.flatten().tolist()) <= set(units.flatten().tolist())
