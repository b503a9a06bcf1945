"""The page: every claim, scales apart, what is missing said, and the published tables with files that exist."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_records import sanity_record

from analysis.__main__ import main
from analysis.claims.claim_list import all_claims
from analysis.claims.counterparts import COUNTERPARTS, counterpart_table
from analysis.claims.reproduction import claim_verdicts, reproduction, write_reproduction
from analysis.records.published import FOLDER
from analysis.records.read import Records
from cme.records import write_record

CONF = Path(__file__).resolve().parents[3] / "conf" / "experiment"


def records(*runs: Any) -> Records:
    return Records(list(runs), [], [], [], [])


def test_without_runs_each_claim_says_which_experiment_has_none(tmp_path: Path) -> None:
    text = reproduction(records(), tmp_path)
    for number, claim in enumerate(all_claims(), 1):
        assert f"### {number}. {claim.name[0].upper()}{claim.name[1:]}\n" in text
    verdicts = claim_verdicts(records(), all_claims())
    assert {found.verdict for found in verdicts} == {"not testable here"}
    assert len(verdicts) == len(all_claims())


def test_verdicts_name_their_scale_and_judge(make_record: Any, make_verdict: Any, tmp_path: Path) -> None:
    verdicts = [make_verdict(i, 1 if i < 20 else 0) for i in range(100)]
    run = make_record(reward="majority_vote", verdicts=verdicts, experiment="rewards")
    laptop = make_record(
        reward="majority_vote", experiment="rewards", scale="laptop", judge="reference_similarity"
    )
    text = reproduction(records(run, replace(laptop, run_id="other")), tmp_path)
    [row] = [line for line in text.splitlines() if "majority vote fails" in line and "| miniature" in line]
    assert (
        "reproduced at miniature scale" in row and "1 of 1; 20.0 [" in row and "100 prompts, 1 seed " in row
    )
    assert "At miniature scale (oracle judge): **reproduced**." in text
    assert "At laptop scale (reference_similarity judge): **" in text
    assert text == reproduction(records(run, replace(laptop, run_id="other")), tmp_path)


@pytest.mark.parametrize(("won", "verdict"), [(1.0, "not testable here"), (0.0, "reproduced")])
def test_a_judge_that_fails_its_sanity_check_decides_nothing(
    make_record: Any, make_verdict: Any, won: float, verdict: str
) -> None:
    verdicts = [make_verdict(i, 1 if i < 20 else 0) for i in range(100)]
    run = make_record(
        reward="majority_vote", verdicts=verdicts, experiment="rewards", scale="laptop", judge="strict"
    )
    claims = [claim for claim in all_claims() if claim.name == "majority vote fails"]
    [found] = claim_verdicts(Records([run], [], [sanity_record(copied=won)], [], []), claims)
    assert found.result.verdict == verdict
    assert ("Judge strict fails its sanity check against copied" in found.result.reason) == bool(won)


def test_claims_are_about_experiments_that_there_are() -> None:
    named = {name for claim in all_claims() for name in claim.experiments}
    assert named <= {path.stem for path in CONF.glob("*.yaml")}


def test_every_published_file_and_experiment_is_in_the_list() -> None:
    numbers = " ".join(numbers for numbers, _, _ in COUNTERPARTS.values())
    assert all(path.name in numbers for path in FOLDER.glob("*.csv") if path.name != "sources.csv")
    made_by = " ".join(command for _, command, _ in COUNTERPARTS.values())
    trained = {path.stem for path in CONF.glob("*.yaml")} - {"none", "reference", "tuning"}
    assert [name for name in sorted(trained) if name not in made_by] == []


def test_the_list_names_the_files_that_there_are(tmp_path: Path) -> None:
    for name in ("tables/miniature-verifier-sweep.md", "tables/miniature-verifier-sweep-math.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files = {row[0].text: row[3].text for [group] in [counterpart_table(tmp_path).groups] for row in group}
    assert files["verifier sweep, quality"] == "tables/miniature-verifier-sweep.md"
    assert files["verifier sweep, mathematics"] == "tables/miniature-verifier-sweep-math.md"
    assert files["ablation: KL weight"] == "none yet"
    assert files["baselines' own settings"] == "-"


def test_the_command_writes_the_page_beside_the_report(
    make_record: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(tmp_path / "record.json", make_record(experiment="main_table"))
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    page = tmp_path / "out" / "reproduction.md"
    assert str(page) in capsys.readouterr().out
    text = page.read_text()
    assert (tmp_path / "out" / "report.html").exists()
    assert "figures/win-rates-miniature-oracle.png" in text and "tables/miniature.md" in text


def test_writing_makes_its_folder(tmp_path: Path) -> None:
    assert write_reproduction(records(), tmp_path / "new").read_text().startswith("# Reproduction")
