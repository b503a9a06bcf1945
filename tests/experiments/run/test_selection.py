"""Selection: prompts that evaluation never sees, a trajectory that follows the oracle, and the same training."""

from pathlib import Path
from typing import Any

import pytest
from small_runs import Cell, composed, greedy

from cme.miniature import world
from cme.records import CheckpointResult, Generation, Trajectory, read_record
from experiments.config import composition, identity
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.run import evaluation, inputs, pipeline, preparation, selection
from experiments.run.store import Store

SIMILARITY = ("judge=reference_similarity", "judge@selection.judge=reference_similarity")
OPEN_ENDED = ("scale=laptop", "data=instructions", *SIMILARITY)
ON = ("reward=random", "trainer.max_steps=3", "selection.every=1", "selection.prompts=12")


def duel(prompt: str, policy: Generation, start: Generation) -> float:
    """The policy's points by the oracle."""
    a, b = (world.grade(prompt, g.response, g.finished).quality for g in (policy, start))
    return 0.5 if abs(a - b) < 1e-9 else float(a > b)


def test_trajectory_and_selected_checkpoint_are_those_of_the_saved_policies(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "best_step", lambda trajectory: 2)
    config = composed(
        cell(*ON, "selection.keep=true", "trainer.learning_rate=0.02", "trainer.warmup_steps=0")
    )
    record = read_record(pipeline.run(config))
    store, path = Store(config), record.trajectory
    assert path is not None and path.judge == "oracle"
    asked = selection.selection_prompts(config)
    texts = [p.text for p in asked]
    assert path.prompts == [p.id for p in asked]
    assert [m.step for m in path.checkpoints] == [1, 2, 3]
    start = greedy(config.generator, texts)
    assert path.start_quality == pytest.approx(
        [world.grade(t, g.response, g.finished).quality for t, g in zip(texts, start, strict=True)], abs=1e-6
    )
    places = {1: store.checkpoint / "step-1", 2: store.checkpoint / "step-2", 3: store.checkpoint}
    distinct = set()
    for checkpoint in path.checkpoints:
        policy = greedy(str(places[checkpoint.step]), texts)
        distinct.add(tuple(g.response for g in policy))
        expected = [duel(t, p, s) for t, p, s in zip(texts, policy, start, strict=True)]
        assert checkpoint.points == [[e, e] for e in expected]
        assert checkpoint.quality == pytest.approx(
            [world.grade(t, g.response, g.finished).quality for t, g in zip(texts, policy, strict=True)],
            abs=1e-6,
        )
        assert checkpoint.unscored == {}
    assert len(distinct) > 1  # checkpoints that all say the same would test nothing

    assert record.selected is not None and record.selected.step == 2
    responses = greedy(str(places[2]), [p.prompt for p in record.pairs])
    assert record.selected.responses == responses
    assert record.selected.verdicts is not None
    for pair, response, verdict in zip(record.pairs, responses, record.selected.verdicts[::2], strict=True):
        points = {"first": 1.0, "tie": 0.5, "second": 0.0}[verdict.outcome]
        assert verdict.policy_first and verdict.prompt_id == pair.prompt_id
        assert points == duel(pair.prompt, response, pair.start)


def test_selection_changes_nothing_else(cell: Cell) -> None:
    without = read_record(pipeline.run(composed(cell("reward=random", "trainer.max_steps=3"))))
    config = composed(cell(*ON))
    record = read_record(pipeline.run(config))
    assert (record.pairs, record.verdicts) == (without.pairs, without.verdicts)
    assert record.history == without.history
    assert without.trajectory is without.selected is None
    assert "selection" not in without.config and record.config["selection"]["every"] == 1
    assert not list(Store(config).checkpoint.glob("step-*"))
    assert (Store(config).checkpoint / "model.safetensors").exists()


def test_a_killed_selection_is_taken_up_where_it_was(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    config, asked = composed(cell(*ON)), []
    respond = evaluation.respond

    def counted(run: Run, checkpoint: Any, *rest: Any, **settings: Any) -> Any:
        asked.append(Path(checkpoint.name).name)
        if asked[-2:] == ["step-1", "step-2"]:
            raise RuntimeError("the power is out")
        return respond(run, checkpoint, *rest, **settings)

    monkeypatch.setattr(evaluation, "respond", counted)
    with pytest.raises(RuntimeError, match="the power is out"):
        pipeline.run(config)
    record = read_record(pipeline.run(config))
    assert asked[2:6] == ["step-1", "step-2", "step-2", "checkpoint"]  # after the starts of both uses
    assert record.trajectory is not None and len(record.trajectory.checkpoints) == 3


@pytest.mark.parametrize(
    ("points", "step"),
    [
        ([[[1.0, 0.5]], [[1.0, 1.0]], [[0.0, 0.5]]], 20),
        ([[[1.0, 0.5]], [[0.5, 1.0]], [[0.5, 0.5]]], 10),  # the earliest of equals
        ([[[0.0, 1.0]], [[0.5, None]], [[0.5, 1.0]]], None),  # one order alone could be position bias
        # on the second prompt alone
        ([[[0.0, 1.0], [1.0, 0.0]], [[1.0, None], [0.5, 0.5]], [[0.0, 0.0], [1.0, 0.5]]], 30),
        ([[[0.5, None]], [[None, 1.0]], [[0.0, 1.0]]], None),  # none that all have scored
    ],
)
def test_the_best_is_the_one_that_wins_most(points: list[list[list[float | None]]], step: int | None) -> None:
    checkpoints = [CheckpointResult(10 * (i + 1), own, None, {}) for i, own in enumerate(points)]
    assert selection.best_step(Trajectory("oracle", ["p"], None, checkpoints)) == step


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("data.eval_prompts=90", "selection.split=eval", "selection.prompts=30"),
        ("scale=laptop", "selection.prompts=44"),  # all that evaluation leaves of 344
        (*OPEN_ENDED, "selection.prompts=76"),  # and of 140
    ],
)
def test_no_selection_prompt_is_an_evaluation_prompt(overrides: tuple[str, ...]) -> None:
    config = composed(["selection.every=5", *overrides])
    found = selection.selection_prompts(config)
    evaluated = inputs.load_prompts(config.data, config.data.eval_split, config.data.eval_prompts)
    assert len({p.id for p in found}) == len({p.text for p in found}) == config.selection.prompts
    assert not {p.text for p in found} & {p.text for p in evaluated}
    assert not {p.id for p in found} & {p.id for p in evaluated}
    assert selection.selection_prompts(config) == found


def test_prompts_of_another_use_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadConfig, match=r"selection\.split=train.*are training prompts too, such as"):
        selection.selection_prompts(composed(["selection.every=5", "selection.split=train"]))
    split = world.split_prompts  # the same prompts by another name
    monkeypatch.setattr(world, "split_prompts", lambda name: split("eval" if name == "again" else name))
    with pytest.raises(BadConfig, match=r"selection\.split=again.*are evaluation prompts too, such as"):
        selection.selection_prompts(composed(["selection.every=5", "selection.split=again"]))


def test_what_is_off_is_no_part_of_a_run() -> None:
    plain, other = composed([]), composed(["selection.prompts=7", "capabilities.chat_template=true"])
    assert plain.run_id == other.run_id
    assert not {"selection", "capabilities"} & plain.settings.keys()
    on = composed(["selection.every=10"])
    assert len({c.run_id for c in (plain, on, composed(["selection.every=10", "selection.prompts=7"]))}) == 3
    assert on.run_id == composed(["selection.every=10", "selection.keep=true"]).run_id
    assert identity.start_id(on) == identity.start_id(plain)
    assert composed(["capabilities=world"]).run_id != plain.run_id


def test_checkpoints_are_compared_on_the_prompts_that_all_have_scored() -> None:
    """By its own prompts the second would win by 50 to 33 %; on the shared one the first does."""
    first, second = [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]], [[0.5, 0.5], [None, None], [None, None]]
    path = Trajectory(
        "j",
        ["a", "b", "c"],
        None,
        [CheckpointResult(1, first, None, {}), CheckpointResult(2, second, None, {})],
    )
    assert selection.best_step(path) == 1
    [warning] = selection.comparison_warnings(path)
    assert (
        warning
        == "the checkpoints have 2 of 6 selection verdicts scored in common, and were compared by these"
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("selection.prompts=5000",),
            r"selection\.split=tune, selection\.prompts=5000: data=world: .*asked for",
        ),
        (("selection.split=elsewhere",), r"selection\.split=elsewhere.*it must be one of"),
        (
            ("judge@selection.judge=reference_similarity",),
            "can judge none of the selection prompts of data=world",
        ),
    ],
)
def test_what_cannot_be_had_is_said_before_training(
    cell: Cell, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(BadConfig, match=message):
        preparation.prepare(composition.compose_cells(cell("selection.every=1", *overrides)))
