"""What reaches TRL's trainers, and the rest of each cell, against tables written by hand from the paper."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.config import composition
from experiments.config.runs import Run
from experiments.run.training import trl_settings
from tests.rehearsal.stand_ins.hub_cache import HubCache
from tests.rehearsal.stand_ins.judge_server import serving

ROOT = Path(__file__).resolve().parents[2]
TABLE: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "trainer_settings.yaml").read_text())
LINES: dict[str, Any] = TABLE["lines"]
GRPO_CONFIG: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "grpo_config.yaml").read_text())
NOT_PINNED = {"output_dir", "hub_token", "bf16", "gradient_checkpointing", "activation_checkpointing"} | {
    "use_cpu",
    "dataloader_pin_memory",
}
SMALL = ("data.train_prompts=16", "capabilities=none", "tracker=none")
MAIN_TABLE = [
    *(f"{family} {regime}" for family in ("qwen", "llama", "gemma") for regime in ("pretrained", "instruct")),
    *("olmo pretrained", "olmo sft", "olmo instruct"),
]

# one of each trainer, track and batch size; in `make test`, the others are only composed
QUICK = ("llama instruct", "gemma pretrained", "mathematics", "majority vote (TTRL)", "dpo", "sft")
OTHERS = tuple(name for name in LINES if name not in QUICK)


@pytest.fixture(scope="module")
def captured(
    checkpoints: HubCache, local_copies: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, Any]]:
    """The trainer of a command line, at the full size of scale=paper but for its prompts."""

    @cache
    def capture(names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        return _capture(names, checkpoints, local_copies, tmp_path_factory.mktemp("captured"))

    return lambda line: capture(QUICK if line in QUICK else OTHERS)[line]


def _capture(
    names: tuple[str, ...], checkpoints: HubCache, local_copies: dict[str, Path], folder: Path
) -> dict[str, dict[str, Any]]:
    """The trainers of the named command lines, all in one process."""
    with serving() as server:
        url = server.url("openai")
        lines = {name: _words(LINES[name]["command"], local_copies, folder, url) for name in names}
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.rehearsal.capture_trainers",
                str(folder / "out"),
                json.dumps(lines),
            ],
            cwd=ROOT,
            env=checkpoints.environment() | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=3600,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in (folder / "out").read_text().splitlines()]
    assert [one["line"] for one in found] == list(names), done.stderr[-3000:]
    return {one["line"]: one for one in found}


def _words(command: str, local: dict[str, Path], folder: Path, url: str) -> list[str]:
    of_math = "data=math" in command
    paths = ("math", "math500") if of_math else ("ultrafeedback", "alpaca_eval")
    return [
        "scale=paper",
        *command.split(),
        *SMALL,
        f"data.source.path={local[paths[0]]}",
        f"data.source.eval_path={local[paths[1]]}",
        f"judge.base_url={url}",
        f"selection.judge.base_url={url}",
        f"results_dir={folder / 'runs'}",
    ]


@pytest.mark.parametrize(
    "line", [pytest.param(name, marks=() if name in QUICK else pytest.mark.rehearsal) for name in LINES]
)
def test_what_reaches_the_trainer(
    captured: Callable[[str], dict[str, Any]], snapshot: Callable[[str], str], line: str
) -> None:
    expected, found = LINES[line], captured(line)
    assert (found["trainer"], found["model"]) == (expected["trainer"], snapshot(expected["model"]))
    settings = found["settings"]
    batch = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]
    wanted = TABLE["common"][expected["trainer"]] | expected["settings"]
    assert {name: batch if name == "batch" else settings[name] for name in wanted} == wanted


def test_every_field_that_reaches_trl(captured: Callable[[str], dict[str, Any]]) -> None:
    settings = captured("llama instruct")["settings"]
    assert {name: settings[name] for name in settings.keys() - NOT_PINNED} == GRPO_CONFIG


def _compose(line: str) -> Run:
    [run] = composition.compose_cells(["scale=paper", *LINES[line]["command"].split()])
    return run


@pytest.mark.parametrize("line", OTHERS)
def test_what_is_composed_for_the_trainer(line: str) -> None:
    run, expected = _compose(line), LINES[line]
    settings = trl_settings(run)
    batch = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]
    wanted = TABLE["common"][expected["trainer"]] | expected["settings"]
    found = settings | {"batch": batch, "seed": run.seed}
    assert {name: found[name] for name in wanted} == wanted and run.generator == expected["model"]


@pytest.mark.parametrize("line", MAIN_TABLE)
def test_a_cell_beside_its_trainer(line: str) -> None:
    run = _compose(line)
    assert run.verifier.checkpoint == "google/gemma-4-E4B-it"
    assert (run.data.train_prompts, run.data.eval_prompts, run.data.seed) == (5000, 200, 42)
    source = run.data.source.arguments
    assert (source["max_prompt_tokens"], source["tokenizer"]) == (512, run.generator)
    assert run.trainer.per_device_train_batch_size == 1
    assert (run.regime in run.family.ours) == (line in ("olmo pretrained", "olmo instruct"))
    assert (run.selection.every, run.selection.prompts, run.evaluation.both_orders) == (200, 50, True)
    assert (run.judge.arguments["model"], run.judge.arguments["max_response_chars"]) == ("gpt-5.2", 2500)
    reward = run.reward.arguments
    assert (reward["granularity"], reward["metric"], reward["span"]) == (
        "sequence",
        "log_likelihood",
        "response",
    )


@pytest.mark.parametrize("line", [*MAIN_TABLE, "sft"])
def test_evaluation_length(line: str) -> None:
    run = _compose(line)
    assert run.evaluation.max_new_tokens == run.scoring.max_response_tokens == 2048


def test_a_cell_in_mathematics() -> None:
    run = _compose("mathematics")
    assert run.verifier.checkpoint == "Qwen/Qwen2.5-Math-7B-Instruct"
    assert (run.data.answers, run.data.eval_prompts) == ("boxed", 100)
    assert run.evaluation.max_new_tokens == run.scoring.max_response_tokens == 3072


def test_the_verifier_reads_longer_completions_than_the_evaluation_has() -> None:
    [run] = composition.compose_cells(["scale=paper", "trainer.max_completion_length=4096"])
    assert (run.evaluation.max_new_tokens, run.scoring.max_response_tokens) == (2048, 4096)


def test_the_main_table_has_these_cells_with_comparators() -> None:
    runs = composition.compose_cells(["-m", "experiment=main_table", "scale=paper"])
    assert {f"{run.family.name} {run.regime}" for run in runs} == set(MAIN_TABLE)
    for run in runs:
        assert run.generator == LINES[f"{run.family.name} {run.regime}"]["model"]
        assert run.evaluation.comparators == {
            "instruct": run.family.checkpoints["paper"]["instruct"],
            "reference": "google/gemma-3-1b-it",
        }


def test_the_baselines_of_the_paper() -> None:
    """The fields that are the library's, not TRL's."""
    assert _compose("majority vote (TTRL)").reward.arguments["train_on"] == 32
    assert _compose("sft").values["trainer"]["sampling"]["temperature"] == 0.7
    assert _compose("mathematics").reward.arguments["no_answer_penalty"] == 5.0
