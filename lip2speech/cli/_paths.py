"""Which input becomes which output file: everything about names is settled before any work starts.

Knows paths only. Refuses what would lose a file: two inputs with one output, an output that is an input, an
output that exists (without --overwrite), an output that is no plain file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lip2speech.cli._errors import UsageError
from lip2speech.constants import MUX_SUFFIXES, VIDEO_SUFFIXES

SPOKEN = ".speech"
"""Ends the name of a video that we gave sound; a folder's search passes over it."""


@dataclass(frozen=True)
class ConvertJob:
    """One input file and the one file it becomes."""

    video: Path
    output: Path
    mux: bool


def plan_jobs(videos: Sequence[Path], output: Path | None, *, mux: bool, overwrite: bool) -> list[ConvertJob]:
    """One job per input, in the order given (a folder's files by name); UsageError if they cannot be."""
    inputs = [file for video in videos for file in _files(video)]
    mux = mux or (output is not None and _is_file_name(output) and output.suffix.lower() != ".wav")
    _check_file_output(inputs, output, mux)
    jobs = [ConvertJob(video, _output_of(video, output, mux), mux) for video in inputs]
    _check_outputs(jobs, overwrite)
    return jobs


def _files(video: Path) -> list[Path]:
    if not video.is_dir():
        return [video]
    found = sorted(p for p in video.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
    found = [path for path in found if not path.name.startswith(".") and not path.stem.endswith(SPOKEN)]
    if not found:
        raise UsageError(
            f"{video}: no videos in this folder (looked for {' '.join(sorted(VIDEO_SUFFIXES))})."
        )
    return found


def _is_file_name(output: Path) -> bool:
    """An existing folder is a folder whatever its name; else a known suffix makes it a file."""
    return not output.is_dir() and output.suffix.lower() in {".wav", *MUX_SUFFIXES}


def _check_file_output(inputs: Sequence[Path], output: Path | None, mux: bool) -> None:
    if output is None:
        return
    if not _is_file_name(output):
        if output.exists() and not output.is_dir():
            known = " ".join([".wav", *sorted(MUX_SUFFIXES)])
            raise UsageError(f"-o {output}: is a file, but its name ends in none of {known}.")
        return
    if len(inputs) > 1:
        raise UsageError(f"-o {output}: {len(inputs)} inputs need a folder, not one file.")
    if mux and output.suffix.lower() == ".wav":
        raise UsageError(
            f"-o {output}: --mux writes a video; give a name that ends in .mp4, or leave --mux out."
        )


def _output_of(video: Path, output: Path | None, mux: bool) -> Path:
    """Beside the input when no -o is given; a muxed video is never named like its input."""
    if output is not None and _is_file_name(output):
        return output
    name = f"{video.stem}{SPOKEN}.mp4" if mux else f"{video.stem}.wav"
    return (video.parent if output is None else output) / name


def _check_outputs(jobs: Sequence[ConvertJob], overwrite: bool) -> None:
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
    if existing and not overwrite:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise UsageError(f"{existing[0]}: already exists{more}; pass --overwrite to replace it.")


def _same(output: Path, video: Path) -> bool:
    """Hard links to one file have two names."""
    return video.exists() and output.samefile(video)
