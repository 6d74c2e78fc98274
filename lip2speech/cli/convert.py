"""`lip2speech convert`: videos in, wav files or videos with the new sound out.

Names are settled first (`plan.py`), the model is loaded once, then each input is worked on alone: a bad one
gets its line and the next one starts. An output appears under its own name only when it is whole.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lip2speech.cli import _errors as errors
from lip2speech.cli._paths import ConvertJob, plan_jobs
from lip2speech.cli._progress import Progress, progress_bar

if TYPE_CHECKING:
    from torch import Tensor

    from lip2speech.pipeline import Lip2Speech


class LowConfidence(StrEnum):
    """What becomes of a second of speech that the model is not sure of."""

    speak = "speak"
    tone = "tone"
    silence = "silence"


UnsureOption = Annotated[
    LowConfidence, typer.Option(help="Seconds the model is not sure of: spoken, a soft tone, or silence.")
]


@dataclass(frozen=True)
class ConvertResult:
    """What `--json` prints for one input; what is not known of a failed one stays null."""

    input: str
    output: str | None = None
    duration: float | None = None
    frames: int | None = None
    face_detection_rate: float | None = None
    gaps: list[tuple[float, float]] | None = None
    model: str | None = None
    route: str | None = None
    rtf: float | None = None
    confidence: list[float] | None = None
    sure: float | None = None
    bits_per_code: float | None = None
    error: str | None = None
    code: int = errors.OK


@dataclass(frozen=True)
class ConvertOptions:
    """What is the same for every input of one command."""

    voice: Tensor
    route: str
    unsure: LowConfidence
    threshold: float
    json: bool
    quiet: bool


def convert(
    videos: Annotated[
        list[Path], typer.Argument(metavar="VIDEO...", help="Video files, or folders of them.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="FILE.wav, FILE.mp4 or a folder; default: beside VIDEO."),
    ] = None,
    mux: Annotated[bool, typer.Option("--mux", help="Write the video with the new sound.")] = False,
    model: Annotated[str, typer.Option(help="A model folder, or the name of a shipped one.")] = "default",
    voice: Annotated[str | None, typer.Option(help="A recording to sound like, or a stored voice.")] = None,
    route: Annotated[str | None, typer.Option(help="How the prediction becomes sound.")] = None,
    unsure: UnsureOption = LowConfidence.speak,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per input on stdout.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no result lines.")] = False,
) -> None:
    """Turn silent videos of a talking face into speech.

    Exit codes: 0 all converted, 1 internal error, 2 usage, 3 some inputs failed, 4 no face in any,
    5 the model is missing or damaged.
    """
    with errors.one_line_errors():
        jobs = plan_jobs(videos, output, mux=mux, overwrite=overwrite)
        with progress_bar(quiet=quiet) as progress:
            progress.start("loading the model")
            speech = load(model, device)
            config = speech.config
            config.check_unsure(unsure.value)
            who = speech.speaker(voice), speech.check_route(route)
            options = ConvertOptions(*who, unsure, config.confidence_threshold, as_json, quiet)
            if speech.config.usage_note and not quiet:
                errors.say(f"lip2speech: model {speech.name}: {speech.config.usage_note}")
            rows = [_convert_one(speech, job, options, progress) for job in jobs]
    raise typer.Exit(exit_code([row.code for row in rows]))


def exit_code(codes: list[int]) -> int:
    """One code for all inputs: an internal error outranks the rest; 4 only when every input lacks a face."""
    if errors.INTERNAL in codes:
        return errors.INTERNAL
    if codes and all(code == errors.NO_FACE for code in codes):
        return errors.NO_FACE
    return errors.SOME_FAILED if any(codes) else errors.OK


def load(model: str, device: str) -> Lip2Speech:
    """The system that `--model` and `--device` name."""
    from lip2speech.pipeline import Lip2Speech

    return Lip2Speech.load(model, device=device)


def _convert_one(
    speech: Lip2Speech, job: ConvertJob, options: ConvertOptions, progress: Progress
) -> ConvertResult:
    """Convert one input and report it; whatever goes wrong stays with this input."""
    progress.start(job.video.name)
    try:
        with whole_or_nothing(job.output) as temporary:
            row = _speak(speech, job, temporary, options, progress)
    except Exception as error:
        row = _failed(job, error)
    _report(row, options, progress)
    return row


def _failed(job: ConvertJob, error: Exception) -> ConvertResult:
    line, code = errors.explain(error), errors.code_of(error)
    if line is None:
        line = f"internal error: {type(error).__name__}: {errors.one_line(error)}; please report it."
    elif code != errors.NO_FACE:
        code = errors.SOME_FAILED
    return ConvertResult(input=os.fsdecode(job.video), error=line, code=code)


@contextmanager
def whole_or_nothing(output: Path) -> Iterator[Path]:
    """A name in a temporary folder near `output`; what is there at the end becomes `output`."""
    nearest = next(folder for folder in output.absolute().parents if folder.is_dir())
    with tempfile.TemporaryDirectory(prefix=".lip2speech-", dir=nearest) as folder:
        temporary = Path(folder) / f"speech{output.suffix.lower()}"
        yield temporary
        output.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, output)


def _speak(
    speech: Lip2Speech, job: ConvertJob, temporary: Path, options: ConvertOptions, progress: Progress
) -> ConvertResult:
    """Write the sound of one video, or the video with its sound, to `temporary`."""
    wav = temporary.with_name("sound.wav") if job.mux else temporary
    spoken = speech.convert_to(
        job.video,
        wav,
        voice=options.voice,
        route=options.route,
        unsure=options.unsure.value,
        progress=progress,
    )
    if job.mux:
        from lip2speech.audio.io import mux, read_wav

        mux(job.video, read_wav(wav, spoken.sample_rate), temporary, spoken.sample_rate)
    return ConvertResult(
        input=os.fsdecode(job.video),
        output=os.fsdecode(job.output),
        duration=round(spoken.duration, 3),
        frames=spoken.report.frames,
        face_detection_rate=round(spoken.report.face_detection_rate, 4),
        gaps=list(spoken.report.no_face_segments),
        model=speech.name,
        route=spoken.vocoder,
        rtf=round(spoken.elapsed_s / max(spoken.duration, 1e-9), 3),
        bits_per_code=None if spoken.bits_per_code is None else round(spoken.bits_per_code, 3),
        **how_sure(spoken.confidence, spoken.mean_confidence),
    )


def json_line(row: ConvertResult) -> str:
    """One line; `bits_per_code` is there for a model with a likelihood alone."""
    values = asdict(row)
    if row.bits_per_code is None:
        del values["bits_per_code"]
    return json.dumps(values)


def _report(row: ConvertResult, options: ConvertOptions, progress: Progress) -> None:
    """The JSON line or the human one on stdout; an error on stderr as well."""
    if row.error is not None:
        errors.say(
            f"lip2speech: {row.error if _names(row.error, row.input) else f'{row.input}: {row.error}'}"
        )
    if options.json:
        progress.print(json_line(row))
    elif row.error is None and not options.quiet:
        gaps = f", {len(row.gaps)} gaps without a face" if row.gaps else ""
        progress.print(
            f"{errors.one_line(row.input)} -> {errors.one_line(row.output)}: {row.duration:.2f} s, face in "
            f"{100 * (row.face_detection_rate or 0):.0f} % of {row.frames} frames{gaps}, route {row.route} of model "
            f"{row.model}, {row.rtf:.2f} x real time, {say_sure(row.confidence, row.sure, options.threshold)}"
        )


def how_sure(confidence: Sequence[float] | None, sure: float | None) -> dict[str, Any]:
    """Both numbers as JSON carries them; null for a model that was never calibrated."""
    if confidence is None or sure is None:
        return {"confidence": None, "sure": None}
    return {"confidence": [round(c, 3) for c in confidence], "sure": round(sure, 3)}


def say_sure(confidence: Sequence[float] | None, sure: float | None, threshold: float) -> str:
    """The same for people: how sure in all, and how many seconds lie below the threshold."""
    if confidence is None or sure is None:
        return "how sure is not known"
    low = sum(c < threshold for c in confidence)
    return f"sure {100 * sure:.0f} %" + (f", not sure of {low} of {len(confidence)} s" if low else "")


def _names(line: str, video: str) -> bool:
    return Path(video).name in line
