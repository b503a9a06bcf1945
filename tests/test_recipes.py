"""The recipes of docs/recipes: each composes as it stands, with the settings published for its cell."""

import csv
import functools
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from experiments.config import composition
from experiments.config.runs import Run

RECIPES = sorted((ROOT / "docs" / "recipes").glob("*.sh"))
SECOND_RUN = "qwen-instruct-no-kl"


@functools.cache
def compose(recipe: Path) -> list[Run]:
    """The runs of a recipe, whose last line is its command."""
    words = shlex.split(recipe.read_text().splitlines()[-1])
    assert words[0] == "exec" and words[2] == "run.py" and words[-1] == "$@"
    return composition.compose_cells(words[3:-1])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_a_recipe_composes(recipe: Path) -> None:
    assert os.access(recipe, os.X_OK)
    for run in compose(recipe):
        assert run.scale.name == "paper" and run.experiment.name is not None


def test_every_cell_of_the_main_table_has_its_recipe() -> None:
    with (ROOT / "results" / "published" / "main_table.csv").open() as file:
        cells = [row for row in csv.DictReader(file) if row["family"]]
    assert len(cells) == 7
    for cell in cells:
        [run] = compose(ROOT / "docs" / "recipes" / f"{cell['family']}-{cell['regime']}.sh")
        trainer = run.values["trainer"]
        assert (run.generator, run.verifier.checkpoint) == (cell["generator"], "google/gemma-4-E4B-it")
        assert [trainer[key] for key in ("beta", "max_completion_length", "max_steps")] == [
            float(cell[key]) for key in ("kl_beta", "max_new_tokens", "max_steps")
        ]
        models = {member.arguments["model"] for member in run.judge.members.values()}
        assert models == {"gpt-5.2", "claude-sonnet-4-6"}
        assert run.evaluation.comparators["reference"] == "google/gemma-3-1b-it"
    [second] = compose(ROOT / "docs" / "recipes" / f"{SECOND_RUN}.sh")
    assert (second.trainer.beta, second.trainer.max_steps) == (0, 3000)


def test_a_recipe_runs_anywhere_with_further_words(tmp_path: Path) -> None:
    recipe = ROOT / "docs" / "recipes" / "llama-instruct.sh"
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(
        [recipe, "plan=true"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "llama instruct cme" in done.stdout
