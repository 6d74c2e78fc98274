"""Segments that vocoders learn from, and what makes them poor (lip2speech/train/vocoder/data.py)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lip2speech.models.speaker_encoder import LTASSpeakerEncoder
from lip2speech.train.vocoder.data import STRETCH, VocoderDataset, smear, swap
from tests.factories import prepare


class Steps:
    """A unit teacher that numbers the units of a sound."""

    n_units, rate, fingerprint = 1000, 50, "steps"

    def __call__(self, wav: Tensor) -> Tensor:
        return torch.arange(len(wav) // 320)


def sounds(folder: Path, frames: int, units: Steps | None = None, split: str = "train") -> VocoderDataset:
    return VocoderDataset((str(folder),), split, frames, LTASSpeakerEncoder(), units)


def test_a_segments_mel_is_that_of_its_sound(prepared: Path) -> None:
    found = sounds(prepared, 40)
    drawn = found.draw(3, np.random.default_rng(0))
    assert (drawn.wav.shape, drawn.mel.shape, drawn.speaker.shape) == ((3, 6400), (3, 80, 40), (3, 163))
    assert drawn.units is None
    for i, target in enumerate(found.targets):  # each segment is found in its clip, at one and the same place
        whole = found.wavs[i].float() / 32768.0
        segment, cut, _ = found.segment(i, np.random.default_rng(i))
        starts = [
            s for s in range(target.mel.shape[1] - 39) if torch.equal(target.mel[:, s : s + 40].float(), cut)
        ]
        assert any(torch.equal(whole[160 * s : 160 * s + 6400], segment) for s in starts)


def test_a_segments_units_are_those_of_its_sound(prepared: Path) -> None:
    found = sounds(prepared, 6, Steps())
    starts = set()
    for seed in range(20):
        wav, mel, units = found.segment(0, np.random.default_rng(seed))
        assert units is not None and len(units) == 3
        first = int(units[0])
        assert torch.equal(units, first + torch.arange(3))
        assert torch.equal(wav, found.wavs[0][320 * first : 320 * first + 960].float() / 32768.0)
        assert torch.equal(mel, found.targets[0].mel[:, 2 * first : 2 * first + 6].float())
        starts.add(first)
    assert {min(starts), max(starts)} <= set(range(26)) and len(starts) > 8  # 14 frames have 28 units
    drawn = found.draw(4, np.random.default_rng(0))
    assert drawn.units is not None and drawn.units.shape == (4, 3)
    single = list(drawn.single())
    assert [one.mel.shape for one in single] == [(1, 80, 6)] * 4
    assert torch.equal(torch.cat([one.units for one in single if one.units is not None]), drawn.units)


def test_the_voice_is_told_by_another_clip_of_the_speaker(prepared: Path) -> None:
    found = sounds(prepared, 6)
    owner = {tuple(voice.tolist()): i for i, voice in enumerate(found.voices)}
    drawn = found.draw(5, np.random.default_rng(0))
    assert len(drawn.mel) == len(owner) == 5  # every clip once, in some order
    told = [owner[tuple(voice.tolist())] for voice in drawn.speaker]
    order = np.random.default_rng(0).choice(5, 5, replace=False)
    for i, j in zip(order, told, strict=True):
        assert i != j and found.clips[i].speaker == found.clips[j].speaker


def test_clips_shorter_than_a_segment_are_left_out(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "clips", splits="train train train", frames=14)
    assert [clip.n_frames for clip in sounds(folder, 60).clips] == [15, 16]
    with pytest.raises(ValueError, match="no clip of split 'train'"):
        sounds(folder, 80)


def test_smeared_mels_keep_their_level_and_lose_their_edges() -> None:
    torch.manual_seed(0)
    mel = torch.zeros(3, 80, 40)
    mel[:, 30:50, 10:30] = 4.0
    soft = smear(mel, 2.0, 0.0)
    assert soft.shape == mel.shape
    torch.testing.assert_close(soft[:, 40, 20], mel[:, 40, 20], atol=1e-2, rtol=0)
    edges = [float(x.diff(dim=1).abs().max()) for x in soft]
    assert min(edges) < 2 and max(edges) < 4.01
    assert len(set(edges)) == 3  # each has its own share
    rough = smear(mel, 0.0, 1.0)
    assert 0 < (rough - mel).std() < 1 and abs(float((rough - mel).mean())) < 0.02
    assert torch.equal(smear(mel, 0.0, 0.0), mel)


def test_swapped_units_are_said_elsewhere_in_whole_stretches() -> None:
    torch.manual_seed(0)
    units = torch.arange(64 * 20).view(64, 20)  # every unit tells where it was said
    said = swap(units, 1.0)
    wrong = said != units
    whole = wrong.view(64, -1, STRETCH)
    assert torch.equal(whole.any(-1), whole.all(-1))
    inner = said.view(64, -1, STRETCH)
    steps = inner.diff(dim=-1) % (64 * 20)
    assert (steps == 1).all()  # a stretch goes on as it did where it was taken from
    rows = whole.any(-1).float().mean(1)
    assert 0.4 < rows.mean() < 0.6 and rows.min() < 0.2 and rows.max() > 0.8  # each row has its own share
    beside = ((said - units).abs() == STRETCH)[wrong].float().mean()
    assert 0.4 < beside < 0.6


def test_no_unit_is_swapped_unasked() -> None:
    units = torch.arange(30).view(3, 10)
    assert torch.equal(swap(units, 0.0), units)


@pytest.mark.parametrize("steps", [1, 3, 6, 7])
def test_segments_of_any_length_are_swapped_among_themselves(steps: int) -> None:
    torch.manual_seed(0)
    units = torch.randint(5, 9, (4, steps))
    for _ in range(20):
        said = swap(units, 1.0)
        assert said.shape == units.shape and set(said.flatten().tolist()) <= set(units.flatten().tolist())
