"""Audio files evaluated against reference files, whatever system they come from.

Two folders are matched by file name without suffix, subfolders included; two files are one pair. The text of
a reference is in a .txt file next to it. Audio is trimmed or zero-padded to the length of its reference, and
reported if the lengths differ by more than a tenth of a second.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from lip2speech.audio.io import read_wav
from lip2speech.constants import SAMPLE_RATE
from lip2speech.evaluation.dataset import OnClip, Progress, SynthesizedAudio, evenly_spaced
from lip2speech.evaluation.metrics.registry import DEFAULT_METRICS, MetricsConfig
from lip2speech.evaluation.report import EvaluationReport
from lip2speech.evaluation.results import ScoredPair, summarize
from lip2speech.evaluation.scorer import ParallelScorer, audio_fingerprint

FILE_METRICS = (*DEFAULT_METRICS, "mcd", "f0", "si_sdr", "offset")
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".mp4", ".mkv", ".webm", ".mov", ".mpg", ".avi")
ROW = "hypothesis"
LENGTH_TOLERANCE_S = 0.1
DEFAULT_CONFIG = MetricsConfig(FILE_METRICS)

FilePair = tuple[Path, Path]


def match_files(reference: Path, hypothesis: Path) -> dict[str, FilePair]:
    """Id -> the two files of a pair.

    Raises:
        ValueError: a file without a counterpart, two files of the same id, a folder and a file.
        FileNotFoundError: a path does not exist.
    """
    for path in (reference, hypothesis):
        if not path.exists():
            raise FileNotFoundError(2, "no such file or folder", str(path))
    if reference.is_dir() != hypothesis.is_dir():
        raise ValueError(f"{reference} and {hypothesis} must be two files or two folders.")
    if reference.is_file():
        return {reference.stem: (reference, hypothesis)}
    references, hypotheses = find_audio_files(reference), find_audio_files(hypothesis)
    if unmatched := sorted(set(references) ^ set(hypotheses)):
        folder = hypothesis if unmatched[0] in references else reference
        count, total = len(unmatched), len({*references, *hypotheses})
        raise ValueError(
            f"{unmatched[0]} is not in {folder} ({count} of {total} have no counterpart); give two folders "
            "with the same file names."
        )
    if not references:
        raise ValueError(f"{reference}: no audio files in it ({', '.join(AUDIO_SUFFIXES)}).")
    return {id: (references[id], hypotheses[id]) for id in sorted(references)}


def find_audio_files(folder: Path) -> dict[str, Path]:
    """Relative path without suffix -> file, for all audio files under a folder. ValueError: ambiguous id."""
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file()):
        id = path.relative_to(folder).with_suffix("").as_posix()
        if id in found:
            raise ValueError(f"{found[id]} and {path} differ in suffix only; remove or rename one of them.")
        found[id] = path
    return found


def evaluate_files(
    reference: Path,
    hypothesis: Path,
    config: MetricsConfig = DEFAULT_CONFIG,
    *,
    limit: int | None = None,
    workers: int = 0,
    on_clip: OnClip | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Evaluate audio files against references.

    Args:
        reference: file or folder.
        hypothesis: file or folder.
        config: what is measured.
        limit: at most this many pairs, evenly spaced.
        workers: parallel processes that compute metrics.
        on_clip: called for each pair.
        progress: called with (pairs done, pairs in all).
    Raises:
        ValueError: as in `match_files`, or "speed" among the metrics.
        FileNotFoundError: a path does not exist. ImportError: the extra `eval` is missing.
    """
    if "speed" in config.metrics:
        raise ValueError("speed cannot be measured on files; use `lip2speech evaluate model`.")
    pairs = evenly_spaced(list(match_files(reference, hypothesis).items()), limit)
    metrics = config.describe()
    n_mismatched, fingerprint = 0, hashlib.sha256()
    with ParallelScorer(config, workers) as scorer:
        for done, (id, files) in enumerate(pairs, 1):
            truth, wav, text, mismatch_s = read_pair(files)
            n_mismatched += mismatch_s > LENGTH_TOLERANCE_S
            fingerprint.update(audio_fingerprint(wav.numpy()).encode())
            scorer.add(ROW, ScoredPair(id, truth, wav, text))
            if on_clip is not None:
                on_clip(id, truth, {ROW: SynthesizedAudio(wav)})
            if progress is not None:
                progress(done, len(pairs))
        rows = (summarize(ROW, scorer.scores()[ROW]),)
    notes = (f"{n_mismatched} files differ from their reference by more than {LENGTH_TOLERANCE_S} s.",)
    return EvaluationReport(
        hypothesis.name,
        reference.name,
        rows,
        failed={},
        fingerprint=fingerprint.hexdigest()[:16],
        metrics=metrics,
        notes=notes if n_mismatched else (),
    )


def read_pair(files: FilePair) -> tuple[Tensor, Tensor, str, float]:
    """Reference and audio, (T_a,) each at 16 kHz; the text; the difference of the lengths in seconds."""
    reference, wav = (read_wav(path, SAMPLE_RATE) for path in files)
    text_file = files[0].with_suffix(".txt")
    text = " ".join(text_file.read_text(encoding="utf-8").split()) if text_file.is_file() else ""
    excess = len(wav) - len(reference)
    wav = F.pad(wav[: len(reference)], (0, max(0, -excess)))
    return reference, wav, text, abs(excess) / SAMPLE_RATE
