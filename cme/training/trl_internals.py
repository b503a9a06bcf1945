"""Everything that relies on private parts of TRL and transformers, in one module for the day the pin is lifted."""

import sys
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments
from trl import DistillationTrainer, DPOTrainer, GRPOTrainer
from trl.kernels.chunked_logprob import ChunkedLogProbFunction
from trl.models import unwrap_model_for_generation

from cme.models import chat
from cme.models.architecture import context_length, padding_shifts_positions, reads_positions, short_length
from cme.models.generation import can_repeat_prompts, decode, sample
from cme.models.padding import compute_alone, respond_in_groups
from cme.rewards.checked_reward import CheckedReward
from cme.runtime import distributed
from cme.scoring.batches import Ids, plan_batches
from cme.scoring.lm_head import LMHead
from cme.scoring.policy import SupportsTokenRewards
from cme.scoring.prompt_cache import PromptCache
from cme.training.advantages import group_advantages
from cme.training.history import StepClock
from cme.training.monitors import Monitors

VOCABULARY_TILE = 2048
"""Columns of logits that are computed at a time: with 1024 rows, 8 MiB of float32, which fit a CPU's cache."""


def refuse_switch(trainer: Any) -> None:
    """Raise ValueError where several processes train a model with `longrope` on rows that may switch factors.

    `compute_alone` takes the two sides in turn, and the processes must make the same number of passes.
    """
    short = short_length(trainer.model)
    if short is None or trainer.accelerator.num_processes == 1:
        return
    prompts = chat.prompts_ids(trainer.processing_class, trainer.train_dataset["prompt"])
    longest = max(map(len, prompts)) + trainer.max_completion_length
    if longest > short:
        raise ValueError(
            f"a prompt and its response may have {longest} tokens, and beyond {short} this model computes with other "
            "factors (longrope), which several processes cannot separate; train in one process, or set a smaller "
            "trainer.max_completion_length"
        )


class PromptTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer on prompts that are tokenized as everywhere in this project (`cme.models.chat.prompt_ids`).

    It computes each distinct prompt once where it samples, unless the model is sharded or vLLM samples, and, in one
    process on a CPU, for the loss. With `bf16` on a CPU, a copy of the policy in bfloat16 samples, where mixed
    precision would round the weights again for every token.
    """

    def __init__(self, clock: StepClock, **settings: Any) -> None:
        super().__init__(**settings)
        refuse_switch(self)
        self.clock = clock
        self._sampler: Any = None
        if self.args.bf16 and self.accelerator.device.type == "cpu":
            self._sampler = deepcopy(self.model).requires_grad_(False).eval()
            for module in self._sampler.modules():
                vars(module).pop("forward", None)  # TRL's, which computes with the policy's own weights
            for weight in self._sampler.parameters():  # and no buffer: rotary frequencies stay in float32
                weight.data = weight.to(torch.bfloat16)

    def _tokenize_prompts(self, prompts: list[chat.Text]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return chat.prompts_ids(self.processing_class, prompts), None, {}

    def _generate_single_turn(self, prompt_ids: list[list[int]], *others: Any) -> Any:
        with self.clock.measure("sampling"):
            return self._sample(prompt_ids, *others)

    def _sample(self, prompt_ids: list[list[int]], *others: Any) -> Any:
        if self.use_vllm or distributed.is_sharded():  # vLLM pads nothing
            return super()._generate_single_turn(prompt_ids, *others)
        filters = (self.top_p, self.top_k, self.min_p, self.repetition_penalty) != (1.0, 0, None, 1.0)
        if filters or not can_repeat_prompts(self.model):
            by_trl = super()._generate_single_turn  # it pads the prompts of a call on the left
            responses = respond_in_groups(
                lambda rows: by_trl([prompt_ids[i] for i in rows], *others)[0],
                self.model,
                prompt_ids,
                self.max_completion_length,
            )
            return responses, None
        with unwrap_model_for_generation(
            self.model_wrapped,
            self.accelerator,
            gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
        ) as model:
            sampler = model if self._sampler is None else self._sampler
            if self._sampler is not None:
                for rounded, weight in zip(sampler.parameters(), model.parameters(), strict=True):
                    rounded.copy_(weight.detach())
            completions = sample(
                sampler,
                prompt_ids,
                self.eos_token_ids,
                max_new_tokens=self.max_completion_length,
                temperature=self.temperature,
            )
        return completions, None

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        **others: Any,
    ) -> Any:
        """Log-probabilities and entropies (B, C) of the last C tokens of B rows, and None for a router's loss.

        TRL computes the prompt of every row, and on a CPU the logits of all positions. It passes no positions, so that
        its padding on the left moves those of GPT-2.
        """
        by_trl = super()._get_per_token_logps_and_entropies
        if self._can_share_prompts(model):
            return self._share_prompts(model, input_ids, attention_mask, logits_to_keep)
        # the recurrence of RecurrentGemma begins at position 0, which padding on the left has, too
        if can_repeat_prompts(self.model) and not padding_shifts_positions(self.model):
            return by_trl(model, input_ids, attention_mask, logits_to_keep, **others)
        router_losses = []

        def compute(ids: torch.Tensor, given: torch.Tensor, last: int) -> list[torch.Tensor]:
            *values, router_loss = by_trl(model, ids, given, last, **others)
            router_losses.append(router_loss)
            return [value for value in values if value is not None]

        values = compute_alone(compute, input_ids, attention_mask, logits_to_keep, self.model)
        values = [value.masked_fill(~attention_mask[:, -logits_to_keep:].bool(), 0.0) for value in values]
        router_loss = torch.stack(router_losses).mean() if others.get("compute_aux_loss") else None
        return values[0], values[1] if len(values) > 1 else None, router_loss

    def _can_share_prompts(self, model: Any) -> bool:
        """Whether the loss can compute each distinct prompt once."""
        return (
            self.accelerator.device.type == "cpu"
            and self.accelerator.num_processes == 1  # with several, the model is wrapped
            and not self.aux_loss_enabled
            and not self.args.gradient_checkpointing  # which keeps no cache
            and short_length(model) is None
            and reads_positions(model)
            and can_repeat_prompts(model)
        )

    def _share_prompts(
        self, model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, logits_to_keep: int
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Log-probabilities and entropies (B, C), and None, from one pass over each distinct prompt."""
        kept = attention_mask.bool()
        mask = kept[:, -logits_to_keep:]
        pairs: dict[int, tuple[Ids, Ids]] = {}
        for row, ids in enumerate(input_ids):
            end = len(ids) - logits_to_keep
            pairs[row] = ids[:end][kept[row, :end]].tolist(), ids[end:][mask[row]].tolist()
        order, parts = [], []
        with self.accelerator.autocast():
            for batch in plan_batches(pairs, sys.maxsize, context_length(model)):
                cache = PromptCache(model, batch.prompts)
                for rows in batch.chunks:
                    parts.append(
                        cache.hidden([batch.prompt_of[i] for i in rows], [pairs[i][1] for i in rows])
                    )
                    order += rows
            states, targets = map(torch.cat, zip(*parts, strict=True))
            head = LMHead(model)
            log_probs, entropies, *_ = ChunkedLogProbFunction.apply(
                states,
                head.weight,
                head.bias,
                targets,
                self.temperature,
                VOCABULARY_TILE,
                head.cap,
                head.scale,
                ("entropy",),
            )
        zeros, place = torch.zeros(mask.shape), torch.tensor(order).argsort()
        log_probs, entropies = (
            zeros.masked_scatter(mask[order], values)[place] for values in (log_probs, entropies)
        )
        return log_probs, entropies, None


class AdvantageTrainer(SupportsTokenRewards, PromptTrainer):
    """That trainer with our advantages (`cme.training.advantages`), from the reward's values of the same call."""

    def __init__(self, checked: CheckedReward, **settings: Any) -> None:
        super().__init__(**settings)
        self.checked = checked

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        batch["advantages"] = self._advantages(batch, len(inputs)).to(batch["advantages"].device)
        return batch

    def _advantages(self, batch: Mapping[str, Any], rows: int) -> torch.Tensor:
        """Advantages of this process's rows, (rows,) or (rows, T); a group may span processes."""
        reward, by_token = self.checked.reward, self.checked.reward.granularity == "token"
        if by_token:
            width = batch["completion_mask"].shape[1]
            padded = torch.full((rows, width), float("nan"))
            for row, token_values in zip(padded, reward.token_values, strict=True):
                row[: len(token_values)] = token_values
        else:
            padded = torch.tensor([[float("nan") if v is None else v] for v in self.checked.values])
        padded = padded.to(self.accelerator.device)
        # another process's completions may be longer
        padded = self.accelerator.pad_across_processes(padded, dim=1, pad_index=float("nan"))
        values: torch.Tensor = self.accelerator.gather(padded)
        advantages = group_advantages(
            values,
            self.num_generations,
            reward.normalize,
            floor=reward.std_floor,
            scale=self.args.scale_rewards == "group",
        )
        first = self.accelerator.process_index * rows
        own = advantages[first : first + rows]
        return own[:, :width] if by_token else own[:, 0]


class TokenizedDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """TRL's trainer on rows that are already tokenized."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset


class MonitoredDistillationTrainer(DistillationTrainer):  # type: ignore[misc]
    """TRL's trainer on prompts that are tokenized as everywhere, with monitors of the responses that it samples."""

    def __init__(self, monitors: Monitors, **settings: Any) -> None:
        super().__init__(**settings)
        refuse_switch(self)
        self.monitors = monitors

    def _tokenize_prompts(self, prompts: list[chat.Text]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return chat.prompts_ids(self.processing_class, prompts), None, {}

    def _generate_single_turn(self, prompt_ids: list[list[int]], *others: Any) -> Any:
        by_trl = super()._generate_single_turn
        if distributed.is_sharded():  # whose processes must make the same number of calls
            return by_trl(prompt_ids, *others)
        return respond_in_groups(
            lambda rows: by_trl([prompt_ids[i] for i in rows], *others),
            self.model,
            prompt_ids,
            self.max_completion_length,
        )

    def _get_last_hidden_state(
        self, model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, logits_to_keep: int
    ) -> torch.Tensor:
        """Hidden states (B, C, d) of policy or verifier that predict the last C tokens of B rows."""
        by_trl = super()._get_last_hidden_state
        [states] = compute_alone(
            lambda *rows: [by_trl(model, *rows)], input_ids, attention_mask, logits_to_keep, model
        )
        return states

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        pairs = zip(batch["completion_ids"], batch["completion_mask"], strict=True)
        ids = [row[mask.bool()].tolist() for row, mask in pairs]
        responses = decode(self.processing_class, ids, self.eos_token_ids)
        self.monitors(
            [row["prompt"] for row in inputs],
            [[{"role": "assistant", "content": one.response}] for one in responses],
            ids,
            log_metric=lambda name, value: self._metrics["train"][name].append(value),
        )
        return batch


def use_one_gpu(config: TrainingArguments) -> None:
    """Restrict a process to one GPU; transformers would train a whole batch on each it sees (nn.DataParallel)."""
    if config.n_gpu > 1:
        config._n_gpu = 1  # noqa: SLF001 - transformers has no argument for it


def counters(trainer: Trainer) -> dict[str, int]:
    """TRL's counters, which its checkpoints lack: passes of GRPO, and trained tokens."""
    names = ("_step", "_total_train_tokens") if isinstance(trainer, GRPOTrainer) else ("_total_train_tokens",)
    return {name: vars(trainer)[name] for name in names}


def has_buffered_completions(trainer: Trainer) -> bool:
    """Whether TRL holds completions that it will still train on; one generation serves several passes."""
    if not isinstance(trainer, GRPOTrainer):
        return False
    passes = trainer.num_iterations * trainer.args.steps_per_generation
    return bool(trainer._step % passes)  # noqa: SLF001 - TRL has no accessor
