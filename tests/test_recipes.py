"""The recipes of docs/recipes: each composes as it stands, with the settings published for its cell."""

import functools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from paths import ROOT

from experiments.config import composition
from experiments.config.runs import Run
from experiments.plan import estimate
from experiments.plan.sizes import SIZES
from experiments.run.preparation import disk_space

PAGE = (ROOT / "docs" / "reproduce.md").read_text()
RECIPES = sorted((ROOT / "docs" / "recipes").glob("*.sh"))
SECOND_RUN = "qwen-instruct-no-kl"


@functools.cache
def compose(recipe: Path, *further: str) -> list[Run]:
    """The runs of a recipe, whose last line is its command, with further words."""
    words = shlex.split(recipe.read_text().splitlines()[-1])
    assert words[0] == "exec" and words[2] == "run.py" and words[-1] == "$@"
    return composition.compose_cells([*words[3:-1], *further])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_a_recipe_composes(recipe: Path) -> None:
    assert os.access(recipe, os.X_OK)
    for run in compose(recipe):
        assert run.scale.name == "paper" and run.experiment.name is not None


def test_every_cell_of_the_main_table_has_its_recipe() -> None:
    """It has the published settings, and is a cell of `experiment=main_table`."""
    cells = pd.read_csv(ROOT / "results" / "published" / "main_table.csv").dropna(subset=["family"])
    words = ["-m", "experiment=main_table", "scale=paper", "judge=panel"]
    grid = {f"{run.family.name}-{run.regime}": run for run in composition.compose_cells(words)}
    assert (len(cells), len(grid)) == (7, 9)
    for cell in cells.to_dict("records"):
        name = f"{cell['family']}-{cell['regime']}"
        [run] = compose(ROOT / "docs" / "recipes" / f"{name}.sh")
        assert (run.generator, run.verifier.checkpoint) == (cell["generator"], "google/gemma-4-E4B-it")
        ours = [run.values["trainer"][key] for key in ("beta", "max_completion_length", "max_steps")]
        assert ours == [cell[key] for key in ("kl_beta", "max_new_tokens", "max_steps")]
        models = {member.arguments["model"] for member in run.judge.members.values()}
        assert models == {"gpt-5.2", "claude-sonnet-4-6"}
        assert run.evaluation.comparators["reference"] == "google/gemma-3-1b-it"
        assert run.run_id == grid[name].run_id
        assert run.evaluation.comparators == grid[name].evaluation.comparators
    [second] = compose(ROOT / "docs" / "recipes" / f"{SECOND_RUN}.sh")
    assert (second.trainer.beta, second.trainer.max_steps) == (0, 3000)


def judging(run: Run) -> tuple[int, str]:
    """Calls, and US dollars as expected and at most."""
    (calls, most), (_, expected) = (
        estimate.judge_calls(run, lengths, with_start=True) for lengths in estimate.bounds(run)
    )
    return calls, f"{expected:.0f}-{most:.0f}"


def resources(run: Run) -> tuple[str, str]:
    """GB of disk and GiB of memory."""
    memory = estimate.memory(run)
    assert memory is not None
    disk = disk_space(run, SIZES[run.generator].parameters, on_gpu=True).peak
    return f"{disk / 1e9:.0f}", f"{memory / 2**30:.1f}"


@pytest.mark.slow
def test_the_costs_on_the_page_are_those_of_the_plan() -> None:
    """One row for each recipe of a cell; the hours are estimated on the page alone."""
    rows = re.findall(r"^\| `docs/recipes/([\w-]+)\.sh` \| (.*) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 8
    for name, row in rows:
        recipe = ROOT / "docs" / "recipes" / f"{name}.sh"
        [run], [by_one] = compose(recipe), compose(recipe, "judge=gpt_5_2")
        disk, memory = resources(run)
        calls, both = judging(run)
        steps, _, _, *costs = row.split(" | ")
        assert int(steps) == run.trainer.max_steps
        assert costs == [disk, f"{calls:,}", judging(by_one)[1], both, memory], name


def test_the_costs_of_the_other_recipes_are_on_the_page() -> None:
    [cell] = compose(ROOT / "docs" / "recipes" / "one-cell.sh")
    calls, usd = judging(cell)
    expected, most = usd.split("-")
    assert f"{expected} USD for {calls:,} calls of gpt-5.2; at most" in PAGE
    assert f"(5 hours, {most} USD)" in PAGE
    [control] = compose(ROOT / "docs" / "recipes" / "one-cell.sh", "verifier=random")
    # the comparisons of the untrained model are those of the cell
    _, usd_of_control = estimate.judge_calls(control, estimate.bounds(control)[1], with_start=False)
    assert f"the control, about {3 * 2.5 + usd_of_control:.0f}\nUSD more" in PAGE
    disk, memory = resources(compose(ROOT / "docs" / "recipes" / "mathematics.sh")[0])
    assert f"{memory} GiB and {disk} GB of disk" in PAGE.replace("\n", " ")


def test_a_recipe_runs_anywhere_with_further_words(tmp_path: Path) -> None:
    recipe = ROOT / "docs" / "recipes" / "llama-instruct.sh"
    environment = os.environ | {"PYTHON": sys.executable}
    words = [recipe, "plan=true"]
    assert "llama instruct cme" in subprocess.check_output(words, cwd=tmp_path, env=environment, text=True)
