"""Frames of records: values by hand, columns as documented, and the notebook's figure as in the committed table."""

import json
import re
from base64 import b64decode
from dataclasses import replace
from math import isnan

import pandas as pd
import pytest
from notebook import code_cells, execute
from paths import ROOT

import analysis
from analysis.records.frames import Frames, verdicts_frame
from cme.records import Accuracy, FurtherJudge, Generation, Grade, Grades, Pair, Verdict

PAGE, NOTEBOOK = ROOT / "docs" / "frames.md", ROOT / "docs" / "frames.ipynb"
LAPTOP = ROOT / "results" / "reference" / "laptop"


@pytest.mark.parametrize(
    ("policy_first", "outcome", "points"),
    [(True, "first", 1), (False, "first", 0), (True, "tie", 0.5), (False, "unscored", None)],
)
def test_points_and_scores_are_those_of_the_policy(make_record, policy_first, outcome, points):
    reason = "no reply" if outcome == "unscored" else None
    verdict = Verdict("p", policy_first, outcome, reason, scores=(0.9, 0.1))
    row = verdicts_frame([make_record(verdicts=[verdict])]).iloc[0]
    assert isnan(row["points"]) if points is None else row["points"] == points
    assert (row["score_policy"], row["score_start"]) == ((0.9, 0.1) if policy_first else (0.1, 0.9))


def test_a_pair_has_both_responses_and_what_is_known_of_them(make_record):
    half = "\ud83d"  # of a surrogate pair
    pairs = [
        Pair("a", "1+1?", "It is 2.", Generation("3", True, 1, 2.5), Generation("2", False, 4, 1.5), "2"),
        Pair("b", "hm?", None, Generation("", None, None), Generation(half, True, 1)),
    ]
    levels = {"start": 0.25, "cut_start": 0.0, "policy": 1.0}
    grades = {side: [Grade(level, f"{side} fault", {})] * 2 for side, level in levels.items()}
    run = replace(make_record(judge="local", verdicts=[]), pairs=pairs, grades=Grades(**grades))
    run = replace(run, accuracy=Accuracy([False, None], [True, None]))
    frame = analysis.frames([run]).pairs
    first, second = frame.to_dict("records")
    place = {"run_id": run.run_id, "method": "CME", "prompt_id": "a"}
    texts = {"prompt": "1+1?", "reference": "It is 2.", "answer": "2"}
    assert first.items() >= (place | texts).items()
    for side, values in {"start": ("3", 1, True, 2.5, False), "policy": ("2", 4, False, 1.5, True)}.items():
        fields = ("response", "tokens", "finished", "surprisal", "correct")
        assert tuple(first[f"{side}_{field}"] for field in fields) == values
    assert {side: first[f"{side}_quality"] for side in levels} == levels
    assert [second[f"{side}_fault"] for side in levels] == [f"{side} fault" for side in levels]
    assert second["policy_response"] == half
    unknown = ["reference", "answer", "start_tokens", "start_finished", "start_surprisal", "policy_correct"]
    assert frame.loc[1, unknown].isna().all()
    assert frame["policy_correct"].mean() == 1, "undecided answers are left out of a mean"


def test_older_records_have_their_quality_from_a_judge_that_knows_it(make_record):
    verdicts = [
        Verdict("p", False, "second", scores=(0.2, 0.7)),
        Verdict("p", True, "first", scores=(0.7, 0.2)),
    ]
    known, unknown = (Frames([make_record(judge=j, verdicts=verdicts)]).pairs for j in ("oracle", "local"))
    assert known[["start_quality", "policy_quality"]].to_numpy().tolist() == [[0.2, 0.7]]
    assert unknown["start_quality"].isna().all()


def test_every_judge_has_rows_and_orders_can_be_split(make_record, make_verdict):
    both = replace(make_verdict("p", 1), orders=((0.9, 0.1), (0.6, 0.4)))
    panel = [
        replace(make_verdict("p", points, False), judge=name) for name, points in (("a", 1), ("b", None))
    ]
    run = make_record(judge="panel", verdicts=panel, further_judges=[FurtherJudge("local", {}, [both], 1.0)])
    frame = analysis.frames([run]).verdicts.set_index("judge")
    assert frame["order"].to_dict() == {
        **dict.fromkeys(("panel: a", "panel: b", "panel: majority"), "start first"),
        "local": "both",
    }
    assert frame["panel"].dropna().tolist() == ["panel"] * 3 and isnan(frame.loc["panel: b", "points"])
    assert frame.loc["panel: b", "reason"] == "the judge did not answer"
    split = verdicts_frame([run], by_order=True)
    assert split.loc[split["judge"] == "local", "order"].tolist() == ["policy first", "start first"]
    assert split.loc[split["judge"] == "local", "points"].tolist() == [1, 0]


def test_runs_say_how_they_ended_and_no_runs_have_the_same_columns(make_record):
    run = make_record(stopped="too long", generator_checkpoint="miniature:qwen-2/sft", steps=7)
    found = analysis.frames([run])
    [row] = found.runs.to_dict("records")
    assert (row["build"], row["steps"], row["stopped"]) == (2, 7, "too long")
    assert (row["pairs"], row["verdicts"]) == (24, 48) and pd.isna(row["untrained"])
    history = found.history
    assert set(history["reward"]) == {"cme"} and history["reward_value"].notna().all()
    assert list(history["step"]) == list(range(1, 8)) and history["entropy"].isna().all()
    for name in ("runs", "pairs", "verdicts", "history"):
        some, none = getattr(found, name), getattr(Frames([]), name)
        assert len(none) == 0 < len(some) and none.dtypes.to_dict() == some.dtypes.to_dict()


def documented_columns() -> dict[str, list[str]]:
    """The columns that each section of the page lists, in order."""
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    rows = {text.partition("\n")[0]: re.findall(r"^\| ([\w, ]+) \|", text, re.MULTILINE) for text in sections}
    return {title: ", ".join(found[1:]).split(", ") for title, found in rows.items()}


def test_the_columns_are_those_documented(make_record):
    found, documented = Frames([make_record()]), documented_columns()
    shared = documented.pop("Every frame")
    assert set(documented) == {"runs", "pairs", "verdicts", "history"}
    for name, columns in documented.items():
        assert set(shared + columns) == set(getattr(found, name).columns), name


def test_the_code_of_the_page_gives_the_pairs_of_the_records(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    variables: dict[str, pd.DataFrame] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, variables)
    pairs = [
        (record["run_id"], pair["prompt_id"], pair["policy"]["response"])
        for path in LAPTOP.glob("*.record.json")
        for record in [json.loads(path.read_text())]
        for pair in record["pairs"]
    ]
    frame = variables["pairs"][["run_id", "prompt_id", "policy_response"]]
    assert sorted(frame.itertuples(index=False, name=None)) == sorted(pairs)
    assert variables["fifths"]["count"].sum() == len(variables["verdicts"]) == 2 * len(pairs)


def test_the_notebook_runs_and_its_figure_has_the_accuracies_of_the_table():
    variables, figures = execute(NOTEBOOK)
    table = pd.read_csv(LAPTOP.parent / "analysis" / "tables" / "laptop-accuracy.csv").set_index("method")
    share = variables["share"]
    for side, column in (("before", "start_correct"), ("after", "policy_correct")):
        assert (share[column] / 100).to_dict() == pytest.approx(table[side].to_dict())
        assert any(list(line.get_xdata()) == share[column].tolist() for line in variables["axes"].lines)
    stored = [
        [b64decode(output["data"]["image/png"]) for output in cell["outputs"]]
        for cell in code_cells(json.loads(NOTEBOOK.read_text(encoding="utf-8")))
    ]
    sizes = [[[png[16:24] for png in images] for images in cells] for cells in (figures, stored)]
    advice = "run python tests/support/report/notebook.py docs/frames.ipynb"
    assert sizes[0] == sizes[1] and len(stored[1]) == 1, advice
