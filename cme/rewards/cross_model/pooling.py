"""From a verifier's values per token to one reward: pooling over a span, combining verifiers, bounding."""

from collections.abc import Sequence

import torch

from cme.rewards.cross_model.settings import Ensemble, Metric, Span
from cme.scoring.verifier import Score


def span_mask(score: Score, start: int, end: int) -> torch.Tensor:
    """Which of a response's tokens (T,) overlap its characters [start, end). The end of turn never does."""
    return torch.tensor([left < end and right > start for left, right in score.offsets], dtype=torch.bool)


def pool(values: torch.Tensor, metric: Metric) -> float:
    """The reward of one span: the mean of its values (T,), or for perplexity -exp(-mean), -inf beyond floats.

    `values` are log-likelihoods or negative predictive entropies, in nats. Higher is better for every metric.
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
    """The reward over the response, over its answer, or (1 - weight) response + weight answer.

    `answer` marks the answer's tokens (T,). If the answer is missing (None, or none of its tokens was scored), the
    result is, for every span, the reward over the response minus `no_answer_penalty`, in the metric's unit.
    """
    over_response = pool(values, metric)
    if answer is None or not answer.any():
        return over_response - no_answer_penalty
    if span == "response":
        return over_response
    over_answer = pool(values[answer], metric)
    return over_answer if span == "answer" else (1 - weight) * over_response + weight * over_answer


def combine(values: torch.Tensor, ensemble: Ensemble) -> torch.Tensor:
    """Mean or minimum (...) of values (verifiers, ...), in their unit; NaN where any verifier's value is NaN."""
    return values.mean(0) if ensemble == "mean" else values.amin(0)


def bound(
    values: torch.Tensor, clip: Sequence[float] | None, sigmoid: Sequence[float] | None
) -> torch.Tensor:
    """Values (...) clipped to [low, high], then, with `sigmoid`, 1 / (1 + exp(-(v - center) / width)), same shape."""
    if clip is not None:
        values = values.clamp(clip[0], clip[1])
    if sigmoid is not None:
        values = torch.sigmoid((values - sigmoid[0]) / sigmoid[1])
    return values
