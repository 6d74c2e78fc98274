"""Print what `convert` costs: real-time factor of the whole path and its parts, start-up, memory by length.

    python -m benchmarks.convert VIDEO [--size 512] [--seconds 10] [--long 600] [--rounds 3]

VIDEO is any clip of a talking face; it is scaled to size x size and repeated to the length asked for, so
that the figures do not depend on whose clip it is. Each round runs in a fresh process, as a user would.
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

from benchmarks.clips import repeat_clip

CONVERT = """
import json, resource, sys, time
began = time.perf_counter()
from lip2speech.pipeline import Lip2Speech
speech = Lip2Speech.from_pretrained("default", device="cpu")
loaded = time.perf_counter() - began
first = []
def note(fraction):
    first.append(time.perf_counter() - began)
spoken = speech.convert_to_file(sys.argv[1], sys.argv[2], progress=note)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"load": loaded, "first": first[0], "rtf": spoken.seconds / spoken.duration, "mb": peak}))
"""
PARTS = """
import json, sys, time
import numpy as np
from lip2speech.pipeline import Lip2Speech
from lip2speech.video import load_roi
speech = Lip2Speech.from_pretrained("default", device="cpu")
def timed(call):
    call(); began = time.perf_counter(); value = call(); return value, time.perf_counter() - began
(roi, _), video = timed(lambda: load_roi(sys.argv[1]))
roi = roi[:75]
prediction, model = timed(lambda: speech.predict(roi))
parts = {"video": video / float(sys.argv[2]), "model": model / 3}
for route in speech.vocoder_names:
    parts[route] = timed(lambda: speech.vocode(prediction, route))[1] / 3
print(json.dumps(parts))
"""


def run_python(code: str, *arguments: str) -> dict[str, float]:
    """The JSON that `code` prints in a process of its own."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def first_sign(video: Path, out: Path) -> float:
    """Seconds from typing the command to its first progress, torch's import included."""
    began = time.perf_counter()
    code = (
        "from lip2speech.cli import progress; import os, sys\n"
        "progress.Progress.__call__ = lambda self, fraction: (print('first', flush=True), os._exit(0))\n"
        "from lip2speech.cli import app; app()"
    )
    subprocess.run([sys.executable, "-c", code, "convert", str(video), "-o", str(out)], capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--long", type=float, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip, long, out = folder / "clip.mp4", folder / "long.mp4", folder / "out.wav"
        repeat_clip(options.video, clip, size=options.size, seconds=options.seconds)
        rows = [run_python(CONVERT, str(clip), str(out)) for _ in range(options.rounds)]
        starts = [first_sign(clip, folder / f"never{i}.wav") for i in range(options.rounds)]
        parts = run_python(PARTS, str(clip), str(options.seconds))
        shape = f"{options.size}x{options.size}, {options.seconds:g} s"
        print(f"{os.cpu_count()} cores, {shape}, default model, CPU\n")
        print("| what | median | best |\n|---|---|---|")
        for key, label in (("rtf", "whole path, real-time factor"), ("load", "imports and model, s")):
            values = [row[key] for row in rows]
            print(f"| {label} | {statistics.median(values):.3f} | {min(values):.3f} |")
        print(f"| command to first progress, s | {statistics.median(starts):.2f} | {min(starts):.2f} |")
        for part, seconds in parts.items():
            print(f"| of it: {part}, s per s of video | {seconds:.3f} | |")
        short = statistics.median(row["mb"] for row in rows)
        print(f"| peak memory, {options.seconds:g} s, MB | {short:.0f} | |")
        if options.long:
            repeat_clip(options.video, long, size=options.size, seconds=options.long)
            row = run_python(CONVERT, str(long), str(out))
            print(f"| peak memory, {options.long:g} s, MB | {row['mb']:.0f} | |")
            print(f"| real-time factor, {options.long:g} s | {row['rtf']:.3f} | |")


if __name__ == "__main__":
    main()
