"""What training seeds add to the error of a rate: a variance component of crossed random effects."""

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np

from analysis.stats.intervals import Floats


@dataclass(frozen=True)
class Component:
    """A part of the standard error of an estimate, such as that of the seeds alone, with its degrees of freedom.

    `floored`: the seeds differ by less than the residual variance explains, so that their component is estimated at
    zero. It is then set to that residual part, below which it cannot be measured: a zero from three seeds is luck more
    often than a method without any spread.
    """

    error: float
    freedom: float
    floored: bool


def seed_component(means: Floats) -> Component:
    """The component of points by prompt and seed (P, S), over the prompts that every seed has scored.

    The variance of the seeds' means minus the part that the residual variance explains, and at least that part (Searle,
    Casella and McCulloch 1992, two-way without replication). NaN for fewer than two such prompts or seeds.
    """
    complete = means[~np.isnan(means).any(axis=1)]
    prompts, seeds = complete.shape
    if min(prompts, seeds) < 2:
        return Component(nan, nan, False)
    by_seed = complete.mean(axis=0)
    residual = complete - complete.mean(axis=1, keepdims=True) - by_seed + complete.mean()
    noise = float((residual**2).sum()) / ((prompts - 1) * (seeds - 1)) / prompts
    component = float(by_seed.var(ddof=1)) - noise
    floored = component <= 0 < noise
    return Component(sqrt((noise if floored else max(0.0, component)) / seeds), seeds - 1, floored)


def combine_components(*components: Component) -> Component:
    """The component of a sum or difference of independent estimates (Welch 1947).

    Where none has an error, the freedom is that of the largest.
    """
    variances = [component.error**2 for component in components]
    total = sum(variances)
    floored = any(component.floored for component in components)
    if not total > 0:
        return Component(total, max(component.freedom for component in components), floored)
    spread = sum(v**2 / component.freedom for v, component in zip(variances, components, strict=True))
    return Component(sqrt(total), total**2 / spread, floored)
