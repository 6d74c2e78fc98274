"""Metrics by name (lip2speech/evaluation/metrics/registry.py)."""

from dataclasses import fields

import numpy as np
import pytest

from lip2speech.evaluation.metrics.registry import COLUMNS, METRICS, MetricsConfig
from lip2speech.evaluation.results import Score
from tests.evaluation.metrics.signals import speech_like


def test_every_column_is_a_field_of_a_score() -> None:
    known = {field.name for field in fields(Score)} | {"n_slot_errors", "n_slots"}
    used = {name for column in COLUMNS.values() for name in (column.field, column.denominator) if name}
    assert used <= known


def test_column_keys_and_headings_are_unique() -> None:
    assert len(COLUMNS) == sum(len(metric.columns) for metric in METRICS.values())
    assert len({column.heading for column in COLUMNS.values()}) == len(COLUMNS)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.compute])
def test_a_metric_computes_the_fields_of_its_columns(name: str) -> None:
    metric, wav = METRICS[name], speech_like(1.0)
    assert metric.compute is not None
    values = metric.compute(wav, np.roll(wav, 160))
    assert {column.field for column in metric.columns.values()} <= set(values)
    assert all(isinstance(value, float) for value in values.values())


def test_the_description_holds_definitions_and_versions_of_what_was_used() -> None:
    found = MetricsConfig(("wer", "estoi")).describe()
    used = {"wer", "estoi", "asr", "interval", "version of pystoi", "version of pocketsphinx"}
    assert used <= set(found)
    assert "version of pesq" not in found
    assert "asr" not in MetricsConfig(("estoi",)).describe()


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(ValueError, match="unknown metric 'mos'; expected some of wer, cer"):
        MetricsConfig(("wer", "mos"))


def test_similarity_needs_a_speaker_encoder() -> None:
    with pytest.raises(ValueError, match="similarity needs --speaker-encoder DIR"):
        MetricsConfig(("similarity",))
