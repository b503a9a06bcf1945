"""The stress table of a cell: how every reward and variant ranks answers of known worth. Nothing is trained."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from cme.evaluation.reward_probe import (
    GRADES,
    CachedEngine,
    GradedAnswer,
    graded_answers,
    score_answers,
)
from cme.records import RewardProbeRecord, write_record
from cme.rewards import (
    CrossModelEntropy,
    FormatReward,
    GroundTruth,
    Length,
    RandomReward,
    Reward,
    SelfCertainty,
    SemanticEntropy,
    TokenEntropy,
)
from experiments.config import composition, identity
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.run import inputs, preparation
from experiments.run.stage import resolve_weights
from experiments.run.store import environment

# Evaluation prompts, or fewer where data.eval_prompts is less: as many as tell the rewards apart at a price that
# two cores pay in a minute (miniature) or a few (laptop). No field, since every field is part of a run's identity.
PROMPTS = {"miniature": 60}
ELSEWHERE = 24
# Tokens. The answers are scored whole: a training's own limits would cut the padding off a verbose one.
UNCUT = 512

VARIANTS: dict[str, dict[str, Any]] = {
    "cme": {},
    "cme no end of turn": {"score_end_of_turn": False},
    "cme perplexity": {"metric": "perplexity"},
    "cme predictive entropy": {"metric": "predictive_entropy"},
    "cme pmi": {"pmi": True},
    "cme span=answer": {"span": "answer"},
    "cme answer, penalty 2": {"span": "answer", "no_answer_penalty": 2.0},
    "cme span=blended": {"span": "blended"},
    "cme clip [-3, -0.5]": {"clip": [-3.0, -0.5]},
    "cme sigmoid [-2, 1]": {"sigmoid": [-2.0, 1.0]},
}
"""Lines by the reward fields that they change. `cme` is the reward as it is configured.

`granularity` and `std_floor` have no line: they change what is made of a group's rewards, not the rewards.
"""
ENSEMBLES = {"cme ensemble mean": {"ensemble": "mean"}, "cme ensemble min": {"ensemble": "min"}}
# Not majority_vote: it values a response by the others that its policy gave, and no policy gave these. Semantic entropy
# does so too; here the nine answers to a prompt are its group, so that it shows what it takes for the same.

# Fields that a run's identity counts and a stress table does not depend on.
_TRAINING = (
    "trainer",
    "guard",
    "judge",
    "evaluation",
    "selection",
    "capabilities",
    "monitor_every",
    "data.train_split",
    "data.train_prompts",
    "data.eval_prompts",  # counted as what `prompt_count` makes of it
)


def record_path(config: Run) -> Path:
    """Where a cell's stress table lies."""
    return Path(config.results_dir) / reward_probe_id(config) / "stress.json"


def reward_probe_id(config: Run) -> str:
    """Slug and hash, such as `stress-miniature-qwen-pretrained-gemma-s0-1a2b3c4d`."""
    counted = identity.identity_fields(config, without=_TRAINING)
    parts = ("stress", config.scale.name, config.family.name, config.regime, config.verifier.name)
    return f"{'-'.join(parts)}-s{config.seed}-{identity.digest(counted | {'prompts': prompt_count(config)})}"


def prompt_count(config: Run) -> int:
    """How many evaluation prompts a cell's stress table asks."""
    return min(PROMPTS.get(config.scale.name, ELSEWHERE), int(config.data.eval_prompts))


def prepare(configs: list[Run]) -> None:
    """Make everything loadable that the tables not yet made need, before the first is.

    Raises BadConfig for a cell that has no stress table, Unavailable for weights or data that cannot be had.
    """
    owed = [c for c in configs if not record_path(c).exists()]
    for config in owed:
        if config.reward.name != "cme":
            raise BadConfig(
                f"reward={config.reward.name}: a stress table has every reward in it; leave reward=... out, or "
                "change fields of reward=cme"
            )
        if config.trainer.method != "grpo":
            raise BadConfig(
                f"trainer={config.trainer.method}: a stress table trains nothing; leave trainer=... out"
            )
        answers(config)
    preparation.make_loadable(owed)


def answers(config: Run) -> list[GradedAnswer]:
    """The graded answers of a cell. Raises BadConfig for data without reference answers."""
    data = config.data
    prompts = inputs.load_prompts(data, data.eval_split, prompt_count(config))
    try:
        return graded_answers(prompts, config.seed)
    except ValueError as error:
        raise BadConfig(f"data={data.name}, data.eval_split={data.eval_split}: {error}") from error


def run(config: Run) -> Path:
    """Make a cell's stress table unless it was made before; return the path of its record."""
    path = record_path(config)
    if path.exists():
        print(f"{reward_probe_id(config)}: done before, skipped", file=sys.stderr)
        return path
    import transformers

    from cme.checkpoints import load

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    began = time.perf_counter()
    weights = resolve_weights(preparation.checkpoint_names([config]))
    asked = answers(config)
    found = score_answers(lines(config), asked, load(config.generator, dtype=config.scoring.dtype))
    record = RewardProbeRecord(
        stress_id=reward_probe_id(config),
        scale=config.scale.name,
        family=config.family.name,
        regime=config.regime,
        verifier=config.verifier.name,
        seed=config.seed,
        generator_checkpoint=config.generator,
        verifier_checkpoint=identity.verifier_name(config),
        second_checkpoint=second_verifier(config),
        config=config.settings,
        environment=environment() | {f"weights of {name}": folder for name, folder in weights.items()},
        prompts=list(dict.fromkeys(answer.prompt.id for answer in asked)),
        values={
            line: {grade: [_rounded(v) for v in values] for grade, values in by_grade.items()}
            for line, by_grade in found.items()
        },
        seconds=time.perf_counter() - began,
    )
    write_record(path, record)
    return path


def lines(config: Run) -> dict[str, Reward]:
    """The rewards of a cell's stress table by name: variants of the configured cme, then the others.

    A variant that the configuration excludes, or that changes nothing in it, is left out; so are the ensembles
    where there is no second verifier of a family that is neither the generator's nor the first one's, and the
    ground truth where there is no oracle. Each verifier is loaded once and scores each answer once.
    """
    settings = dict(config.reward.arguments)
    for limit in ("max_prompt_tokens", "max_response_tokens"):
        settings[limit] = max(settings.get(limit, 0), UNCUT)
    here = settings | {"server": None}  # a server serves the reward's verifier and no other
    base = _remembering(CrossModelEntropy(**settings))
    made: dict[str, Reward] = {
        name: base.variant(**changes)
        for name, changes in VARIANTS.items()
        if not changes or _applies(settings, changes)
    }
    verifiers = base.verifiers
    second = second_verifier(config)
    if second is not None:
        verifiers = [*verifiers, *_remembering(CrossModelEntropy(**here | {"verifier": second})).verifiers]
    if len(verifiers) > 1:
        for name, changes in ENSEMBLES.items():
            made[name] = base.variant(verifiers, **changes)
    made["self_likelihood"] = CrossModelEntropy(**here | {"verifier": config.generator})
    made["token_entropy"] = TokenEntropy()
    made["token_entropy_last"] = TokenEntropy(**_defaults("token_entropy_last"))
    made["self_certainty"] = SelfCertainty()
    made["semantic_entropy"] = SemanticEntropy(config.data.answers, len(GRADES))
    made["length"] = Length(**_defaults("length"))
    made["format"] = FormatReward(config.data.answers)
    made["random"] = RandomReward(config.seed)
    if config.data.oracle is not None:
        made["ground_truth"] = GroundTruth(config.load_oracle(), config.data.answers)
    return made


def _defaults(reward: str) -> dict[str, Any]:
    """The arguments that stand in a reward's own YAML."""
    node = cast(
        "dict[str, Any]",
        OmegaConf.to_container(OmegaConf.load(composition.CONF / "reward" / f"{reward}.yaml")),
    )
    return {key: value for key, value in node.items() if key not in ("name", "_target_", "defaults")}


def second_verifier(config: Run) -> str | None:
    """The verifier that makes an ensemble of a single one; None where there is none or where there are several."""
    return identity.heldout_verifier(config) if len(identity.verifiers(config)) == 1 else None


def _applies(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    """Whether the changes change something and go with the other settings."""
    try:
        CrossModelEntropy.check(**{**settings, **changes})
    except ValueError:
        return False
    return any(settings.get(key) != value for key, value in changes.items())


def _remembering(reward: CrossModelEntropy) -> CrossModelEntropy:
    for verifier in reward.verifiers:
        verifier.engine = CachedEngine(verifier.engine)
    return reward


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
