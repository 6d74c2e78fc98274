"""The mean of trainings (lip2speech/train/checkpoint_averaging.py)."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from lip2speech import checkpoint
from lip2speech.cli.train import train
from lip2speech.train.checkpoint_averaging import average


def save(folder: Path, value: float, config: dict[str, Any] | None = None, **more: Tensor) -> Path:
    tensors = {"w": torch.full((2, 3), value), "steps": torch.tensor([7])} | more
    checkpoint.save(folder, {"kind": "x"} | (config or {}), tensors, "# One\n")
    return folder


def test_every_weight_is_the_mean_and_the_config_stays(tmp_path: Path) -> None:
    folders = [save(tmp_path / str(i), value) for i, value in enumerate((1.0, 2.0, 6.0))]
    assert average(folders, tmp_path / "mean") == 2
    found = checkpoint.load(tmp_path / "mean")
    assert torch.equal(found.tensors["w"], torch.full((2, 3), 3.0))
    assert found.tensors["steps"].tolist() == [7] and found.config == {"kind": "x"}
    assert found.card.startswith("# The mean of 3 trainings")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"config": {"width": 2}}, "differ in width of their config.yaml"),
        ({"w": torch.zeros(3)}, "do not both have w in one shape"),
        ({"v": torch.zeros(3)}, "do not both have v"),
        ({"steps": torch.tensor([8])}, "steps holds whole numbers that differ"),
    ],
)
def test_what_is_not_one_model_has_no_mean(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    folders = [save(tmp_path / "a", 1.0), save(tmp_path / "b", 1.0, **other)]
    with pytest.raises(ValueError, match=message):
        average(folders, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_one_folder_has_no_mean(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two folders or more, got 1"):
        average([save(tmp_path / "a", 1.0)], tmp_path / "mean")


def test_the_command_writes_it_and_replaces_nothing_unasked(tmp_path: Path) -> None:
    words = ["average", *(str(save(tmp_path / n, 1.0)) for n in "ab"), "--out", str(tmp_path / "mean")]
    assert "the mean of 2 folders, 2 tensors" in CliRunner().invoke(train, words).output
    assert CliRunner().invoke(train, words).exit_code != 0
    assert CliRunner().invoke(train, [*words, "--overwrite"]).exit_code == 0
