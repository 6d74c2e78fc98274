"""`lip2speech evaluate`: a model on a data set, files against references, saved reports (extra `eval`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lip2speech.cli._errors import UsageError, one_line_errors
from lip2speech.cli._progress import Progress, progress_bar

if TYPE_CHECKING:
    from lip2speech.evaluation.config import EvaluationRunConfig
    from lip2speech.evaluation.dataset import EvaluationItem
    from lip2speech.evaluation.plots import PlotWriter
    from lip2speech.evaluation.report import EvaluationReport

evaluate = typer.Typer(
    help="Evaluate a model, or audio files of any system, with 95 % bootstrap intervals.",
    no_args_is_help=True,
)


class EvaluationCorpus(StrEnum):
    """Layout of a data set; all but `prepared` run end to end from the video files."""

    prepared = "prepared"
    grid = "grid"
    synth = "synth"


METRICS_HELP = (
    "Comma-separated: wer, cer, per, stoi, estoi, pesq, mel, mcd, f0, si_sdr, offset, dnsmos, similarity "
    "(needs --speaker-encoder), speed (model only). Default: wer,stoi,estoi,pesq,mel, for files also "
    "mcd,f0,si_sdr,offset."
)
Metrics = Annotated[str | None, typer.Option(help=METRICS_HELP, show_default=False)]
Asr = Annotated[
    str | None, typer.Option(help="pocketsphinx (GRID sentences) or whisper=DIR (default: pocketsphinx).")
]
SpeakerEncoder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Evaluation speaker encoder, from `lip2speech train speaker`."),
]
Limit = Annotated[int | None, typer.Option(help="Evaluate at most N clips, evenly spaced.", min=1)]
Workers = Annotated[int | None, typer.Option(help="Parallel processes that compute metrics.", min=0)]
Save = Annotated[Path | None, typer.Option(help="Write definitions, versions and all scores as JSON.")]
Plots = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write spectrograms and scatter plots (PNG).")
]
NPlots = Annotated[int | None, typer.Option(help="Clips with a spectrogram plot (default: 8).", min=0)]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps (default: auto).")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files of --save and --plots.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]


@evaluate.command("model")
def evaluate_model(
    root: Annotated[
        Path | None, typer.Argument(help="Prepared clips, or a corpus.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="Settings; options override its keys.")
    ] = None,
    corpus: Annotated[
        EvaluationCorpus | None, typer.Option(help="Layout of ROOT (default: prepared).")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Clips to synthesize (default: test).")] = None,
    model: Annotated[str | None, typer.Option(help="Model folder or name (default: default).")] = None,
    vocoder: Annotated[list[str] | None, typer.Option(help="Repeatable; all if omitted.")] = None,
    lookahead_ms: Annotated[
        list[int] | None, typer.Option(help="Also in streaming with this look-ahead; repeatable.")
    ] = None,
    metrics: Metrics = None,
    asr: Asr = None,
    speaker_encoder: SpeakerEncoder = None,
    limit: Limit = None,
    workers: Workers = None,
    save: Save = None,
    plots: Plots = None,
    n_plots: NPlots = None,
    device: Device = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a model on a data set.

    Every vocoder has a row, next to upper bounds (copy-synthesis) and lower bounds (the video ignored).
    """
    options = dict(locals())
    with one_line_errors():
        from lip2speech.evaluation.config import EvaluationRunConfig

        settings = {field.name: options[field.name] for field in fields(EvaluationRunConfig)}
        run = resolve_config(config, settings)
        _check_save(run.save, overwrite)
        with progress_bar(quiet=quiet) as progress:
            report = _evaluate_model(run, _plot_writer(run.plots, run.n_plots, overwrite), progress)
        _output(report, run.save, run.plots, overwrite)


@evaluate.command("files")
def evaluate_files(
    reference: Annotated[
        Path, typer.Argument(help="File or folder; texts are .txt files next to the audio.")
    ],
    hypothesis: Annotated[Path, typer.Argument(help="File, or folder with the same file names.")],
    metrics: Metrics = None,
    asr: Asr = None,
    speaker_encoder: SpeakerEncoder = None,
    limit: Limit = None,
    workers: Workers = None,
    save: Save = None,
    plots: Plots = None,
    n_plots: NPlots = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate audio files against references."""
    with one_line_errors():
        _check_save(save, overwrite)
        with progress_bar(quiet=quiet) as progress:
            progress.start(str(hypothesis))
            from lip2speech.evaluation.files import DEFAULT_CONFIG
            from lip2speech.evaluation.files import evaluate_files as run

            given: dict[str, Any] = {"asr": asr, "speaker_encoder": speaker_encoder}
            given["metrics"] = _split_commas(metrics)
            report = run(
                reference,
                hypothesis,
                replace(DEFAULT_CONFIG, **{key: value for key, value in given.items() if value is not None}),
                limit=limit,
                workers=workers or 0,
                on_clip=_plot_writer(plots, 8 if n_plots is None else n_plots, overwrite),
                progress=_fraction(progress),
            )
        _output(report, save, plots, overwrite)


@evaluate.command("compare")
def compare_reports(
    a: Annotated[Path, typer.Argument(help="A report of --save.")],
    b: Annotated[Path, typer.Argument(help="Another one, of the same clips and metrics.")],
    plots: Annotated[Path | None, typer.Option(metavar="DIR", help="Write scatter plots (PNG).")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing files of --plots.")
    ] = False,
) -> None:
    """Compare two saved reports clip by clip.

    Prints paired differences; * if the 95 % interval excludes 0.
    """
    with one_line_errors():
        from lip2speech.evaluation.compare import comparison_table
        from lip2speech.evaluation.report import load_report

        reports = load_report(a), load_report(b)
        text = comparison_table(*reports)
        if (writer := _plot_writer(plots, 0, overwrite)) is not None:
            writer.save_comparison(*reports)
        typer.echo(text)


@evaluate.command("speaker-similarity")
def speaker_similarity(
    sets: Annotated[
        list[str], typer.Argument(metavar="ROOT:SPLIT...", help="Prepared clips of the target speakers.")
    ],
    speaker_encoder: Annotated[
        Path, typer.Option(metavar="DIR", help="Evaluation speaker encoder, from `lip2speech train speaker`.")
    ],
    model: Annotated[str, typer.Option(help="Model folder or name.")] = "default",
    clips_per_speaker: Annotated[int, typer.Option(help="Videos synthesized in each voice.", min=1)] = 12,
    vocoder: Annotated[str | None, typer.Option(help="The model's default if omitted.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    quiet: Quiet = False,
) -> None:
    """Measure similarity to target speakers.

    Synthesizes videos of other speakers in each target voice, and identifies the speaker.
    """
    with one_line_errors():
        parsed = [parse_clip_set(name) for name in sets]
        with progress_bar(quiet=quiet) as progress:
            progress.start("loading the model")
            from lip2speech.evaluation.speaker_similarity import evaluate_speaker_similarity
            from lip2speech.models.speaker_encoder.xvector import load_xvector
            from lip2speech.pipeline import Lip2Speech

            pipeline, encoder = (
                Lip2Speech.from_pretrained(model, device),
                load_xvector(speaker_encoder),
            )
            progress.start("synthesizing")
            report = evaluate_speaker_similarity(
                pipeline, encoder, parsed, clips_per_speaker=clips_per_speaker, vocoder=vocoder,
                progress=_fraction(progress),
            )  # fmt: skip
        typer.echo(report.table())


def parse_clip_set(name: str) -> tuple[Path, str]:
    """ROOT:SPLIT -> folder and split."""
    root, colon, split = name.rpartition(":")
    if not (root and colon and split):
        raise UsageError(f"{name}: expected ROOT:SPLIT, a folder of prepared clips and a split.")
    return Path(root), split


def resolve_config(path: Path | None, options: dict[str, Any]) -> EvaluationRunConfig:
    """The settings of a YAML file, overridden by the options that are not None."""
    from lip2speech.config import load_config
    from lip2speech.evaluation.config import EvaluationRunConfig

    given = {key: value for key, value in options.items() if value is not None}
    if "metrics" in given:
        given["metrics"] = _split_commas(given["metrics"])
    given |= {key: tuple(value) for key, value in given.items() if isinstance(value, list)}
    if "corpus" in given:
        given["corpus"] = str(given["corpus"])
    run = replace(load_config(EvaluationRunConfig, path), **given)
    if run.root is None:
        raise UsageError("give the data: ROOT, or the key root in --config FILE.yaml.")
    return run


def _split_commas(names: str | None) -> tuple[str, ...] | None:
    return tuple(names.split(",")) if names else None


def _evaluate_model(
    run: EvaluationRunConfig, writer: PlotWriter | None, progress: Progress
) -> EvaluationReport:
    progress.start("loading the model")
    from lip2speech.checkpoint import fingerprint
    from lip2speech.evaluation.evaluate import evaluate as evaluate_items
    from lip2speech.pipeline import Lip2Speech
    from lip2speech.pretrained import resolve_model_path

    pipeline, items = Lip2Speech.from_pretrained(run.model, device=run.device), _items(run)
    progress.start(f"{run.root}, {run.split}")
    report = evaluate_items(pipeline, items, run, on_clip=writer, progress=_fraction(progress))
    return replace(report, fingerprint=fingerprint(resolve_model_path(run.model)))


def _items(run: EvaluationRunConfig) -> list[EvaluationItem]:
    from lip2speech.evaluation.dataset import prepared_items, video_items

    assert run.root is not None, "checked by resolve_config"
    if run.corpus == "prepared":
        return prepared_items(run.root, run.split)
    from lip2speech.data import grid, synthetic

    return video_items((grid if run.corpus == "grid" else synthetic).utterances(run.root))


def _fraction(progress: Progress) -> Callable[[int, int], None]:
    """The bar as a callback of (done, total)."""
    return lambda done, total: progress(done / total)


def _check_save(save: Path | None, overwrite: bool) -> None:
    if save is not None and save.exists() and not overwrite:
        raise UsageError(f"{save}: already exists; pass --overwrite to replace it.")


def _output(report: EvaluationReport, save: Path | None, plots: Path | None, overwrite: bool) -> None:
    typer.echo(report.table())
    if save is not None:
        report.save(save)
    if (writer := _plot_writer(plots, 0, overwrite)) is not None:
        writer.save_f0(report)


def _plot_writer(folder: Path | None, n_spectrograms: int, overwrite: bool) -> PlotWriter | None:
    if folder is None:
        return None
    from lip2speech.evaluation.plots import PlotWriter

    return PlotWriter(folder, n_spectrograms, overwrite=overwrite)
