"""Bootstrap intervals (lip2speech/evaluation/metrics/bootstrap.py)."""

import math

import numpy as np
import pytest

from lip2speech.evaluation.metrics.bootstrap import bootstrap_interval, resample, statistic


def test_the_interval_of_a_ratio_has_the_width_of_the_normal_approximation() -> None:
    errors, words = [0, 1, 2, 0, 1, 3] * 20, [6] * 120
    low, high = bootstrap_interval(errors, words)
    assert low < sum(errors) / sum(words) < high
    assert high - low == pytest.approx(2 * 1.96 * np.std(errors) / 6 / math.sqrt(120), rel=0.1)


def test_the_interval_is_reproducible() -> None:
    values = np.random.default_rng(0).random(30)
    assert bootstrap_interval(values) == bootstrap_interval(values)


def test_undefined_values_are_dropped() -> None:
    assert bootstrap_interval([0.5, math.nan, 0.5]) == (0.5, 0.5)


@pytest.mark.parametrize(("values", "weights"), [([], None), ([0, 0], [0, 0]), ([math.nan], None)])
def test_without_any_value_the_interval_is_undefined(
    values: list[float], weights: list[float] | None
) -> None:
    assert all(map(math.isnan, bootstrap_interval(values, weights)))


def test_the_interval_of_a_median_ignores_an_outlier() -> None:
    values = [*[1.0] * 50, 1e6]
    assert bootstrap_interval(values, median=True) == (1, 1)
    assert bootstrap_interval(values)[1] > 1


def test_every_resample_draws_with_replacement_from_all_utterances() -> None:
    indices = resample(20)
    assert indices.shape[1] == 20
    assert set(indices.ravel().tolist()) == set(range(20))
    assert any(len(set(row)) < 20 for row in indices.tolist())


def test_the_statistic_of_a_resample_is_that_of_the_drawn_utterances() -> None:
    x, w = np.array([1.0, 2.0, 6.0]), np.array([2.0, 2.0, 4.0])
    indices = np.array([[0, 0, 2], [1, 1, 1]])
    assert statistic(x, w, indices).tolist() == [1.0, 1.0]
    assert statistic(x, w, indices, median=True).tolist() == [1.0, 2.0]
