"""Checks of a run before any model loads. Every error is one sentence that names field, value and remedy."""

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, cast, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from cme.judges.base import Judge
from cme.judges.pairwise import SINGLE_ORDER
from cme.models import template_variables
from cme.records import LARGEST_COUNT, find_unwritable
from cme.rewards.base import Reward
from cme.runtime import shipped
from cme.runtime.files import check_name
from experiments.config import identity, reward_validation
from experiments.config.components import Component, configured_targets, locate
from experiments.config.family_overlap import Party, run_warnings
from experiments.config.schema import REGIMES, Config
from experiments.config.settings import declared_fields
from experiments.config.trainers import TRAINERS

if TYPE_CHECKING:
    from experiments.config.runs import Run

UNDELETABLE = "a field of the configuration cannot be deleted; leave this out"
LONGEST_ID = 200
"""Bytes of a run's id: file systems allow 255 in a name, and temporary files add to it."""


class BadConfig(ValueError):
    """A configuration that cannot run; the message names the field, its value and the remedy."""


class NoSuchCell(BadConfig):
    """A family without a checkpoint of the regime at the scale."""


@contextmanager
def as_bad_config(what: str = "") -> Iterator[None]:
    """Raise a ValueError of the block as BadConfig, whose message begins with `what`, such as `data=world`."""
    try:
        yield
    except ValueError as error:
        raise BadConfig(f"{what}: {error}" if what else str(error)) from error


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` if a known word is similar, else the known words."""
    options = sorted(known)
    near = difflib.get_close_matches(word, options, n=1)
    return f"; did you mean {near[0]}?" if near else f"; it must be one of {', '.join(options)}"


def check_existence(config: DictConfig) -> None:
    """Check that the interpolations of a composed configuration resolve.

    Raises BadConfig, and NoSuchCell for a family without a checkpoint of the regime at the scale.
    """
    scale, family, regime = config.scale.name, config.family.name, config.regime
    if regime not in REGIMES:
        raise BadConfig(f"regime={regime} is unknown; it must be one of {', '.join(REGIMES)}")
    checkpoints = config.family.checkpoints.get(scale) or {}
    if regime not in checkpoints:
        scales = f"its scales are {', '.join(config.family.checkpoints)}"
        known = f"it has {', '.join(checkpoints)}" if checkpoints else scales
        raise NoSuchCell(f"regime={regime} does not exist for family={family} at scale={scale}: {known}")
    try:
        checkpoint = config.verifier.checkpoint
    except OmegaConfBaseException:
        raise BadConfig(
            f"verifier={config.verifier.name} does not exist at scale={scale} for family={family}; "
            f"it has a checkpoint for {', '.join(config.verifier.checkpoints)}"
        ) from None
    if isinstance(checkpoint, int | float):
        raise BadConfig(
            f"verifier.checkpoint={checkpoint}; it must be the name of a checkpoint, or a list of names"
        )
    for name in config.evaluation.comparators:
        try:
            comparator = config.evaluation.comparators[name]
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0].removeprefix("Interpolation key ")
            raise BadConfig(
                f"evaluation.comparators.{name} does not exist for family={family} at scale={scale}: {reason}; use "
                f"comparators=none, or name a checkpoint with evaluation.comparators.{name}=..."
            ) from None
        if not comparator:
            raise BadConfig(f"evaluation.comparators.{name}={comparator}; it must be a checkpoint")
    source = config.data.source
    if config.data.name == "file" and OmegaConf.is_dict(source) and source.get("path") is None:
        raise BadConfig("data=file needs the file of your prompts: set data.path=FILE (docs/experiments.md)")
    _check_trainer(config)


def _check_trainer(config: DictConfig) -> None:
    """Check that the trainer is one of TRAINERS with the pairs and the sizes that it needs."""
    scale, family, method = config.scale.name, config.family.name, config.trainer.method
    if TRAINERS.get(method) is not OmegaConf.get_type(config.trainer):
        raise BadConfig(
            f"trainer.method={method} cannot be set alone; use trainer={' or trainer='.join(TRAINERS)}"
        )
    if method == "dpo" and config.trainer.pairs is None:
        raise BadConfig(
            f"trainer=dpo needs preference pairs, and data={config.data.name} has none; use data with pairs, such as "
            "data=world or data=ultrafeedback, or another trainer"
        )
    try:
        missing = sorted(OmegaConf.missing_keys(config.trainer))
    except InterpolationKeyError as error:
        field = str(error).split("'")[1]
        raise BadConfig(
            f"trainer={method} has no sizes for family={family} regime={config.regime} at scale={scale}: set {field} "
            f"in conf/family/{family}.yaml"
        ) from None
    if missing:
        raise BadConfig(f"trainer={method} has no sizes at scale={scale}: set {', '.join(missing)}")


def check_names(values: Mapping[str, Any]) -> None:
    """Check the folder of the results, and the names that become part of file names in it. Raises BadConfig."""
    for path, name in identity.flatten(dict(values)).items():
        if path.endswith(".name") and name is not None:
            with as_bad_config():
                check_name(path, str(name))
    if not values["results_dir"].strip():
        raise BadConfig("results_dir is empty; it must be a folder, such as results_dir=results/runs")


def check_targets(values: Mapping[str, Any]) -> None:
    """Refuse every `_target_`, also nested ones, unless a file in `conf/` names it in `cme`, or its package is trusted.

    The name is checked before it is imported. `experiment.run` must be in `experiments` or in a trusted package, and is
    imported when it runs. Raises BadConfig.
    """
    trusted, named = values["trusted_packages"], configured_targets(shipped.CONF)
    targets = {p: str(v) for p, v in identity.flatten(values).items() if p.rpartition(".")[2] == "_target_"}
    for path, target in {**targets, "experiment.run": values["experiment"]["run"]}.items():
        home = "cme" if path in targets else "experiments"
        package = target.partition(".")[0]
        remedy = f"; if you trust it, add trusted_packages=[{package}]"
        if package not in (home, *trusted):
            raise BadConfig(f"{path}={target} is not in {home}{remedy}")
        if path not in targets:
            continue
        if target not in named and package not in trusted:
            raise BadConfig(f"{path}={target}, which no file in conf/ names{remedy}")
        try:
            locate(target)
        except ImportError as error:
            raise BadConfig(f"{path}={target} cannot be imported: {str(error).splitlines()[0]}") from error


def validate(run: "Run", parties: Sequence[Party] = ()) -> list[str]:
    """Check a run and return the warnings to record. Raises BadConfig.

    `parties` made the responses that are judged, if these are not the run's own.
    """
    with as_bad_config():
        _check_values(run)
        run.preset.check(run.scale)
        run.scale.check()
        template_variables.check(run.chat_template.generator)
        template_variables.check(run.chat_template.verifier)
        _check_components(run)
        run.trainer.check(run)
        reward_validation.check(run)
        run.selection.check(run.trainer)
    if run.experiment.needs_answers and run.data.answers == "none":
        raise BadConfig(
            f"experiment={run.experiment.name} needs answers, but data={run.data.name} has none "
            "(data.answers=none); use data with answers, such as data=world"
        )
    for path, judge in run.judges.items():
        _check_judge(run, path, judge)
    if (size := len(run.run_id.encode())) > LONGEST_ID:
        raise BadConfig(
            f"the run's folder would be named {run.run_id[:40]}..., {size} bytes; use shorter names of family, reward "
            f"and verifier, so that it has at most {LONGEST_ID}"
        )
    return run_warnings(run, parties)


def _check_values(run: "Run") -> None:
    """Check that values can be recorded, are within the bounds of their fields, and have an effect."""
    if problem := find_unwritable(run.values):
        raise BadConfig(problem)
    values = identity.flatten(run.values)
    for path, value in values.items():
        if isinstance(value, int) and abs(value) > LARGEST_COUNT:
            raise BadConfig(f"{path}={value}; it must be at most {LARGEST_COUNT}")
    if not run.generator.strip():
        raise BadConfig(f"generator={run.generator!r}; it must be the name of a checkpoint")
    for name in ("path", "eval_path"):
        file = vars(run.data)[name]
        if file is not None and file not in run.data.source.arguments.values():
            raise BadConfig(
                f"data.{name}={file} has no effect with data={run.data.name}, which does not read it; use data=file or "
                f"data=instruction_following, or data.source.{name} with data that have this field"
            )
    for path, _, declared in [*declared_fields(Config), *declared_fields(run.trainer, "trainer.")]:
        value = values.get(path)
        if value is not None and declared.choices and value not in declared.choices:
            raise BadConfig(f"{path}={value} is unknown{suggestion(str(value), declared.choices)}")
        if not declared.allows(value):
            raise BadConfig(f"{path}={value}; it must be {declared.bounds}")


def _check_components(run: "Run") -> None:
    """Check every component that the run uses."""
    if "members" in run.values["judge"]:
        if not run.judge.members:
            raise BadConfig("judge.members is empty; a panel needs at least one judge")
        if "majority" in run.judge.members:
            raise BadConfig(
                "judge.members.majority: this is the name of the panel's verdict; use another name"
            )
    if run.reward_parts:
        for path, reward in {"reward": run.reward, **run.reward_parts}.items():
            _check_component(path, reward, Reward)
    for path, judge in run.judges.items():
        _check_component(path, judge, Judge)
    _check_component("data.source", run.data.source, split="", count=0, seed=0)
    try:
        import_module(run.data.source.target.rpartition(".")[0])
    except ImportError as error:
        raise BadConfig(
            f"data.source._target_={run.data.source.target} must be a function of a module"
        ) from error
    if run.trainer.method == "dpo":
        _check_component("trainer.pairs", run.trainer.pairs, prompts=[], seed=0)


def _check_component(
    path: str, component: Component, base: type[Judge] | type[Reward] | None = None, **provided: Any
) -> None:
    """Check that the target takes the arguments, and those `provided` when it is called, and derives from `base`."""
    target, arguments = component.target, component.arguments
    if component.members:
        arguments = arguments | {"members": component.members}
    if not target:
        raise BadConfig(f"{path}._target_ is missing; it names the callable to use")
    factory = component.load_target()
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError) as error:
        raise BadConfig(f"{path}._target_={target}: its arguments cannot be read ({error})") from error
    known = {key: p.annotation for key, p in signature.parameters.items() if key not in provided}
    for key, value in arguments.items():
        if key not in known:
            raise BadConfig(f"{path}.{key} is not an argument of {target}{suggestion(key, known)}")
        if not _fits(value, known[key]):
            raise BadConfig(f"{path}.{key}={value}; it must be {_describe_type(known[key])}")
    try:
        signature.bind(**arguments, **provided)
    except TypeError as error:
        raise BadConfig(f"{path}: {target} has a {error}") from error
    if base is None:
        return
    if not (isinstance(factory, type) and issubclass(factory, base)):
        raise BadConfig(f"{path}._target_={target} must derive from {base.__module__}.{base.__name__}")
    with as_bad_config(path):
        factory.check(**arguments)


def _check_judge(run: "Run", path: str, judge: Component) -> None:
    """Check that a judge has the oracle that it needs, and both orders if it combines them."""
    if judge.arguments.get("oracle", True) is None:
        group = f"judge@{path}" if path.endswith(".judge") else path
        raise BadConfig(
            f"{path}={judge.name} needs an oracle, but data={run.data.name} has none; "
            f"use {group}=reference_similarity"
        )
    combines = cast("type[Judge]", judge.load_target()).combines_orders
    if combines and not path.startswith("reward.") and not run.evaluation.both_orders:
        raise BadConfig(f"{path}={judge.name}: {SINGLE_ORDER}")


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a value has the annotated type. Only unions, literals and plain types are checked."""
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


def _describe_type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(map(str, get_args(annotation)))}"
    return str(getattr(annotation, "__name__", annotation)) if not get_args(annotation) else str(annotation)
