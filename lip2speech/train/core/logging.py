"""What a run tells while it goes: JSON lines, printed lines, TensorBoard when asked, sounds and pictures.

Of many processes the first one tells of its own share of each batch; the others are silent.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from lip2speech.audio.io import write_wav
from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.train.core import distributed

if TYPE_CHECKING:
    from lip2speech.train.core.trainer import TrainerConfig

AT_THE_END = ("grad", "skipped")
"""Figures of a whole update: its last part knows them."""


def over_parts(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """One row of figures for an update of several parts: the mean over the parts that tell each."""
    if len(rows) == 1:
        return dict(rows[0])
    names = dict.fromkeys(name for row in rows for name in row)
    means = {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
    return means | {name: rows[-1][name] for name in AT_THE_END if name in rows[-1]}


class MetricLogger:
    """Averages, JSON lines, one printed line per log interval.

    Args:
        start: the step the run goes on from.
        say: takes each line, unless `quiet`.
        progress: takes the share of the run that is done after each step.
    """

    def __init__(
        self,
        config: TrainerConfig,
        folder: Path,
        start: int,
        *,
        quiet: bool = False,
        say: Callable[[str], None] | None = None,
        progress: Callable[[float], None] | None = None,
    ):
        self.config, self.folder, self.start = config, folder, start
        self.writes = distributed.rank() == 0
        self.quiet = quiet or not self.writes
        self.tell, self.progress = say or say_line, progress
        self.log = folder / "log.jsonl"
        self.began = time.monotonic()
        self.sums: dict[str, list[float]] = {}
        self.board = self.open_board() if config.tensorboard and self.writes else None
        if self.writes and self.log.exists() and not self.log.read_bytes().endswith(b"\n"):
            self.log.open("a").write("\n")  # a kill tore the last line; the next one must not hang on to it

    def open_board(self) -> Any:
        """TensorBoard's writer; what an earlier run wrote beyond `start` is hidden."""
        from torch.utils.tensorboard.writer import SummaryWriter

        return SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.start + 1)

    def add(self, step: int, values: dict[str, float]) -> None:
        """The figures of one step."""
        for name, value in values.items():
            self.sums.setdefault(name, []).append(value)
        if self.progress is not None:
            self.progress(step / self.config.steps)

    def write(self, step: int) -> None:
        """Means since the last time."""
        means = {k: float(np.mean(v)) for k, v in self.sums.items()}
        self.sums.clear()
        pace = (time.monotonic() - self.began) / max(1, step - self.start)
        self.record({"step": step, "s_per_step": round(pace, 3), **means})
        self.chart("train", step, means)
        left = pace * (self.config.steps - step) / 60
        text = " ".join(f"{k} {v:.4f}" for k, v in means.items())
        self.say(f"step {step}/{self.config.steps}  {text}  {pace:.2f} s/step, {left:.0f} min left")

    def valid(self, step: int, values: dict[str, float]) -> None:
        """Held-out figures."""
        self.record({"step": step, "valid": values})
        self.chart("valid", step, values)
        self.say(f"valid {step}  " + " ".join(f"{k} {v:.4f}" for k, v in values.items()))

    def samples(self, step: int, sounds: Mapping[str, Tensor], sample_rate: int) -> None:
        """Sounds (T_a,) and pictures of their log-mels into samples/step-N, and to the board."""
        from lip2speech.video.diagnostics import write_png

        place = self.folder / "samples" / f"step-{step:08d}"
        for name, wav in sounds.items():
            if not wav.isfinite().all():
                self.say(f"the sample {name} of step {step} is not finite; it is left out.")
                continue
            place.mkdir(parents=True, exist_ok=True)
            write_wav(place / f"{name}.wav", wav, sample_rate)
            picture = paint(LogMel(MelConfig(sample_rate=sample_rate))(wav[None, None])[0])
            write_png(place / f"{name}.png", picture)
            if self.board is not None:
                self.board.add_audio(name, wav[None], step, sample_rate)
                self.board.add_image(name, picture, step, dataformats="HWC")

    def chart(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Figures as curves of the board."""
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"{kind}/{name}", value, step)

    def record(self, row: dict[str, Any]) -> None:
        """A line of log.jsonl."""
        if self.writes:
            with self.log.open("a") as file:
                file.write(json.dumps(finite(row)) + "\n")

    def say(self, text: str) -> None:
        """A printed line."""
        if not self.quiet:
            self.tell(text)

    def close(self) -> None:
        """Write out what the board still holds."""
        if self.board is not None:
            self.board.close()


INK = np.array([[0, 0, 8], [80, 18, 123], [229, 92, 48], [252, 253, 191]], dtype=np.float32)
"""From silence to loud, RGB."""
RANGE = 8.0  # nats below the loudest that a picture shows


def paint(mel: Tensor) -> np.ndarray:
    """A picture of a log-mel (n_mels, T), low bands at the bottom: (4 n_mels, 2 T, 3) uint8."""
    shares = (1 + (mel - mel.max()) / RANGE).clamp(0, 1).flip(0).cpu().numpy()
    steps = np.linspace(0, 1, len(INK))
    picture = np.stack([np.interp(shares, steps, channel) for channel in INK.T], -1)
    return picture.astype(np.uint8).repeat(4, 0).repeat(2, 1)


def say_line(text: str) -> None:
    """A line on stdout, at once."""
    print(text, flush=True)


def finite(value: Any) -> Any:
    """Plain values with null for NaN and infinity, which JSON does not know."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
