"""Logs of a training run: log.jsonl, printed lines, audio samples with spectrograms, TensorBoard on request.

In distributed training rank 0 logs the metrics of its own micro-batches; the other ranks are silent.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lip2speech.audio.io import write_wav
from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.train.core.config import TrainerConfig
from lip2speech.utils import distributed

LAST_MICRO_BATCH_KEYS = ("grad_norm", "skipped_steps")
"""Metrics of a whole step, known to its last micro-batch only."""


def mean_over_micro_batches(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Metrics of a step from those of its micro-batches: each the mean over the rows that have it."""
    if len(rows) == 1:
        return dict(rows[0])
    names = dict.fromkeys(name for row in rows for name in row)
    means = {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
    return means | {name: rows[-1][name] for name in LAST_MICRO_BATCH_KEYS if name in rows[-1]}


class MetricLogger:
    """Averages metrics over each log interval and writes them.

    Args:
        start: the step that the run starts or resumes from.
        log_fn: called with each line unless `quiet`; prints by default.
        progress: called with the fraction of the run that is done after each step.
    """

    def __init__(
        self,
        config: TrainerConfig,
        folder: Path,
        start: int,
        *,
        quiet: bool = False,
        log_fn: Callable[[str], None] | None = None,
        progress: Callable[[float], None] | None = None,
    ):
        self.config, self.folder, self.start = config, folder, start
        self.writes = distributed.rank() == 0
        self.quiet = quiet or not self.writes
        self.log_fn, self.progress = log_fn or print_flush, progress
        self.path = folder / "log.jsonl"
        self.start_time = time.monotonic()
        self.values: dict[str, list[float]] = {}
        self.tensorboard = self.open_tensorboard() if config.tensorboard and self.writes else None
        if self.writes and self.path.exists() and not self.path.read_bytes().endswith(b"\n"):
            with self.path.open("a") as file:
                file.write("\n")  # a killed run left half a line

    def open_tensorboard(self) -> Any:
        """TensorBoard's writer; events of an earlier run beyond `start` are hidden."""
        from torch.utils.tensorboard.writer import SummaryWriter

        return SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.start + 1)

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Collect the metrics of one step."""
        for name, value in metrics.items():
            self.values.setdefault(name, []).append(value)
        if self.progress is not None:
            self.progress(step / self.config.steps)

    def log_train(self, step: int) -> None:
        """Write the means of the metrics since the last call."""
        means = {name: float(np.mean(values)) for name, values in self.values.items()}
        self.values.clear()
        pace = (time.monotonic() - self.start_time) / max(1, step - self.start)
        self.write_row({"step": step, "sec_per_step": round(pace, 3), **means})
        self.log_scalars("train", step, means)
        left = pace * (self.config.steps - step) / 60
        text = " ".join(f"{name} {value:.4f}" for name, value in means.items())
        self.print(f"step {step}/{self.config.steps}  {text}  {pace:.2f} s/step, {left:.0f} min left")

    def log_validation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write metrics on held-out data."""
        self.write_row({"step": step, "valid": dict(metrics)})
        self.log_scalars("valid", step, metrics)
        self.print(f"valid {step}  " + " ".join(f"{name} {value:.4f}" for name, value in metrics.items()))

    def log_samples(self, step: int, samples: Mapping[str, Tensor], sample_rate: int) -> None:
        """Write audio (T_a,) and log-mel images to samples/step-N, and to TensorBoard."""
        from lip2speech.audio.plot import mel_image
        from lip2speech.video.diagnostics import write_png

        folder = self.folder / "samples" / f"step-{step:08d}"
        for name, wav in samples.items():
            if not wav.isfinite().all():
                self.print(f"step {step}: sample {name} is not finite; skipped.")
                continue
            folder.mkdir(parents=True, exist_ok=True)
            write_wav(folder / f"{name}.wav", wav, sample_rate)
            image = mel_image(LogMel(MelConfig(sample_rate=sample_rate))(wav[None, None])[0])
            write_png(folder / f"{name}.png", image)
            if self.tensorboard is not None:
                self.tensorboard.add_audio(name, wav[None], step, sample_rate)
                self.tensorboard.add_image(name, image, step, dataformats="HWC")

    def log_scalars(self, prefix: str, step: int, metrics: Mapping[str, float]) -> None:
        """Write metrics to TensorBoard as PREFIX/NAME."""
        if self.tensorboard is not None:
            for name, value in metrics.items():
                self.tensorboard.add_scalar(f"{prefix}/{name}", value, step)

    def write_row(self, row: dict[str, Any]) -> None:
        """Append a line to log.jsonl."""
        if self.writes:
            with self.path.open("a") as file:
                file.write(json.dumps(json_safe(row)) + "\n")

    def print(self, text: str) -> None:
        """Pass a line to `log_fn`."""
        if not self.quiet:
            self.log_fn(text)

    def close(self) -> None:
        """Flush and close TensorBoard."""
        if self.tensorboard is not None:
            self.tensorboard.close()


def print_flush(text: str) -> None:
    """Print a line on stdout without buffering."""
    print(text, flush=True)


def json_safe(value: Any) -> Any:
    """Plain values with null in place of NaN and infinity, which JSON lacks."""
    if isinstance(value, dict):
        return {name: json_safe(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
