"""Print the cost of `convert`: real-time factor in all and per stage, start-up time, peak memory by length.

    python -m benchmarks.convert VIDEO [--size 512] [--seconds 10] [--long 600] [--rounds 3]

VIDEO is any clip of a talking face. It is scaled to size x size and looped to the requested length, so that
results hardly depend on the clip. Each round runs in a fresh process, as for a user.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.clips import repeat_clip

CONVERT = """
import json, resource, sys, time
start = time.perf_counter()
from lip2speech.pipeline import Lip2Speech
model = Lip2Speech.from_pretrained("default", device="cpu")
loaded = time.perf_counter() - start
result = model.convert_to_file(sys.argv[1], sys.argv[2])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"load": loaded, "rtf": result.elapsed_s / result.duration, "mb": peak}))
"""
STAGES = """
import json, sys, time
from lip2speech.pipeline import Lip2Speech
from lip2speech.video import load_roi
model = Lip2Speech.from_pretrained("default", device="cpu")
def timed(call):
    call(); start = time.perf_counter(); value = call(); return value, time.perf_counter() - start
(roi, _), video_s = timed(lambda: load_roi(sys.argv[1]))
prediction, model_s = timed(lambda: model.predict(roi[:75]))
stages = {"video": video_s / float(sys.argv[2]), "model": model_s / 3}
for vocoder in model.vocoder_names:
    stages[vocoder] = timed(lambda: model.vocode(prediction, vocoder))[1] / 3
print(json.dumps(stages))
"""
FIRST_PROGRESS = """
import os
from lip2speech.cli import _progress
_progress.Progress.__call__ = lambda self, fraction: (print("progress", flush=True), os._exit(0))
from lip2speech.cli import app
app()
"""


def run_python(code: str, *arguments: str) -> dict[str, float]:
    """The JSON that `code` prints, run in a fresh process."""
    command = [sys.executable, "-c", code, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return result


def time_to_first_progress(video: Path, out: Path) -> float:
    """Seconds from the start of the command to its first progress update, imports included."""
    start = time.perf_counter()
    command = [sys.executable, "-c", FIRST_PROGRESS, "convert", str(video), "-o", str(out)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.stdout == "progress\n", process.stderr
    return time.perf_counter() - start


def print_table(options: argparse.Namespace, folder: Path) -> None:
    """All measurements as a Markdown table."""
    clip, out = folder / "clip.mp4", folder / "out.wav"
    repeat_clip(options.video, clip, size=options.size, seconds=options.seconds)
    rows = [run_python(CONVERT, str(clip), str(out)) for _ in range(options.rounds)]
    starts = [time_to_first_progress(clip, folder / f"{i}.wav") for i in range(options.rounds)]
    stages = run_python(STAGES, str(clip), str(options.seconds))
    print(
        f"{os.cpu_count()} cores, {options.size}x{options.size}, {options.seconds:g} s, default model, CPU\n"
    )
    print("| measurement | median | best |\n|---|---|---|")
    for key, label in (("rtf", "end-to-end, real-time factor"), ("load", "imports and model, s")):
        print_row(label, [row[key] for row in rows], 3)
    print_row("command to first progress, s", starts, 2)
    for stage, seconds in stages.items():
        print(f"| stage: {stage}, s per s of video | {seconds:.3f} | |")
    short = statistics.median(row["mb"] for row in rows)
    print(f"| peak memory, {options.seconds:g} s, MB | {short:.0f} | |")
    if options.long:
        long = folder / "long.mp4"
        repeat_clip(options.video, long, size=options.size, seconds=options.long)
        row = run_python(CONVERT, str(long), str(out))
        print(f"| peak memory, {options.long:g} s, MB | {row['mb']:.0f} | |")
        print(f"| real-time factor, {options.long:g} s | {row['rtf']:.3f} | |")


def print_row(label: str, values: list[float], digits: int) -> None:
    """Median and minimum of one measurement."""
    print(f"| {label} | {statistics.median(values):.{digits}f} | {min(values):.{digits}f} |")


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("video", type=Path)
    arguments: dict[str, Any] = {"--size": 512, "--seconds": 10.0, "--long": 600.0, "--rounds": 3}
    for name, default in arguments.items():
        parser.add_argument(name, type=type(default), default=default)
    with tempfile.TemporaryDirectory() as folder:
        print_table(parser.parse_args(), Path(folder))


if __name__ == "__main__":
    main()
