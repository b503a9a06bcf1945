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
    texts = [*data["texts"], None]

    def text(number):
        return texts[-1 if number is None else number]

    found = rows(data["pairs"])[2:]
    assert [(text(p["id"]), text(p["prompt"]), text(p["reference"])) for p in found] == [
        (p.prompt_id, p.prompt, p.reference) for p in pairs
    ]
    assert [(text(p["start"]), text(p["policy"])) for p in found] == [
        (p.start.response, p.policy.response) for p in pairs
    ]
    assert [(p["start_tokens"], p["policy_tokens"], p["start_finished"]) for p in found] == [
        (3, 0, 0),
        (1, 3, 1),
    ]
    assert [(p["start_surprisal"], p["policy_surprisal"]) for p in found] == [(1.2346, 2.0), (None, None)]
    assert [(p["run"], p["verdicts"]) for p in found] == [(1, 1), (1, 2)]
    assert data["runs"][1]["id"] == record.run_id and data["runs"][1]["seed"] == "3"
    assert len(set(data["texts"])) == len(data["texts"])

    given = rows(data["verdicts"])[-3:]
    assert [(text(v["judge"]), v["policy_first"], v["points"]) for v in given] == [
        ("panel", 0, None),
        ("one", 1, 1.0),
        ("panel", 0, 0.0),
    ]
    assert [(v["start_score"], v["policy_score"]) for v in given] == [(None, None), (0.5, 0.75), (0.25, 1.0)]
    assert [(text(v["reason"]), text(v["note"])) for v in given] == [
        ("no answer", None),
        (None, "</script>"),
        (None, None),
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
