"""Training on given responses: DPO on preference pairs, SFT on another model's answers.

TRL's DPOTrainer and SFTTrainer. Rows are tokenized here, as everywhere in this project (`cme.models.chat`): the prompt
by itself, then the response's tokens and its end of turn. TRL would tokenize both together and guess the boundary.

Neither trainer samples from the policy, so the monitors of GRPO measure responses that are sampled for them.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainerControl, TrainerState
from trl import DPOConfig, SFTConfig, SFTTrainer

from cme.checkpoints import Checkpoint
from cme.models import chat
from cme.models.generation import decode, generate_ids
from cme.records import Generation, Preference, Prompt
from cme.scoring.policy import gather_weights
from cme.training.history import TrainingResult
from cme.training.job import TrainingJob
from cme.training.monitors import Monitors
from cme.training.trl_internals import TokenizedDPOTrainer


class SampledMonitoring(TrainerCallback):  # type: ignore[misc]
    """Monitors the policy before a step, on one response to each of `count` prompts, drawn anew each time."""

    def __init__(
        self, monitors: Monitors, prompts: Sequence[Prompt], count: int, max_new_tokens: int
    ) -> None:
        self.monitors, self.prompts = monitors, prompts
        self.count, self.max_new_tokens = count, max_new_tokens

    def bind(self, trainer: Trainer, seed: int) -> None:
        """Receive the trainer that holds the policy, and the seed of the draws."""
        self.trainer, self.seed = trainer, seed
        self.measured: dict[int, dict[str, float]] = {}
        self.monitors.bind(trainer)

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure the policy as it is before the step."""
        if self.monitors.is_due(state.global_step, state.max_steps):
            self.measured[state.global_step + 1] = self._measure(f"{self.seed}:{state.global_step}")

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Add the measurements to the step's log."""
        entry = state.log_history[-1]
        entry.pop("entropy", None)  # TRL's entropy is over the data's tokens, not over the policy's
        entry.update(self.measured.get(state.global_step, {}))

    def _measure(self, seed: str) -> dict[str, float]:
        rng, tokenizer = random.Random(seed), self.trainer.processing_class
        prompts = rng.sample(list(self.prompts), min(self.count, len(self.prompts)))
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        model.eval()
        with gather_weights(self.trainer):
            ids = generate_ids(
                model,
                tokenizer,
                [p.conversation for p in prompts],
                max_new_tokens=self.max_new_tokens,
                batch_size=self.count,
                temperature=1.0,
                seed=rng.getrandbits(32),
            )
        generations = decode(tokenizer, ids, chat.end_ids(tokenizer, model.generation_config))
        measured = {
            "completions/mean_length": sum(map(len, ids)) / len(ids),
            "completions/clipped_ratio": sum(not g.finished for g in generations) / len(generations),
        }
        self.monitors(
            [p.conversation for p in prompts],
            [[{"role": "assistant", "content": g.response}] for g in generations],
            ids,
            log_metric=measured.__setitem__,
        )
        model.train()
        return measured


def train_dpo(
    start: Checkpoint,
    reference: Checkpoint,
    preferences: Sequence[Preference],
    monitoring: SampledMonitoring,
    settings: Mapping[str, Any],
    job: TrainingJob,
) -> TrainingResult:
    """Train `start.model` in place by DPO (Rafailov et al., arXiv 2305.18290) and save the policy to `job.folder`.

    `reference` is the frozen reference policy: the same checkpoint, loaded separately. `settings` are fields of
    DPOConfig by TRL's names; responses are cut at `max_length`.

    Raises ValueError where no pair has a prompt shorter than `max_length`, TrainingFailed for a loss or gradient that
    is not finite, Interrupted for a signal, Unavailable where the disk is full.
    """
    config = job.arguments(DPOConfig, settings)
    rows = []
    for preference in preferences:
        prompt_ids = chat.prompt_ids(start.tokenizer, preference.prompt.conversation)
        if len(prompt_ids) < config.max_length:
            chosen = _response_row(start.tokenizer, preference.chosen, True)
            rejected = _response_row(start.tokenizer, preference.rejected, True)
            rows.append({"prompt_ids": prompt_ids, "chosen_ids": chosen, "rejected_ids": rejected})
    trainer = TokenizedDPOTrainer(
        model=start.model,
        ref_model=None if job.lora else reference.model,  # the policy without its adapters is the reference
        processing_class=start.tokenizer,
        args=config,
        train_dataset=_dataset(rows, config.max_length),
        peft_config=job.adapters(),
    )
    monitoring.bind(trainer, job.seed)
    return job.run(trainer, [monitoring])


def train_sft(
    start: Checkpoint,
    prompts: Sequence[Prompt],
    responses: Sequence[Generation],
    monitoring: SampledMonitoring,
    settings: Mapping[str, Any],
    job: TrainingJob,
) -> TrainingResult:
    """Train `start.model` in place on one response to each prompt and save the policy to `job.folder`.

    The loss is the mean negative log-likelihood of the responses' tokens, in nats per token, including the end of turn
    of a finished response. The responses may come from a model with another tokenizer, since only their text is used.
    `settings` are fields of SFTConfig. Raises as `train_dpo` does.
    """
    limit = settings["max_length"]
    # the rows are cut here, so TRL need not cut them
    config = job.arguments(SFTConfig, {**settings, "max_length": None})
    rows = []
    for prompt, generation in zip(prompts, responses, strict=True):
        prompt_ids = chat.prompt_ids(start.tokenizer, prompt.conversation)
        response_ids = _response_row(start.tokenizer, generation.response, bool(generation.finished))
        ids = [*prompt_ids, *response_ids][:limit]
        if len(prompt_ids) < len(ids):
            labels = [-100] * len(prompt_ids) + ids[len(prompt_ids) :]
            rows.append({"input_ids": ids, "labels": labels})
    trainer = SFTTrainer(
        model=start.model,
        processing_class=start.tokenizer,
        args=config,
        train_dataset=_dataset(rows, limit),
        peft_config=job.adapters(),
    )
    monitoring.bind(trainer, job.seed)
    return job.run(trainer, [monitoring])


def _response_row(tokenizer: PreTrainedTokenizerBase, text: str, finished: bool) -> list[int]:
    """A response's token ids, with the end-of-turn token if it is finished."""
    return [*chat.response_ids(tokenizer, text), *[chat.end_of_turn_id(tokenizer)] * finished]


def _dataset(rows: list[dict[str, list[int]]], max_length: int) -> Dataset:
    if not rows:
        raise ValueError(
            f"max_length={max_length}: no training row has room for a response after its prompt; raise max_length"
        )
    return Dataset.from_list(rows)
