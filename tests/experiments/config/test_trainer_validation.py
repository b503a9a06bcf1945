"""Complete runs of DPO, SFT, distillation and best-of-n on random-weight models, and settings that are refused."""

from collections.abc import Callable

import pytest
from plain_rewards import FunctionReward

from analysis import build, summarize
from analysis.records.names import display_name
from cme.evaluation.best_of_n import best_response
from cme.records import read_json, read_record
from experiments.config import composition, identity
from experiments.config.components import Component
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.run import pipeline, preparation, training
from experiments.run.store import Store

Cell = Callable[..., list[str]]
TRAINED = ("trainer.max_steps=2", "trainer.per_device_train_batch_size=8", "trainer.monitor_prompts=4")
DISTILLED = ("regime=sft", "verifier=qwen")  # the same tokenizer


@pytest.fixture
def run_of(cell: Cell) -> Callable[..., Run]:
    """Small runs of the trainers, without the settings of `cell` for GRPO."""

    def composed(trainer: str, *overrides: str) -> Run:
        small = [a for a in cell() if not a.startswith("trainer.")]
        own = {
            "sft": (*TRAINED, "trainer.sampling.max_new_tokens=6"),
            "dpo": TRAINED,
            "distillation": (*TRAINED[:2], *DISTILLED, "trainer.max_completion_length=6"),
        }.get(trainer, ())
        [config] = composition.compose_cells([*small, f"trainer={trainer}", *own, *overrides])
        return config

    return composed


@pytest.mark.parametrize("trainer", ["dpo", "sft", "distillation"])
def test_a_trained_run_is_complete(run_of: Callable[..., Run], trainer: str) -> None:
    config = run_of(trainer)
    record = read_record(pipeline.run(config))
    assert record.reward == trainer and f"-{trainer}-" in record.run_id
    assert record.history["step"] == [1, 2] and "reward" not in record.history
    assert len(record.history["kl"]) == 2 and "quality" in record.history
    assert "reward" not in record.config and record.config["trainer"]["method"] == trainer
    assert len(record.pairs) == 12 and len(record.verdicts) == 24
    assert (Store(config).checkpoint / "model.safetensors").exists()
    assert f"{display_name(trainer)}: win rate" in summarize([record])


def test_selection_works_for_dpo(run_of: Callable[..., Run]) -> None:
    config = run_of("dpo", "selection.every=1", "selection.prompts=12")
    record = read_record(pipeline.run(config))
    assert record.trajectory is not None and [m.step for m in record.trajectory.checkpoints] == [1, 2]


def test_a_verifier_answers_once(run_of: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = run_of("sft"), run_of("sft", "family=llama")
    pipeline.run(first)
    path = Store(first).verifiers / f"{identity.verifier_answers_id(first)}.json"
    assert identity.verifier_answers_id(second) == identity.verifier_answers_id(first)
    answers = read_json(path)["value"]
    assert len(answers) == 24 and len({s["response"] for s in answers}) > 12, "sampled, one per prompt"

    def never(*_: object) -> None:
        raise AssertionError("the verifier answered before")

    monkeypatch.setattr(training, "generate", never)
    assert read_record(pipeline.run(second)).family == "llama"


def test_best_of_n_answers_with_the_best_sample(run_of: Callable[..., Run]) -> None:
    config = run_of("best_of_n", "trainer.num_generations=3")
    record = read_record(pipeline.run(config))
    assert record.reward == "best_of_n_cme" and record.history == {} and record.stopped is None
    groups = read_json(Store(config).samples)["value"]
    assert [len(group) for group in groups] == [3] * 12
    for pair, group in zip(record.pairs, groups, strict=True):
        highest = max(sample["reward"] for sample in group)
        assert pair.policy.response in [s["generation"]["response"] for s in group if s["reward"] == highest]
    assert record.warnings == [] and record.untrained is None and not Store(config).checkpoint.exists()
    assert pipeline.run(config) == Store(config).record


def reward_by(monkeypatch: pytest.MonkeyPatch, function: Callable[..., list[float | None]]) -> None:
    """Let a function stand for CME."""
    instantiate = Component.instantiate
    monkeypatch.setattr(
        Component,
        "instantiate",
        lambda one, **more: FunctionReward(function) if one.name == "cme" else instantiate(one, **more),
    )


def test_samples_without_a_reward_give_a_warning(
    run_of: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(prompts: list[object], *_: object, **__: object) -> list[float | None]:
        return [None, None, None, 1.0] + [0.0] * (len(prompts) - 4)

    config = run_of("best_of_n", "trainer.num_generations=2")
    reward_by(monkeypatch, some)
    record = read_record(pipeline.run(config))
    assert record.warnings == [
        "best-of-n: 3 of 24 samples have no reward; 1 of 12 prompts have none with one, and their first sample is "
        "the response"
    ]
    groups = training.recorded_samples(Store(config))
    assert (
        record.pairs[1].policy.response
        == groups[1][1].generation.response
        == best_response(groups[1]).response
    )


@pytest.mark.parametrize("value", [0.5, None])
def test_best_of_n_without_a_choice_says_so(
    run_of: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, value: float | None
) -> None:
    def same(prompts: list[object], *_: object, **__: object) -> list[float | None]:
        return [value] * len(prompts)

    reward_by(monkeypatch, same)
    record = read_record(pipeline.run(run_of("best_of_n", "trainer.num_generations=2")))
    assert record.untrained == "no prompt has samples with different rewards"
    assert "no prompt has samples with different rewards, so both sides are the untrained model" in summarize(
        [record]
    )


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_report_has_all_trainers(
    run_of: Callable[..., Run], cell: Cell, tmp_path_factory: pytest.TempPathFactory
) -> None:
    configs = [run_of("best_of_n"), run_of("sft"), *composition.compose_cells(cell("reward=random"))]
    folders = [pipeline.run(config).parent for config in configs]
    alone = build(folders[:1], tmp_path_factory.mktemp("alone")).read_text()
    assert "best_of_n_cme" in alone and "Without a training history" in alone
    together = build(folders, tmp_path_factory.mktemp("together"))
    text = together.read_text()
    assert all(name in text for name in ("best_of_n_cme", "sft", "random"))


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (
            ["scale=laptop", "trainer=dpo"],
            ["trainer=dpo", "data=instruction_following", "none", "data=world"],
        ),
        (["trainer.method=dpo"], ["trainer.method=dpo", "trainer=dpo"]),
        (["trainer=dpo", "trainer.beta=0"], ["trainer.beta=0", "above 0"]),
        (["trainer=dpo", "trainer.loss_type=dapo"], ["trainer.loss_type=dapo", "sigmoid"]),
        (["trainer=dpo", "+data.pairs.foo=1"], ["trainer.pairs.foo"]),
        (["trainer=best_of_n", "trainer.sampling.temperature=0"], ["trainer.sampling.temperature=0"]),
        (["trainer=best_of_n", "selection.every=1"], ["trainer=best_of_n", "selection.every=null"]),
        (["trainer=best_of_n", "capabilities=world"], ["trainer=best_of_n", "capabilities=none"]),
        (
            ["trainer=best_of_n", "reward.granularity=token"],
            ["trainer=best_of_n", "reward.granularity=token"],
        ),
    ],
)
def test_a_run_that_cannot_work_is_refused_with_one_sentence(overrides: list[str], named: list[str]) -> None:
    with pytest.raises(BadConfig) as refused:
        composition.compose_cells(overrides)
    message = str(refused.value)
    assert all(words in message for words in named), message
    assert "\n" not in message


def test_dpo_at_a_scale_without_sizes_needs_sizes() -> None:
    with pytest.raises(
        BadConfig, match=r"no sizes at scale=laptop: set .*trainer.learning_rate.*trainer.max_steps"
    ):
        composition.compose_cells(
            ["scale=laptop", "trainer=dpo", "+data.pairs={_target_: cme.miniature.preferences.load_pairs}"]
        )


def test_an_unused_reward_is_not_resolved() -> None:
    [config] = composition.compose_cells(
        ["trainer=dpo", "reward=majority_vote"]
    )  # its group size is a field of GRPO
    assert "reward" not in config.settings


def test_distillation_between_other_tokenizers_is_refused_before_work(run_of: Callable[..., Run]) -> None:
    config = run_of("distillation", "verifier=gemma")
    with pytest.raises(BadConfig, match="trainer=distillation verifier=gemma") as refused:
        preparation.prepare([config])
    assert "different vocabularies" in str(refused.value) and config.generator in str(refused.value)
    assert not Store(config).folder.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("trainer", "least"), [("dpo", 0.4), ("sft", 0.55), ("best_of_n", 0.4)])
def test_each_raises_quality_in_the_miniature(
    trainer: str, least: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from cme.miniature import world

    [config] = composition.compose_cells(
        [f"trainer={trainer}", "experiment=tuning", f"results_dir={tmp_path_factory.mktemp('runs')}"]
    )
    preparation.prepare([config])
    pairs = read_record(pipeline.run(config)).pairs

    def quality(who: str) -> float:
        found = [(p.prompt, getattr(p, who)) for p in pairs]
        return sum(world.grade(q, r.response, bool(r.finished)).quality for q, r in found) / len(found)

    assert quality("policy") > max(least, quality("start"))
