"""A judge as the reward of whole runs: its calls and money, its budget, and a run that goes on where it was stopped."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import length_judge
import pytest
from chat_stub import ChatStub
from length_judge import KEY
from small_runs import Cell, composed

from cme import Unavailable
from cme.judges.pairwise import VerdictLog
from cme.records import Spending, read_record
from experiments.config.reward_validation import judged_comparisons
from experiments.config.validation import BadConfig
from experiments.plan import estimate
from experiments.run import pipeline
from experiments.run.store import Store

ORDERS = 2 * 6  # of the pairs of a group of four
STEPS, GROUPS = 2, 2
MOST = STEPS * GROUPS * ORDERS


@pytest.fixture
def asked(cell: Cell, stub: ChatStub) -> Callable[..., list[str]]:
    """The command line of a small run whose reward asks the stub."""
    prices = ("reward.judge.usd_per_million_input=10", "reward.judge.usd_per_million_output=100")
    words = length_judge.settings(stub, f"reward.judge.max_calls={MOST}", *prices, field="reward.judge")
    return lambda *more: cell("evaluation.cut_start=false", "reward=pairwise_judge", *words, *more)


def test_a_run_with_the_exact_judge(cell: Cell) -> None:
    run = composed(cell("reward=pairwise_judge", "evaluation.cut_start=false"))
    record = read_record(pipeline.run(run))
    assert record.reward_judging == Spending(0, 0.0)
    assert record.history["reward"] == pytest.approx([0.5] * STEPS)  # what one wins another loses
    assert record.history["unscored"] == [0.0] * STEPS
    assert any("also the judge of the evaluation" in warning for warning in record.warnings)
    log = VerdictLog(Store(run).reward_verdicts)
    assert 0 < len(log.scored) <= MOST
    assert read_record(pipeline.run(run)) == record


def test_calls_and_money_are_counted_and_an_interrupted_run_asks_for_nothing_twice(
    asked: Callable[..., list[str]], stub: ChatStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = composed(asked())
    train = pipeline.training.train_policy

    def stopped(*arguments: Any) -> Any:
        train(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pipeline.training, "train_policy", stopped)
        pipeline.run(run)
    before = dict(stub.asked)
    assert 0 < len(before) <= MOST and set(before.values()) == {1}
    record = read_record(pipeline.run(run))
    assert dict(stub.asked) == before
    # 100 tokens sent and 10 received, at 10 and 100 dollars a million
    assert record.reward_judging == Spending(len(before), pytest.approx(len(before) * 0.002))  # type: ignore[arg-type]
    assert not any("also the judge" in warning for warning in record.warnings)
    assert KEY not in Store(run).record.read_text() and KEY not in Store(run).reward_verdicts.read_text()


def test_failed_comparisons_are_left_out(asked: Callable[..., list[str]], stub: ChatStub) -> None:
    stub.rates = {"prose": 0.5}
    run = composed(asked("reward.judge.retries=0", "reward.judge.max_calls=1000"))
    record = read_record(pipeline.run(run))
    verdicts = [line for line in Store(run).reward_verdicts.read_text().splitlines() if "unscored" in line]
    assert verdicts and record.reward_judging is not None
    assert record.reward_judging.calls == sum(stub.asked.values())
    assert all(value is None or 0 <= value <= 1 for value in record.history["reward"])


def test_a_budget_is_needed_stated_and_kept(
    asked: Callable[..., list[str]], stub: ChatStub, capsys: pytest.CaptureFixture[str]
) -> None:
    for limit in ("null", str(MOST - 1)):
        said = f"reward.judge.max_calls={None if limit == 'null' else limit}; the reward makes up to {MOST} calls"
        with pytest.raises(BadConfig, match=re.escape(said)):
            composed(asked(f"reward.judge.max_calls={limit}"))
    composed(asked("reward.neighbours=1", f"reward.judge.max_calls={MOST * 4 // 6}"))
    assert not stub.asked
    run = composed(asked())
    pipeline.run(run)
    assert f"reward.judge=openai makes at most {MOST} comparisons" in capsys.readouterr().err
    spent = composed(asked("reward.judge.max_usd=0.001", "seed=1"))
    with pytest.raises(Unavailable, match=r"no verdict on any of 12 pairs \(.*max_usd"):
        pipeline.run(spent)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("trainer.gradient_accumulation_steps=2", "trainer.steps_per_generation=2"), 2 * MOST),
        (("reward.neighbours=1",), STEPS * GROUPS * 2 * 4),
    ],
)
def test_the_number_of_comparisons(cell: Cell, words: tuple[str, ...], expected: int, tmp_path: Path) -> None:
    run = composed(cell("reward=pairwise_judge", "evaluation.cut_start=false", *words))
    assert judged_comparisons(run, "reward.judge") == expected
    pipeline.run(run)
    made = len(VerdictLog(Store(run).reward_verdicts).scored)
    assert expected / 2 < made <= expected  # equal responses are compared once


def test_the_plan_has_the_calls_of_training(asked: Callable[..., list[str]]) -> None:
    run = composed(asked())
    longest, _ = estimate.bounds(run)
    calls, usd = estimate.judge_calls(run, longest, with_start=True)
    assert calls == MOST and usd > 0


def test_what_changes_the_run(asked: Callable[..., list[str]]) -> None:
    same = ("reward.judge.max_calls=999", "reward.judge.timeout=9", "reward.judge.usd_per_million_input=1")
    other = ("reward.judge.tie_margin=0.2", "reward.neighbours=1", "reward.judge.max_response_chars=9")
    first = composed(asked()).run_id
    assert {composed(asked(word)).run_id for word in same} == {first}
    assert len({first, *(composed(asked(word)).run_id for word in other)}) == 4


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["data.oracle=null", "judge=reference_similarity"], "reward.judge=oracle needs an oracle"),
        (["judge@reward.judge=correctness"], "reward.judge: answers=whole; correctness needs"),
        (["judge@reward.judge=panel"], "reward.judge._target_ is missing"),
        (["reward.neighbours=2"], "neighbours=2"),
        (["judge@reward.judge=openai", "reward.judge.model=null"], "reward.judge.model=None; it must be str"),
    ],
)
def test_a_judge_that_cannot_work_is_refused(cell: Cell, words: list[str], named: str) -> None:
    with pytest.raises(BadConfig, match=re.escape(named)):
        composed(cell("reward=pairwise_judge", "evaluation.cut_start=false", *words))
