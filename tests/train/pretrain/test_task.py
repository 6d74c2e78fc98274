"""Pretraining of AV-HuBERT (lip2speech/train/pretrain/task.py, pretrain_data.py) with very small numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lip2speech import checkpoint
from lip2speech.config import from_dict
from lip2speech.data.dataset import Clip, read_clips
from lip2speech.data.loader import IGNORE_INDEX
from lip2speech.data.unit_tokenizers import load_unit_tokenizer
from lip2speech.models.frontends.avhubert import avhubert_from_checkpoint
from lip2speech.models.frontends.filterbanks import stacked_filterbanks
from lip2speech.models.lip2speech import LipModel, ModelConfig
from lip2speech.train.core.pretrained import init_from_checkpoint
from lip2speech.train.core.trainer import Trainer
from lip2speech.train.kmeans import KMeansConfig, fit_kmeans
from lip2speech.train.pretrain.data import MaskedAVDataset, MaskedBatch, clusters_of
from lip2speech.train.pretrain.task import AVHubertPretrainModel, PretrainConfig, PretrainTask, masked_loss
from tests.factories import MODEL, prepare

FRONTEND = MODEL["frontend"] | {
    "stem_stride": 4, "embed_dim": 32, "ffn_dim": 64, "dropout": 0.0, "attention_dropout": 0.0,
    "dropout_input": 0.0,
}  # fmt: skip
N_UNITS = 6


@pytest.fixture(scope="module")
def units(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Units of cepstra, 50 a second."""
    folder = tmp_path_factory.mktemp("units") / "units"
    fit_kmeans(KMeansConfig(train_data=(str(prepared),), n_units=N_UNITS), folder)
    return str(folder)


def config(prepared: Path, units: str, **changes: Any) -> PretrainConfig:
    numbers: dict[str, Any] = {
        "frontend": FRONTEND,
        "train_data": [str(prepared)],
        "iterations": [{"n_units": N_UNITS, "unit_tokenizer": units}],
        "trainer": {"steps": 4, "batch_size": 2, "save_every": 2, "valid_every": 4},
        "optimizer": {"lr": 3e-3, "warmup_steps": 1},
        "final_dim": 16,
    }
    return from_dict(PretrainConfig, numbers | changes)


@pytest.fixture(scope="module")
def task(prepared: Path, units: str) -> PretrainTask:
    """A task that no test trains."""
    return PretrainTask(config(prepared, units))


def batch_of(task: PretrainTask, seed: int = 0) -> MaskedBatch:
    torch.manual_seed(seed)
    return task.train_set.collate([0, 3], np.random.default_rng(seed))


def plain(task: PretrainTask, **changes: Any) -> MaskedAVDataset:
    """The training clips without random crops; `changes` replace masks."""
    numbers: dict[str, Any] = {
        "transform": task.config.transform, "video_mask": task.config.video_mask,
        "audio_mask": task.config.audio_mask, "max_frames": 400, "random": False,
    }  # fmt: skip
    return MaskedAVDataset(task.train_set.clips, task.train_set.clusters, **numbers | changes)


def test_each_frame_has_the_first_unit_of_its_time(prepared: Path, units: str) -> None:
    clips, teacher = read_clips([prepared], "train"), load_unit_tokenizer(units)
    found = clusters_of(clips, teacher)
    for clip, clusters in zip(clips, found, strict=True):
        assert len(clusters) == clip.n_frames
        assert clusters.tolist() == [int(teacher(clip.wav())[2 * t]) for t in range(clip.n_frames)]


def test_clusters_are_kept_and_made_anew_for_another_teacher(
    prepared: Path, units: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, teacher = read_clips([prepared], "train"), load_unit_tokenizer(units)
    first = clusters_of(clips, teacher, tmp_path / "kept.safetensors")
    taught: list[Clip] = []
    from lip2speech.train.pretrain import data as pretrain_data

    make = pretrain_data.clusters_of_clip
    monkeypatch.setattr(
        pretrain_data, "clusters_of_clip", lambda clip, t: (taught.append(clip), make(clip, t))[1]
    )
    again = clusters_of(clips, teacher, tmp_path / "kept.safetensors")
    assert not taught and all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    teacher.centroids = teacher.centroids.flip(0)
    other = clusters_of(clips, teacher, tmp_path / "kept.safetensors")
    assert taught == clips and not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert len(clusters_of(clips[:2], teacher, tmp_path / "kept.safetensors")) == 2


def test_a_clip_whose_sound_has_another_length_is_named(prepared: Path, units: str) -> None:
    clip = read_clips([prepared], "train")[0]
    with pytest.raises(ValueError, match=r"clip0: 14 crops and 8960 samples, expected 15 and 9600"):
        clusters_of([replace(clip, n_frames=15)], load_unit_tokenizer(units))


def test_hidden_pictures_are_others_of_the_clip_and_the_rest_is_in_its_place(task: PretrainTask) -> None:
    batch = plain(task).collate([0, 3], np.random.default_rng(0))
    assert batch.video_mask.any() and not batch.video_mask[batch.padding_mask].any()
    for row, i in enumerate([0, 3]):
        own = task.config.transform(task.train_set.clips[i].tensors()["roi"])[0, 0]
        for t, hidden in enumerate(batch.video_mask[row, : len(own)].tolist()):
            same = [k for k, frame in enumerate(own) if torch.equal(frame, batch.video[row, 0, t])]
            assert len(same) == 1 and (same[0] != t) == hidden


def test_sound_and_clusters_stay_in_their_place(task: PretrainTask) -> None:
    batch = plain(task).collate([0, 3], np.random.default_rng(0))
    for row, i in enumerate([0, 3]):
        clip = task.train_set.clips[i]
        assert torch.equal(batch.audio[row, :, : clip.n_frames], stacked_filterbanks(clip.wav()))
        assert torch.equal(batch.clusters[row, : clip.n_frames], task.train_set.clusters[i].long())
        assert (batch.clusters[row, clip.n_frames :] == IGNORE_INDEX).all()


def test_lips_and_sound_have_masks_of_their_own(task: PretrainTask) -> None:
    batch = batch_of(task)
    assert not torch.equal(batch.video_mask, batch.audio_mask)
    assert torch.equal(batch.masked(), batch.video_mask | batch.audio_mask)
    silent = plain(task, audio_mask=replace(task.config.audio_mask, mask_prob=0.0))
    batch = silent.collate([0, 1], np.random.default_rng(0))
    assert batch.video_mask.any() and not batch.audio_mask.any()


def test_a_long_clip_gives_a_stretch_that_moves(task: PretrainTask) -> None:
    short = plain(task, max_frames=8, video_mask=replace(task.config.video_mask, mask_prob=0.0))
    own = task.config.transform(task.train_set.clips[0].tensors()["roi"])[0, 0]
    starts = set()
    for seed in range(20):
        batch = short.collate([0], np.random.default_rng(seed))
        start = next(k for k, frame in enumerate(own) if torch.equal(frame, batch.video[0, 0, 0]))
        assert torch.equal(batch.video[0, 0], own[start : start + 8])
        assert torch.equal(batch.clusters[0], task.train_set.clusters[0][start : start + 8].long())
        starts.add(start)
    assert len(starts) > 3 and max(starts) <= 14 - 8


def test_masked_sound_is_not_heard(task: PretrainTask) -> None:
    model, batch = task.ema_model(), batch_of(task)
    other = batch.audio.clone()
    other[batch.audio_mask[:, None].expand_as(other)] = 7.0
    features = model(batch, (True, False))[0]
    assert torch.equal(features, model(replace(batch, audio=other), (True, False))[0])
    assert not torch.allclose(features, model(replace(batch, audio=-batch.audio), (True, False))[0])


def test_a_stream_that_is_dropped_is_as_one_that_is_not_there(task: PretrainTask) -> None:
    model, batch = task.ema_model(), batch_of(task)
    batch = replace(batch, audio_mask=torch.zeros_like(batch.audio_mask))
    front, padding = model.frontend, batch.padding_mask
    torch.testing.assert_close(model(batch, (False, True))[0], front(batch.video, None, padding))
    torch.testing.assert_close(model(batch, (True, False))[0], front(None, batch.audio, padding))
    torch.testing.assert_close(model(batch, (True, True))[0], front(batch.video, batch.audio, padding))


def test_streams_are_dropped_as_often_as_asked(prepared: Path, units: str, task: PretrainTask) -> None:
    drawn = [task.streams(np.random.default_rng(seed)) for seed in range(2000)]
    shares = [drawn.count(streams) / 2000 for streams in ((True, True), (False, True), (True, False))]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.03)
    task = PretrainTask(config(prepared, units, modality_dropout=0.4, audio_dropout=0.75))
    drawn = [task.streams(np.random.default_rng(seed)) for seed in range(2000)]
    shares = [drawn.count(streams) / 2000 for streams in ((True, True), (False, True), (True, False))]
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.03)


def test_the_loss_counts_masked_frames_alone(task: PretrainTask) -> None:
    batch = batch_of(task)
    logits = torch.randn(*batch.clusters.shape, N_UNITS, requires_grad=True)
    loss = masked_loss(logits, batch)
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad.abs().sum(-1) > 0, batch.masked())
    torch.testing.assert_close(loss, F.cross_entropy(logits[batch.masked()], batch.clusters[batch.masked()]))


def test_unmasked_frames_count_as_much_as_their_weight(task: PretrainTask) -> None:
    batch = batch_of(task)
    logits, seen = torch.randn(*batch.clusters.shape, N_UNITS), ~batch.masked() & ~batch.padding_mask
    hidden, rest = (
        F.cross_entropy(logits[which], batch.clusters[which], reduction="sum")
        for which in (batch.masked(), seen)
    )
    expected = (hidden + 0.5 * rest) / int((~batch.padding_mask).sum())
    torch.testing.assert_close(masked_loss(logits, batch, 0.5), expected)
    assert seen.any()


def test_less_gradient_comes_back_from_the_streams(prepared: Path, units: str) -> None:
    grads = []
    for scale in (1.0, 0.1):
        task = PretrainTask(config(prepared, units, feature_grad_mult=scale))
        task.losses(task.model.eval(), batch_of(task), (True, True))[0].backward()
        front = task.model.frontend
        grads.append(
            [p.grad for p in (front.video_proj.weight, front.audio_proj.weight, front.fusion_proj.weight)]
        )
    torch.testing.assert_close(0.1 * grads[0][0], grads[1][0])
    torch.testing.assert_close(0.1 * grads[0][1], grads[1][1])
    torch.testing.assert_close(grads[0][2], grads[1][2])


def test_loud_streams_are_punished(prepared: Path, units: str) -> None:
    losses = []
    for penalty in (0.0, 10.0):
        task = PretrainTask(config(prepared, units, feature_penalty=penalty))
        loss, logs = task.losses(task.model.eval(), batch_of(task), (True, True))
        losses.append(loss.item())
    assert losses[1] - losses[0] == pytest.approx(10 * logs["features"], rel=1e-4)
    front, batch = task.model.frontend, batch_of(task)
    kept, audio = (
        ~batch.padding_mask,
        torch.where(batch.audio_mask[:, None], task.model.clusters.mask_embedding[:, None], batch.audio),
    )
    both = torch.cat([front.audio_features(audio)[kept], front.video_features(batch.video, ~kept)[kept]], -1)
    assert logs["features"] == pytest.approx(both.square().mean().item(), rel=1e-4)


def test_masked_clusters_are_learned_well_above_chance(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "clips", splits="train train valid", frames=14)
    fit_kmeans(KMeansConfig(train_data=(str(folder),), n_units=N_UNITS), tmp_path / "units")
    numbers = config(
        folder, str(tmp_path / "units"), trainer={"steps": 400, "batch_size": 2}, modality_dropout=0.0,
        optimizer={"lr": 6e-3, "warmup_steps": 5}, audio_mask={"mask_prob": 0.6, "mask_length": 4}, feature_grad_mult=1.0,
        feature_penalty=0.0,
    )  # fmt: skip
    task = PretrainTask(numbers)
    rows = [task.training_step(step) for step in range(70)]
    clusters = torch.cat(task.train_set.clusters)
    chance = clusters.bincount().max().item() / len(clusters)
    assert np.mean([row["acc"] for row in rows[-10:]]) > chance + 0.25
    assert np.mean([row["loss"] for row in rows[-10:]]) < 0.5 * rows[0]["loss"]


def test_a_run_resumes_to_the_same_bits(prepared: Path, units: str, tmp_path: Path) -> None:
    numbers = config(prepared, units, max_frames_per_batch=40, frontend=FRONTEND | {"dropout": 0.1})
    Trainer(numbers.trainer, tmp_path / "whole", quiet=True).fit(PretrainTask(numbers))
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "step-00000002.pt").rename(tmp_path / "half" / "step-00000002.pt")
    Trainer(numbers.trainer, tmp_path / "half", quiet=True).fit(PretrainTask(numbers))
    whole, half = (checkpoint.load(tmp_path / name / "final") for name in ("whole", "half"))
    assert all(torch.equal(tensor, half.tensors[name]) for name, tensor in whole.tensors.items())


def test_what_is_exported_is_taken_by_finetuning_and_by_kmeans(
    prepared: Path, units: str, tmp_path: Path
) -> None:
    task = PretrainTask(config(prepared, units))
    task.training_step(0)
    task.export(tmp_path / "final")
    front = task.ema_model().frontend
    model = LipModel(from_dict(ModelConfig, MODEL | {"frontend": FRONTEND}))
    assert not init_from_checkpoint(model, tmp_path / "final")
    assert torch.equal(model.frontend.video_proj.weight, front.video_proj.weight)
    kmeans = {"features": "avhubert", "model": str(tmp_path / "final"), "feature_layer": 1}
    fit_kmeans(
        from_dict(KMeansConfig, {"train_data": [str(prepared)], "n_units": 4} | kmeans), tmp_path / "next"
    )
    assert load_unit_tokenizer(tmp_path / "next").rate == 25
    stored = checkpoint.load(tmp_path / "final")
    held = task.held_out[0]
    read, _ = avhubert_from_checkpoint(stored)
    assert torch.equal(read(held.video, held.audio), front(held.video, held.audio))
    restored = AVHubertPretrainModel(task.config.frontend, task.model.clusters.config)
    checkpoint.load_weights(restored, stored.tensors)


def test_held_out_figures_tell_streams_apart_and_are_the_same_again(task: PretrainTask) -> None:
    figures = task.validate()
    assert figures == task.validate()
    streams = {f"{name}.{key}" for name in ("both", "lips", "sound") for key in ("loss", "acc")}
    assert set(figures) == streams | {"chance", "loss"}
    assert 1 / N_UNITS <= figures["chance"] <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iteration": 2}, r"iteration must be 1 \.\. 1, got 2"),
        ({"iterations": [{"feature_layer": 1}]}, "iteration 1 has no model before it"),
        ({"iterations": [{}, {}]}, "iteration 2 clusters a layer of the model before it; give its layer"),
        ({"iterations": [{}, {"feature_layer": 2}]}, r"iteration 2: layer must be 1 \.\. 1, got 2"),
        ({"iterations": [{"model": "x"}]}, "iteration 1 has a model but no layer"),
        ({"modality_dropout": 1.5}, r"modality_dropout must be 0 \.\. 1, got 1\.5"),
        ({"video_mask": {"mask_prob": 0}, "audio_mask": {"mask_prob": 0}}, "nothing is masked"),
        ({"max_frames": 0}, "max_frames must be 1 or more, got 0"),
    ],
)
def test_an_impossible_recipe_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_dict(PretrainConfig, {"frontend": FRONTEND} | changes)


def test_other_units_than_the_recipes_are_refused(prepared: Path, units: str) -> None:
    with pytest.raises(ValueError, match=r"has 6 units, the recipe says 7 for iteration 1"):
        PretrainTask(config(prepared, units, iterations=[{"n_units": 7, "unit_tokenizer": units}]))
