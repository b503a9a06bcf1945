"""The text of `run.py --help`: config groups, fields and arguments, from the schema, the docstrings and `conf/`."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from omegaconf import MISSING

from cme.rewards.cross_model.settings import VerifierReward
from cme.runtime.shipped import CONF, RUN
from experiments.config.components import locate, option_settings, type_name
from experiments.config.composition import config_groups
from experiments.config.schema import Config
from experiments.config.settings import declaration, declared_fields
from experiments.config.trainers import TRAINERS

HIDDEN = ("accelerate", "hydra")
"""Folders of `conf/` that are not chosen by name on the command line."""
ELSEWHERE = {
    "adapter": "low-rank adapters to train instead of all weights; none: all weights",
    "comparators": "further models to compare with; none: the untrained model alone",
    "trainer": "how the policy is trained",
}
"""The help of the groups that are not fields of the schema by the same name."""
USAGE = f"""\
Train a policy with a label-free reward, compare it with its untrained model, record and report.

    {RUN} [GROUP=OPTION ...] [FIELD=VALUE ...]
    {RUN} -m GROUP=OPTION,OPTION ... [hydra/launcher=local|slurm|ray]     a sweep

--cfg job prints the composed configuration, --hydra-help the options of Hydra.
"""


def help_text() -> str:
    """Usage, the options of each group, every field, and the arguments of rewards, judges and prompt sources."""
    groups = config_groups()
    lines = [USAGE, "Groups:"]
    for group, options in groups.items():
        if group not in HIDDEN:
            lines += [f"  {group}: {_describe_group(group)}", f"    {group}={', '.join(options)}"]
    lines += ["", "Fields:", *_describe_fields(Config, "")]
    described = {method: list(_describe_fields(schema, "trainer.")) for method, schema in TRAINERS.items()}
    lines += _share("Fields of trainer", described)
    for group in ("reward", "judge", "data"):
        lines += _share(f"Arguments of {group}", _describe_arguments(group, groups[group]))
    return "\n".join(lines)


def _share(what: str, described: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The lines of all options, each line once, below the names of the options that have it."""
    options: dict[str, list[str]] = {}
    for option, lines in described.items():
        for line in lines:
            options.setdefault(line, []).append(option)
    for names in dict.fromkeys(map(tuple, options.values())):
        yield f"\n{what}={', '.join(names)}:"
        yield from (line for line, having in options.items() if tuple(having) == names)


def _describe_group(group: str) -> str:
    if group in ELSEWHERE:
        return ELSEWHERE[group]
    [one] = [one for one in fields(Config) if one.name == group]
    declared = declaration(one)
    if declared is not None:
        return declared.help
    summary = str(one.type.__doc__).rstrip(".")
    return summary[0].lower() + summary[1:]


def _describe_fields(schema: Any, path: str) -> Iterator[str]:
    """A line for each field of a schema, by its dotted path."""
    for here, one, declared in declared_fields(schema, path):
        allowed = f"one of {', '.join(declared.choices)}" if declared.choices else ""
        yield _line(here, one.type, declared.default, declared.help, allowed, declared.bounds)


def _describe_arguments(group: str, options: Sequence[str]) -> dict[str, list[str]]:
    """The lines on the arguments of each target in `cme`, by the options that have it.

    The defaults are those of the first option, from which the others derive.
    """
    path = "data.source" if group == "data" else group
    having: dict[str, list[str]] = {}
    for option in sorted(options, key=lambda o: "\ndefaults:" in (CONF / group / f"{o}.yaml").read_text()):
        target = str(_component(group, option).get("_target_"))
        if target.startswith("cme."):
            having.setdefault(target, []).append(option)
    described = {}
    for target, names in having.items():
        settings, texts = _component(group, names[0]), _documented_arguments(locate(target))
        parameters = inspect.signature(locate(target)).parameters.values()
        described[", ".join(names)] = [
            _line(f"{path}.{p.name}", p.annotation, settings[p.name], texts.get(p.name, ""))
            for p in parameters
            if p.name in settings
        ]
    return described


def _component(group: str, option: str) -> dict[str, Any]:
    settings = option_settings(group, option)
    return dict(settings["source"]) if group == "data" else settings


def _documented_arguments(target: Callable[..., Any]) -> dict[str, str]:
    """The texts in the sections `Args:` of a function, or of a class, its settings and what they derive from."""
    documented: list[Any] = [target]
    if isinstance(target, type):
        documented = [*target.__mro__]
        if issubclass(target, VerifierReward):
            documented = [*target.SETTINGS.__mro__, *documented]
    texts: dict[str, str] = {}
    for one in documented:
        section = (one.__doc__ or "").partition("Args:\n")[2]
        for names, text in re.findall(r"^ +(\w+(?:, \w+)*): (.+(?:\n {12}.+)*)", section, re.MULTILINE):
            for name in names.split(", "):
                texts.setdefault(name, " ".join(text.split()).rstrip("."))
    return texts


def _line(path: str, annotation: Any, default: Any, *texts: str) -> str:
    """The line on a field or argument: path, type, default as YAML writes it, and what is known about it."""
    value = "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
    # a value that `conf/` gives, a nested one, or a prompt
    shown = "" if default == MISSING or isinstance(default, list | dict) or "\n" in value else f" = {value}"
    return f"  {path} ({type_name(annotation)}{shown}): {'; '.join(filter(None, texts))}".removesuffix(": ")
