"""How often the 95 % intervals contain the truth, in simulated evaluations with prompts, orders, judges and seeds.

    python -m tests.benchmarks.coverage

A simulated judge prefers the trained policy where its advantage on a pair is above a threshold, the start where it is
below minus the threshold, else neither. The advantage is a mean, plus normal effects of the prompt (SD 1), the seed,
the judge on the prompt (0.3), the seed on the prompt (0.3) and the single verdict (0.3), plus an effect of each judge
and 0.2 for the response shown first; so each truth has a closed form. Two truths: for the trained models at hand and
other prompts of the kind, and for other seeds too. The intervals are those of `analysis`, from the verdicts alone; a
tenth of the verdicts is unscored, at random. The contrast is with another method on the same prompts, whose mean
advantage is 0; the interquartile mean is compared with the truth of the mean.
"""

import argparse
from dataclasses import astuple, dataclass, fields, replace
from math import isnan

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from analysis.stats.contrasts import contrast
from analysis.stats.intervals import LEVEL, Floats
from analysis.stats.seeds import seed_spread
from analysis.stats.win_rates import tally, win_rate

PROMPT, JUDGE_ON_PROMPT, SEED_ON_PROMPT, VERDICT = 1.0, 0.3, 0.3, 0.3
JUDGE_EFFECTS = {1: (0.0,), 3: (-0.3, 0.0, 0.3)}
FIRST_SHOWN = 0.2
UNSCORED = 0.1


@dataclass(frozen=True)
class Setting:
    """One kind of evaluation.

    `advantage` is the mean, `between` the standard deviation of the seeds' effects. Pairs tie within `threshold`.
    """

    prompts: int
    seeds: int
    judges: int
    advantage: float
    between: float
    threshold: float = 0.3


@dataclass(frozen=True)
class Verdicts:
    """One simulated evaluation: points, prompt and seed of each verdict, and its truths as shares."""

    points: Floats
    prompts: NDArray[np.object_]
    seeds: NDArray[np.int64]
    at_hand: float
    across_seeds: float


INTERVALS = (
    *("win rate", "its bootstrap", "contrast", "mean, across seeds", "IQM, across seeds"),
    *("contrast, across seeds", "mean, across seeds, floored", "win rate's interval used across seeds"),
)
SETTINGS = (
    Setting(10, 3, 1, 0.4, 0.3),
    Setting(20, 3, 1, 0.4, 0.3),
    Setting(30, 3, 1, 0.4, 0.3),
    Setting(64, 1, 1, 0.0, 0.3),
    Setting(64, 3, 1, 0.4, 0.0),
    Setting(64, 3, 3, 0.4, 0.3),
    Setting(64, 3, 1, 1.8, 0.3),
    Setting(180, 3, 1, 0.0, 0.1),
    Setting(180, 3, 1, 0.4, 0.3),
    Setting(180, 3, 3, 1.8, 0.3),
    Setting(180, 5, 1, 0.4, 0.6),
    Setting(805, 3, 3, 0.4, 0.3),
    Setting(180, 3, 1, 0.4, 0.05),
    Setting(64, 3, 1, 1.0, 0.05, 3.0),
    Setting(180, 3, 1, 0.0, 0.05, 2.8),
    Setting(180, 3, 1, 1.0, 0.05, 3.6),
)


def truth(setting: Setting, effects: Floats, more: float = 0.0) -> float:
    """The expected points over prompts of seeds with these effects, `more` the variance of effects not given."""
    spread = norm(scale=(PROMPT**2 + JUDGE_ON_PROMPT**2 + SEED_ON_PROMPT**2 + VERDICT**2 + more) ** 0.5)
    others = [
        judge + place for judge in JUDGE_EFFECTS[setting.judges] for place in (FIRST_SHOWN, -FIRST_SHOWN)
    ]
    means = setting.advantage + np.add.outer(effects, others)
    return float((spread.cdf(means - setting.threshold) + spread.cdf(means + setting.threshold)).mean() / 2)


def simulate(setting: Setting, rng: np.random.Generator, on_prompts: Floats | None = None) -> Verdicts:
    """One evaluation; two on the same prompts share `on_prompts`, the prompts' effects (P,)."""
    shape = setting.prompts, setting.seeds, setting.judges, 2
    if on_prompts is None:
        on_prompts = rng.normal(0, PROMPT, setting.prompts)
    effects = rng.normal(0, setting.between, setting.seeds)
    advantage = (
        setting.advantage
        + on_prompts[:, None, None, None]
        + effects[:, None, None]
        + np.array(JUDGE_EFFECTS[setting.judges])[:, None]
        + np.array([FIRST_SHOWN, -FIRST_SHOWN])
        + rng.normal(0, JUDGE_ON_PROMPT, (setting.prompts, 1, setting.judges, 1))
        + rng.normal(0, SEED_ON_PROMPT, (setting.prompts, setting.seeds, 1, 1))
        + rng.normal(0, VERDICT, shape)
    )
    points = np.where(advantage > setting.threshold, 1.0, np.where(advantage < -setting.threshold, 0.0, 0.5))
    points[rng.random(shape) < UNSCORED] = np.nan
    prompts, seeds, _, _ = (index.ravel() for index in np.indices(shape))
    across_seeds = truth(setting, np.zeros(1), setting.between**2)
    return Verdicts(points.ravel(), prompts, seeds, truth(setting, effects), across_seeds)


def contains_truth(setting: Setting, rng: np.random.Generator) -> dict[str, bool]:
    """Whether each interval of one simulated evaluation contains its truth; an undefined interval is left out."""
    on_prompts = rng.normal(0, PROMPT, setting.prompts)
    one = simulate(setting, rng, on_prompts)
    other = simulate(replace(setting, advantage=0.0), rng, on_prompts)
    win, seeds = win_rate(one.points, one.prompts), seed_spread(one.points, one.prompts, one.seeds)
    against = contrast(*(tally(of.points, of.prompts, of.seeds) for of in (one, other)))
    at_hand, across_seeds = one.at_hand - other.at_hand, one.across_seeds - other.across_seeds
    intervals = {
        "win rate": (win.lo, win.hi, one.at_hand),
        "its bootstrap": (win.boot_lo, win.boot_hi, one.at_hand),
        "contrast": (against.lo, against.hi, at_hand),
        "mean, across seeds": (seeds.across_seeds_lo, seeds.across_seeds_hi, one.across_seeds),
        "IQM, across seeds": (seeds.iqm_lo, seeds.iqm_hi, one.across_seeds),
        "contrast, across seeds": (against.across_seeds_lo, against.across_seeds_hi, across_seeds),
        "win rate's interval used across seeds": (win.lo, win.hi, one.across_seeds),
    }
    if seeds.floored:
        intervals["mean, across seeds, floored"] = intervals["mean, across seeds"]
    return {name: lo <= 100 * truth <= hi for name, (lo, hi, truth) in intervals.items() if not isnan(lo)}


def coverage(setting: Setting, evaluations: int, seed: int) -> "pd.Series[float]":
    """Percent of the simulated evaluations with an interval of a kind in which it contains its truth."""
    rng = np.random.default_rng([seed, *(round(10 * value) for value in astuple(setting))])
    return 100 * pd.DataFrame([contains_truth(setting, rng) for _ in range(evaluations)]).mean()


def main() -> None:
    """Measure and print, in markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--evaluations", type=int, default=1000, help="simulated in each setting")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    columns = [field.name for field in fields(Setting)] + ["true rate", *INTERVALS]
    print("| " + " | ".join(columns) + " |")
    print("|" + " ---: |" * len(columns), flush=True)
    for setting in SETTINGS:
        found = coverage(setting, options.evaluations, options.seed)
        rate = 100 * truth(setting, np.zeros(1), setting.between**2)
        shown = [f"{found[name]:.1f}" if name in found else "-" for name in INTERVALS]
        print("| " + " | ".join([*map(str, astuple(setting)), f"{rate:.0f}", *shown]) + " |", flush=True)
    error = 100 * (LEVEL * (1 - LEVEL) / options.evaluations) ** 0.5
    print(f"\nPercent of {options.evaluations} evaluations; standard error {error:.1f} at 95.")


if __name__ == "__main__":
    main()
