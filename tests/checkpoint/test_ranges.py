"""Every number of a model's config has a range, and one outside it is the model's fault."""

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from lip2speech import checkpoint
from lip2speech.checkpoint import CheckpointError
from lip2speech.cli import app
from lip2speech.pipeline import Lip2Speech
from tests.factories import save_system_with_prior

NAN = float("nan")


def change(folder: Path, path: str, value: Any) -> None:
    """Set one number of the config, and the checksums with it."""
    config = checkpoint.load(folder).config
    *groups, last = path.split(".")
    group = config
    for name in groups:
        group = group[name]
    group[last] = value
    checkpoint.replace_config(folder, config)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_system_with_prior(tmp_path / "model")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("transform.crop", 0, "crop 1 to 96"),
        ("transform.crop", 97, "crop 1 to 96"),
        ("transform.std", 0.0, "std 0.001 to 10"),
        ("transform.std", NAN, "std 0.001 to 10"),
        ("transform.mean", 1e30, "mean must be 0 to 1"),
        ("inference.window_frames", 10**9, "window_frames must be 100000 or less"),
        ("inference.confidence_threshold", NAN, "confidence_threshold must be 0 to 1"),
        ("mel.f_max", -1.0, "f_min < f_max"),
        ("mel.f_min", NAN, "f_min < f_max"),
        ("mel.log_floor", 0.0, "log_floor 1e-12 to 1"),
        ("mel.power", NAN, "power must be 0.1 to 4"),
        ("model.frontend.heads", -1, "model.frontend.heads: is -1, expected 0 or more"),
        ("model.heads.dropout", 1.5, "model.heads.dropout: is 1.5, expected 0 to 1"),
        ("codec.config.decoder.trim_right_ratio", 3.0, "trim_right_ratio: is 3.0, expected 0 to 1"),
        ("codec.config.decoder.trim_right_ratio", -1.0, "trim_right_ratio: is -1.0, expected 0 or more"),
    ],
)
def test_a_number_out_of_range_is_refused_with_its_range(
    folder: Path, path: str, value: Any, message: str
) -> None:
    change(folder, path, value)
    with pytest.raises(CheckpointError, match=message) as caught:
        Lip2Speech.from_pretrained(folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_convert_exits_with_5_for_a_number_out_of_range(folder: Path, tmp_path: Path) -> None:
    change(folder, "transform.crop", 0)
    command = [
        "convert",
        "lip2speech/pretrained/sample.mp4",
        "--model",
        str(folder),
        "-o",
        str(tmp_path / "a.wav"),
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 5
    assert len(result.stderr.splitlines()) == 1
    assert "crop 1 to 96" in result.stderr


@pytest.mark.parametrize("value", [-1, 10**6, NAN])
@pytest.mark.parametrize("group", ["transform", "mel", "inference", "code_prior.config"])
def test_a_model_with_any_number_changed_is_refused_or_synthesizes(
    folder: Path, group: str, value: float
) -> None:
    original = values = checkpoint.load(folder).config
    for name in group.split("."):
        values = values[name]
    for name, old in dict(values).items():
        if isinstance(old, bool | str | None | list) or (isinstance(old, int) and value != value):
            continue
        change(folder, f"{group}.{name}", type(old)(value))
        try:
            model = Lip2Speech.from_pretrained(folder, device="cpu")
        except CheckpointError:
            pass
        else:
            roi = torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8)
            assert model.synthesize(roi, torch.zeros(model.model.config.heads.speaker_dim)).isfinite().all()
        change(folder, f"{group}.{name}", old)
    assert original["kind"] == "lip2speech"
    assert torch.is_grad_enabled()  # a refusal leaves PyTorch as it was
