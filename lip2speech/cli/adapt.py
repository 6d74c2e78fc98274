"""`lip2speech adapt`: a model learns how one silent person mouths, from videos of known prompts."""

from __future__ import annotations

import shlex
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lip2speech.cli._errors import UsageError, eprint, one_line_errors, user_message
from lip2speech.cli._progress import progress_bar

if TYPE_CHECKING:
    from lip2speech.train.adapt.recordings import Recording
    from lip2speech.train.adapt.trainer import AdaptationMetrics, WordErrorFn

adapt = typer.Typer(
    help="Teach a model how you mouth words: prompts, your videos of them, your own model.",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Prompts NAME.txt, videos NAME.mp4.")]


@adapt.command()
def prompts(
    folder: Folder,
    count: Annotated[int, typer.Option(help="How many.", min=1)] = 70,
    seed: Annotated[int, typer.Option(help="Another seed gives other sentences.", min=0)] = 0,
    own: Annotated[
        Path | None, typer.Option("--from", metavar="LIST.txt", help="Your own sentences, one a line.")
    ] = None,
) -> None:
    """Write sentences to mouth, FOLDER/001.txt and so on; their videos are 001.webm (mp4, mov, ...)."""
    with one_line_errors():
        from lip2speech.data.prompts import write_prompts

        if own is None:
            from lip2speech.data.synthetic.prompts import sample_prompts

            chosen = sample_prompts(count, seed)
        else:
            chosen = [line.strip() for line in own.read_text(encoding="utf-8").splitlines() if line.strip()]
            if not chosen:
                raise UsageError(f"{own}: holds no sentence; write one a line.")
        for path, prompt in zip(write_prompts(folder, chosen), chosen, strict=True):
            typer.echo(f"{path.stem}  {prompt}")


@adapt.command()
def record(
    folder: Folder,
    port: Annotated[int, typer.Option(help="Port of the page; 0: any free one.", min=0, max=65535)] = 0,
    show: Annotated[
        bool, typer.Option("--open", help="Also open it; others logged in here may then see its address.")
    ] = False,
) -> None:
    """Mouth the prompts in front of your camera: a page in your browser leads through them.

    Serves the page on this computer alone until Ctrl-C; the videos are stored beside their prompts.
    """
    with one_line_errors():
        from lip2speech.train.adapt.recordings import LONGEST_S, read_take
        from lip2speech.web.recorder import RecorderServer, RecordingSession

        session = RecordingSession(folder, read_take, LONGEST_S)
        server = RecorderServer(session, port)
        try:
            typer.echo(f"Open {server.address} in a browser on this computer; Ctrl-C ends it.")
            if show:
                webbrowser.open(server.address)
            server.run()
        except KeyboardInterrupt:  # the usual end
            pass
        finally:
            typer.echo(told(folder, *session.count()))


@adapt.command()
def fit(
    folder: Folder,
    out: Annotated[Path, typer.Option("-o", "--out", help="The model folder to write.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Changes to the recipe: steps=600")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="A file of configs/adapt/, or one like it.")] = None,
    model: Annotated[str, typer.Option(help="A model folder, or the name of a shipped one.")] = "default",
    held_out: Annotated[int, typer.Option(help="The last so many videos only test.", min=0)] = 20,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no table.")] = False,
) -> None:
    """Learn from the videos, write your model, and tell what it gained on prompts it did not learn."""
    with one_line_errors():
        if out.exists() and not overwrite:
            raise UsageError(f"{out}: already exists; pass --overwrite to replace it.")
        from lip2speech import checkpoint
        from lip2speech.config import load_config
        from lip2speech.pipeline import Lip2Speech
        from lip2speech.pretrained import folder_of
        from lip2speech.train.adapt.recordings import read_takes, split_takes
        from lip2speech.train.adapt.trainer import AdaptConfig, measure
        from lip2speech.train.adapt.trainer import adapt as learn

        config = load_config(AdaptConfig, recipe, overrides or ())
        base = folder_of(model)
        speech, loaded = Lip2Speech.from_pretrained(base, "cpu"), checkpoint.load(base)
        with progress_bar(quiet=quiet) as progress:
            progress.start(f"reading {folder}")
            takes, failures = read_takes(folder, progress)
            for line in failures:
                eprint(f"lip2speech: left out: {line}")
            known, tested = split_takes(takes, held_out)
            tested = [] if quiet else tested
            ear = _ear(tested)
            before = measure(speech, tested, config, ear)
            progress.start(f"learning from {len(known)} videos")
            size, _ = learn(loaded, known, config, out, progress=progress, overwrite=overwrite)
            progress.start("measuring")
            after = measure(Lip2Speech.from_pretrained(out, "cpu"), tested, config, ear)
        if not quiet:
            typer.echo(f"{out}: {size} numbers learned from {len(known)} videos; use it with --model {out}")
            typer.echo(table(before, after, len(tested)))


def told(folder: Path, taken: int, count: int) -> str:
    """One line: how far a capture has come, and what comes next."""
    name = shlex.quote(str(folder))
    then = f"lip2speech adapt {f'record {name}' if taken < count else f'fit {name} -o MODEL'}"
    return f"{taken} of {count} prompts are recorded in {folder}; go on with: {then}"


def table(before: AdaptationMetrics, after: AdaptationMetrics, count: int) -> str:
    """Two lines of figures for people, under a heading."""

    def share(value: float | None) -> str:
        return f"{'-' if value is None else f'{value:.1%}':>12}"

    lines = [f"{count} held-out prompts   units right   words wrong"]
    for name, figures in (("before", before), ("after", after)):
        lines.append(f"{name:<20}{share(figures.units)}  {share(figures.words)}")
    return "\n".join(lines)


def _ear(takes: Sequence[Recording]) -> WordErrorFn | None:
    """The offline recogniser, where it knows every sentence and is installed."""
    from lip2speech.evaluation.asr.pocketsphinx import PocketSphinxASR, in_grammar
    from lip2speech.evaluation.metrics.error_rates import edit_distance

    if not takes or not all(in_grammar(take.text) for take in takes):
        return None
    try:
        recogniser = PocketSphinxASR()
    except ImportError as error:
        eprint(f"lip2speech: words are not counted: {user_message(error)}")
        return None
    return lambda wav, text: edit_distance(text, recogniser.transcribe(wav))
