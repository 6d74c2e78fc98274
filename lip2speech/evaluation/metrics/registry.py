"""The metrics by name: what each computes, its versioned definition, and its table columns.

A definition begins with its version, which is raised whenever the same pair would get another value. Error
rates, speaker similarity and speed need more than the pair of waveforms; `scorer.score` computes them.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from lip2speech import checkpoint
from lip2speech.evaluation.asr.registry import DEFAULT_ASR, load_asr
from lip2speech.evaluation.metrics import acoustic, intelligibility
from lip2speech.evaluation.metrics.bootstrap import N_RESAMPLES
from lip2speech.evaluation.metrics.common import log_mel
from lip2speech.evaluation.metrics.dnsmos import dnsmos

DEFAULT_METRICS = ("wer", "stoi", "estoi", "pesq", "mel")
"""PESQ takes most of the time."""
ERROR_RATE_METRICS = ("wer", "cer", "per")

Values = dict[str, float]
"""Fields of a `results.Score`."""


@dataclass(frozen=True)
class MetricColumn:
    """One column of a results table.

    Args:
        heading: its printed name.
        field: the field of a `results.Score`; its mean over clips is printed.
        denominator: the field to divide by: sum over sum, and no clip counts more than 100 %.
        digits: decimals printed.
        median: the median instead of the mean.
        absolute: of the absolute values.
    """

    heading: str
    field: str
    denominator: str = ""
    digits: int = 3
    median: bool = False
    absolute: bool = False


@dataclass(frozen=True)
class Metric:
    """One metric. `compute`: (reference, wav), two (T_a,) of equal lengths -> fields of a `results.Score`."""

    definition: str
    columns: dict[str, MetricColumn]
    compute: Callable[[NDArray[Any], NDArray[Any]], Values] | None = None
    packages: tuple[str, ...] = ()


def _mel(reference: NDArray[Any], wav: NDArray[Any]) -> Values:
    mels = log_mel(reference), log_mel(wav)
    return {"mel_l1": acoustic.mel_l1(*mels), "mel_offset_ms": acoustic.mel_offset_ms(*mels)}


def _mcd(reference: NDArray[Any], wav: NDArray[Any]) -> Values:
    mels = log_mel(reference), log_mel(wav)
    return {"mcd": acoustic.mcd(*mels), "mcd_dtw": acoustic.mcd(*mels, dtw=True)}


def _f0(reference: NDArray[Any], wav: NDArray[Any]) -> Values:
    names = ("f0_rmse_cents", "voicing_f1", "f0_reference_hz", "f0_hz")
    return dict(zip(names, acoustic.f0_error(reference, wav), strict=True))


def _offset(reference: NDArray[Any], wav: NDArray[Any]) -> Values:
    return {"envelope_offset_ms": acoustic.envelope_offset_ms(log_mel(reference), log_mel(wav))}


def _dnsmos(reference: NDArray[Any], wav: NDArray[Any]) -> Values:
    return dict(zip(("dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl"), dnsmos(wav), strict=True))


METRICS: dict[str, Metric] = {
    "wer": Metric(
        "2: edit distance over reference words, text normalized, at most 100 % of a clip; "
        "slots: wrong word at its position",
        {
            "wer": MetricColumn("WER", "word_edits", "words"),
            "slot_error_rate": MetricColumn("slot error rate", "n_slot_errors", "n_slots"),
        },
        packages=("jiwer",),
    ),
    "cer": Metric(
        "1: as wer, over characters without spaces",
        {"cer": MetricColumn("CER", "char_edits", "chars")},
        packages=("jiwer",),
    ),
    "per": Metric(
        "1: as wer, over phonemes of the CMU dictionary in pocketsphinx, first pronunciations",
        {"per": MetricColumn("PER", "phoneme_edits", "phonemes")},
        packages=("jiwer", "pocketsphinx"),
    ),
    "stoi": Metric(
        "1: Taal et al. 2011, 16 kHz", {"stoi": MetricColumn("STOI", "stoi")},
        lambda a, b: {"stoi": intelligibility.stoi(a, b)}, ("pystoi",),
    ),
    "estoi": Metric(
        "1: Jensen and Taal 2016, 16 kHz", {"estoi": MetricColumn("ESTOI", "estoi")},
        lambda a, b: {"estoi": intelligibility.estoi(a, b)}, ("pystoi",),
    ),
    "pesq": Metric(
        "1: P.862.2 wide band, silence in place of speech 1.04",
        {"pesq": MetricColumn("PESQ-WB", "pesq", digits=2)},
        lambda a, b: {"pesq": intelligibility.pesq_wb(a, b)}, ("pesq",),
    ),
    "mel": Metric(
        "1: mean absolute difference of natural-log mels (80 bands, 100 Hz) above -60 dB; "
        "offset: shift of least distance within 200 ms, positive if delayed",
        {
            "mel_l1": MetricColumn("mel L1", "mel_l1"),
            "mel_offset_ms": MetricColumn("median offset (ms)", "mel_offset_ms", digits=0, median=True),
            "mel_offset_abs_ms": MetricColumn("mean |offset| (ms)", "mel_offset_ms", digits=0, absolute=True),
        },
        _mel,
    ),
    "mcd": Metric(
        "1: c1..c13 of those mels, K = 10 sqrt 2 / ln 10, all frames; DTW: mean along the cheapest path",
        {
            "mcd": MetricColumn("MCD (dB)", "mcd", digits=2),
            "mcd_dtw": MetricColumn("MCD-DTW (dB)", "mcd_dtw", digits=2),
        },
        _mcd,
    ),
    "f0": Metric(
        "1: autocorrelation tracker, 60 to 400 Hz; RMSE where both are voiced; F1 of the voicing decision",
        {
            "f0_rmse_cents": MetricColumn("F0 RMSE (cents)", "f0_rmse_cents", digits=0),
            "voicing_f1": MetricColumn("voicing F1", "voicing_f1"),
        },
        _f0,
    ),
    "si_sdr": Metric(
        "1: Le Roux et al. 2019, clamped to +-60 dB",
        {"si_sdr": MetricColumn("SI-SDR (dB)", "si_sdr", digits=1)},
        lambda a, b: {"si_sdr": acoustic.si_sdr(a, b)},
    ),
    "dnsmos": Metric(
        "1: P.835 network of speechmos, windows of 9.01 s, short audio repeated, silence 1",
        {
            "dnsmos_sig": MetricColumn("DNSMOS SIG", "dnsmos_sig", digits=2),
            "dnsmos_bak": MetricColumn("DNSMOS BAK", "dnsmos_bak", digits=2),
            "dnsmos_ovrl": MetricColumn("DNSMOS OVRL", "dnsmos_ovrl", digits=2),
        },
        _dnsmos, ("speechmos", "onnxruntime"),
    ),
    "similarity": Metric(
        "1: cosine of the evaluation speaker encoder's embeddings, silence 0",
        {"speaker_similarity": MetricColumn("speaker similarity", "speaker_similarity")},
    ),
    "offset": Metric(
        "1: shift of highest correlation of mean log-mels within 400 ms, positive if delayed, none below 0.3",
        {
            "envelope_offset_ms": MetricColumn(
                "median envelope offset (ms)", "envelope_offset_ms", digits=0, median=True
            ),
            "envelope_offset_abs_ms": MetricColumn(
                "mean |envelope offset| (ms)", "envelope_offset_ms", digits=0, absolute=True
            ),
        },
        _offset,
    ),
    "speed": Metric(
        "1: RTF: seconds of computation per second of audio; latency: all computation of a clip, or of a "
        "stream its algorithmic latency plus the 95th percentile of the computation of a frame",
        {
            "rtf": MetricColumn("RTF", "rtf"),
            "latency_ms": MetricColumn("latency (ms)", "latency_ms", digits=0, median=True),
        },
    ),
}  # fmt: skip
"""By the name that `--metrics` takes."""

COLUMNS: dict[str, MetricColumn] = {
    key: column for metric in METRICS.values() for key, column in metric.columns.items()
}


@dataclass(frozen=True)
class MetricsConfig:
    """What is measured.

    Args:
        metrics: names of `METRICS`.
        asr: backend of the error rates, see `asr.registry`.
        speaker_encoder: folder of the evaluation speaker encoder, needed by `similarity`.
    """

    metrics: tuple[str, ...] = DEFAULT_METRICS
    asr: str = DEFAULT_ASR
    speaker_encoder: Path | None = None

    def __post_init__(self) -> None:
        if unknown := set(self.metrics) - set(METRICS):
            raise ValueError(f"unknown metric {sorted(unknown)[0]!r}; expected some of {', '.join(METRICS)}.")
        if "similarity" in self.metrics and self.speaker_encoder is None:
            raise ValueError(
                "similarity needs --speaker-encoder DIR, trained by `lip2speech train speaker`; not the "
                "encoder that the model is conditioned on."
            )

    @property
    def needs_asr(self) -> bool:
        """Whether error rates are among the metrics."""
        return not set(self.metrics).isdisjoint(ERROR_RATE_METRICS)

    def describe(self) -> dict[str, str]:
        """The definition of each metric and the versions of the packages that compute it."""
        packages = {"torch", *(package for name in self.metrics for package in METRICS[name].packages)}
        found = {name: METRICS[name].definition for name in METRICS if name in self.metrics}
        if self.needs_asr:
            found["asr"] = load_asr(self.asr).description
            packages |= {"pocketsphinx"} if self.asr == "pocketsphinx" else set()
        if "similarity" in self.metrics and self.speaker_encoder is not None:
            found["speaker_encoder"] = checkpoint.fingerprint(self.speaker_encoder)
        if "speed" in self.metrics:
            cores, threads = os.cpu_count(), torch.get_num_threads()
            found["machine"] = f"{platform.machine()}, {cores} cores, {threads} threads"
        found["interval"] = f"95 %, bootstrap over clips, {N_RESAMPLES} resamples, seed 0"
        return found | {f"version of {name}": _version(name) for name in sorted(packages)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
