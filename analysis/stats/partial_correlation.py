"""Partial correlation with the interval of Fisher's z."""

from math import atanh, nan, sqrt, tanh

import numpy as np
from scipy.stats import norm

from analysis.stats.intervals import LEVEL, Floats


def partial_correlation(x: Floats, y: Floats, controls: Floats) -> tuple[float, float, float]:
    """Pearson's correlation of x (N,) and y (N,) given controls (N, K), with its 95 % interval.

    Controls that are constant or a combination of others have no effect and cost no degree of freedom. NaN if the
    controls explain x or y entirely; the bounds are NaN where fewer than one degree of freedom is left.
    """
    design = np.column_stack([np.ones(len(x)), controls])
    solved = [np.linalg.lstsq(design, values, rcond=None) for values in (x, y)]
    left, right = (values - design @ fit[0] for values, fit in zip((x, y), solved, strict=True))
    scales = [float(np.linalg.norm(rest)) for rest in (left, right)]
    if min(scales) < 1e-9 * max(1.0, float(np.abs(x).max()), float(np.abs(y).max())):
        return nan, nan, nan
    r = float(np.clip(left @ right / (scales[0] * scales[1]), -1, 1))
    freedom = len(x) - 3 - (int(np.linalg.matrix_rank(design)) - 1)
    if freedom < 1 or abs(r) >= 1:
        return r, nan, nan
    reach = float(norm.ppf((1 + LEVEL) / 2)) / sqrt(freedom)
    return r, tanh(atanh(r) - reach), tanh(atanh(r) + reach)
