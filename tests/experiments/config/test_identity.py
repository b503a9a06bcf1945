"""What makes two runs the same run."""

import re
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from experiments.config import composition, identity

FAMILIES = ("qwen", "llama", "gemma", "olmo")


def cell(*overrides: str) -> DictConfig:
    [found] = composition.compose_configs(list(overrides))
    return found


def other(value: Any) -> Any:
    """Another value of much the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return {"other": 1} if isinstance(value, dict) else f"{value or ''}x"


def changed(config: DictConfig, path: str) -> DictConfig:
    """The resolved configuration with one field changed, and nothing that points to it."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    *parents, last = path.split(".")
    node = plain
    for key in parents:
        node = node[key]
    node[last] = other(node[last])
    return OmegaConf.create(plain)


ALL_ON = ("selection.every=10", "capabilities=world")


OTHER_TRAINERS = [("trainer=dpo",), ("trainer=sft",), ("trainer=best_of_n",)]


@pytest.mark.parametrize(
    "overrides", [(), ALL_ON, ("scale=laptop",), ("scale=paper", "family=llama"), *OTHER_TRAINERS]
)
def test_any_field_that_changes_results_changes_the_run(overrides: tuple[str, ...]) -> None:
    config = cell(*overrides)
    before = identity.run_id(config)
    counted = [path for path in identity.flat_settings(config) if identity.changes_results(path)]
    assert len(counted) > 30
    unmoved = [path for path in counted if identity.run_id(changed(config, path)) == before]
    assert unmoved == []


def test_fields_that_only_carry_do_not() -> None:
    config = cell()
    before = identity.run_id(config)
    for path in (
        "results_dir",
        "evaluation.batch_size",
        "experiment.name",
        "experiment.independent_verifier",
    ):
        assert path in identity.flat_settings(config)
        assert identity.run_id(changed(config, path)) == before, path


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("trainer.beta", True),
        ("evaluation.max_new_tokens", True),
        ("evaluation.batch_size", False),
        ("verifier.checkpoint", True),
        ("verifier.checkpoints.miniature", False),
        ("seed", True),
        ("scale.name", True),
        ("results_dir", False),
    ],
)
def test_the_longest_prefix_decides(path: str, changes: bool) -> None:
    assert identity.changes_results(path) == changes


@pytest.mark.parametrize("path", ["retries", "scale.device", "seeds", "trainers.beta", "results"])
def test_an_unclassified_field_is_an_error(path: str) -> None:
    with pytest.raises(KeyError, match=path):
        identity.changes_results(path)


def test_the_slug_is_readable_and_the_run_stable() -> None:
    found = identity.run_id(cell("family=llama", "regime=sft", "reward=random", "seed=3"))
    assert re.fullmatch(r"miniature-llama-sft-random-gemma-s3-[0-9a-f]{8}", found)
    assert found == identity.run_id(cell("seed=3", "reward=random", "regime=sft", "family=llama"))


def test_a_run_of_before_there_were_trainers_keeps_its_id() -> None:
    assert identity.run_id(cell()) == "miniature-qwen-pretrained-cme-gemma-s0-073c7a4e"


@pytest.mark.parametrize(
    ("trainer", "named"),
    [("dpo", "dpo"), ("sft", "sft"), ("best_of_n", "best_of_n_random"), ("grpo", "random")],
)
def test_the_slug_names_the_method(trainer: str, named: str) -> None:
    found = identity.run_id(cell(f"trainer={trainer}", "reward=random"))
    assert re.fullmatch(rf"miniature-qwen-pretrained-{named}-gemma-s0-[0-9a-f]{{8}}", found)


@pytest.mark.parametrize(
    ("trainer", "counts"), [("dpo", False), ("sft", False), ("best_of_n", True), ("grpo", True)]
)
def test_a_reward_counts_where_it_is_used(trainer: str, counts: bool) -> None:
    ids = {
        identity.run_id(cell(f"trainer={trainer}", f"reward={r}")) for r in ("cme", "random", "majority_vote")
    }
    assert len(ids) == (3 if counts else 1)


def test_who_a_run_learns_from() -> None:
    teachers = {t: identity.verifiers(cell(f"trainer={t}")) for t in ("grpo", "dpo", "sft", "best_of_n")}
    gemma = ["miniature:gemma/verifier"]
    assert teachers == {"grpo": gemma, "dpo": [], "sft": gemma, "best_of_n": gemma}
    assert identity.verifiers(cell("trainer=best_of_n", "reward=random")) == []


def test_a_verifiers_answers_are_shared_between_starts() -> None:
    def name(*overrides: str) -> str:
        return identity.verifier_answers_id(cell("trainer=sft", *overrides))

    assert (
        name() == name("family=llama") == name("trainer.learning_rate=1e-5") == name("data.eval_prompts=60")
    )
    others = ("verifier=llama", "seed=1", "trainer.sampling.temperature=1", "data.train_prompts=100")
    assert len({name(), *map(name, others)}) == 5


def test_seeds_and_rewards_are_different_runs_of_one_start() -> None:
    cells = composition.compose_configs(["-m", "reward=cme,random,ground_truth", "seed=0,1"])
    assert len({identity.run_id(c) for c in cells}) == 6
    assert len({identity.start_id(c) for c in cells}) == 1


@pytest.mark.parametrize(
    ("override", "shared"),
    [
        ("verifier=llama", True),
        ("trainer.learning_rate=1e-5", True),
        ("data.train_prompts=100", True),
        ("data.train_split=tune_train", True),
        ("evaluation.both_orders=false", True),
        ("evaluation.batch_size=7", True),
        ("family=llama", False),
        ("regime=sft", False),
        ("generator=elsewhere", False),
        ("evaluation.max_new_tokens=9", False),
        ("data.eval_prompts=60", False),
        ("data.eval_split=tune", False),
        ("data.seed=1", False),
    ],
)
def test_starts_are_shared_where_they_would_say_the_same(override: str, shared: bool) -> None:
    assert (identity.start_id(cell(override)) == identity.start_id(cell())) == shared


def test_the_heldout_verifier_is_of_a_third_family() -> None:
    verifiers = "gemma,llama,olmo,qwen,gemma_pretrained,gemma_sft,gemma_instruct"
    cells = composition.compose_configs(["-m", f"family={','.join(FAMILIES)}", f"verifier={verifiers}"])
    cells += composition.compose_configs(["-m", f"family={','.join(FAMILIES)}", "regime=sft,instruct"])
    assert len(cells) == 4 * 7 + 4 * 2
    for config in cells:
        held = identity.heldout_verifier(config)
        assert held is not None
        family, recipe = held.removeprefix("miniature:").split("/")
        assert recipe == "verifier"
        assert family not in (config.family.name, config.verifier.family)
        assert family in FAMILIES


def test_without_a_third_family_there_is_none() -> None:
    assert identity.heldout_verifier(cell("scale=laptop")) is None


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("reward=cme", "miniature-qwen-pretrained-cme-gemma-s0-073c7a4e"),
        ("reward=majority_vote", "miniature-qwen-pretrained-majority_vote-gemma-s0-d1579a59"),
        ("reward=token_entropy", "miniature-qwen-pretrained-token_entropy-gemma-s0-11457003"),
    ],
)
def test_runs_that_are_on_record_keep_their_names(override: str, expected: str) -> None:
    assert identity.run_id(cell(override)) == expected
    assert identity.run_id(cell("reward=majority_vote", "reward.train_on=8")) != expected


def test_leaves_resolve_what_they_point_to() -> None:
    found = identity.flat_settings(cell("seed=5", "reward=random"))
    assert found["reward.seed"] == 5
    assert found["generator"] == "miniature:qwen/pretrained"
    assert not any(isinstance(v, str) and "${" in v for v in found.values())
