"""`lip2speech adapt`: adapt a model to one silent speaker from videos of known prompts."""

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
    from lip2speech.train.adapt.evaluate import AdaptationMetrics, WordErrorFn
    from lip2speech.train.adapt.recordings import Recording

adapt = typer.Typer(
    help="Adapt a model to your own lips: write prompts, record silent videos of them, train.",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Prompts NAME.txt, videos NAME.mp4.")]


@adapt.command()
def prompts(
    folder: Folder,
    count: Annotated[int, typer.Option(help="Number of prompts.", min=1)] = 70,
    seed: Annotated[int, typer.Option(help="Random seed of the choice of sentences.", min=0)] = 0,
    own_prompts: Annotated[
        Path | None,
        typer.Option("--prompts", metavar="LIST.txt", help="Your own sentences instead, one per line."),
    ] = None,
) -> None:
    """Write sentences to mouth, FOLDER/001.txt and so on; record their videos as 001.webm (mp4, mov, ...)."""
    with one_line_errors():
        from lip2speech.data.prompts import write_prompts

        if own_prompts is None:
            from lip2speech.data.synthetic.prompts import sample_prompts

            chosen = sample_prompts(count, seed)
        else:
            lines = own_prompts.read_text(encoding="utf-8").splitlines()
            chosen = [line.strip() for line in lines if line.strip()]
            if not chosen:
                raise UsageError(f"{own_prompts}: no sentences; write one per line.")
        for path, prompt in zip(write_prompts(folder, chosen), chosen, strict=True):
            typer.echo(f"{path.stem}  {prompt}")


@adapt.command()
def record(
    folder: Folder,
    port: Annotated[
        int, typer.Option(help="Port of the recorder; 0 for any free one.", min=0, max=65535)
    ] = 0,
    show: Annotated[
        bool, typer.Option("--open", help="Open a browser; other users of this machine may see the address.")
    ] = False,
) -> None:
    """Record the prompts with your camera, in a local web page.

    Serves localhost only, until Ctrl-C; videos are stored next to their prompts.
    """
    with one_line_errors():
        from lip2speech.train.adapt.recordings import MAX_DURATION_S, read_recording
        from lip2speech.web.recorder import RecorderServer, RecordingSession

        session = RecordingSession(folder, read_recording, MAX_DURATION_S)
        server = RecorderServer(session, port)
        try:
            typer.echo(f"Open {server.address} in a browser on this computer; press Ctrl-C to stop.")
            if show:
                webbrowser.open(server.address)
            server.run()
        except KeyboardInterrupt:  # the usual end
            pass
        finally:
            typer.echo(progress_line(folder, *session.count()))


@adapt.command()
def train(
    folder: Folder,
    out: Annotated[Path, typer.Option("-o", "--out", help="The model folder to write.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Overrides of the config: steps=600"),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A file in configs/adapt/, or your own.")] = None,
    model: Annotated[str, typer.Option(help="A model folder, or the name of a bundled model.")] = "default",
    held_out: Annotated[
        int, typer.Option(help="Number of videos, the last ones, kept for testing.", min=0)
    ] = 20,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no table.")] = False,
) -> None:
    """Train on the videos, write the adapted model, and report accuracy on held-out prompts."""
    with one_line_errors():
        if out.exists() and not overwrite:
            raise UsageError(f"{out}: already exists; pass --overwrite to replace it.")
        from lip2speech import checkpoint
        from lip2speech.config import load_config
        from lip2speech.pipeline import Lip2Speech
        from lip2speech.pretrained import resolve_model_path
        from lip2speech.train.adapt.evaluate import evaluate
        from lip2speech.train.adapt.recordings import read_recordings, split_recordings
        from lip2speech.train.adapt.trainer import AdaptConfig
        from lip2speech.train.adapt.trainer import adapt as train_adapters

        values = load_config(AdaptConfig, config, overrides or ())
        base = resolve_model_path(model)
        base_model, loaded = Lip2Speech.from_pretrained(base, "cpu"), checkpoint.load(base)
        with progress_bar(quiet=quiet) as progress:
            progress.start(f"reading {folder}")
            recordings, failures = read_recordings(folder, progress)
            for line in failures:
                eprint(f"lip2speech: skipped: {line}")
            train_set, test_set = split_recordings(recordings, held_out)
            test_set = [] if quiet else test_set
            word_error_fn = _word_error_fn(test_set)
            before = evaluate(base_model, test_set, values, word_error_fn)
            progress.start(f"training on {len(train_set)} videos")
            size, _ = train_adapters(loaded, train_set, values, out, progress=progress, overwrite=overwrite)
            progress.start("evaluating")
            after = evaluate(Lip2Speech.from_pretrained(out, "cpu"), test_set, values, word_error_fn)
        if not quiet:
            typer.echo(
                f"{out}: {size} parameters trained on {len(train_set)} videos; use it with --model {out}"
            )
            typer.echo(table(before, after, len(test_set)))


def progress_line(folder: Path, n_recorded: int, n_prompts: int) -> str:
    """One line: how many prompts are recorded, and the next command."""
    name = shlex.quote(str(folder))
    command = f"record {name}" if n_recorded < n_prompts else f"train {name} -o MODEL"
    return f"{n_recorded} of {n_prompts} prompts are recorded in {folder}; next: lip2speech adapt {command}"


def table(before: AdaptationMetrics, after: AdaptationMetrics, n_prompts: int) -> str:
    """Metrics before and after adaptation as a text table."""

    def percent(value: float | None) -> str:
        return f"{'-' if value is None else f'{value:.1%}':>14}"

    lines = [f"{n_prompts} held-out prompts   unit accuracy             WER"]
    for name, metrics in (("before", before), ("after", after)):
        lines.append(f"{name:<21}{percent(metrics.unit_accuracy)}  {percent(metrics.wer)}")
    return "\n".join(lines)


def _word_error_fn(recordings: Sequence[Recording]) -> WordErrorFn | None:
    """Word errors by the offline recognizer, if it is installed and its grammar covers every sentence."""
    from lip2speech.evaluation.asr.pocketsphinx import PocketSphinxASR, in_grammar
    from lip2speech.evaluation.metrics.error_rates import edit_distance

    if not recordings or not all(in_grammar(recording.text) for recording in recordings):
        return None
    try:
        asr = PocketSphinxASR()
    except ImportError as error:
        eprint(f"lip2speech: WER is not computed: {user_message(error)}")
        return None
    return lambda wav, text: edit_distance(text, asr.transcribe(wav))
