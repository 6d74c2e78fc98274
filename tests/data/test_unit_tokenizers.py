"""Unit tokenizers: audio to units (lip2speech/data/unit_tokenizers)."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.audio.mel import LogMel
from lip2speech.data.targets import TargetExtractor
from lip2speech.data.unit_tokenizers import (
    AVHubertTokenizer,
    HubertTokenizer,
    MFCCTokenizer,
    load_unit_tokenizer,
    mfcc_features,
    require_rate,
)
from lip2speech.importers.hubert import import_hubert
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.hubert import Hubert, HubertConfig
from tests.factories import make_model
from tests.models.hubert_golden import CHECKPOINT, KMEANS, UNIT_LAYER, stored, teacher


def make_mfcc_tokenizer(units: int = 5) -> MFCCTokenizer:
    """One with random centroids."""
    centroids = torch.randn(units, 39, generator=torch.Generator().manual_seed(0))
    return MFCCTokenizer(centroids, torch.zeros(39), torch.ones(39))


def noise(samples: int) -> Tensor:
    """(T_a,)."""
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("units") / "hubert"
    import_hubert(CHECKPOINT, folder, kmeans=KMEANS, layer=UNIT_LAYER)
    return folder


def test_the_official_units_are_reproduced(imported: Path) -> None:
    tokenizer = load_unit_tokenizer(imported)
    assert isinstance(tokenizer, HubertTokenizer)
    assert (tokenizer.n_units, tokenizer.layer) == (12, 2)
    assert tokenizer(stored()["wav"]).tolist() == stored()["units_layer2"].tolist()


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_mfcc_and_hubert_give_two_units_per_video_frame(frames: int) -> None:
    for tokenizer in (teacher(), make_mfcc_tokenizer()):
        units = tokenizer(noise(640 * frames))
        assert units.shape == (2 * frames,)
        assert units.dtype == torch.int64
        assert 0 <= int(units.min()) <= int(units.max()) < tokenizer.n_units


def test_the_last_feature_is_repeated_if_the_audio_ends_before_the_next() -> None:
    tokenizer, wav = teacher(), noise(6400)
    features = tokenizer.model.extract_features(wav[None, None], UNIT_LAYER)[0]
    nearest = [int((x - tokenizer.centroids).square().sum(1).argmin()) for x in features]
    assert len(nearest) == 19
    assert tokenizer(wav).tolist() == [*nearest, nearest[-1]]


@pytest.mark.parametrize("rest", [0, 320, 399, 400, 1000])
def test_long_audio_is_encoded_in_chunks_at_the_same_rate(monkeypatch: pytest.MonkeyPatch, rest: int) -> None:
    monkeypatch.setattr("lip2speech.data.unit_tokenizers.hubert.MAX_SAMPLES", 3200)
    tokenizer, wav = teacher(), noise(6400 + rest)
    last = wav[3200:] if rest < 400 else wav[3200:6400]
    expected = [tokenizer.features_chunk(wav[:3200]), tokenizer.features_chunk(last)]
    if rest >= 400:
        expected.append(tokenizer.features_chunk(wav[6400:]))
    assert torch.equal(tokenizer.features(wav), torch.cat(expected))
    assert len(tokenizer(wav)) == (6400 + rest) // 320


def test_audio_of_invalid_length_is_rejected() -> None:
    with pytest.raises(ValueError, match="at least 400 samples, got 320"):
        teacher()(noise(320))
    with pytest.raises(ValueError, match=r"wav must be \(T_a,\), got \(1, 640\)"):
        teacher()(noise(640)[None])
    for samples in (0, 641):
        with pytest.raises(ValueError, match=rf"a multiple of 320, got \({samples},\)"):
            make_mfcc_tokenizer()(noise(samples))


def test_centroids_and_layer_must_fit_the_encoder() -> None:
    own = teacher()
    with pytest.raises(ValueError, match=r"centroids must be \(K, 64\), got \(12, 63\)"):
        HubertTokenizer(own.model, own.centroids[:, 1:], 2)
    with pytest.raises(ValueError, match=r"layer must be in 1\.\.3, got 6"):
        HubertTokenizer(own.model, own.centroids, 6)
    slow = HubertConfig(
        conv_dim=4, conv_kernels=(4,), conv_strides=(2,), encoder_layers=1, embed_dim=64, ffn_dim=4,
        heads=1, conv_pos=4, conv_pos_groups=4,
    )  # fmt: skip
    with pytest.raises(ValueError, match="has a hop of 2, expected 320"):
        HubertTokenizer(Hubert(slow), own.centroids, 1)


def test_a_folder_is_loaded_by_its_kind(imported: Path, tmp_path: Path) -> None:
    own = make_mfcc_tokenizer()
    tensors = {"centroids": own.centroids, "mean": own.mean, "std": own.std}
    checkpoint.save(tmp_path / "units", {"kind": "kmeans-mfcc"}, tensors, "")
    found = load_unit_tokenizer(tmp_path / "units")
    assert isinstance(found, MFCCTokenizer)
    assert torch.equal(found(noise(6400)), own(noise(6400)))
    assert isinstance(load_unit_tokenizer(imported), HubertTokenizer)
    checkpoint.save(tmp_path / "other", {"kind": "codec"}, tensors, "")
    with pytest.raises(ValueError, match="holds 'codec', expected 'kmeans-mfcc' or 'hubert' or 'avhubert'"):
        load_unit_tokenizer(tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": {"feature_layer": "2", "n_units": 12}}, "feature_layer: expected int"),
        ({"units": {"feature_layer": 2, "n_units": 13}}, "n_units is 13, but it holds 12 centroids"),
        ({"units": {"feature_layer": 9, "n_units": 12}}, r"layer must be in 1\.\.3, got 9"),
        ({"hubert": None}, "expected a group of HubertConfig fields"),
    ],
)
def test_an_inconsistent_folder_is_rejected(
    imported: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    loaded = checkpoint.load(imported)
    checkpoint.save(tmp_path / "odd", loaded.config | changes, loaded.tensors, loaded.card)
    with pytest.raises(ValueError, match=message):
        load_unit_tokenizer(tmp_path / "odd")


def test_a_unit_is_the_nearest_centroid() -> None:
    wav = noise(3200)
    features = mfcc_features(LogMel()(wav[None, None])[0])
    mean, std = features.mean(0), features.std(0)
    units = MFCCTokenizer((features[[3, 7]] - mean) / std, mean, std)(wav)
    assert (units[3], units[7]) == (0, 1)
    assert set(units.tolist()) == {0, 1}


def test_mfcc_of_a_flat_spectrum_is_its_level() -> None:
    features = mfcc_features(torch.full((80, 8), -3.0))
    assert features.shape == (4, 39)
    expected = torch.zeros(4, 39)
    expected[:, 0] = -3.0
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


def test_a_rising_level_gives_a_constant_first_difference() -> None:
    features = mfcc_features(torch.arange(20.0).expand(80, 20))
    torch.testing.assert_close(features[:, 13], torch.ones(10))
    torch.testing.assert_close(features[:, 26], torch.zeros(10))


def test_units_at_another_rate_are_rejected(tmp_path: Path) -> None:
    front = make_model().frontend
    tokenizer = AVHubertTokenizer(front, Transform(), torch.randn(3, front.dim), 1)
    with pytest.raises(ValueError, match="units are at 25 Hz, expected 50 Hz"):
        TargetExtractor(tokenizer, None)
    with pytest.raises(ValueError, match="units are at 50 Hz, expected 25 Hz"):
        require_rate(make_mfcc_tokenizer(), 25)
    require_rate(None, 25)
    values, tensors = tokenizer.state()
    checkpoint.save(tmp_path / "units", values | {"rate": 50}, tensors, "")
    with pytest.raises(ValueError, match="rate is 50 Hz, but its features are at 25 Hz"):
        load_unit_tokenizer(tmp_path / "units")


def test_an_av_hubert_without_units_is_rejected(tmp_path: Path) -> None:
    front = make_model().frontend
    values, tensors = AVHubertTokenizer(front, Transform(), torch.randn(3, front.dim), 1).state()
    del values["units"]
    checkpoint.save(tmp_path / "front", values, tensors, "")
    with pytest.raises(ValueError, match="holds AV-HuBERT without units; make some with"):
        load_unit_tokenizer(tmp_path / "front")
