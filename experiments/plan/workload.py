"""What a cell does, reckoned from its configuration alone: stages of generating, scoring and updating."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from experiments.config import identity
from experiments.config.runs import Run
from experiments.plan.cost_model import H100, VLLM, Batch, decoding, forward, scoring, updating
from experiments.plan.model_sizes import SIZES, Size
from experiments.run import preparation

RESPONSE = (
    440  # tokens: 1,750 characters, the middle of what the paper's trained policies write, at 4 a token
)
PROMPT = 128  # tokens
REPLY = 100  # tokens of a judge: one or two sentences in JSON
LONGEST = 2.0  # the longest response of a batch, in mean responses

LIVE = ("TokenEntropy", "SelfCertainty", "ReverseKL")
"""Classes of the rewards that read the responses under the live policy too."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of a prompt, of a response that is trained on and of the longest of a batch, of the policy's and of the
    untrained start's evaluation responses, of the longest of a batch of these, and of a judge's reply.
    """

    prompt: float
    response: float
    longest: float
    answer: float
    start: float
    longest_answer: float
    reply: float


@dataclass(frozen=True)
class Stage:
    """Part of a cell: what it is (`generation`, `scoring` or `update`), its seconds on the GPU, the tokens that it
    generates, and those that verifiers read for a reward.

    Cells with a stage of the same name in `once` share it.
    """

    kind: str
    seconds: float
    generated: float = 0.0
    read: float = 0.0
    once: str | None = None


def lengths(config: Run) -> tuple[Lengths, Lengths]:
    """At most, and as expected."""
    answer = config.evaluation.max_new_tokens
    prompt, response = _row(config, config.scoring.max_prompt_tokens, math.inf)
    most = Lengths(prompt, response, response, answer, answer, answer, math.inf)
    prompt, response = _row(config, min(PROMPT, config.scoring.max_prompt_tokens), RESPONSE)
    mean = min(RESPONSE, answer)
    start = answer if config.regime.name == "pretrained" else mean
    longest = min(LONGEST * mean, answer)
    expected = Lengths(prompt, response, min(LONGEST * response, _limit(config)), mean, start, longest, REPLY)
    return most, expected


def unknown(config: Run) -> list[str]:
    """Names of the cell's models whose size is unknown."""
    return [name for name in preparation.checkpoint_names([config]) if bare(name) not in SIZES]


def work(config: Run, tokens: Lengths) -> list[Stage] | None:
    """A cell's stages, all of them; None where the size of a model is unknown."""
    if unknown(config):
        return None
    trained = {"grpo": _grpo, "dpo": _dpo, "sft": _sft, "best_of_n": _best_of_n}[config.trainer.method]
    return [*trained(config, tokens), *_evaluation(config, tokens)]


def _grpo(config: Run, tokens: Lengths) -> Iterator[Stage]:
    trainer, policy = config.trainer, size(config.generator)
    rows = trainer.per_device_train_batch_size * trainer.steps_per_generation  # of one call of generate
    sampled = _batch(tokens, rows, max(1, rows // trainer.num_generations))
    calls = trainer.max_steps * completions(config) / trainer.num_iterations / rows
    engine = VLLM if trainer.use_vllm else H100
    seconds = decoding(engine, policy, rows, tokens.prompt, tokens.longest)
    yield Stage("generation", calls * seconds, generated=calls * rows * tokens.response)
    yield _rewarded(config, sampled, calls)
    yield _monitored(config, sampled)
    trained, micro = _batch(tokens, completions(config)), trainer.per_device_train_batch_size
    before = (trainer.beta > 0) + (
        trainer.num_iterations > 1
    )  # the reference's pass, and the policy's own before
    yield Stage("scoring", calls * before * forward(H100, policy, _batch(tokens, rows), micro))
    yield Stage("update", trainer.max_steps * updating(H100, policy, trained, micro))


def _dpo(config: Run, tokens: Lengths) -> Iterator[Stage]:
    """Both responses of each pair go through policy and reference."""
    trainer, policy = config.trainer, size(config.generator)
    batch, micro = _batch(tokens, 2 * completions(config)), 2 * trainer.per_device_train_batch_size
    yield from _sampled_to_monitor(config, tokens)
    yield Stage("scoring", trainer.max_steps * forward(H100, policy, batch, micro))
    yield Stage("update", trainer.max_steps * updating(H100, policy, batch, micro))


def _sft(config: Run, tokens: Lengths) -> Iterator[Stage]:
    """On what the verifier answers to the training prompts, once for all cells that learn from it."""
    trainer, count = config.trainer, config.data.train_prompts
    batches = math.ceil(count / trainer.sampling.batch_size)
    one = decoding(
        H100,
        size(config.verifier.checkpoint),
        trainer.sampling.batch_size,
        tokens.prompt,
        tokens.longest,
        width(config),
    )
    shared = identity.verifier_answers_id(config)
    yield Stage("generation", batches * one, generated=count * tokens.response, once=shared)
    yield from _sampled_to_monitor(config, tokens)
    batch = _batch(tokens, completions(config))
    seconds = updating(H100, size(config.generator), batch, trainer.per_device_train_batch_size)
    yield Stage("update", trainer.max_steps * seconds)


def _best_of_n(config: Run, tokens: Lengths) -> Iterator[Stage]:
    """Samples of the start to the evaluation prompts, of which the reward chooses; they are the policy's answers."""
    trainer, asked = config.trainer, config.data.eval_prompts
    rows = asked * trainer.num_generations
    batches = math.ceil(rows / trainer.sampling.batch_size)
    one = decoding(
        H100, size(config.generator), trainer.sampling.batch_size, tokens.prompt, tokens.longest, 4
    )
    yield Stage("generation", batches * one, generated=rows * tokens.response)
    yield _rewarded(config, _batch(tokens, rows, asked), 1)


def _rewarded(config: Run, batch: Batch, calls: float) -> Stage:
    """The reward's passes: its verifiers', and the live policy's where the reward reads that."""
    names = identity.verifiers(config)
    live = config.reward.target.rpartition(".")[2] in LIVE
    here = [] if served(config) else names  # a server's seconds are on its own device
    readers = [*((size(name), width(config)) for name in here), *[(size(config.generator), 4)] * live]
    seconds = sum(scoring(H100, model, batch, w, config.scoring.batch_tokens) for model, w in readers)
    read = len(names) * (batch.prompts * batch.prompt + batch.rows * batch.response)
    return Stage("scoring", calls * seconds, read=calls * read)


def _monitored(config: Run, batch: Batch) -> Stage:
    """What the monitors measure now and then: policy and start, which give KL, and the held-out verifier."""
    every, last = config.monitor_every, config.trainer.max_steps
    times = len({*range(0, last, every), last - 1})
    held = identity.heldout_verifier(config)
    readers = [(size(config.generator), 4)] * 2 + ([(size(held), width(config))] if held else [])
    seconds = sum(scoring(H100, model, batch, w, config.scoring.batch_tokens) for model, w in readers)
    return Stage("scoring", times * seconds)


def _sampled_to_monitor(config: Run, tokens: Lengths) -> Iterator[Stage]:
    """The responses that are sampled for the monitors alone, and the monitors."""
    rows, last = config.trainer.monitor_prompts, config.trainer.max_steps
    times = len({*range(0, last, config.monitor_every), last - 1})
    one = decoding(H100, size(config.generator), rows, tokens.prompt, tokens.longest_answer)
    yield Stage("generation", times * one, generated=times * rows * tokens.answer)
    yield _monitored(config, Batch(rows, rows, tokens.prompt, tokens.answer))


def _evaluation(config: Run, tokens: Lengths) -> Iterator[Stage]:
    """Responses that are judged, by start, policy, saved checkpoints, comparators; and the verifier's own."""
    n, chosen = config.data.eval_prompts, config.selection.prompts
    longest_start = max(tokens.start, tokens.longest_answer)
    start, data = identity.start_id(config), identity.digest(_questions(config))

    def answered(name: str, prompts: int, mean: float, longest: float, once: str | None = None) -> Stage:
        batch = config.evaluation.batch_size
        weight = width(config) if once and once.startswith("verifier") else 4
        one = decoding(H100, size(name), batch, tokens.prompt, longest, weight)
        return Stage("generation", math.ceil(prompts / batch) * one, generated=prompts * mean, once=once)

    yield answered(config.generator, n, tokens.start, longest_start, start)
    if config.trainer.method != "best_of_n":
        yield answered(config.generator, n, tokens.answer, tokens.longest_answer)
    if (name := identity.responding_verifier(config)) is not None:
        shared = f"verifier {identity.verifier_responses_id(config, name)}"
        yield answered(name, n, tokens.answer, tokens.longest_answer, shared)
    for name in dict.fromkeys(identity.comparators(config).values()):
        yield answered(name, n, tokens.answer, tokens.longest_answer, f"comparator {name} {data}")
    if compared := saved(config):
        yield answered(
            config.generator, chosen, tokens.start, longest_start, f"{start}, selection of {chosen}"
        )
        for _ in range(compared):
            yield answered(config.generator, chosen, tokens.answer, tokens.longest_answer)
        yield answered(config.generator, n, tokens.answer, tokens.longest_answer)


def served(config: Run) -> bool:
    """Whether a server scores in the verifier's place."""
    return identity.uses_reward(config) and config.reward.arguments.get("server") is not None


def completions(config: Run) -> int:
    """Rows that one optimizer step learns from: completions, pairs or answers; 0 where nothing is trained."""
    trainer = config.trainer
    if trainer.method == "best_of_n":
        return 0
    return int(trainer.per_device_train_batch_size * trainer.gradient_accumulation_steps)


def saved(config: Run) -> int:
    """Checkpoints that selection compares, the final policy among them; 0 where it is off."""
    every = config.selection.every
    return 0 if every is None else len(range(every, config.trainer.max_steps, every)) + 1


def bare(name: str) -> str:
    """The checkpoint whose shape a name has: random weights are of the shape of another's."""
    return name.removeprefix("random:")


def size(name: str) -> Size:
    """The size of a checkpoint. Raises KeyError for one that is unknown."""
    return SIZES[bare(name)]


def width(config: Run) -> int:
    """Bytes of a frozen verifier's weight."""
    return 4 if config.scoring.dtype == "float32" else 2


def _limit(config: Run) -> int:
    """Tokens of a response that is trained on, at most."""
    trainer = config.trainer
    if trainer.method == "grpo":
        return int(trainer.max_completion_length)
    if trainer.method == "dpo":
        return int(trainer.max_length)
    sampled = int(trainer.sampling.max_new_tokens)
    return min(sampled, int(trainer.max_length)) if trainer.method == "sft" else sampled


def _row(config: Run, prompt: int, response: float) -> tuple[int, int]:
    """Tokens of prompt and response of a row that is trained on, where both are cut together at `max_length`.

    Of the two the prompt gives way, but in DPO, whose responses have no limit of their own.
    """
    method, response = config.trainer.method, min(response, _limit(config))
    if method in ("grpo", "best_of_n"):
        return prompt, int(response)
    limit = int(config.trainer.max_length)
    if method == "dpo":
        prompt = min(prompt, PROMPT, limit // 2)
        return prompt, int(min(response, limit - prompt))
    return int(min(prompt, limit - response)), int(response)


def _batch(tokens: Lengths, rows: int, prompts: int | None = None) -> Batch:
    """So many rows of the trained lengths; each with a prompt of its own unless fewer are named."""
    return Batch(rows, rows if prompts is None else prompts, tokens.prompt, tokens.response)


def _questions(config: Run) -> list[object]:
    """What cells must have alike for a comparator to answer once."""
    training_only = ("train", "tokenizer")  # what a tokenizer counts are training prompts
    data = {
        path: value
        for path, value in identity.flat_settings(config).items()
        if path.startswith("data.") and not any(word in path for word in training_only)
    }
    return [data, config.evaluation.max_new_tokens]
