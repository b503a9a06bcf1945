"""Power of a two-sided paired test at 5 %: the detectable difference and the prompts it takes.

`sd` is the standard deviation over prompts of one prompt's mean: a standard error times sqrt(prompts). The sum of two
quantiles of Student's t stands for the exact noncentral distribution; it is 5 % too small at 3 prompts and within
0.2 % from 10 prompts on.
"""

from math import ceil, sqrt

from analysis.stats.intervals import LEVEL, t_quantile

POWER = 0.8


def detectable_difference(sd: float, prompts: int) -> float:
    """The difference that a test on 2 prompts or more detects with 80 % power, in the unit of `sd`."""
    freedom = prompts - 1
    return (t_quantile(LEVEL, freedom) + t_quantile(2 * POWER - 1, freedom)) * sd / sqrt(prompts)


def prompts_needed(sd: float, difference: float) -> int:
    """The fewest prompts, 3 or more, on which a test detects the difference with 80 % power.

    Raises ValueError unless the difference is positive.
    """
    if difference <= 0:
        raise ValueError(f"difference is {difference}; it must be above 0")
    prompts = 3
    while detectable_difference(sd, prompts) > difference:
        factor = (detectable_difference(sd, prompts) / difference) ** 2
        prompts = max(prompts + 1, ceil(prompts * min(2, factor)) - 1)
    return prompts
