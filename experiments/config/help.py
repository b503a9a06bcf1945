"""The text of `run.py --help`: config groups and fields with their help, from the schema and the files in `conf/`."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from cme.runtime import shipped
from experiments.config.groups import group_options
from experiments.config.schema import TRAINERS, Config, Setting, declaration

HIDDEN = ("accelerate", "cell", "hydra", "source")
"""Folders of `conf/` whose options nobody chooses by hand."""

USAGE = """\
Train a policy with a label-free reward, compare it with its untrained model, record and report.

    python run.py [GROUP=OPTION ...] [FIELD=VALUE ...]
    python run.py -m GROUP=OPTION,OPTION ... [hydra/launcher=local|slurm|ray]     a sweep

--cfg job prints the composed configuration, --hydra-help the options of Hydra.
"""


def help_text() -> str:
    """Usage, the options of each config group, and every field with its type, allowed values and help."""
    groups = sorted(d for d in shipped.CONF.iterdir() if d.is_dir() and d.name not in HIDDEN)
    options = {group.name: ", ".join(group_options(group.name)) for group in groups}
    lines = [USAGE, "Groups:", *(f"  {name}={values}" for name, values in options.items()), "", "Fields:"]
    lines += [f"  {path} ({kind}): {text}" for path, kind, text in _fields(Config)]
    for method, schema in TRAINERS.items():
        lines += ["", f"Fields of trainer={method}:"]
        lines += [f"  {path} ({kind}): {text}" for path, kind, text in _fields(schema, "trainer.")]
    lines += ["", "reward, judge and data.source take the arguments of their _target_."]
    return "\n".join(lines)


def _fields(schema: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Dotted path, type and description of the fields of a schema."""
    for one in fields(schema):
        declared = declaration(one)
        if declared is not None:
            kind = one.type.__name__ if isinstance(one.type, type) else str(one.type)
            yield f"{path}{one.name}", kind.replace("typing.", ""), _description(declared)
        elif is_dataclass(one.type):
            yield from _fields(one.type, f"{path}{one.name}.")


def _description(declared: Setting) -> str:
    allowed = f"; one of {', '.join(declared.choices)}" if declared.choices else ""
    bounds = f"; {declared.bounds}" if declared.bounds else ""
    return f"{declared.help}{allowed}{bounds}"
