"""Long trainings: does true quality keep up with the reward, or does it fall from its peak, and when?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import pandas as pd

from analysis.experiments.base import Experiment, GeneratorRuns, group_by_generator
from analysis.figures.paths import greedy_plot, kl_plot
from analysis.figures.style import Plot, method_styles
from analysis.records.builds import seed_names
from analysis.records.frames import WINDOW, history_frame
from analysis.records.grouping import group_by
from analysis.records.names import REWARDS, method_names, order_key
from analysis.stats.seeds import MIN_SEEDS, across_seeds
from analysis.tables.render import UNKNOWN, Column, Entry, Estimate, Table, build_table, mean_over_seeds
from analysis.tables.training.courses import (
    BLOCK,
    COLLAPSED,
    GREEDY,
    MARGIN,
    SAMPLED,
    Course,
    block_means,
    by_step,
    direction,
    first_step_below,
    greedy_since_peak,
    greedy_steps,
    levels,
    peaks,
    sampled_quality,
    summary,
    values_at,
)
from analysis.tables.training.trajectory import (
    collapse_of,
    greedy_quality,
    steps_text,
    trajectory_frame,
    trajectory_table,
)
from cme.records import RunRecord

CourseColumn = Column[Course]


@dataclass(frozen=True, eq=False)
class LongRuns(GeneratorRuns):
    """The long trainings of one generator at one scale, in the order of the methods."""

    @cached_property
    def methods(self) -> dict[str, list[RunRecord]]:
        """The runs of each method."""
        names = method_names(self.runs)
        return group_by(self.runs, lambda run: names[run.run_id])

    @cached_property
    def history(self) -> pd.DataFrame:
        """The training histories, one row per run and step."""
        return history_frame(self.runs)

    @cached_property
    def blocks(self) -> pd.DataFrame:
        """The means over blocks of steps, with the method as `label`."""
        return block_means(self.history).rename(columns={"method": "label"})

    @cached_property
    def courses(self) -> list[list[Course]]:
        """By method, the courses of sampled responses and, if checkpoints were saved, of greedy ones."""
        return [
            [self.sampled_course(method, runs), *self.greedy_courses(method, runs)]
            for method, runs in self.methods.items()
        ]

    def courses_of(self, responses: str) -> list[Course]:
        """The courses of sampled or of greedy responses."""
        return [course for courses in self.courses for course in courses if course["responses"] == responses]

    def sampled_course(self, method: str, runs: Sequence[RunRecord]) -> Course:
        """The course of the completions that one method's runs sampled in training.

        Runs without true quality and runs without a whole block are left out and counted in `left_out`.
        """
        blocks = self.blocks[self.blocks["run_id"].isin([run.run_id for run in runs])]
        quality = sampled_quality(blocks)
        kept = [run for run in runs if run.run_id in quality.index]
        histories = [self.history[self.history["run_id"] == run.run_id] for run in kept]
        return {
            "label": method,
            "responses": SAMPLED,
            "left_out": len(runs) - len(kept),
            **self.changes(quality, kept),
            "model_collapse_steps": " ".join(map(first_step_below, histories)),
            "half_of_peak_steps": " ".join(first_step_below(own, of_peak=0.5) for own in histories),
            "stopped": steps_text(None if r.stopped is None else r.last_step for r in kept),
        }

    def greedy_courses(self, method: str, runs: Sequence[RunRecord]) -> Iterator[Course]:
        """The course of the greedy responses of a method's checkpoints; none if none has known quality.

        The interval of the fall is over seeds and prompts.
        """
        saved = [run for run in runs if greedy_quality(run)]
        if saved:
            quality = by_step(greedy_steps(saved), "greedy")
            rows, change = trajectory_frame(saved), greedy_since_peak(saved)
            half, _ = across_seeds(change)
            collapses = [collapse_of(rows[rows["run_id"] == run.run_id], "quality") for run in saved]
            yield {
                "label": method,
                "responses": GREEDY,
                **self.changes(quality, saved),
                "fall": Estimate(0 - change.rate, 0 - change.rate - half, 0 - change.rate + half),
                "collapse_steps": steps_text(collapses),
            }

    def changes(self, quality: pd.DataFrame, runs: Sequence[RunRecord]) -> Course:
        """Levels of quality, and how far reward and held-out verifier rose since the block of the peak."""
        if not runs:
            return {}
        peak, blocks = peaks(quality), self.blocks[self.blocks["run_id"].isin(quality.index)]
        last = blocks.groupby("run_id")["step"].max()
        origin = (BLOCK * -(-peak // BLOCK)).clip(upper=last)  # rounded up to the end of a block
        course: Course = {
            "seeds": seed_names(run.seed for run in runs),
            "peak_steps": " ".join(str(peak[run.run_id]) for run in runs),
            **{name: mean_over_seeds(values) for name, values in levels(quality, peak).items()},
        }
        for name in ("reward_value", "heldout"):
            values = by_step(blocks, name)
            rises = values_at(values, last) - values_at(values, origin)
            course[f"since_peak_{name}"] = mean_over_seeds(rises)
        return course


def group_long_runs(runs: Sequence[RunRecord]) -> list[LongRuns]:
    """The runs of each generator, in the order of the rewards."""
    found = []
    for generator, own in group_by_generator(runs):
        names = method_names(own)
        own.sort(key=lambda run: (order_key(run.reward, REWARDS), names[run.run_id], run.seed))
        found.append(LongRuns(generator, own))
    return found


def text_column(header: str, name: str, note: str = "") -> CourseColumn:
    """A column of texts, empty where the course has none."""
    return CourseColumn(header, lambda course: course.get(name, ""), note)


def level_column(name: str, note: str = "") -> CourseColumn:
    """A column of levels of quality."""
    return CourseColumn(name, lambda course: course.get(name, UNKNOWN).text(3, "").partition(" ")[0], note)


def change_column(header: str, name: str, bold_if: str = "", note: str = "") -> CourseColumn:
    """A column of changes with their intervals, bold if the course has this direction."""

    def entry(course: Course) -> Entry:
        return Entry(course.get(name, UNKNOWN).text(), bold=direction(course) == bold_if)

    return CourseColumn(header, entry, note)


def course_table(view: LongRuns) -> Iterator[Table]:
    """Quality of sampled and greedy responses at start, peak and end, the fall, and what the reward did meanwhile."""
    left_out = sum(course["left_out"] for course in view.courses_of(SAMPLED))
    gap = f"{left_out} runs are left out: no true quality, or no whole block of {BLOCK} steps."
    yield build_table(
        name=f"{view.scale} {view.generator}",
        title=f"True quality over a long training ({view.where})",
        columns=[
            CourseColumn("reward", lambda course: course["label"], once=True),
            text_column(
                "responses",
                "responses",
                "Responses: sampled in training, for training prompts, as means over blocks of "
                f"{BLOCK} steps (start: the first {WINDOW} steps); or greedy, of the saved checkpoints, to the "
                "selection prompts, which are used neither for training nor for evaluation.",
            ),
            text_column("seeds", "seeds"),
            level_column("start", "Start, peak, final and changes: true quality (0 to 1), means over seeds."),
            level_column("peak"),
            text_column(
                "peak by step",
                "peak_steps",
                "Peak: for each seed, the block or checkpoint at which the other seeds' mean is highest, so the fall "
                "is not a matter of luck; it can be the last one, and the fall 0.",
            ),
            level_column("final"),
            change_column("rise to the peak", "rise_to_peak"),
            change_column(
                "fall from the peak",
                "fall",
                "falls",
                f"In brackets: 95 % t intervals over seeds, [n/a] below {MIN_SEEDS}; of the fall of greedy quality, "
                "over seeds and prompts. Bold: the intervals of the rise to the peak and of the fall lie above the "
                f"margin of {MARGIN}.",
            ),
            change_column(
                "reward since the peak",
                "since_peak_reward_value",
                note="Reward (in its own unit) and held-out verifier (nats/token): last block minus the peak's.",
            ),
            change_column("held-out since the peak", "since_peak_heldout"),
            text_column(
                "Model Collapse Step",
                "model_collapse_steps",
                "Model Collapse Step (He et al. 2026, arXiv 2603.08660, by its summaries): the first step at which "
                f"accuracy is below {COLLAPSED:.0%}; accuracy is the share of groups whose most common answer is right "
                f"where there are answers, else true quality, each as a running mean over {WINDOW} steps. Half of "
                "peak: the first step at which that mean is below half of its highest value so far (ours, since a "
                "share of parts need not come near 0). By seed; > means not within the training.",
            ),
            text_column("half of peak", "half_of_peak_steps"),
            text_column(
                "worse from step",
                "collapse_steps",
                "Worse: the first saved checkpoint from which on all are worse than the untrained model (paired by "
                "prompt, 95 % interval over prompts), by seed; - means none.",
            ),
            text_column("stopped at", "stopped", "Stopped: the guard ended the training."),
        ],
        groups=view.courses,
        notes=[
            *(summary(courses) for courses in map(view.courses_of, (SAMPLED, GREEDY)) if courses),
            *([gap] if left_out else []),
        ],
    )


def checkpoint_table(view: LongRuns) -> Iterator[Table]:
    """Without an oracle, the win rates of the saved checkpoints."""
    saved = [run for run in view.runs if run.trajectory is not None]
    if saved and not view.courses_of(GREEDY):
        yield replace(trajectory_table(saved), name=f"checkpoints {view.scale} {view.generator}")


def distance_figure(view: LongRuns) -> Iterator[Plot]:
    """Quality and the held-out verifier against the root of the KL divergence."""
    blocks = view.blocks.merge(greedy_steps(view.runs), on=["run_id", "step"], how="left")
    styles = method_styles({method: runs[0].reward for method, runs in view.methods.items()})
    yield kl_plot(f"sqrt-kl {view.scale} {view.generator}", view.where, blocks, styles)


def greedy_figure(view: LongRuns) -> Iterator[Plot]:
    """Sampled and greedy quality by step, if checkpoints were saved."""
    saved = greedy_steps(view.runs)
    if not saved.empty:
        labels = {run.run_id: method for method, runs in view.methods.items() for run in runs}
        saved = saved.assign(block=saved["step"], label=saved["run_id"].map(labels))
        name = f"greedy {view.scale} {view.generator}"
        title = f"Sampled and greedy quality ({view.where})"
        yield greedy_plot(name, title, view.blocks, saved, list(view.methods))


def courses_frame(views: Sequence[LongRuns]) -> pd.DataFrame:
    """One row per generator, method and kind of responses."""
    rows: list[dict[str, Any]] = []
    for view in views:
        for course in chain.from_iterable(view.courses):
            row: dict[str, Any] = {"generator": view.generator}
            for name, value in course.items():
                row |= value.columns(name) if isinstance(value, Estimate) else {name: value}
            rows.append(row)
    return pd.DataFrame(rows)


OVEROPTIMISATION = Experiment(
    name="overoptimisation",
    title="Over-optimisation: does quality keep rising with the reward?",
    question=(
        "Runs of four times the usual steps. If a reward cannot be gamed, true quality keeps rising with it or levels "
        "off; over-optimisation means that true quality first rises and then falls from its peak while the reward "
        "keeps rising (Gao et al. 2023). The fall from the peak is the test: a reward is over-optimised if the 95 % "
        f"intervals over seeds of the rise to the peak and of the fall from it lie above {MARGIN}; it degrades if "
        "quality falls without such a rise, as with a random reward; it does not fall if the interval of the fall lies "
        "below the margin; otherwise the test decides nothing. The test is made on "
        "the completions sampled in training and, if checkpoints were saved, on their greedy responses: the responses "
        "that a user sees can get worse while the training samples look level."
    ),
    views=group_long_runs,
    tables=(course_table, checkpoint_table),
    figures=(distance_figure, greedy_figure),
    frame=courses_frame,
)
