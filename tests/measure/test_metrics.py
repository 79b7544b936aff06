"""Metrics against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kgmet.evaluate.tables.render import mcnemar
from kgmet.measure.metrics import METRICS, TfIdf, bootstrap, harmonic_mean, mean_value, n_gram_entropy, share_value


def test_entropy_of_a_text_small_enough_to_count() -> None:
    # bigrams: "a b" twice, "b a" once; trigrams: "a b a", "b a b", once each
    bigrams = -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))
    assert n_gram_entropy("a b a b") == pytest.approx((2 / 3 * bigrams + 4 / 3 * 1.0) / 2)


def test_saying_the_same_word_again_and_again_has_no_entropy() -> None:
    assert n_gram_entropy("no no no no no no") == 0
    assert n_gram_entropy("word") == 0


def test_signs_count_as_words() -> None:
    assert n_gram_entropy("a , b") == n_gram_entropy("a, b")


def test_tf_idf_of_two_short_texts() -> None:
    weights = TfIdf(["red house", "red boat"])
    # idf: red ln(3/3) + 1, house and boat ln(3/2) + 1
    rare = math.log(3 / 2) + 1
    assert weights.similarity("red house", "red boat") == pytest.approx(1 / (1 + rare**2))
    assert weights.similarity("red house", "House, RED!") == pytest.approx(1.0)
    assert weights.similarity("house", "boat") == 0
    assert weights.similarity("", "boat") == 0


def test_harmonic_mean_is_ruled_by_the_smallest() -> None:
    assert harmonic_mean([0.5, 1.0, 1.0]) == pytest.approx(0.75)
    assert harmonic_mean([0.0, 1.0]) == 0
    with pytest.raises(ValueError, match="at least 0"):
        harmonic_mean([])


def test_wilson_interval_of_eight_in_ten() -> None:
    # z = 1.96: centre (0.8 + z²/20) / (1 + z²/10) = 0.7167, half 0.2266 — Wilson 1927
    value = share_value(8, 10)
    assert value.value == 0.8
    assert value.n == 10
    assert value.interval == pytest.approx((0.4902, 0.9433), abs=2e-4)


def test_nothing_measured_is_no_number() -> None:
    assert share_value(0, 0).value is None
    assert mean_value([]).value is None
    assert mean_value([math.inf]).value is None


def test_bootstrap_holds_the_mean_and_comes_out_the_same_again() -> None:
    rows = np.arange(40, dtype=np.float64)[:, None]
    low, high = bootstrap(rows, lambda drawn: float(drawn.mean()))
    assert low < rows.mean() < high
    # standard error of the mean: sqrt(133.25 / 40) = 1.825
    assert high - low == pytest.approx(2 * 1.96 * 1.825, rel=0.15)
    assert bootstrap(rows, lambda drawn: float(drawn.mean())) == (low, high)


def test_a_mean_of_one_value_has_a_point_as_interval() -> None:
    assert mean_value([3.0]).interval == (3.0, 3.0)


def test_mcnemar_of_one_against_nine() -> None:
    # 2 · (C(10,0) + C(10,1)) / 2¹⁰
    assert mcnemar(1, 9) == pytest.approx(2 * 11 / 1024)
    assert mcnemar(9, 1) == mcnemar(1, 9)
    assert mcnemar(5, 5) == 1
    assert mcnemar(0, 0) == 1


def test_every_metric_says_what_it_is() -> None:
    for key, spec in METRICS.items():
        assert spec.key == key
        assert spec.definition
        assert spec.source
        assert spec.better in ("higher", "lower")
        assert spec.range[0] < spec.range[1]
