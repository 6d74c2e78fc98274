"""Official AV-HuBERT files become checkpoint folders, or nothing is written."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.config import to_dict
from lip2speech.importers.avhubert import import_avhubert, key_map, read_avhubert
from lip2speech.importers.fairseq import read_fairseq
from lip2speech.importers.foreign_file import ForeignFileError
from lip2speech.models.frontends.avhubert import AVHubert, AVHubertConfig
from lip2speech.models.frontends.masked_prediction import MaskedPredictionHead, MaskedPredictionHeadConfig
from tests.models.golden import FINETUNED, PRETRAINED, build

SIZES = {"encoder_attention_heads": 4, "layer_norm_first": True}
ENDLESS: list[Any] = []
ENDLESS.append([ENDLESS, ENDLESS])
FC1 = "encoder.layers.1.fc1.weight"


def official(changes: dict[str, Tensor | None] | None = None) -> dict[str, Tensor]:
    """The golden weights with some replaced, added, or (None) left out."""
    model = {**read_fairseq(PRETRAINED).model, **(changes or {})}
    return {name: tensor for name, tensor in model.items() if tensor is not None}


def write(
    path: Path, model: dict[str, Tensor], cfg: dict[str, Any] | None = None, **torch_options: Any
) -> Path:
    torch.save({"cfg": {"model": SIZES if cfg is None else cfg}, "model": model}, path, **torch_options)
    return path


def test_the_folder_has_every_weight_and_its_card_names_the_source(tmp_path: Path) -> None:
    done = import_avhubert(PRETRAINED, tmp_path / "out")
    loaded = checkpoint.load(tmp_path / "out")
    assert loaded.config == done.config
    assert loaded.config["kind"] == "avhubert"
    assert loaded.config["frontend"]["heads"] == 4
    assert loaded.config["clusters"]["n_clusters"] == 24
    assert len(loaded.tensors) == 186
    assert not done.dropped
    assert "non-commercial" in loaded.card
    encoder, head = build(done)
    assert head is not None
    for name, weight in encoder.state_dict().items():
        assert loaded.tensors[f"frontend.{name}"].equal(weight), name


def test_the_decoder_is_dropped_and_listed_in_the_card(tmp_path: Path) -> None:
    done = import_avhubert(FINETUNED, tmp_path / "out", pretrained=PRETRAINED)
    assert len(done.dropped) == 214 - 182
    assert "decoder.embed_tokens.weight" in done.dropped
    assert "`decoder.embed_tokens.weight`" in (tmp_path / "out" / "README.md").read_text()
    assert "clusters" not in done.config


def test_heads_come_from_the_settings_the_pretrained_file_or_the_caller() -> None:
    assert read_avhubert(FINETUNED, heads=4).config == read_avhubert(FINETUNED, pretrained=PRETRAINED).config
    with pytest.raises(ForeignFileError, match="give heads, or the pretrained file"):
        read_avhubert(FINETUNED)


@pytest.mark.parametrize("cfg", [{"w2v_args": {"model": SIZES}}, {"w2v_args": argparse.Namespace(**SIZES)}])
def test_a_fine_tuned_file_may_contain_its_pretraining_settings(tmp_path: Path, cfg: dict[str, Any]) -> None:
    model = {f"w2v_encoder.w2v_model.{k}": v for k, v in official().items() if not k.startswith("final_proj")}
    model["w2v_encoder.proj.weight"] = torch.zeros(3, 48)
    done = read_avhubert(write(tmp_path / "ctc.pt", model, cfg))
    assert done.config["frontend"]["heads"] == 4
    assert set(done.dropped) == {
        "w2v_encoder.proj.weight",
        "w2v_encoder.w2v_model.mask_emb",
        "w2v_encoder.w2v_model.label_embs_concat",
    }


def test_legacy_float16_files_and_new_weight_norm_names_are_read(tmp_path: Path) -> None:
    model = official()
    for old, new in {"weight_g": "original0", "weight_v": "original1"}.items():
        model[f"encoder.pos_conv.0.parametrizations.weight.{new}"] = model.pop(f"encoder.pos_conv.0.{old}")
    model = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in model.items()}
    path = write(tmp_path / "x.pt", model, _use_new_zipfile_serialization=False)
    expected = read_avhubert(PRETRAINED).tensors
    found = read_avhubert(path).tensors
    assert set(found) == set(expected)
    for name, tensor in found.items():
        assert tensor.dtype == expected[name].dtype
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-3)


def test_without_settings_the_head_size_is_64(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = AVHubertConfig(
        resnet_width=2, encoder_layers=1, embed_dim=128, ffn_dim=8, heads=2, conv_pos=4, conv_pos_groups=2
    )
    own = {f"frontend.{k}": v for k, v in AVHubert(config).state_dict().items()}
    head = MaskedPredictionHead(MaskedPredictionHeadConfig(128, final_dim=4, n_clusters=6))
    own |= {f"clusters.{k}": v for k, v in head.state_dict().items()}
    back = {ours: theirs for theirs, ours in key_map(1).items()}
    modules = {name: name.rpartition(".")[::2] for name in own}
    theirs = {back.get(k) or f"{back[module]}.{leaf}": own[k] for k, (module, leaf) in modules.items()}
    done = read_avhubert(write(tmp_path / "x.pt", theirs, {}))
    assert done.config["frontend"] == to_dict(config)
    assert all(done.tensors[name].equal(weight) for name, weight in own.items())
    assert len(done.tensors) == len(own)


MISMATCHES: dict[str, tuple[dict[str, Tensor | None], str]] = {
    "a wrong shape": ({FC1: torch.zeros(96, 47)}, f"{FC1}: has shape (96, 47), expected (96, 48)"),
    "a missing weight": ({FC1: None}, f"{FC1} is missing"),
    "a missing size": ({"encoder.layers.0.fc2.weight": None}, "encoder.layers.0.fc2.weight is missing"),
    "no clusters": ({"final_proj.bias": None}, "final_proj.bias is missing"),
    "no video": (
        {"feature_extractor_video.resnet.frontend3D.0.weight": None},
        "frontend3D.0.weight is missing",
    ),
    "an unknown weight": ({"conformer.x": torch.zeros(1)}, "conformer.x is not part of AV-HuBERT"),
    "a second weight": ({"layer_norm.extra": torch.zeros(1)}, "layer_norm.extra is not part of this"),
    "NaN": (
        {"post_extract_proj.bias": torch.full((48,), torch.nan)},
        "post_extract_proj.bias: has NaN",
    ),
    "infinity": ({"layer_norm.bias": torch.full((96,), torch.inf)}, "layer_norm.bias: has NaN or inf"),
    "integers": ({"layer_norm.bias": torch.zeros(96, dtype=torch.int64)}, "has torch.int64, expected"),
    "a gap in the layers": ({"encoder.layers.7.fc1.weight": torch.zeros(1)}, "without gaps"),
    "a billion layers": ({"encoder.layers.999999999.fc1.weight": torch.zeros(1)}, "without gaps"),
    "an immense trunk": (
        {"feature_extractor_video.resnet.frontend3D.0.weight": torch.zeros(200_000, 1, 1, 1, 1)},
        "has shape (200000, 1, 1, 1, 1)",
    ),
    "impossible groups": ({"encoder.pos_conv.0.weight_v": torch.zeros(48, 7, 32)}, "impossible groups"),
}


@pytest.mark.parametrize("kind", MISMATCHES)
def test_a_mismatch_is_named_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    changes, message = MISMATCHES[kind]
    path = write(tmp_path / "x.pt", official(changes))
    with pytest.raises(ForeignFileError) as error:
        import_avhubert(path, tmp_path / "out")
    assert message in str(error.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.pt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_norm_first": False}, "layer_norm_first is False; only True"),
        ({"modality_fuse": "add"}, "modality_fuse is add"),
        ({"activation_fn": ENDLESS}, "activation_fn is list"),
        ({"encoder_attention_heads": 5}, "heads"),
        ({"encoder_attention_heads": 10**9}, "heads"),
        ({"resnet_relu_type": "relu"}, "relu1.weight"),
        ({"resnet_relu_type": "os.system"}, "resnet_relu_type os.system is unknown"),
    ],
)
def test_an_unsupported_setting_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ForeignFileError, match=message):
        read_avhubert(write(tmp_path / "x.pt", official(), {**SIZES, **change}))


def test_a_relu_trunk_is_imported(tmp_path: Path) -> None:
    model = {k: v for k, v in official().items() if ".relu" not in k and ".frontend3D.2." not in k}
    done = read_avhubert(write(tmp_path / "x.pt", model, {**SIZES, "resnet_relu_type": "relu"}))
    encoder, _ = build(done)
    assert encoder(torch.zeros(1, 1, 2, 88, 88)).shape == (1, 2, 48)


def test_a_folder_is_overwritten_only_on_request(tmp_path: Path) -> None:
    import_avhubert(PRETRAINED, tmp_path / "out")
    with pytest.raises(ValueError, match="exists"):
        import_avhubert(PRETRAINED, tmp_path / "out")
    import_avhubert(PRETRAINED, tmp_path / "out", overwrite=True, fp16=True)
    assert checkpoint.load(tmp_path / "out").tensors["frontend.fusion_norm.weight"].dtype == torch.float32
