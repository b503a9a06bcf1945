"""`cme judge RUN`: another judge's verdicts stand in a run's record beside its own, and nothing else changes."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import length_judge
import pytest
from chat_stub import ChatStub
from length_judge import verdicts
from small_runs import Cell, composed, never

from analysis.records.read import load_runs
from analysis.tables.cells import build_cells
from cme.records import Generation, Pair, Verdict, read_record, write_record
from experiments.__main__ import main
from experiments.config.validation import BadConfig
from experiments.run import evaluation, judging, pipeline, preparation, training
from experiments.run.store import Store

PLAIN = ("reward=random", "tracker=none")


@pytest.fixture
def by_length(stub: ChatStub) -> list[str]:
    """A judge that prefers the longer response."""
    [judge, *settings] = length_judge.settings(stub, "judge.retries=0")
    return ["--judge", judge.removeprefix("judge="), *settings]


@pytest.fixture
def path(finished: Cell) -> Path:
    """The record of a run judged by the oracle."""
    return Store(composed(finished(*PLAIN))).record


def judge(*words: object) -> int:
    return main(["judge", *map(str, words)])


def further(path: Path) -> dict[str, list[Verdict]]:
    return {judge.name: judge.verdicts for judge in read_record(path).further_judges or []}


def test_its_verdicts_stand_beside_those_of_the_runs_judge(
    path: Path, by_length: list[str], stub: ChatStub, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    before = read_record(path)
    for module, name in ((training, "train_policy"), (evaluation, "generate"), (evaluation, "load")):
        monkeypatch.setattr(module, name, never)
    assert judge(before.run_id, *by_length, f"results_dir={path.parent.parent}") == 0
    after = read_record(path)
    assert further(path) == {"openai": verdicts(before.pairs)}
    assert replace(after, further_judges=None) == before
    won = [v.outcome != "tie" and (v.outcome == "first") == v.policy_first for v in verdicts(before.pairs)]
    tied = [v.outcome == "tie" for v in verdicts(before.pairs)]
    rate = 100 * (sum(won) + sum(tied) / 2) / len(won)
    assert f"openai: miniature: qwen pretrained Random: win rate {rate:.1f} %" in capsys.readouterr().out
    asked = len(stub.bodies)
    for name in (path, path.parent):  # its file and its folder are names of it too
        assert judge(name, *by_length) == 0
        assert "was judged by openai with these settings before: nothing to do" in capsys.readouterr().out
    assert len(stub.bodies) == asked and read_record(path) == after

    rates = {cell.judge: cell.win.rate for cell in build_cells(load_runs([path.parent]))}
    [own] = build_cells([before])
    assert rates == {"oracle": own.win.rate, "openai": pytest.approx(rate)}

    assert judge(path, "--judge", "oracle", "judge.name=exact") == 0
    assert further(path) == {"openai": verdicts(before.pairs), "exact": before.verdicts}


def test_what_is_unscored_or_was_interrupted_is_all_that_is_requested_again(
    path: Path, by_length: list[str], stub: ChatStub
) -> None:
    pairs = read_record(path).pairs
    stub.rates = {"server_error": 0.4}
    assert judge(path, *by_length) == 0
    scored = [v.outcome != "unscored" for v in further(path)["openai"]]
    assert 0 < scored.count(False) < 24
    stub.rates = {}
    assert judge(path, *by_length) == 0
    assert further(path) == {"openai": verdicts(pairs)}
    assert stub.answered.most_common(2)[1][1] == 1, "no pair is answered twice; the trial pair may be"
    write_record(
        path, replace(read_record(path), further_judges=None)
    )  # killed before the record was written
    asked = len(stub.bodies)
    assert judge(path, *by_length) == 0
    assert further(path) == {"openai": verdicts(pairs)} and len(stub.bodies) == asked


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "--judge", "local"], "nowhere is not a run: give the folder of a finished run, its record file"),
        (["{results}", "--judge", "local"], r"has no record\.json: give the folder of a finished run"),
        (["{empty}", "--judge", "local"], "has no responses"),
        (["{record}", "--judge", "lokal"], "judge=lokal is unknown; did you mean local"),
        (["{record}", "--judge", "reference_similarity"], "can judge none of the pairs of .*no reference answer"),
        (["{record}", "--judge", "local", "plan=true"], "plan=true: only settings .*; --dry-run prints calls"),
        (["{record}", "--judge", "local", "+judge.foo=1"], r"judge\.foo is not an argument of cme\.judges\.local"),
        (["{record}"], "--judge NAME"),
        (["{record}", "--judge", "local", "--start", "x.json"], "--start is for files of outputs"),
        (["--judge", "local"], "give a finished run, or two files of outputs"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_refused_in_one_sentence(
    path: Path, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_record(path)
    write_record(
        tmp_path / "empty.record.json", replace(record, pairs=[], verdicts=[], grades=None, comparisons=None)
    )
    places = {"results": path.parent.parent, "record": path, "empty": tmp_path / "empty.record.json"}
    written = path.read_bytes()
    try:
        code = judge(*(word.format(**places) for word in words))
    except SystemExit as refused:  # by the parser
        code = int(str(refused.code))
    assert code == 2
    assert re.search(said, capsys.readouterr().err)
    assert path.read_bytes() == written and not list(path.parent.glob("verdicts-*"))


def test_another_judge_needs_another_name(
    path: Path, by_length: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(path, "--judge", "oracle") == 0
    assert "was judged by oracle with these settings before: nothing to do" in capsys.readouterr().out
    assert judge(path, *by_length) == 0 and judge(path, *by_length, "judge.max_calls=99") == 0
    assert "nothing to do" in capsys.readouterr().out
    other = [*by_length, "judge.max_response_chars=9"]
    assert judge(path, *other) == 2
    said = capsys.readouterr().err
    assert "another judge called openai, with other settings (judge.max_response_chars)" in said
    assert "give this one a name of its own, such as judge.name=openai_2" in said
    assert judge(path, *other, "judge.name=openai_2") == 0
    record = read_record(path)
    assert sorted(further(path)) == ["openai", "openai_2"]
    [warning] = record.warnings
    assert warning.startswith("further judge openai_2: ") and "cut at judge.max_response_chars=9" in warning


def test_a_run_and_a_further_judge_do_not_judge_the_same_twice(
    path: Path, cell: Cell, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    exact = ("--judge", "oracle", "judge.name=exact")
    run = composed(cell(*PLAIN, "judge.name=exact"))
    twin = Store(run).record
    pipeline.run(run)
    assert judge(path, *exact) == 0
    assert f"{run.run_id} has the same responses and this judge's verdicts" in capsys.readouterr().out
    assert further(path) == {}
    shutil.move(twin.parent, tmp_path / "away")
    assert judge(path, *exact) == 0
    with pytest.raises(BadConfig, match=f"{read_record(path).run_id} has the verdicts of this judge"):
        preparation.prepare([run])


def test_further_judges_stay_when_the_run_goes_on(finished: Cell) -> None:
    words = (*PLAIN, "trainer.max_steps=3", "selection.every=1", "selection.prompts=6")
    path = Store(run := composed(finished(*words))).record
    assert judge(path, "--judge", "oracle", "judge.name=exact") == 0
    record = read_record(path)
    assert record.selected is not None and record.selected.verdicts is not None
    lost = [Verdict(v.prompt_id, v.policy_first, "unscored", "down") for v in record.selected.verdicts]
    write_record(path, replace(record, selected=replace(record.selected, verdicts=lost)))
    again = read_record(pipeline.run(run))
    assert again.selected == record.selected and again.further_judges == record.further_judges


@pytest.mark.parametrize("kind", ["arithmetic", "file"])
def test_the_judge_gets_the_data_of_the_run(path: Path, tmp_path: Path, kind: str) -> None:
    rows = [{"instruction": f"What is {n} and {n}?", "answer": str(2 * n)} for n in range(9)]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = {
        "arithmetic": ["data=arithmetic"],
        "file": ["data=file", f"data.path={tmp_path / 'mine.jsonl'}", "data.answers=number", "judge=correctness",
                 "judge@selection.judge=correctness"],
    }  # fmt: skip
    right, wrong = (Generation(f"It is {n}.", True, 4) for n in (8, 9))
    pairs = [Pair("a", "4 and 4?", None, wrong, right, "8"), Pair("b", "3 and 5?", None, right, right, "8")]
    record = replace(
        read_record(path), config=composed(words[kind]).settings, pairs=pairs, verdicts=[], grades=None,
        comparisons=None, verifier_responses=None, verifier_quality=None, judge="other",
    )  # fmt: skip
    file = tmp_path / "mine.record.json"
    write_record(file, record)
    assert judge(file, "--judge", "correctness") == 0
    found = {(v.prompt_id, v.policy_first): v.outcome for v in further(file)["correctness"]}
    assert found == {("a", True): "first", ("a", False): "second", ("b", True): "tie", ("b", False): "tie"}
    assert (tmp_path / "mine.verdicts-correctness.jsonl").exists()


def test_a_judge_that_fails_our_sanity_check_gives_no_verdict(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        judging,
        "collect_verdicts",
        lambda _, pairs, *__: [Verdict(p.prompt_id, True, "first") for p in pairs],
    )
    assert judge(path, "--judge", "local") == 0
    assert "no verdict: the judge fails its sanity check" in capsys.readouterr().out
