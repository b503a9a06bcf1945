"""A small training on known completions, in one process or in several that `torchrun` starts.

    trained_together.py GENERATOR VERIFIER OUT

Completions depend on the step and on their position in the whole batch only, so that any number of processes trains
on the same ones. Writes the advantages of each step, the history and the trained weights to OUT.
"""

import json
import random
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from trl import GRPOTrainer

from cme.checkpoints import load
from cme.judges.base import Judge, JudgeVerdict, verdict_from_scores
from cme.miniature import world
from cme.records import Generation, Prompt
from cme.rewards import (
    CrossModelEntropy,
    CrossModelEntropyEMA,
    MajorityVote,
    PairwiseJudge,
    RandomReward,
    SemanticEntropy,
    TokenEntropy,
)
from cme.runtime import distributed
from cme.scoring.token_scorer import TokenScorer
from cme.scoring.verifier import Verifier
from cme.training.collapse import CollapseGuard
from cme.training.grpo import train_grpo
from cme.training.job import TrainingJob
from cme.training.monitors import Monitors
from cme.training.trl_internals import PromptTrainer

GROUP = 8
SETTINGS = {
    "max_steps": 2,
    "num_generations": GROUP,
    "max_completion_length": 6,
    "learning_rate": 0.1,
    "optim": "sgd",  # Adam would amplify the rounding of gradients near 0
    "beta": 0.1,
    "temperature": 1.0,
    "top_k": 0,
    "warmup_steps": 0,
    "weight_decay": 0.0,
}
PASSES = {"gradient_accumulation_steps": 8, "steps_per_generation": 8}
ROWS = {
    "one group": {"per_device_train_batch_size": 8},
    "two groups": {"per_device_train_batch_size": 16},
    "by passes": {"per_device_train_batch_size": 1, **PASSES},
}
TEXTS = ["fox", "the fox", "dog cat", "bird", "4 2", "fish", "field"]


def known_completions(
    self: GRPOTrainer, prompt_ids: list[list[int]], *_: Any
) -> tuple[list[list[int]], None]:
    """Replaces TRL's sampling."""
    first, completions = distributed.process_index() * len(prompt_ids), []
    for position in range(first, first + len(prompt_ids)):
        rng = random.Random(f"{self.state.global_step}:{position}")
        ids = self.processing_class(rng.choice(TEXTS), add_special_tokens=False)["input_ids"][:5]
        completions.append([*ids, *[self.processing_class.eos_token_id] * (rng.random() < 0.8)])
    return completions, None


class Longer(Judge):
    """The longer response wins."""

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        return verdict_from_scores(len(first.response), len(second.response), margin=0)


REWARDS: dict[str, Callable[[str], Any]] = {
    "majority_vote": lambda _: MajorityVote("whole", GROUP),
    "pairwise_judge": lambda _: PairwiseJudge(Longer(), GROUP),
    "cme_ema": lambda generator: CrossModelEntropyEMA(generator, decay=0.5, score_end_of_turn=True),
    "semantic_entropy": lambda _: SemanticEntropy("whole", GROUP),
    "random": lambda _: RandomReward(0),
    "token_entropy": lambda _: TokenEntropy(),
    "cme": lambda verifier: CrossModelEntropy(verifier, score_end_of_turn=True),
    "dense": lambda verifier: CrossModelEntropy(verifier, granularity="token", score_end_of_turn=True),
}


def train(generator: str, verifier: str, out: Path, name: str, rows: str) -> None:
    """Train one case in all processes."""
    advantages: list[list[Any]] = []
    reward = REWARDS[name](generator if name == "cme_ema" else verifier)
    start = load(generator)
    checkpoint = load(verifier)
    scorer = TokenScorer(checkpoint.model)
    heldout = Verifier(checkpoint.tokenizer, scorer, max_prompt_tokens=64, max_response_tokens=16)

    def noted_loss(self: GRPOTrainer, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        advantages.extend(inputs["advantages"].tolist())
        return loss(self, model, inputs)

    loss = GRPOTrainer._compute_loss
    PromptTrainer._generate_single_turn, GRPOTrainer._compute_loss = known_completions, noted_loss
    try:
        result = train_grpo(
            start,
            world.load_prompts("train", 12, 0),
            reward,
            Monitors(load(generator), heldout, world.grade, 1, "whole"),
            SETTINGS | ROWS[rows],
            CollapseGuard(10, 80, 0.5),
            TrainingJob(0, out / name / rows, quiet=True),
        )
    finally:
        GRPOTrainer._compute_loss = loss
    rows_of_all = distributed.gather_rows(advantages)
    if distributed.process_index() == 0:
        (out / name / f"{rows}.json").write_text(json.dumps({"advantages": rows_of_all, **asdict(result)}))


if __name__ == "__main__":
    generator, verifier, out = sys.argv[1:]
    torch.set_num_threads(1)
    with distributed.launch():
        for name in REWARDS:
            for rows in ROWS if name == "cme" else ["one group"]:
                distributed.run_in_all(train, generator, verifier, Path(out), name, rows)
