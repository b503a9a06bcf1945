"""From a verifier's per-token values to one reward: pooling over a span, combining verifiers, bounding."""

from collections.abc import Sequence
from typing import Literal

import torch

from cme.scoring.verifier import Score

Metric = Literal["log_likelihood", "perplexity", "predictive_entropy"]
Span = Literal["response", "answer", "blended"]
Ensemble = Literal["mean", "min"]


def span_mask(score: Score, start: int, end: int) -> torch.Tensor:
    """Which of a response's tokens (T,) overlap its characters [start, end); its end of turn does not."""
    return torch.tensor([left < end and right > start for left, right in score.offsets], dtype=torch.bool)


def pool(values: torch.Tensor, metric: Metric) -> float:
    """The reward of one span: the mean of its values (T,), for perplexity -exp of minus that mean (-inf beyond floats).

    `values` are log-likelihoods, or minus the predictive entropies, in nats; higher is better for all three.
    """
    mean = values.double().mean()
    return float(-torch.exp(-mean) if metric == "perplexity" else mean)


def pool_span(
    values: torch.Tensor,
    answer: torch.Tensor | None,
    metric: Metric,
    span: Span,
    weight: float,
    no_answer_penalty: float,
) -> float:
    """The reward over response, answer, or (1 - weight) response + weight answer.

    `answer` marks the answer's tokens (T,). A response whose answer is missing (None, or no token of it was
    scored) gets its reward over the response minus `no_answer_penalty`, in the metric's unit.
    """
    whole = pool(values, metric)
    if span == "response":
        return whole
    if answer is None or not answer.any():
        return whole - no_answer_penalty
    part = pool(values[answer], metric)
    return part if span == "answer" else (1 - weight) * whole + weight * part


def combine(values: torch.Tensor, ensemble: Ensemble) -> torch.Tensor:
    """Mean or minimum over verifiers, the first dimension; NaN where any verifier's value is."""
    return values.mean(0) if ensemble == "mean" else values.amin(0)


def bound(
    values: torch.Tensor, clip: Sequence[float] | None, sigmoid: Sequence[float] | None
) -> torch.Tensor:
    """Values cut to [low, high], or sigmoid((v - center) / width) in (0, 1), or as they are."""
    if clip is not None:
        values = values.clamp(clip[0], clip[1])
    if sigmoid is not None:
        values = torch.sigmoid((values - sigmoid[0]) / sigmoid[1])
    return values
