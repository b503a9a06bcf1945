"""Checks of a run before any model loads. Every error is one sentence that names field, value and remedy."""

import difflib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

from cme.judges.base import Judge
from cme.judges.pairwise import SINGLE_ORDER
from cme.models import template_variables
from cme.records import LARGEST_COUNT
from cme.rewards.base import Reward
from experiments.config import identity, reward_validation
from experiments.config.components import Component, type_name
from experiments.config.family_overlap import Party, run_warnings
from experiments.config.runs import Run
from experiments.config.schema import Config
from experiments.config.settings import declared_fields


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


def validate(run: Run, parties: Sequence[Party] = ()) -> list[str]:
    """Check a run and return the warnings to record. Raises BadConfig.

    `parties` made the responses that are judged, if these are not the run's own.
    """
    with as_bad_config():
        _check_values(run)
        _check_scale(run)
        template_variables.check(run.chat_template.generator)
        template_variables.check(run.chat_template.verifier)
        _check_components(run)
        run.trainer.check(run)
        reward_validation.check(run)
        _check_selection(run)
    if run.experiment.needs_answers and run.data.answers == "none":
        raise BadConfig(
            f"experiment={run.experiment.name} needs answers, but data={run.data.name} has none "
            "(data.answers=none); use data with answers, such as data=world"
        )
    for path, judge in run.judges.items():
        _check_judge(run, path, judge)
    return run_warnings(run, parties)


def _check_values(run: Run) -> None:
    """Check that values can be recorded, are within the bounds of their fields, and have an effect."""
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


def _check_scale(run: Run) -> None:
    """Check that build and preset exist at the scale."""
    if run.scale.build != 1 and run.scale.name != "miniature":
        raise BadConfig(
            f"scale.build={run.scale.build} at scale={run.scale.name}: only miniature checkpoints have several builds; "
            "use scale.build=1"
        )
    if run.preset.name != "matched" and run.scale.name != "paper":
        raise BadConfig(
            f"preset={run.preset.name} at scale={run.scale.name}: its learning rates and lengths are for the larger "
            "models of the publications; use scale=paper, or preset=matched"
        )


def _check_selection(run: Run) -> None:
    """Check that training saves a checkpoint to select from, and not more than allowed."""
    every, saved = run.selection.every, run.selection.count_saved(run.trainer)
    limit = run.selection.max_checkpoints
    if every is not None and every >= run.trainer.max_steps:
        raise BadConfig(
            f"selection.every={every}; it must be below trainer.max_steps={run.trainer.max_steps}, or null for no "
            "selection"
        )
    if limit is not None and saved > limit:
        raise BadConfig(
            f"selection.every={every} saves {saved} checkpoints, more than selection.max_checkpoints={limit}; save "
            "fewer with a larger selection.every"
        )


def _check_components(run: Run) -> None:
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
    except ValueError as error:  # of some built-in types
        raise BadConfig(f"{path}._target_={target} does not say which arguments it takes") from error
    known = {key: p.annotation for key, p in signature.parameters.items() if key not in provided}
    for key, value in arguments.items():
        if key not in known:
            raise BadConfig(f"{path}.{key} is not an argument of {target}{suggestion(key, known)}")
        if not _fits(value, known[key]):
            raise BadConfig(f"{path}.{key}={value}; it must be {type_name(known[key])}")
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


def _check_judge(run: Run, path: str, judge: Component) -> None:
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
