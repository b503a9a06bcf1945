"""Comparisons with further models and the cut start, which are added to a finished run."""

from dataclasses import replace
from typing import Any

import length_judge
import pytest
from chat_stub import ChatStub
from small_runs import Cell, composed, count_generations, greedy, never

from cme.evaluation.cut_start import cut_at_sentence_end
from cme.miniature import vocabulary, world
from cme.models.generation import generate
from cme.records import (
    CUT_START,
    Comparison,
    Generation,
    Grade,
    Pair,
    RunRecord,
    RunState,
    Verdict,
    read_record,
    write_record,
)
from experiments.config import composition, identity
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.plan import estimate
from experiments.run import cell as cells
from experiments.run import comparators, evaluation, inputs, judging, pipeline, preparation, training
from experiments.run.store import Store

ON = "comparators=paper"
INSTRUCT, REFERENCE = "miniature:qwen-1/instruct", "miniature:gemma-1/instruct"
PAPER = {"instruct": INSTRUCT, "reference": REFERENCE}


@pytest.fixture
def cell(cell: Cell) -> Cell:
    """Cells without the cut start, which has tests of its own."""
    return lambda *overrides: cell("evaluation.cut_start=false", *overrides)


@pytest.fixture
def finished(finished: Cell) -> Cell:
    """Finished cells without the cut start."""
    return lambda *overrides: finished("evaluation.cut_start=false", *overrides)


def by_oracle(config: Run, pairs: list[Pair], mine: list[str], theirs: list[Generation]) -> list[str]:
    """Who is better by the world's own grading, written anew: outcomes of mine first, then theirs first."""
    oracle = judging.instantiate_judge(config.judge).oracle
    found = []
    for pair, response, other in zip(pairs, mine, theirs, strict=True):
        own = oracle(pair.prompt, *response).quality
        its = oracle(pair.prompt, other.response, other.finished).quality
        found += ["tie", "tie"] if own == its else ["first", "second"] if own > its else ["second", "first"]
    return found


def test_policy_and_start_are_compared_with_each_comparator(finished: Cell) -> None:
    config = composed(finished("reward=random", ON))
    record = read_record(Store(config).record)
    assert record.comparisons is not None
    assert {c.name: c.checkpoint for c in record.comparisons} == PAPER
    assert cells.is_done(config)
    for met in record.comparisons:
        assert met.responses == greedy(met.checkpoint, [p.prompt for p in record.pairs])
        for who, verdicts in (("policy", met.policy), ("start", met.start)):
            said = [getattr(p, who) for p in record.pairs]
            mine = [(g.response, g.finished) for g in said]
            assert verdicts is not None
            shown = [(p.prompt_id, order) for p in record.pairs for order in (True, False)]
            assert [(v.prompt_id, v.policy_first) for v in verdicts] == shown
            assert [v.outcome for v in verdicts] == by_oracle(config, record.pairs, mine, met.responses)
        assert f"weights of {met.checkpoint}" in record.environment
    assert record.seconds["compare"] > 0


def test_a_finished_run_is_compared_without_being_trained_again(
    cell: Cell, finished: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    off, on = composed(finished("reward=random")), composed(cell("reward=random", ON))
    path = Store(off).record
    before = read_record(path)
    assert before.comparisons is None and cells.is_done(off) and not cells.is_done(on)
    assert Store(on).record == path
    for module, name in ((inputs, "resolve_weights"), (training, "train_policy"), (evaluation, "load")):
        monkeypatch.setattr(module, name, never)
    Store(on).training.unlink()
    Store(on).generations.unlink()
    preparation.prepare([on])
    after = read_record(pipeline.run(on))
    assert {c.name: c.checkpoint for c in after.comparisons or []} == PAPER
    extra = {f"weights of {name}" for name in PAPER.values()}
    assert after.environment.keys() - before.environment.keys() == extra
    kept = {k: v for k, v in after.seconds.items() if k != "compare"}
    environment = {k: v for k, v in after.environment.items() if k not in extra}
    assert replace(after, comparisons=None, environment=environment, seconds=kept) == before
    monkeypatch.setattr(comparators, "_compare_with", never)
    written = path.read_bytes()
    assert pipeline.run(on) == pipeline.run(off) == path
    assert path.read_bytes() == written


def test_earlier_comparisons_stay_and_only_the_missing_ones_are_made(cell: Cell) -> None:
    one = f"+evaluation.comparators.instruct={INSTRUCT}"
    first = read_record(pipeline.run(composed(cell("reward=random", one))))
    both = composed(cell("reward=random", ON))
    second = read_record(pipeline.run(both))
    assert first.comparisons is not None and second.comparisons is not None
    assert second.comparisons[: len(first.comparisons)] == first.comparisons
    assert [c.name for c in second.comparisons] == ["instruct", "reference"]
    other = composed(cell("reward=random", "+evaluation.comparators.reference=miniature:olmo-1/instruct"))
    third = read_record(pipeline.run(other))
    assert [c.checkpoint for c in third.comparisons or []] == [INSTRUCT, "miniature:olmo-1/instruct"]


def test_runs_share_a_comparators_responses_to_the_same_prompts(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = count_generations(monkeypatch)
    for more in (("seed=0",), ("family=llama",), ("evaluation.max_new_tokens=5",)):
        pipeline.run(composed(cell("reward=random", ON, *more)))
    assert titles.count(f"answers of {REFERENCE}") == 2  # once at each length
    assert titles.count(f"answers of {INSTRUCT}") == 2


def test_a_start_is_no_comparator_of_itself(cell: Cell, capsys: pytest.CaptureFixture[str]) -> None:
    config = composed(cell("reward=random", ON, "regime=instruct"))
    assert config.comparators == {"reference": REFERENCE}
    record = read_record(pipeline.run(config))
    assert [c.name for c in record.comparisons or []] == ["reference"]
    assert "comparator instruct is the untrained start itself, skipped" in capsys.readouterr().err
    assert cells.is_done(config)


def test_one_that_does_not_exist_is_named_before_anything_runs() -> None:
    with pytest.raises(BadConfig) as caught:
        composition.compose_cells(["scale=laptop", "family=gemma", "regime=pretrained", ON])
    said = str(caught.value)
    assert "evaluation.comparators.instruct does not exist for family=gemma at scale=laptop" in said
    assert "family.checkpoints.laptop.instruct" in said and "\n" not in said


def against(record: RunRecord, name: str) -> tuple[Comparison, list[Pair], list[Pair]]:
    """A comparison of a record, and its pairs with the comparator in the start's place, of policy and of start."""
    [found] = [c for c in record.comparisons or [] if c.name == name]
    both = list(zip(record.pairs, found.responses, strict=True))
    return (
        found,
        [replace(p, start=r) for p, r in both],
        [replace(p, policy=p.start, start=r) for p, r in both],
    )


def test_a_judge_over_a_network_is_asked_once_for_a_start_and_again_for_what_failed(
    cell: Cell, stub: ChatStub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = ("reward=random", *length_judge.settings(stub, "judge.retries=0"))
    one = f"+evaluation.comparators.instruct={INSTRUCT}"
    first, second = (composed(cell(*judge, one, f"seed={seed}")) for seed in (0, 1))
    pipeline.run(composed(cell(*judge)))
    before = len(stub.bodies)
    stub.rates = {"server_error": 0.4}
    found, of_policy, of_start = against(read_record(pipeline.run(first)), "instruct")
    assert found.start is not None
    failed = sum(v.outcome == "unscored" for v in (*found.policy, *found.start))
    assert 3 < failed < 40
    assert f"{failed} of 48 verdicts against instruct are unscored" in capsys.readouterr().err
    asked = length_judge.questions(of_policy) + length_judge.questions(of_start)
    assert len(stub.bodies) - before == asked
    stub.rates = {}
    left = length_judge.unscored(of_policy, found.policy) + length_judge.unscored(of_start, found.start)
    before = len(stub.bodies)
    with monkeypatch.context() as alone:
        for name in ("resolve_weights", "comparator_responses"):
            alone.setattr(comparators, name, never)
        found, _, _ = against(read_record(pipeline.run(first)), "instruct")
    assert len(stub.bodies) - before == left > 0
    assert found.policy == length_judge.verdicts(of_policy)
    assert found.start == length_judge.verdicts(of_start)
    [again] = read_record(pipeline.run(second)).comparisons or []
    assert again.start == found.start
    before = len(stub.bodies)
    pipeline.run(second)
    assert len(stub.bodies) == before


def test_an_unscored_verdict_against_a_comparator_is_pending_only_with_the_comparator(
    cell: Cell, finished: Cell
) -> None:
    config, plain = composed(finished("reward=random", ON)), composed(cell("reward=random"))
    store = Store(config)
    cells.run(config)
    record = read_record(store.record)
    [first, second] = record.comparisons or []
    failed = [Verdict(first.policy[0].prompt_id, True, "unscored", "down"), *first.policy[1:]]
    write_record(store.record, replace(record, comparisons=[replace(first, policy=failed), second]))
    assert cells.is_done(plain) and not cells.is_done(config)
    path = store.folder / cells.STATE
    write_record(path, replace(read_record(path, RunState), unscored=1))
    cells.run(plain)
    found = read_record(path, RunState)
    assert (found.state, found.unscored, found.comparators) == ("done", 0, {"reference": REFERENCE})
    cells.run(config)
    assert cells.is_done(config) and read_record(path, RunState).comparators == PAPER


def test_a_record_has_the_cut_start_with_verdicts_and_grades(finished: Cell) -> None:
    config = composed(finished("reward=random", "evaluation.cut_start=true"))
    record = read_record(Store(config).record)
    [found], grades = record.comparisons or [], record.grades
    assert grades is not None and (found.name, found.checkpoint) == (CUT_START, record.generator_checkpoint)
    assert found.responses == [cut_at_sentence_end(p.start) for p in record.pairs]
    sides = {
        "start": ([p.start for p in record.pairs], grades.start, found.start),
        "policy": ([p.policy for p in record.pairs], grades.policy, found.policy),
        "cut": (found.responses, grades.cut_start, None),
    }
    for responses, graded, verdicts in sides.values():
        assert graded == [
            Grade(round(truth.quality, 6), truth.fault, truth.parts)
            for p, r in zip(record.pairs, responses, strict=True)
            for truth in [world.grade(p.prompt, r.response, bool(r.finished))]
        ]
        if verdicts is not None:
            shown = [(p.prompt_id, order) for p in record.pairs for order in (True, False)]
            mine = [(g.response, g.finished) for g in responses]
            outcomes = by_oracle(config, record.pairs, mine, found.responses)
            assert {(v.prompt_id, v.policy_first): v.outcome for v in verdicts} == dict(
                zip(shown, outcomes, strict=True)
            )
    assert record.blind_spots == {
        "generator": sorted(vocabulary.blind_spots("qwen")),
        "verifier": sorted(vocabulary.blind_spots("gemma")),
    }


def test_identical_responses_tie_without_a_call(
    cell: Cell, stub: ChatStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add_sentences(*arguments: Any, **settings: Any) -> list[Generation]:
        """Every second response of the untrained model has two sentences."""
        made = generate(*arguments, **settings)
        if settings["progress"] == "untrained model's responses":
            made[::2] = [replace(each, response=f"{each.response}. so it is") for each in made[::2]]
        return made

    monkeypatch.setattr(evaluation, "generate", add_sentences)
    judge = ("reward=random", *length_judge.settings(stub))
    pipeline.run(composed(cell(*judge)))
    before = len(stub.bodies)
    record = read_record(pipeline.run(composed(cell(*judge, "evaluation.cut_start=true"))))
    found, of_policy, of_start = against(record, CUT_START)
    for pairs, verdicts in ((of_policy, found.policy), (of_start, found.start or [])):
        expected = {(v.prompt_id, v.policy_first): v.outcome for v in length_judge.verdicts(pairs)}
        assert {(v.prompt_id, v.policy_first): v.outcome for v in verdicts} == expected
    differing = [p for p in of_policy + of_start if p.start.response != p.policy.response]
    assert 0 < len(stub.bodies) - before <= length_judge.questions(differing) < 48


@pytest.mark.parametrize("scale", ["miniature", "paper"])
def test_comparators_are_no_part_of_the_run(scale: str) -> None:
    cell = [f"scale={scale}", "family=llama", "regime=pretrained"]
    off, on = composed(cell), composed([*cell, ON])
    assert off.run_id == on.run_id
    assert identity.start_id(off) == identity.start_id(on)
    assert set(preparation.checkpoint_names([on])) - set(preparation.checkpoint_names([off])) == set(
        on.comparators.values()
    )


def test_the_papers_comparators() -> None:
    found = composed(["scale=paper", "family=olmo", "regime=sft", ON]).comparators
    assert found == {"instruct": "allenai/OLMo-2-0425-1B-Instruct", "reference": "google/gemma-3-1b-it"}


def test_a_judge_of_a_comparators_family_is_flagged(capsys: pytest.CaptureFixture[str]) -> None:
    composed(["judge=openai", "judge.model=olmo-3", "+evaluation.comparators.x=allenai/OLMo-2-0425-1B"])
    assert "judge.model=olmo-3 is of the family of the comparator x (olmo)" in capsys.readouterr().err


def test_the_plan_counts_comparisons_of_a_start_once() -> None:
    pretrained, instruct = (
        composed(["scale=paper", "family=llama", f"regime={regime}", "selection.every=null", ON])
        for regime in ("pretrained", "instruct")
    )
    longest, _ = estimate.bounds(pretrained)
    # 200 prompts in both orders: the start; the cut start, against both; two comparators, against policy and start
    assert estimate.judge_calls(pretrained, longest, with_start=True)[0] == 2 * 200 * (1 + 2 + 2 + 2)
    assert estimate.judge_calls(pretrained, longest, with_start=False)[0] == 2 * 200 * (1 + 2 + 2)
    assert estimate.judge_calls(instruct, longest, with_start=True)[0] == 2 * 200 * (1 + 2 + 1 + 1)
