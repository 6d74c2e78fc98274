"""Public EnCodec files become codec folders (lip2speech/importers/encodec.py)."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.codecs import code_fingerprint, load_codec
from lip2speech.codecs.encodec import EnCodec, EnCodecConfig
from lip2speech.codecs.quantization import QuantizerConfig
from lip2speech.importers.encodec import encodec_key, import_encodec, read_encodec
from lip2speech.importers.foreign_file import ForeignFileError
from lip2speech.modules.seanet import SEANetConfig
from tests.codecs import golden
from tests.importers.encodec_golden import official, settings, write_official, write_transformers


@pytest.mark.parametrize(
    ("public", "ours"),
    [
        ("encoder.model.0.conv.conv.weight_v", "encoder.layers.0.conv.parametrizations.weight.original1"),
        ("encoder.model.1.block.3.conv.conv.bias", "encoder.layers.1.block.3.conv.bias"),
        ("encoder.model.1.shortcut.conv.norm.weight", "encoder.layers.1.shortcut.norm.weight"),
        ("decoder.model.3.convtr.convtr.weight_g", "decoder.layers.3.conv.parametrizations.weight.original0"),
        ("decoder.model.3.convtr.norm.bias", "decoder.layers.3.norm.bias"),
        ("decoder.model.1.lstm.weight_hh_l1", "decoder.layers.1.lstm.weight_hh_l1"),
        ("quantizer.vq.layers.31._codebook.embed", "quantizer.codebooks.31.entries"),
        ("quantizer.vq.layers.0._codebook.embed_avg", "quantizer.codebooks.0.entries_sum"),
        ("quantizer.layers.2.codebook.cluster_size", "quantizer.codebooks.2.cluster_size"),
        ("encoder.layers.13.lstm.bias_ih_l0", "encoder.layers.13.lstm.bias_ih_l0"),
    ],
)
def test_every_pattern_of_public_names_is_renamed(public, ours):
    assert encodec_key(public) == ours


@pytest.mark.parametrize("name", [*golden.WHOLE, golden.SEGMENTED])
def test_nothing_is_left_over_on_either_side(name):
    codec, _, tensors = golden.encodec(name)  # loads strictly
    public = [key for key in tensors if key.startswith(("encoder.", "decoder.", "quantizer."))]
    assert len(codec.state_dict()) == len(public)


@pytest.mark.parametrize("column", [0, 2], ids=["encodec", "transformers"])
def test_the_published_24_khz_names_and_shapes_match_our_config(column):
    config = EnCodecConfig(24000, SEANetConfig(pad_mode="reflect"), QuantizerConfig(n_q=32))
    with torch.device("meta"):
        ours = {key: list(tensor.shape) for key, tensor in EnCodec(config).state_dict().items()}
    lines = (golden.FOLDER / "encodec24k_keys.tsv").read_text().splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    assert ours == {encodec_key(row[column]): ast.literal_eval(row[1]) for row in rows}


def test_a_foreign_name_is_refused():
    with pytest.raises(ValueError, match="best_state: expected an EnCodec tensor"):
        encodec_key("best_state")


FORMATS = {
    "official": lambda folder, name: write_official(folder / "encodec.th", name),
    "official, before zip": lambda folder, name: write_official(
        folder / "encodec.th", name, _use_new_zipfile_serialization=False
    ),
    "safetensors": lambda folder, name: write_transformers(folder / "theirs", name),
    "old safetensors": lambda folder, name: write_transformers(folder / "theirs", name, old=True),
    "pytorch_model.bin": lambda folder, name: write_transformers(
        folder / "theirs", name, fmt="pytorch_model.bin"
    ),
}


@torch.no_grad()
def worst(codec: EnCodec, name: str) -> float:
    """The largest difference to the golden outputs, in tolerances; codes count where the margin is clear."""
    config, tensors = golden.read(name)
    rows = [golden.distance(codec.encode_latent(tensors["x"]), tensors["z"])]
    for kbps in config["bandwidths"]:
        codes = tensors[f"bw{kbps}.frame0.codes"]
        ours = codec.encode(tensors["x"], codec.n_q_for_bandwidth(kbps))
        rows.append(golden.wrong_codes(ours.transpose(0, 1), codes.transpose(0, 1), tensors["margin"]))
        rows.append(golden.distance(codec.decode(codes), tensors[f"bw{kbps}.y"]))
    return max(rows)


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_format_of_the_24_khz_model_equals_the_golden_one(tmp_path: Path, fmt: str) -> None:
    done = import_encodec(FORMATS[fmt](tmp_path, "full_24k_causal"), tmp_path / "out")
    codec = load_codec(tmp_path / "out")
    assert isinstance(codec, EnCodec)
    assert (codec.sample_rate, codec.n_q, codec.codebook_size, codec.is_streamable) == (24_000, 8, 32, True)
    assert worst(codec, "full_24k_causal") <= 1
    assert not done.dropped
    assert code_fingerprint(codec) == code_fingerprint(golden.encodec("full_24k_causal")[0])


@pytest.mark.parametrize("name", golden.WHOLE)
def test_settings_that_shapes_do_not_show_come_from_config_json(tmp_path: Path, name: str) -> None:
    import_encodec(FORMATS["safetensors"](tmp_path, name), tmp_path / "out")
    codec = load_codec(tmp_path / "out")
    assert isinstance(codec, EnCodec)
    assert worst(codec, name) <= 1
    (tmp_path / "own.json").write_text(json.dumps(settings(name)))
    done = read_encodec(FORMATS["official"](tmp_path, name), settings=tmp_path / "own.json")
    assert done.config == checkpoint.load(tmp_path / "out").config


@torch.no_grad()
def test_a_segmented_model_keeps_its_segments(tmp_path: Path) -> None:
    import_encodec(FORMATS["safetensors"](tmp_path, golden.SEGMENTED), tmp_path / "out")
    codec, tensors = load_codec(tmp_path / "out"), golden.read(golden.SEGMENTED)[1]
    assert isinstance(codec, EnCodec)
    segments = codec.encode_segments(tensors["x"], codec.n_q_for_bandwidth(1.5))
    assert golden.distance(codec.decode_segments(segments), tensors["bw1.5.y"]) <= 1


def test_the_published_stereo_model_is_recognised_by_its_norm(tmp_path: Path) -> None:
    done = read_encodec(write_official(tmp_path / "a.th", golden.SEGMENTED))
    codec = done.config["codec"]
    assert (codec["sample_rate"], codec["normalize"], codec["segment"]) == (48_000, True, 1.0)
    assert codec["seanet"]["causal"] is False


def test_the_card_names_source_and_licence(tmp_path: Path) -> None:
    import_encodec(write_official(tmp_path / "a.th"), tmp_path / "out")
    card = checkpoint.load(tmp_path / "out").card
    assert "`a.th`" in card
    assert "24000 Hz, frame rate 75 Hz, up to 8 codebooks of 32" in card
    assert "Licence" in card
    assert "2022" in card


def changed(changes: dict[str, Tensor | None]) -> dict[str, Tensor]:
    state = {**official(), **changes}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


BIAS = "encoder.model.0.conv.conv.bias"
ENTRIES = "quantizer.vq.layers.0._codebook.embed"
MISMATCHES: dict[str, tuple[dict[str, Tensor | None], str]] = {
    "a missing bias": ({BIAS: None}, "encoder.layers.0.conv.bias is missing"),
    "a foreign name": ({"best_state": torch.zeros(1)}, "best_state: expected an EnCodec tensor"),
    "a layer too many": ({"encoder.model.99.conv.conv.bias": torch.zeros(3)}, "model.99.* not part of this"),
    "a wrong shape": ({BIAS: torch.zeros(4)}, r"0.conv.conv.bias: has shape \(4,\), expected \(3,\)"),
    "NaN": ({BIAS: torch.full((3,), torch.nan)}, "conv.bias: has NaN"),
    "integers": ({BIAS: torch.zeros(3, dtype=torch.long)}, "conv.bias: has torch.int64"),
    "no codebook": ({ENTRIES: None}, "first codebook is missing|8 missing|got 0|is missing"),
    "a flat codebook": ({ENTRIES: torch.zeros(512)}, "first codebook is missing or not two-dimensional"),
    "one weight twice": ({"encoder.layers.0.conv.bias": torch.zeros(3)}, "are the same weight"),
}


@pytest.mark.parametrize("kind", MISMATCHES)
def test_a_mismatch_is_named_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    torch.save(changed(MISMATCHES[kind][0]), tmp_path / "a.th")
    with pytest.raises(ForeignFileError, match=f"a.th: .*{MISMATCHES[kind][1]}"):
        import_encodec(tmp_path / "a.th", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.th"]


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "other sizes": ({"num_filters": 32}, "num_filters is 32, the weights have 3"),
    "other ratios": (
        {"upsampling_ratios": [8, 5, 4, 4]},
        r"upsampling_ratios is .*the weights have \[8, 5, 4, 2",
    ),
    "a word for a number": ({"sampling_rate": "fast"}, "sampling_rate is fast, expected int"),
    "an endless segment": ({"chunk_length_s": 1e300}, "chunk_length_s is 1e.300, expected float from 0 to"),
    "an unknown padding": ({"pad_mode": "edge"}, "pad_mode"),
    "a huge dilation": ({"dilation_growth_rate": 1 << 40}, "dilation_growth_rate is 1099511627776"),
    "no shortcut": ({"use_conv_shortcut": False}, "use_conv_shortcut does not agree with the weights"),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_config_that_does_not_match_the_weights_is_named(tmp_path: Path, kind: str) -> None:
    folder = write_transformers(tmp_path / "theirs")
    (folder / "config.json").write_text(json.dumps(settings() | SETTINGS[kind][0]))
    with pytest.raises(ForeignFileError, match=f"config.json: .*{SETTINGS[kind][1]}"):
        import_encodec(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_transformers_weights_without_their_config_are_refused(tmp_path: Path) -> None:
    folder = write_transformers(tmp_path / "theirs")
    (folder / "config.json").unlink()
    with pytest.raises(ForeignFileError, match=r"has transformers' names and no config.json beside it"):
        read_encodec(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ForeignFileError, match="has no model.safetensors or pytorch_model.bin"):
        read_encodec(folder)


def test_float16_files_are_read_and_written(tmp_path: Path) -> None:
    folder = write_transformers(tmp_path / "theirs")
    state = load_file(folder / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in state.items()}, folder / "model.safetensors")
    import_encodec(folder, tmp_path / "out", fp16=True)
    assert load_codec(tmp_path / "out").n_q == 8
