"""Measures of the benchmarks against figures computed by hand, and the length-controlled rate against alpaca-eval."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from csv_columns import undocumented

from analysis.__main__ import main
from analysis.stats import length_controlled
from analysis.stats.benchmarks import MEASURES
from analysis.stats.intervals import bootstrap_interval
from analysis.stats.length_controlled import FILE, VARIABLE, NotAtHand
from analysis.tables.cells import build_cells
from analysis.tables.judging.benchmarks import benchmark_cells, benchmark_frame, benchmark_table
from cme.records import Generation, Outcome, Pair, RunRecord, Verdict, write_record

MakeRecord = Callable[..., RunRecord]


def game(prompt: str, start: float | None, policy: float | None, policy_first: bool = True) -> Verdict:
    """A verdict with the scores of both models."""
    if start is None or policy is None:
        return Verdict(prompt, policy_first, "unscored", "no label")
    first, second = (policy, start) if policy_first else (start, policy)
    outcome: Outcome = "tie" if first == second else "first" if first > second else "second"
    return Verdict(prompt, policy_first, outcome, scores=(first, second))


def both(prompt: str, start: float, policy: float) -> list[Verdict]:
    return [game(prompt, start, policy), game(prompt, start, policy, policy_first=False)]


def rows(make_record: MakeRecord, *runs: list[Verdict], judge: str) -> pd.DataFrame:
    records = [
        make_record(judge=judge, verdicts=verdicts, seed=n, reward="random")
        for n, verdicts in enumerate(runs)
    ]
    return benchmark_frame(benchmark_cells(records, build_cells(records)))


def test_arena_hard_by_hand(make_record: MakeRecord) -> None:
    """Per run, the policy's share of all points; a pair without a label in one order has none."""
    half = [game("c", 0.0, 3.0), game("c", None, None, policy_first=False)]
    first = [*both("a", 0.0, 3.0), *both("b", 1.0, 0.0), *half]
    second = [*both("a", 0.5, 0.5), *both("b", 0.0, 1.0)]
    [row] = rows(make_record, first, second, judge="arena_hard").to_dict("records")
    assert row["value"] == pytest.approx(100 * (6 / 8 + 3 / 4) / 2)
    assert (row["measure"], row["seeds"], row["prompts"]) == ("Arena-Hard score (%)", 2, 2)


def test_wildbench_by_hand(make_record: MakeRecord) -> None:
    rewards = [*both("a", -1.0, 1.0), *both("b", 0.5, -0.5), *both("c", 0.0, 0.0)]
    [row] = rows(make_record, rewards, judge="wildbench").to_dict("records")
    assert row["value"] == pytest.approx(100 * (1 - 0.5 + 0) / 3)
    grades = [*both("a", 3.0, 8.0), *both("b", 9.0, 4.0)]
    [row] = rows(make_record, grades, judge="wildbench_score").to_dict("records")
    assert row["value"] == pytest.approx(10 * ((8 - 5) * 2 + (4 - 5) * 2) / 2)


def test_the_interval_is_over_prompts_with_all_seeds_of_a_prompt_together() -> None:
    rng = np.random.default_rng(0)
    points = rng.choice([0.0, 0.5, 1.0, 3.0], size=(2, 12, 2)) + 0.1  # runs, prompts, (start, policy)
    frame = pd.DataFrame(
        [(f"r{r}", f"p{p:02}", *points[r, p]) for r in range(2) for p in range(12)],
        columns=["run_id", "prompt_id", "score_start", "score_policy"],
    )

    def slowly(counts: np.ndarray) -> np.ndarray:
        drawn = [[np.repeat(run, row, axis=0).sum(axis=0) for run in points] for row in counts.astype(int)]
        return np.array([np.mean([100 * own / (start + own) for start, own in runs]) for runs in drawn])

    value, lo, hi = MEASURES["arena_hard"].estimate(frame)
    assert (lo, hi) == pytest.approx(bootstrap_interval(12, slowly)) and lo < value < hi


def test_other_judges_have_no_measure_and_a_panels_member_has(make_record: MakeRecord) -> None:
    assert rows(make_record, both("a", 0.0, 1.0), judge="oracle").empty
    member = [
        Verdict(v.prompt_id, v.policy_first, v.outcome, scores=v.scores, judge="arena_hard")
        for v in both("a", 0, 3)
    ]
    found = rows(make_record, member, judge="panel")
    assert list(found["judge"]) == ["panel: arena_hard"] and list(found["value"]) == [100.0]


def alpaca(make_record: MakeRecord, seed: int = 0, prefix: str = "alpaca_eval-", n: int = 60) -> RunRecord:
    """A run judged by alpaca-eval's annotator, which likes length; the two orders differ by 0.1."""
    rng = np.random.default_rng(seed)
    pairs, verdicts = [], []
    for i in range(n):
        lengths = rng.integers(5, 200, 2)
        start, policy = (
            Generation(letter * int(k), True, 9) for letter, k in zip("sp", lengths, strict=True)
        )
        pairs.append(Pair(f"{prefix}{i}", f"q{i}", None, start, policy))
        likes = float(1 / (1 + np.exp(-0.4 - (lengths[1] - lengths[0]) / 80)))
        for policy_first, p in ((True, min(1.0, likes + 0.05)), (False, max(0.0, likes - 0.05))):
            verdicts.append(game(pairs[-1].prompt_id, 1 - p, p, policy_first))
    record = make_record(
        judge="alpaca_eval", verdicts=verdicts, seed=seed, reward="random", run_id=f"r{seed}"
    )
    return replace(record, pairs=pairs)


@pytest.fixture
def gamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small stand-in of the hub's file: two manipulated baselines on 60 instructions."""
    rng = np.random.default_rng(5)
    difficulty = rng.normal(size=60)
    frame = pd.DataFrame(
        {
            "model": ["short"] * 60 + ["long"] * 60,
            "index": [*range(60)] * 2,
            "preference": rng.uniform(0, 1, 120),
            "std_delta_len": rng.normal(size=120),
            "instruction_difficulty": [*difficulty] * 2,
            "not_gamed_baseline": False,
        }
    )
    frame.to_csv(tmp_path / FILE, index=False)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path / FILE


BY_HAND = """
import json, sys, warnings
warnings.simplefilter("ignore")
import pandas as pd
from alpaca_eval.metrics import glm_winrate
glm_winrate.hf_hub_download = lambda **_: sys.argv[1]
rows = json.load(sys.stdin)
rates = [glm_winrate.get_length_controlled_winrate(pd.DataFrame(r), save_weights_dir=None) for r in rows]
print(json.dumps([[r["length_controlled_winrate"], r["win_rate"]] for r in rates]))
"""


def test_the_length_controlled_rate_is_that_of_alpaca_eval(make_record: MakeRecord, gamed: Path) -> None:
    pytest.importorskip("alpaca_eval")
    runs = [alpaca(make_record, seed) for seed in (0, 1)]
    annotations = [
        [
            {
                "index": i,
                "output_1": pair.start.response,
                "output_2": pair.policy.response,
                "generator_1": "start",
                "generator_2": "policy",
                "annotator": "x",
                "preference": 1 + (run.verdicts[2 * i].scores[0] + run.verdicts[2 * i + 1].scores[1]) / 2,  # type: ignore[index]
            }
            for i, pair in enumerate(run.pairs)
        ]
        for run in runs
    ]
    command = [sys.executable, "-c", BY_HAND, str(gamed)]
    child = subprocess.run(command, input=json.dumps(annotations), capture_output=True, text=True, check=True)
    expected = np.array(json.loads(child.stdout.splitlines()[-1]))
    frame = benchmark_frame(benchmark_cells(runs, build_cells(runs))).set_index("measure")
    theirs = frame.loc["length-controlled win rate, alpaca-eval's (%)"]
    assert theirs["value"] == pytest.approx(expected[:, 0].mean()) and isnan(theirs["lo"])
    assert frame.loc["AlpacaEval 2 win rate (%)", "value"] == pytest.approx(expected[:, 1].mean())
    ours = frame.loc["win rate at equal length, ours (%)"]
    assert ours["lo"] < ours["value"] < ours["hi"]
    assert abs(expected[0, 0] - expected[0, 1]) > 1  # the control changes the rate


def test_what_is_not_at_hand_is_named(
    make_record: MakeRecord, gamed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def notes(run: RunRecord) -> str:
        return " ".join(benchmark_table(benchmark_cells([run], build_cells([run]))).notes)

    monkeypatch.setattr(length_controlled, "find_spec", lambda name: name)
    for prefix in ("row-", "alpaca_eval-9999999999999999999"):
        assert "n/a: the prompts are not AlpacaEval's" in notes(alpaca(make_record, prefix=prefix))
    with monkeypatch.context() as killed:  # as one that the kernel kills, it says nothing
        killed.setattr(length_controlled.sys, "executable", "false")
        assert "n/a: alpaca-eval failed: it ended with 1." in notes(alpaca(make_record, seed=7))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "empty"))
    assert f"n/a: {VARIABLE}={tmp_path / 'empty'} has no {FILE}." in notes(alpaca(make_record))
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    assert f"n/a: {FILE} is not in the hub's local cache" in notes(alpaca(make_record))
    monkeypatch.setattr(length_controlled, "find_spec", lambda name: None)
    assert "n/a: the package alpaca-eval is not installed" in notes(alpaca(make_record))


def test_responses_that_all_differ_in_length_alike_have_no_rate() -> None:
    rows = [(f"alpaca_eval-{i}", "ab", "cde", 0.5) for i in range(3)]
    columns = ["prompt_id", "start_response", "policy_response", "score_policy"]
    with pytest.raises(NotAtHand, match="differ in length by the same number"):
        length_controlled.length_controlled([pd.DataFrame(rows, columns=columns)])


@pytest.mark.usefixtures("undrawn")
def test_the_report_and_the_command_have_the_measures(
    make_record: MakeRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts = [each for i in range(4) for each in both(f"p{i}", 0.0, 3.0)]
    write_record(tmp_path / "run" / "record.json", make_record(judge="arena_hard", verdicts=verdicts))
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert "Arena-Hard score (%)" in capsys.readouterr().out
    assert '<section id="benchmarks">' in (tmp_path / "out" / "report.html").read_text()
    assert undocumented([tmp_path / "out" / "tables" / "miniature-benchmarks.csv"]) == []
