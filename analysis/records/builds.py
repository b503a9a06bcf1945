"""Builds of the miniature checkpoints: replicates of one recipe, which tables pool like seeds."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from cme.records import RunRecord

OFFSET = 100
"""Added to the seeds of each build after the first."""
CHECKPOINT = re.compile(r"(miniature:\w+)-(\d+)/")


def seed_names(seeds: Iterable[int]) -> str:
    """Seeds of pooled runs as text: `0 1 2:0 2:1` are the seeds 0 and 1 of build 1 and of build 2."""
    return " ".join(str(seed) if seed < OFFSET else f"{1 + seed // OFFSET}:{seed % OFFSET}" for seed in seeds)


def pool_builds(run: RunRecord) -> RunRecord:
    """The run without its build in the configuration, and with its build in its seed: seed 3 of build 2 is 103.

    So the builds of a recipe are pooled in one cell, and tallies by seed tell them apart. `run.build` stays, and
    a run that is pooled already stays as it is.
    """
    if "build" not in run.config.get("scale", {}):
        return run

    def without_build(node: Any) -> Any:
        if isinstance(node, Mapping):
            return {key: without_build(value) for key, value in node.items() if key != "build"}
        if isinstance(node, list):
            return [without_build(value) for value in node]
        return CHECKPOINT.sub(r"\1/", node) if isinstance(node, str) else node

    return replace(run, config=without_build(run.config), seed=run.seed + OFFSET * (run.build - 1))
