"""Write and read the synthetic corpus: `ID.mp4` (video, audio), `ID.txt` (text), `ID.json` (metadata).

Clip i depends on split, seed and i only: neither the number of clips nor the number of workers changes it.
With a `speaker_id` all clips have the same face and voice; mouthed clips have no audio.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from lip2speech.data.synthetic.clip import N_FACES, SynthesisJob, make_clip
from lip2speech.data.synthetic.espeak import load_espeak
from lip2speech.data.synthetic.sentences import check_split
from lip2speech.data.utterance import Utterance, is_held_out

FACES = ("photo", "drawn", "both")
ARTICULATIONS = ("voiced", "mouthed")
VALID_PERCENT = 4  # of the sentences of training clips


def make_corpus(  # noqa: PLR0913 - the options of `lip2speech synth`
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
    """Write `sentences` clips into a folder; returns their ids in order.

    Args:
        out: New or empty folder, unless `overwrite`.
        sentences: Number of clips.
        seed: Seed of sentences, voices, faces and scenes.
        split: `train` or `test`; they share no sentence, voice or face.
        faces: `drawn`, `photo` (train only) or `both`.
        workers: Number of processes; the clips do not depend on it.
        progress: Called with (finished clips, all clips) after every clip.
        overwrite: Whether to write into a folder that is not empty.
        articulation: `voiced`, or `mouthed`: silent speech in a speaker-specific style, without audio.
        speaker_id: Number of the one drawn face (and voice) of all clips; None for random ones.

    Raises:
        ValueError: The options do not fit together.
        FileExistsError: The folder is not empty.
        ImportError: The extra `synth` is not installed.
    """
    out = Path(out)
    check_options(split, faces, articulation, speaker_id)
    check_output_dir(out, sentences, seed, workers, overwrite)
    check_extra(faces if speaker_id is None else "drawn")
    out.mkdir(parents=True, exist_ok=True)
    jobs = [SynthesisJob(out, split, seed, i, faces, articulation, speaker_id) for i in range(sentences)]
    ids: list[str] = []
    for clip_id in _run(jobs, workers):
        ids.append(clip_id)
        if progress is not None:
            progress(len(ids), sentences)
    return ids


def check_options(split: str, faces: str, articulation: str, speaker_id: int | None) -> None:
    """Raise ValueError if clips of this kind do not exist."""
    check_split(split)
    if faces not in FACES:
        raise ValueError(f"faces must be one of {', '.join(FACES)}, got {faces!r}.")
    if split == "test" and faces == "photo":
        raise ValueError(
            "faces='photo' requires split='train', as the one photo must not be in both; use 'drawn'."
        )
    if articulation not in ARTICULATIONS:
        raise ValueError(f"articulation must be one of {', '.join(ARTICULATIONS)}, got {articulation!r}.")
    if speaker_id is not None and (faces == "photo" or not 0 <= speaker_id < N_FACES[split]):
        raise ValueError(
            f"speaker_id must be a drawn face, 0 to {N_FACES[split] - 1} of split {split!r}, got "
            f"{speaker_id} with faces={faces!r}."
        )


def check_output_dir(out: Path, sentences: int, seed: int, workers: int, overwrite: bool) -> None:
    """Raise an error for numbers out of range, or an output folder that is not empty."""
    if sentences < 1 or seed < 0 or workers < 1:
        raise ValueError(
            f"sentences and workers must be 1 or more and seed 0 or more, got {sentences}, {workers}, {seed}."
        )
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; give a folder that is new or empty.")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise FileExistsError(f"{out} is not empty; give a new folder, or pass --overwrite.")


def check_extra(faces: str) -> None:
    """Import the packages of the extra `synth` before any worker starts. ImportError: one is missing."""
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
    """The clips of a folder written by `make_corpus`, sorted by id; the audio is in the video.

    Training clips of some sentences, whatever the seed, are `valid`; their faces and voices are not held out.
    """
    root = Path(root)
    videos = sorted(root.glob("*.mp4"))
    if not videos:
        raise FileNotFoundError(f"{root}: no mp4 here; expected a folder written by `lip2speech synth`.")
    for video in videos:
        text_file, metadata_file = video.with_suffix(".txt"), video.with_suffix(".json")
        if not text_file.is_file() or not metadata_file.is_file():
            raise FileNotFoundError(f"{video}: {text_file.name} and {metadata_file.name} must be next to it.")
        metadata = json.loads(metadata_file.read_text())
        text, voice = text_file.read_text().strip(), metadata["voice"]
        is_valid = metadata["split"] == "train" and is_held_out(text, VALID_PERCENT)
        split = "valid" if is_valid else metadata["split"]
        speaker = voice["name"] if voice else metadata["face"]
        yield Utterance(video.stem, video, None, text, speaker, split)
