"""The numbers of the committed tables, recomputed from the committed records by slow and obvious code.

Nothing of `analysis` is used; of the rest, only the oracle that grades a response. What a number means is defined in
docs/csv-columns.md, and the rule about independence in docs/log.md.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from math import nan, sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from scipy import stats

from cme.miniature.world import grade

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
RECORDS = REFERENCE / "miniature"
TABLES = REFERENCE / "analysis" / "tables"
SIDES = ("start", "policy", "cut_start")
SENTENCES = ("profile", "compare")  # the kinds of tasks whose parts are facts

Json = dict[str, Any]
Fact = tuple[str, str]
"""Prompt and name of a fact that the prompt asks for."""


@dataclass
class Run:
    """What the tests need of one record. Lists of values by prompt are in the order of the prompts."""

    id: str
    family: str
    regime: str
    reward: str
    verifier: str
    ensemble: str
    data: str
    build: int
    seed: int
    points: list[float]
    """The policy's points against the untrained model, one for each verdict."""
    against: dict[str, tuple[list[float], list[float]]]
    """By further model, the points of the policy and of the untrained model against it."""
    quality: dict[str, list[float]]
    faults: dict[str, list[str]]
    kinds: list[str]
    facts: dict[str, dict[Fact, bool]]
    spots: dict[str, set[str]] | None
    """The facts that the families of generator and verifier have wrong; None if they are unknown."""
    own_quality: list[float] | None
    odd: list[str]
    """Verdicts that do not follow from the two qualities."""


def points(verdict: Json) -> float:
    """1 for a win of the policy, 0.5 for a tie, 0 for a loss. No reference verdict is unscored."""
    return {
        "tie": 0.5,
        "first": float(verdict["policy_first"]),
        "second": float(not verdict["policy_first"]),
    }[verdict["outcome"]]


def odd_verdicts(verdicts: list[Json], mine: dict[str, float], theirs: dict[str, float]) -> Iterator[str]:
    """Verdicts that differ from comparing the qualities; `mine` is the quality of what `policy_first` is about."""
    orders = sorted((verdict["prompt_id"], verdict["policy_first"]) for verdict in verdicts)
    if orders != sorted((prompt, order) for prompt in mine for order in (True, False)):
        yield "not every prompt is judged once in each order"
    for verdict in verdicts:
        prompt = verdict["prompt_id"]
        first, second = mine[prompt], theirs[prompt]
        if not verdict["policy_first"]:
            first, second = second, first
        outcome = "first" if first > second else "second" if second > first else "tie"
        if verdict["outcome"] != outcome:
            yield f"{prompt}: {outcome} expected for qualities {first}, {second}: {verdict}"


@cache
def run(name: str) -> Run:
    """The run with this id."""
    record = json.loads((RECORDS / f"{name}.record.json").read_text())
    prompts = [pair["prompt_id"] for pair in record["pairs"]]
    kinds = [prompt.split("-")[0] for prompt in prompts]
    grades = {side: dict(zip(prompts, record["grades"][side], strict=True)) for side in SIDES}
    quality = {side: {prompt: grades[side][prompt]["quality"] for prompt in prompts} for side in SIDES}
    odd = list(odd_verdicts(record["verdicts"], quality["policy"], quality["start"]))
    against = {}
    for other in record["comparisons"]:
        against[other["name"]] = ([points(v) for v in other["policy"]], [points(v) for v in other["start"]])
        if other["name"] == "cut start":
            odd += odd_verdicts(other["policy"], quality["policy"], quality["cut_start"])
            odd += odd_verdicts(other["start"], quality["start"], quality["cut_start"])
    return Run(
        id=record["run_id"],
        family=record["family"],
        regime=record["regime"],
        reward=record["reward"],
        verifier=record["verifier"],
        ensemble=record["config"].get("reward", {}).get("ensemble", "mean"),
        data=record["config"]["data"]["name"],
        build=record["config"]["scale"]["build"],
        seed=record["seed"],
        points=[points(verdict) for verdict in record["verdicts"]],
        against=against,
        quality={side: list(quality[side].values()) for side in SIDES},
        faults={side: [grades[side][prompt]["fault"] for prompt in prompts] for side in SIDES},
        kinds=kinds,
        facts={
            side: {
                (prompt, fact): right
                for prompt, kind in zip(prompts, kinds, strict=True)
                if kind in SENTENCES
                for fact, right in grades[side][prompt]["parts"].items()
            }
            for side in SIDES
        },
        spots=record["blind_spots"] and {who: set(facts) for who, facts in record["blind_spots"].items()},
        own_quality=record["verifier_quality"],
        odd=odd,
    )


@cache
def runs(experiment: str) -> list[Run]:
    """The runs of an experiment, by build and seed."""
    ids = json.loads((RECORDS / f"miniature-{experiment}.experiment.json").read_text())["runs"]
    return sorted((run(name) for name in ids), key=lambda run: (run.build, run.seed))


def table(name: str) -> list[dict[str, str]]:
    """The rows of a committed table."""
    with (TABLES / f"miniature-{name}.csv").open() as file:
        return list(csv.DictReader(file))


def same(printed: str, value: float) -> bool:
    return float(printed) == pytest.approx(value, rel=1e-9, abs=1e-9)


def percent(values: Iterable[float]) -> float:
    return 100 * fmean(values)


Cell = tuple[str, ...]
Numbers = dict[str, float | None]


def cells(of: Iterable[Run], families: bool = True) -> dict[Cell, list[Run]]:
    """Distinct runs by family, regime, reward, verifier and, for an ensemble, how it combines its members.

    Without `families`, all families are pooled as `all`.
    """
    found = defaultdict(list)
    for run in {run.id: run for run in of}.values():
        family = run.family if families else "all"
        combined = run.ensemble if run.verifier == "ensemble" else ""
        found[family, run.regime, run.reward, run.verifier, combined].append(run)
    return dict(found)


def differences(row: dict[str, str], expected: Numbers) -> list[str]:
    """The columns of a row that are not as recomputed; None is an empty entry. A missing column is a KeyError."""
    return [
        f"{column} is {row[column]}, recomputed {value}"
        for column, value in expected.items()
        if (row[column] != "" if value is None else row[column] == "" or not same(row[column], value))
    ]


def pair_up(rows: list[dict[str, str]], expected: dict[Cell, Numbers]) -> None:
    """Assert that every row has the numbers of one cell, with its family, regime, reward and verifier, and every
    cell has a row."""
    open_cells = set(expected)
    for row in rows:
        place = (row["family"], row["regime"], row["reward"], row["verifier"])
        found = {key: differences(row, expected[key]) for key in open_cells if key[:4] == place}
        right = [key for key, wrong in found.items() if not wrong]
        assert len(right) == 1, (place, row["method"], found)
        open_cells.remove(right[0])
    assert not open_cells


def win_rates(of: list[Run]) -> Numbers:
    """What a row of win rates says about a cell, all runs pooled."""
    cut_policy, cut_start = zip(*(run.against["cut start"] for run in of), strict=True)
    start = [quality for run in of for quality in run.quality["start"]]
    policy = [quality for run in of for quality in run.quality["policy"]]
    return {
        "win_rate": percent(point for run in of for point in run.points),
        "n_prompts": len(of[0].kinds),
        "n_verdicts": sum(len(run.points) for run in of),
        "unscored": 0,
        "quality_start": fmean(start),
        "quality_policy": fmean(policy),
        "difference": fmean(policy) - fmean(start),
        "ceiling": percent(0.5 if quality == 1 else 1 for quality in start),
        "cut_start": 100 - percent(point for points in cut_start for point in points),
        "against_cut_start": percent(point for points in cut_policy for point in points),
    }


EXPERIMENTS = ("main_table", "rewards", "independence", "verifier_sweep")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_verdict_follows_from_the_two_qualities(experiment: str) -> None:
    assert [odd for run in runs(experiment) for odd in run.odd] == []


def test_the_grades_of_one_cell_follow_from_the_texts() -> None:
    chosen = [r for r in runs("main_table") if (r.family, r.regime, r.reward) == ("qwen", "sft", "cme")]
    assert len(chosen) == 10
    oracle = cache(grade)
    for each in chosen:
        record = json.loads((RECORDS / f"{each.id}.record.json").read_text())
        cut = next(other for other in record["comparisons"] if other["name"] == "cut start")
        for i, pair in enumerate(record["pairs"]):
            for side, response in zip(
                SIDES, (pair["start"], pair["policy"], cut["responses"][i]), strict=True
            ):
                truth = oracle(pair["prompt"], response["response"], response["finished"])
                recorded = record["grades"][side][i]
                assert recorded["quality"] == pytest.approx(truth.quality, abs=5.1e-7)  # it has six digits
                assert (recorded["fault"], recorded["parts"]) == (truth.fault, truth.parts), (
                    each.id,
                    i,
                    side,
                )


@pytest.mark.parametrize(
    ("name", "data", "file", "count"),
    [
        ("main_table", "world", "main-table", 72),
        ("rewards", "world", "rewards", 27),
        ("rewards", "arithmetic", "rewards-arithmetic", 12),
    ],
)
def test_win_rates_and_contrasts(name: str, data: str, file: str, count: int) -> None:
    found, rows = cells(run for run in runs(name) if run.data == data), table(file)
    assert len(found) == len(rows) == count
    expected = {key: win_rates(of) for key, of in found.items()}
    for key, numbers in expected.items():
        if key[2] == "cme":
            numbers["contrast_difference"] = None
        else:  # a contrast is with CME on the builds that both have, of another verifier if CME has no run with this
            builds = {run.build for run in found[key]}
            [other] = {place for place in found if place[:3] == (*key[:2], "cme")}
            cme = [run for run in found[other] if run.build in builds]
            numbers["contrast_difference"] = numbers["win_rate"] - win_rates(cme)["win_rate"]
    pair_up(rows, expected)
    by_seed = {key: [percent(run.points) for run in of] for key, of in found.items()}
    for row in rows:
        rates = [float(rate) for rate in row["seed_rates"].split()]
        assert rates == pytest.approx(
            by_seed[row["family"], row["regime"], row["reward"], row["verifier"], ""]
        )


def test_comparators_of_the_main_table() -> None:
    found = {key[:3]: of for key, of in cells(runs("main_table")).items()}
    wrong, shown = [], []
    for row in table("main-table-comparators"):
        key, other = (row["family"], row["regime"], row["reward"]), row["comparator"]
        against = [run.against[other] for run in found[key] if other in run.against]
        policy = percent(point for points, _ in against for point in points)
        start = percent(point for _, points in against for point in points)
        expected: Numbers = {
            "policy_rate": policy,
            "start_rate": start,
            "gain": policy - start,
            "runs": len(against),
        }
        wrong += [(key, other, text) for text in differences(row, expected)]
        shown.append((*key, other))
    assert wrong == []
    others = {(*key, other) for key, of in found.items() for run in of for other in run.against}
    assert sorted(shown) == sorted(
        place for place in others if place[-1] != "cut start"
    )  # it has columns above


def group_of(fact: str, generator: set[str], verifier: set[str]) -> str:
    """Who has a fact wrong."""
    if fact in generator:
        return "blind spots of both" if fact in verifier else "generator's alone"
    return "verifier's alone" if fact in verifier else "of neither"


def measured(topic: str, measure: str, side: str, run: Run) -> list[float]:
    """The values behind a row of the table of faults, of one run."""
    if topic == "fault":
        return [100.0 * (fault == measure) for fault in run.faults[side]]
    if topic == "kind":
        return [q for q, kind in zip(run.quality[side], run.kinds, strict=True) if kind == measure]
    if run.spots is None:
        return []
    return [
        100.0 * right
        for (_, fact), right in run.facts[side].items()
        if group_of(fact, **run.spots) == measure
    ]


def faults_of(of: list[Run], topic: str, measure: str) -> Numbers:
    values = {side: [value for run in of for value in measured(topic, measure, side, run)] for side in SIDES}
    means: Numbers = {side: fmean(found) if found else nan for side, found in values.items()}
    change = fmean(values["policy"]) - fmean(values["start"]) if values["start"] else nan
    counts = {"values": len(values["policy"]), "families": len({run.family for run in of}), "runs": len(of)}
    return means | counts | {"difference": change}


def test_faults() -> None:
    found = cells(runs("main_table")) | cells(runs("main_table"), families=False)
    methods = defaultdict(list)
    for row in table("faults"):
        methods[row["family"], row["regime"], row["reward"], row["method"]].append(row)
    open_cells = set(found)
    for key, rows in methods.items():
        wrong = {
            cell: [
                d
                for row in rows
                for d in differences(row, faults_of(found[cell], row["topic"], row["measure"]))
            ]
            for cell in open_cells
            if cell[:3] == key[:3]
        }
        right = [cell for cell, texts in wrong.items() if not texts]
        assert len(right) == 1, (key, {cell: texts[:4] for cell, texts in wrong.items()})
        made = {fault for run in found[right[0]] for side in SIDES for fault in run.faults[side]}
        assert {("fault", fault) for fault in made} <= {(row["topic"], row["measure"]) for row in rows}
        open_cells.remove(right[0])
    assert not open_cells


OTHER = {"qwen": "gemma", "llama": "gemma", "olmo": "gemma", "gemma": "llama"}
"""The verifier of another family, by family of the generator."""
GROUPS = {
    "right_generator": ("generator's alone",),
    "right_verifier": ("verifier's alone",),
    "right_shared": ("blind spots of both",),
    "right_rest": ("of neither",),
    "right_all": ("generator's alone", "verifier's alone", "blind spots of both", "of neither"),
}
Unit = tuple[str, int]


def arm(run: Run) -> str:
    """What a policy was trained with."""
    if run.reward != "cme":
        return run.reward
    if run.verifier == "ensemble":
        return f"ensemble {run.ensemble}"
    return {run.family: "same", OTHER[run.family]: "other"}.get(run.verifier, run.verifier)


@cache
def shares() -> dict[str, dict[Unit, dict[str, float]]]:
    """Share of facts that are right by arm, family and build, and group: the mean over seeds.

    A group is defined by the false beliefs of the generator's family and of the other verifier's, whatever the arm.
    """
    beliefs = {run.family: run.spots for run in runs("independence") if arm(run) == "other"}
    by_seed = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for run in runs("independence"):
        for name, side in ((arm(run), "policy"), ("untrained", "start")):
            for column, groups in GROUPS.items():
                known = [
                    right
                    for (_, fact), right in run.facts[side].items()
                    if group_of(fact, **beliefs[run.family]) in groups
                ]
                if known:
                    by_seed[name][run.family, run.build][column].append(fmean(known))
    return {
        name: {unit: {c: fmean(v) for c, v in columns.items()} for unit, columns in units.items()}
        for name, units in by_seed.items()
    }


def own_quality(of: list[Run]) -> float | None:
    """True quality of the verifier's own responses: the mean over builds."""
    builds = {run.build: fmean(run.own_quality) for run in of if run.own_quality is not None}
    return fmean(builds.values()) if builds else None


@pytest.mark.parametrize("name", ["independence", "verifier_sweep"])
def test_verifiers(name: str) -> None:
    expected = {}
    for key, of in cells(runs(name)).items():
        numbers = expected[key] = win_rates(of) | {"own_quality": own_quality(of)}
        if name == "independence":
            units = shares()[arm(of[0])].values()
            for column in GROUPS:
                known = [unit[column] for unit in units if column in unit]
                numbers[column] = fmean(known) if known else None
    pair_up(table(name.replace("_", "-")), expected)


def interval(values: list[float]) -> str:
    """The mean with its t interval, as the tables print it."""
    mean = fmean(values)
    half = stats.t.ppf(0.975, len(values) - 1) * stdev(values) / sqrt(len(values))
    return f"{mean:+.3f} [{mean - half:.3f}, {mean + half:.3f}]"


def test_the_tests_of_independence() -> None:
    page = (TABLES / "miniature-independence.md").read_text().splitlines()
    units = sorted(shares()["other"])
    assert len(units) == 8

    def differences(one: str, other: str, column: str) -> list[float]:
        return [shares()[one][unit][column] - shares()[other][unit][column] for unit in units]

    main, rest = (differences("other", "same", f"right_{group}") for group in ("generator", "rest"))
    expected = {
        "main test": main,
        "independence or quality": [a - b for a, b in zip(main, rest, strict=True)],
        "exchange of errors": differences("other", "untrained", "right_verifier"),
        "net of the exchange": differences("other", "same", "right_all"),
    }
    for name, values in expected.items():
        [row] = [line for line in page if line.startswith(f"| {name} ")]
        assert interval(values) in row.replace("*", "")
