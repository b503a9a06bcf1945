"""Run ids: equal for equal settings, different for each setting that changes results."""

import copy
import re
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from composed_runs import compose as cell

from experiments.config import composition, identity
from experiments.config.runs import Run


def other(value: Any) -> Any:
    """Another value of much the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return {"other": 1} if isinstance(value, dict) else f"{value or ''}x"


def changed(run: Run, path: str) -> Run:
    """The run with one field changed, and no field that refers to it."""
    values = copy.deepcopy(run.values)
    *parents, last = path.split(".")
    node = reduce(lambda inner, key: inner[key], parents, values)
    node[last] = other(node[last])
    return with_values(run, values)


def with_values(run: Run, values: dict[str, Any]) -> Run:
    """The run with other values, and their id."""
    made = replace(run, values=values)
    made.run_id = identity.run_id(made)
    return made


ALL_ON = ("selection.every=10", "capabilities=world")
EVALUATION = re.compile(
    r"judge\.|capabilities\.|selection\.(split|prompts|judge)|evaluation\.(both_orders|max_new_tokens|stop)"
    r"|data\.(name|eval_split|eval_prompts|source\.eval_)"
)
"""The fields that change nothing of the training."""
OTHER_TRAINERS = [("trainer=dpo",), ("trainer=sft",), ("trainer=distillation",), ("trainer=best_of_n",)]


@pytest.mark.parametrize("overrides", [(), ALL_ON, ("scale=paper", "family=llama"), *OTHER_TRAINERS])
def test_a_field_either_changes_results_or_is_neutral(overrides: tuple[str, ...]) -> None:
    config = cell(*overrides)
    neutral, counted = identity.neutral_fields(config), identity.identity_fields(config)
    for path in identity.flatten(config.settings):
        assert any(f"{path}.".startswith(f"{one}.") for one in neutral) != (path in counted), path


@pytest.mark.parametrize(
    "overrides", [(), ALL_ON, ("scale=laptop",), ("scale=paper", "family=llama"), *OTHER_TRAINERS]
)
def test_a_field_changes_the_run_and_the_training_unless_it_belongs_to_the_evaluation(
    overrides: tuple[str, ...],
) -> None:
    """A new field is in the training's id unless it is declared otherwise."""
    config = cell(*overrides)
    counted = identity.identity_fields(config).keys() - {"trainer.method"}  # which chooses the schema itself
    assert len(counted) > 30
    others = {path: changed(config, path) for path in counted}
    assert [path for path, other in others.items() if other.run_id == config.run_id] == []
    evaluation = {path for path in counted if EVALUATION.match(path)}
    if config.trainer.method in ("dpo", "sft"):  # whose monitors respond as long
        evaluation -= {"evaluation.max_new_tokens"}
    expected = identity.training_id(config)
    moved = {path for path, other in others.items() if identity.training_id(other) != expected}
    assert moved == counted - evaluation and len(evaluation) >= 4


@pytest.mark.parametrize(
    ("overrides", "responses"),
    [
        (("judge=openai", "judge.model=a"), True),
        (("evaluation.both_orders=false",), True),
        (("capabilities=world",), True),
        (("data.eval_prompts=60",), False),
        (("data.eval_split=tune",), False),
        (("evaluation.max_new_tokens=9",), False),
        (("evaluation.stop=template",), False),
    ],
)
def test_evaluations_share_a_training(overrides: tuple[str, ...], responses: bool) -> None:
    first, second = cell(), cell(*overrides)
    assert first.run_id != second.run_id
    assert identity.training_id(first) == identity.training_id(second)
    assert (identity.responses_fields(first) == identity.responses_fields(second)) == responses


def test_evaluations_of_the_mathematics_track_share_a_training() -> None:
    words = (
        *("scale=paper", "family=qwen_math", "regime=pretrained", "verifier=qwen_math"),
        "selection.every=null",
    )
    cells = [cell(*words, f"data={data}") for data in ("math", "math_amc23", "math_aime24")]
    assert len({c.run_id for c in cells}) == len({str(identity.responses_fields(c)) for c in cells}) == 3
    assert len({identity.training_id(c) for c in cells}) == 1
    other = cell(*words, "data=math", "data.source.path=elsewhere")
    assert identity.training_id(other) != identity.training_id(cells[0])


def test_a_file_of_evaluation_prompts_can_change_the_training() -> None:
    """Without it, a fifth of the prompts is left out of training."""
    judges = ("judge=reference_similarity", "judge@selection.judge=reference_similarity")
    words = ("scale=laptop", "data=file", "data.path=mine.jsonl", *judges)
    assert identity.training_id(cell(*words)) != identity.training_id(cell(*words, "data.eval_path=x.jsonl"))


@pytest.mark.parametrize("path", ["data.source", "data.oracle"])
def test_other_functions_of_the_data_are_another_training(path: str) -> None:
    """Though the data's name, which stands for them in the run's id, is not part of the training's."""
    assert identity.training_fields(cell())[f"{path}._target_"].startswith("cme.miniature.world.")
    assert identity.training_id(cell()) != identity.training_id(cell("data=arithmetic"))


@pytest.mark.parametrize(
    "path",
    ["results_dir", "tracker", "evaluation.batch_size", "experiment.name", "reward.batch_tokens",
     "verifier.checkpoints.miniature", "trainer.vllm_mode", "reward._target_", "data.oracle._target_"],
)  # fmt: skip
def test_a_neutral_field_does_not_change_the_run(path: str) -> None:
    config = cell()
    assert path in identity.flatten(config.settings) and path not in identity.identity_fields(config)
    assert "_target_" in path or changed(config, path).run_id == config.run_id


def test_a_newer_field_does_not_count_at_the_value_of_earlier_runs() -> None:
    path = "trainer.use_bias_correction_kl"
    before, after = cell(), cell(f"{path}=false")
    assert path in identity.neutral_fields(before) and path not in identity.neutral_fields(after)
    assert before.run_id != after.run_id
    without = copy.deepcopy(before.values)
    del without["trainer"]["use_bias_correction_kl"]
    assert with_values(before, without).run_id == before.run_id


def test_neutral_settings_of_judges_are_those_of_their_classes() -> None:
    panel = ("judge=panel", "judge.members.gpt_5_2.model=a", "judge.members.anthropic.model=b")
    selection = ("judge@selection.judge=openai", "selection.judge.model=a", "selection.every=10")
    neutral = identity.neutral_fields(cell(*panel, *selection))
    for path in ("judge.members.gpt_5_2", "selection.judge"):
        assert {f"{path}.max_usd", f"{path}.base_url", f"{path}._target_"} <= set(neutral)
        assert f"{path}.model" not in neutral


def test_the_default_stop_rule_is_not_part_of_a_run_and_others_are() -> None:
    default, other = cell(), cell("evaluation.stop=checkpoint")
    assert default.run_id == cell("evaluation.stop=both").run_id != other.run_id
    assert identity.start_id(default) != identity.start_id(other)
    assert identity.verifier_responses_id(default, "v") != identity.verifier_responses_id(other, "v")


def test_an_undeclared_field_is_an_error() -> None:
    config = cell()
    with pytest.raises(KeyError, match="retries"):
        with_values(config, config.values | {"retries": 1})


def test_another_build_of_the_checkpoints_is_another_run() -> None:
    first, second = cell(), cell("scale.build=2")
    assert second.generator == "miniature:qwen-2/pretrained"
    assert second.verifier.checkpoint == "miniature:gemma-2/verifier"
    assert first.run_id != second.run_id
    assert identity.training_id(first) != identity.training_id(second)
    assert first.run_id == cell("scale.build=1").run_id


def test_the_id_of_a_run_is_the_same_everywhere() -> None:
    assert cell().run_id == "miniature-qwen-pretrained-cme-gemma-s0-d5d7018b"
    found = cell("family=llama", "regime=sft", "reward=random", "seed=3").run_id
    assert re.fullmatch(r"miniature-llama-sft-random-gemma-s3-[0-9a-f]{8}", found)
    assert found == cell("seed=3", "reward=random", "regime=sft", "family=llama").run_id


@pytest.mark.parametrize(
    ("trainer", "named", "uses_reward", "uses_verifier"),
    [
        ("grpo", "cme", True, True),
        ("best_of_n", "best_of_n_cme", True, True),
        ("dpo", "dpo", False, False),
        ("sft", "sft", False, True),
        ("distillation", "distillation", False, True),
    ],
)
def test_the_reward_and_verifier_of_a_trainer(
    trainer: str, named: str, uses_reward: bool, uses_verifier: bool
) -> None:
    run = cell(f"trainer={trainer}")
    assert re.fullmatch(rf"miniature-qwen-pretrained-{named}-gemma-s0-[0-9a-f]{{8}}", run.run_id)
    assert (cell(f"trainer={trainer}", "reward=random").run_id != run.run_id) == uses_reward
    assert run.verifiers == (["miniature:gemma-1/verifier"] if uses_verifier else [])
    assert cell(f"trainer={trainer}", "reward=random").verifiers == ([] if uses_reward else run.verifiers)


def test_a_verifiers_answers_are_shared_between_generators() -> None:
    def name(*overrides: str) -> str:
        return identity.verifier_answers_id(cell("trainer=sft", *overrides))

    assert (
        name() == name("family=llama") == name("trainer.learning_rate=1e-5") == name("data.eval_prompts=60")
    )
    others = ("verifier=llama", "seed=1", "trainer.sampling.temperature=1", "data.train_prompts=100")
    assert len({name(), *map(name, others)}) == 5


@pytest.mark.parametrize(
    ("override", "shared"),
    [
        ("seed=1", True),
        ("reward=ground_truth", True),
        ("verifier=llama", True),
        ("trainer.learning_rate=1e-5", True),
        ("data.train_prompts=100", True),
        ("data.train_split=tune_train", True),
        ("evaluation.both_orders=false", True),
        ("evaluation.batch_size=7", True),
        ("family=llama", False),
        ("regime=sft", False),
        ("scale.build=2", False),
        ("generator=elsewhere", False),
        ("evaluation.max_new_tokens=9", False),
        ("data.eval_prompts=60", False),
        ("data.eval_split=tune", False),
        ("data.seed=1", False),
    ],
)
def test_untrained_responses_are_shared_if_they_are_equal(override: str, shared: bool) -> None:
    assert (identity.start_id(cell(override)) == identity.start_id(cell())) == shared


@pytest.mark.parametrize(
    ("family", "verifier"),
    [("olmo", "llama"), ("llama", "olmo"), ("gemma", "gemma"), ("qwen", "gemma_instruct")],
)
def test_the_heldout_verifier_is_of_a_third_family(family: str, verifier: str) -> None:
    config = cell(f"family={family}", f"verifier={verifier}", "scale.build=2")
    held = re.fullmatch(r"miniature:(\w+)-2/verifier", config.heldout_verifier or "")
    assert held is not None and held[1] in {"qwen", "llama", "gemma", "olmo"} - {
        family,
        config.verifier.family,
    }


def test_without_a_third_family_there_is_no_heldout_verifier() -> None:
    held_out = "~scale.heldout.smollm2"
    assert cell("scale=laptop", held_out, "family=gemma", "regime=pretrained").heldout_verifier is None
    assert cell("scale=laptop", held_out).heldout_verifier == "package:gemma-3-270m"


def test_a_target_of_another_package_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may compute anything under a known name."""
    (tmp_path / "other_rewards.py").write_text(
        "from cme.rewards import CrossModelEntropy\n\n\nclass Negated(CrossModelEntropy):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    trusted = "trusted_packages=[other_rewards]"
    [known] = composition.compose_cells([trusted])
    [other] = composition.compose_cells([trusted, "reward._target_=other_rewards.Negated"])
    assert other.run_id != known.run_id


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("reward", "cme.rewards.ReverseKL"),
        ("reward.oracle", "cme.miniature.arithmetic.load_prompts"),
        ("judge.members.gpt_5_2", "cme.judges.local.LocalJudge"),
        ("data.source", "cme.miniature.arithmetic.load_prompts"),
        ("data.oracle", "cme.miniature.arithmetic.load_prompts"),
        ("trainer.pairs", "cme.data.ultrafeedback_pairs.load_pairs"),
    ],
)
def test_another_target_than_that_of_the_named_file_is_another_run(path: str, target: str) -> None:
    group = path.split(".")[0]
    panel = ["judge=panel", "judge.members.gpt_5_2.model=a", "judge.members.anthropic.model=b"]
    overrides = {"reward": ["reward=ground_truth"], "judge": panel, "trainer": ["trainer=dpo"]}
    config = cell(*overrides.get(group, []))
    values = copy.deepcopy(config.values)
    node = reduce(lambda inner, key: inner[key], path.split("."), values)
    assert node["_target_"].startswith("cme.")
    node["_target_"] = target
    other_run = with_values(config, values)
    assert other_run.run_id != config.run_id
    target_path = f"{path}._target_"
    assert target_path in identity.neutral_fields(config) and target_path in identity.identity_fields(
        other_run
    )


@pytest.mark.parametrize(
    ("trainer", "counts"),
    [("dpo", False), ("sft", False), ("distillation", False), ("best_of_n", True), ("grpo", True)],
)
def test_a_reward_counts_if_it_is_used(trainer: str, counts: bool) -> None:
    ids = {cell(f"trainer={trainer}", f"reward={r}").run_id for r in ("cme", "random", "majority_vote")}
    assert len(ids) == (3 if counts else 1)


def test_seeds_and_rewards_are_different_runs_of_one_untrained_model() -> None:
    cells = [cell(), cell("seed=1"), cell("reward=random"), cell("reward=ground_truth")]
    assert len({c.run_id for c in cells}) == 4
    assert len({identity.start_id(c) for c in cells}) == 1


def test_other_values_of_template_variables_are_other_responses_of_that_model() -> None:
    def ids(*words: str) -> tuple[str, str, str]:
        run = cell(*words)
        return run.run_id, identity.start_id(run), identity.verifier_responses_id(run, "v")

    own = ids()
    generator, verifier = (ids(f"chat_template.{who}.date=2025-01-31") for who in ("generator", "verifier"))
    assert len({own[0], generator[0], verifier[0]}) == 3
    assert generator[1] != own[1] == verifier[1] and verifier[2] != own[2] == generator[2]
