"""Checks of one composed configuration, before any model loads. Every complaint is one sentence."""

import difflib
import inspect
import pydoc
from collections.abc import Callable, Iterable, Sequence
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cme.grading.answers import AnswerKind
from experiments.config import identity, trainer_validation
from experiments.config.family_overlap import family_of, generator_parties, overlap_warnings

CHOICES = {
    "trainer.scale_rewards": ("group", "batch", "none"),
    "trainer.lr_scheduler_type": ("linear", "cosine", "constant", "constant_with_warmup", "polynomial"),
    "trainer.optim": ("adamw_torch", "adamw_torch_fused", "adafactor", "sgd"),
    "trainer.importance_sampling_level": ("token", "sequence"),
    "scoring.dtype": ("float32", "bfloat16", "float16"),
    "data.answers": get_args(AnswerKind),
}
AT_LEAST_0 = (
    "trainer.beta",
    "trainer.epsilon",
    "trainer.warmup_steps",
    "trainer.weight_decay",
    "trainer.top_k",
    "trainer.sampling.temperature",
)
POSITIVE = (
    "trainer.max_steps",
    "trainer.per_device_train_batch_size",
    "trainer.gradient_accumulation_steps",
    "trainer.steps_per_generation",
    "trainer.max_completion_length",
    "trainer.learning_rate",
    "trainer.temperature",
    "trainer.max_length",
    "trainer.monitor_prompts",
    "trainer.sampling.max_new_tokens",
    "trainer.sampling.batch_size",
    "data.train_prompts",
    "data.eval_prompts",
    "evaluation.max_new_tokens",
    "evaluation.batch_size",
    "selection.prompts",
    "capabilities.batch_size",
    "scoring.max_prompt_tokens",
    "scoring.max_response_tokens",
    "scoring.batch_tokens",
    "guard.patience",
    "checkpoint.every",
    "monitor_every",
)

# What is given to the functions that read data, beside their node's own arguments.
LOADERS: dict[str, dict[str, Any]] = {
    "data.source": {"split": "", "count": 0, "seed": 0},
    "trainer.pairs": {"prompts": [], "seed": 0},
}


class BadConfig(ValueError):
    """A configuration that cannot run; the message names the field, its value and what would do."""


class NoSuchCell(BadConfig):
    """A family that has no checkpoint of a regime at a scale."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` when something known is near, else what is known."""
    options = sorted(known)
    near = difflib.get_close_matches(word, options, n=1)
    return f"; did you mean {near[0]}?" if near else f"; it must be one of {', '.join(options)}"


def validate(config: DictConfig, generators: Sequence[str] = ()) -> list[str]:
    """Check a composed configuration and return the warnings to record. Raises BadConfig.

    `generators` made the outputs to judge, where the configured generator does not.
    """
    _check_cell(config)
    _check_comparators(config)
    _check_preset(config)
    _check_trainer(config, trainer_validation.check)
    _check_numbers(config)
    for field in (*_reward_fields(config), *_judge_fields(config), "data.source", *_pairs_fields(config)):
        _check_target(config, field)
    _check_trainer(config, trainer_validation.check_reward)
    _check_answers(config)
    _check_selection(config)
    try:
        identity.run_id(config)
    except OmegaConfBaseException as error:
        raise BadConfig(str(error).splitlines()[0]) from error
    except KeyError as error:
        raise BadConfig(
            f"{error.args[0]} is no field of the configuration; `python run.py --cfg job` prints all"
        ) from error
    warnings = []
    if config.experiment.independent_verifier and config.generator in identity.verifiers(config):
        warnings.append(
            f"verifier equals generator ({config.generator}), but the experiment claims an independent verifier"
        )
    return warnings + _kin(config, generators)


def _reward_fields(config: DictConfig) -> list[str]:
    """Where the reward stands, if the trainer has a use for one."""
    return ["reward"] if identity.uses_reward(config) else []


def _pairs_fields(config: DictConfig) -> list[str]:
    """Where the source of preference pairs stands, if the trainer has one."""
    return ["trainer.pairs"] if "pairs" in config.trainer else []


def _judge_fields(config: DictConfig) -> list[str]:
    """Where the judge stands in the configuration, or each member of a panel."""
    members = OmegaConf.select(config, "judge.members")
    if members is not None and not members:
        raise BadConfig("judge.members is empty; a panel needs at least one judge")
    if "majority" in (members or ()):
        raise BadConfig(
            "judge.members.majority: that is what the panel's verdict is called; use another name"
        )
    return ["judge"] if members is None else [f"judge.members.{name}" for name in members]


def _kin(config: DictConfig, generators: Sequence[str]) -> list[str]:
    """A warning for each judge that is a generator or a verifier, or of their family by its name."""
    parties = generator_parties(generators)
    if not generators:
        parties = [("generator", config.family.name, [config.generator])]
        if identity.verifiers(config):
            parties.append(("verifier", config.verifier.family, identity.verifiers(config)))
        parties += [
            (f"comparator {name}", family_of(checkpoint), [checkpoint])
            for name, checkpoint in identity.comparators(config).items()
        ]
    judges = [*_judge_fields(config), *([] if config.selection.every is None else ["selection.judge"])]
    fields = [f"{judge}.{key}" for judge in judges for key in ("model", "checkpoint", "annotator")]
    return overlap_warnings({field: str(OmegaConf.select(config, field) or "") for field in fields}, parties)


def _check_cell(config: DictConfig) -> None:
    """The generator and the verifier exist at this scale."""
    scale, family, regime = config.scale.name, config.family.name, config.regime.name
    there = config.family.checkpoints.get(scale) or {}
    if regime not in there:
        have = (
            f"it has {', '.join(there)}"
            if there
            else f"its scales are {', '.join(config.family.checkpoints)}"
        )
        raise NoSuchCell(f"regime={regime} does not exist for family={family} at scale={scale}: {have}")
    try:
        _ = config.verifier.checkpoint
    except OmegaConfBaseException:
        raise BadConfig(
            f"verifier={config.verifier.name} does not exist at scale={scale} for family={family}; "
            f"it has a checkpoint for {', '.join(config.verifier.checkpoints)}"
        ) from None


def _check_comparators(config: DictConfig) -> None:
    """The further models that the policy is to meet have a checkpoint here."""
    named = config.evaluation.comparators
    for name in named:
        try:
            checkpoint = named[name]
        except OmegaConfBaseException as error:
            lacking = str(error).splitlines()[0].removeprefix("Interpolation key ")
            raise BadConfig(
                f"evaluation.comparators.{name} does not exist for family={config.family.name} at "
                f"scale={config.scale.name}: {lacking}; use comparators=none, or name a checkpoint with "
                f"evaluation.comparators.{name}=..."
            ) from None
        if not checkpoint:
            raise BadConfig(f"evaluation.comparators.{name}={checkpoint}; it must be a checkpoint")


def _check_preset(config: DictConfig) -> None:
    """A source's own settings go with models such as the source's."""
    if config.preset.name == "paper" and config.scale.name != "paper":
        raise BadConfig(
            f"preset=paper at scale={config.scale.name}: its learning rates and lengths are for models of the "
            "sources' sizes; use scale=paper, or preset=matched"
        )


def _check_target(config: DictConfig, field: str) -> None:
    """The group's arguments fit the signature of its `_target_`."""
    node = OmegaConf.select(config, field)
    if node is None:
        raise BadConfig(f"{field} is missing; choose one, such as {field.split('.')[0]}=...")
    try:
        values = cast("dict[str, Any]", OmegaConf.to_container(node, resolve=True))
    except OmegaConfBaseException as error:
        raise BadConfig(f"{field}: {str(error).splitlines()[0]}") from error
    target = values.pop("_target_", None)
    if field not in LOADERS:
        values.pop("name", None)
    if target is None:
        raise BadConfig(f"{field}._target_ is missing; it names the callable to use")
    try:
        signature = inspect.signature(_callable(target))
    except (ImportError, pydoc.ErrorDuringImport) as error:
        raise BadConfig(
            f"{field}._target_={target} cannot be imported: {str(error).splitlines()[0]}"
        ) from error
    known = {
        key: p.annotation for key, p in signature.parameters.items() if key not in LOADERS.get(field, {})
    }
    for key, value in values.items():
        if key not in known:
            raise BadConfig(f"{field}.{key} is not an argument of {target}{suggestion(key, known)}")
        if not _fits(value, known[key]):
            raise BadConfig(f"{field}.{key}={value}; it must be {_written(known[key])}")
    given = values | LOADERS.get(field, {})
    try:
        signature.bind(**given)
    except TypeError as error:
        raise BadConfig(f"{field}: {target} has a {error}") from error
    check = getattr(_callable(target), "check", None)
    if check is not None:
        try:
            check(**values)
        except ValueError as error:
            raise BadConfig(f"{field}: {error}") from error


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a value is of the annotated type; for any but the plain types, yes."""
    if get_origin(annotation) in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(annotation))
    if get_origin(annotation) is Literal:
        return value in get_args(annotation)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation in (bool, str, type(None)):
        return isinstance(value, annotation)
    return True


def _written(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(map(str, get_args(annotation)))}"
    return str(getattr(annotation, "__name__", annotation)) if not get_args(annotation) else str(annotation)


def _callable(target: str) -> Any:
    found = pydoc.locate(target)
    if not callable(found):
        raise ImportError(f"there is no callable {target}")
    return found


def _check_numbers(config: DictConfig) -> None:
    """Each field has a value that it can have; fields that the trainer has no use for are not there."""
    there = {field: OmegaConf.select(config, field) for field in (*POSITIVE, *AT_LEAST_0, *CHOICES)}
    given = {field: value for field, value in there.items() if value is not None}
    for field, value in given.items():
        if field in POSITIVE and value <= 0:
            raise BadConfig(f"{field}={value}; it must be above 0")
        if field in AT_LEAST_0 and value < 0:
            raise BadConfig(f"{field}={value}; it must be at least 0")
        if field in CHOICES and value not in CHOICES[field]:
            raise BadConfig(f"{field}={value} is unknown{suggestion(value, CHOICES[field])}")
    if not 0 < config.guard.max_unscored <= 1:
        raise BadConfig(f"guard.max_unscored={config.guard.max_unscored}; it must be above 0 and at most 1")


def _check_trainer(config: DictConfig, check: Callable[[DictConfig], None]) -> None:
    try:
        check(config)
    except ValueError as error:
        raise BadConfig(str(error)) from error


def _check_answers(config: DictConfig) -> None:
    """Rewards, experiments and judges that need a truth have one in these data."""
    reward, data = config.reward, config.data
    needs = _reward_fields(config) and getattr(_callable(reward._target_), "needs_answers", False)
    if needs and data.answers == "none" and reward.get("oracle") is None:
        raise BadConfig(
            f"reward={reward.name} compares answers, but data={data.name} has none (data.answers=none); "
            "use data with answers, such as data=world, or another reward"
        )
    if config.experiment.needs_answers and data.answers == "none":
        raise BadConfig(
            f"experiment={config.experiment.name} tells right answers from wrong, but data={data.name} has none "
            "(data.answers=none); use data with answers, such as data=world"
        )
    for field in _judge_fields(config):
        judge = OmegaConf.select(config, field)
        if "oracle" in judge and judge.oracle is None:
            raise BadConfig(
                f"{field}={judge.name} needs an oracle, but data={data.name} has none; "
                f"use {field}=reference_similarity"
            )


def _check_selection(config: DictConfig) -> None:
    """Selection, where it is on, has checkpoints to choose from and a judge that can work on these data."""
    every, limit = config.selection.every, config.capabilities.limit
    if limit is not None and limit < 1:
        raise BadConfig(f"capabilities.limit={limit}; it must be at least 1, or null for all items")
    if every is None:
        return
    if not 0 < every < config.trainer.max_steps:
        raise BadConfig(
            f"selection.every={every}; it must be above 0 and below trainer.max_steps={config.trainer.max_steps}, "
            "or null for no selection"
        )
    _check_target(config, "selection.judge")
    judge = config.selection.judge
    if "oracle" in judge and judge.oracle is None:
        raise BadConfig(
            f"selection.judge={judge.name} needs an oracle, but data={config.data.name} has none; "
            "use judge@selection.judge=reference_similarity"
        )
