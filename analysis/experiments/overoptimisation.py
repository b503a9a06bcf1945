"""Long trainings: does true quality keep rising with the reward, or does it fall, and when?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isnan

import pandas as pd

from analysis.experiments.base import (
    Column,
    Experiment,
    GeneratorRuns,
    build_table,
    file_name,
    group_by_generator,
)
from analysis.experiments.courses import (
    BLOCK,
    BLOCKS_NOTE,
    COLLAPSE_NOTE,
    MODEL_COLLAPSE_NOTE,
    Course,
    block_means,
    courses,
    estimate_of,
    flatten,
    greedy_course,
    greedy_steps,
    monitored_history,
)
from analysis.figures.courses import greedy_plot, kl_plot
from analysis.figures.style import Plot, method_styles
from analysis.records.names import REWARDS, method_names, order_key
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.render import Entry, Table
from analysis.tables.trajectory import trajectory_table
from cme.records import RunRecord

MARGIN = 0.05
"""True quality: a smaller rise or fall counts as none."""
DIRECTIONS = {
    "falls": "rises and then falls from its peak (over-optimisation) with",
    "degrades": "falls without a rise before it with",
    "rises": "keeps rising over the second half with",
    "level": "shows neither a fall nor a rise with",
    "unknown": "cannot be judged (too few seeds, or no true quality) with",
}
CourseColumn = Column[Course]


@dataclass(frozen=True, eq=False)
class LongRuns(GeneratorRuns):
    """The long trainings of one generator at one scale; `labels` gives each run's method by run id, in their order."""

    labels: Mapping[str, str]

    @property
    def methods(self) -> dict[str, str]:
        """The reward of each method."""
        return {self.labels[run.run_id]: run.reward for run in self.runs}

    @cached_property
    def courses(self) -> list[Course]:
        """The course of each method, with that of the greedy responses if checkpoints were saved."""
        by_label = {
            label: [run for run in self.runs if self.labels[run.run_id] == label] for label in self.methods
        }
        return [
            course | greedy_course(by_label[course["label"]]) for course in courses(self.runs, self.labels)
        ]

    @property
    def greedy_courses(self) -> list[Course]:
        """The courses with greedy responses of known quality."""
        return [course for course in self.courses if "greedy_fall" in course]

    @cached_property
    def blocks(self) -> pd.DataFrame:
        """The means over blocks of steps, with the method as `label`."""
        blocks = block_means(monitored_history(self.runs))
        return blocks.assign(label=blocks["run_id"].map(dict(self.labels)))


def views(runs: Sequence[RunRecord]) -> list[LongRuns]:
    """The runs of each generator, in the order of the rewards."""
    found = []
    for generator, own in group_by_generator(runs):
        names = method_names(own)
        own = sorted(own, key=lambda run: (order_key(run.reward, REWARDS), names[run.run_id], run.seed))
        found.append(LongRuns(generator, own, {run.run_id: names[run.run_id] for run in own}))
    return found


def direction(course: Course, kind: str = "") -> str:
    """The final direction of a method's true quality: a key of DIRECTIONS.

    `kind` is the prefix of the measures: "greedy_" for greedy responses, empty for sampled completions.
    """
    names = ("fall", "second_half_quality", "rise_to_peak")
    fall, late, rise = (estimate_of(course, f"{kind}{name}").lo for name in names)
    if isnan(fall):
        return "unknown"
    if fall > MARGIN:
        return "falls" if rise > MARGIN else "degrades"
    return "rises" if late > 0 else "level"


def summary(courses: Sequence[Course], kind: str = "") -> str:
    """With which rewards quality keeps rising and with which it falls, with the numbers; `kind` as in `direction`."""
    numbers = {"falls": "fall", "degrades": "fall", "rises": "second_half_quality"}
    methods: dict[str, list[str]] = {way: [] for way in DIRECTIONS}
    gamed = []
    for course in courses:
        way = direction(course, kind)
        number = f" ({estimate_of(course, kind + numbers[way]).text()})" if way in numbers else ""
        methods[way].append(f"{course['label']}{number}")
        if way == "falls" and estimate_of(course, f"{kind}since_peak_reward_value").lo > 0:
            gamed.append(course["label"])
    text = "; ".join(f"{DIRECTIONS[way]} {', '.join(names)}" for way, names in methods.items() if names)
    more = f" While quality fell, the trained reward rose with {', '.join(gamed)}." if gamed else ""
    return f"{'Greedy' if kind else 'True'} quality {text}.{more}"


def course_columns(kind: str, at: str, peak: str, later: str) -> list[CourseColumn]:
    """The columns that the tables of sampled and of greedy quality share; `kind` as in `direction`."""

    def level(name: str, note: str = "") -> CourseColumn:
        def text(course: Course) -> str:
            level = estimate_of(course, f"{kind}{name}").value
            return "n/a" if isnan(level) else f"{level:.3f}"

        return CourseColumn(name, text, note)

    return [
        CourseColumn("reward", lambda course: course["label"]),
        CourseColumn("seeds", lambda course: course[f"{kind}seeds"] or "-"),
        level("start", "Start, peak, final and their differences: true quality (0 to 1), means over seeds."),
        level("peak", peak),
        CourseColumn(f"peak {at}", lambda course: course[f"{kind}peak_steps"]),
        level("final"),
        change_column("rise to the peak", f"{kind}rise_to_peak"),
        change_column("fall from the peak", f"{kind}fall", "falls", kind),
        change_column("second half", f"{kind}second_half_quality", "rises", kind, later),
        change_column("reward since the peak", f"{kind}since_peak_reward_value"),
    ]


def change_column(header: str, name: str, bold_if: str = "", kind: str = "", note: str = "") -> CourseColumn:
    """A column of changes with their intervals, bold if the method's direction is `bold_if`."""

    def entry(course: Course) -> Entry:
        return Entry(estimate_of(course, name).text(), bold=direction(course, kind) == bold_if)

    return CourseColumn(header, entry, note)


def sampled_table(view: LongRuns) -> Iterator[Table]:
    """Quality of sampled completions at start, peak and end, the fall, and the change of the reward meanwhile."""
    left_out = sum(course["left_out"] for course in view.courses)
    gap = f"{left_out} runs are left out: no true quality, or no whole block of {BLOCK} steps."
    yield build_table(
        name=file_name(view.scale, view.generator),
        title=f"True quality over a long training ({view.where})",
        columns=[
            *course_columns(
                "",
                "by step",
                "Peak: for each seed, the block in which the other seeds' mean is highest, so the fall is not a matter "
                "of luck; it can be the last block, and the fall 0. Reward (in its own unit) and held-out verifier "
                "(nats/token): last block minus the peak's.",
                f"In brackets: 95 % t intervals over seeds, [n/a] below {MIN_SEEDS}. Bold: the intervals of the rise "
                f"to the peak and of the fall lie above the margin of {MARGIN}; or that of the fall does not, and that "
                "of the change over the second half lies above 0.",
            ),
            change_column("held-out since the peak", "since_peak_heldout"),
            CourseColumn("collapse by step", lambda course: course["collapse_steps"], COLLAPSE_NOTE),
            CourseColumn(
                "Model Collapse Step", lambda course: course["model_collapse_steps"], MODEL_COLLAPSE_NOTE
            ),
            CourseColumn("half of peak", lambda course: course["half_of_peak_steps"]),
            CourseColumn(
                "stopped at",
                lambda course: course["stopped"] or "-",
                "Stopped: the guard ended the training.",
            ),
        ],
        groups=[view.courses],
        notes=[summary(view.courses), BLOCKS_NOTE, *([gap] if left_out else [])],
    )


def saved_table(view: LongRuns) -> Iterator[Table]:
    """Quality of the saved checkpoints' greedy responses, next to that of the sampled completions.

    Without an oracle, the checkpoints' win rates.
    """
    if not view.greedy_courses:
        saved = [run for run in view.runs if run.trajectory is not None]
        if saved:
            yield replace(trajectory_table(saved), name=file_name("checkpoints", view.scale, view.generator))
        return
    yield build_table(
        name=file_name("greedy", view.scale, view.generator),
        title=f"True quality of greedy responses over a long training ({view.where})",
        columns=[
            *course_columns(
                "greedy_",
                "at step",
                "Peak: for each seed, the checkpoint at which the other seeds' mean is highest. Reward since the peak: "
                f"last block of {BLOCK} steps minus the block of the peak, over seeds.",
                "Fall and second half (since the first checkpoint at half of the steps or later): across-seed 95 % "
                f"intervals, [n/a] below {MIN_SEEDS} seeds. Bold: as in the table of sampled completions.",
            ),
            CourseColumn(
                "collapse at step",
                lambda course: course["greedy_collapse_steps"],
                "Collapse: the first saved checkpoint from which on all are worse than the untrained model (paired by "
                "prompt, 95 % interval over prompts), by seed; - means no collapse.",
            ),
            change_column("sampled: fall from the peak", "fall", "falls"),
            CourseColumn("sampled: collapse by step", lambda course: course["collapse_steps"]),
        ],
        groups=[view.greedy_courses],
        notes=[
            summary(view.greedy_courses, "greedy_"),
            "Greedy responses of the saved checkpoints to the selection prompts, which are used neither for training "
            "nor for evaluation.",
        ],
    )


def distance_figure(view: LongRuns) -> Iterator[Plot]:
    """Quality and the held-out verifier against the root of the KL divergence."""
    blocks = view.blocks.merge(greedy_steps(view.runs), on=["run_id", "step"], how="left")
    plot = kl_plot(view.where, blocks, method_styles(view.methods), BLOCK)
    yield replace(plot, name=file_name(plot.name, view.scale, view.generator))


def greedy_figure(view: LongRuns) -> Iterator[Plot]:
    """Sampled and greedy quality by step, if checkpoints were saved."""
    saved = greedy_steps(view.runs)
    if not saved.empty:
        saved = saved.assign(block=saved["step"], label=saved["run_id"].map(dict(view.labels)))
        title = f"Sampled and greedy quality ({view.where})"
        plot = greedy_plot(title, view.blocks, saved, list(view.methods), BLOCK)
        yield replace(plot, name=file_name(plot.name, view.scale, view.generator))


def frame(views: Sequence[LongRuns]) -> pd.DataFrame:
    """One row per generator and method: the courses of sampled and greedy quality."""
    return pd.concat(
        pd.DataFrame(map(flatten, view.courses)).assign(generator=view.generator) for view in views
    )


OVEROPTIMISATION = Experiment(
    name="overoptimisation",
    title="Over-optimisation: does quality keep rising with the reward?",
    question=(
        "Runs of four times the usual steps. If a reward cannot be gamed, true quality keeps rising with it or levels "
        "off; over-optimisation means that true quality first rises and then falls from its peak while the reward "
        "keeps rising (Gao et al. 2023). The fall from the peak is the test: a reward is over-optimised if the 95 % "
        "intervals over seeds of the rise to the peak and of the fall from it lie above "
        f"{MARGIN}; it degrades if quality falls "
        "without such a rise, as with a random reward; quality keeps rising if the interval of the change over the "
        "second half lies above 0; otherwise neither is claimed. The test is made on the completions sampled in "
        "training and, if checkpoints were saved, on their greedy responses: the responses that a user sees can get "
        "worse while the training samples look level."
    ),
    views=views,
    tables=(sampled_table, saved_table),
    figures=(distance_figure, greedy_figure),
    frame=frame,
)
