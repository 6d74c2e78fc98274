"""`lip2speech voice`: enrol one's own voice from a recording, look at it, delete it."""

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

voice = typer.Typer(help="Voices of people who agreed: enrol, list, show, delete.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits, - and _.")]


@voice.command()
def enroll(
    name: Name,
    recordings: Annotated[list[Path], typer.Argument(metavar="RECORDING...", help="Sound or video files.")],
    consent: Annotated[str, typer.Option(help="What the owner of the voice agrees to, in their words.")] = "",
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Models that are to speak in it, as folders or names; by default the shipped ones."
        ),
    ] = None,
    vector: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npy", help="This voice as the encoder of an imported model hears it; give --model."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a voice of that name.")] = False,
) -> None:
    """Make a voice of old or new recordings of one person. The recordings themselves are not kept."""
    with one_line_errors():
        from lip2speech.components import speaker_model_at
        from lip2speech.pretrained import shipped
        from lip2speech.voices.store import enroll as make

        speakers = [speaker_model_at(one) for one in model or shipped()]
        if vector is not None:
            speakers = with_vector(speakers, vector)
        made = make(name, recordings, consent, speakers=speakers, overwrite=overwrite)
        for warning in made.warnings:
            eprint(f"lip2speech: {name}: {warning}.")
        typer.echo(f"{name}: enrolled from {made.seconds:.1f} s of speech; use it with --voice {name}")


def with_vector(speakers: list[SpeakerEncoder], vector: Path) -> list[SpeakerEncoder]:
    """Speaker models of which those that are not here are told what they would hear. ValueError: all are."""
    from lip2speech.models.speaker_encoder import ExternalEmbeddings, read_vector

    if not any(isinstance(one, ExternalEmbeddings) for one in speakers):
        raise ValueError("--vector is for models whose speaker encoder is not here; name one by --model.")
    return [
        ExternalEmbeddings(one.dim, read_vector(str(vector), one.dim))
        if isinstance(one, ExternalEmbeddings)
        else one
        for one in speakers
    ]


@voice.command("list")
def list_all() -> None:
    """The names of all enrolled voices."""
    with one_line_errors():
        from lip2speech.voices.store import list_voices

        for name in list_voices():
            typer.echo(name)


@voice.command()
def show(
    name: Name,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line, with the vector.")] = False,
) -> None:
    """What is known of a voice: speech, quality, pitch, consent."""
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
        typer.echo(f"{name}: deleted; no file of it is left in {folder}")


def describe(found: EnrolledVoice) -> str:
    """A few lines for people."""
    noise = "unknown" if found.noise_db is None else f"{found.noise_db:.0f} dB"
    pitch = "-".join(f"{hz:.0f}" for hz in (found.pitch_hz[:1] + found.pitch_hz[-1:])) or "none"
    lines = [
        f"voice     {found.name}",
        f"speech    {found.seconds:.1f} s, above the noise by {noise}, clipped {found.clipped:.2%}",
        f"pitch     {pitch} Hz",
        f"consent   {one_line(found.consent)}",
        f"recorded  {found.date}",
        f"source    sha256 {found.source[:16]}",
    ]
    return "\n".join([*lines, *(f"note      {warning}" for warning in found.warnings)])
