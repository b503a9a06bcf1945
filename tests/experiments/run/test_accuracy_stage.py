"""A cell on a mathematics track from training to table, and that other data know nothing of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from small_runs import Cell, composed

from analysis.tables.accuracy import accuracy_frame
from cme.miniature import world
from cme.records import Generation, Pair, Selected, read_record
from experiments.run import evaluation, pipeline

COLUMNS = {"accuracy", "majority_share", "label_accuracy"}


def test_arithmetic_is_graded_in_training_and_in_evaluation(cell: Cell) -> None:
    arguments = cell(
        "data=arithmetic", "judge=correctness", "reward=cme_answer", "evaluation.max_new_tokens=12"
    )
    record = read_record(pipeline.run(composed(arguments)))
    assert COLUMNS - {"majority_share", "label_accuracy"} <= record.history.keys()
    assert record.accuracy is not None and record.accuracy.selected is None
    for pair, start, policy in zip(record.pairs, record.accuracy.start, record.accuracy.policy, strict=True):
        problem = world.problem_of(pair.prompt)
        assert pair.answer == problem.answer  # type: ignore[attr-defined]
        for generation, right in ((pair.start, start), (pair.policy, policy)):
            numbers = [w for w in generation.response.replace(".", " ").split() if w.isdigit()]
            if len(numbers) == 1 and generation.response.split()[-1].rstrip(".") == numbers[0]:
                assert right == (numbers[0] == pair.answer)
    assert all(verdict.scores is not None for verdict in record.verdicts)
    [row] = accuracy_frame([record]).to_dict("records")
    assert (row["data"], row["prompts"], row["no_answer"], row["undecided"]) == ("arithmetic", 12, 0, 0)


def test_the_world_itself_is_no_such_track(recorded: Callable[..., Path]) -> None:
    [path] = recorded("reward=random").glob("*/record.json")
    record = read_record(path)
    assert record.accuracy is None
    assert not COLUMNS & record.history.keys()
    assert all(pair.answer is None for pair in record.pairs)


def test_start_policy_and_selected_are_graded_by_their_own_responses(cell: Cell) -> None:
    config = composed(cell("data=arithmetic"))
    said = [Generation(text, True, 1) for text in ("7", "8", "no idea", "7. 8")]
    pairs = [Pair(str(i), "q", None, g, said[0], "7") for i, g in enumerate(said)]
    pairs.append(replace(pairs[0], prompt_id="4", answer=None))
    selected = Selected(3, [*said[::-1], said[0]], [])
    found = evaluation.measure_accuracy(config, pairs, selected)
    assert found is not None
    assert found.start == [True, False, False, False, None]
    assert found.policy == [True, True, True, True, None]
    assert found.selected == [False, False, False, True, None]
    assert evaluation.measure_accuracy(config, pairs, Selected(3, None, None)) == replace(
        found, selected=None
    )
