"""The official multi-input vocoder becomes a HiFi-GAN folder, or nothing is written."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.importers.foreign_file import ForeignFileError
from lip2speech.importers.hifigan import LEAVES, import_unit_vocoder, key_map, read_unit_vocoder
from lip2speech.importers.keymap import KeyMap
from lip2speech.importers.torch_file import TorchFile
from lip2speech.modules.conv import fold_weight_norm
from lip2speech.vocoders import HiFiGAN, HiFiGANConfig, load_vocoder
from tests.importers.unit_golden import (
    FOLDER,
    TOLERANCE,
    VOCODER,
    key_list,
    load_golden_vocoder,
    relative_error,
    stored,
    vocoder_rows,
)

CONFIG = FOLDER / "vocoder_config.json"


def official(changes: dict[str, Tensor | None] | None = None) -> dict[str, Tensor]:
    """The golden weights with some replaced, added, or (None) left out."""
    with TorchFile(VOCODER) as file:
        model = {**file.tensors(file.contents["generator"]), **(changes or {})}
    return {name: tensor for name, tensor in model.items() if tensor is not None}


def write(
    folder: Path, changes: dict[str, Tensor | None] | None = None, settings: dict[str, Any] | None = None
) -> Path:
    """A vocoder's file and its config beside it, with these changes."""
    torch.save({"generator": official(changes)}, folder / "g_1.pt")
    values = json.loads(CONFIG.read_text()) | (settings or {})
    (folder / "config.json").write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))
    return folder / "g_1.pt"


def test_outputs_equal_those_of_the_official_vocoder() -> None:
    rows = {tensor: value for _, tensor, value in vocoder_rows(load_golden_vocoder())}
    assert rows.pop("wav_int16, in steps of 1/32768") <= 1
    assert max(rows.values()) < TOLERANCE


@torch.no_grad()
def test_the_loaded_folder_with_weight_norm_folded_gives_the_same_audio(tmp_path: Path) -> None:
    done = import_unit_vocoder(VOCODER, tmp_path / "out")
    golden, loaded = stored("vocoder"), load_vocoder(tmp_path / "out")
    assert isinstance(loaded, HiFiGAN)
    fold_weight_norm(loaded)
    assert (
        relative_error(loaded.generate(golden["mel"], golden["code"], golden["spkr"]), golden["wav"])
        < TOLERANCE
    )
    folder = checkpoint.load(tmp_path / "out")
    assert folder.config == done.config
    assert len(folder.tensors) == 298
    assert "no licence" in folder.card
    assert "windows of 640 samples" in folder.card


def test_every_published_weight_is_mapped() -> None:
    keys = KeyMap(Path("x"), "x", key_map(HiFiGANConfig()), leaves=LEAVES)
    found, dropped = keys.translate(key_list("vocoder"))
    with torch.device("meta"):
        expected = HiFiGAN().state_dict()
    assert not dropped
    assert found.keys() == expected.keys()
    for name, (foreign, tensor) in found.items():
        assert tensor.shape == expected[name].shape, foreign
        assert keys.foreign(name) == foreign


def test_the_config_may_be_elsewhere(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ForeignFileError, match="neither config.json nor g_1_config.json is beside it"):
        read_unit_vocoder(path)
    assert read_unit_vocoder(path, settings=CONFIG).config == read_unit_vocoder(VOCODER).config


MISMATCHES: dict[str, tuple[dict[str, Tensor | None], str]] = {
    "a wrong shape": ({"fc.weight": torch.zeros(16, 15)}, "fc.weight: has shape (16, 15), expected (16, 16)"),
    "a missing weight": ({"ups.4.weight_g": None}, "ups.4.weight_g is missing"),
    "a missing block": ({"resblocks.14.convs2.1.bias": None}, "resblocks.14.convs2.1.bias is missing"),
    "an unknown weight": (
        {"f0.weight": torch.zeros(1)},
        "f0.weight is not part of lip2speech-unit's vocoder",
    ),
    "a block too many": ({"resblocks.15.convs1.0.bias": torch.zeros(2)}, "resblocks.15.convs1.0.bias is not"),
    "NaN": ({"conv_pre.bias": torch.full((64,), torch.nan)}, "conv_pre.bias: has NaN"),
    "integers": ({"spkr.bias": torch.zeros(16, dtype=torch.int64)}, "spkr.bias: has torch.int64"),
    "two spellings of one": (
        {"conv_pre.parametrizations.weight.original0": torch.zeros(64, 1, 1)},
        "are the same weight",
    ),
}


@pytest.mark.parametrize("kind", MISMATCHES)
def test_a_mismatch_is_named_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    changes, message = MISMATCHES[kind]
    path = write(tmp_path, changes)
    with pytest.raises(ForeignFileError) as error:
        import_unit_vocoder(path, tmp_path / "out")
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resblock": "2"}, "resblock is 2; only 1 is supported"),
        ({"sampling_rate": 22050}, "sampling_rate is 22050; only 16000"),
        ({"num_mels": 100}, "num_mels is 100; only 80"),
        ({"mel_hop_size": 256}, "mel_hop_size is 256; only 160"),
        ({"embedding_dim": ...}, "it has no embedding_dim"),
        ({"embedding_dim": 17}, "conv_pre.weight_v: has shape"),
        ({"embedding_dim": 10**12}, "embedding_dim is 1000000000000; not a vocoder's size"),
        ({"upsample_rates": [1] * 1000}, "upsample_rates is list; not a vocoder's size"),
        ({"upsample_rates": [5, 4, 2, 2, 3]}, "ratios must multiply to hop_length 160"),
        ({"upsample_initial_channel": "64"}, "upsample_initial_channel is 64; not a vocoder's size"),
    ],
)
def test_an_unsupported_setting_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ForeignFileError, match=message):
        read_unit_vocoder(write(tmp_path, settings=change))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("3", "expected a mapping in JSON, got 3"),
        (" " * (1 << 21), "longer than 1048576 bytes"),
    ],
)
def test_an_invalid_config_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ForeignFileError, match=message):
        read_unit_vocoder(path)


def test_a_file_of_another_model_is_refused() -> None:
    with pytest.raises(
        ForeignFileError, match="not a vocoder; expected a mapping with `generator`, got dict"
    ):
        read_unit_vocoder(FOLDER / "multi_target.pt")


def test_a_folder_is_overwritten_only_on_request(tmp_path: Path) -> None:
    import_unit_vocoder(VOCODER, tmp_path / "out")
    with pytest.raises(ValueError, match="exists"):
        import_unit_vocoder(VOCODER, tmp_path / "out")
    import_unit_vocoder(VOCODER, tmp_path / "out", overwrite=True, fp16=True)
