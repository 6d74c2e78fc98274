"""Batches of clips and targets (lip2speech/data/loader.py)."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from lip2speech.data.augment import AugmentConfig
from lip2speech.data.dataset import Clip, read_clips
from lip2speech.data.loader import IGNORE_INDEX, BatchCollator
from lip2speech.data.targets import TargetExtractor, Targets, extract_targets
from lip2speech.models.frontends.transforms import Transform
from tests.data.test_unit_tokenizers import make_mfcc_tokenizer
from tests.factories import make_codec, prepare

Pool = tuple[list[Clip], list[Targets]]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """Five clips of two speakers, 14 to 18 frames."""
    folder = prepare(tmp_path_factory.mktemp("batch") / "clips", splits="train " * 5)
    clips = read_clips([folder], "train")
    return clips, extract_targets(clips, TargetExtractor(make_mfcc_tokenizer(), make_codec(), pitch=True))


def batches(pool: Pool, config: AugmentConfig | None = None, **options: object) -> BatchCollator:
    return BatchCollator(*pool, config=config, transform=Transform(), **options)  # type: ignore[arg-type]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_clips_are_padded_to_the_longest(pool: Pool) -> None:
    batch = batches(pool).collate([0, 3, 1], rng())
    assert batch.video.shape == (3, 1, 17, 88, 88)
    assert batch.lengths().tolist() == [14, 17, 15]
    assert batch.mel.shape == (3, 80, 68)
    assert batch.units is not None
    assert batch.units.shape == (3, 34)
    assert batch.codes is not None
    assert batch.codes.shape == (3, 2, 34)
    assert batch.mask().shape == (3, 1, 68)
    assert batch.mask().sum((1, 2)).tolist() == [56, 68, 60]


def test_without_augmentation_a_clip_is_unchanged(pool: Pool) -> None:
    clips, targets = pool
    batch = batches(pool).collate([0, 3], rng())
    torch.testing.assert_close(batch.video[:1, :, :14], Transform()(clips[0].tensors()["roi"]))
    assert torch.equal(batch.mel[0, :, :56], targets[0].mel.float())
    assert torch.equal(batch.units[0, :28], targets[0].units)
    assert torch.equal(batch.codes[1], targets[3].codes)


def test_padding_is_zero_in_video_and_ignored_in_targets(pool: Pool) -> None:
    batch = batches(pool, AugmentConfig()).collate([0, 3], rng())
    padded = int(batch.lengths().min())
    short = int(batch.lengths().argmin())
    assert not batch.video[short, :, padded:].any()
    assert (batch.units[short, 2 * padded :] == IGNORE_INDEX).all()
    assert (batch.codes[short, :, 2 * padded :] == IGNORE_INDEX).all()
    assert (batch.units[short, : 2 * padded] != IGNORE_INDEX).all()


def test_the_speaker_embedding_is_of_another_clip_of_the_speaker(pool: Pool) -> None:
    _, targets = pool
    for seed in range(8):
        speaker = batches(pool).collate([0, 1], rng(seed)).speaker
        assert any(torch.equal(speaker[0], targets[i].speaker) for i in (2, 4))
        assert torch.equal(speaker[1], targets[3].speaker)


def test_a_speaker_with_one_clip_uses_its_embedding(pool: Pool) -> None:
    clips, targets = pool
    one = (clips[:2], targets[:2])
    assert torch.equal(batches(one).collate([0], rng()).speaker[0], targets[0].speaker)


def test_speed_perturbation_keeps_all_targets_aligned(pool: Pool) -> None:
    data = batches(pool, AugmentConfig(speed=0.3))
    lengths = set()
    for seed in range(12):
        roi, targets = data.load_clip(0, rng(seed))
        lengths.add(len(roi))
        assert targets.mel.shape == (80, 4 * len(roi))
        assert targets.units.shape == (2 * len(roi),)
        assert targets.codes.shape == (2, 2 * len(roi))
    assert min(lengths) < 14 < max(lengths)


def test_a_seed_determines_the_batch(pool: Pool) -> None:
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(batches(pool, AugmentConfig()).sample(3, rng(3)))
    assert torch.equal(drawn[0].video, drawn[1].video)
    assert torch.equal(drawn[0].mel, drawn[1].mel)


def test_clips_are_drawn_without_replacement(pool: Pool) -> None:
    mels = batches(pool).sample(5, rng()).mel
    assert len({float(m.sum()) for m in mels}) == 5


def test_a_batch_may_be_larger_than_the_corpus(pool: Pool) -> None:
    assert len(batches(pool).sample(9, rng()).mel) == 9


def test_sampling_weights_are_the_shares_of_the_folders(pool: Pool, tmp_path: Path) -> None:
    clips, targets = pool
    other = read_clips([prepare(tmp_path / "other", splits="train")], "train")
    both = (
        [*clips, *other],
        [*targets, *extract_targets(other, TargetExtractor(make_mfcc_tokenizer(), make_codec()))],
    )
    assert batches(both).probabilities.tolist() == pytest.approx([1 / 6] * 6)
    assert batches(both, sampling_weights=(0.5, 0.5)).probabilities.tolist() == pytest.approx(
        [0.1] * 5 + [0.5]
    )
    with pytest.raises(ValueError, match="1 sampling weights for 2 folders with clips"):
        batches(both, sampling_weights=(1.0,))


def test_targets_without_an_extractor_are_none(pool: Pool) -> None:
    clips, _ = pool
    batch = batches((clips, extract_targets(clips, TargetExtractor(None, None)))).collate([0, 1], rng())
    assert batch.units is None
    assert batch.codes is None
    assert batch.pitch is None


def test_vtlp_changes_audio_targets_and_speaker_embedding_but_not_video(pool: Pool) -> None:
    still = {f.name: type(f.default)(0) for f in fields(AugmentConfig)}
    same, other = (batches(pool, AugmentConfig(**still | {"vtlp": t})) for t in (0.0, 0.2))
    torch.manual_seed(0)
    plain = same.collate(range(5), rng())
    torch.manual_seed(0)
    found = other.collate(range(5), rng())
    assert torch.equal(found.video, plain.video)
    assert found.units is not None
    assert found.codes is not None
    changed = (found.mel != plain.mel).flatten(1).any(1)
    assert changed.any()
    assert not changed.all()
    assert found.pitch is not None
    assert plain.pitch is not None
    higher = (found.pitch - plain.pitch)[:, 0, : 4 * 14]  # as long as the shortest
    assert torch.equal((higher.abs() > 1e-4).all(1), changed)
    assert higher.std(1).max() < 1e-5
    assert torch.equal(found.pitch[:, 1], plain.pitch[:, 1])
    assert torch.equal((found.units == IGNORE_INDEX).all(1), changed)
    assert torch.equal((found.codes == IGNORE_INDEX).flatten(1).all(1), changed)
    voices = {tuple(t.speaker.tolist()) for t in pool[1]}  # which utterance stands for a voice is drawn
    assert [tuple(v) not in voices for v in found.speaker.tolist()] == changed.tolist()
