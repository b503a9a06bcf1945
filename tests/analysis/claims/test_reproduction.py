"""The page: every claim, scales apart, what is missing said, and the published tables with files that exist."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint
from synthetic_records import sanity_record

from analysis.claims.claim import ClaimVerdict, claim_numbers, claim_verdicts
from analysis.claims.claim_list import all_claims
from analysis.claims.reproduction import (
    COUNTERPARTS,
    baselines_table,
    counterpart_table,
    reproduction,
)
from analysis.experiments import EXPERIMENTS
from analysis.records.published import FOLDER
from analysis.records.read import Records
from cme.records import ExperimentRecord, RunRecord

CONF = Path(__file__).resolve().parents[3] / "conf" / "experiment"


def records(*runs: Any) -> Records:
    return Records(list(runs), [], [], [], [])


def test_without_runs_each_claim_says_which_experiment_has_none(tmp_path: Path) -> None:
    text, numbers = reproduction(records(), tmp_path), claim_numbers(all_claims())
    for name, number in numbers.items():
        assert f"### {number}. {name[0].upper()}{name[1:]}\n" in text
    parts = ("better than self-reference", "better than DPO", "better than SFT", "better than reverse KL")
    assert [numbers[name] for name in parts] == ["7", "8a", "8b", "9"]  # parts of a claim share its number
    verdicts = claim_verdicts(records(), all_claims())
    assert {found.verdict for found in verdicts if found.scale != "released"} == {"not testable here"}
    assert len(verdicts) == len(all_claims())


def test_verdicts_name_their_scale_and_judge(make_record: Any, make_verdict: Any, tmp_path: Path) -> None:
    verdicts = [make_verdict(i, 1 if i < 80 else 0) for i in range(100)]
    run = make_record(verifier="random", verdicts=verdicts, experiment="verifier_sweep")
    laptop = make_record(
        verifier="random", experiment="verifier_sweep", scale="laptop", judge="reference_similarity"
    )
    text = reproduction(records(run, replace(laptop, run_id="other")), tmp_path)
    [row] = [line for line in text.splitlines() if "random-weight verifier" in line and "| miniature" in line]
    assert (
        "reproduced at miniature scale" in row and "1 of 1; 80.0 [" in row and "100 prompts, 1 seed " in row
    )
    assert "At miniature scale (oracle judge): **reproduced**." in text
    assert "At laptop scale (reference similarity judge): **" in text
    assert "- The claim is existential: it is about at least one comparison." in text
    assert text == reproduction(records(run, replace(laptop, run_id="other")), tmp_path)


def test_a_judge_that_fails_its_sanity_check_decides_nothing(make_record: Any, make_verdict: Any) -> None:
    def run(judge: str, wins: int) -> RunRecord:
        verdicts = [make_verdict(i, float(i < wins)) for i in range(100)]
        fields = {"verifier": "random", "experiment": "verifier_sweep", "scale": "laptop"}
        return make_record(run_id=judge, verdicts=verdicts, judge=judge, **fields)

    def verdict(copied: float, *runs: RunRecord) -> ClaimVerdict:
        claims = [claim for claim in all_claims() if claim.name == "random-weight verifier"]
        [found] = claim_verdicts(Records([*runs], [], [sanity_record(copied=copied)], [], []), claims)
        return found

    strict, other = run("strict", 80), run("other", 20)
    alone = verdict(1.0, strict)
    assert alone.result.verdict == "not testable here"
    assert "Judge strict fails its sanity check against copied" in alone.result.reason
    passes = verdict(0.0, strict).result
    assert passes.verdict == "reproduced" and "The judge is not validated" in passes.reason
    both = verdict(1.0, strict, other)
    assert [part.value for part in both.result.parts] == [20]
    assert (both.result.verdict, both.judges) == ("not reproduced", "other judge")
    assert "Runs judged by strict are left out" in both.result.reason


def test_the_released_evaluation_is_judged_by_its_counts() -> None:
    """By the published counts: 89 won, 83 lost and 28 tied of 200; 998 of 1,868 for the response shown first."""
    verdicts = {v.claim.name: v for v in claim_verdicts(records(), all_claims()) if v.scale == "released"}
    assert set(verdicts) == {"failed calls as ties", "position", "no interval"}
    assert {v.verdict for v in verdicts.values()} == {"reproduced in the released evaluation"}
    close = verdicts["no interval"].result.parts[1]
    assert close.value == pytest.approx(100 * (89 + 14) / 200) and close.lo < 50 < close.hi
    [position] = verdicts["position"].result.parts
    lo, hi = proportion_confint(998, 1868, method="wilson")
    assert (position.lo, position.hi) == pytest.approx((100 * lo, 100 * hi), abs=0.02)


def test_imported_evaluations_are_evidence_on_the_released_one(make_record: Any, make_verdict: Any) -> None:
    """One order per pair; the response shown first wins 90 of 100, and 20 calls failed."""

    def points(i: int) -> float | None:
        first = i % 2 == 0
        return None if i >= 100 else float(first if i < 90 else not first)

    verdicts = [make_verdict(i, points(i), i % 2 == 0) for i in range(120)]
    run = make_record(scale="imported", reward="imported", judge="gpt", verdicts=verdicts)
    found = {v.claim.name: v for v in claim_verdicts(records(run), all_claims()) if v.scale == "imported"}
    assert set(found) == {"failed calls as ties", "position", "no interval"}
    assert found["position"].verdict == "reproduced in imported evaluations"
    [share] = found["position"].result.parts
    assert share.value == 90
    assert found["no interval"].result.parts == ()  # the win rate is 50 %


def test_shared_baselines_count_experiments_and_seeds(make_record: Any) -> None:
    made = [
        replace(make_record(seed=seed, config={"seed": seed}), run_id=f"shared-{seed}") for seed in range(3)
    ]
    other = replace(make_record(reward="dpo"), run_id="dpo")
    plans = [
        ExperimentRecord("main_table", "miniature", ["shared-0", "shared-1", "shared-2"]),
        ExperimentRecord("rewards", "miniature", ["shared-0", "shared-1", "dpo"]),
    ]
    loaded = Records([*made, other], [], [], plans, [])
    [[row]] = baselines_table(loaded).groups
    assert [entry.text for entry in row[-3:]] == ["2", "main_table, rewards", "3"]
    assert row[-1].bold  # five are wanted


def test_every_published_file_and_experiment_is_in_the_list() -> None:
    listed = pd.read_csv(COUNTERPARTS, keep_default_na=False)
    numbers, made_by = " ".join(listed["numbers"]), " ".join(listed["made_by"])
    assert all(path.name in numbers for path in FOLDER.glob("*.csv") if path.name != "sources.csv")
    claimed = {name for claim in all_claims() for name in claim.experiments} - {"imported"}
    names = {*EXPERIMENTS, "judge_sanity", "separation"}
    assert names | claimed <= {path.stem for path in CONF.glob("*.yaml")}
    assert [name for name in sorted(names) if name not in made_by] == []


def test_the_list_names_the_files_that_there_are(tmp_path: Path) -> None:
    for name in ("tables/miniature-verifier-sweep.md", "tables/miniature-verifier-sweep-math.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files = {row[0].text: row[3].text for [group] in [counterpart_table(tmp_path).groups] for row in group}
    assert files["verifier sweep, quality"] == "tables/miniature-verifier-sweep.md"
    assert files["verifier sweep, mathematics"] == "tables/miniature-verifier-sweep-math.md"
    assert files["ablation: KL weight"] == "none yet"
    assert files["baselines' own settings"] == "-"
