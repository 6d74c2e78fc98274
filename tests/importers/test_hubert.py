"""Official HuBERT files and their k-means become checkpoint folders, or nothing is written."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.data.unit_tokenizers import load_unit_tokenizer
from lip2speech.importers.fairseq import FairseqCheckpoint, read_fairseq
from lip2speech.importers.foreign_file import ForeignFileError
from lip2speech.importers.hubert import import_hubert, infer_config, key_map, parse_convs, read_hubert
from lip2speech.importers.keymap import KeyMap, prefixed_state_dict
from lip2speech.models.frontends.masked_prediction import MaskedPredictionHead, MaskedPredictionHeadConfig
from lip2speech.models.hubert import Hubert, HubertConfig
from tests.models.hubert_golden import CHECKPOINT, KEYS, KMEANS, build, stored

CONVS = "[(32,10,5)] + [(32,3,2)] * 4 + [(32,2,2)] * 2"
SIZES = {"encoder_attention_heads": 4, "layer_norm_first": False, "conv_feature_layers": CONVS}
FC1 = "encoder.layers.1.fc1.weight"
CONV = "feature_extractor.conv_layers.3.0.weight"


def official(changes: dict[str, Tensor | None] | None = None) -> dict[str, Tensor]:
    """The golden weights with some replaced, added, or (None) left out."""
    model = {**read_fairseq(CHECKPOINT).model, **(changes or {})}
    return {name: tensor for name, tensor in model.items() if tensor is not None}


def write(path: Path, weights: dict[str, Tensor], **cfg: Any) -> Path:
    """A file of these weights; `cfg` are groups of its settings."""
    torch.save({"cfg": {"model": SIZES, **cfg}, "model": weights}, path)
    return path


def test_the_folder_has_every_weight_and_its_card_names_the_source(tmp_path: Path) -> None:
    done = import_hubert(CHECKPOINT, tmp_path / "out", kmeans=KMEANS, layer=2)
    loaded = checkpoint.load(tmp_path / "out")
    assert loaded.config == done.config
    assert loaded.config["kind"] == "hubert"
    assert loaded.config["units"] == {"feature_layer": 2, "n_units": 12}
    assert loaded.config["clusters"]["n_clusters"] == 24
    assert len(loaded.tensors) == 70 + 1
    assert loaded.tensors["centroids"].equal(stored()["cluster_centers"])
    assert not done.dropped
    for word in ("MIT", "`hubert.pt`", "`km.bin`", "layer 2", "Frame rate: 50 Hz"):
        assert word in loaded.card
    for name, weight in build(done).state_dict().items():
        assert loaded.tensors[f"hubert.{name}"].equal(weight), name


def test_without_kmeans_the_folder_has_no_units(tmp_path: Path) -> None:
    done = import_hubert(CHECKPOINT, tmp_path / "out")
    assert "units" not in done.config
    assert "centroids" not in done.tensors
    with pytest.raises(ValueError, match=r"HuBERT without units; import it together with a km\.bin"):
        load_unit_tokenizer(tmp_path / "out")


def test_the_text_projection_is_dropped_and_listed_in_the_card(tmp_path: Path) -> None:
    model = {f"w2v_encoder.w2v_model.{k}": v for k, v in official().items() if not k.startswith("final_proj")}
    model["w2v_encoder.proj.weight"] = torch.zeros(3, 64)
    path = write(tmp_path / "ctc.pt", model, model={"w2v_args": {"model": SIZES}})
    done = import_hubert(path, tmp_path / "out")
    assert done.dropped == (
        "w2v_encoder.proj.weight",
        "w2v_encoder.w2v_model.label_embs_concat",
        "w2v_encoder.w2v_model.mask_emb",
    )
    assert "`w2v_encoder.proj.weight`" in (tmp_path / "out" / "README.md").read_text()
    assert "clusters" not in done.config
    whole = read_hubert(CHECKPOINT)
    assert done.config["hubert"] == whole.config["hubert"]
    assert all(tensor.equal(whole.tensors[name]) for name, tensor in done.tensors.items())


def test_the_published_names_and_shapes_match_our_defaults() -> None:
    keys = json.loads(KEYS.read_text())
    model = {name: torch.empty(shape, device="meta") for name, shape in keys.items()}
    file = FairseqCheckpoint(Path("base.pt"), model, None, None)
    names = KeyMap(file.path, "HuBERT base", key_map(file))
    found, dropped = names.translate(model)
    assert infer_config(found, names, file, None) == HubertConfig()
    assert not dropped
    with torch.device("meta"):
        head = MaskedPredictionHead(MaskedPredictionHeadConfig(768, 256, 504, 768))
        ours = prefixed_state_dict(hubert=Hubert(HubertConfig()), clusters=head)
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, (_, v) in found.items()}


def test_a_model_without_a_projection_is_imported(tmp_path: Path) -> None:
    changes: dict[str, Tensor | None] = {"post_extract_proj.weight": None, "post_extract_proj.bias": None}
    changes |= {f"feature_extractor.conv_layers.{n}.0.weight": torch.zeros(64, 64, 3) for n in range(1, 5)}
    changes |= {f"feature_extractor.conv_layers.{n}.0.weight": torch.zeros(64, 64, 2) for n in (5, 6)}
    changes["feature_extractor.conv_layers.0.0.weight"] = torch.zeros(64, 1, 10)
    ones = ("feature_extractor.conv_layers.0.2", "layer_norm")
    changes |= {f"{module}.{leaf}": torch.ones(64) for module in ones for leaf in ("weight", "bias")}
    cfg = {**SIZES, "conv_feature_layers": CONVS.replace("32", "64")}
    done = read_hubert(write(tmp_path / "x.pt", official(changes), model=cfg))
    assert done.config["hubert"]["conv_dim"] == 64
    assert build(done)(torch.zeros(1, 1, 400)).shape == (1, 1, 64)


MISMATCHES: dict[str, tuple[dict[str, Tensor | None], str]] = {
    "a wrong shape": ({FC1: torch.zeros(128, 63)}, f"{FC1}: has shape (128, 63), expected (128, 64)"),
    "a missing weight": ({FC1: None}, f"{FC1} is missing"),
    "a missing size": ({"encoder.layers.0.fc2.weight": None}, "encoder.layers.0.fc2.weight is missing"),
    "a missing convolution": ({CONV: None}, "conv_layers.N: expected layers numbered from 0"),
    "a wider convolution": ({CONV: torch.zeros(33, 32, 3)}, "does not give the strides"),
    "no positions": ({"encoder.pos_conv.0.weight_v": None}, "encoder.pos_conv.0.weight_v is missing"),
    "no clusters": ({"final_proj.bias": None}, "final_proj.bias is missing"),
    "an unknown weight": ({"conformer.x": torch.zeros(1)}, "conformer.x is not part of HuBERT base"),
    "a second weight": ({"layer_norm.extra": torch.zeros(1)}, "layer_norm.extra is not part of this"),
    "a bias of a convolution": (
        {"feature_extractor.conv_layers.1.0.bias": torch.zeros(32)},
        "conv_layers.1.0.bias is not part of this HuBERT base",
    ),
    "NaN": ({"post_extract_proj.bias": torch.full((64,), torch.nan)}, "proj.bias: has NaN"),
    "infinity": ({"mask_emb": torch.full((64,), torch.inf)}, "mask_emb: has NaN or inf"),
    "integers": ({"layer_norm.bias": torch.zeros(32, dtype=torch.int64)}, "has torch.int64, expected"),
    "a billion layers": ({"encoder.layers.999999999.fc1.weight": torch.zeros(1)}, "without gaps"),
    "impossible groups": ({"encoder.pos_conv.0.weight_v": torch.zeros(64, 7, 32)}, "impossible groups"),
}


@pytest.mark.parametrize("kind", MISMATCHES)
def test_a_mismatch_is_named_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    changes, message = MISMATCHES[kind]
    path = write(tmp_path / "x.pt", official(changes))
    with pytest.raises(ForeignFileError) as error:
        import_hubert(path, tmp_path / "out")
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.pt"]


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"model": {**SIZES, "layer_norm_first": True}}, "layer_norm_first is True; only False"),
        ({"model": {**SIZES, "extractor_mode": "layer_norm"}}, "extractor_mode is layer_norm; only default"),
        ({"task": {"normalize": True}}, "normalize is True; only False"),
        ({"task": {"sample_rate": 8000}}, "sample_rate is 8000; only 16000"),
        ({"model": {**SIZES, "encoder_attention_heads": 5}}, "5 attention heads do not divide 64 features"),
        ({"model": {**SIZES, "conv_feature_layers": "__import__('os')"}}, "does not give the strides"),
        ({"model": {**SIZES, "conv_feature_layers": [[1]]}}, "conv_feature_layers list does not give"),
    ],
)
def test_an_unsupported_setting_is_named(tmp_path: Path, cfg: dict[str, Any], message: str) -> None:
    with pytest.raises(ForeignFileError, match=message):
        read_hubert(write(tmp_path / "x.pt", official(), **cfg))


def test_heads_may_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pt", official(), model={"conv_feature_layers": CONVS})
    assert read_hubert(path).config["hubert"]["heads"] == 1  # 64 features, heads of 64
    assert read_hubert(path, heads=4).config == read_hubert(CHECKPOINT).config


@pytest.mark.parametrize(
    ("text", "convs"),
    [
        ("[(512,10,5)] + [(512,3,2)] * 2", [(512, 10, 5), (512, 3, 2), (512, 3, 2)]),
        ("[(4, 10, 5), (4, 3, 2)]", [(4, 10, 5), (4, 3, 2)]),
        ("[(4,10,5)]*99+[(4,10,5)]*99", None),
        ("[(4,10,5)]*9999999999", None),
        ("[(4,10,0)]", None),
        ("[(4,10)]", None),
        ("[]", None),
        ("", None),
        ("[(4,10,5)] + exit()", None),
    ],
)
def test_the_convolutions_are_parsed_and_never_evaluated(
    text: str, convs: list[tuple[int, int, int]] | None
) -> None:
    assert parse_convs(text) == convs


@pytest.mark.parametrize("layer", [0, 4, 6])
def test_a_layer_beyond_the_encoder_is_refused(tmp_path: Path, layer: int) -> None:
    with pytest.raises(ValueError, match=rf"layer must be in 1\.\.3, got {layer}"):
        import_hubert(CHECKPOINT, tmp_path / "out", kmeans=KMEANS, layer=layer)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_overwritten_only_on_request(tmp_path: Path) -> None:
    import_hubert(CHECKPOINT, tmp_path / "out")
    with pytest.raises(ValueError, match="exists"):
        import_hubert(CHECKPOINT, tmp_path / "out")
    import_hubert(CHECKPOINT, tmp_path / "out", overwrite=True, fp16=True)
    assert checkpoint.load(tmp_path / "out").tensors["hubert.proj.weight"].dtype == torch.float32
