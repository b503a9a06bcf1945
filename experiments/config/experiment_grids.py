"""An experiment's own grids: what `python run.py -m experiment=NAME` runs, by scale.

`experiment.sweep` of a YAML in `conf/experiment/` lists grids by scale, each a mapping of overrides to comma lists,
as Hydra's command line has them. What the command line itself names takes the place of the grid's own values.
"""

from collections.abc import Sequence
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from experiments.config.validation import BadConfig

MULTIRUN = ("-m", "--multirun")


def expand(arguments: Sequence[str], conf: str) -> list[list[str]]:
    """The command lines that a command line stands for: one for each grid of its experiment, else itself.

    Without -m it is one cell, as every command line. Raises BadConfig for an experiment that has grids, but none at
    the scale.
    """
    named = dict(a.split("=", 1) for a in arguments if "=" in a and not a.startswith("-"))
    name, scale = named.get("experiment"), named.get("scale")
    if name is None or "," in name or not any(a in MULTIRUN for a in arguments):
        return [list(arguments)]
    try:
        with initialize_config_dir(conf, version_base="1.3"):
            chosen = [f"experiment={name}", *([] if scale is None else [f"scale={scale}"])]
            experiment = compose("config", overrides=chosen)
    except HydraException:
        return [list(arguments)]  # composing the cell says what is wrong with it
    grids = cast("dict[str, list[dict[str, Any]]]", OmegaConf.to_container(experiment.experiment.sweep))
    if not grids:
        return [list(arguments)]
    scale = str(experiment.scale.name)
    if scale not in grids:
        raise BadConfig(
            f"experiment={name} has no grid at scale={scale}; it runs at scale={' or scale='.join(grids)}, and here "
            "with a grid of your own in conf/experiment/"
        )
    keys = {_key(a) for a in arguments if not a.startswith("-")}
    return [
        [*arguments, *(f"{key}={value}" for key, value in grid.items() if key.lstrip("+") not in keys)]
        for grid in grids[scale]
    ]


def _key(override: str) -> str:
    try:
        return str(OverridesParser.create().parse_override(override).key_or_group)
    except HydraException:
        return override  # composing the cell says what is wrong with it
