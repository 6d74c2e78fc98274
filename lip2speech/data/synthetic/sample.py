"""The sample clip that is bundled with the default model: a drawn face of the test split, without audio.

python -m lip2speech.data.synthetic.sample lip2speech/pretrained/sample.mp4
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from lip2speech.data.synthetic.clip import SynthesisJob, make_frames, write_clip
from lip2speech.data.synthetic.voices import synthesize_utterance

SEED, INDEX = 2024, 2  # a clip of the test split with a well-lit face
CRF = 22  # better than the clip's own, as it is made to be looked at
MAX_BYTES = 150_000


def make_sample(path: Path | str) -> Path:
    """Write the silent clip to `path` (.mp4) and its text next to it (.txt); returns the clip's path.

    Frames are reproducible; the bytes of the mp4 depend on the FFmpeg version.
    """
    path = Path(path)
    if path.suffix != ".mp4":
        raise ValueError(f"{path}: the sample is an mp4; give a name that ends in .mp4.")
    path.parent.mkdir(parents=True, exist_ok=True)
    job = SynthesisJob(path.parent, "test", SEED, INDEX, "drawn")
    utterance = synthesize_utterance(job.split, job.seed, job.index)
    frames, camera, _, _ = make_frames(job, utterance)
    partial = path.with_suffix(".part")
    write_clip(partial, frames, replace(camera, crf=CRF), None)
    if (size := partial.stat().st_size) > MAX_BYTES:
        partial.unlink()
        raise RuntimeError(
            f"the sample has {size} bytes, at most {MAX_BYTES} are allowed; choose another index."
        )
    os.replace(partial, path)
    path.with_suffix(".txt").write_text(utterance.text + "\n")
    return path


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m lip2speech.data.synthetic.sample OUT.mp4")
    make_sample(sys.argv[1])
