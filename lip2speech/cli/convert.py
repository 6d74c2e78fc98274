"""`lip2speech convert`: videos in; wav files, or the videos with speech, out.

Names are settled first (`_paths.py`), the model is loaded once, then each input is converted on its own: a
failed one is reported and the next one starts. An output gets its name only when it is complete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lip2speech.cli import _errors as errors
from lip2speech.cli._paths import ConvertJob, OutputOptions, plan_jobs
from lip2speech.cli._progress import Progress, progress_bar
from lip2speech.utils.files import (
    move_into_place,
    naming_full_disk,
    owned_temporary_folder,
    remove_stale_folders,
)

if TYPE_CHECKING:
    from lip2speech.pipeline import Lip2Speech
    from lip2speech.synthesis import SynthesisOptions


class LowConfidence(StrEnum):
    """What replaces low-confidence speech."""

    keep = "keep"
    tone = "tone"
    mute = "mute"


class AudioFormat(StrEnum):
    """Of the audio files in a folder."""

    wav = "wav"
    flac = "flac"
    mp3 = "mp3"
    ogg = "ogg"
    m4a = "m4a"


ModelOption = Annotated[str, typer.Option(help="A bundled model, or a model folder.")]
VoiceOption = Annotated[
    str | None,
    typer.Option(help="An enrolled or stored voice, a recording to imitate, or an embedding FILE.npy."),
]
VocoderOption = Annotated[
    str | None,
    typer.Option(
        help="channel, griffin-lim, mel or codes (the codec's SEANet decoder), or another one that the model "
        "has; default: the model's own."
    ),
]
LowConfidenceOption = Annotated[
    LowConfidence,
    typer.Option(help="Speech below the model's confidence threshold: keep it, a soft tone, or mute."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]

UNKNOWN: dict[str, Any] = {
    "output": None, "duration": None, "frames": None, "face_detection_rate": None, "no_face_segments": None,
    "frames_damaged": None, "frames_missing": None,
    "model": None, "vocoder": None, "rtf": None, "confidence": None, "mean_confidence": None,
    "skipped": False,
}  # fmt: skip
"""What is not known of an input that failed."""


@dataclass(frozen=True)
class ConvertOptions:
    """What all inputs of one command share."""

    synthesis: SynthesisOptions
    output: OutputOptions
    json: bool
    quiet: bool


def convert(
    videos: Annotated[
        list[Path], typer.Argument(metavar="VIDEO...", help="Video files, or folders of them.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="FILE.wav, FILE.mp3, FILE.mp4, ... or a folder; default: beside VIDEO."
        ),
    ] = None,
    audio_format: Annotated[
        AudioFormat | None, typer.Option("--format", help="Of audio files in a folder; default: wav.")
    ] = None,
    mux: Annotated[bool, typer.Option("--mux", help="Write the video with the speech.")] = False,
    model: ModelOption = "default",
    voice: VoiceOption = None,
    vocoder: VocoderOption = None,
    low_confidence: LowConfidenceOption = LowConfidence.keep,
    device: DeviceOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per input on stdout.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave inputs alone whose outputs exist.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no result lines.")] = False,
) -> None:
    """Synthesize speech for silent videos of a talking face.

    Exit codes: 0 all converted, 1 internal error, 2 usage, 3 some inputs failed, 4 no face in any,
    5 the model is missing or damaged.
    """
    with errors.one_line_errors():
        suffix = None if audio_format is None else f".{audio_format.value}"
        outputs = OutputOptions(output, suffix, mux, overwrite, skip_existing)
        jobs = plan_jobs(videos, outputs)
        for folder in {_nearest_folder(job.output) for job in jobs}:
            remove_stale_folders(folder)
        with progress_bar(quiet=quiet) as progress:
            progress.start("loading the model")
            loaded = load(model, device, quiet=quiet)
            synthesis = resolve_options(loaded, voice, vocoder, low_confidence)
            options = ConvertOptions(synthesis, outputs, as_json, quiet)
            rows = [_convert_one(loaded, job, options, progress) for job in jobs]
    raise typer.Exit(exit_code([row["exit_code"] for row in rows]))


def exit_code(codes: list[int]) -> int:
    """One code for all inputs: an internal error outranks the rest; 4 only if no input shows a face."""
    if errors.INTERNAL in codes:
        return errors.INTERNAL
    if codes and all(code == errors.NO_FACE for code in codes):
        return errors.NO_FACE
    return errors.SOME_FAILED if any(codes) else errors.OK


def load(model: str, device: str, *, quiet: bool) -> Lip2Speech:
    """The model of `--model` and `--device`; its usage note goes to stderr."""
    from lip2speech.pipeline import Lip2Speech

    loaded = Lip2Speech.from_pretrained(model, device=device)
    if loaded.config.usage_note and not quiet:
        errors.eprint(f"lip2speech: model {loaded.name}: {loaded.config.usage_note}")
    return loaded


def resolve_options(
    model: Lip2Speech, voice: str | None, vocoder: str | None, low_confidence: LowConfidence
) -> SynthesisOptions:
    """The options, checked before any work begins; a recording is read once for all inputs. ValueError."""
    from lip2speech.synthesis import SynthesisOptions

    model.config.post_processor(low_confidence.value)
    return SynthesisOptions(
        model.speaker_embedding(voice), model.resolve_vocoder(vocoder), low_confidence.value
    )


def _convert_one(
    model: Lip2Speech, job: ConvertJob, options: ConvertOptions, progress: Progress
) -> dict[str, Any]:
    """Convert one input and report it; its failure stops no other."""
    progress.start(job.video.name)
    row: dict[str, Any] = (
        {"input": os.fsdecode(job.video)} | UNKNOWN | {"error": None, "exit_code": errors.OK}
    )
    known = {"output": os.fsdecode(job.output)}
    try:
        if options.output.skip_existing and job.output.exists():
            row |= known | {"skipped": True}
        else:
            with atomic_output(job.output, overwrite=options.output.overwrite) as temporary:
                row |= known | _synthesize(model, job, temporary, options, progress)
    except Exception as error:
        row |= UNKNOWN | _failure(error)
    _report(row, options, model.config.confidence_threshold, progress)
    return row


def _failure(error: Exception) -> dict[str, Any]:
    line, code = errors.user_message(error), errors.exit_code(error)
    if line is None:
        line = f"internal error: {type(error).__name__}: {errors.one_line(error)}; please report it."
    elif code != errors.NO_FACE:
        code = errors.SOME_FAILED
    return {"error": line, "exit_code": code}


@contextmanager
def atomic_output(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """A name in a temporary folder near `output`; the file written there becomes `output` at the end.

    Raises:
        FileExistsError: without `overwrite`, `output` appeared meanwhile; it is kept.
        OSError: with `output` as its file name, when the disk is full.
    """
    with naming_full_disk(output), owned_temporary_folder(_nearest_folder(output)) as folder:
        temporary = folder / f"speech{output.suffix.lower()}"
        yield temporary
        output.parent.mkdir(parents=True, exist_ok=True)
        move_into_place(temporary, output, overwrite=overwrite)


def _nearest_folder(output: Path) -> Path:
    """The deepest folder above `output` that exists."""
    return next(folder for folder in output.absolute().parents if folder.is_dir())


def _synthesize(
    model: Lip2Speech, job: ConvertJob, temporary: Path, options: ConvertOptions, progress: Progress
) -> dict[str, Any]:
    """Write the speech of one video, or the video with its speech, to `temporary`."""
    wav = temporary.with_name("speech.wav") if job.mux else temporary
    result = model.convert_to_file(job.video, wav, options.synthesis, progress)
    if job.mux:
        from lip2speech.audio.io import read_wav
        from lip2speech.audio.mux import mux

        mux(job.video, read_wav(wav, result.sample_rate), temporary, result.sample_rate)
    return result.to_json()


def _report(row: dict[str, Any], options: ConvertOptions, threshold: float, progress: Progress) -> None:
    """The JSON line or the human one on stdout; an error on stderr as well."""
    if (error := row["error"]) is not None:
        named = Path(row["input"]).name in error
        errors.eprint(f"lip2speech: {error if named else '{}: {}'.format(row['input'], error)}")
    report_gaps(row["input"], row["frames_damaged"], row["frames_missing"])
    if options.json:
        progress.print(json.dumps(row))
    elif row["skipped"] and not options.quiet:
        progress.print(f"{errors.one_line(row['input'])}: skipped, {errors.one_line(row['output'])} exists")
    elif error is None and not options.quiet:
        progress.print(
            f"{errors.one_line(row['input'])} -> {errors.one_line(row['output'])}: {row['duration']:.2f} s, "
            f"{format_faces(row)}, vocoder {row['vocoder']} of model {errors.one_line(row['model'])}, "
            f"{row['rtf']:.2f} x real time, "
            f"{format_confidence(row['confidence'], row['mean_confidence'], threshold)}"
        )


def report_gaps(name: str, damaged: int | None, missing: int | None) -> None:
    """A warning on stderr for a video with damaged or missing frames."""
    counts = [f"{n} frames {what}" for n, what in ((damaged, "damaged"), (missing, "missing")) if n]
    if counts:
        errors.eprint(
            f"lip2speech: {name}: {' and '.join(counts)}; the speech there is unreliable or silent; "
            "export or record the video again."
        )


def format_faces(row: Mapping[str, Any]) -> str:
    """In how many frames a face was detected, and how often it was missing for long."""
    line = f"face in {100 * row['face_detection_rate']:.0f} % of {row['frames']} frames"
    return (
        f"{line}, {len(row['no_face_segments'])} segments without a face" if row["no_face_segments"] else line
    )


def format_confidence(confidence: Sequence[float] | None, mean: float | None, threshold: float) -> str:
    """The mean confidence, and how many seconds lie below the threshold."""
    if confidence is None or mean is None:
        return "confidence unknown"
    low = sum(c < threshold for c in confidence)
    return f"confidence {100 * mean:.0f} %" + (f", low in {low} of {len(confidence)} s" if low else "")
