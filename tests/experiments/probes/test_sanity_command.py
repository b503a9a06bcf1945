"""The sanity command as a user runs it, and the opponents that it makes."""

import pytest
from small_runs import Cell, composed

from cme.data.alpaca_format import read_outputs
from cme.records import Generation, Pair, Prompt, SanityRecord, Verdict, read_record
from experiments.config.components import Component
from experiments.probes import sanity
from experiments.probes.sanity import opponents
from experiments.run import judging


def test_opponents_are_what_they_are_called() -> None:
    prompts = [Prompt("a", "name a colour"), Prompt("b", "count to four")]
    greedy = [Generation("blue. it is", True, 3), Generation("one two three four", False, 4)]
    one, other = [[Generation(f"{name}{i}", True, 1) for i in range(2)] for name in ("x", "y")]
    found = opponents(prompts, greedy, one, other)
    assert {name: [p.prompt_id for p in pairs] for name, pairs in found.items()} == {
        "null": ["a", "b"],
        "longer": ["a", "b"],
        "shorter": ["a"],  # the other runs on
        "copied": ["a", "b"],
        "cut start": ["a"],  # the other has no sentence end
        "itself": ["a", "b"],
    }
    made = [p.policy.tokens for name in ("null", "longer", "shorter", "copied") for p in found[name]]
    assert set(made) == {None} and {p.policy.tokens for p in found["itself"]} == {1}
    assert found["null"][0].policy.response == found["null"][1].policy.response
    assert [p.policy.response for p in found["longer"]] == [
        "blue. it is blue. it is",
        "one two three four one two three four",
    ]
    assert found["longer"][1].policy.finished is False
    assert found["shorter"][0].policy.response == found["cut start"][0].policy.response == "blue."
    assert [p.policy.response for p in found["copied"]] == ["name a colour", "count to four"]
    assert [(p.start.response, p.policy.response) for p in found["itself"]] == [("x0", "y0"), ("x1", "y1")]
    assert all([p.start for p in found[name]] == greedy for name in ("null", "longer", "copied"))
    assert "shorter" not in opponents(prompts[1:], greedy[1:], greedy[1:], greedy[1:])


def test_one_command_judges_records_and_is_not_run_twice(
    cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    config = composed(cell("experiment=judge_sanity", "seed=4"))
    path = sanity.run(config)
    printed = capsys.readouterr().out
    record = read_record(path, SanityRecord)
    assert record.sanity_id == path.parent.name
    assert (record.judge, record.seed) == ("oracle", 4)
    assert all(len(record.verdicts[name]) == 2 * len(pairs) for name, pairs in record.pairs.items())
    assert "| oracle" in printed and "itself" in printed
    for name, pairs in record.pairs.items():
        said = read_outputs(path.with_name(f"{name}_outputs.json"))
        assert [row["output"] for row in said] == [p.policy.response for p in pairs]
    before = path.read_bytes()
    assert sanity.run(config) == path
    assert capsys.readouterr().out == printed and path.read_bytes() == before


def test_training_settings_leave_its_identity_alone_and_the_judge_does_not(cell: Cell) -> None:
    def identity(*overrides: str) -> str:
        return sanity.record_path(composed(cell("experiment=judge_sanity", *overrides))).parent.name

    assert identity() == identity("trainer.max_steps=7", "reward=random", "monitor_every=3")
    assert identity() != identity("judge=reference_similarity")
    assert identity() != identity("data.eval_prompts=11")


def test_what_no_judge_could_score_is_judged_again(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    from cme.judges.base import JudgeVerdict
    from cme.judges.oracle import OracleJudge

    compare = OracleJudge.compare
    monkeypatch.setattr(OracleJudge, "compare", lambda *_: JudgeVerdict("unscored", "it is down"))
    config = composed(cell("experiment=judge_sanity", "seed=5"))
    record = read_record(sanity.run(config), SanityRecord)
    assert all(v.outcome == "unscored" for own in record.verdicts.values() for v in own)
    monkeypatch.setattr(OracleJudge, "compare", compare)
    again = read_record(sanity.run(config), SanityRecord)
    assert all(v.outcome != "unscored" for own in again.verdicts.values() for v in own)
    assert again.pairs == record.pairs


def test_opponents_that_a_judge_does_not_see_whole_are_counted(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = composed(cell("experiment=judge_sanity", "seed=6", "judge=local", "judge.max_response_chars=12"))
    prompts, longer = [Prompt("a", "name")], Generation("thirteen char", True, 2)
    assert len(longer.response) == 13
    own = opponents(prompts, [Generation("short", True, 1)], [longer], [longer])
    monkeypatch.setattr(sanity, "opponents", lambda *_: own)

    def ties(judge: Component, pairs: list[Pair], *_: object) -> list[Verdict]:
        return [Verdict(p.prompt_id, order, "tie") for p in pairs for order in (True, False)]

    monkeypatch.setattr(judging, "collect_verdicts", ties)
    record = read_record(sanity.run(config), SanityRecord)
    null = len(own["null"][0].policy.response) > 12
    assert record.warnings == [
        f"opponent {name}: {count} of 2 responses were cut at judge.max_response_chars=12 for judging"
        for name, count in (("null", int(null)), ("itself", 2))
        if count
    ]
