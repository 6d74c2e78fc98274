"""`lip2speech voice`: enroll a voice from recordings, list, show and delete voices."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lip2speech.cli._errors import eprint, one_line, one_line_errors

if TYPE_CHECKING:
    from lip2speech.models.speaker_encoder import SpeakerEncoder
    from lip2speech.voices.store import EnrolledVoice

voice = typer.Typer(help="Voices of people who consented: enroll, list, show, delete.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits, - and _.")]


@voice.command()
def enroll(
    name: Name,
    recordings: Annotated[list[Path], typer.Argument(metavar="RECORDING...", help="Audio or video files.")],
    consent: Annotated[str, typer.Option(help="The consent of the voice's owner, in their words.")] = "",
    model: Annotated[
        list[str] | None,
        typer.Option(help="Models to use the voice with, as folders or names; default: the bundled ones."),
    ] = None,
    embedding: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npy",
            help="Speaker embedding by the external encoder of an imported model; requires --model.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a voice of that name.")] = False,
) -> None:
    """Enroll a voice from recordings of one person. The recordings themselves are not stored."""
    with one_line_errors():
        from lip2speech.components import load_model_speaker_encoder
        from lip2speech.pretrained import bundled_models
        from lip2speech.voices.enrollment import enroll_voice

        encoders = [load_model_speaker_encoder(each) for each in model or bundled_models()]
        if embedding is not None:
            encoders = with_embedding(encoders, embedding)
        enrolled = enroll_voice(name, recordings, consent, speaker_encoders=encoders, overwrite=overwrite)
        for warning in enrolled.warnings:
            eprint(f"lip2speech: {name}: {warning}.")
        typer.echo(f"{name}: enrolled from {enrolled.seconds:.1f} s of speech; use it with --voice {name}")


def with_embedding(speaker_encoders: list[SpeakerEncoder], path: Path) -> list[SpeakerEncoder]:
    """The encoders, with the embedding of a file for external ones. ValueError: none of them is external."""
    from lip2speech.models.speaker_encoder import ExternalEmbeddings, read_embedding

    if not any(isinstance(encoder, ExternalEmbeddings) for encoder in speaker_encoders):
        raise ValueError("--embedding is for models with an external speaker encoder; name one by --model.")
    return [
        ExternalEmbeddings(encoder.dim, read_embedding(path, encoder.dim))
        if isinstance(encoder, ExternalEmbeddings)
        else encoder
        for encoder in speaker_encoders
    ]


@voice.command("list")
def list_all(
    model: Annotated[str, typer.Option(help="Whose stored voices are listed as well.")] = "default",
) -> None:
    """List the enrolled voices and those stored in a model; any of them may be given to --voice."""
    with one_line_errors():
        from lip2speech import checkpoint
        from lip2speech.pretrained import resolve_model_path
        from lip2speech.voices.store import list_voices, voices_dir

        enrolled = list_voices()
        for name in enrolled:
            typer.echo(f"{name}  enrolled")
        for name in checkpoint.load(resolve_model_path(model)).subset("voice."):
            typer.echo(f"{one_line(name)}  stored in model {one_line(model)}")
        found = "enrolled voices are" if enrolled else "no voice is enrolled; `voice enroll` would put it"
        eprint(f"lip2speech: {found} in {voices_dir()}")


@voice.command()
def show(
    name: Name,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line, with the embeddings.")] = False,
) -> None:
    """Show a voice's duration, quality, pitch and consent."""
    with one_line_errors():
        from lip2speech.voices.store import load_voice

        found = load_voice(name)
        typer.echo(json.dumps(asdict(found)) if as_json else describe(found))


@voice.command()
def delete(name: Name) -> None:
    """Overwrite and remove a voice."""
    with one_line_errors():
        from lip2speech.voices.store import delete_voice

        folder = delete_voice(name)
        typer.echo(f"{name}: deleted; no file of it remains in {one_line(folder)}")


def describe(found: EnrolledVoice) -> str:
    """A few lines for people."""
    snr = "unknown" if found.snr_db is None else f"{found.snr_db:.0f} dB"
    pitch = "-".join(f"{hz:.0f}" for hz in (found.pitch_hz[:1] + found.pitch_hz[-1:])) or "none"
    lines = [
        f"voice     {found.name}",
        f"speech    {found.seconds:.1f} s, SNR {snr}, clipped {found.clipping_ratio:.2%}",
        f"pitch     {pitch} Hz",
        f"consent   {one_line(found.consent)}",
        f"enrolled  {one_line(found.date)}",
        f"source    sha256 {one_line(found.source_sha256[:16])}",
    ]
    return "\n".join([*lines, *(f"warning   {warning}" for warning in found.warnings)])
