"""Unit vocabularies by k-means (lip2speech/train/kmeans.py)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lip2speech import checkpoint
from lip2speech.codecs.quantization.kmeans import nearest
from lip2speech.config import to_dict
from lip2speech.data.dataset import Clip, read_clips
from lip2speech.data.unit_tokenizers import UnitTokenizer, load_unit_tokenizer
from lip2speech.importers.hubert import import_hubert
from lip2speech.models.frontends.transforms import Transform
from lip2speech.train.kmeans import KMeansConfig, blank_teacher, fit_kmeans, sample
from tests.factories import make_model, save_system
from tests.models.hubert_golden import CHECKPOINT


def save_lip_model(folder: Path) -> Path:
    """The folder that fine-tuning would have written."""
    model = make_model()
    values = {"kind": "lip-model", "model": to_dict(model.config), "transform": to_dict(Transform())}
    checkpoint.save(folder, values, model.state_dict(), "")
    return folder


def save_frontend(folder: Path) -> Path:
    """The folder that the import of an AV-HuBERT would have written."""
    front = make_model().frontend
    values = {"kind": "avhubert", "frontend": to_dict(front.config), "transform": to_dict(Transform())}
    tensors = {f"frontend.{name}": tensor for name, tensor in front.state_dict().items()}
    checkpoint.save(folder, values, tensors, "")
    return folder


def save_hubert(folder: Path) -> Path:
    import_hubert(CHECKPOINT, folder)
    return folder


SOURCES: dict[str, Any] = {
    "hubert": (save_hubert, {"features": "hubert", "feature_layer": 2}),
    "import": (save_frontend, {"features": "avhubert", "feature_layer": 1}),
    "lip model": (save_lip_model, {"features": "avhubert", "feature_layer": 1, "use_audio": False}),
    "system": (save_system, {"features": "avhubert", "feature_layer": 1}),
}


def units_of(teach: UnitTokenizer, clip: Clip) -> torch.Tensor:
    return teach(clip.wav(), clip.tensors()["roi"])


def test_units_are_fitted_stored_and_used(prepared: Path, tmp_path: Path) -> None:
    config = KMeansConfig(train_data=(str(prepared),), n_units=6)
    distance = fit_kmeans(config, tmp_path / "units")
    assert 0 < distance < 39  # what one unit for all would leave: 39 values of deviation 1
    stored = checkpoint.load(tmp_path / "units")
    assert (stored.config["recipe"]["n_units"], stored.config["rate"]) == (6, 50)
    teach = load_unit_tokenizer(tmp_path / "units")
    units = torch.cat([teach(c.wav()) for c in read_clips([prepared], "train")])
    assert set(units.tolist()) == set(range(6))


@pytest.mark.parametrize("source", SOURCES)
def test_a_models_features_are_clustered_and_its_units_read_back(
    source: str, prepared: Path, tmp_path: Path
) -> None:
    save, changes = SOURCES[source]
    model = str(save(tmp_path / "model"))
    config = KMeansConfig((str(prepared),), n_units=4, n_frames=80, model=model, **changes)
    fit_kmeans(config, tmp_path / "units")
    teach, stored = load_unit_tokenizer(tmp_path / "units"), checkpoint.load(tmp_path / "units")
    clips = read_clips([prepared], "train")
    maker = blank_teacher(config)  # the features, from the very folder that was clustered
    for clip in clips:
        given = clip.wav(), clip.tensors()["roi"]
        assert torch.equal(
            teach(*given), nearest(maker.features(*given), stored.tensors["centroids"])
        )
    rate = 50 if source == "hubert" else 25
    assert (teach.rate, stored.config["rate"], teach.n_units) == (rate, rate, 4)
    assert len(units_of(teach, clips[0])) == clips[0].n_frames * rate // 25
    assert len(torch.cat([units_of(teach, clip) for clip in clips]).unique()) > 1


def test_lips_alone_do_not_hear(prepared: Path, tmp_path: Path) -> None:
    model = str(save_frontend(tmp_path / "model"))
    config = KMeansConfig((str(prepared),), n_units=4, features="avhubert", model=model, feature_layer=1)
    clip = read_clips([prepared], "train")[0]
    wav, roi = clip.wav(), clip.tensors()["roi"]
    both, lips = blank_teacher(config), blank_teacher(replace(config, use_audio=False))
    assert torch.equal(lips.features(wav, roi), lips.features(-0.1 * wav.flip(0), roi))
    assert not torch.allclose(both.features(wav, roi), both.features(wav.flip(0), roi))
    assert not torch.allclose(both.features(wav, roi), both.features(wav, 255 - roi))
    with pytest.raises(ValueError, match=r"audio-visual; give the clip's roi"):
        both(wav)


@pytest.mark.parametrize("features", ["mfcc", "avhubert"])
def test_one_seed_gives_one_vocabulary(features: str, prepared: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {}
    if features == "avhubert":
        changes = {"features": features, "model": str(save_frontend(tmp_path / "model")), "feature_layer": 1}
    config = KMeansConfig(train_data=(str(prepared),), n_units=4, n_frames=60, **changes)
    stored = []
    for name, numbers in (("a", config), ("b", config), ("c", replace(config, seed=1))):
        fit_kmeans(numbers, tmp_path / name)
        stored.append(checkpoint.load(tmp_path / name).tensors)
    assert all(torch.equal(tensor, stored[1][key]) for key, tensor in stored[0].items())
    assert not torch.equal(stored[0]["centroids"], stored[2]["centroids"])


def test_no_more_is_held_than_was_asked_for(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = KMeansConfig((str(prepared),), n_units=2, n_frames=40)
    clips, read = read_clips([prepared], "train") * 50, []
    tensors = Clip.tensors
    monkeypatch.setattr(Clip, "tensors", lambda clip: read.append(clip) or tensors(clip))
    found = sample(config, blank_teacher(config), clips)
    assert found.shape == (40, 39)
    assert len(read) <= 2  # 28 features and more each
    whole = sample(replace(config, n_frames=10_000), blank_teacher(config), clips[:3])
    assert len(whole) == sum(2 * clip.n_frames for clip in clips[:3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": "hubert"}, "need a model and its layer, mfcc takes neither; got features hubert"),
        ({"model": "x", "feature_layer": 1}, "mfcc takes neither"),
        ({"n_frames": 3}, "frames must be n_units or more"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KMeansConfig(n_units=4, **changes)


def test_a_folder_or_layer_that_is_not_there_is_refused(prepared: Path, tmp_path: Path) -> None:
    model = str(save_frontend(tmp_path / "model"))
    numbers = KMeansConfig((str(prepared),), n_units=2, features="avhubert", model=model, feature_layer=2)
    with pytest.raises(ValueError, match="layer must be 1 .. 1, got 2"):
        fit_kmeans(numbers, tmp_path / "units")
    with pytest.raises(ValueError, match="holds 'avhubert', expected hubert"):
        fit_kmeans(replace(numbers, features="hubert"), tmp_path / "units")
    with pytest.raises(ValueError, match="features are too few for 200 units"):
        fit_kmeans(KMeansConfig((str(prepared),), n_units=200), tmp_path / "units")
    assert not (tmp_path / "units").exists()
