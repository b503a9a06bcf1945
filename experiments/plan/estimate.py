"""What a run takes, estimated from its configuration alone: tokens, judge calls, money and memory.

An estimate is an upper bound, with all prompts and responses at their limits, or the expected value, by `Lengths`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from cme.judges.server import CHARACTERS_PER_TOKEN
from cme.records import Generation, Prompt
from experiments.config import identity
from experiments.config.reward_validation import judged_comparisons
from experiments.config.runs import Run
from experiments.plan.sizes import Size, size_of
from experiments.run import judging

RESPONSE = 440  # 1,750 characters, the median of the paper's trained policies
PROMPT = 0.25  # of the longest prompt
REPLY = 100  # one or two sentences in JSON
KINDS = ("generated", "scored", "trained on")
DISTILLATION_TILE = (4096, 32_768)
"""Tokens and vocabulary of the tiles in which TRL's DistillationTrainer computes logits (trl.kernels)."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of a prompt and a response in training, of an evaluation response of the policy (`answer`) and of the
    untrained model (`start`), and of a judge's reply.
    """

    prompt: float
    response: float
    answer: float
    start: float
    reply: float


@dataclass(frozen=True)
class Tokens:
    """Tokens of a kind in KINDS that a checkpoint processes, which runs with equal `shared_by` share."""

    kind: str
    count: float
    checkpoint: str
    shared_by: str


def bounds(run: Run) -> tuple[Lengths, Lengths]:
    """The longest lengths, and the expected ones."""
    longest, answer = run.evaluation.max_new_tokens, min(RESPONSE, run.evaluation.max_new_tokens)
    prompt = run.scoring.max_prompt_tokens
    start = longest if run.regime == "pretrained" else answer
    return (
        Lengths(*_training_row(run, prompt, math.inf), longest, longest, math.inf),
        Lengths(*_training_row(run, PROMPT * prompt, RESPONSE), answer, start, REPLY),
    )


def _training_row(run: Run, prompt: float, response: float) -> tuple[float, float]:
    """Tokens of prompt and response in training. If `max_length` limits their sum, the prompt is shortened.

    The responses of DPO have no other limit, so its prompt has the expected length.
    """
    trainer = run.trainer
    if trainer.method in ("grpo", "distillation"):
        return prompt, min(response, trainer.max_completion_length)
    if trainer.method == "dpo":
        prompt = min(PROMPT * run.scoring.max_prompt_tokens, trainer.max_length // 2)
        return prompt, min(response, trainer.max_length - prompt)
    response = min(response, trainer.sampling.max_new_tokens)
    if trainer.method == "sft":
        response = min(response, trainer.max_length)
        prompt = min(prompt, trainer.max_length - response)
    return prompt, response


def rows_per_step(run: Run) -> int:
    """Completions, pairs or answers per optimizer step; 0 without training."""
    trainer = run.trainer
    if trainer.method == "best_of_n":
        return 0
    return int(trainer.per_device_train_batch_size * trainer.gradient_accumulation_steps)


def count_tokens(run: Run, lengths: Lengths) -> Iterator[Tokens]:
    """All tokens that a run generates, scores and trains on."""
    trainer, prompts = run.trainer, run.data.eval_prompts
    rows = rows_per_step(run)
    training = f"training {identity.training_id(run)}"
    answers = f"answers {identity.digest(identity.responses_fields(run))} of {training}"
    start = f"start {identity.start_id(run)}"
    if trainer.method in ("grpo", "best_of_n", "distillation"):
        if trainer.method == "best_of_n":  # samples responses to the evaluation prompts
            group, shared_by = trainer.num_generations, answers
            sampled = float(prompts * group)
        elif trainer.method == "grpo":
            group, shared_by = trainer.num_generations, training
            sampled = trainer.max_steps * rows / trainer.num_iterations
        else:
            group, shared_by, sampled = 1, training, float(trainer.max_steps * rows)
        yield Tokens("generated", sampled * lengths.response, run.generator, shared_by)
        for name in run.verifiers:  # each reads a prompt once for all its responses
            read = sampled / group * lengths.prompt + sampled * lengths.response
            yield Tokens("scored", read, name, shared_by)
    else:
        last = trainer.max_steps
        measurements = len({*range(0, last, run.monitor_every), last - 1})
        monitored = measurements * trainer.monitor_prompts * lengths.answer
        yield Tokens("generated", monitored, run.generator, training)
    if trainer.method == "sft":
        targets = f"answers {identity.verifier_answers_id(run)}"
        yield Tokens("generated", run.data.train_prompts * lengths.response, run.verifier.checkpoint, targets)
    if rows:
        per_row = (lengths.prompt + lengths.response) * (2 if trainer.method == "dpo" else 1)
        yield Tokens("trained on", trainer.max_steps * rows * per_row, run.generator, training)
        yield Tokens("generated", prompts * lengths.answer, run.generator, answers)
    yield Tokens("generated", prompts * lengths.start, run.generator, start)
    if (verifier := run.responding_verifier) is not None:
        responses = f"verifier {identity.verifier_responses_id(run, verifier)}"
        yield Tokens("generated", prompts * lengths.answer, verifier, responses)
    for checkpoint in dict.fromkeys(run.comparators.values()):
        responses = f"comparator {checkpoint}: {prompts} prompts of {run.data.name} and {run.data.eval_split}"
        yield Tokens("generated", prompts * lengths.answer, checkpoint, responses)
    if checkpoints := _compared_checkpoints(run):
        selection = f"selection of {run.selection.prompts} from {run.selection.split}"
        yield Tokens(
            "generated", run.selection.prompts * lengths.start, run.generator, f"{start}, {selection}"
        )
        compared = (checkpoints * run.selection.prompts + prompts) * lengths.answer
        yield Tokens("generated", compared, run.generator, f"{answers}, {selection}")


def _compared_checkpoints(run: Run) -> int:
    """Checkpoints that selection compares, including the final policy; 0 without selection."""
    return 0 if run.selection.every is None else run.selection.count_saved(run.trainer) + 1


def judge_calls(run: Run, lengths: Lengths, *, with_start: bool) -> tuple[int, float]:
    """Calls to judges behind a server, and US dollars; NaN if prices are unknown.

    `with_start` includes the comparisons of the untrained model with further models, which runs share. The cut start is
    compared with policy and untrained model, which runs do not share. A judge of the reward compares in training.
    """
    further = len(set(run.comparators.values())) * (2 if with_start else 1)
    further += 2 * run.evaluation.cut_start
    checkpoints, orders = _compared_checkpoints(run), 2 if run.evaluation.both_orders else 1
    evaluated, sampled = (lengths.start, lengths.answer), (lengths.response, lengths.response)
    comparisons = [
        (run.judge, orders * run.data.eval_prompts * (1 + bool(checkpoints) + further), evaluated),
        (run.selection.judge, orders * run.selection.prompts * checkpoints, evaluated),
    ]
    for path, judge in run.reward_judges.items():
        comparisons.append((judge, judged_comparisons(run, path), sampled))
    calls, usd = 0, 0.0
    for panel, number, responses in comparisons:
        prompt, first, second = ("x" * round(CHARACTERS_PER_TOKEN * n) for n in (lengths.prompt, *responses))
        pair = Prompt("plan", prompt), Generation(first, False, 0), Generation(second, False, 0)
        for judge in judging.judges(panel).values():
            if not number or not judging.judge_class(judge).asks_server:
                continue
            instance, price = judging.instantiate_judge(judge), None
            if (tokens := instance.estimate_tokens(*pair)) is not None:
                price = instance.price(tokens[0], round(min(tokens[1], lengths.reply)))
            requests = number * instance.calls_per_comparison
            calls += requests
            usd += math.nan if price is None else requests * price
    return calls, usd


def memory(run: Run) -> float | None:
    """Bytes on one device at most, by `plan.ASSUMPTIONS`; None if the size of a model is unknown."""
    trainer, policy = run.trainer, size_of(run.generator)
    # SFT needs its verifier only before training, and a server has its own GPU
    elsewhere = trainer.method == "sft" or run.served_verifiers
    scoring = [size_of(name) for name in ([] if elsewhere else run.verifiers)]
    heldout = [size_of(name) for name in [run.heldout_verifier] if name and trainer.method != "best_of_n"]
    if policy is None or None in (*scoring, *heldout):
        return None
    width = 4 if run.scoring.dtype == "float32" else 2
    of_reward = 1 if run.quantization == "8bit" else 4 if run.averages_policy else width
    verifiers = of_reward * sum(s.parameters for s in scoring if s) + width * sum(
        s.parameters for s in heldout if s
    )
    return float(_training_state(run, policy) + verifiers + _working_memory(run, policy))


def _training_state(run: Run, policy: Size) -> float:
    """Bytes of policy, untrained model and reference, and of the policy's gradients and Adam's moments."""
    trainer, weights = run.trainer, 4 * policy.parameters
    if trainer.method == "best_of_n":
        return weights
    # the reference of LoRA is the policy without adapters
    has_reference = trainer.lora is None and (
        trainer.method == "dpo" or (trainer.method == "grpo" and trainer.beta > 0)
    )
    # LoRA: rank x the sides of the seven matrices of a layer, together about 20 x hidden
    adapters = 20 * trainer.lora.r * policy.hidden * policy.layers if trainer.lora is not None else 0
    trained = adapters or policy.parameters
    sampling_copy = 2 * policy.parameters if trainer.method == "grpo" and trainer.bf16 else 0
    return weights * (2 + has_reference) + 4 * adapters + (4 + 8) * trained + sampling_copy


def _working_memory(run: Run, policy: Size) -> float:
    """Bytes of the KV cache of a batch, of a micro-batch in training, or of a copy of the policy: the largest."""
    lengths, trainer = bounds(run)[0], run.trainer
    batch, rows = run.evaluation.batch_size, 0
    if trainer.method != "best_of_n":
        rows = trainer.per_device_train_batch_size * (2 if trainer.method == "dpo" else 1)
    if trainer.method == "grpo":
        batch = max(batch, rows * trainer.steps_per_generation)
    tokens = run.scoring.max_prompt_tokens + max(lengths.response, run.evaluation.max_new_tokens)
    cache = 8 * batch * policy.layers * policy.kv * tokens
    activations = rows * (lengths.prompt + lengths.response) * policy.hidden * (4 * policy.layers + 34)
    logits = 8 * rows * lengths.response * policy.vocabulary
    if trainer.method == "distillation":  # in tiles: policy and verifier in float32, the gradient in 2 bytes
        longest, widest = DISTILLATION_TILE
        logits = (4 + 4 + 2) * min(rows * lengths.response, longest) * min(policy.vocabulary, widest)
        if trainer.lora is None:  # the gradient of the output layer, before it is added
            logits += 4 * policy.vocabulary * policy.hidden
    merged = 0 if trainer.lora is None else 4 * policy.parameters  # a copy, when the policy is saved
    return max(cache, activations + logits, merged)
