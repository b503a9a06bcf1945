"""What the report's browser unpacks: the records' pairs and verdicts, each text once."""

import json
import zlib
from base64 import b64decode
from dataclasses import replace

import pytest

from analysis.report.pairs import pack_pairs
from cme.records import Generation, Pair, Verdict


def unpacked(records):
    return json.loads(zlib.decompress(b64decode(pack_pairs(records), validate=True)))


def rows(columns):
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_packed_pairs_and_verdicts_unpack_to_the_records(make_record):
    pairs = [
        Pair("a", "</script>", "\ud83d", Generation("<!--", False, 3, 1.23456), Generation("", True, 0, 2.0)),
        Pair("b", "</script>", None, Generation("\u2028\u05e9\u05dc", True, 1), Generation("<!--", True, 3)),
    ]
    verdicts = [
        Verdict("b", True, "first", scores=(0.75, 0.5), note="</script>", judge="one"),
        Verdict("a", False, "unscored", "no answer"),
        Verdict("b", False, "first", scores=(0.25, 1.0)),
    ]
    record = replace(make_record(verdicts=verdicts, judge="panel", seed=3), pairs=pairs)
    data = unpacked([make_record(prompts=2), record])
    assert data["runs"][1]["id"] == record.run_id and data["runs"][1]["seed"] == "3"
    assert len(set(data["texts"])) == len(data["texts"])

    def text(number):
        return None if number is None else data["texts"][number]

    first, second = rows(data["pairs"])[2:]
    for found, pair in zip((first, second), pairs, strict=True):
        told = ("id", "prompt", "reference", "start", "policy")
        said = (pair.prompt_id, pair.prompt, pair.reference, pair.start.response, pair.policy.response)
        assert tuple(text(found[name]) for name in told) == said
        assert (found["start_tokens"], found["policy_tokens"]) == (pair.start.tokens, pair.policy.tokens)
        assert found["start_finished"] == pair.start.finished and found["run"] == 1
    assert [first[name] for name in ("start_surprisal", "policy_surprisal", "verdicts")] == [1.2346, 2.0, 1]
    assert [second[name] for name in ("start_surprisal", "policy_surprisal", "verdicts")] == [None, None, 2]
    given = [list(verdict.values()) for verdict in rows(data["verdicts"])[-3:]]
    assert [[text(judge), *told, text(reason), text(note)] for judge, *told, reason, note in given] == [
        ["panel", 0, None, None, None, "no answer", None],
        ["one", 1, 1.0, 0.5, 0.75, None, "</script>"],
        ["panel", 0, 0.0, 0.25, 1.0, None, None],
    ]


def test_a_panel_s_majority_has_its_verdicts_behind_those_of_the_members(make_record):
    votes = {"one": "first", "two": "first", "three": "second"}
    verdicts = [Verdict("a", True, outcome, judge=name) for name, outcome in votes.items()]
    data = unpacked([make_record(verdicts=verdicts, judge="panel")])
    judges = [data["texts"][number] for number in data["verdicts"]["judge"]]
    assert judges == [*votes, "majority"] and data["pairs"]["verdicts"] == [4]
    assert data["verdicts"]["points"] == [1, 1, 0, 1]


def test_each_distinct_text_is_stored_once(make_record):
    many = [make_record(seed=seed, response="word " * 2000) for seed in range(20)]
    assert len(pack_pairs(many)) < 10 * len(pack_pairs(many[:1]))


def test_numbers_that_json_lacks_are_refused(make_record):
    verdicts = [Verdict("a", True, "tie", scores=(float("inf"), 0.0))]
    with pytest.raises(ValueError, match="JSON"):
        pack_pairs([make_record(verdicts=verdicts)])
