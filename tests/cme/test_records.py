"""Records: what is written is what is read, whole or not at all."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cme.records import (
    REWARD_PROBE_SCHEMA,
    SCHEMA,
    SEPARATION_SCHEMA,
    Accuracy,
    Capability,
    CheckpointResult,
    Generation,
    Pair,
    Prompt,
    RewardProbeRecord,
    RunRecord,
    Selected,
    SeparationRecord,
    Trajectory,
    Verdict,
    read_json,
    read_record,
    read_reward_probe,
    read_separation,
    write_json,
    write_record,
    write_reward_probe,
    write_separation,
)

floats = st.floats(allow_nan=False, allow_infinity=False)
generations = st.builds(Generation, st.text(), st.booleans(), st.integers(0, 100))
scored = st.builds(
    Verdict,
    st.text(),
    st.booleans(),
    st.sampled_from(["first", "second", "tie"]),
    st.none(),
    st.none() | st.tuples(floats, floats),
)
unscored = st.builds(Verdict, st.text(), st.booleans(), st.just("unscored"), st.text())
records = st.builds(
    RunRecord,
    **{f: st.text() for f in ("run_id", "scale", "family", "regime", "reward", "verifier", "judge")},
    **{f: st.text() for f in ("generator_checkpoint", "verifier_checkpoint")},
    seed=st.integers(0),
    experiment=st.none() | st.text(),
    heldout_checkpoint=st.none() | st.text(),
    config=st.dictionaries(st.text(), floats | st.none() | st.lists(st.text())),
    environment=st.dictionaries(st.text(), st.text()),
    warnings=st.lists(st.text()),
    stopped=st.none() | st.text(),
    history=st.dictionaries(st.text(), st.lists(floats | st.none(), max_size=3)),
    pairs=st.lists(
        st.builds(
            *(Pair, st.text(), st.text(), st.none() | st.text(), generations, generations),
            answer=st.none() | st.text(),
        ),
        max_size=3,
    ),
    verdicts=st.lists(scored | unscored, max_size=3),
    seconds=st.dictionaries(st.text(), floats),
)


def record(**changes: Any) -> RunRecord:
    fields: dict[str, Any] = dict.fromkeys(
        ("run_id", "scale", "family", "regime", "reward", "verifier", "judge", "generator_checkpoint",
         "verifier_checkpoint"), "x",
    )  # fmt: skip
    fields |= {"seed": 0, "experiment": None, "heldout_checkpoint": None, "config": {}, "environment": {}}
    fields |= {"warnings": [], "stopped": None, "history": {}, "pairs": [], "verdicts": [], "seconds": {}}
    return RunRecord(**fields | changes)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25)
@given(records)
def test_round_trip(tmp_path: Path, written: RunRecord) -> None:
    write_record(tmp_path / "record.json", written)
    assert read_record(tmp_path / "record.json") == written


SAID = Generation("a", True, 1)
WHOLE = {
    "pairs": [Pair("e", "?", None, SAID, SAID)],
    "trajectory": Trajectory(
        "j", ["p", "q"], None, [CheckpointResult(5, [[1.0, None], [0.5]], [0.1, 0.2], {"down": 1})]
    ),
    "selected": Selected(5, [SAID], [Verdict("e", True, "first", scores=(1.0, 0.0))]),
    "capabilities": [Capability("t", "acc", 2, 0.5, None, 1.0, 0.0, [0.0, 1.0], None)],
}


@pytest.mark.parametrize("selected", [WHOLE["selected"], Selected(5, None, None), None])
def test_selection_and_capabilities_survive(tmp_path: Path, selected: Selected | None) -> None:
    written = record(**WHOLE | {"selected": selected})
    write_record(tmp_path / "record.json", written)
    assert read_record(tmp_path / "record.json") == written


def test_a_record_from_before_they_were_there_has_none(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, record())
    before = {k: v for k, v in read_json(path).items() if k not in ("trajectory", "selected", "capabilities")}
    path.write_text(json.dumps(before))
    assert read_record(path) == record()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trajectory": Trajectory("j", ["p"], [0.1, 0.2], [])}, "one entry a prompt"),
        (
            {"trajectory": Trajectory("j", ["p"], None, [CheckpointResult(5, [], None, {})])},
            "one entry a prompt",
        ),
        ({"selected": Selected(5, [], [])}, "one response a pair"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path, changes: Any, message: str) -> None:
    write_record(tmp_path / "record.json", record(**WHOLE | changes))
    with pytest.raises(ValueError, match=message):
        read_record(tmp_path / "record.json")


def test_text_of_any_language_survives(tmp_path: Path) -> None:
    written = record(stopped="späť 狐 🦊 \u2028 \x00")
    write_record(tmp_path / "record.json", written)
    assert read_record(tmp_path / "record.json").stopped == written.stopped


def test_another_schema_is_refused_naming_the_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, record())
    path.write_text(json.dumps(read_json(path) | {"schema": SCHEMA + 1}))
    with pytest.raises(ValueError, match=f"{path} .*schema is {SCHEMA + 1}.*reads schema {SCHEMA}"):
        read_record(path)


def without(raw: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in raw.items() if k != key}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: without(raw, "schema"),
        lambda raw: without(raw, "seed"),
        lambda raw: raw | {"surprise": 1},
        lambda raw: raw | {"pairs": [{"prompt_id": "a"}]},
        lambda raw: raw | {"verdicts": [without(raw["verdicts"][0], "scores")]},
        lambda raw: raw | {"verdicts": [raw["verdicts"][0] | {"outcome": "third"}]},
        lambda raw: [raw],
    ],
)
def test_a_malformed_record_is_refused_naming_the_file(tmp_path: Path, spoil: Any) -> None:
    path = tmp_path / "record.json"
    write_record(path, record(verdicts=[Verdict("a", True, "tie")]))
    path.write_text(json.dumps(spoil(read_json(path))))
    with pytest.raises(ValueError, match=str(path)):
        read_record(path)


def test_a_cut_off_record_is_refused_naming_the_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, record())
    path.write_text(path.read_text()[:-10])
    with pytest.raises(ValueError, match=str(path)):
        read_record(path)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), {1, 2}, object()])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, broken: object) -> None:
    path = tmp_path / "value.json"
    write_json(path, [1, 2])
    before = path.read_bytes()
    with pytest.raises((ValueError, TypeError)):
        write_json(path, ["long enough to be half written" * 1000, broken])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_a_failed_first_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "deep" / "value.json", float("nan"))
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [("unscored", None), ("tie", "because"), ("first", ""), ("second", "x"), ("draw", None)],
)
def test_a_verdict_whose_reason_does_not_fit_is_refused(outcome: Any, reason: str | None) -> None:
    with pytest.raises(ValueError, match=repr(outcome)):
        Verdict("a", True, outcome, reason)


def stress_record(**changes: Any) -> RewardProbeRecord:
    fields: dict[str, Any] = dict.fromkeys(
        ("stress_id", "scale", "family", "regime", "verifier", "generator_checkpoint", "verifier_checkpoint"),
        "x",
    )
    fields |= {
        "seed": 0,
        "second_checkpoint": None,
        "config": {"a": [1]},
        "environment": {"python": "3"},
        "seconds": 1.5,
    }
    fields |= {"prompts": ["a", "b"], "values": {"cme": {"empty": [None, -1e-7], "right": [-0.123456, 0.0]}}}
    return RewardProbeRecord(**fields | changes)


def test_stress_round_trip(tmp_path: Path) -> None:
    written = stress_record()
    write_reward_probe(tmp_path / "stress.json", written)
    found = read_reward_probe(tmp_path / "stress.json")
    assert found == written
    assert list(found.values["cme"]) == ["empty", "right"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw | {"schema": REWARD_PROBE_SCHEMA + 1},
        lambda raw: without(raw, "seed"),
        lambda raw: raw | {"surprise": 1},
        lambda raw: raw | {"prompts": ["a"]},
        lambda raw: raw | {"values": {"cme": [1.0]}},
        lambda raw: [raw],
    ],
)
def test_a_malformed_stress_record_is_refused_naming_the_file(tmp_path: Path, spoil: Any) -> None:
    path = tmp_path / "stress.json"
    write_reward_probe(path, stress_record())
    path.write_text(json.dumps(spoil(read_json(path))))
    with pytest.raises(ValueError, match=str(path)):
        read_reward_probe(path)


def separation_record(**changes: Any) -> SeparationRecord:
    fields: dict[str, Any] = dict.fromkeys(
        ("separation_id", "scale", "family", "regime", "verifier", "data", "generator_checkpoint",
         "verifier_checkpoint"), "x",
    )  # fmt: skip
    fields |= {
        "seed": 0,
        "config": {"a": [1]},
        "environment": {"python": "3"},
        "prompts": [Prompt("p", "one and one?", "2")],
        "left_out": 1,
        "samples": 2,
        "responses": [Generation("2", True, 2), Generation("späť", False, 3)],
        "correct": [True, None],
        "answered": [True, False],
        "signals": {"cross_entropy verifier response": [0.5, None]},
        "cut": {"generator": 0, "verifier": 1},
        "seconds": {"sample": 1.0, "score": 2.0},
    }
    return SeparationRecord(**fields | changes)


def test_separation_round_trip(tmp_path: Path) -> None:
    written = separation_record()
    write_separation(tmp_path / "separation.json", written)
    assert read_separation(tmp_path / "separation.json") == written


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw | {"schema": SEPARATION_SCHEMA + 1},
        lambda raw: without(raw, "signals"),
        lambda raw: raw | {"signals": {"cross_entropy verifier response": [0.5]}},
        lambda raw: raw | {"correct": [True]},
        lambda raw: raw | {"samples": 3},
        lambda raw: raw | {"prompts": ["p"]},
        lambda raw: [raw],
    ],
)
def test_a_malformed_separation_record_is_refused_naming_the_file(tmp_path: Path, spoil: Any) -> None:
    path = tmp_path / "separation.json"
    write_separation(path, separation_record())
    path.write_text(json.dumps(spoil(read_json(path))))
    with pytest.raises(ValueError, match=str(path)):
        read_separation(path)


EMPTY = RunRecord(
    *("run", "miniature", "qwen", "sft", "cme", "gemma", "oracle", 0, None, "a", "b", None),
    *({}, {}, [], None, {}, [], [], {}),
)


@pytest.mark.parametrize("column", ["start", "policy", "selected"])
def test_accuracy_has_one_entry_a_pair(tmp_path: Path, column: str) -> None:
    pairs = [Pair(i, "q", None, Generation("a", True, 1), Generation("b", True, 1), "7") for i in "ab"]
    columns: dict[str, list[bool | None]] = {c: [True, None] for c in ("start", "policy", "selected")}
    record = replace(EMPTY, pairs=pairs, accuracy=Accuracy(**columns))
    write_record(tmp_path / "record.json", record)
    assert read_record(tmp_path / "record.json") == record
    broken = Accuracy(**(columns | {column: [True]}))
    write_record(tmp_path / "record.json", replace(record, accuracy=broken))
    with pytest.raises(ValueError, match="accuracy must have one entry a pair"):
        read_record(tmp_path / "record.json")
