"""Reading records: nothing skipped silently, nothing counted twice."""

from dataclasses import replace

import pytest

from analysis.records.read import load_all, load_runs
from cme.records import write_record


def test_records_are_found_by_name_at_any_depth(tmp_path, make_record):
    write_record(tmp_path / "a" / "b" / "record.json", make_record(seed=1))
    write_record(tmp_path / "x.record.json", make_record(seed=0))
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "other.json").write_text("no record")
    assert [record.seed for record in load_runs([tmp_path, tmp_path / "a"])] == [0, 1]


def test_malformed_records_are_refused_by_name(tmp_path, make_record, make_verdict):
    record = make_record(verdicts=[make_verdict("p1", 1), make_verdict("p2", 1)])
    for changes, message in (
        ({"history": {"step": [1.0, 2.0], "reward": [0.0]}}, "history.reward has 1 entries for 2 steps"),
        ({"pairs": record.pairs[1:]}, "without a pair.*p1"),
        ({"pairs": [*record.pairs, record.pairs[1]]}, "several pairs have the prompt_id 'p2'"),
    ):
        write_record(tmp_path / "record.json", replace(record, **changes))
        with pytest.raises(ValueError, match=rf"record\.json.*{message}"):
            load_runs([tmp_path])
    (tmp_path / "record.json").write_text('{"schema": 1}')
    with pytest.raises(ValueError, match=r"record\.json"):
        load_runs([tmp_path])


@pytest.mark.parametrize("judge", [None, "one"])
def test_two_verdicts_of_one_judge_in_one_order_are_refused(tmp_path, make_record, make_verdict, judge):
    verdicts = [replace(make_verdict("p1", 1, order), judge=judge) for order in (True, False)]
    verdicts.append(replace(verdicts[0], judge="two"))
    write_record(tmp_path / "record.json", make_record(verdicts=verdicts))
    assert len(load_runs([tmp_path])[0].verdicts) == 3
    again = replace(make_verdict("p1", None), judge=judge)
    write_record(tmp_path / "record.json", make_record(verdicts=[*verdicts, again]))
    who = judge or "the judge"
    with pytest.raises(
        ValueError,
        match=rf"record\.json.*{who} has several verdicts on prompt_id 'p1' with policy_first=True",
    ):
        load_runs([tmp_path])


def test_equal_runs_are_not_pooled(tmp_path, make_record):
    """Two run ids do not make two runs; another seed, judge or setting does."""
    one = make_record()
    write_record(tmp_path / "a.record.json", one)
    others = [
        make_record(seed=1),
        make_record(judge="another"),
        replace(one, config={"trainer": {"beta": 0.1}}, run_id="another beta"),
    ]
    for number, other in enumerate(others):
        write_record(tmp_path / f"{number}.record.json", other)
    assert len(load_runs([tmp_path])) == 4
    for changed in ({"run_id": "copy"}, {"run_id": "copy", "experiment": "main_table"}):
        write_record(tmp_path / "copy.record.json", replace(one, **changed))
        with pytest.raises(ValueError, match=f"{one.run_id} and copy have the same settings, judge and seed"):
            load_runs([tmp_path])


def test_repeated_runs_and_missing_or_empty_directories_are_refused(tmp_path, make_record):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_runs([tmp_path / "nowhere"])
    assert load_runs([tmp_path]) == []
    with pytest.raises(ValueError, match="no file named"):
        load_all([tmp_path])
    for name in ("a", "b"):
        write_record(tmp_path / name / "record.json", make_record())
    with pytest.raises(ValueError, match="again"):
        load_runs([tmp_path])
