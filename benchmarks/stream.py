"""Print how late live speech is: by design, and with the time it takes to compute on this machine.

    python -m benchmarks.stream VIDEO [--model default] [--live live] [--seconds 12] [--rounds 3]

VIDEO is any clip of a talking face, repeated to the length asked for. Frames are taken to arrive 40 ms apart
and to be worked on one after another; each push is timed. The delay of a sample is from its own instant to
the end of the push that gave it. `windows` are of --model, `chunks` of --live, which must be causal.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.clips import repeat_clip
from lip2speech.constants import SAMPLE_RATE, VIDEO_FPS
from lip2speech.pipeline import Lip2Speech
from lip2speech.streaming import Stream, StreamConfig
from lip2speech.video import read_frames

CHUNKS = (1, 2, 4, 6)
HOPS = (5, 8)
SIZE = 480  # pixels a side


@dataclass(frozen=True)
class Live:
    """Seconds: late by design, delays of samples (median, 95 %, worst), computing for a second of video."""

    design: float
    median: float
    high: float
    worst: float
    rtf: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--live", default="live")
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    speech = Lip2Speech.from_pretrained(options.model, device="cpu")
    live = Lip2Speech.from_pretrained(options.live, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        repeat_clip(options.video, clip, size=SIZE, seconds=options.seconds)
        with read_frames(clip) as reader:
            frames = list(reader)
    tries = {f"windows, a hop of {hop}": (speech, StreamConfig(hop=hop)) for hop in HOPS}
    tries |= {f"chunks of {chunk}": (live, StreamConfig(chunk=chunk)) for chunk in CHUNKS}
    results: dict[str, list[Live]] = {name: [] for name in tries}
    for _ in range(options.rounds):  # in turn, so that a busy moment hits all
        for name, (system, config) in tries.items():
            results[name].append(measure(system, config, frames))
    seconds = len(frames) / VIDEO_FPS
    names = f"{speech.name} (windows) and {live.name} (chunks)"
    print(f"{seconds:.0f} s at {SIZE}x{SIZE}, models {names}, {options.rounds} rounds\n")
    print("| how | by design, ms | delay, median | 95 % | worst | computing, x real time |")
    print("|---|---|---|---|---|---|")
    for name, rounds in results.items():
        ms = [
            statistics.median(1000 * getattr(r, field) for r in rounds)
            for field in ("design", "median", "high", "worst")
        ]
        rtf = statistics.median(r.rtf for r in rounds)
        print(f"| {name} | " + " | ".join(f"{value:.0f}" for value in ms) + f" | {rtf:.2f} |")


def measure(speech: Lip2Speech, config: StreamConfig, frames: list[np.ndarray]) -> Live:
    """One live run, its clock made of the frames' instants and the time that each push took."""
    stream = Stream(speech, config=config)
    now = said = 0.0
    costs, delays = [], []
    for number, frame in enumerate(frames):
        began = time.perf_counter()
        stream.push(frame, number / VIDEO_FPS)
        wav = stream.pull()
        costs.append(time.perf_counter() - began)
        now = max(now, number / VIDEO_FPS) + costs[-1]
        if len(wav):
            delays.append(now - said)
            said += len(wav) / SAMPLE_RATE
    late = np.array(delays)
    return Live(
        stream.latency_s,
        float(np.median(late)),
        float(np.quantile(late, 0.95)),
        float(late.max()),
        sum(costs) * VIDEO_FPS / len(frames),
    )


if __name__ == "__main__":
    main()
