"""`lip2speech stream`: a video synthesized as if its frames came from a camera, with its latency and cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lip2speech.cli import _errors as errors
from lip2speech.cli._paths import ConvertJob, OutputOptions, plan_jobs
from lip2speech.cli._progress import progress_bar
from lip2speech.cli.convert import (
    DeviceOption,
    LowConfidence,
    LowConfidenceOption,
    ModelOption,
    VocoderOption,
    VoiceOption,
    atomic_output,
    format_confidence,
    load,
    report_gaps,
    resolve_options,
)
from lip2speech.constants import AUDIO_SUFFIXES


def stream(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="FILE.wav, .flac, .mp3, .ogg or .m4a; default: beside VIDEO."),
    ] = None,
    model: ModelOption = "live",
    voice: VoiceOption = None,
    vocoder: VocoderOption = None,
    chunk_frames: Annotated[int, typer.Option(help="Frames per chunk of a causal model.")] = 4,
    hop_frames: Annotated[int, typer.Option(help="Hop of the sliding window of any other model.")] = 5,
    lookahead: Annotated[int, typer.Option(help="Frames of look-ahead of that window.")] = 10,
    low_confidence: LowConfidenceOption = LowConfidence.keep,
    device: DeviceOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line on stdout.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no result line.")] = False,
) -> None:
    """Synthesize speech frame by frame, as live, and report latency and cost.

    Exit codes as for convert: 3 the file cannot be read, 4 no face.
    """
    with errors.one_line_errors():
        job = plan_one(video, output, overwrite)
        with progress_bar(quiet=quiet) as progress:
            progress.start("loading the model")
            loaded = load(model, device, quiet=quiet)
            options = resolve_options(loaded, voice, vocoder, low_confidence)
            from lip2speech.streaming import StreamConfig, stream_file

            config = StreamConfig(chunk=chunk_frames, hop=hop_frames, lookahead=lookahead)
            progress.start(video.name)
            with atomic_output(job.output, overwrite=overwrite) as temporary:
                result = stream_file(loaded, job.video, temporary, options, config, progress)
        report_gaps(video.name, result.frames_damaged, result.frames_missing)
        if as_json:
            typer.echo(json.dumps({"input": str(job.video), "output": str(job.output)} | result.to_json()))
        elif not quiet:
            threshold = loaded.config.confidence_threshold
            typer.echo(
                f"{errors.one_line(str(job.video))} -> {errors.one_line(str(job.output))}: "
                f"{result.duration:.2f} s, latency {result.algorithmic_latency_s:.2f} s, "
                f"{result.compute_s / max(result.duration, 1e-9):.2f} x real time, "
                f"at most {result.max_frame_compute_s:.2f} s for a frame, "
                f"{format_confidence(result.confidence, result.mean_confidence, threshold)}"
            )


def plan_one(video: Path, output: Path | None, overwrite: bool) -> ConvertJob:
    """The one file to read and the one to write; UsageError otherwise."""
    if video.is_dir():
        raise errors.UsageError(f"{video}: is a folder; stream takes one video.")
    (job,) = plan_jobs([video], OutputOptions(output, overwrite=overwrite))
    if job.mux:
        raise errors.UsageError(
            f"-o {output}: stream writes audio; give a name that ends in {' '.join(AUDIO_SUFFIXES)}."
        )
    return job
