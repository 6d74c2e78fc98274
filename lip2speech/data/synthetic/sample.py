"""The sample clip that is bundled with the default model: a drawn face of the test split, without sound.

It was made by `make_sample("lip2speech/pretrained/sample.mp4")`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from lip2speech.data.synthetic.corpus import SynthesisJob, make_frames, write_clip
from lip2speech.data.synthetic.voices import synthesize_utterance

SEED, INDEX = 2024, 2  # a clip of the test split with a face that is lit well
CRF = 22  # better than the clip's own: this one is looked at
MAX_BYTES = 150_000


def make_sample(path: Path | str) -> Path:
    """Write the silent clip to `path` (.mp4) and its words beside it (.txt); returns the clip's path."""
    path = Path(path)
    if path.suffix != ".mp4":
        raise ValueError(f"{path}: the sample is an mp4; give a name that ends in .mp4.")
    path.parent.mkdir(parents=True, exist_ok=True)
    job = SynthesisJob(path.parent, "test", SEED, INDEX, "drawn")
    speech = synthesize_utterance(job.split, job.seed, job.index)
    frames, camera, _, _ = make_frames(job, speech)
    part = path.with_suffix(".part")
    write_clip(part, frames, replace(camera, crf=CRF), None)
    if (size := part.stat().st_size) > MAX_BYTES:
        part.unlink()
        raise RuntimeError(
            f"the sample has {size} bytes, at most {MAX_BYTES} are allowed; choose another index."
        )
    os.replace(part, path)
    path.with_suffix(".txt").write_text(speech.text + "\n")
    return path
