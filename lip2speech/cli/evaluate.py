"""`lip2speech evaluate`: how good speech is: a model's on a corpus, files' beside files, two saved runs'.

Needs the extra `eval`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lip2speech.cli._errors import UsageError, one_line_errors
from lip2speech.cli._progress import Progress, progress_bar

if TYPE_CHECKING:
    from lip2speech.evaluation.dataset import EvaluationItem
    from lip2speech.evaluation.plots import PlotWriter
    from lip2speech.evaluation.results import EvaluationReport


class Corpus(StrEnum):
    """How the folder is laid out; all but `prepared` take the whole path from each video file."""

    prepared = "prepared"
    talker = "talker"
    grid = "grid"


METERS_HELP = (
    "By commas, of wer, cer, per, stoi, estoi, pesq, mel, mcd, f0, sisdr, offset, dnsmos, similarity (needs "
    "--encoder), speed (ROOT). Left out: wer,stoi,estoi,pesq,mel; of REF HYP mcd,f0,sisdr,offset as well."
)
Paths = Annotated[list[Path] | None, typer.Argument(metavar="ROOT | REF HYP", show_default=False)]
HowLaid = Annotated[Corpus, typer.Option(help="How ROOT is laid out.")]
Split = Annotated[str, typer.Option(help="Which clips of ROOT speak; the others may lend voices.")]
Model = Annotated[str, typer.Option(help="A model folder, or the name of a shipped one.")]
Routes = Annotated[list[str] | None, typer.Option(help="May be given often; all when left out.")]
Limit = Annotated[int | None, typer.Option(help="At most so many clips, evenly spread.", min=1)]
Measure = Annotated[str | None, typer.Option(help=METERS_HELP)]
Recogniser = Annotated[str, typer.Option(help="grammar (GRID sentences), or whisper=FOLDER (transformers).")]
Encoder = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Judge of voices, made by `lip2speech train speaker`.")
]
Workers = Annotated[int, typer.Option(help="Processes that measure beside this one.", min=0)]
Live = Annotated[
    list[int] | None, typer.Option(help="Also as a stream that looks so many ms ahead; may be given often.")
]
Save = Annotated[Path | None, typer.Option(help="Meters, versions and every clip's figures as JSON.")]
Compare = Annotated[tuple[Path, Path] | None, typer.Option(metavar="A B", help="Two files of --save.")]
Plots = Annotated[Path | None, typer.Option(metavar="DIR", help="Spectrograms and scatters as PNG.")]
Pictures = Annotated[int, typer.Option(help="Of how many clips --plots shows spectrograms.", min=0)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files of --save and --plots.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]

MODEL_ONLY = ("corpus", "split", "model", "route", "live", "device")
RUN_ONLY = ("limit", "measure", "recogniser", "encoder", "workers", "save", "pictures")


def evaluate(
    ctx: typer.Context,
    paths: Paths = None,
    corpus: HowLaid = Corpus.prepared,
    split: Split = "test",
    model: Model = "default",
    route: Routes = None,
    limit: Limit = None,
    measure: Measure = None,
    recogniser: Recogniser = "grammar",
    encoder: Encoder = None,
    workers: Workers = 0,
    live: Live = None,
    save: Save = None,
    compare: Compare = None,
    plots: Plots = None,
    pictures: Pictures = 8,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Print how good speech is, each figure with its 95 % interval over clips.

    ROOT: the model speaks every clip of a folder of prepared clips, or of a corpus; every route has a row,
    with ceilings and floors beside it.

    REF HYP: two sounds, or two folders with files of the same names; texts are REF's .txt files.

    --compare A B: two saved runs side by side, and their paired difference.
    """
    with one_line_errors():
        given = tuple(paths or ())
        check_use(ctx, given, compare)
        if compare is not None:
            return typer.echo(_compare(compare, plots, overwrite))
        if save is not None and save.exists() and not overwrite:
            raise UsageError(f"{save}: already exists; pass --overwrite to replace it.")
        options: dict[str, Any] = {"limit": limit, "recogniser": recogniser, "encoder": encoder}
        options["workers"] = workers
        options |= {"measure": tuple(measure.split(","))} if measure else {}
        options |= {"show": _gallery(plots, overwrite, pictures)} if plots else {}
        with progress_bar(quiet=quiet) as progress:
            if len(given) == 2:
                report = _of_files(*given, options, progress)
            else:
                options |= {"split": split, "routes": route, "live": live or ()}
                report = _of_model(given[0], corpus, model, device, options, progress)
        _finish(report, save, plots, overwrite)


def check_use(ctx: typer.Context, given: Sequence[Path], compare: tuple[Path, Path] | None) -> None:
    """UsageError: paths that are none of the three uses, or options of another one."""
    if len(given) != (0 if compare else 2) and (compare or len(given) != 1):
        raise UsageError("give one folder (ROOT), two paths (REF HYP), or --compare A B alone.")
    foreign = (*MODEL_ONLY, *RUN_ONLY) if compare else MODEL_ONLY if len(given) == 2 else ()
    for name in foreign:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            use = "--compare" if compare else "REF HYP"
            raise UsageError(f"--{name} has no meaning with {use}; leave it out.")


def _finish(report: EvaluationReport, save: Path | None, plots: Path | None, overwrite: bool) -> None:
    typer.echo(report.table())
    if save is not None:
        report.save(save)
    if plots is not None:
        _gallery(plots, overwrite).points(report)


def _of_model(
    root: Path, corpus: Corpus, model: str, device: str, options: dict[str, Any], progress: Progress
) -> EvaluationReport:
    progress.start("loading the model")
    from lip2speech.checkpoint import fingerprint
    from lip2speech.evaluation.evaluate import evaluate as report_on
    from lip2speech.pipeline import Lip2Speech
    from lip2speech.pretrained import folder_of

    speech = Lip2Speech.from_pretrained(model, device=device)
    items = _items(root, corpus, options["split"])
    progress.start(f"{root}, {options['split']}")
    report = report_on(speech, items, progress=lambda done, total: progress(done / total), **options)
    return replace(report, fingerprint=fingerprint(folder_of(model)))


def _of_files(reference: Path, speech: Path, options: dict[str, Any], progress: Progress) -> EvaluationReport:
    from lip2speech.evaluation.files import evaluate_files

    progress.start(f"{speech}")
    return evaluate_files(reference, speech, progress=lambda done, total: progress(done / total), **options)


def _compare(files: tuple[Path, Path], plots: Path | None, overwrite: bool) -> str:
    from lip2speech.evaluation.results import comparison, load_report

    a, b = (load_report(path) for path in files)
    text = comparison(a, b)
    if plots is not None:
        _gallery(plots, overwrite).pairs(a, b)
    return text


def _gallery(folder: Path, overwrite: bool, count: int = 0) -> PlotWriter:
    from lip2speech.evaluation.plots import PlotWriter

    return PlotWriter(folder, count, overwrite=overwrite)


def _items(root: Path, corpus: Corpus, split: str) -> list[EvaluationItem]:
    from lip2speech.evaluation.dataset import prepared_items, video_items

    if corpus is Corpus.prepared:
        return prepared_items(root, split)
    from lip2speech.data import grid
    from lip2speech.data import synthetic as talker

    return video_items((grid if corpus is Corpus.grid else talker).utterances(root))
