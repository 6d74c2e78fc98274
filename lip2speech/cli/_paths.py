"""Which input becomes which output file: everything about names is settled before any work starts.

Knows paths only. Refuses what would lose a file: two inputs with one output, an output that is an input, an
output that exists (without --overwrite or --skip-existing), an output that is no plain file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lip2speech.cli._errors import UsageError
from lip2speech.constants import AUDIO_SUFFIXES, MUX_SUFFIXES, VIDEO_SUFFIXES

SPOKEN = ".speech"
"""Ends the name of a video that we gave sound; a folder's search passes over it."""

OUTPUT_SUFFIXES = (*AUDIO_SUFFIXES, *MUX_SUFFIXES)


@dataclass(frozen=True)
class ConvertJob:
    """One input file and the one file it becomes."""

    video: Path
    output: Path
    mux: bool


@dataclass(frozen=True)
class OutputOptions:
    """What becomes of the inputs, and of outputs that exist.

    Attributes:
        output: a file or a folder; None: beside the input.
        suffix: of audio files in a folder, one of `AUDIO_SUFFIXES`; None: .wav, or that of `output`.
        mux: write the video with the speech.
        overwrite, skip_existing: replace existing outputs, or leave them alone; otherwise they are refused.
    """

    output: Path | None = None
    suffix: str | None = None
    mux: bool = False
    overwrite: bool = False
    skip_existing: bool = False


def plan_jobs(videos: Sequence[Path], options: OutputOptions) -> list[ConvertJob]:
    """One job per input, in the order given (a folder's files by name); UsageError if they cannot be."""
    inputs = _inputs(videos)
    _check_options(inputs, options)
    output = options.output
    is_file = output is not None and _is_file_name(output)
    mux = options.mux or (is_file and output is not None and output.suffix.lower() in MUX_SUFFIXES)
    ending = f"{SPOKEN}.mp4" if mux else options.suffix or ".wav"
    jobs = []
    for video, relative in inputs:
        if is_file and output is not None:
            place = output
        else:
            place = (video if output is None else output / relative).with_name(f"{video.stem}{ending}")
        jobs.append(ConvertJob(video, place, mux))
    _check_outputs(jobs, options)
    return jobs


def _inputs(videos: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Every input file, and its path relative to the output folder.

    A folder's files keep their place in it; those of several folders, the folders' names as well. Files
    given by name are not sorted into folders, unless two of the same name lie in different ones.
    """
    folders = [video for video in videos if video.is_dir()]
    files = [video for video in videos if not video.is_dir()]
    root = _common_folder(folders)
    places = {file.stem: os.path.abspath(file.parent) for file in files}
    flat = all(places[file.stem] == os.path.abspath(file.parent) for file in files)
    file_root = None if flat else _common_folder([file.parent for file in files])
    inputs: list[tuple[Path, Path]] = []
    for video in videos:
        if video.is_dir():
            inputs += [(file, _below(root, file)) for file in _search(video)]
        else:
            inputs.append((video, _below(file_root, video)))
    return inputs


def _common_folder(folders: Sequence[Path]) -> Path | None:
    """The deepest folder that holds all of them; None if there is none."""
    try:
        return Path(os.path.commonpath([os.path.abspath(folder) for folder in folders]))
    except ValueError:  # no folders, or drives of Windows
        return None


def _below(root: Path | None, file: Path) -> Path:
    return Path(file.name) if root is None else Path(os.path.abspath(file)).relative_to(root)


def _search(folder: Path) -> list[Path]:
    """The videos of a folder and of the folders in it, by name; hidden ones and our own outputs aside."""
    found = []
    for place, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".")]
        paths = (Path(place, name) for name in files if not name.startswith("."))
        found += [p for p in paths if p.suffix.lower() in VIDEO_SUFFIXES and not p.stem.endswith(SPOKEN)]
    if not found:
        raise UsageError(
            f"{folder}: no videos in this folder (looked for {' '.join(sorted(VIDEO_SUFFIXES))})."
        )
    return sorted(path for path in found if path.is_file())


def _is_file_name(output: Path) -> bool:
    """An existing folder is a folder whatever its name; else a known suffix makes it a file."""
    return not output.is_dir() and output.suffix.lower() in OUTPUT_SUFFIXES


def _check_options(inputs: Sequence[object], options: OutputOptions) -> None:
    output = options.output
    if options.overwrite and options.skip_existing:
        raise UsageError("--overwrite and --skip-existing exclude each other; leave one out.")
    if options.mux and options.suffix is not None:
        raise UsageError("--format is of audio files, and --mux writes videos; leave one out.")
    if output is None or output.is_dir():
        return
    if not _is_file_name(output):
        if output.exists() or output.suffix:
            what = "is a file, but its name" if output.exists() else "no folder of this name exists, and it"
            raise UsageError(f"-o {output}: {what} ends in none of {' '.join(OUTPUT_SUFFIXES)}.")
        return
    if len(inputs) > 1:
        raise UsageError(f"-o {output}: {len(inputs)} inputs need a folder, not one file.")
    suffix = output.suffix.lower()
    if options.mux and suffix in AUDIO_SUFFIXES:
        raise UsageError(
            f"-o {output}: --mux writes a video; give a name that ends in .mp4, or leave --mux out."
        )
    if options.suffix is not None and suffix != options.suffix:
        raise UsageError(f"-o {output}: its name does not end in --format {options.suffix[1:]}; drop one.")


def _check_outputs(jobs: Sequence[ConvertJob], options: OutputOptions) -> None:
    inputs = {job.video.resolve(): job.video for job in jobs}
    writers: dict[Path, Path] = {}
    for job in jobs:
        place = job.output.resolve()
        if place in inputs:
            raise UsageError(f"{job.output}: is an input too; choose another output with -o.")
        if place in writers:
            raise UsageError(
                f"{writers[place]} and {job.video} would both be written to {job.output}; rename one."
            )
        writers[place] = job.video
        if any(folder.exists() and not folder.is_dir() for folder in job.output.parents):
            raise UsageError(
                f"{job.output}: is inside something that is not a folder; choose another output with -o."
            )
        if job.output.exists() and not job.output.is_file():
            raise UsageError(f"{job.output}: exists and is no plain file; choose another output with -o.")
        if job.output.exists() and any(_same(job.output, video) for video in inputs):
            raise UsageError(f"{job.output}: is an input too; choose another output with -o.")
    existing = [job.output for job in jobs if job.output.exists()]
    if existing and not options.overwrite and not options.skip_existing:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        rest = ", or --skip-existing to convert the rest" if len(jobs) > 1 else ""
        raise UsageError(f"{existing[0]}: already exists{more}; pass --overwrite to replace it{rest}.")


def _same(output: Path, video: Path) -> bool:
    """Hard links to one file have two names."""
    return video.exists() and output.samefile(video)
