"""Miniature corpora of real clips: the drawn face of the sample video, with a tone as its audio."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np

from lip2speech.audio.mux import mux
from lip2speech.constants import SAMPLE_RATE
from tests.video.clips import sine, write_video

FRAMES = 30


def make_talking_clip(path: Path, sample: Path, frames: int = FRAMES) -> Path:
    """A video of `frames` frames with audio, 192x192."""
    path.parent.mkdir(parents=True, exist_ok=True)
    silent = path.with_name("silent.mp4")
    with av.open(str(sample)) as source:
        images = [f.reformat(192, 192).to_ndarray(format="rgb24") for f in source.decode(video=0)]
    write_video(silent, images[:frames])
    mux(silent, tone(frames), path)
    silent.unlink()
    return path


def tone(frames: int) -> np.ndarray:
    """(640 frames,) float32: a tone of rising level, so that every part of it is different."""
    wav = sine(frames / 25, SAMPLE_RATE, 200.0)
    return wav * np.linspace(0.3, 1, len(wav), dtype=np.float32)


def lrs3_text(words: list[tuple[str, float, float]], sentence: str | None = None) -> str:
    """A clip's text file, in the format of the corpus."""
    sentence = sentence or " ".join(word for word, _, _ in words)
    rows = "".join(f"{word} {start:.2f} {end:.2f} 9.5\n" for word, start, end in words)
    boxes = "FRAME \tX \tY \tW \tH \n00100 \t0.3 \t0.1 \t0.2 \t0.3 \n"
    head = f"Text:  {sentence}\nConf:  6\nRef:  yt0\n\n{boxes}\n"
    return head + f"WORD START END ASDSCORE\n{rows}"


def lrs3(root: Path, video: Path) -> Path:
    """One clip per set, all with the same video; the one of pretrain is a segment."""
    texts = {
        "pretrain/yt1/00001": lrs3_text([("HELLO", 0.1, 0.5), ("{LG}", 0.5, 0.6), ("AGAIN", 0.7, 1.1)]),
        "trainval/yt1/50001": lrs3_text([], "IT'S {LG} HELLO"),
        "test/yt2/00001": lrs3_text([], "GOOD BYE"),
    }
    for name, text in texts.items():
        path = root / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, path)
        path.with_suffix(".txt").write_text(text)
    return root


def voxceleb2(root: Path, video: Path) -> Path:
    """Two speakers, the audio of one of them below `aac`."""
    for name in ("dev/mp4/id00012/abc/00001", "dev/mp4/id00012/abc/00002", "test/mp4/id00017/xyz/00003"):
        path = root / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, path)
    audio = root / "test/aac/id00017/xyz/00003.m4a"
    audio.parent.mkdir(parents=True)
    shutil.copy(video, audio)
    return root
