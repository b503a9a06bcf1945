"""Records: what is read equals what was written, files are written completely or not at all, bad files are named."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from math import isnan
from pathlib import Path
from typing import Any

import pytest

from cme.judges.pairwise import BadLog
from cme.records import (
    Accuracy,
    BadFile,
    Capability,
    CheckpointResult,
    Comparison,
    FurtherJudge,
    Generation,
    Grade,
    Grades,
    Pair,
    Progress,
    Prompt,
    RewardProbeRecord,
    RunRecord,
    RunState,
    SanityRecord,
    Selected,
    SeparationRecord,
    Trajectory,
    Verdict,
    points,
    read_json,
    read_record,
    record_files,
    scores,
    write_json,
    write_record,
)

RESPONSE = Generation("a", True, 1)
WIN = Verdict("e", True, "first", scores=(1.0, 0.0))
STRAY = Verdict("z", True, "tie")
GRADE = Grade(0.5, "none", {})
COMMON: dict[str, Any] = {
    "scale": "miniature", "family": "qwen", "regime": "sft", "seed": 0, "generator_checkpoint": "g",
    "config": {"a": [1]}, "environment": {"python": "3"},
}  # fmt: skip
RUN = RunRecord(
    run_id="run",
    reward="cme",
    verifier="gemma",
    judge="oracle",
    experiment=None,
    verifier_checkpoint="v",
    heldout_checkpoint=None,
    warnings=[],
    stopped=None,
    history={"step": [1.0], "loss": [None]},
    pairs=[Pair("e", "?", None, RESPONSE, RESPONSE, "7"), Pair("f", "?", None, RESPONSE, RESPONSE)],
    verdicts=[WIN, Verdict("f", False, "unscored", "down")],
    seconds={"train": 1e100},
    **COMMON,
)
FULL = replace(
    RUN,
    trajectory=Trajectory(
        "j", ["p", "q"], None, [CheckpointResult(5, [[1.0, None], [0.5]], [0.1, 0.2], {"down": 1})]
    ),
    selected=Selected(5, [RESPONSE, RESPONSE], [WIN]),
    capabilities=[Capability("t", "acc", 2, 0.5, None, 1.0, 0.0, [0.0, 1.0], None)],
    accuracy=Accuracy([True, None], [False, None], [True, None]),
    verifier_responses=[RESPONSE, RESPONSE],
    verifier_quality=[0.5, 1.0],
    comparisons=[
        Comparison("larger", "c", [RESPONSE, RESPONSE], [WIN], [WIN]),
        Comparison("other", "d", [RESPONSE, RESPONSE], []),
    ],
    further_judges=[FurtherJudge("local", {"judge.margin": 0.05}, [WIN], 1.5)],
)
PROBE = RewardProbeRecord(
    probe_id="probe",
    verifier="gemma",
    verifier_checkpoint="v",
    second_checkpoint=None,
    prompts=["a", "b"],
    values={"cme": {"empty": [None, -1e-7], "right": [-0.123456, 0.0]}},
    seconds=1.5,
    **COMMON,
)
SANITY = SanityRecord(
    sanity_id="s", judge="oracle", pairs={"cut": RUN.pairs}, verdicts={"cut": [WIN]}, seconds=1.5, **COMMON
)
SEPARATION = SeparationRecord(
    separation_id="s",
    verifier="gemma",
    data="tasks",
    verifier_checkpoint="v",
    prompts=[Prompt("p", "one and one?", "2")],
    left_out=1,
    samples=2,
    responses=[Generation("2", True, 2), Generation("späť 狐 🦊 \u2028 \x00", False, 3)],
    correct=[True, None],
    answered=[True, False],
    signals={"cross_entropy verifier response": [0.5, None]},
    cut={"generator": 0, "verifier": 1},
    seconds={"sample": 1.0, "score": 2.0},
    **COMMON,
)
STATE = RunState("failed", 2, 1.5, "no disk", "Traceback", comparators={"larger": "c"}, owner="process 1")
KINDS = [
    FULL,
    replace(FULL, selected=Selected(5, None, None)),
    PROBE,
    SANITY,
    SEPARATION,
    STATE,
    Progress("training", 3, 60, 0.25),
]


def test_a_prompt_occurs_once_among_the_pairs_of_an_opponent(tmp_path: Path) -> None:
    twice = replace(SANITY, pairs={"cut": [*RUN.pairs, RUN.pairs[0]]})
    write_record(tmp_path / "sanity.json", twice)
    with pytest.raises(ValueError, match=f"several pairs have the prompt_id {RUN.pairs[0].prompt_id!r}"):
        read_record(tmp_path / "sanity.json", SanityRecord)


@pytest.mark.parametrize("written", KINDS, ids=lambda record: type(record).__name__)
def test_every_kind_of_record_survives_a_round_trip(tmp_path: Path, written: Any) -> None:
    write_record(tmp_path / "file.json", written)
    record = read_record(tmp_path / "file.json", type(written))
    assert record == written
    if isinstance(record, RewardProbeRecord):
        assert list(record.values["cme"]) == ["empty", "right"], "grades keep their order"


def test_an_older_record_lacks_the_fields_that_came_later(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, RUN)
    later = {field.name for field in fields(RunRecord) if field.default is None}
    path.write_text(json.dumps({k: v for k, v in read_json(path).items() if k not in later}))
    assert read_record(path) == RUN


def without(key: str) -> Callable[[Any], Any]:
    return lambda raw: {k: v for k, v in raw.items() if k != key}


def setting(**fields: Any) -> Callable[[Any], Any]:
    return lambda raw: raw | fields


def in_first(field: str, key: str, value: Any) -> Callable[[Any], Any]:
    return lambda raw: raw | {field: [raw[field][0] | {key: value}, *raw[field][1:]]}


@pytest.mark.parametrize(
    ("record", "spoil", "named"),
    [
        (RUN, without("schema"), "schema"),
        *((kind, setting(schema=2), "schema is 2") for kind in (RUN, PROBE, SANITY, SEPARATION, STATE)),
        *((kind, setting(surprise=1), "surprise") for kind in KINDS),
        (RUN, lambda raw: [raw], ""),
        (RUN, without("seed"), "seed"),
        (RUN, setting(seed="1"), "seed"),
        (RUN, setting(pairs=[{"prompt_id": "a"}]), r"pairs\.0\.prompt"),
        (RUN, in_first("verdicts", "outcome", "third"), r"verdicts\.0\.outcome.*'third'"),
        (RUN, in_first("verdicts", "reason", "none"), r"verdicts\.0"),
        (RUN, in_first("verdicts", "scores", [1.0]), r"verdicts\.0\.scores"),
        (RUN, setting(history={"loss": ["high"]}), r"history\.loss\.0"),
        (PROBE, setting(prompts=["a"]), r"values\.cme\.empty has 2 entries for 1 prompts"),
        (PROBE, setting(values={"cme": [1.0]}), r"values\.cme"),
        (SANITY, setting(verdicts={}), "cut"),
        (SEPARATION, without("signals"), "signals"),
        (SEPARATION, setting(signals={"x": [0.5]}), r"signals\.x has 1"),
        (SEPARATION, setting(correct=[True]), "correct has 1"),
        (SEPARATION, setting(samples=3), "responses has 2"),
        (SEPARATION, setting(prompts=["p"]), r"prompts\.0"),
        (
            RUN,
            in_first("pairs", "start", {"response": "a", "finished": True, "tokens": -1}),
            r"start\.tokens",
        ),
        (RUN, setting(seed=-1), "seed"),
        (RUN, setting(verifier_quality=[-0.1, 0.5]), r"verifier_quality\.0"),
        (RUN, setting(config={"trainer": {"steps": [1, -(10**17)]}}), r"trainer\.steps\.1=-1000"),
        (RUN, setting(config={"data": 5}), r"config\.data is 5"),
        (RUN, setting(reward_judging={"calls": 5, "usd": -1.0}), r"reward_judging\.usd"),
        (STATE, setting(state="asleep"), "state"),
    ],
)
def test_a_malformed_record_is_refused_naming_file_and_field(
    tmp_path: Path, record: Any, spoil: Callable[[Any], Any], named: str
) -> None:
    path = tmp_path / "file.json"
    write_record(path, record)
    path.write_text(json.dumps(spoil(read_json(path))))
    with pytest.raises(BadFile, match=f"{path} .*{named}"):
        read_record(path, type(record))


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("trajectory.start_quality", Trajectory("j", ["p"], [0.1, 0.2], [])),
        (
            "trajectory.checkpoints.0.points",
            Trajectory("j", ["p"], None, [CheckpointResult(5, [], None, {})]),
        ),
        ("selected.responses", Selected(5, [RESPONSE], [])),
        ("accuracy.start", Accuracy([True], [True, None])),
        ("grades.cut_start", Grades([GRADE] * 2, [GRADE] * 2, [GRADE])),
        ("verifier_responses", [RESPONSE]),
        ("comparisons.larger.responses", [Comparison("larger", "c", [RESPONSE], [])]),
        ("comparisons", [Comparison("larger", "c", [RESPONSE] * 2, [])] * 2),
        ("history.reward", {"step": [1.0, 2.0], "reward": [0.5]}),
        ("pairs", [FULL.pairs[0]] * 2),
        ("history", {"reward": [0.5]}),
        ("verdicts", [STRAY]),
        ("selected.verdicts", Selected(5, [RESPONSE] * 2, [WIN, STRAY])),
        ("comparisons.larger.policy", [Comparison("larger", "c", [RESPONSE] * 2, [STRAY])]),
        ("comparisons.larger.start", [Comparison("larger", "c", [RESPONSE] * 2, [WIN], [STRAY])]),
        ("further_judges.local.verdicts", [FurtherJudge("local", {}, [STRAY], 1.5)]),
        ("further_judges", [FurtherJudge("local", {}, [WIN], 1.5)] * 2),
    ],
)
def test_parts_of_a_run_that_do_not_fit_together_are_refused(tmp_path: Path, field: str, part: Any) -> None:
    write_record(tmp_path / "record.json", replace(FULL, **{field.split(".")[0]: part}))
    with pytest.raises(BadFile, match=field):
        read_record(tmp_path / "record.json")


def test_a_truncated_record_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, RUN)
    path.write_text(path.read_text()[:-10])
    with pytest.raises(BadFile, match=f"{path} .*move it away"):
        read_record(path)
    assert issubclass(BadLog, BadFile)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), {1, 2}, object()])
def test_a_failed_write_leaves_the_old_file_and_puts_the_new_one_beside_it(
    tmp_path: Path, broken: object
) -> None:
    path, aside = tmp_path / "deep" / "value.json", tmp_path / "deep" / "value.json.unwritable"
    value = {"text": "whole" * 1000, "rows": [1, {"x": broken}]}
    with pytest.raises(BadFile, match=rf"{path} cannot be written: .*All of it is in {aside}: correct it"):
        write_json(path, value)
    assert [p.name for p in path.parent.iterdir()] == [aside.name]
    write_json(path, [1, 2])
    with pytest.raises(BadFile):
        write_json(path, value)
    assert read_json(path) == [1, 2] and sorted(path.parent.iterdir()) == [path, aside]
    kept = read_json(aside)
    assert kept["text"] == value["text"] and kept["rows"][0] == 1
    assert repr(kept["rows"][1]["x"]) in (repr(broken), repr(repr(broken)))


def test_the_value_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    sentences = {
        r"a\.b\[1\]=nan; it must be a finite number": {"a": {"b": [0.0, float("nan")]}},
        r"a=-inf; it must be a finite number": {"a": float("-inf"), "b": float("nan")},
        r"a\[0\]='\\udc80 x'; it must be text without": {"a": ["\udc80 x"]},
    }
    for sentence, value in sentences.items():
        with pytest.raises(BadFile, match=f"cannot be written: {sentence}"):
            write_json(tmp_path / "value.json", value)
        assert repr(read_json(tmp_path / "value.json.unwritable")) == repr(value)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [("unscored", None), ("tie", "because"), ("first", ""), ("second", "x"), ("draw", None)],
)
def test_a_verdict_whose_reason_does_not_fit_is_refused(outcome: Any, reason: str | None) -> None:
    with pytest.raises(ValueError, match=repr(outcome)):
        Verdict("a", True, outcome, reason)


@pytest.mark.parametrize(
    ("outcome", "policy_first", "expected"),
    [
        ("first", True, 1.0),
        ("first", False, 0.0),
        ("second", True, 0.0),
        ("second", False, 1.0),
        ("tie", True, 0.5),
    ],
)
def test_points_and_scores_are_the_policys(outcome: Any, policy_first: bool, expected: float) -> None:
    verdict = Verdict("a", policy_first, outcome, scores=(0.9, 0.2))
    assert points(verdict) == expected
    assert scores(verdict) == ((0.2, 0.9) if policy_first else (0.9, 0.2)), "of (untrained model, policy)"
    unscored = Verdict("a", policy_first, "unscored", "down")
    assert isnan(points(unscored)) and all(map(isnan, scores(unscored)))


def test_record_files_are_found_once_by_their_name(tmp_path: Path) -> None:
    for name in ("a/record.json", "a/b/x.record.json", "a/xrecord.json", "a/record.json.partial"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    files = record_files([tmp_path, tmp_path / "a"], "record.json")
    assert [str(p.relative_to(tmp_path)) for p in files] == ["a/b/x.record.json", "a/record.json"]
    with pytest.raises(FileNotFoundError, match="missing"):
        record_files([tmp_path / "missing"], "record.json")


@pytest.mark.parametrize(("responses", "verdicts"), [([RESPONSE], None), (None, [WIN])])
def test_a_selected_checkpoint_has_responses_and_verdicts_or_neither(responses: Any, verdicts: Any) -> None:
    with pytest.raises(ValueError, match="responses and verdicts"):
        Selected(5, responses, verdicts)


HUGE = ["1" + "0" * 400, "1e308", "1e400", "NaN", "-Infinity"]


def numbers(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every number in nested mappings and lists."""
    if isinstance(node, dict | list):
        parts = node.items() if isinstance(node, dict) else enumerate(node)
        return [found for key, part in parts for found in numbers(part, (*path, key))]
    return [path] if isinstance(node, int | float) and not isinstance(node, bool) else []


@pytest.mark.parametrize("record", [FULL, *KINDS[2:]], ids=lambda record: type(record).__name__)
def test_every_number_of_a_record_is_bounded(tmp_path: Path, record: Any) -> None:
    path = tmp_path / "file.json"
    write_record(path, record)
    paths = [found for found in numbers(read_json(path)) if found != ("schema",)]
    assert len(paths) > 2
    for place in paths:
        named = ".*".join(map(str, dict.fromkeys((place[0], place[-1]))))
        for value in HUGE:
            raw = node = read_json(path)
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = "HERE"
            spoilt = tmp_path / "spoilt.json"
            spoilt.write_text(json.dumps(raw).replace('"HERE"', value))
            with pytest.raises(BadFile, match=f"{spoilt} .*{named}") as caught:
                read_record(spoilt, type(record))
            assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 400
