"""`lip2speech stream`: a video spoken as if its frames came from a camera, and what that delays and costs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lip2speech.cli import _errors as errors
from lip2speech.cli._paths import ConvertJob, plan_jobs
from lip2speech.cli._progress import progress_bar
from lip2speech.cli.convert import LowConfidence, UnsureOption, how_sure, load, say_sure, whole_or_nothing


def stream(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="FILE.wav; default: beside VIDEO.")
    ] = None,
    model: Annotated[str, typer.Option(help="A model folder, or the name of a shipped one.")] = "live",
    voice: Annotated[str | None, typer.Option(help="A recording to sound like, or a stored voice.")] = None,
    route: Annotated[str | None, typer.Option(help="How the prediction becomes sound.")] = None,
    chunk: Annotated[int, typer.Option(help="Frames that a causal model hears at once.")] = 4,
    hop: Annotated[int, typer.Option(help="Frames from window to window of any other model.")] = 5,
    ahead: Annotated[int, typer.Option(help="Frames that such a window sees beyond what is said.")] = 10,
    unsure: UnsureOption = LowConfidence.speak,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line on stdout.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no result line.")] = False,
) -> None:
    """Speak a video frame by frame, as live, and tell the delay.

    Exit codes as for convert: 3 an unreadable file, 4 no face.
    """
    with errors.one_line_errors():
        job = plan_one(video, output, overwrite)
        with progress_bar(quiet=quiet) as progress:
            progress.start("loading the model")
            speech = load(model, device)
            speech.config.check_unsure(unsure.value)
            if speech.config.usage_note and not quiet:
                errors.say(f"lip2speech: model {speech.name}: {speech.config.usage_note}")
            from lip2speech.streaming import StreamConfig, speak_live

            config = StreamConfig(chunk=chunk, hop=hop, ahead=ahead)
            progress.start(video.name)
            with whole_or_nothing(job.output) as temporary:
                spoken = speak_live(
                    speech, job.video, temporary, voice=voice, route=route, config=config,
                    unsure=unsure.value, progress=progress,
                )  # fmt: skip
        if as_json:
            named = {"input": str(job.video), "output": str(job.output)}
            sure = how_sure(spoken.confidence, spoken.mean_confidence)
            typer.echo(json.dumps(named | asdict(spoken) | sure))
        elif not quiet:
            typer.echo(
                f"{errors.one_line(str(job.video))} -> {errors.one_line(str(job.output))}: "
                f"{spoken.duration:.2f} s, {spoken.algorithmic_latency_s:.2f} s late, computed at "
                f"{spoken.compute_s / max(spoken.duration, 1e-9):.2f} x real time, "
                f"at worst {spoken.max_frame_compute_s:.2f} s for a frame, "
                f"{say_sure(spoken.confidence, spoken.mean_confidence, speech.config.confidence_threshold)}"
            )


def plan_one(video: Path, output: Path | None, overwrite: bool) -> ConvertJob:
    """The one file to read and the one to write; UsageError when it cannot be so."""
    if video.is_dir():
        raise errors.UsageError(f"{video}: is a folder; stream speaks one video.")
    (job,) = plan_jobs([video], output, mux=False, overwrite=overwrite)
    if job.mux:
        raise errors.UsageError(f"-o {output}: stream writes sound; give a name that ends in .wav.")
    return job
