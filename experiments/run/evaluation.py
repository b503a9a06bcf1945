"""Responses of checkpoints to prompts, and what is measured on them: grades, accuracy, lm-eval's tasks."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cme.checkpoints import Checkpoint, load, load_tokenizer, stop_ids
from cme.evaluation.capabilities import Score, ifeval_scores, measure
from cme.grading.answers import has_final_answer, is_correct
from cme.models.generation import decoding_fields, generate
from cme.models.generation_log import GenerationLog
from cme.records import (
    Accuracy,
    Capability,
    Conversation,
    Generation,
    Grade,
    Grades,
    Oracle,
    Pair,
    Prompt,
    Selected,
)
from cme.scoring.token_scorer import TokenScorer
from cme.scoring.verifier import Verifier
from experiments.config import identity
from experiments.config.runs import Run, reward_verifiers
from experiments.config.schema import Scoring
from experiments.run import inputs
from experiments.run.store import Store, cached_generations, cached_stage


def load_generator(run: Run) -> Checkpoint:
    """The untrained model of a run."""
    return load(run.generator, chat_template_kwargs=run.chat_template.generator)


def load_scorer(name: str, limits: Scoring, template: Mapping[str, Any] | None = None) -> Verifier:
    """A frozen checkpoint as a scorer of responses; `template` are values for variables of its chat template."""
    checkpoint = load(name, dtype=limits.dtype, chat_template_kwargs=template)
    return Verifier(
        checkpoint.tokenizer,
        TokenScorer(checkpoint.model, batch_tokens=limits.batch_tokens),
        max_prompt_tokens=limits.max_prompt_tokens,
        max_response_tokens=limits.max_response_tokens,
    )


def respond(
    run: Run,
    checkpoint: Checkpoint,
    prompts: Sequence[Prompt],
    *,
    progress: str,
    temperature: float = 0.0,
    log: GenerationLog | None = None,
    published: str | None = None,
) -> list[Generation]:
    """One response to each prompt: greedy at temperature 0, else sampled from torch's global generator.

    `published` is the checkpoint from the hub whose end tokens count: by default the generator, which a policy is
    trained from.
    """
    rule = run.evaluation.stop
    return generate(
        checkpoint.model,
        checkpoint.tokenizer,
        [p.conversation for p in prompts],
        max_new_tokens=run.evaluation.max_new_tokens,
        batch_size=run.evaluation.batch_size,
        temperature=temperature,
        # a loaded model ends at both by itself, so that its tokenizer need not be read again
        end_ids=None if rule == "both" else stop_ids(published or run.generator, rule),
        progress=progress,
        log=log,
    )


def greedy_decoding(run: Run) -> dict[str, Any]:
    """How generator and policy respond, for the record: fields of GenerationConfig, and the end tokens."""
    ids = stop_ids(run.generator, run.evaluation.stop)
    tokenizer = load_tokenizer(run.generator, run.chat_template.generator)
    tokens = [str(token) for token in tokenizer.convert_ids_to_tokens(list(ids))]
    return decoding_fields(0.0, run.evaluation.max_new_tokens, ids) | {"end_tokens": tokens}


def cached_responses(
    run: Run,
    path: Path,
    inputs: Any,
    load_checkpoint: Callable[[], Checkpoint],
    prompts: Sequence[Prompt],
    *,
    progress: str,
    published: str | None = None,
) -> tuple[list[Generation], float]:
    """A checkpoint's greedy responses and the seconds that they took, generated once for equal `inputs`.

    Runs share the file `path`. A checkpoint is loaded only if it does not have them. `published`: see `respond`.
    """

    def make(log: GenerationLog) -> list[Generation]:
        return respond(run, load_checkpoint(), prompts, progress=progress, log=log, published=published)

    return cached_generations(path, inputs, make)


def verifier_responses(
    run: Run, store: Store, weights: Mapping[str, str], prompts: Sequence[Prompt]
) -> tuple[list[Generation] | None, float]:
    """The frozen verifier's own greedy responses, which runs share, and the seconds; None without a single verifier."""
    name = run.responding_verifier
    if name is None:
        return None, 0.0
    return cached_responses(
        run,
        store.verifiers / f"{identity.verifier_responses_id(run, name)}.json",
        [weights[name], [asdict(p) for p in prompts]],
        partial(
            load,
            name,
            dtype=run.scoring.dtype,
            quantization=run.quantization,
            chat_template_kwargs=run.verifier_template,
        ),
        prompts,
        progress="verifier responses",
        published=name,
    )


def make_pairs(
    run: Run, prompts: Sequence[Prompt], start: Sequence[Generation], policy: Sequence[Generation]
) -> list[Pair]:
    """The responses to each prompt side by side, for judges and the record."""
    return [
        Pair(
            *(p.id, p.text, p.reference, before, after, p.answer),
            messages=p.messages if isinstance(p, Conversation) else None,
        )
        for p, before, after in zip(judged_prompts(run, prompts), start, policy, strict=True)
    ]


def judged_prompts(run: Run, prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts as judges see them: with gold answers only where the data is a mathematics track."""
    graded = has_final_answer(run.data.answers)
    return list(prompts) if graded else [replace(p, answer=None) for p in prompts]


def true_quality(
    run: Run, prompts: Sequence[Prompt], responses: Sequence[Generation] | None
) -> list[float] | None:
    """The true quality of each response, 0-1; None without an oracle or without responses."""
    oracle = run.load_oracle()
    if oracle is None or responses is None:
        return None
    return [_grade(oracle, p.text, r).quality for p, r in zip(prompts, responses, strict=True)]


def grade_pairs(
    run: Run, pairs: Sequence[Pair], cut_starts: Sequence[Generation], selected: Selected | None
) -> Grades | None:
    """The grades of start, policy, cut start and selected checkpoint; None without an oracle."""
    oracle = run.load_oracle()
    if oracle is None:
        return None

    def grade(responses: Sequence[Generation]) -> list[Grade]:
        return [_grade(oracle, p.prompt, r) for p, r in zip(pairs, responses, strict=True)]

    return Grades(
        grade([p.start for p in pairs]),
        grade([p.policy for p in pairs]),
        grade(cut_starts),
        grade(selected.responses) if selected and selected.responses is not None else None,
    )


def _grade(oracle: Oracle, prompt: str, response: Generation) -> Grade:
    grade = oracle(prompt, response.response, bool(response.finished))
    return replace(grade, quality=round(grade.quality, 6))


def measure_accuracy(run: Run, pairs: Sequence[Pair], selected: Selected | None) -> Accuracy | None:
    """Whether the responses of start, policy and selected checkpoint are right; None on other data than mathematics."""
    kind = run.data.answers
    if not has_final_answer(kind):
        return None

    def grade(responses: Sequence[Generation]) -> list[bool | None]:
        return [is_correct(r.response, p.answer, kind) for p, r in zip(pairs, responses, strict=True)]

    return Accuracy(
        grade([p.start for p in pairs]),
        grade([p.policy for p in pairs]),
        grade(selected.responses) if selected and selected.responses is not None else None,
    )


def blind_spots(run: Run) -> dict[str, list[str]] | None:
    """The facts about which the families of generator and verifiers have false beliefs; None if that is unknown."""
    if run.data.blind_spots is None:
        return None
    facts = run.data.blind_spots.instantiate()
    names = reward_verifiers({"verifier": run.verifier.checkpoint})
    families = {run.verifier.family}
    if len(names) > 1:  # such as miniature:llama-1/instruct
        families = {re.split("[-/]", name.rpartition(":")[2])[0] for name in names}
    return {
        "generator": sorted(facts(run.family.name)),
        "verifier": sorted({fact for family in families for fact in facts(family)}),
    }


def measure_capabilities(
    run: Run, store: Store, weights: Mapping[str, str], training: dict[str, Any], pairs: Sequence[Pair]
) -> tuple[list[Capability], float | None]:
    """Scores of start and policy on the constraints of the pairs' prompts and on lm-eval's tasks.

    Also the seconds of the tasks; None without tasks. Runs share the scores of a start. Raises ValueError if start and
    policy were scored on different items.
    """
    found: list[Capability] = []
    if constrained := inputs.constraints(run, [pair.prompt for pair in pairs]):
        before = ifeval_scores(run.data.name, constrained, [pair.start.response for pair in pairs])
        after = ifeval_scores(run.data.name, constrained, [pair.policy.response for pair in pairs])
        found += map(_capability, before, after)
    wanted = run.capabilities
    if not wanted.tasks:
        return found, None

    def score(checkpoint: str) -> list[dict[str, Any]]:
        scores = measure(
            load(checkpoint, chat_template_kwargs=run.chat_template.generator),
            list(wanted.tasks),
            chat_template=wanted.chat_template,
            limit=wanted.limit,
            batch_size=wanted.batch_size,
        )
        return [asdict(s) for s in scores]

    settings = {k: v for k, v in run.settings["capabilities"].items() if k != "batch_size"}
    settings |= {"lm_eval": version("lm-eval"), **identity.counted_template(run.chat_template.generator)}
    if wanted.chat_template:
        settings["tokenized"] = "context and continuation apart"  # scores from before that are not reused
    of_start = [weights[run.generator], settings]
    path = store.starts / f"{run.scale.name}-capabilities-{identity.digest(of_start)}.json"
    start = cached_stage(path, of_start, lambda _: score(run.generator))
    path = store.trained / f"capabilities-{identity.digest(settings)}.json"
    policy = cached_stage(path, [training, settings], lambda _: score(str(store.checkpoint)))
    for one, other in zip(start.value, policy.value, strict=True):
        found.append(_capability(Score(**one), Score(**other)))
    return found, start.seconds + policy.seconds


def _capability(before: Score, after: Score) -> Capability:
    if (before.task, before.metric, before.n) != (after.task, after.metric, after.n):
        raise ValueError(f"capabilities of start and policy are of different items: {before} and {after}")
    return Capability(
        task=before.task,
        metric=before.metric,
        n=before.n,
        before=before.value,
        before_stderr=before.stderr,
        after=after.value,
        after_stderr=after.stderr,
        before_items=before.items,
        after_items=after.items,
    )
