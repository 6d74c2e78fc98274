"""The meters by name: what each gives of a pair, by which recipe and version, in which columns it is told.

A recipe begins with its version, which goes up whenever the same pair would get another figure. Meters of
words, of the speaker and of speed need more than the pair; `score` asks for them.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from lip2speech import checkpoint
from lip2speech.evaluation.asr import recogniser_of
from lip2speech.evaluation.metrics import acoustic as acoustics
from lip2speech.evaluation.metrics import dnsmos as mos
from lip2speech.evaluation.metrics import intelligibility as metrics

DEFAULT_METERS = ("wer", "stoi", "estoi", "pesq", "mel")
"""What is measured when nothing is said. PESQ takes most of the time."""
WORD_METERS = ("wer", "cer", "per")

Figures = dict[str, float]


@dataclass(frozen=True)
class MetricColumn:
    """One figure of a table.

    Args:
        value: the field of a `Score`; its mean over clips is told.
        share_of: the field it is counted against: then sum over sum, and no clip counts more than 100 %.
        median: the median instead. size: of the absolute values.
    """

    heading: str
    value: str
    share_of: str = ""
    digits: int = 3
    median: bool = False
    size: bool = False


@dataclass(frozen=True)
class Metric:
    """One plug. `measure`: (reference, wav), two equally long (T_a,) -> fields of a `Score`."""

    recipe: str
    columns: dict[str, MetricColumn]
    measure: Callable[[np.ndarray, np.ndarray], Figures] | None = None
    packages: tuple[str, ...] = ()


def _mel(reference: np.ndarray, wav: np.ndarray) -> Figures:
    mels = metrics.log_mel(reference), metrics.log_mel(wav)
    return {"mel_l1": metrics.mel_l1(*mels), "lag_ms": metrics.best_lag_ms(*mels)}


def _mcd(reference: np.ndarray, wav: np.ndarray) -> Figures:
    mels = metrics.log_mel(reference), metrics.log_mel(wav)
    return {"mcd": acoustics.mcd(*mels), "mcd_warped": acoustics.mcd(*mels, warp=True)}


def _f0(reference: np.ndarray, wav: np.ndarray) -> Figures:
    found = acoustics.pitch_error(reference, wav)
    names = ("f0_cents", "voicing_f1", "f0_reference_hz", "f0_hz")
    return dict(zip(names, found, strict=True))


def _offset(reference: np.ndarray, wav: np.ndarray) -> Figures:
    return {"offset_ms": acoustics.offset_ms(metrics.log_mel(reference), metrics.log_mel(wav))}


def _dnsmos(reference: np.ndarray, wav: np.ndarray) -> Figures:
    opinion = mos.dnsmos(wav)
    return {"mos_speech": opinion.speech, "mos_background": opinion.background, "mos": opinion.overall}


METERS: dict[str, Metric] = {
    "wer": Metric(
        "2: edit errors over words, text normalised, at most 100 % of a clip; slots: wrong at their place",
        {
            "wer": MetricColumn("WER, edit", "edits", "words"),
            "wer_slots": MetricColumn("WER, slots", "slot_edits", "places"),
        },
        packages=("jiwer",),
    ),
    "cer": Metric(
        "1: as wer, by letters, spaces left out",
        {"cer": MetricColumn("CER", "letter_edits", "letters")},
        packages=("jiwer",),
    ),
    "per": Metric(
        "1: as wer, by phones of the CMU dictionary in pocketsphinx, first pronunciations",
        {"per": MetricColumn("PER", "phone_edits", "phones")},
        packages=("jiwer", "pocketsphinx"),
    ),
    "stoi": Metric(
        "1: Taal et al. 2011, 16 kHz", {"stoi": MetricColumn("STOI", "stoi")},
        lambda a, b: {"stoi": metrics.stoi(a, b)}, ("pystoi",),
    ),
    "estoi": Metric(
        "1: Jensen and Taal 2016, 16 kHz", {"estoi": MetricColumn("ESTOI", "estoi")},
        lambda a, b: {"estoi": metrics.estoi(a, b)}, ("pystoi",),
    ),
    "pesq": Metric(
        "1: P.862.2 wide band, silence for speech 1.04", {"pesq": MetricColumn("PESQ-WB", "pesq", digits=2)},
        lambda a, b: {"pesq": metrics.pesq_wb(a, b)}, ("pesq",),
    ),
    "mel": Metric(
        "1: mean distance of natural-log mels (80 bands, 100 Hz) above -60 dB; lag: shift of least distance, "
        "within 200 ms, late is positive",
        {
            "mel_l1": MetricColumn("mel L1", "mel_l1"),
            "lag_ms": MetricColumn("lag ms, median", "lag_ms", digits=0, median=True),
            "lag_spread": MetricColumn("lag ms, mean size", "lag_ms", digits=0, size=True),
        },
        _mel,
    ),
    "mcd": Metric(
        "1: c1..c13 of those mels, K = 10 sqrt 2 / ln 10, all frames; DTW: mean over the cheapest path",
        {"mcd": MetricColumn("MCD dB", "mcd", digits=2), "mcd_warped": MetricColumn("MCD-DTW", "mcd_warped", digits=2)},
        _mcd,
    ),
    "f0": Metric(
        "1: autocorrelation tracker, 60 to 400 Hz; root mean square where both are voiced; F1 of frames",
        {
            "f0_cents": MetricColumn("F0 error cents", "f0_cents", digits=0),
            "voicing_f1": MetricColumn("voicing F1", "voicing_f1"),
        },
        _f0,
    ),
    "sisdr": Metric(
        "1: Le Roux et al. 2019, within +-60 dB", {"si_sdr": MetricColumn("SI-SDR dB", "si_sdr", digits=1)},
        lambda a, b: {"si_sdr": acoustics.si_sdr(a, b)},
    ),
    "dnsmos": Metric(
        "1: P.835 network of speechmos, windows of 9.01 s, short sounds repeated, silence 1",
        {
            "mos_speech": MetricColumn("DNSMOS SIG", "mos_speech", digits=2),
            "mos_background": MetricColumn("BAK", "mos_background", digits=2),
            "mos": MetricColumn("OVRL", "mos", digits=2),
        },
        _dnsmos, ("speechmos", "onnxruntime"),
    ),
    "similarity": Metric(
        "1: cosine of the judge's vectors of both sounds, silence 0",
        {"similarity": MetricColumn("speaker similarity", "similarity")},
    ),
    "offset": Metric(
        "1: lag of best correlation of mean log-mels, within 400 ms, late is positive, none below 0.3",
        {
            "offset_ms": MetricColumn("offset ms, median", "offset_ms", digits=0, median=True),
            "offset_size": MetricColumn("offset ms, mean size", "offset_ms", digits=0, size=True),
        },
        _offset,
    ),
    "speed": Metric(
        "1: RTF: seconds of computing per second of sound; latency: all computing of a clip, or of a stream "
        "its delay by design and the 95th percentile of a frame's computing",
        {
            "rtf": MetricColumn("RTF", "rtf"),
            "latency_ms": MetricColumn("latency ms", "latency_ms", digits=0, median=True),
        },
    ),
}  # fmt: skip
"""What can be measured, by the name that `--measure` takes."""

COLUMNS: dict[str, MetricColumn] = {
    key: column for meter in METERS.values() for key, column in meter.columns.items()
}


def check_meters(names: Collection[str], *, encoder: Path | None = None) -> None:
    """ValueError: an unknown meter, or one whose judge is missing."""
    if unknown := set(names) - set(METERS):
        raise ValueError(f"no meter is called {sorted(unknown)[0]!r}; there are {', '.join(METERS)}.")
    if "similarity" in names and encoder is None:
        raise ValueError(
            "similarity needs a judge: --encoder DIR, made by `lip2speech train speaker`; not the one "
            "that the model hears with."
        )


def describe_meters(
    names: Collection[str], *, recogniser: str = "grammar", encoder: Path | None = None
) -> dict[str, str]:
    """What figures were measured with: each meter's recipe and the versions of the packages behind it."""
    check_meters(names, encoder=encoder)
    used = {"torch", *(package for name in names for package in METERS[name].packages)}
    told = {name: METERS[name].recipe for name in METERS if name in names}
    if set(names) & set(WORD_METERS):
        told["recogniser"] = recogniser_of(recogniser).recipe
        used |= {"pocketsphinx"} if recogniser == "grammar" else set()
    if "similarity" in names and encoder is not None:
        told["encoder"] = checkpoint.fingerprint(encoder)
    if "speed" in names:
        told["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    told["interval"] = f"95 %, bootstrap over clips, {metrics.DRAWS} draws, seed 0"
    return told | {f"version of {name}": _version(name) for name in sorted(used)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
