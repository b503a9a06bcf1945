"""Where the truth is known: which faults a reward repairs, leaves and makes, by fault, kind of task and fact.

A response has one main fault or none. A prompt's kind of task is the first word of its id. A fact is a blind spot of a
family that has a false belief about it: a verifier with the generator's false belief rewards its error.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.frames import Frames, method_rewards
from analysis.records.names import REGIMES, regime_name, sort_names
from analysis.stats.intervals import FEW_PROMPTS, interval_excludes
from analysis.stats.win_rates import quality_change
from analysis.tables.accuracy import CELL
from analysis.tables.render import Entry, Row, Table, pick, slug
from cme.records import RunRecord

SIDES = ("start", "cut_start", "policy")
FAULTS = ("none", "incomplete", "wrong", "off_format", "boilerplate", "repetition", "unasked", "unfinished")
"""The order of the faults in tables; others follow."""
KINDS = ("profile", "compare", "list", "sum")
BLIND_SPOTS = {
    (True, True): "blind spots of both",
    (True, False): "generator's alone",
    (False, True): "verifier's alone",
    (False, False): "of neither",
}
"""The group of a fact by whether it is a blind spot of the generator, and of the verifier."""
FACTS = tuple(BLIND_SPOTS.values())
ALL = "all"
"""The family of rows that pool all families."""
UNTRAINED, CUT = "Untrained model", "Cut start"


def fault_frame(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per cell and measure, and the same over all families: the mean of each side and the paired change.

    Faults and facts are shares in percent, kinds of task mean qualities (0 to 1); docs/csv-columns.md explains the
    columns.
    """
    observed = observations(runs)
    pooled = observed.assign(family=ALL) if observed["family"].nunique() > 1 else observed.iloc[:0]
    rows: list[dict[str, Any]] = []
    for part in (observed, pooled):
        for place, of_cell in part.groupby(list(CELL), sort=False):
            named = {"scale": runs[0].scale, **dict(zip(CELL, place, strict=True))}
            named |= {"families": of_cell["origin"].nunique(), "runs": of_cell["run_id"].nunique()}
            for (topic, measure), values in of_cell.groupby(["topic", "measure"], sort=False):
                start, policy = (values[side].to_numpy(float) for side in ("start", "policy"))
                change = quality_change(start, policy, values["prompt_id"].to_numpy(object))
                assert change is not None, "every response has a grade"
                row = named | {"topic": topic, "measure": measure, "values": len(values)}
                row |= pick(change, "prompts start") | {"cut_start": values["cut_start"].mean()}
                rows.append(row | pick(change, "policy difference lo hi"))
    return pd.DataFrame(rows)


def observations(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per run, prompt and measure, and per requested fact: its value for each of SIDES."""
    frames = Frames([run for run in runs if run.grades is not None])
    pairs = frames.pairs.assign(origin=frames.pairs["family"])

    def measured(topic: str, measure: Any, sides: Mapping[str, Any]) -> pd.DataFrame:
        return pairs[[*CELL, "origin", "run_id", "prompt_id"]].assign(topic=topic, measure=measure, **sides)

    main_fault = {side: pairs[f"{side}_fault"] for side in SIDES}
    parts = [
        measured("fault", fault, {side: 100.0 * (own == fault) for side, own in main_fault.items()})
        for fault in sorted(set().union(*main_fault.values()))
    ]
    kinds = pairs["prompt_id"].str.split("-").str[0]
    parts.append(measured("kind", kinds, {side: pairs[f"{side}_quality"] for side in SIDES}))
    facts = []
    for run in frames.records:
        if run.grades is None or run.blind_spots is None:
            continue
        graded = zip(run.grades.start, run.grades.cut_start, run.grades.policy, strict=True)
        for prompt, grades in zip(run.prompt_names.values(), graded, strict=True):
            for fact in grades[0].facts:
                generator, verifier = (fact in run.blind_spots[role] for role in ("generator", "verifier"))
                right = (100.0 * grade.parts[fact] for grade in grades)
                facts.append((run.run_id, prompt, "facts", BLIND_SPOTS[generator, verifier], *right))
    requested = pd.DataFrame(facts, columns=["run_id", "prompt_id", "topic", "measure", *SIDES])
    requested = requested.astype(dict.fromkeys(SIDES, float))
    places = frames.runs[["run_id", *CELL]].assign(origin=frames.runs["family"])
    return pd.concat([*parts, requested.merge(places, on="run_id")], ignore_index=True)


def over_families(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a fault frame that pool all families; all of its rows if there is one family."""
    return frame[frame["family"] == ALL] if ALL in set(frame["family"]) else frame


def fault_tables(runs: Sequence[RunRecord]) -> list[Table]:
    """The tables of one scale, all families pooled: faults, kinds of task and, if blind spots are known, facts."""
    frame = over_families(fault_frame(runs))
    scale = slug(runs[0].scale)
    change = (
        "In parentheses: the paired change from the untrained model. Bold: its 95 % interval over prompts, for these "
        f"models, excludes 0, on {FEW_PROMPTS} prompts or more, without correction. All families and seeds are pooled; "
        "a method's change is from the untrained models of its own runs."
    )
    blind = (
        "A blind spot is a fact about which a family's text states a false belief. Blind spots of both: of the "
        "families of generator and verifier, whose verifier rewards the error; the generator's alone: those that "
        "the verifier can correct; the verifier's alone: those that it can spoil. A reward without a verifier is "
        "listed with the configured one."
    )
    notes = {"fault": [f"Every response has one main fault or none. {change}"], "kind": [change]}
    notes["facts"] = [blind, change]
    topics = {
        "fault": ("faults", "Main fault of the responses by reward (% of responses)", FAULTS, 1),
        "kind": ("kinds", "True quality by kind of task and reward (0 to 1)", KINDS, 2),
        "facts": ("blind-spots", "Requested facts that are right, by blind spot and reward (%)", FACTS, 1),
    }
    return [
        topic_table(own, f"{name}-{scale}", f"{title}, scale: {runs[0].scale}", order, decimals, notes[topic])
        for topic, (name, title, order, decimals) in topics.items()
        if len(own := frame[frame["topic"] == topic])
    ]


def topic_table(
    frame: pd.DataFrame, name: str, title: str, order: Sequence[str], decimals: int, notes: Sequence[str]
) -> Table:
    """The untrained model, the cut start and the methods of each regime in rows, the measures of a topic in columns."""
    measures = sort_names(frame["measure"], order)
    groups: list[list[Row]] = []
    for regime in sort_names(frame["regime"], REGIMES):
        of_regime = frame[frame["regime"] == regime]
        rows: list[Row] = []
        for side, label in (("start", UNTRAINED), ("cut_start", CUT)):
            means = side_means(of_regime, side)
            texts = [f"{means[m]:.{decimals}f}" if m in means else "-" for m in measures]
            rows.append([Entry(text) for text in ("" if rows else regime_name(regime), label, *texts)])
        for method in method_rewards(of_regime):
            own = of_regime[of_regime["method"] == method]
            by_measure = {row["measure"]: row for row in own.to_dict("records")}
            entries = [change_entry(by_measure.get(measure), decimals) for measure in measures]
            rows.append([Entry(""), Entry(method), *entries])
        groups.append(rows)
    header = ["regime", "responses of", *(measure_name(measure) for measure in measures)]
    return Table(name, title, header, groups, notes)


def side_means(frame: pd.DataFrame, side: str) -> dict[str, float]:
    """By measure, the mean of a side over the values of all rows."""
    return {
        str(measure): float(np.average(own[side], weights=own["values"]))
        for measure, own in frame.groupby("measure", sort=False)
    }


def change_entry(row: dict[Any, Any] | None, decimals: int) -> Entry:
    """The policy's mean with its change, such as 12.5 (-20.0); bold if the interval of the change excludes 0."""
    if row is None:
        return Entry("-")
    text = f"{row['policy']:.{decimals}f} ({row['difference']:+.{decimals}f})"
    return Entry(text, bold=interval_excludes(row["lo"], row["hi"], 0, row["prompts"]))


def measure_name(measure: str) -> str:
    """A measure as a header."""
    return "no fault" if measure == "none" else measure.replace("_", " ")
