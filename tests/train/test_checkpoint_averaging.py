"""Weight averaging (lip2speech/train/checkpoint_averaging.py)."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from lip2speech import checkpoint
from lip2speech.cli import app
from lip2speech.train.checkpoint_averaging import average_checkpoints


def save(folder: Path, value: float, config: dict[str, Any] | None = None, **more: Tensor) -> Path:
    tensors = {"w": torch.full((2, 3), value), "steps": torch.tensor([7])} | more
    checkpoint.save(folder, {"kind": "x"} | (config or {}), tensors, "# One\n")
    return folder


def test_weights_are_averaged_and_the_config_is_kept(tmp_path: Path) -> None:
    folders = [save(tmp_path / str(i), value) for i, value in enumerate((1.0, 2.0, 6.0))]
    assert average_checkpoints(folders, tmp_path / "mean") == 2
    found = checkpoint.load(tmp_path / "mean")
    assert torch.equal(found.tensors["w"], torch.full((2, 3), 3.0))
    assert found.tensors["steps"].tolist() == [7]
    assert found.config == {"kind": "x"}
    assert found.card.startswith("# Mean of 3 checkpoints")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"config": {"width": 2}}, "differ in width of their config.yaml"),
        ({"w": torch.zeros(3)}, "do not both have w in the same shape"),
        ({"v": torch.zeros(3)}, "do not both have v"),
        ({"steps": torch.tensor([8])}, "different integers in steps"),
    ],
)
def test_checkpoints_of_different_models_are_refused(
    tmp_path: Path, other: dict[str, Any], message: str
) -> None:
    folders = [save(tmp_path / "a", 1.0), save(tmp_path / "b", 1.0, **other)]
    with pytest.raises(ValueError, match=message):
        average_checkpoints(folders, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_a_single_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="averaging needs two folders or more, got 1"):
        average_checkpoints([save(tmp_path / "a", 1.0)], tmp_path / "mean")


def test_the_command_writes_the_mean_and_overwrites_only_on_request(tmp_path: Path) -> None:
    words = [
        "model",
        "average",
        *(str(save(tmp_path / n, 1.0)) for n in "ab"),
        "--out",
        str(tmp_path / "mean"),
    ]
    assert "mean of 2 checkpoints, 2 tensors" in CliRunner().invoke(app, words).output
    assert CliRunner().invoke(app, words).exit_code != 0
    assert CliRunner().invoke(app, [*words, "--overwrite"]).exit_code == 0
