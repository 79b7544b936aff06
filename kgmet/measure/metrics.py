"""`MetricSpec` and `MetricValue`: metrics, and numbers with their n and confidence interval.

Shares have Wilson intervals, means a bootstrap over cases with a fixed seed, both at 95 %.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "METRICS",
    "MetricSpec",
    "MetricValue",
    "TfIdf",
    "bootstrap",
    "harmonic_mean",
    "mean_value",
    "n_gram_entropy",
    "repetition",
    "share_value",
    "wilson_interval",
]

_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """Definition of a metric."""

    key: str
    label: str
    definition: str
    unit: str
    range: tuple[float, float]
    better: str
    source: str


@dataclass(frozen=True, kw_only=True)
class MetricValue:
    """A value with its number of observations and 95 % interval; ``None`` if nothing was measured."""

    value: float | None
    n: int
    interval: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"value": self.value, "n": self.n, "interval": None if self.interval is None else list(self.interval)}


_ROME = "Meng et al. 2022, arXiv:2202.05262"
_SHARE = {"unit": "share of prompts", "range": (0.0, 1.0), "better": "higher"}

METRICS: Mapping[str, MetricSpec] = {
    spec.key: spec
    for spec in (
        MetricSpec(
            key="efficacy",
            label="Efficacy",
            definition="edit prompts after which the new object is likelier per token than the old one",
            source=_ROME,
            **_SHARE,  # type: ignore[arg-type]
        ),
        MetricSpec(
            key="paraphrase",
            label="Paraphrase",
            definition="the same for prompts that put the edited fact in other words",
            source=_ROME,
            **_SHARE,  # type: ignore[arg-type]
        ),
        MetricSpec(
            key="neighborhood",
            label="Neighbourhood",
            definition="prompts about other subjects after which the true object is likelier than the new one",
            source=_ROME,
            **_SHARE,  # type: ignore[arg-type]
        ),
        MetricSpec(
            key="consequences",
            label="Consequences",
            definition="prompts about what follows from the edit after which the new answer is likelier than the old",
            source="portability of GLAME, arXiv:2402.13593, asked as prompts with both answers",
            **_SHARE,  # type: ignore[arg-type]
        ),
        MetricSpec(
            key="score",
            label="Score",
            definition="harmonic mean of efficacy, paraphrase and neighbourhood (preferred)",
            unit="share",
            range=(0.0, 1.0),
            better="higher",
            source=_ROME,
        ),
        MetricSpec(
            key="fluency",
            label="Fluency",
            definition="100 × mean of 2/3 · bigram entropy and 4/3 · trigram entropy (bits) of freely continued text",
            unit="bits × 100",
            range=(0.0, math.inf),
            better="higher",
            source=_ROME + ", as computed by its public code",
        ),
        MetricSpec(
            key="consistency",
            label="Consistency",
            definition="100 × TF-IDF cosine of the continued texts and the reference texts about the new object",
            unit="cosine × 100",
            range=(0.0, 100.0),
            better="higher",
            source=_ROME,
        ),
        MetricSpec(
            key="perplexity",
            label="Perplexity",
            definition="exp of the mean negative log-likelihood per token on a fixed text",
            unit="per token",
            range=(1.0, math.inf),
            better="lower",
            source="usual",
        ),
        MetricSpec(
            key="accuracy",
            label="Teacher-forced accuracy",
            definition="tokens of the expected answer that are likeliest after the right tokens, mean over prompts",
            unit="share of tokens",
            range=(0.0, 1.0),
            better="higher",
            source="MEMIT, arXiv:2210.07229 (zsRE)",
        ),
        MetricSpec(
            key="generated",
            label="Said freely",
            definition="greedy continuations that name the expected answer and not the rejected one",
            source="after Yang et al. 2025 (The Mirage of Model Editing), arXiv:2502.11177; without a judge model",
            **_SHARE,  # type: ignore[arg-type]
        ),
        MetricSpec(
            key="multi_hop_chat",
            label="Multi-hop, asked in chat",
            definition="questions over several facts, in the chat template where there is one, whose greedy answer "
            "names the new end and not the old one",
            source="the questions: MQuAKE's own, or made from the graph",
            **_SHARE,  # type: ignore[arg-type]
        ),
        MetricSpec(
            key="unchanged",
            label="Unchanged",
            definition="neighbourhood and locality prompts that are answered as by the unedited model, or truly",
            source="own; greedy first clauses are compared",
            **_SHARE,  # type: ignore[arg-type]
        ),
        MetricSpec(
            key="multi_hop",
            label="Multi-hop accuracy",
            definition="cases of which at least one of the questions is answered with the new answer or an alias",
            unit="share of cases",
            range=(0.0, 1.0),
            better="higher",
            source="MQuAKE, arXiv:2305.14795",
        ),
        MetricSpec(
            key="hop_wise",
            label="Hop-wise accuracy",
            definition="cases of which every link of the new chain is answered right when asked alone",
            unit="share of cases",
            range=(0.0, 1.0),
            better="higher",
            source="MQuAKE, arXiv:2305.14795",
        ),
    )
}
"""All metrics by key."""


def share_value(hits: int, n: int) -> MetricValue:
    """Return the share `hits` / `n` with its Wilson interval."""
    if n == 0:
        return MetricValue(value=None, n=0, interval=None)
    return MetricValue(value=hits / n, n=n, interval=wilson_interval(hits, n))


def wilson_interval(hits: int, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share (Wilson 1927), in [0, 1]; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_value(values: Sequence[float]) -> MetricValue:
    """Return the mean with its bootstrap interval."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return MetricValue(value=None, n=0, interval=None)
    array = np.asarray(finite, dtype=np.float64)
    return MetricValue(
        value=float(array.mean()), n=len(finite), interval=bootstrap(array[:, None], lambda rows: float(rows.mean()))
    )


def bootstrap(
    rows: npt.NDArray[np.float64],
    statistic: Callable[[npt.NDArray[np.float64]], float],
    *,
    n_draw: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic of rows (n_case, …), resampled by case."""
    if len(rows) < 2:
        value = statistic(rows)
        return value, value
    generator = np.random.default_rng(seed)
    drawn = [statistic(rows[generator.integers(0, len(rows), len(rows))]) for _ in range(n_draw)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def harmonic_mean(values: Sequence[float]) -> float:
    """Return the harmonic mean; 0 if one of the values is 0.

    Raises:
        ValueError: if there is no value, or a negative one.
    """
    if not values or min(values) < 0:
        raise ValueError(f"a harmonic mean needs values of at least 0, got {list(values)}")
    return 0.0 if min(values) == 0 else len(values) / sum(1 / value for value in values)


def n_gram_entropy(text: str) -> float:
    """Return the mean of 2/3 · H₂ and 4/3 · H₃, the entropies (bits) of bigrams and trigrams of words and signs.

    Repetition lowers it; 0 for texts without a bigram. Tables show it × 100.
    """
    words = _WORD.findall(text)
    weighted = [weight * _entropy(words, n) for n, weight in ((2, 2 / 3), (3, 4 / 3))]
    return sum(weighted) / len(weighted)


def repetition(text: str) -> float | None:
    """Return the share of trigrams of words and signs that occurred before; ``None`` for a text without a trigram."""
    words = _WORD.findall(text)
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(trigrams)) / len(trigrams) if trigrams else None


def _entropy(words: Sequence[str], n: int) -> float:
    counts = Counter(zip(*(words[start:] for start in range(n)), strict=False))
    total = sum(counts.values())
    return -sum(count / total * math.log2(count / total) for count in counts.values())


class TfIdf:
    """TF-IDF vectors over a collection of texts: idf = ln((1 + n) / (1 + df)) + 1, rows of unit length.

    The weights are scikit-learn's defaults, as in the ROME code. The collection is the data set's own reference texts,
    not Wikipedia, so values are comparable only between runs on the same data.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Count in how many of the texts each word occurs."""
        self._n = len(texts)
        self._occurs = Counter(word for text in texts for word in set(_words(text)))

    def similarity(self, one: str, other: str) -> float:
        """Return the cosine of the two vectors, in [0, 1]; 0 if one of them is empty."""
        first, second = self._vector(one), self._vector(other)
        dot = sum(weight * second.get(word, 0.0) for word, weight in first.items())
        norms = math.sqrt(sum(w * w for w in first.values()) * sum(w * w for w in second.values()))
        return dot / norms if norms else 0.0

    def _vector(self, text: str) -> dict[str, float]:
        return {
            word: count * (math.log((1 + self._n) / (1 + self._occurs[word])) + 1)
            for word, count in Counter(_words(text)).items()
        }


def _words(text: str) -> list[str]:
    return re.findall(r"\w\w+", text.casefold())
