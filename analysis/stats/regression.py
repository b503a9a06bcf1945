"""Regression of a judge's points on differences of responses, and partial correlation.

A rate that the data do not determine is refused with a reason; no penalty makes it estimable.
"""

import warnings
from dataclasses import dataclass
from math import atanh, nan, sqrt, tanh

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from analysis.stats.intervals import LEVEL, MIN_PROMPTS, ROUNDING, Floats, half_width

Codes = NDArray[np.intp]

OUTSIDE = (1 - LEVEL) / 2  # share of differences on either side of 0 below which 0 is outside the data
OUTCOMES = {1.0: "win", 0.5: "tie", 0.0: "loss"}


class NotEstimable(ValueError):
    """The data do not determine the regression; the message states the reason."""


@dataclass(frozen=True)
class Controlled:
    """Win rate at no difference in the covariates, in percent, with its 95 % interval over `prompts`.

    `extrapolated`: fewer than 2.5 % of the pairs lie at or beyond zero on one side of it, in some covariate, so the
    rate depends on the form of the regression and is not a result. `reason` states why there is no rate (NaN); None
    where there is one.
    """

    rate: float
    lo: float
    hi: float
    extrapolated: bool = False
    reason: str | None = None
    prompts: int = 0


def controlled_rate(points: Floats, differences: dict[str, Floats], clusters: Codes) -> Controlled:
    """Win rate at no difference: 100 expit(intercept) of points (N,) on differences (N,), policy minus start.

    Each difference is divided by its standard deviation and not centred, so that zero stays "no difference"; one
    named `tanh ...` is then passed through tanh, as the length term of AlpacaEval 2.0. The interval is that of the
    intercept, by Student's t with prompts - 1 degrees of freedom, passed through expit.
    """
    prompts = len(np.unique(clusters))
    extrapolated = any(
        min((values >= 0).mean(), (values <= 0).mean()) < OUTSIDE for values in differences.values()
    )
    try:
        columns = [standardise(name, values) for name, values in differences.items()]
        if prompts < MIN_PROMPTS:
            raise NotEstimable(f"fewer than {MIN_PROMPTS} prompts")
        if points.min() == points.max():
            raise NotEstimable(f"every verdict is a {OUTCOMES[points[0]]}")
        design = np.column_stack([np.ones(len(points)), *columns])
        coefficients, covariance = fit_logistic(points, design, clusters)
        error = sqrt(float(covariance[0, 0]))
        if error < ROUNDING:  # such as a judge that always prefers the response shown first
            raise NotEstimable("every prompt has the same points")
    except NotEstimable as refusal:
        return Controlled(nan, nan, nan, extrapolated, str(refusal))
    margin = half_width(error, prompts - 1)
    rate, lo, hi = 100 * expit(coefficients[0] + np.array([0.0, -margin, margin]))
    return Controlled(float(rate), float(lo), float(hi), extrapolated, prompts=prompts)


def standardise(name: str, values: Floats) -> Floats:
    """A difference divided by its standard deviation, passed through tanh where its name says so."""
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    if spread < ROUNDING:
        raise NotEstimable(f"all pairs have the same difference in {name.removeprefix('tanh ')}")
    scaled = values / spread
    return np.tanh(scaled) if name.startswith("tanh ") else scaled


def fit_logistic(points: Floats, design: Floats, clusters: Codes) -> tuple[Floats, Floats]:
    """Coefficients (K,) and their cluster-robust covariance (K, K) of points (N,) in [0, 1] on a design (N, K).

    The fractional logit (Papke and Wooldridge 1996): maximum binomial quasi-likelihood with the sandwich covariance
    summed over clusters (Liang and Zeger 1986), with the small-sample factor G/(G-1) (N-1)/(N-K). Clusters (N,) are any
    integers. Raises NotEstimable for collinear covariates and for covariates that separate wins from losses.
    """
    from statsmodels.discrete.discrete_model import Logit  # slow to import

    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise NotEstimable("the covariates are collinear")
    separated = NotEstimable("the covariates separate wins from losses")
    with warnings.catch_warnings():  # statsmodels warns of separation, which is decided below
        warnings.simplefilter("ignore")
        try:
            fit = Logit(points, design).fit(
                method="newton", disp=0, tol=1e-9, cov_type="cluster", cov_kwds={"groups": clusters}
            )
        except np.linalg.LinAlgError:  # all predictions became certain, so that no curvature is left
            if separates(design, points):
                raise separated from None
            raise
    predicts_with_certainty = np.abs(design @ fit.params).max() > 10  # a separated fit does
    if predicts_with_certainty and separates(design, points):
        raise separated
    return fit.params, fit.cov_params()


def separates(design: Floats, points: Floats) -> bool:
    """Whether some direction predicts no win as a loss and no loss as a win, and some outcome with certainty.

    The maximum likelihood estimate exists exactly where no such direction does (Albert and Anderson 1984). It is the
    solution of a linear programme (Konis 2007), so the answer does not depend on the convergence of a fit.
    """
    from scipy.optimize import linprog  # slow to import

    decided = (points == 0) | (points == 1)
    margins = np.where(points == 1, 1.0, -1.0)[decided, None] * design[decided]
    ties = design[~decided]
    solution = linprog(
        -margins.sum(axis=0),
        A_ub=-margins,
        b_ub=np.zeros(len(margins)),
        A_eq=ties if len(ties) else None,
        b_eq=np.zeros(len(ties)) if len(ties) else None,
        bounds=[(-1, 1)] * design.shape[1],
    )
    return bool(-solution.fun > 1e-6 * len(points))


def partial_correlation(x: Floats, y: Floats, controls: Floats) -> tuple[float, float, float]:
    """Pearson's correlation of x (N,) and y (N,) given controls (N, K), with the 95 % interval of Fisher's z.

    Controls that are constant or a combination of others have no effect and cost no degree of freedom. NaN if the
    controls explain x or y entirely; the bounds are NaN where fewer than one degree of freedom is left.
    """
    design = np.column_stack([np.ones(len(x)), controls])
    left, right = (values - design @ np.linalg.lstsq(design, values, rcond=None)[0] for values in (x, y))
    scales = [float(np.linalg.norm(rest)) for rest in (left, right)]
    if min(scales) < 1e-9 * max(1.0, float(np.abs(x).max()), float(np.abs(y).max())):
        return nan, nan, nan
    r = float(np.clip(left @ right / (scales[0] * scales[1]), -1, 1))
    freedom = len(x) - 3 - (int(np.linalg.matrix_rank(design)) - 1)
    if freedom < 1 or abs(r) >= 1:
        return r, nan, nan
    reach = float(ndtri((1 + LEVEL) / 2)) / sqrt(freedom)
    return r, tanh(atanh(r) - reach), tanh(atanh(r) + reach)
