"""AlpacaEval 2's length-controlled win rate (Dubois et al., arXiv 2404.04475), computed by alpaca-eval itself.

It regresses preferences on the difference in length, the difficulty of each instruction and the model, with verdicts on
manipulated baselines as regularization. These and the difficulties are in `df_gamed.csv` of the hub's data set
tatsu-lab/alpaca_eval; nothing is downloaded. alpaca-eval runs in a process of its own, since its import changes global
settings of logging and scikit-learn.

Deviations: the baseline is the untrained model, where the file's verdicts are on GPT-4 Turbo; a preference is the mean
over both orders.
"""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

FILE, REPOSITORY, VARIABLE = "df_gamed.csv", "tatsu-lab/alpaca_eval", "ALPACA_EVAL_FILES"
PREFIX = "alpaca_eval-"
"""Of the ids of AlpacaEval's prompts; the number behind it is alpaca-eval's `index`."""


class NotAtHand(Exception):
    """Something that alpaca-eval needs is missing; the message is one sentence with a remedy."""


def length_controlled(runs: Sequence[pd.DataFrame]) -> list[float]:
    """The length-controlled win rate of each run, in percent.

    Args:
        runs: for each run a row per verdict, with the columns `prompt_id`, `start_response`, `policy_response`, and
            `score_policy`, the probability that the policy's response is better.

    Raises NotAtHand if a file or a package is missing, or if the prompts or the lengths allow no such rate.
    """
    annotated = [_annotations(run).to_dict("list") for run in runs]
    return _fit(json.dumps({"file": str(find_file()), "runs": annotated}))


@lru_cache(maxsize=8)
def _fit(request: str) -> list[float]:
    """The rates that another process computes. Raises NotAtHand."""
    command = [sys.executable, "-P", __file__]
    child = subprocess.run(command, input=request, capture_output=True, text=True, check=False)
    if child.returncode:
        said = child.stderr.strip().splitlines()
        raise NotAtHand(f"alpaca-eval failed: {said[-1] if said else f'it ended with {child.returncode}'}")
    return [float(rate) for rate in json.loads(child.stdout.splitlines()[-1])]


def find_file() -> Path:
    """The file that the regression needs: in the folder that ALPACA_EVAL_FILES names, or else in the hub's local cache.

    Raises NotAtHand.
    """
    from huggingface_hub import try_to_load_from_cache

    if find_spec("alpaca_eval") is None:
        raise NotAtHand("the package alpaca-eval is not installed: pip install 'cme-harness[alpaca]'")
    if folder := os.environ.get(VARIABLE):
        if not (path := Path(folder) / FILE).is_file():
            raise NotAtHand(f"{VARIABLE}={folder} has no {FILE}")
        return path
    cached = try_to_load_from_cache(REPOSITORY, FILE, repo_type="dataset")
    if not isinstance(cached, str):
        raise NotAtHand(
            f"{FILE} is not in the hub's local cache: `hf download {REPOSITORY} {FILE} --repo-type dataset`, or set "
            f"{VARIABLE} to a folder with it"
        )
    return Path(cached)


def _annotations(run: pd.DataFrame) -> pd.DataFrame:
    """The rows of a run in alpaca-eval's format: one per prompt, with a preference from 1 to 2. Raises NotAtHand."""
    scored = run.dropna(subset=["score_policy"])
    numbers = scored["prompt_id"].str.removeprefix(PREFIX)
    if not (scored["prompt_id"].str.startswith(PREFIX) & numbers.str.fullmatch("[0-9]{1,9}")).all():
        raise NotAtHand("the prompts are not AlpacaEval's, whose difficulties alone are known")
    rows = (
        scored.assign(index=numbers.astype(int), preference=1 + scored["score_policy"])
        .rename(columns={"start_response": "output_1", "policy_response": "output_2"})
        .groupby("index")
        .agg({"preference": "mean", "output_1": "first", "output_2": "first"})
        .reset_index()
    )
    if (rows["output_1"].str.len() - rows["output_2"].str.len()).nunique() < 2:
        raise NotAtHand("all responses differ in length by the same number of characters")
    return rows.assign(generator_1="start", generator_2="policy", annotator="alpaca_eval")


def _answer() -> None:
    """Read a request from the standard input, and print the rate of each run."""
    warnings.simplefilter("ignore")  # alpaca-eval imports the deprecated pkg_resources
    from alpaca_eval.metrics import get_length_controlled_winrate, glm_winrate

    request: dict[str, Any] = json.load(sys.stdin)
    glm_winrate.hf_hub_download = lambda **_: request["file"]
    rates = [
        get_length_controlled_winrate(
            pd.DataFrame(rows), save_weights_dir=None, is_warn_extreme_changes=False
        )["length_controlled_winrate"]
        for rows in request["runs"]
    ]
    print(json.dumps([float(rate) for rate in rates]))


if __name__ == "__main__":
    _answer()
