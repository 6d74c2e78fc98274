"""`lip2speech synth`: a synthetic corpus of talking faces with audio and transcripts (extra `synth`)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lip2speech.cli._errors import one_line_errors
from lip2speech.cli._progress import progress_bar


class Split(StrEnum):
    """The two splits of the synthetic corpus; they share no sentence, voice or face."""

    train = "train"
    test = "test"


class Faces(StrEnum):
    """Which kind of face is rendered."""

    photo = "photo"
    drawn = "drawn"
    both = "both"


class Articulation(StrEnum):
    """Whether the words are voiced or only mouthed."""

    voiced = "voiced"
    mouthed = "mouthed"


def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder, new or empty.")],
    sentences: Annotated[int, typer.Option(help="Number of clips.", min=1)] = 10,
    seed: Annotated[int, typer.Option(help="Random seed of the clips.", min=0)] = 0,
    split: Annotated[
        Split, typer.Option(help="test shares no sentence, voice or face with train.")
    ] = Split.train,
    faces: Annotated[
        Faces, typer.Option(help="Kind of face; the test split has drawn faces only.")
    ] = Faces.both,
    articulation: Annotated[
        Articulation, typer.Option(help="mouthed: silent speech in a speaker-specific style, without audio.")
    ] = Articulation.voiced,
    speaker_id: Annotated[
        int | None, typer.Option(help="Number of the one drawn face and voice used in all clips.", min=0)
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Number of processes; the clips do not depend on it.", min=1)
    ] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write into a folder that is not empty.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar and no summary.")] = False,
) -> None:
    """Render talking-face videos with audio: OUT/ID.mp4, ID.txt (text), ID.json (voice, face, phonemes)."""
    with one_line_errors():
        from lip2speech.data.synthetic import make_corpus

        with progress_bar(quiet=quiet) as progress:
            progress.start("rendering clips")
            ids = make_corpus(
                out,
                sentences,
                seed,
                split=split.value,
                faces=faces.value,
                workers=workers,
                progress=lambda done, total: progress(done / total),
                overwrite=overwrite,
                articulation=articulation.value,
                speaker_id=speaker_id,
            )
        if not quiet:
            typer.echo(f"{out}: {len(ids)} clips")
