"""The grids of an experiment: what `python run.py -m experiment=NAME` runs, by scale.

`experiment.sweep` of a YAML in `conf/experiment/` lists grids by scale. A grid maps overrides to comma lists in the
syntax of Hydra's command line. Overrides on the command line replace those of the grid.
"""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from experiments.config.validation import BadConfig

MULTIRUN = ("-m", "--multirun")


def expand(arguments: Sequence[str], conf: str) -> list[list[str]]:
    """One command line for each grid of the experiment; the command line itself without -m or without grids.

    Raises BadConfig for an experiment with grids but none at the scale.
    """
    named = dict(a.split("=", 1) for a in arguments if "=" in a and not a.startswith("-"))
    name, scale = named.get("experiment"), named.get("scale")
    if name is None or "," in name or not any(a in MULTIRUN for a in arguments):
        return [list(arguments)]
    parser = OverridesParser.create()
    try:
        with initialize_config_dir(conf, version_base="1.3"):
            overrides = [f"experiment={name}", *([] if scale is None else [f"scale={scale}"])]
            config = compose("config", overrides=overrides)
        keys = {str(parser.parse_override(a).key_or_group) for a in arguments if not a.startswith("-")}
    except HydraException:
        return [list(arguments)]  # composing the run explains the error
    grids = OmegaConf.to_container(config.experiment.sweep)
    assert isinstance(grids, dict)
    scale = str(config.scale.name)
    if grids and scale not in grids:
        raise BadConfig(
            f"experiment={name} has no grid at scale={scale}; use scale={' or scale='.join(map(str, grids))}, or add "
            "a grid to its file in conf/experiment/"
        )
    return [
        [*arguments, *(f"{key}={value}" for key, value in grid.items() if key.lstrip("+") not in keys)]
        for grid in grids.get(scale, [{}])
    ]
