"""The reward by itself in a plain TRL script."""

import asyncio
import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from verifiers import Folder

from cme.rewards import (
    CrossModelEntropy,
    CrossModelEntropyRank,
    EndogenousReward,
    GroundTruth,
    MajorityVote,
    ReferenceLikelihood,
    ReverseKL,
    Reward,
    SelfCertainty,
    SemanticEntropy,
    SequenceLikelihood,
    TokenEntropy,
)
from cme.scoring.token_scorer import TokenScorer
from cme.training.history import StepClock
from cme.training.trl_internals import PromptTrainer

TEXTS = ["what is 3 plus 4?", "name two animals.", "what color is the fox?", "is the bear large?"]


def script(
    folder: Path,
    model: Path,
    rewards: list[Any],
    kind: Any = GRPOTrainer,
    config: Any = GRPOConfig,
    prompts: Sequence[Any] = TEXTS[:1],
    **given: Any,
) -> Any:
    """A plain TRL script's trainer, by default for one step on one group of four."""
    few = {"max_steps": 1, "per_device_train_batch_size": 4, "num_generations": 4, "max_completion_length": 4}
    plain = {"save_strategy": "no", "report_to": [], "use_cpu": True, "bf16": False, "disable_tqdm": True}
    return kind(
        model=str(model),
        reward_funcs=rewards,
        args=config(output_dir=str(folder), **few | plain | given),
        train_dataset=Dataset.from_list([{"prompt": p} for p in prompts]),
    )


@pytest.mark.parametrize(("chatty", "settings"), [(True, {}), (False, {"pmi": True})])
def test_reward_in_a_trl_script(
    tiny_folder: Folder, tmp_path: Path, chatty: bool, settings: dict[str, Any]
) -> None:
    prompts: list[Any] = [[{"role": "user", "content": t}] for t in TEXTS] if chatty else TEXTS
    reward = CrossModelEntropy(str(tiny_folder("llama")), **settings)
    steps = {"max_steps": 2, "logging_steps": 1, "max_completion_length": 8}
    trainer = script(tmp_path, tiny_folder("qwen"), [reward], prompts=prompts, **steps)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert len(logs) == 2
    for entry in logs:
        assert math.isfinite(entry["rewards/cme/mean"]) and entry["rewards/cme/mean"] == entry["reward"]
        assert entry["reward"] < 0 or "pmi" in settings
        assert entry["rewards/cme/std"] > 0 and entry["response_truncated"] == 0
        assert math.isfinite(entry["loss"]) and entry["grad_norm"] > 0


class Given(Reward):
    """Rewards that are known in advance."""

    __name__ = "given"

    def __init__(self, values: list[float | None]) -> None:
        self.given = values

    def __call__(self, *_: Any, **__: Any) -> list[float | None]:
        return self.given


class GivenLater(Given):
    """The same, asynchronous."""

    async def __call__(self, *_: Any, **__: Any) -> list[float | None]:  # type: ignore[override]
        await asyncio.sleep(0)
        return self.given


def other(completions: list[Any], **_: Any) -> list[float]:
    """A second reward, which scores everything."""
    return [0.5, 0.25, 0.0, 0.75][: len(completions)]


def standardized(*values: float) -> list[float]:
    """Advantages of one group's sums."""
    scored = torch.tensor(values)
    return list(((scored - scored.mean()) / (scored.std() + 1e-4)).tolist())


GRPO, RLOO = (GRPOTrainer, GRPOConfig), (RLOOTrainer, RLOOConfig)
SUMS = (0.25 - 1, 0.0 - 2, 0.75 - 3)


@pytest.mark.parametrize(
    ("reward", "position", "kind", "settings", "advantages"),
    [
        (Given, 0, GRPO, {}, [0.0, *standardized(*SUMS)]),
        (GivenLater, 1, GRPO, {}, [0.0, *standardized(*SUMS)]),
        (Given, 0, (partial(PromptTrainer, StepClock()), GRPOConfig), {}, [0.0, *standardized(*SUMS)]),
        # minus the mean of the two others
        (Given, 0, RLOO, {"beta": 0.0}, [0.0, -0.75 + 2.125, -2.0 + 1.5, -2.25 + 1.375]),
        (Given, 0, GRPO, {"reward_weights": [0.0, 1.0]}, standardized(0.5, 0.25, 0.0, 0.75)),
    ],
)
def test_none_beside_a_second_reward_is_no_reward(
    tiny_folder: Folder,
    tmp_path: Path,
    reward: type[Given],
    position: int,
    kind: Any,
    settings: dict[str, Any],
    advantages: list[float],
) -> None:
    """Unless the reward has no weight."""
    rewards: list[Any] = [other]
    rewards.insert(position, reward([None, -1.0, -2.0, -3.0]))
    trainer = script(tmp_path, tiny_folder("qwen"), rewards, *kind, **settings)
    trainer.train()
    assert list(trainer._logs["advantages"]) == pytest.approx(advantages, abs=1e-3)


@pytest.mark.parametrize(
    ("build", "unscored"),
    [
        (CrossModelEntropy, [0, 1]),
        (ReverseKL, [0, 1]),
        (EndogenousReward, [0, 1]),
        (lambda folder: CrossModelEntropyRank(folder, num_generations=4), [0, 1]),
        (lambda _: SequenceLikelihood(), [0, 1]),
        (lambda _: ReferenceLikelihood("number"), [1, 2]),
        (lambda _: TokenEntropy(), [0, 1]),
        (lambda _: SelfCertainty(), [0, 1]),
        (lambda _: GroundTruth(None, "number"), [2]),
        (lambda _: MajorityVote("number", 4, train_on=2), [2, 3]),
        (lambda _: SemanticEntropy("boxed", 4), [0, 1, 2, 3]),
    ],
)
def test_every_reward_that_gives_none(
    tiny_folder: Folder, tmp_path: Path, build: Callable[[str], Reward], unscored: list[int]
) -> None:
    """The first completion is empty, the second longer than the context, and the third has no gold answer."""
    reward = build(str(tiny_folder("llama")))
    trainer = script(tmp_path, tiny_folder("qwen"), [reward, other])
    reward.bind(trainer)
    texts = ["", "it is 7. " * 200, "it is 8.", "it is 9."]
    ids = [trainer.processing_class(text)["input_ids"] for text in texts]
    inputs = [{"prompt": TEXTS[0], "answer": answer} for answer in ("7", "7", None, "9")]
    direct = reward.values([TEXTS[0]] * 4, texts, ids, answer=["7", "7", None, "9"])
    assert all(value is None or math.isfinite(value) for value in direct)
    if isinstance(reward, ReferenceLikelihood | GroundTruth):  # in a batch without a gold answer
        assert reward.values([TEXTS[0]] * 4, texts, ids, answer=[None] * 4) == [None] * 4
    values = trainer._calculate_rewards(inputs, [TEXTS[0]] * 4, texts, ids)
    assert [i for i, row in enumerate(values) if row.isnan().all()] == unscored
    assert not values[[i for i in range(4) if i not in unscored]].isnan().any()


def test_a_reward_without_a_constructor_takes_no_settings() -> None:
    class Plain(Reward):
        def __call__(self, *_: Any, **__: Any) -> list[float | None]:
            return []

    assert not inspect.signature(Plain).parameters and list(inspect.signature(Given).parameters) == ["values"]
    with pytest.raises(TypeError):
        Plain(setting=1)


@pytest.mark.parametrize("chatty", [True, False])
def test_rewards_of_the_policy_see_the_prompt_that_trl_samples_from(
    tiny_folder: Folder, tmp_path: Path, chatty: bool
) -> None:
    """TRL writes plain text without the chat template, and gives a template the trainer's values."""
    verifier = CrossModelEntropy(str(tiny_folder("llama")))
    rewards = {
        "certainty": SelfCertainty(),
        "entropy": TokenEntropy(),
        "likelihood": SequenceLikelihood(),
        "kl": ReverseKL(str(tiny_folder("llama"))),
        "reference": ReferenceLikelihood("number"),
    }
    kwargs = {"chat_template_kwargs": {"tone": "kind"}}
    trainer = script(tmp_path, tiny_folder("qwen"), [*rewards.values()], **kwargs if chatty else {})
    tokenizer = trainer.processing_class
    tokenizer.chat_template = "{{ tone | default('plain') }} " + tokenizer.chat_template
    for reward in (verifier, *rewards.values()):
        reward.bind(trainer)
    prompt: Any = [{"role": "user", "content": TEXTS[0]}] if chatty else TEXTS[0]
    text = TEXTS[0]
    if chatty:
        text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True, tone="kind")
        assert text.startswith("kind ")
    sampled = tokenizer(text)["input_ids"]
    assert trainer._tokenize_prompts([prompt])[0] == [sampled]
    completion = tokenizer("it is 7.")["input_ids"]
    found = {
        name: reward([prompt], ["it is 7."], [completion], answer=["7"])[0]
        for name, reward in rewards.items()
    }
    [score] = TokenScorer(trainer.model).score([sampled], [completion], entropy=True, certainty=True)
    [q] = verifier([prompt], ["it is 7."], [completion])
    assert q is not None
    logs = score.log_likelihoods.double()
    [gold] = [i for i, token in enumerate(completion) if "7" in tokenizer.decode([token])]
    assert found == {
        "certainty": pytest.approx(float(score.certainties.mean())),
        "entropy": pytest.approx(-float(score.entropies.mean())),
        "likelihood": pytest.approx(float(logs.sum())),
        "kl": pytest.approx(q - float(logs.mean()), rel=1e-4),
        "reference": pytest.approx(float(logs[gold]), rel=1e-4),
    }
