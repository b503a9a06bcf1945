"""What reaches TRL's trainers, and the rest of each cell, against tables written by hand from the paper."""

import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.config import composition
from experiments.config.runs import Run
from experiments.run.training import trl_settings
from tests.rehearsal.parts import MAIN_TABLE, run_command
from tests.rehearsal.stand_ins.hub_cache import HubCache
from tests.rehearsal.stand_ins.judge_server import serving

TABLE: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "trainer_settings.yaml").read_text())
LINES: dict[str, Any] = TABLE["lines"]
GRPO_CONFIG: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "grpo_config.yaml").read_text())
NOT_PINNED = {
    *("output_dir", "hub_token", "bf16", "gradient_checkpointing", "activation_checkpointing", "use_cpu"),
    "dataloader_pin_memory",
}
CELLS = [f"{family} {regime}" for family, regime in sorted(MAIN_TABLE)]


@pytest.fixture(scope="module")
def captured(
    checkpoints: HubCache, local_copies: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, Any]]:
    """The trainer of a command line, at the full size of scale=paper but for its prompts."""

    @cache
    def capture(names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """The trainers of the named command lines, all in one process."""
        folder = tmp_path_factory.mktemp("captured")
        with serving() as server:
            lines = {}
            for name in names:
                command = LINES[name]["command"]
                train, evaluation = (
                    ("math", "math500") if "data=math" in command else ("ultrafeedback", "alpaca_eval")
                )
                lines[name] = [
                    *("scale=paper", *command.split(), "data.train_prompts=16", "capabilities=none"),
                    *("tracker=none", f"results_dir={folder / 'runs'}"),
                    f"data.source.path={local_copies[train]}",
                    f"data.source.eval_path={local_copies[evaluation]}",
                    *(f"{judge}.base_url={server.url('openai')}" for judge in ("judge", "selection.judge")),
                ]
            module = [sys.executable, "-m", "tests.rehearsal.capture_trainers"]
            done = run_command([*module, str(folder / "out"), json.dumps(lines)], checkpoints)
        assert done.returncode == 0, done.stderr[-3000:]
        found = [json.loads(line) for line in (folder / "out").read_text().splitlines()]
        assert [one["line"] for one in found] == list(names), done.stderr[-3000:]
        return {one["line"]: one for one in found}

    return lambda line: capture(tuple(LINES))[line]


def check_settings(line: str, settings: Mapping[str, Any]) -> None:
    """The settings of a trainer are those of the table."""
    batch = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]
    wanted = TABLE["common"][LINES[line]["trainer"]] | LINES[line]["settings"]
    assert {name: batch if name == "batch" else settings[name] for name in wanted} == wanted


@pytest.mark.rehearsal
@pytest.mark.parametrize("line", LINES)
def test_what_reaches_the_trainer(
    captured: Callable[[str], dict[str, Any]], snapshot: Callable[[str], str], line: str
) -> None:
    expected, found = LINES[line], captured(line)
    assert (found["trainer"], found["model"]) == (expected["trainer"], snapshot(expected["model"]))
    check_settings(line, found["settings"])


@pytest.mark.rehearsal
def test_every_field_that_reaches_trl(captured: Callable[[str], dict[str, Any]]) -> None:
    settings = captured("llama instruct")["settings"]
    assert {name: settings[name] for name in settings.keys() - NOT_PINNED} == GRPO_CONFIG


def _compose(line: str) -> Run:
    [run] = composition.compose_cells(["scale=paper", *LINES[line]["command"].split()])
    return run


@pytest.mark.parametrize("line", LINES)
def test_what_is_composed_for_the_trainer(line: str) -> None:
    run = _compose(line)
    settings = trl_settings(run) | {"seed": run.seed}
    if run.trainer.method == "dpo":
        settings["loss_type"] = [settings["loss_type"]]  # as TRL keeps it
    check_settings(line, settings)
    assert run.generator == LINES[line]["model"]


@pytest.mark.parametrize("line", CELLS)
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
    assert run.evaluation.max_new_tokens == run.scoring.max_response_tokens == 2048
    reward = run.reward.arguments
    chosen = (reward["granularity"], reward["metric"], reward["span"])
    assert chosen == ("sequence", "log_likelihood", "response")


def test_other_cells() -> None:
    """The fields that are the library's, not TRL's."""
    run = _compose("mathematics")
    assert run.verifier.checkpoint == "Qwen/Qwen2.5-Math-7B-Instruct"
    assert (run.data.answers, run.data.eval_prompts) == ("boxed", 100)
    assert run.evaluation.max_new_tokens == run.scoring.max_response_tokens == 3072
    assert run.reward.arguments["no_answer_penalty"] == 5.0
    assert _compose("majority vote (TTRL)").reward.arguments["train_on"] == 32
    sft = _compose("sft")
    assert sft.values["trainer"]["sampling"]["temperature"] == 0.7
    assert sft.evaluation.max_new_tokens == sft.scoring.max_response_tokens == 2048
    # the verifier reads longer completions than the evaluation has
    [run] = composition.compose_cells(["scale=paper", "trainer.max_completion_length=4096"])
    assert (run.evaluation.max_new_tokens, run.scoring.max_response_tokens) == (2048, 4096)


def test_the_main_table_has_these_cells_with_comparators() -> None:
    runs = composition.compose_cells(["-m", "experiment=main_table", "scale=paper"])
    assert {(run.family.name, run.regime) for run in runs} == MAIN_TABLE
    for run in runs:
        assert run.generator == LINES[f"{run.family.name} {run.regime}"]["model"]
        assert run.evaluation.comparators == {
            "instruct": run.family.checkpoints["paper"]["instruct"],
            "reference": "google/gemma-3-1b-it",
        }
