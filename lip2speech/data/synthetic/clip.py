"""One clip of the synthetic corpus: its utterance, its frames and its files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.constants import SAMPLE_RATE, VIDEO_FPS
from lip2speech.data.synthetic.articulation import SilentSpeechStyle, apply_silent_style
from lip2speech.data.synthetic.render.faces import Canvas
from lip2speech.data.synthetic.render.features import draw_canvas
from lip2speech.data.synthetic.render.frames import render_frames
from lip2speech.data.synthetic.render.scene import Camera, sample_camera, sample_pose
from lip2speech.data.synthetic.sentences import sample_sentence
from lip2speech.data.synthetic.visemes import TARGETS, mouth_track
from lip2speech.data.synthetic.voices import (
    FACE_STREAM,
    LIGHT_STREAM,
    PHOTO_STREAM,
    SCENE_STREAM,
    SPEECH_STREAM,
    SPLIT_CODES,
    SynthesizedUtterance,
    random_stream,
    synthesis_voices,
    synthesize,
    synthesize_utterance,
)

PHOTO_PROB = 0.15  # of a clip with `faces="both"`
N_FACES = {"train": 2000, "test": 200}  # drawn faces; each has a fixed shape, skin, hair and mouth
# x264's macroblock tree is not reproducible from run to run (seen with FFmpeg 8.1.2, even with one thread)
X264_OPTIONS = {"preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}
FACE_SEED = 7  # first word of every face's random state, so that no clip's stream is ever a face's
STYLE_SEED = 8  # the same for a face's silent speech style
STYLE_STREAM = 5  # of one clip, after those of `voices`


@dataclass(frozen=True)
class SynthesisJob:
    """One clip to render.

    Args:
        out: Output folder.
        split: train or test.
        seed: Seed of the corpus.
        index: Number of the clip.
        faces: photo, drawn or both.
        articulation: voiced or mouthed.
        speaker_id: Number of a drawn face that determines the voice, too; None for a random face and voice.
    """

    out: Path
    split: str
    seed: int
    index: int
    faces: str
    articulation: str = "voiced"
    speaker_id: int | None = None

    @property
    def id(self) -> str:
        """The clip's id. It seeds parts of the evaluation, so its prefix is fixed."""
        return f"talker-{self.split}-{self.seed}-{self.index:05d}"


def make_clip(job: SynthesisJob) -> str:
    """Write the three files of one clip, the video last and atomically; returns the clip's id."""
    import cv2

    cv2.setNumThreads(1)
    style = silent_speech_style(job)
    utterance = make_utterance(job, style)
    frames, camera, canvas, _ = make_frames(job, utterance)
    metadata: dict[str, Any] = {
        "id": job.id,
        "text": utterance.text,
        "split": job.split,
        "seed": job.seed,
        "index": job.index,
        "articulation": job.articulation,
        "voice": asdict(utterance.voice) if style is None else None,
        "tempo": 1.0 if style is None else round(style.tempo, 4),
        "face": canvas.name,
        "camera": {key: round(value, 4) for key, value in asdict(camera).items()},
        "phonemes": [[p.name, p.start, p.end] for p in utterance.phonemes],
    }
    (job.out / f"{job.id}.txt").write_text(utterance.text + "\n")
    (job.out / f"{job.id}.json").write_text(json.dumps(metadata) + "\n")
    partial = job.out / f"{job.id}.part"
    write_clip(partial, frames, camera, utterance.wav if style is None else None)
    os.replace(partial, job.out / f"{job.id}.mp4")
    return job.id


def silent_speech_style(job: SynthesisJob) -> SilentSpeechStyle | None:
    """The silent speech style of the clip's face, the same in all its clips; None if the clip is voiced."""
    if job.articulation == "voiced":
        return None
    number = _face_number(job)
    speaker = N_FACES[job.split] if number is None else number
    return SilentSpeechStyle.sample(np.random.default_rng([STYLE_SEED, SPLIT_CODES[job.split], speaker]))


def make_utterance(job: SynthesisJob, style: SilentSpeechStyle | None) -> SynthesizedUtterance:
    """Audio, text and phoneme times of a clip; mouthed if a style is given."""
    if job.speaker_id is None:
        utterance = synthesize_utterance(job.split, job.seed, job.index)
    else:
        rng, voices = _stream(job, SPEECH_STREAM), synthesis_voices(job.split)
        text = sample_sentence(rng, job.split)
        utterance = synthesize(text, voices[job.speaker_id % len(voices)], rng)
    return utterance if style is None else apply_silent_style(utterance, style, _stream(job, STYLE_STREAM))


def make_frames(
    job: SynthesisJob, utterance: SynthesizedUtterance
) -> tuple[Iterator[NDArray[Any]], Camera, Canvas, NDArray[Any]]:
    """The frames (H, W, 3) uint8 of one clip, its camera, its face and its mouth track (T, 7)."""
    rng = _stream(job, SCENE_STREAM)
    canvas, camera, style = _make_canvas(job), sample_camera(rng), silent_speech_style(job)
    table = TARGETS if style is None else style.table()
    track = mouth_track(utterance.phonemes, utterance.n_frames, table)
    pose = sample_pose(rng, camera, utterance.n_frames)
    return render_frames(canvas, track, pose, camera, rng), camera, canvas, track


def write_clip(path: Path, frames: Iterable[NDArray[Any]], camera: Camera, wav: NDArray[Any] | None) -> None:
    """Write an mp4 of H.264 frames at 25 fps and, if given, FLAC audio (T_a,) float32 at 16 kHz."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=VIDEO_FPS)
        video.width, video.height, video.pix_fmt = camera.width, camera.height, "yuv420p"
        video.options = {"crf": str(camera.crf), **X264_OPTIONS}
        video.time_base = Fraction(1, VIDEO_FPS)
        audio = container.add_stream("flac", rate=SAMPLE_RATE, layout="mono") if wav is not None else None
        for t, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = t, Fraction(1, VIDEO_FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None and wav is not None:
            samples = np.clip(np.round(wav * 32767), -32768, 32767).astype(np.int16)[None]
            chunk = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            chunk.sample_rate, chunk.pts = SAMPLE_RATE, 0
            container.mux(audio.encode(chunk))
            container.mux(audio.encode())


def _stream(job: SynthesisJob, stream: int) -> np.random.Generator:
    return random_stream(job.split, job.seed, job.index, stream)


def _face_number(job: SynthesisJob) -> int | None:
    """Number of the drawn face of a clip; None for the photo."""
    if job.speaker_id is not None:
        return job.speaker_id
    draw = _stream(job, PHOTO_STREAM).random()
    if job.split == "train" and (job.faces == "photo" or (job.faces == "both" and draw < PHOTO_PROB)):
        return None
    return int(_stream(job, FACE_STREAM).integers(N_FACES[job.split]))


def _make_canvas(job: SynthesisJob) -> Canvas:
    """The face of a clip: the photo, or one of the drawn faces of the split."""
    number = _face_number(job)
    if number is None:
        from lip2speech.data.synthetic.render.photo import photo_canvas

        return photo_canvas(_stream(job, FACE_STREAM))
    identity = np.random.default_rng([FACE_SEED, SPLIT_CODES[job.split], number])
    return draw_canvas(identity, _stream(job, LIGHT_STREAM), f"{job.split}-{number:04d}")
