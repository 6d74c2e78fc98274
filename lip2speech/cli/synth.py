"""`lip2speech talker`: a synthetic corpus of talking faces, with sound and transcripts (extra `talker`)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lip2speech.cli._errors import one_line_errors
from lip2speech.cli._progress import progress_bar


class Split(StrEnum):
    """The two halves of the talkers' world: they share no sentence, voice or face."""

    train = "train"
    test = "test"


class Faces(StrEnum):
    """Which pictures speak."""

    photo = "photo"
    drawn = "drawn"
    both = "both"


class Articulation(StrEnum):
    """Whether there is a voice behind the lips."""

    spoken = "spoken"
    silent = "silent"


def talker(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or empty folder.")],
    sentences: Annotated[int, typer.Option(help="How many clips.", min=1)] = 10,
    seed: Annotated[int, typer.Option(help="Another seed gives other clips.", min=0)] = 0,
    split: Annotated[
        Split, typer.Option(help="test shares no sentence, voice or face with train.")
    ] = Split.train,
    faces: Annotated[
        Faces, typer.Option(help="Which pictures speak; test has drawn faces only.")
    ] = Faces.both,
    articulation: Annotated[
        Articulation, typer.Option(help="silent: mouthed, without sound, in the person's own way.")
    ] = Articulation.spoken,
    person: Annotated[
        int | None, typer.Option(help="One drawn face (and voice) for all clips, by number.", min=0)
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes; the clips do not depend on it.", min=1)] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write into a folder that is not empty.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no result line.")] = False,
) -> None:
    """Make talking-face videos with sound: OUT/ID.mp4, ID.txt (words), ID.json (voice, face, phonemes)."""
    with one_line_errors():
        from lip2speech.data.synthetic import make_corpus

        with progress_bar(quiet=quiet) as progress:
            progress.start("making clips")
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
                person=person,
            )
        if not quiet:
            typer.echo(f"{out}: {len(ids)} clips")
