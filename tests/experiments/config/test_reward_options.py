"""Every option of every reward changes a value or is refused; none is ignored."""

import inspect
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from cme import checkpoints
from cme.miniature import arithmetic
from cme.rewards import Reward
from cme.scoring.policy import UntrainedPolicy
from cme.scoring.token_scorer import TokenScorer
from cme.training.advantages import group_advantages
from experiments.config import composition
from experiments.config.composition import CONF
from experiments.config.runs import Run
from experiments.config.validation import BadConfig

GEMMA, LLAMA = "miniature:gemma-1/verifier", "miniature:llama-1/verifier"
GROUP = 4
PROMPT = arithmetic.load_prompts("train", 1, 0)[0]
TEXTS = [
    f"it is {PROMPT.answer}",
    "the fox",
    "12 or 13",
    "in the forest or \\boxed{12}",
    "",
    "",
    str(PROMPT.answer),
    "the bear, the fox and the cow",
]
ENDED = [True, False, True, True, False, True, True, True]
OTHER: dict[str, Any] = {
    "verifier": LLAMA,
    "score_end_of_turn": False,
    "max_prompt_tokens": 3,
    "max_response_tokens": 3,
    "dtype": "bfloat16",
    "quantization": "8bit",
    "metric": "perplexity",
    "pmi": True,
    "span": "answer",
    "answer_weight": 0.9,
    "no_answer_penalty": 3.0,
    "ensemble": "min",
    "clip": [-1.0, -0.5],
    "sigmoid": [0.0, 1.0],
    "granularity": "token",
    "alignment": "sum",
    "normalize": "sequence",
    "std_floor": 5.0,
    "empty_response": -9.0,
    "server": {},
    "chat_template_kwargs": {"close_thought": "yes"},
    "answers": "boxed",
    "oracle": None,
    "target": 3,
    "num_generations": 2,
    "train_on": 2,
    "seed": 5,
    "value": "log_probability",
    "threshold": 0.3,
    "chunks": 2,
    "no_answer": -3.0,
    "power": 2.0,
    "mask_special": True,
    "weights": {"cme": 1.0, "length": 3.0},
    "aggregation": "normalize_then_sum",
    "decay": 0.5,
    "judge": {"_target_": "cme.judges.oracle.Correctness", "answers": "boxed"},
    "neighbours": 1,
}
ORACLE = {"_target_": "cme.miniature.world.grade", "_partial_": True}
SECOND = {
    "span": "response",
    "score_end_of_turn": True,
    "granularity": "sequence",
    "oracle": ORACLE,
    "chunks": 1,
    "value": "probability",
    "power": 0.0,
    "mask_special": False,
}
"""Another value of each option, and one that replaces it where the reward has that value already."""
FOLLOWS_DATA = {
    "cme",
    "cme_no_end",
    "predictive_entropy",
    "self_likelihood",
    "ground_truth",
    "token_entropy",
    "token_entropy_last",
}
"""Rewards that may have no use for `answers`, which says what the data are (`data.answers`)."""
MAY_IGNORE = {
    "cme_rank": {"dtype", "quantization", "max_prompt_tokens"},
    "cme_length": {"num_generations"},
    "cme_ema": {"decay"},
}
"""Options that change values of CME here, but not their order (tests/cme/rewards/test_group_rewards.py follows them),
the size of groups, for which a plain sum has no use, and the decay of an average that moves with the first step
(tests/cme/rewards/test_moving_average.py)."""
DENSE, SEVERAL = {"granularity": "token"}, {"verifier": [GEMMA, LLAMA]}
BLENDED, EMBEDDED = {"span": "blended"}, {"answers": "none"}
FILES = {file.stem: OmegaConf.load(file) for file in sorted((CONF / "reward").glob("*.yaml"))}
CASES = [
    # a file without a target has the class of another with other values
    *(pytest.param(n, {}, marks=() if "_target_" in file else pytest.mark.slow) for n, file in FILES.items()),
    *(("cme", more) for more in (DENSE, SEVERAL, BLENDED)),
    ("semantic_entropy", EMBEDDED),
]


@pytest.fixture(scope="module", autouse=True)
def load_once(request: pytest.FixtureRequest) -> None:
    """Every checkpoint is loaded once, and its scores are not checked again by each reward; no reward changes one."""
    loaded: dict[str, checkpoints.Checkpoint] = {}
    load = checkpoints.load

    def cached(name: str, **settings: Any) -> checkpoints.Checkpoint:
        key = repr((name, settings))
        return loaded[key] if key in loaded else loaded.setdefault(key, load(name, **settings))

    patch = pytest.MonkeyPatch()
    patch.setattr(checkpoints, "load", cached)
    patch.setattr(TokenScorer, "_check_once", lambda scorer, pairs: None)
    request.addfinalizer(patch.undo)


def compose(name: str) -> Run:
    [run] = composition.compose_cells(
        ["data=arithmetic", f"reward={name}", f"trainer.num_generations={GROUP}"]
    )
    return run


def observe(reward: Reward, policy: UntrainedPolicy) -> list[list[float]]:
    """All that a training can see of a reward: values, values per token, and advantages."""
    reward.bind(policy)
    tokenizer = policy.processing_class
    ids = [
        tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * ended
        for text, ended in zip(TEXTS, ENDED, strict=True)
    ]
    values = reward(
        [PROMPT.text] * 8, TEXTS, ids, answer=[PROMPT.answer] * 8, log_metric=lambda name, value: None
    )
    rewards = torch.tensor([float("nan") if v is None else v for v in values])
    if reward.granularity == "sequence":
        advantages = group_advantages(rewards[:, None], GROUP, floor=reward.std_floor, scale=True)[:, 0]
        return [rewards.tolist(), advantages.tolist()]
    padded = torch.nn.utils.rnn.pad_sequence(list(reward.token_values), True, float("nan"))
    by_token = group_advantages(padded, GROUP, reward.normalize, floor=reward.std_floor, scale=True)
    return [rewards.tolist(), padded.flatten().tolist(), by_token.flatten().tolist()]


@pytest.mark.parametrize(
    ("name", "more"), CASES, ids=lambda given: given if isinstance(given, str) else repr(given)
)
def test_every_option_changes_a_value_or_is_refused(name: str, more: dict[str, Any]) -> None:
    run = compose(name)
    start = checkpoints.load(run.generator)
    policy = UntrainedPolicy(start.tokenizer, start.model)
    target: Any = run.reward.load_target()
    given = run.reward.arguments | more
    members = {"members": run.reward.members} if run.reward.members else {}

    def outcome(arguments: dict[str, Any]) -> str:
        component = type(run.reward)(name, run.reward.target, arguments, run.reward.members)
        try:
            target.check(**arguments, **members)
            return repr(observe(component.instantiate(), policy))
        except ValueError as error:
            return f"refused: {error}"

    before = outcome(given)
    assert not before.startswith("refused") and outcome(given) == before
    ignored = []
    for option in inspect.signature(target).parameters.keys() - target.NEUTRAL - members.keys():
        assert option in OTHER, (
            f"reward={name}: add another value of its option {option} to OTHER in this file"
        )
        value = OTHER[option] if given.get(option, ...) != OTHER[option] else SECOND[option]
        after = outcome(given | {option: value})
        if after == before or (after.startswith("refused") and option not in after):
            ignored.append(option)
    assert set(ignored) <= MAY_IGNORE.get(name, {"answers"} if name in FOLLOWS_DATA else set())


def test_a_floor_under_a_deviation_that_nothing_is_divided_by_is_refused() -> None:
    with pytest.raises(
        BadConfig, match=r"reward.std_floor=0.1 has no effect with trainer.scale_rewards=none"
    ):
        composition.compose_cells(["reward.std_floor=0.1", "trainer.scale_rewards=none"])
