"""Several processes train one run: their shares, and a result equal to that of one process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import SUPPORT
from safetensors.torch import load_file
from transformers import TrainingArguments

from cme.runtime.distributed import per_process_settings
from cme.training.job import TrainingJob
from cme.training.trl_internals import use_one_gpu

HERE = SUPPORT / "scripts"


def launch_command(processes: int, script: Path, *arguments: object) -> list[str]:
    """The command that starts a script in several processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return [sys.executable, *(launcher if processes > 1 else []), str(script), *map(str, arguments)]


def run(line: Sequence[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command without a GPU, with one thread per process."""
    given = os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        line, cwd=cwd, env=given | environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.parametrize(
    ("rows", "passes", "processes", "expected"),
    [
        (64, 1, 1, (64, 1)),
        (64, 1, 4, (16, 1)),  # rows first
        (1, 8, 4, (1, 2)),  # then passes
        (2, 8, 8, (1, 2)),
        (6, 4, 4, (3, 2)),
    ],
)
def test_a_process_gets_its_share(rows: int, passes: int, processes: int, expected: tuple[int, int]) -> None:
    fields = ("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation")
    settings = dict(zip(fields, (rows, passes, 2 * passes), strict=True)) | {"beta": 0.1}
    share = dict(zip(fields, (*expected, 2 * expected[1]), strict=True)) | {"beta": 0.1}
    assert per_process_settings(settings, processes) == share
    assert processes * expected[0] * expected[1] == rows * passes


@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 3}])
def test_an_uneven_division_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"per_device_train_batch_size=9.*2 cannot divide evenly"):
        per_process_settings({"per_device_train_batch_size": 9, **settings}, 2)


def test_a_process_trains_on_one_gpu_of_several(tmp_path: Path) -> None:
    """The second may belong to the verifier: the batch must not be that of both."""
    config = TrainingJob(0, tmp_path).arguments(TrainingArguments, {"per_device_train_batch_size": 64})
    config._n_gpu = 2
    assert config.train_batch_size == 128
    use_one_gpu(config)
    assert config.train_batch_size == 64


def numbers(rows: Any) -> torch.Tensor:
    """Advantages sorted by size, since processes have another order, without those of padding."""
    lists = [row if isinstance(row, list) else [row] for row in rows]
    values = torch.tensor([value for row in lists for value in row]).sort().values
    return values[values.abs() > 1e-6]


def known(values: Sequence[float | None]) -> dict[int, float]:
    """Measured values of a column by position."""
    return {i: value for i, value in enumerate(values) if value is not None}


@pytest.mark.slow
def test_two_processes_train_as_one(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    """Groups of 8 completions, 4 in each process: advantages, history and weights, with every kind of reward."""
    models = [tiny_folder("qwen"), tiny_folder("gemma")]
    for processes in (1, 2):
        line = launch_command(processes, HERE / "trained_together.py", *models, tmp_path / str(processes))
        done = run(line, tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
    cases = sorted((tmp_path / "1").glob("*/*.json"))
    assert len(cases) == 10
    for case in cases:
        alone = json.loads(case.read_text())
        other = tmp_path / "2" / case.relative_to(tmp_path / "1")
        both = json.loads(other.read_text())
        a, b = numbers(alone["advantages"]), numbers(both["advantages"])
        assert a.abs().max() > 0.5 and len(a) == len(b) and torch.allclose(a, b, atol=2e-3), case
        assert alone["history"].keys() == both["history"].keys() and alone["stopped"] == both["stopped"]
        for column, values in alone["history"].items():
            assert known(values) == pytest.approx(known(both["history"][column]), rel=2e-3, abs=2e-4), (
                case,
                column,
            )
        ours, theirs = (load_file(path.with_suffix("") / "model.safetensors") for path in (case, other))
        assert all(torch.allclose(ours[key], theirs[key], atol=2e-5) for key in ours), case
        start = load_file(models[0] / "model.safetensors")
        assert max(float((ours[key] - start[key]).abs().max()) for key in ours) > 1e-3, case


@pytest.mark.slow
def test_a_sharded_policy_is_scored_as_a_complete_one(
    tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """FSDP2 over two processes, which score different numbers of responses."""
    done = run(launch_command(2, HERE / "scored_in_parts.py", tiny_folder("llama")), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("alike") == 2
