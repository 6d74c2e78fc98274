"""Unit tokenizers by k-means (lip2speech/train/kmeans.py)."""

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
from lip2speech.train.kmeans import KMeansConfig, feature_extractor, fit_kmeans, sample_features
from tests.factories import make_model, save_system
from tests.models.hubert_golden import CHECKPOINT


def save_lip_model(folder: Path) -> Path:
    """A checkpoint folder as written by fine-tuning."""
    model = make_model()
    values = {"kind": "lip-model", "model": to_dict(model.config), "transform": to_dict(Transform())}
    checkpoint.save(folder, values, model.state_dict(), "")
    return folder


def save_frontend(folder: Path) -> Path:
    """A checkpoint folder as written by the import of an AV-HuBERT."""
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


def test_a_fitted_tokenizer_is_stored_and_uses_every_unit(prepared: Path, tmp_path: Path) -> None:
    config = KMeansConfig(train_data=(str(prepared),), n_units=6)
    distance = fit_kmeans(config, tmp_path / "units")
    assert 0 < distance < 39  # what one unit for all would leave: 39 values of deviation 1
    stored = checkpoint.load(tmp_path / "units")
    assert (stored.config["kmeans"]["n_units"], stored.config["rate"]) == (6, 50)
    teach = load_unit_tokenizer(tmp_path / "units")
    units = torch.cat([teach(c.wav()) for c in read_clips([prepared], "train")])
    assert set(units.tolist()) == set(range(6))


@pytest.mark.parametrize("source", SOURCES)
def test_features_of_a_model_are_clustered_and_the_tokenizer_loads(
    source: str, prepared: Path, tmp_path: Path
) -> None:
    save, changes = SOURCES[source]
    model = str(save(tmp_path / "model"))
    config = KMeansConfig((str(prepared),), n_units=4, n_frames=80, model=model, **changes)
    fit_kmeans(config, tmp_path / "units")
    teach, stored = load_unit_tokenizer(tmp_path / "units"), checkpoint.load(tmp_path / "units")
    clips = read_clips([prepared], "train")
    maker = feature_extractor(config)  # the features, from the very folder that was clustered
    for clip in clips:
        given = clip.wav(), clip.tensors()["roi"]
        assert torch.equal(teach(*given), nearest(maker.features(*given), stored.tensors["centroids"]))
    rate = 50 if source == "hubert" else 25
    assert (teach.rate, stored.config["rate"], teach.n_units) == (rate, rate, 4)
    assert len(units_of(teach, clips[0])) == clips[0].n_frames * rate // 25
    assert len(torch.cat([units_of(teach, clip) for clip in clips]).unique()) > 1


def test_a_video_only_tokenizer_ignores_the_audio(prepared: Path, tmp_path: Path) -> None:
    model = str(save_frontend(tmp_path / "model"))
    config = KMeansConfig((str(prepared),), n_units=4, features="avhubert", model=model, feature_layer=1)
    clip = read_clips([prepared], "train")[0]
    wav, roi = clip.wav(), clip.tensors()["roi"]
    av, video = feature_extractor(config), feature_extractor(replace(config, use_audio=False))
    assert torch.equal(video.features(wav, roi), video.features(-0.1 * wav.flip(0), roi))
    assert not torch.allclose(av.features(wav, roi), av.features(wav.flip(0), roi))
    assert not torch.allclose(av.features(wav, roi), av.features(wav, 255 - roi))
    with pytest.raises(ValueError, match=r"audio-visual; give the clip's roi"):
        av(wav)


@pytest.mark.parametrize("features", ["mfcc", "avhubert"])
def test_the_same_seed_gives_the_same_centroids(features: str, prepared: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {}
    if features == "avhubert":
        changes = {"features": features, "model": str(save_frontend(tmp_path / "model")), "feature_layer": 1}
    config = KMeansConfig(train_data=(str(prepared),), n_units=4, n_frames=60, **changes)
    stored = []
    for name, values in (("a", config), ("b", config), ("c", replace(config, seed=1))):
        fit_kmeans(values, tmp_path / name)
        stored.append(checkpoint.load(tmp_path / name).tensors)
    assert all(torch.equal(tensor, stored[1][key]) for key, tensor in stored[0].items())
    assert not torch.equal(stored[0]["centroids"], stored[2]["centroids"])


def test_no_more_clips_are_read_than_needed(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = KMeansConfig((str(prepared),), n_units=2, n_frames=40)
    clips, read = read_clips([prepared], "train") * 50, []
    tensors = Clip.tensors
    monkeypatch.setattr(Clip, "tensors", lambda clip: read.append(clip) or tensors(clip))
    found = sample_features(config, feature_extractor(config), clips)
    assert found.shape == (40, 39)
    assert len(read) <= 2  # 28 features and more each
    whole = sample_features(replace(config, n_frames=10_000), feature_extractor(config), clips[:3])
    assert len(whole) == sum(2 * clip.n_frames for clip in clips[:3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": "hubert"}, "need model and feature_layer, mfcc takes neither; got features hubert"),
        ({"model": "x", "feature_layer": 1}, "mfcc takes neither"),
        ({"n_frames": 3}, "n_frames n_units or more"),
    ],
)
def test_an_invalid_config_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KMeansConfig(n_units=4, **changes)


def test_a_model_or_layer_that_does_not_fit_is_refused(prepared: Path, tmp_path: Path) -> None:
    model = str(save_frontend(tmp_path / "model"))
    values = KMeansConfig((str(prepared),), n_units=2, features="avhubert", model=model, feature_layer=2)
    with pytest.raises(ValueError, match="layer must be 1 .. 1, got 2"):
        fit_kmeans(values, tmp_path / "units")
    with pytest.raises(ValueError, match="holds 'avhubert', expected 'hubert'"):
        fit_kmeans(replace(values, features="hubert"), tmp_path / "units")
    with pytest.raises(ValueError, match="features are too few for 200 units"):
        fit_kmeans(KMeansConfig((str(prepared),), n_units=200), tmp_path / "units")
    assert not (tmp_path / "units").exists()
