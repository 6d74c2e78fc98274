"""Print the latency of live speech: algorithmic, and including the computing time on this machine.

    python -m benchmarks.stream VIDEO [--model default] [--live live] [--seconds 12] [--rounds 3]

VIDEO is any clip of a talking face, looped to the requested length. Frames arrive 40 ms apart and are
processed one after another; each push is timed. The delay of a sample is measured from the time of its video
frame to the end of the push that returned it. `windows` are of --model, `chunks` of --live, which must be
causal.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import repeat_clip
from lip2speech.constants import SAMPLE_RATE, VIDEO_FPS
from lip2speech.pipeline import Lip2Speech
from lip2speech.streaming import Stream, StreamConfig
from lip2speech.video import read_frames

CHUNKS = (1, 2, 4, 6)
HOPS = (5, 8)
SIZE = 480  # pixels


@dataclass(frozen=True)
class Latency:
    """Algorithmic latency and delays of samples (median, 95 %, maximum) in ms, and the real-time factor."""

    algorithmic_ms: float
    median_ms: float
    p95_ms: float
    max_ms: float
    rtf: float


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--live", default="live")
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model = Lip2Speech.from_pretrained(options.model, device="cpu")
    live = Lip2Speech.from_pretrained(options.live, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        repeat_clip(options.video, clip, size=SIZE, seconds=options.seconds)
        with read_frames(clip) as reader:
            frames = list(reader)
    configs = {f"windows, hop {hop}": (model, StreamConfig(hop=hop)) for hop in HOPS}
    configs |= {f"chunks of {chunk}": (live, StreamConfig(chunk=chunk)) for chunk in CHUNKS}
    results: dict[str, list[Latency]] = {name: [] for name in configs}
    for _ in range(options.rounds):  # alternating, so that background load affects all alike
        for name, (system, config) in configs.items():
            results[name].append(measure(system, config, frames))
    names = f"{model.name} (windows) and {live.name} (chunks)"
    seconds = len(frames) / VIDEO_FPS
    print(f"{seconds:.0f} s at {SIZE}x{SIZE}, models {names}, {options.rounds} rounds\n")
    print("| mode | algorithmic latency, ms | delay, median | 95 % | max | computing, real-time factor |")
    print("|---|---|---|---|---|---|")
    for name, rounds in results.items():
        *times, rtf = (statistics.median(values) for values in zip(*map(astuple, rounds), strict=True))
        print(f"| {name} | " + " | ".join(f"{value:.0f}" for value in times) + f" | {rtf:.2f} |")


def measure(model: Lip2Speech, config: StreamConfig, frames: list[NDArray[Any]]) -> Latency:
    """One live run in simulated time: frame times plus the time that each push took."""
    stream = Stream(model, config=config)
    now = output_s = compute_s = 0.0
    delays = []
    for index, frame in enumerate(frames):
        start = time.perf_counter()
        stream.push(frame, index / VIDEO_FPS)
        wav = stream.pull()
        elapsed = time.perf_counter() - start
        compute_s += elapsed
        now = max(now, index / VIDEO_FPS) + elapsed
        if len(wav):
            delays.append(now - output_s)
            output_s += len(wav) / SAMPLE_RATE
    delays_ms = 1000 * np.array(delays)
    return Latency(
        1000 * stream.latency_s,
        float(np.median(delays_ms)),
        float(np.quantile(delays_ms, 0.95)),
        float(delays_ms.max()),
        compute_s * VIDEO_FPS / len(frames),
    )


if __name__ == "__main__":
    main()
