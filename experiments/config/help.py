"""The text of `run.py --help`: config groups and fields, from the schema and the files in `conf/`."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from cme.runtime import shipped
from experiments.config.composition import group_options
from experiments.config.schema import TRAINERS, Config, declaration

HIDDEN = ("accelerate", "hydra", "source")
"""Folders of `conf/` that are not chosen by name on the command line."""

USAGE = """\
Train a policy with a label-free reward, compare it with its untrained model, record and report.

    python run.py [GROUP=OPTION ...] [FIELD=VALUE ...]
    python run.py -m GROUP=OPTION,OPTION ... [hydra/launcher=local|slurm|ray]     a sweep

--cfg job prints the composed configuration, --hydra-help the options of Hydra.
"""


def help_text() -> str:
    """Usage, the options of each config group, and every field with its type, allowed values and help."""
    groups = sorted(d.name for d in shipped.CONF.iterdir() if d.is_dir() and d.name not in HIDDEN)
    lines = [USAGE, "Groups:", *(f"  {group}={', '.join(group_options(group))}" for group in groups)]
    lines += ["", "Fields:", *_describe_fields(Config)]
    for method, schema in TRAINERS.items():
        lines += ["", f"Fields of trainer={method}:", *_describe_fields(schema, "trainer.")]
    lines += ["", "reward, judge and data.source take the arguments of their _target_."]
    return "\n".join(lines)


def _describe_fields(schema: Any, path: str = "") -> Iterator[str]:
    """A line for each field of a schema: dotted path, type, help, allowed values and bounds."""
    for one in fields(schema):
        declared = declaration(one)
        if declared is not None:
            kind = one.type.__name__ if isinstance(one.type, type) else str(one.type).replace("typing.", "")
            allowed = f"; one of {', '.join(declared.choices)}" if declared.choices else ""
            bounds = f"; {declared.bounds}" if declared.bounds else ""
            yield f"  {path}{one.name} ({kind}): {declared.help}{allowed}{bounds}"
        elif is_dataclass(one.type):
            yield from _describe_fields(one.type, f"{path}{one.name}.")
