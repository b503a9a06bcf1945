"""`plan=true`: what the cells of a command line would take, reckoned before anything is looked up, loaded or run.

Upper bounds first: every prompt and every response as long as it may be. Beside them, in brackets, what is to be
expected under the assumptions that are printed with it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hydra.utils import get_object
from omegaconf import DictConfig

from cme.records import Generation, Prompt
from experiments import identity, judging
from experiments.model_sizes import SIZES
from experiments.validate import BadConfig

RESPONSE = (
    440  # tokens: 1,750 characters, the middle of what the paper's trained policies write, at 4 a token
)
PROMPT = 128  # tokens
REPLY = 100  # tokens of a judge: one or two sentences in JSON
LONGEST = 2.0  # the longest response of a batch, in mean responses
LAYER_SECONDS = 1e-3  # of a decoding step
PEAK = 989e12  # FLOP/s of an H100, dense bfloat16
UTILISATION = 0.2
CHARACTERS_A_TOKEN = 4
GIB = 2**30

ASSUMED = f"""\
At most: every prompt and response at its limit. Expected, in brackets: {RESPONSE} tokens a response (1,750 characters,
the middle of what the paper's trained policies write), but a pretrained start's to the limit; {PROMPT} tokens a prompt;
the longest response of a batch twice the mean; {REPLY} tokens a judge's reply.
GPU hours, of one H100: {LAYER_SECONDS * 1e3:g} ms a layer and decoding step whatever the batch (transformers' own
generation, bound by kernel launches); and {UTILISATION:.0%} of {PEAK / 1e12:.0f} TFLOP/s for 8 FLOP a parameter and
token in training (activations computed twice) and 2 in scoring. Not in them: loading, lm-eval's tasks, a verifier's own
and a comparator's responses to the evaluation prompts (once a model), what the guard saves by stopping early. The
milliseconds and the {UTILISATION:.0%} are assumed, not measured.
Memory: weights of policy, of start (it measures KL) and, where trainer.beta > 0, of TRL's reference in float32, as
are gradients; two moments of Adam; verifiers in scoring.dtype; the total has the larger of the KV cache of one batch
(float32) and one micro-batch's logits with their gradient. Not in it: other activations, fragmentation.
An untrained start that several cells share is counted in the first. Judges: no call fails; the prices in conf/judge."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of a prompt, of a response of the policy and of the untrained start, of the longest of a batch, and of
    a judge's reply.
    """

    prompt: float
    response: float
    start: float
    longest: float
    reply: float


@dataclass(frozen=True)
class Work:
    """Tokens that are generated, tokens that verifiers read (prompts too), and seconds on the GPU."""

    generated: float
    read: float
    seconds: float


@dataclass(frozen=True)
class Judging:
    """Calls to judges and their price; None where it is unknown."""

    calls: int
    usd: float | None


def lengths(config: DictConfig) -> tuple[Lengths, Lengths]:
    """At most, and as expected."""
    limit = config.trainer.max_completion_length
    response = min(RESPONSE, limit)
    start = limit if config.regime.name == "pretrained" else response
    longest = min(LONGEST * response, limit)
    return (
        Lengths(config.scoring.max_prompt_tokens, limit, limit, limit, math.inf),
        Lengths(min(PROMPT, config.scoring.max_prompt_tokens), response, start, longest, REPLY),
    )


def work(config: DictConfig, tokens: Lengths, *, with_start: bool) -> Work | None:
    """What a cell does, its untrained start's responses included or not; None for a model of unknown size."""
    names = [bare(name) for name in (config.generator, *_verifiers(config))]
    if any(name not in SIZES for name in names):
        return None
    policy, *verifiers = [SIZES[name] for name in names]
    trainer, both = config.trainer, tokens.prompt + tokens.response
    rows = trainer.per_device_train_batch_size * trainer.steps_per_generation  # of one call of generate
    trained = completions(config) * trainer.max_steps
    sampled = trained / trainer.num_iterations
    reward = sum(v.active for v in verifiers[: len(identity.verifiers(config))])
    monitored = sum(v.active for v in verifiers[len(identity.verifiers(config)) :]) + 2 * policy.active
    flop = both * (
        8 * policy.active * trained
        + 2 * policy.active * sampled * (trainer.beta > 0)
        + 2 * reward * sampled
        + 2 * monitored * sampled / config.monitor_every
    )
    decoded = tokens.longest * sampled / rows
    generated = tokens.response * sampled
    for prompts, mean, longest in _answers(config, tokens, with_start=with_start):
        generated += prompts * mean
        decoded += math.ceil(prompts / config.evaluation.batch_size) * longest
    seconds = decoded * policy.layers * LAYER_SECONDS + flop / (PEAK * UTILISATION)
    return Work(generated, len(identity.verifiers(config)) * sampled * both, seconds)


def memory(config: DictConfig) -> dict[str, float] | None:
    """GiB by what they are for, in all at `total`; None for a model of unknown size."""
    names = [bare(name) for name in (config.generator, *_verifiers(config))]
    if any(name not in SIZES for name in names):
        return None
    policy, *verifiers = [SIZES[name] for name in names]
    trainer = config.trainer
    limit, width = trainer.max_completion_length, 4 if config.scoring.dtype == "float32" else 2
    rows = max(
        trainer.per_device_train_batch_size * trainer.steps_per_generation, config.evaluation.batch_size
    )
    weights = 4 * policy.parameters
    held: dict[str, float] = {
        "policy": weights,
        "gradients": weights,
        "optimizer": 2 * weights,
        "start": weights,
        "reference": weights if trainer.beta > 0 else 0,
        "verifiers": sum(width * v.parameters for v in verifiers),
    }
    passing: dict[str, float] = {
        "KV cache": rows * policy.cache_bytes(config.scoring.max_prompt_tokens + limit, 4),
        "logits": trainer.per_device_train_batch_size * limit * policy.vocabulary * 4 * 2,
    }
    total = sum(held.values()) + max(passing.values())
    return {name: value / GIB for name, value in (held | passing | {"total": total}).items()}


def judged(config: DictConfig, tokens: Lengths, *, with_start: bool) -> Judging:
    """The calls that a cell's judges are asked for, where they are asked over a network.

    Its untrained start's comparisons with further models are included or not.
    """
    orders = 2 if config.evaluation.both_orders else 1
    further = len(set(identity.comparators(config).values())) * (2 if with_start else 1)
    compared = 1 + (config.selection.every is not None) + further
    asked = [(config.judge, config.data.eval_prompts * compared)]
    if config.selection.every is not None:
        asked.append((config.selection.judge, config.selection.prompts * saved(config)))
    calls, usd = 0, 0.0
    for judge, pairs in asked:
        for node in judging.judges(judge).values():
            target = get_object(node._target_)
            if not (hasattr(target, "probe") or hasattr(target, "tokens")):
                continue
            calls += orders * pairs
            usd += orders * pairs * _price(node, tokens) if hasattr(target, "tokens") else math.nan
    return Judging(calls, None if math.isnan(usd) else usd)


def completions(config: DictConfig) -> int:
    """Completions that one optimizer step learns from."""
    return int(config.trainer.per_device_train_batch_size * config.trainer.gradient_accumulation_steps)


def saved(config: DictConfig) -> int:
    """Checkpoints that selection compares, the final policy among them; 0 where it is off."""
    every = config.selection.every
    return 0 if every is None else len(range(every, config.trainer.max_steps, every)) + 1


def lines(configs: Sequence[DictConfig]) -> list[str]:
    """The plan: one table of the cells' work, one of their memory, the sums, and what is assumed.

    Cells of trainers other than GRPO are left out and counted. Raises BadConfig where no other is left.
    """
    others = sorted({c.trainer.method for c in configs} - {"grpo"})
    count, configs = len(configs), [c for c in configs if c.trainer.method == "grpo"]
    if not configs:
        raise BadConfig(f"plan=true reckons trainer=grpo, and not trainer={','.join(others)}")
    header = "cell,whose,steps,prompts,generated (M),read by verifiers (M),H100 hours,judge calls,judge USD"
    table, held = [header.split(",")], [["GiB"]]
    sums: dict[str, list[float]] = {"hours": [0.0, 0.0], "usd": [0.0, 0.0], "calls": [0.0]}
    starts: set[str] = set()
    for config in configs:
        name = f"{config.family.name} {config.regime.name} {config.reward.name} {config.verifier.name} s{config.seed}"
        with_start = identity.start_id(config) not in starts
        starts.add(identity.start_id(config))
        both = lengths(config)
        done = [work(config, tokens, with_start=with_start) for tokens in both]
        asked = [judged(config, tokens, with_start=with_start) for tokens in both]
        for i in range(2):
            sums["hours"][i] += math.nan if (one := done[i]) is None else one.seconds / 3600
            sums["usd"][i] += math.nan if (usd := asked[i].usd) is None else usd
        sums["calls"][0] += asked[0].calls
        steps = config.trainer.max_steps
        table.append(
            [
                name,
                _whose(config),
                str(steps),
                f"{steps * completions(config) / config.trainer.num_generations:.0f}",
                _bounded(None if w is None else w.generated / 1e6 for w in done),
                _bounded(None if w is None else w.read / 1e6 for w in done),
                _bounded(None if w is None else w.seconds / 3600 for w in done),
                str(asked[0].calls),
                _bounded(a.usd for a in asked),
            ]
        )
        need = memory(config)
        if need is None:
            held.append([name, "unknown"])
        else:
            held[0] = ["GiB", *need]
            held.append([name, *(f"{gib:.1f}" for gib in need.values())])
    unknown = sorted({n for c in configs for n in (c.generator, *_verifiers(c)) if bare(n) not in SIZES})
    return [
        f"plan of {len(configs)} cells at scale={', '.join(dict.fromkeys(c.scale.name for c in configs))}",
        *_aligned(table),
        "",
        *_aligned(held),
        "",
        f"in all {_bounded(sums['hours'])} H100 hours, {sums['calls'][0]:.0f} judge calls, {_bounded(sums['usd'])} USD",
        *(
            [f"unknown sizes (experiments/model_sizes.py lists the known): {', '.join(unknown)}"]
            if unknown
            else []
        ),
        *([f"left out: {count - len(configs)} cells of trainer={','.join(others)}"] if others else []),
        ASSUMED,
    ]


def bare(name: str) -> str:
    """The checkpoint whose shape a name has: random weights are of the shape of another's."""
    return name.removeprefix("random:")


def _verifiers(config: DictConfig) -> list[str]:
    """The reward's verifiers, then the held-out one."""
    held = identity.heldout(config)
    return [*identity.verifiers(config), *([held] if held else [])]


def _answers(config: DictConfig, tokens: Lengths, *, with_start: bool) -> list[tuple[int, float, float]]:
    """Number, mean length and longest length of the responses that are judged."""
    n, chosen = config.data.eval_prompts, config.selection.prompts
    longest_start = max(tokens.start, tokens.longest)
    found = [(n, tokens.response, tokens.longest)]
    if with_start:
        found.append((n, tokens.start, longest_start))
    if compared := saved(config):
        found += [(chosen, tokens.start, longest_start), (n, tokens.response, tokens.longest)]
        found += [(chosen, tokens.response, tokens.longest)] * compared
    return found


def _price(node: DictConfig, tokens: Lengths) -> float:
    """USD of one call; NaN where the prices are unknown."""
    judge = judging.made(node)
    prompt = Prompt("plan", "x" * round(CHARACTERS_A_TOKEN * tokens.prompt))
    start, policy = (
        Generation("x" * round(CHARACTERS_A_TOKEN * length), False, 0)
        for length in (tokens.start, tokens.response)
    )
    sent, replied = judge.tokens(prompt, start, policy)
    usd = judge.usd(sent, min(replied, tokens.reply))
    return math.nan if usd is None else float(usd)


def _whose(config: DictConfig) -> str:
    if config.scale.name != "paper":
        return "-"
    return "ours" if config.regime.name in config.family.ours else "paper"


def _bounded(values: Iterable[float | None]) -> str:
    """`most (expected)`."""
    most, expected = values
    if most is None or expected is None or math.isnan(most):
        return "unknown"
    return f"{most:.1f} ({expected:.1f})"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with their columns padded: the first to the left, the others to the right."""
    width = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    return [
        "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, width, strict=False)))
        for row in rows
    ]
