"""Masked batches and stored clusters (lip2speech/train/pretrain/data.py)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lip2speech.data.dataset import Clip, read_clips
from lip2speech.data.loader import IGNORE_INDEX
from lip2speech.data.unit_tokenizers import load_unit_tokenizer
from lip2speech.models.frontends.filterbanks import stacked_filterbanks
from lip2speech.train.pretrain import data
from lip2speech.train.pretrain.data import extract_clusters
from lip2speech.train.pretrain.task import PretrainTask
from tests.train.pretrain.conftest import batch_of, unaugmented


def test_the_cluster_of_a_frame_is_the_first_unit_of_its_time(prepared: Path, units: str) -> None:
    clips, teacher = read_clips([prepared], "train"), load_unit_tokenizer(units)
    found = extract_clusters(clips, teacher)
    for clip, clusters in zip(clips, found, strict=True):
        assert len(clusters) == clip.n_frames
        assert clusters.tolist() == [int(teacher(clip.wav())[2 * t]) for t in range(clip.n_frames)]


def test_stored_clusters_are_reused_for_the_same_clips_and_tokenizer_only(
    prepared: Path, units: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, teacher = read_clips([prepared], "train"), load_unit_tokenizer(units)
    first = extract_clusters(clips, teacher, tmp_path / "kept.safetensors")
    computed: list[Clip] = []
    make = data.clip_clusters
    monkeypatch.setattr(data, "clip_clusters", lambda clip, t: (computed.append(clip), make(clip, t))[1])
    again = extract_clusters(clips, teacher, tmp_path / "kept.safetensors")
    assert not computed
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    teacher.centroids = teacher.centroids.flip(0)
    other = extract_clusters(clips, teacher, tmp_path / "kept.safetensors")
    assert computed == clips
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert len(extract_clusters(clips[:2], teacher, tmp_path / "kept.safetensors")) == 2


def test_a_clip_whose_audio_and_video_differ_in_length_is_refused_by_name(prepared: Path, units: str) -> None:
    clip = read_clips([prepared], "train")[0]
    with pytest.raises(ValueError, match=r"clip0: 14 crops and 8960 samples, expected 15 and 9600"):
        extract_clusters([replace(clip, n_frames=15)], load_unit_tokenizer(units))


def test_masked_frames_are_substituted_by_others_of_the_clip_and_the_rest_is_unchanged(
    task: PretrainTask,
) -> None:
    batch = unaugmented(task).collate([0, 3], np.random.default_rng(0))
    assert batch.video_mask.any()
    assert not batch.video_mask[batch.padding_mask].any()
    for row, i in enumerate([0, 3]):
        own = task.config.transform(task.train_set.clips[i].tensors()["roi"])[0, 0]
        for t, hidden in enumerate(batch.video_mask[row, : len(own)].tolist()):
            same = [k for k, frame in enumerate(own) if torch.equal(frame, batch.video[row, 0, t])]
            assert len(same) == 1
            assert (same[0] != t) == hidden


def test_audio_and_clusters_are_not_moved_by_masking(task: PretrainTask) -> None:
    batch = unaugmented(task).collate([0, 3], np.random.default_rng(0))
    for row, i in enumerate([0, 3]):
        clip = task.train_set.clips[i]
        assert torch.equal(batch.audio[row, :, : clip.n_frames], stacked_filterbanks(clip.wav()))
        assert torch.equal(batch.clusters[row, : clip.n_frames], task.train_set.clusters[i].long())
        assert (batch.clusters[row, clip.n_frames :] == IGNORE_INDEX).all()


def test_video_and_audio_are_masked_independently(task: PretrainTask) -> None:
    batch = batch_of(task)
    assert not torch.equal(batch.video_mask, batch.audio_mask)
    assert torch.equal(batch.masked(), batch.video_mask | batch.audio_mask)
    silent = unaugmented(task, audio_mask=replace(task.config.audio_mask, mask_prob=0.0))
    batch = silent.collate([0, 1], np.random.default_rng(0))
    assert batch.video_mask.any()
    assert not batch.audio_mask.any()


def test_a_long_clip_is_cropped_to_a_random_span(task: PretrainTask) -> None:
    short = unaugmented(task, max_frames=8, video_mask=replace(task.config.video_mask, mask_prob=0.0))
    own = task.config.transform(task.train_set.clips[0].tensors()["roi"])[0, 0]
    starts = set()
    for seed in range(20):
        batch = short.collate([0], np.random.default_rng(seed))
        start = next(k for k, frame in enumerate(own) if torch.equal(frame, batch.video[0, 0, 0]))
        assert torch.equal(batch.video[0, 0], own[start : start + 8])
        assert torch.equal(batch.clusters[0], task.train_set.clusters[0][start : start + 8].long())
        starts.add(start)
    assert len(starts) > 3
    assert max(starts) <= 14 - 8
