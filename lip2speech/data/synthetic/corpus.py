"""Write and read the synthetic corpus: `ID.mp4` (picture, sound), `ID.txt` (words), `ID.json` (its making).

Clip i depends on split, seed and i alone: neither the number of clips nor the number of workers changes it.
With `person`, one face says all of them; with silent articulation nobody has a voice, and the mp4 no sound.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from lip2speech.constants import SAMPLE_RATE, VIDEO_FPS
from lip2speech.data.synthetic.articulation import SilentSpeechStyle, apply_silent_style
from lip2speech.data.synthetic.espeak import load_espeak
from lip2speech.data.synthetic.render.faces import Canvas
from lip2speech.data.synthetic.render.features import draw_canvas
from lip2speech.data.synthetic.render.frames import render_frames
from lip2speech.data.synthetic.render.scene import Camera, sample_camera, sample_pose
from lip2speech.data.synthetic.sentences import check_split, sample_sentence
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
from lip2speech.data.utterance import Utterance, is_held_out

FACES = ("photo", "drawn", "both")
ARTICULATIONS = ("voiced", "mouthed")
VALID_PERCENT = 4  # of the sentences of training clips
PHOTO_PROB = 0.15  # of the clips with `faces="both"`
N_FACES = {"train": 2000, "test": 200}  # drawn people; each has one shape, skin, hair and mouth for ever
# x264's macroblock tree is not reproducible from run to run (seen with FFmpeg 8.1.2, even with one thread)
X264_OPTIONS = {"preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}
FACE_SEED = 7  # first word of every face's random state, so that no clip's stream is ever a face's
STYLE_SEED = 8  # the same for a face's way of mouthing
STYLE_STREAM = 5  # of one clip, after those of `voices`


@dataclass(frozen=True)
class SynthesisJob:
    """One clip to make."""

    out: Path
    split: str
    seed: int
    index: int
    faces: str
    articulation: str = "voiced"
    speaker_id: int | None = None

    @property
    def id(self) -> str:
        return f"talker-{self.split}-{self.seed}-{self.index:05d}"


def check_options(split: str, faces: str, articulation: str, speaker_id: int | None) -> None:
    """Refuse a kind of clip that cannot be made, in one line."""
    check_split(split)
    if faces not in FACES:
        raise ValueError(f"faces must be one of {', '.join(FACES)}, got {faces!r}.")
    if split == "test" and faces == "photo":
        raise ValueError(
            "faces='photo' is for split='train' only: the one photo must not be in both; use 'drawn'."
        )
    if articulation not in ARTICULATIONS:
        raise ValueError(f"articulation must be one of {', '.join(ARTICULATIONS)}, got {articulation!r}.")
    if speaker_id is not None and (faces == "photo" or not 0 <= speaker_id < N_FACES[split]):
        raise ValueError(
            f"speaker_id must be a drawn face, 0 to {N_FACES[split] - 1} of split {split!r}, got {speaker_id} with "
            f"faces={faces!r}."
        )


def check_output_dir(out: Path, sentences: int, seed: int, workers: int, overwrite: bool) -> None:
    """Refuse numbers that make no clips, and a folder that holds something else."""
    if sentences < 1 or seed < 0 or workers < 1:
        raise ValueError(
            f"sentences and workers must be 1 or more and seed 0 or more, got {sentences}, {workers}, {seed}."
        )
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; give a folder that is new or empty.")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise FileExistsError(f"{out} is not empty; give a new folder, or allow to overwrite.")


def _stream(job: SynthesisJob, stream: int) -> np.random.Generator:
    return random_stream(job.split, job.seed, job.index, stream)


def _face_number(job: SynthesisJob) -> int | None:
    """Which of the drawn people of the split a clip shows; None: the photo."""
    if job.speaker_id is not None:
        return job.speaker_id
    lot = _stream(job, PHOTO_STREAM).random()
    if job.split == "train" and (job.faces == "photo" or (job.faces == "both" and lot < PHOTO_PROB)):
        return None
    return int(_stream(job, FACE_STREAM).integers(N_FACES[job.split]))


def _draw_person(job: SynthesisJob) -> Canvas:
    """The face of a clip: the photo, or one of the drawn people of the split."""
    number = _face_number(job)
    if number is None:
        from lip2speech.data.synthetic.render.photo import photo_canvas

        return photo_canvas(_stream(job, FACE_STREAM))
    identity = np.random.default_rng([FACE_SEED, SPLIT_CODES[job.split], number])
    return draw_canvas(identity, _stream(job, LIGHT_STREAM), f"{job.split}-{number:04d}")


def silent_speech_style(job: SynthesisJob) -> SilentSpeechStyle | None:
    """How the person of a clip mouths, the same in all their clips; None when they speak."""
    if job.articulation == "voiced":
        return None
    number = _face_number(job)
    person = N_FACES[job.split] if number is None else number
    return SilentSpeechStyle.sample(np.random.default_rng([STYLE_SEED, SPLIT_CODES[job.split], person]))


def make_utterance(job: SynthesisJob, manner: SilentSpeechStyle | None) -> SynthesizedUtterance:
    """What is said in a clip, and when; mouthed with a `manner`."""
    if job.speaker_id is None:
        speech = synthesize_utterance(job.split, job.seed, job.index)
    else:
        rng, pool = _stream(job, SPEECH_STREAM), synthesis_voices(job.split)
        speech = synthesize(sample_sentence(rng, job.split), pool[job.speaker_id % len(pool)], rng)
    return speech if manner is None else apply_silent_style(speech, manner, _stream(job, STYLE_STREAM))


def make_frames(
    job: SynthesisJob, speech: SynthesizedUtterance
) -> tuple[Iterator[np.ndarray], Camera, Canvas, np.ndarray]:
    """The pictures of one clip: frames (H, W, 3) uint8, camera, person, mouth track (T, 7)."""
    rng = _stream(job, SCENE_STREAM)
    canvas, camera, manner = _draw_person(job), sample_camera(rng), silent_speech_style(job)
    table = TARGETS if manner is None else manner.table()
    track = mouth_track(speech.phonemes, speech.n_frames, table)
    pose = sample_pose(rng, camera, speech.n_frames)
    return render_frames(canvas, track, pose, camera, rng), camera, canvas, track


def make_clip(job: SynthesisJob) -> str:
    """Write the three files of one clip, the picture last and by renaming; returns its id."""
    import cv2

    cv2.setNumThreads(1)
    manner = silent_speech_style(job)
    speech = make_utterance(job, manner)
    frames, camera, canvas, _ = make_frames(job, speech)
    facts: dict[str, Any] = {
        "id": job.id,
        "text": speech.text,
        "split": job.split,
        "seed": job.seed,
        "index": job.index,
        "articulation": job.articulation,
        "voice": asdict(speech.voice) if manner is None else None,
        "tempo": 1.0 if manner is None else round(manner.tempo, 4),
        "face": canvas.name,
        "camera": {key: round(value, 4) for key, value in asdict(camera).items()},
        "phonemes": [[p.name, p.start, p.end] for p in speech.phonemes],
    }
    (job.out / f"{job.id}.txt").write_text(speech.text + "\n")
    (job.out / f"{job.id}.json").write_text(json.dumps(facts) + "\n")
    part = job.out / f"{job.id}.part"
    write_clip(part, frames, camera, speech.wav if manner is None else None)
    os.replace(part, job.out / f"{job.id}.mp4")
    return job.id


def write_clip(path: Path, frames: Iterable[np.ndarray], camera: Camera, wav: np.ndarray | None) -> None:
    """An mp4 of H.264 pictures at 25 fps and, if given, FLAC sound (T_a,) float32 at 16 kHz."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=VIDEO_FPS)
        video.width, video.height, video.pix_fmt = camera.width, camera.height, "yuv420p"
        video.options = {"crf": str(camera.crf), **X264_OPTIONS}
        video.time_base = Fraction(1, VIDEO_FPS)
        sound = container.add_stream("flac", rate=SAMPLE_RATE, layout="mono") if wav is not None else None
        for t, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = t, Fraction(1, VIDEO_FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if sound is not None and wav is not None:
            samples = np.clip(np.round(wav * 32767), -32768, 32767).astype(np.int16)[None]
            chunk = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            chunk.sample_rate, chunk.pts = SAMPLE_RATE, 0
            container.mux(sound.encode(chunk))
            container.mux(sound.encode())


def make_corpus(
    out: Path,
    sentences: int,
    seed: int,
    split: str = "train",
    faces: str = "both",
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    overwrite: bool = False,
    articulation: str = "voiced",
    speaker_id: int | None = None,
) -> list[str]:
    """Write `sentences` clips into the folder `out`; returns their ids in order.

    Args:
        out: new or empty folder, unless `overwrite`.
        sentences: number of clips.
        seed: another seed gives other sentences, voices, faces and scenes.
        split: `train` or `test`; they share no sentence, voice or face.
        faces: `drawn`, `photo` (train only) or `both`.
        workers: processes; their number changes nothing but the time.
        progress: called with (clips done, clips in all) after every clip.
        overwrite: write into a folder that is not empty.
        articulation: `voiced`, or `mouthed`: mouthed in a way of the person's own, without sound.
        person: the number of the one drawn face (and voice) of all clips.
    """
    out = Path(out)
    check_options(split, faces, articulation, speaker_id)
    check_output_dir(out, sentences, seed, workers, overwrite)
    check_extra(faces if speaker_id is None else "drawn")
    out.mkdir(parents=True, exist_ok=True)
    jobs = [
        SynthesisJob(out, split, seed, index, faces, articulation, speaker_id) for index in range(sentences)
    ]
    done: list[str] = []
    for clip_id in _run(jobs, workers):
        done.append(clip_id)
        if progress is not None:
            progress(len(done), sentences)
    return done


def check_extra(faces: str) -> None:
    """Load the packages of the `synth` extra now: a missing one is one line, not a broken worker."""
    load_espeak()
    if faces != "drawn":
        from lip2speech.data.synthetic.render.photo import portrait

        portrait()


def _run(jobs: list[SynthesisJob], workers: int) -> Iterator[str]:
    if workers == 1:
        yield from map(make_clip, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(make_clip, jobs, chunksize=4)


def utterances(root: Path) -> Iterator[Utterance]:
    """The clips of a folder that `make_corpus` wrote, sorted by id; the sound is inside the video.

    Of training clips those of some sentences are `valid`, whatever the seed; their faces and voices are not
    held out.
    """
    root = Path(root)
    videos = sorted(root.glob("*.mp4"))
    if not videos:
        raise FileNotFoundError(f"{root}: no mp4 here; expected a folder written by `lip2speech synth`.")
    for video in videos:
        text_file, facts_file = video.with_suffix(".txt"), video.with_suffix(".json")
        if not text_file.is_file() or not facts_file.is_file():
            raise FileNotFoundError(f"{video}: {text_file.name} and {facts_file.name} must lie beside it.")
        facts = json.loads(facts_file.read_text())
        text, voice = text_file.read_text().strip(), facts["voice"]
        held = facts["split"] == "train" and is_held_out(text, VALID_PERCENT)
        split = "valid" if held else facts["split"]
        yield Utterance(video.stem, video, None, text, voice["name"] if voice else facts["face"], split)
