"""Logs of a run: rows, lines, samples, TensorBoard (lip2speech/train/core/logging.py)."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lip2speech.audio.io import read_wav
from lip2speech.train.core.config import TrainerConfig
from lip2speech.train.core.logging import MetricLogger, mean_over_micro_batches
from lip2speech.train.core.trainer import Trainer
from tests.train.processes import Line, codec_task, lip_task

CONFIG = TrainerConfig(steps=4, log_every=2, valid_every=4, save_every=4, sample_every=2)


def test_metrics_are_averaged_over_micro_batches_except_those_of_the_whole_step() -> None:
    rows = [
        {"loss": 1.0, "grad_norm": float("nan"), "skipped_steps": 0, "ctc": 4.0},
        {"loss": 3.0, "grad_norm": 5.0, "skipped_steps": 1},
    ]
    assert mean_over_micro_batches(rows) == {"loss": 2.0, "grad_norm": 5.0, "skipped_steps": 1, "ctc": 4.0}


def test_a_line_torn_by_a_kill_does_not_damage_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"st')
    MetricLogger(CONFIG, tmp_path, 1, quiet=True).write_row({"step": 2})
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [lines[0], json.loads(lines[2])] == ['{"step": 1}', {"step": 2}]


def test_lines_and_progress_are_passed_to_the_callbacks(tmp_path: Path) -> None:
    lines: list[str] = []
    fractions: list[float] = []
    Trainer(CONFIG, tmp_path, log_fn=lines.append, progress=fractions.append).fit(Line(2))
    assert fractions == [0.25, 0.5, 0.75, 1.0]
    assert [line.split()[:2] for line in lines] == [["step", "2/4"], ["step", "4/4"], ["valid", "4"]]


class TaskWithSamples(Line):
    """A task with two samples, one of them not finite."""

    sample_rate = 24_000

    def samples(self) -> dict[str, Tensor]:
        time = torch.arange(24_000) / 24_000
        return {"tone": 0.5 * torch.sin(2765 * time), "broken": torch.full((24_000,), float("nan"))}


def test_samples_are_written_as_audio_and_image_and_to_tensorboard(tmp_path: Path, capsys: Any) -> None:
    import cv2
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    Trainer(TrainerConfig(**(vars(CONFIG) | {"tensorboard": True})), tmp_path).fit(TaskWithSamples(2))
    assert "step 2: sample broken is not finite; skipped." in capsys.readouterr().out
    for step in (2, 4):
        folder = tmp_path / "samples" / f"step-{step:08d}"
        assert sorted(p.name for p in folder.iterdir()) == ["tone.png", "tone.wav"]
        assert read_wav(folder / "tone.wav", 24_000).shape == (24_000,)
        assert cv2.imread(str(folder / "tone.png")).shape == (320, 300, 3)
    tensorboard = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"train/loss", "train/grad_norm", "valid/loss"} <= set(tensorboard.Tags()["scalars"])
    assert [event.step for event in tensorboard.Scalars("train/loss")] == [2, 4]
    assert tensorboard.Tags()["audio"] == tensorboard.Tags()["images"] == ["tone"]


@pytest.mark.parametrize(
    ("build", "names"), [(lip_task, {"predicted", "reference"}), (codec_task, {"original", "decoded"})]
)
def test_samples_are_finite_and_deterministic(build: Any, names: set, prepared: Path) -> None:
    task = build(prepared)
    torch.manual_seed(0)  # Griffin-Lim begins with random phases
    samples = task.samples()
    assert set(samples) == names
    assert len({wav.shape for wav in samples.values()}) == 1
    assert all(wav.dim() == 1 and wav.isfinite().all() for wav in samples.values())
    torch.manual_seed(0)
    assert all(torch.equal(wav, samples[name]) for name, wav in task.samples().items())
