"""Logistic regression of a judge's points on differences between two responses, with errors clustered by prompt.

Points are 1, 0.5 (a tie) or 0, so the fit is the fractional logit (Papke and Wooldridge 1996): maximum binomial
quasi-likelihood, with the sandwich covariance summed over clusters (Liang and Zeger 1986) in place of the binomial
one. What can't be estimated is refused with its reason; nothing is penalised to make a number of it.
"""

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import NDArray

from analysis.stats.intervals import ROUNDING, t_quantile
from analysis.stats.metrics import LEVEL, MIN_PROMPTS, Floats

Codes = NDArray[np.intp]

OUTSIDE = (1 - LEVEL) / 2  # share of differences on either side of 0 below which 0 lies outside the data
STEPS = 25  # Newton's method needs six or so; where there is no maximum it would go on for ever
OUTCOMES = {1.0: "win", 0.5: "tie", 0.0: "loss"}
SEPARATED = "the covariates separate wins from losses"


class NotEstimable(ValueError):
    """The data don't determine the regression; the message says why."""


@dataclass(frozen=True)
class Fit:
    """Coefficients (K,) and their cluster-robust covariance (K, K)."""

    coefficients: Floats
    covariance: Floats


@dataclass(frozen=True)
class Controlled:
    """A win rate at no difference in the covariates, in percent, with its 95 % interval.

    `extrapolated` says that fewer than 2.5 % of the pairs lie at or beyond zero on one side of it, in any covariate:
    a rate is then about pairs that were hardly seen, and no result. `reason` is why there is no rate (NaN), None
    where there is one. The rate is over so many `prompts`.
    """

    rate: float
    lo: float
    hi: float
    extrapolated: bool = False
    reason: str | None = None
    prompts: int = 0


def fit_logistic(points: Floats, design: Floats, clusters: Codes) -> Fit:
    """Fit points (N,) in [0, 1] on a design (N, K) by Newton's method; clusters (N,) are any integers.

    The covariance has the small-sample factor G/(G-1) (N-1)/(N-K), as statsmodels' `cov_type="cluster"` has.
    Raises NotEstimable where covariates are collinear or separate wins from losses.
    """
    n, k = design.shape
    if np.linalg.matrix_rank(design) < k:
        raise NotEstimable("the covariates can't be told apart")
    beta, step = np.zeros(k), np.full(k, np.inf)
    for _ in range(STEPS):
        chance = expit(design @ beta)
        information = (design * (chance * (1 - chance))[:, None]).T @ design
        if np.abs(step).max() < 1e-7:  # steps shrink quadratically: the next would be below rounding
            break
        try:
            step = np.linalg.solve(information, design.T @ (points - chance))
        except np.linalg.LinAlgError:
            raise NotEstimable(SEPARATED) from None
        beta = beta + step
    else:
        raise NotEstimable(SEPARATED)
    bread = np.linalg.inv(information)
    residuals = design * (points - chance)[:, None]
    _, members = np.unique(clusters, return_inverse=True)
    sums = np.stack([np.bincount(members, column) for column in residuals.T], axis=1)  # (G, K)
    groups = len(sums)
    factor = groups / (groups - 1) * (n - 1) / (n - k)
    return Fit(beta, factor * bread @ (sums.T @ sums) @ bread)


def expit(logits: Floats) -> Floats:
    """The logistic function, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))


def controlled_rate(points: Floats, differences: dict[str, Floats], clusters: Codes) -> Controlled:
    """Win rate at no difference: 100 expit(intercept) of points (N,) on differences (N,), policy minus start.

    Each difference is divided by its standard deviation and not centred, so that zero stays "no difference"; one
    named `tanh ...` then goes through tanh, as the length term of AlpacaEval 2.0 does. The interval is that of the
    intercept, by Student's t with prompts - 1 degrees of freedom, carried through expit. Where nothing can be
    estimated the reason is given in place of a rate.
    """
    prompts = len(np.unique(clusters))
    outside = any(map(zero_is_outside, differences.values()))
    try:
        columns = [standardised(name, values) for name, values in differences.items()]
        if prompts < MIN_PROMPTS:
            raise NotEstimable(f"fewer than {MIN_PROMPTS} prompts")
        if points.min() == points.max():
            raise NotEstimable(f"every verdict is a {OUTCOMES[points[0]]}")
        fit = fit_logistic(points, np.column_stack([np.ones(len(points)), *columns]), clusters)
        error = sqrt(float(fit.covariance[0, 0]))
        if error < ROUNDING:  # such as a judge that always prefers what it is shown first
            raise NotEstimable("every prompt has the same points")
    except NotEstimable as refusal:
        return Controlled(nan, nan, nan, outside, str(refusal))
    margin = t_quantile(LEVEL, prompts - 1) * error
    rate, lo, hi = 100 * expit(fit.coefficients[0] + np.array([0.0, -margin, margin]))
    return Controlled(float(rate), float(lo), float(hi), outside, prompts=prompts)


def standardised(name: str, values: Floats) -> Floats:
    """A difference by its standard deviation, through tanh where its name says so."""
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    if spread < 1e-12:
        raise NotEstimable(f"all pairs have the same difference in {name.removeprefix('tanh ')}")
    scaled = values / spread
    return np.tanh(scaled) if name.startswith("tanh ") else scaled


def zero_is_outside(values: Floats) -> bool:
    """Whether fewer than 2.5 % of the differences lie at or beyond zero, on one side."""
    return bool(min((values >= 0).mean(), (values <= 0).mean()) < OUTSIDE)
