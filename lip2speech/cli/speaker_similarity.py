"""`lip2speech similarity`: does speech in a voice sound like its owner? The table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lip2speech.cli._errors import one_line_errors
from lip2speech.cli._progress import progress_bar
from lip2speech.cli.calibrate import parse_set


def similarity(
    sets: Annotated[
        list[str], typer.Argument(metavar="ROOT:SPLIT...", help="Prepared clips of people to sound like.")
    ],
    encoder: Annotated[
        Path, typer.Option(metavar="DIR", help="The judge, made by `lip2speech train speaker`.")
    ],
    model: Annotated[str, typer.Option(help="A model folder, or the name of a shipped one.")] = "default",
    lips: Annotated[int, typer.Option(help="Clips of other people that speak in each voice.", min=1)] = 12,
    route: Annotated[str | None, typer.Option(help="How the prediction becomes sound.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Speak with other people's lips in every voice, and tell whose voice that is taken for."""
    with one_line_errors():
        wanted = [parse_set(name) for name in sets]
        with progress_bar(quiet=quiet) as progress:
            progress.start("loading the model")
            from lip2speech.evaluation.speaker_similarity import similarity as judge
            from lip2speech.models.speaker_encoder.xvector import load_speaker_encoder
            from lip2speech.pipeline import Lip2Speech

            speech, listener = Lip2Speech.from_pretrained(model, device), load_speaker_encoder(encoder)
            progress.start("speaking in voices")
            report = judge(
                speech, listener, wanted, lips=lips, route=route,
                progress=lambda done, total: progress(done / total),
            )  # fmt: skip
        typer.echo(report.table())
