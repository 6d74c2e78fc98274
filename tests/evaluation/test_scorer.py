"""Scores of pairs and their aggregates (lip2speech/evaluation/{scorer,results}.py)."""

import math
import sys

import numpy as np
import pytest
import torch

from lip2speech.evaluation import MetricsConfig, Score, ScoredPair, score, score_pairs, summarize
from lip2speech.evaluation.scorer import audio_fingerprint, speaker_similarity
from lip2speech.models.speaker_encoder.xvector import XVectorNet
from tests.evaluation.metrics.signals import noise_bursts

TEXT = "bin blue at f two now"
MEL = MetricsConfig(("mel",))


def tone(hz: float) -> np.ndarray:
    """One second, (16000,) float32, with an envelope that rises and falls."""
    t = np.arange(16000) / 16000
    return (0.3 * np.sin(2 * np.pi * hz * t) * np.sin(np.pi * t) ** 2).astype(np.float32)


def test_only_the_requested_metrics_are_computed() -> None:
    result = score(ScoredPair("a", tone(300), tone(300), TEXT), MEL)
    assert (result.mel_l1, result.mel_offset_ms) == (0, 0)
    assert math.isnan(result.estoi)
    assert result.words == 0


def test_without_a_transcript_every_word_is_an_error() -> None:
    result = score(ScoredPair("a", tone(300), tone(300), TEXT), MetricsConfig(("wer",)))
    assert (result.transcript, result.words, result.word_edits, result.n_slot_errors) == ("", 6, 6, 6)


def test_a_text_outside_the_grammar_has_no_word_errors() -> None:
    pair = ScoredPair("a", tone(300), tone(300), "hello world")
    row = summarize("free", [score(pair, MetricsConfig(("wer",)))])
    assert row.estimates == {}
    assert math.isnan(row["wer"].mean)
    assert row.n == 1


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)
    with pytest.raises(ImportError, match="pesq"):
        score(ScoredPair("a", tone(300), tone(300)), MetricsConfig(("pesq",)))


def test_the_real_time_factor_is_computation_per_second_of_audio() -> None:
    pair = ScoredPair("a", noise_bursts(), noise_bursts(), compute_s=0.5, latency_ms=300)
    result = score(pair, MetricsConfig(("speed",)))
    assert (result.rtf, result.latency_ms) == (0.25, 300)


def test_an_aggregate_sums_errors_and_averages_what_is_defined() -> None:
    wrong_half = (True, True, True, False, False, False)
    scores = [
        Score("a", TEXT, words=6, word_edits=3, slot_errors=wrong_half, estoi=0.4, mel_offset_ms=-20.0),
        Score("b", TEXT, words=6, slot_errors=(False,) * 6, estoi=0.6, pesq=2.0, mel_offset_ms=40.0),
        Score("c", estoi=math.nan, mel_offset_ms=30.0),
    ]
    row = summarize("x", scores)
    columns = ("wer", "slot_error_rate", "estoi", "pesq", "mel_offset_ms", "mel_offset_abs_ms")
    assert [row[name].mean for name in columns] == [0.25, 0.25, 0.5, 2.0, 30, 30]
    assert row.n == 3
    assert row.slot_error_rates == (0.5, 0.5, 0.5, 0, 0, 0)
    assert row["wer"] == (0.25, 0.0, 0.5)
    assert math.isnan(row["stoi"].mean)


def test_no_pairs_have_an_empty_row() -> None:
    row = summarize("none", score_pairs([]))
    assert row.n == 0
    assert row.estimates == {}
    assert row.slot_error_rates == ()


def test_parallel_processes_compute_the_same_scores_in_the_same_order() -> None:
    pairs = [ScoredPair(str(hz), tone(300), tone(hz)) for hz in (300, 400, 500)]
    assert [(s.id, s.mel_l1) for s in score_pairs(pairs, MEL)] == [
        (s.id, s.mel_l1) for s in score_pairs(pairs, MEL, workers=1)
    ]


def test_a_fingerprint_ignores_rounding_below_16_bits() -> None:
    wav = tone(300)
    assert audio_fingerprint(wav) == audio_fingerprint(wav.astype(np.float64) + 1e-9)
    assert audio_fingerprint(wav) != audio_fingerprint(0.99 * wav)


def test_speaker_similarity_is_one_for_the_same_audio_and_zero_for_silence() -> None:
    torch.manual_seed(0)
    encoder = XVectorNet().eval()
    wav, silence = noise_bursts(), np.zeros(32000, np.float32)
    assert speaker_similarity(encoder, wav, wav) == pytest.approx(1, abs=1e-5)
    assert speaker_similarity(encoder, wav, silence) == 0
    assert math.isnan(speaker_similarity(encoder, silence, wav))
    assert math.isnan(speaker_similarity(encoder, wav[:4000], wav[:4000]))
