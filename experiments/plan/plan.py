"""`plan=true`: what the cells of a command line would take, reckoned before anything is looked up, loaded or run.

Upper bounds first: every prompt and every response as long as it may be. Beside them, in brackets, what is to be
expected under the assumptions that are printed with it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cme.records import Generation, Prompt
from experiments.config import identity
from experiments.config.components import Component
from experiments.config.runs import Run
from experiments.plan.cost_model import H100, UPDATE, VLLM
from experiments.plan.memory import memory
from experiments.plan.workload import (
    LONGEST,
    PROMPT,
    REPLY,
    RESPONSE,
    Lengths,
    Stage,
    completions,
    lengths,
    saved,
    unknown,
    work,
)
from experiments.run import judging

CHARACTERS_A_TOKEN = 4
COLUMNS = (
    "cell",
    "whose",
    "steps",
    "prompts",
    "generated (M)",
    "read by verifiers (M)",
    "H100 hours",
    "gen/score/update %",
    "judge calls",
    "judge USD",
)
KINDS = ("generation", "scoring", "update")

ASSUMED = f"""\
At most: every prompt and response at its limit. Expected, in brackets: {RESPONSE} tokens a response (1,750 characters,
the middle of what the paper's trained policies write), but a pretrained start's to the limit; {PROMPT} tokens a prompt;
the longest response of a batch {LONGEST:g} times the mean; preference pairs as long; {REPLY} tokens a judge's reply.
Hours: of one H100 with transformers' own generation, by experiments/plan/cost_model.py. A pass takes the longest of
{H100.layer * 1e3:g} ms a layer (launching), its operations at {H100.flops / 1e12:.0f} TFLOP/s (40 % of the peak)
and its bytes at {H100.bandwidth / 1e12:.2f} TB/s; an update moves {UPDATE} bytes a parameter.
vLLM's generation takes {VLLM.layer * 1e3:g} ms a layer. None of these was measured on an H100; hours are estimates, no
bounds: see docs/scaling.md.
gen/score/update: shares of the expected hours; scoring is verifiers, TRL's reference and monitors. Not in the hours:
loading, lm-eval's tasks, surprisal under a further model, what the guard saves by stopping early. What cells share (a
start's, a verifier's, a comparator's responses) counts in the first.
Memory: weights of policy, of start (it measures KL) and of TRL's reference in float32, as are gradients; two moments of
Adam; verifiers in scoring.dtype; the total has the larger of the KV cache of one batch (float32) and of one
micro-batch's activations and logits. Not in it: vLLM beside the policy, fragmentation.
Judges: no call fails; the prices in conf/judge."""


@dataclass(frozen=True)
class Judging:
    """Calls to judges and their price; None where it is unknown."""

    calls: int
    usd: float | None


def lines(configs: Sequence[Run]) -> list[str]:
    """The plan: one table of the cells' work, one of their memory, the sums, and what is assumed."""
    table, held = [list(COLUMNS)], [["GiB"]]
    sums: dict[str, list[float]] = {"hours": [0.0, 0.0], "usd": [0.0, 0.0], "calls": [0.0]}
    done: list[set[str]] = [set(), set()]
    starts: set[str] = set()
    for config in configs:
        with_start = identity.start_id(config) not in starts
        starts.add(identity.start_id(config))
        both = lengths(config)
        stages = [own(work(config, tokens), names) for tokens, names in zip(both, done, strict=True)]
        asked = [judged(config, tokens, with_start=with_start) for tokens in both]
        for i in range(2):
            sums["hours"][i] += _hours(stages[i])
            sums["usd"][i] += math.nan if (usd := asked[i].usd) is None else usd
        sums["calls"][0] += asked[0].calls
        table.append(
            [
                _name(config),
                _whose(config),
                *_steps(config),
                _bounded(_sum(s, "generated") / 1e6 for s in stages),
                _bounded(_sum(s, "read") / 1e6 for s in stages),
                _bounded(_hours(s) for s in stages),
                _shares(stages[1]),
                str(asked[0].calls),
                _bounded(a.usd for a in asked),
            ]
        )
        need = memory(config)
        if need is None:
            held.append([_name(config), "unknown"])
        else:
            held[0] = ["GiB", *need]
            held.append([_name(config), *(f"{gib:.1f}" for gib in need.values())])
    missing = sorted({name for config in configs for name in unknown(config)})
    return [
        f"plan of {len(configs)} cells at scale={', '.join(dict.fromkeys(c.scale.name for c in configs))}",
        *_aligned(table),
        "",
        *_aligned(held),
        "",
        f"in all {_bounded(sums['hours'])} H100 hours, {sums['calls'][0]:.0f} judge calls, {_bounded(sums['usd'])} USD",
        *(
            [f"unknown sizes (experiments/plan/model_sizes.py lists the known): {', '.join(missing)}"]
            if missing
            else []
        ),
        ASSUMED,
    ]


def own(stages: Sequence[Stage] | None, done: set[str]) -> list[Stage] | None:
    """The stages that are not among the shared ones done before; those that are shared are added to these."""
    if stages is None:
        return None
    left = [stage for stage in stages if stage.once not in done]
    done |= {stage.once for stage in stages if stage.once is not None}
    return left


def judged(config: Run, tokens: Lengths, *, with_start: bool) -> Judging:
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
            if not judging.judge_class(node).asks_server:
                continue
            calls += orders * pairs
            usd += orders * pairs * _price(node, tokens)
    return Judging(calls, None if math.isnan(usd) else usd)


def _name(config: Run) -> str:
    return f"{config.family.name} {config.regime.name} {identity.method(config)} {config.verifier.name} s{config.seed}"


def _steps(config: Run) -> tuple[str, str]:
    """Optimizer steps, and prompts, pairs or answers that they learn from; of best-of-n none."""
    rows = completions(config)
    if not rows:
        return "-", "-"
    group = config.trainer.num_generations if config.trainer.method == "grpo" else 1
    return str(config.trainer.max_steps), f"{config.trainer.max_steps * rows / group:.0f}"


def _sum(stages: Sequence[Stage] | None, field: str) -> float:
    return math.nan if stages is None else float(sum(getattr(stage, field) for stage in stages))


def _hours(stages: Sequence[Stage] | None) -> float:
    return _sum(stages, "seconds") / 3600


def _shares(stages: Sequence[Stage] | None) -> str:
    """Per cent of the seconds by kind."""
    if stages is None:
        return "unknown"
    total = sum(stage.seconds for stage in stages)
    return "/".join(f"{100 * sum(s.seconds for s in stages if s.kind == k) / total:.0f}" for k in KINDS)


def _price(node: Component, tokens: Lengths) -> float:
    """USD of one call; NaN where the prices are unknown."""
    judge = judging.instantiate_judge(node)
    prompt = Prompt("plan", "x" * round(CHARACTERS_A_TOKEN * tokens.prompt))
    start, policy = (
        Generation("x" * round(CHARACTERS_A_TOKEN * length), False, 0)
        for length in (tokens.start, tokens.answer)
    )
    estimate = judge.estimate_tokens(prompt, start, policy)
    if estimate is None:
        return math.nan
    usd = judge.price(estimate[0], round(min(estimate[1], tokens.reply)))
    return math.nan if usd is None else float(usd)


def _whose(config: Run) -> str:
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
