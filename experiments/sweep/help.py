"""The text of `run.py --help`: config groups and fields, from the schema and the files in `conf/`."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from omegaconf import MISSING

from experiments.config.composition import config_groups
from experiments.config.schema import Config
from experiments.config.settings import Setting, declaration, declared_fields
from experiments.config.trainers import TRAINERS

HIDDEN = ("accelerate", "hydra")
"""Folders of `conf/` that are not chosen by name on the command line."""
ELSEWHERE = {
    "adapter": "low-rank adapters to train instead of all weights; none: all weights",
    "comparators": "further models to compare with; none: the untrained model alone",
    "trainer": "how the policy is trained",
}
"""The help of the groups that are not fields of the schema by the same name."""

USAGE = """\
Train a policy with a label-free reward, compare it with its untrained model, record and report.

    python run.py [GROUP=OPTION ...] [FIELD=VALUE ...]
    python run.py -m GROUP=OPTION,OPTION ... [hydra/launcher=local|slurm|ray]     a sweep

--cfg job prints the composed configuration, --hydra-help the options of Hydra.
"""


def help_text() -> str:
    """Usage, the options of each config group, and every field with its type, default, allowed values and help."""
    lines = [USAGE, "Groups:"]
    for group, options in config_groups().items():
        if group not in HIDDEN:
            lines += [f"  {group}: {_group_help(group)}", f"    {group}={', '.join(options)}"]
    lines += ["", "Fields:", *_describe_fields(Config)]
    for method, schema in TRAINERS.items():
        lines += ["", f"Fields of trainer={method}:", *_describe_fields(schema, "trainer.")]
    lines += ["", "reward, judge and data.source take the arguments of their _target_."]
    return "\n".join(lines)


def _group_help(group: str) -> str:
    if group in ELSEWHERE:
        return ELSEWHERE[group]
    [one] = [one for one in fields(Config) if one.name == group]
    declared = declaration(one)
    if declared is not None:
        return declared.help
    summary = str(one.type.__doc__).rstrip(".")
    return summary[0].lower() + summary[1:]


def _describe_fields(schema: Any, path: str = "") -> Iterator[str]:
    """A line for each field of a schema, by its dotted path."""
    for here, one, declared in declared_fields(schema, path):
        kind = one.type.__name__ if isinstance(one.type, type) else str(one.type).replace("typing.", "")
        allowed = f"one of {', '.join(declared.choices)}" if declared.choices else ""
        described = "; ".join(filter(None, [declared.help, allowed, declared.bounds]))
        yield f"  {here} ({kind}{_default(declared)}): {described}"


def _default(declared: Setting) -> str:
    """The default as YAML writes it; empty for a value that the files in `conf/` give."""
    default = declared.default
    if default == MISSING or isinstance(default, list | dict):
        return ""
    return (
        f" = {'null' if default is None else str(default).lower() if isinstance(default, bool) else default}"
    )
