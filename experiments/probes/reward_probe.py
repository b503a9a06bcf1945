"""The reward probe of a cell: how rewards rank answers of known quality. Nothing is trained.

With `reward=cme` it probes every variant of the configured CME; with another reward, that reward. The other rewards are
beside it.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cme.evaluation.reward_probe import GRADES, CachedEngine, GradedAnswer, graded_answers, score_answers
from cme.grading.answers import has_final_answer
from cme.judges.oracle import OracleJudge
from cme.records import RewardProbeRecord, explain_write_errors, write_record
from cme.rewards import (
    CrossModelEntropy,
    CrossModelEntropyRank,
    EndogenousReward,
    ReverseKL,
    Reward,
    WeightedSum,
)
from cme.rewards.cross_model.settings import VerifierSettings
from experiments.config import identity
from experiments.config.components import Component, option_settings
from experiments.config.runs import Run
from experiments.config.validation import BadConfig, as_bad_config
from experiments.probes.records import record_fields
from experiments.run import inputs, preparation
from experiments.run.cell import quiet_libraries

if TYPE_CHECKING:
    from cme.scoring.verifier import Verifier

PROMPTS, OTHER_PROMPTS = {"miniature": 60}, 24
"""Evaluation prompts by scale and at other scales, or `data.eval_prompts` if that is less: enough to tell the rewards
apart in a minute (miniature) or a few minutes (laptop) on two cores."""
MIN_TOKENS = 512
"""Lowest limit of tokens, so that a limit of the training does not cut a verbose answer."""

VARIANTS: dict[str, dict[str, Any]] = {
    "cme": {},
    "cme no end of turn": {"score_end_of_turn": False},
    "cme perplexity": {"metric": "perplexity"},
    "cme predictive entropy": {"metric": "predictive_entropy"},
    "cme pmi": {"pmi": True},
    "cme span=answer": {"span": "answer"},
    "cme answer, penalty 2": {"span": "answer", "no_answer_penalty": 2.0},
    "cme span=blended": {"span": "blended"},
    "cme whole, penalty 5": {"span": "blended", "answer_weight": 0.0, "no_answer_penalty": 5.0},
    "cme clip [-3, -0.5]": {"clip": [-3.0, -0.5]},
    "cme sigmoid [-2, 1]": {"sigmoid": [-2.0, 1.0]},
}
"""Variants by the reward's fields that they change; `cme` is the reward as configured.

There is no variant of `granularity` and `std_floor`, which change the advantages and not the rewards.
"""
ENSEMBLES = {"cme ensemble mean": {"ensemble": "mean"}, "cme ensemble min": {"ensemble": "min"}}
REVERSE_KL: dict[str, dict[str, Any]] = {
    "reverse_kl": {},
    "reverse_kl_bounded": {"power": 5.0},
    "reverse_kl_masked": {"mask_special": True, "score_end_of_turn": False},
}
OF_VERIFIER = ("endorm", "cme_rank", "cme_length", *REVERSE_KL)
REFERENCE = ("reference_likelihood", "reference_probability", "reference_mean_probability")
JUDGED = "pairwise_judge"

OWN_GROUP = {"majority_vote": "the majority of nine graded answers is not that of the policy's own responses"}
NO_STEPS = {
    "cme_ema": "before the first step its verifier is the untrained model, so its ranks are self_likelihood's"
}
"""Rewards without a line, and why. For other rewards of a group, the nine answers to a prompt are the group."""

_TRAINING = (
    *("trainer", "guard", "judge", "evaluation", "selection", "capabilities", "monitor_every"),
    *("data.train_split", "data.train_prompts"),
    "data.eval_prompts",  # counted as `prompt_count`
)
"""Settings of a run's identity that a reward probe does not depend on."""


def record_path(run: Run) -> Path:
    """Where the record lies: in a folder such as `probe-miniature-qwen-pretrained-gemma-s0-1a2b3c4d`."""
    counted = identity.identity_fields(run, without=_TRAINING) | {"prompts": prompt_count(run)}
    parts = ("probe", run.scale.name, run.family.name, run.regime, run.verifier.name)
    return Path(run.results_dir) / identity.slug(run, *parts, values=counted) / "probe.json"


def prompt_count(run: Run) -> int:
    """Number of evaluation prompts in a cell's reward probe."""
    return min(PROMPTS.get(run.scale.name, OTHER_PROMPTS), run.data.eval_prompts)


def prepare(runs: list[Run]) -> None:
    """Make everything loadable that the missing records need, before the first is made.

    Raises BadConfig for a cell without a reward probe, Unavailable for weights or data that are not available, and for
    a folder of results that cannot be written.
    """
    pending = [run for run in runs if not record_path(run).exists()]
    for run in pending:
        if run.reward.name in OWN_GROUP:
            raise BadConfig(f"reward={run.reward.name}: {OWN_GROUP[run.reward.name]}; use another reward")
        if run.trainer.method != "grpo":
            raise BadConfig(
                f"trainer={run.trainer.method}: a reward probe trains nothing; leave out trainer=..."
            )
        answers(run)
    preparation.make_loadable(pending)
    for run in pending:
        with explain_write_errors(record_path(run)):  # before anything is scored
            record_path(run).parent.mkdir(parents=True, exist_ok=True)


def answers(run: Run) -> list[GradedAnswer]:
    """The graded answers of a cell. Raises BadConfig for data without reference answers."""
    data = run.data
    prompts = inputs.load_prompts(data, data.eval_split, prompt_count(run))
    with as_bad_config(f"data={data.name}, data.eval_split={data.eval_split}"):
        return graded_answers(prompts, run.seed)


def run(run: Run) -> Path:
    """Score the answers of a cell with every reward, unless it was done before; return the path of the record."""
    path = record_path(run)
    if path.exists():
        print(f"{path.parent.name}: done before, skipped", file=sys.stderr)
        return path
    from cme.checkpoints import load

    quiet_libraries()
    began = time.perf_counter()
    fields = record_fields(run, preparation.checkpoint_names([run]))
    graded = answers(run)
    template = run.chat_template.generator
    start = load(run.generator, dtype=run.scoring.dtype, chat_template_kwargs=template)
    values = score_answers(lines(run), graded, start)
    record = RewardProbeRecord(
        probe_id=path.parent.name,
        verifier=run.verifier.name,
        verifier_checkpoint=run.verifier_name,
        second_checkpoint=second_verifier(run),
        prompts=list(dict.fromkeys(answer.prompt.id for answer in graded)),
        values={
            line: {g: [None if v is None else float(f"{v:.6g}") for v in own] for g, own in by_grade.items()}
            for line, by_grade in values.items()
        },
        not_probed=not_probed(run),
        seconds=time.perf_counter() - began,
        **fields,
    )
    write_record(path, record)
    return path


def lines(run: Run) -> dict[str, Reward]:
    """The rewards of a cell's reward probe by name: variants of the configured cme, or the configured other reward.

    Then the others, except those of `not_probed`.
    """
    answers, group = {"answers": run.data.answers}, {"num_generations": len(GRADES)}
    if run.reward.name == "cme":
        own = _cme_lines(run)
    else:
        given = group if "num_generations" in run.reward.arguments else {}
        own = {run.reward.name: run.reward.instantiate(**given)}
    of_policy = (
        "token_entropy",
        "token_entropy_last",
        "self_certainty",
        "sequence_likelihood",
        "sequence_probability",
    )
    others: dict[str, dict[str, Any]] = {
        **{name: {} for name in of_policy},
        "semantic_entropy": answers | group,
        "length": {},
        "format": answers,
        "random": {"seed": run.seed},
        **dict.fromkeys(("token_entropy_format", "ground_truth_answer", *REFERENCE), answers),
    }
    if (oracle := run.load_oracle()) is not None:
        others["ground_truth"] = answers | {"oracle": oracle}
        others[JUDGED] = group | {"judge": OracleJudge(oracle)}
    left_out = {*own, *not_probed(run)}
    return own | {
        name: _as_configured(name, **given) for name, given in others.items() if name not in left_out
    }


def not_probed(run: Run) -> dict[str, str]:
    """The rewards without a line in a cell's reward probe by name, and why; with reward=cme these are all others.

    With another reward, those of a verifier have no line either.
    """
    data, reasons = run.data, OWN_GROUP | ({} if run.reward.name in NO_STEPS else NO_STEPS)
    if data.answers == "none":
        without = f"data={data.name} has no answers"
        reasons |= dict.fromkeys(("token_entropy_format", "ground_truth_answer"), without)
    if not has_final_answer(data.answers):
        reasons |= dict.fromkeys(
            REFERENCE, f"no response to data={data.name} has reasoning before its answer"
        )
    if data.oracle is None:
        reasons |= dict.fromkeys(("ground_truth", JUDGED), f"data={data.name} has no oracle")
    if run.served_verifiers:
        reasons |= dict.fromkeys(OF_VERIFIER, "the verifier is a server, which only cme asks")
    elif len(run.verifiers) > 1:
        reasons |= dict.fromkeys(REVERSE_KL, "it takes one verifier")
    return {name: reason for name, reason in reasons.items() if name != run.reward.name}


def _cme_lines(run: Run) -> dict[str, Reward]:
    """The variants of the configured cme, its ensembles, other rewards of its verifier, and the generator's likelihood.

    Left out are variants that do not go with the configuration or change nothing in it, the ensembles unless there is a
    second verifier of a third family, and the other rewards if a server is the verifier. Each answer is scored once by
    each verifier.
    """
    settings = dict(run.reward.arguments)
    for limit in ("max_prompt_tokens", "max_response_tokens"):
        settings[limit] = max(settings.get(limit, 0), MIN_TOKENS)
    local = settings | {"server": None}  # a server has only the configured verifier
    base = CrossModelEntropy(**settings)
    verifiers, second = base.verifiers, second_verifier(run)
    if second is not None:
        verifiers = [*verifiers, *CrossModelEntropy(**local | {"verifier": second}).verifiers]
    for verifier in verifiers:
        verifier.engine = CachedEngine(verifier.engine)
    made: dict[str, Reward] = {
        name: base.variant(**changes)
        for name, changes in VARIANTS.items()
        if not changes or _applies(settings, changes)
    }
    if second is not None:
        names = [*base.settings.verifiers, second]
        for name, changes in ENSEMBLES.items():
            made[name] = base.variant(verifiers, verifier=names, server=None, **changes)
    if base.settings.server is None:
        made |= _other_lines(settings, base.verifiers)
    made["self_likelihood"] = CrossModelEntropy(**local | {"verifier": run.generator})
    return made


def _applies(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    """Whether the changes go with the other settings and change something."""
    try:
        CrossModelEntropy.check(**{**settings, **changes})
    except ValueError:
        return False
    return any(settings.get(key) != value for key, value in changes.items())


def _other_lines(settings: Mapping[str, Any], verifiers: "Sequence[Verifier]") -> dict[str, Reward]:
    """Other rewards of the configured verifiers, given those that are loaded; the nine answers are a group."""
    known = {field.name for field in fields(VerifierSettings)}
    shared = {name: value for name, value in settings.items() if name in known}
    made: dict[str, Reward] = {"endorm": EndogenousReward(**shared).variant(verifiers)}
    made["cme_rank"] = CrossModelEntropyRank(**shared, num_generations=len(GRADES))
    summed = {"cme": CrossModelEntropy(**shared), "length": _as_configured("length")}
    weights = option_settings("reward", "cme_length")["weights"]
    made["cme_length"] = WeightedSum(summed, weights, len(GRADES))
    for name, changes in REVERSE_KL.items() if len(verifiers) == 1 else ():
        made[name] = ReverseKL(**shared | changes)
    for reward in made.values():
        reward.parts = {
            name: part.variant(verifiers) if isinstance(part, CrossModelEntropy) else part
            for name, part in reward.parts.items()
        }
    return made


def _as_configured(name: str, **arguments: Any) -> Reward:
    """A reward as its YAML file defines it, with some arguments given."""
    return cast("Reward", Component.from_node(option_settings("reward", name)).instantiate(**arguments))


def second_verifier(run: Run) -> str | None:
    """The held-out verifier, which makes an ensemble with that of cme; None if there is none or are several."""
    is_single = run.reward.name == "cme" and len(run.verifiers) == 1
    return run.heldout_verifier if is_single else None
