"""Checkpoint folders and weights (lip2speech/checkpoint/folder.py, weights.py)."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from lip2speech.checkpoint import CheckpointError, load, load_weights, replace_config, save

CARD = "# A card\n"


def tensors() -> dict[str, torch.Tensor]:
    return {
        "weight": torch.arange(6.0).reshape(2, 3) / 7,
        "bias": torch.tensor([1.0, -2.0]),
        "n": torch.tensor(3),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "model", {"n_q": 4, "ratios": [8, 5], "lr": 1e-5}, tensors(), CARD)
    return tmp_path / "model"


def test_a_saved_checkpoint_is_loaded_as_it_was(folder: Path) -> None:
    checkpoint = load(folder)
    assert checkpoint.config == {"n_q": 4, "ratios": [8, 5], "lr": 1e-5}
    assert checkpoint.card == CARD
    assert checkpoint.folder == folder
    assert checkpoint.tensors.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert torch.equal(checkpoint.tensors[name], tensor)
        assert checkpoint.tensors[name].dtype == tensor.dtype


def test_replacing_the_config_leaves_the_weights_byte_for_byte(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    replace_config(folder, {"n_q": 8})
    assert load(folder).config == {"n_q": 8}
    assert load(folder).card == CARD
    assert (folder / "model.safetensors").read_bytes() == weights
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_the_config_of_a_damaged_or_foreign_folder_is_not_replaced(folder: Path) -> None:
    before = (folder / "config.yaml").read_bytes()
    (folder / "diary.txt").write_text("dear")
    with pytest.raises(CheckpointError, match="holds diary.txt"):
        replace_config(folder, {})
    (folder / "diary.txt").unlink()
    (folder / "README.md").write_text("changed")
    with pytest.raises(CheckpointError, match="README.md: differs"):
        replace_config(folder, {})
    assert (folder / "config.yaml").read_bytes() == before


def test_a_subset_is_the_tensors_with_a_prefix(folder: Path) -> None:
    checkpoint = load(folder)
    assert checkpoint.subset("we").keys() == {"ight"}
    assert checkpoint.subset("none.") == {}


def test_checksums_have_the_format_of_sha256sum(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert sorted(line.split("  ")[1] for line in lines) == ["README.md", "config.yaml", "model.safetensors"]
    assert all(len(line.split("  ")[0]) == 64 for line in lines)


def test_an_fp16_checkpoint_is_smaller_and_loaded_as_float32(tmp_path: Path) -> None:
    weight = {"weight": torch.randn(100, 100)}
    save(tmp_path / "half", {}, weight, CARD, fp16=True)
    save(tmp_path / "full", {}, weight, CARD)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.6 * sizes[1]
    back = load(tmp_path / "half").tensors["weight"]
    assert back.dtype == torch.float32
    torch.testing.assert_close(back, weight["weight"], rtol=1e-3, atol=1e-6)


def test_shared_and_strided_tensors_are_saved_by_value(tmp_path: Path) -> None:
    base = torch.arange(6.0).reshape(2, 3)
    save(tmp_path / "m", {}, {"a": base, "b": base, "c": base.T}, CARD)
    assert torch.equal(load(tmp_path / "m").tensors["c"], base.T)


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors", "README.md"])
def test_a_changed_byte_is_an_error_that_names_the_file(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{name}: differs from its line in SHA256SUMS"):
        load(folder)


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors", "README.md", "SHA256SUMS"])
def test_a_missing_file_is_an_error_that_names_it(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        load(folder)


def test_a_missing_checksum_or_folder_is_an_error(folder: Path) -> None:
    (folder / "SHA256SUMS").write_text("")
    with pytest.raises(CheckpointError, match=r"has no line for config\.yaml"):
        load(folder)
    with pytest.raises(CheckpointError, match="no such checkpoint folder"):
        load(folder / "nowhere")


def test_an_existing_folder_is_replaced_only_with_overwrite(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="already exists"):
        save(folder, {"n_q": 1}, {}, CARD)
    assert load(folder).config["n_q"] == 4
    save(folder, {"n_q": 1}, {}, CARD, overwrite=True)
    assert load(folder).config == {"n_q": 1}
    assert os.listdir(folder.parent) == ["model"]


def test_overwrite_refuses_a_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"dear")
    with pytest.raises(CheckpointError, match=r"holds photo\.png, so it is no checkpoint folder"):
        save(tmp_path, {}, {}, CARD, overwrite=True)
    assert (tmp_path / "photo.png").read_bytes() == b"dear"


def test_nothing_is_written_on_failure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="plain values"):
        save(tmp_path / "m", {"a": object()}, tensors(), CARD)
    with pytest.raises(CheckpointError, match="bad: holds NaN"):
        save(tmp_path / "m", {}, {"bad": torch.tensor([float("nan")])}, CARD)
    with pytest.raises(CheckpointError, match="big: is too large for float16"):
        save(tmp_path / "m", {}, {"big": torch.tensor([1e6])}, CARD, fp16=True)
    assert os.listdir(tmp_path) == []


def test_load_weights_copies_every_weight() -> None:
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    load_weights(target, source.state_dict())
    assert torch.equal(target.weight, source.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": None}, "1 missing: bias"),
        ({"extra": torch.zeros(1)}, "1 unknown: extra"),
        ({"weight": torch.zeros(3, 2)}, r"weight: Linear expects shape \(2, 3\), got \(3, 2\)"),
        ({"bias": torch.tensor([0.0, float("inf")])}, "bias: holds NaN or infinite"),
    ],
)
def test_load_weights_is_strict_and_changes_nothing_on_error(change: dict, message: str) -> None:
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    given = {**nn.Linear(3, 2).state_dict(), **change}
    with pytest.raises(CheckpointError, match=message):
        load_weights(module, {name: t for name, t in given.items() if t is not None})
    assert torch.equal(module.weight, before)
