"""Sounds in files beside their references in files: no model, nothing of where they come from.

Two folders are matched by the names of their files without the ending, in sub-folders too; two files are one
pair. What a reference says is in a .txt beside it. A sound that is longer or shorter than its reference is
cut or followed by silence, and told of when that is more than a tenth of a second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from lip2speech.audio.io import read_wav
from lip2speech.constants import SAMPLE_RATE
from lip2speech.evaluation.dataset import SynthesizedAudio, spread
from lip2speech.evaluation.metrics.registry import DEFAULT_METERS, describe_meters
from lip2speech.evaluation.results import EvaluationReport
from lip2speech.evaluation.scorer import ParallelScorer, ScoredPair, sum_of, summarise

PAIR_METERS = (*DEFAULT_METERS, "mcd", "f0", "sisdr", "offset")
"""What is measured of files when nothing is said."""
ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".mp4", ".mkv", ".webm", ".mov", ".mpg", ".avi")
ROW = "speech"
TOLERANCE_S = 0.1

Files = tuple[Path, Path]


def match_files(reference: Path, speech: Path) -> dict[str, Files]:
    """Id -> the two files of a pair.

    Raises:
        ValueError: one half of a pair is missing, two files of one name, a folder beside a file.
        FileNotFoundError: a path that does not exist.
    """
    for path in (reference, speech):
        if not path.exists():
            raise FileNotFoundError(2, "no such file or folder", str(path))
    if reference.is_dir() != speech.is_dir():
        raise ValueError(f"{reference} and {speech} must be two files or two folders.")
    if reference.is_file():
        return {reference.stem: (reference, speech)}
    references, sounds = sound_files(reference), sound_files(speech)
    if odd := sorted(set(references) ^ set(sounds)):
        place = speech if odd[0] in references else reference
        raise ValueError(
            f"{odd[0]} is not in {place} ({len(odd)} of {len({*references, *sounds})} have no other half); "
            "give folders with the same names, or take out the rest."
        )
    if not references:
        raise ValueError(f"{reference}: holds no sound files ({', '.join(ENDINGS)}).")
    return {id: (references[id], sounds[id]) for id in sorted(references)}


def sound_files(folder: Path) -> dict[str, Path]:
    """Path without its ending -> file, of all sounds under a folder. ValueError: two of one name."""
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file()):
        id = path.relative_to(folder).with_suffix("").as_posix()
        if id in found:
            raise ValueError(f"{found[id]} and {path} are of one name; which one is meant is not clear.")
        found[id] = path
    return found


def evaluate_files(
    reference: Path,
    speech: Path,
    *,
    limit: int | None = None,
    measure: Collection[str] = PAIR_METERS,
    recogniser: str = "grammar",
    encoder: Path | None = None,
    workers: int = 0,
    show: Callable[[str, Tensor, dict[str, SynthesizedAudio]], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """Measures sounds against references; arguments as in `report.evaluate`, errors as in `match_files`."""
    if "speed" in measure:
        raise ValueError("speed is of a model that speaks; give ROOT and --model to measure it.")
    files = match_files(reference, speech)
    chosen = spread(list(files.items()), limit)
    told = describe_meters(measure, recogniser=recogniser, encoder=encoder)
    odd, sums = 0, hashlib.sha256()
    with ParallelScorer(measure, workers, recogniser=recogniser, encoder=encoder) as scorer:
        for done, (id, two) in enumerate(chosen, 1):
            truth, wav, text, misfit = read_pair(two)
            odd += misfit > TOLERANCE_S
            sums.update(sum_of(wav.numpy()).encode())
            scorer.add(ROW, ScoredPair(id, truth, wav, text))
            if show is not None:
                show(id, truth, {ROW: SynthesizedAudio(wav)})
            if progress is not None:
                progress(done, len(chosen))
        rows = (summarise(ROW, scorer.scores()[ROW]),)
    note = f"{odd} sounds are more than {TOLERANCE_S} s longer or shorter than their reference."
    return EvaluationReport(
        speech.name, reference.name, rows, {}, 0, sums.hexdigest()[:16], told, (note,) if odd else ()
    )


def read_pair(files: Files) -> tuple[Tensor, Tensor, str, float]:
    """Two sounds (T_a,) at 16 kHz, equally long; the text; and by how many seconds they were not."""
    reference, wav = (read_wav(path, SAMPLE_RATE) for path in files)
    text = files[0].with_suffix(".txt")
    said = " ".join(text.read_text(encoding="utf-8").split()) if text.is_file() else ""
    over = len(wav) - len(reference)
    wav = F.pad(wav[: len(reference)], (0, max(0, -over)))
    return reference, wav, said, abs(over) / SAMPLE_RATE
