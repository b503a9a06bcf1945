"""Options of devices: their effect on the run id, and settings that are refused."""

from pathlib import Path
from typing import Any

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from cme.runtime import distributed
from experiments.config import composition, trainers
from experiments.config.validation import BadConfig

LAUNCH = {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "8"}


@pytest.mark.parametrize(
    "file", sorted((composition.CONF / "accelerate").glob("*.yaml")), ids=lambda f: f.stem
)
def test_accelerate_takes_its_configurations(file: Path) -> None:
    line = file.read_text().splitlines()[0]
    assert line.startswith(f"# accelerate launch --config_file conf/accelerate/{file.name} ")
    parsed = launch_command_parser().parse_args(line.split()[3:])
    given, defaults, _ = _validate_launch_command(parsed)
    assert (given.num_processes or 0) >= 2 and given.training_script == "run.py"
    assert given.use_fsdp == (file.stem == "fsdp") and given.use_deepspeed == file.stem.startswith(
        "deepspeed"
    )
    engines = {"fsdp": defaults.fsdp_config, "deepspeed_zero2": defaults.deepspeed_config}
    assert bool(engines.get(file.stem, {})) == (file.stem in engines)


def run_id(*overrides: str) -> str:
    [config] = composition.compose_cells(list(overrides))
    return config.run_id


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if vLLM and peft were installed."""
    monkeypatch.setattr(trainers, "find_spec", lambda name: object())


def test_the_number_of_processes_is_not_part_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    before = run_id()
    for name, value in LAUNCH.items():
        monkeypatch.setenv(name, value)
    assert distributed.process_count() == 8 and run_id() == before


@pytest.mark.usefixtures("installed")
def test_what_changes_results_changes_the_run() -> None:
    ids = [
        run_id(),
        run_id("adapter=lora"),
        run_id("adapter=lora", "trainer.lora.r=8"),
        run_id("trainer.use_vllm=true"),
        run_id("reward.quantization=8bit"),
    ]
    assert len(set(ids)) == len(ids) and run_id("adapter=none", "reward.quantization=null") == ids[0]
    server = ("trainer.vllm_mode=server", "trainer.vllm_server_base_url=http://127.0.0.1:8000")
    assert run_id("trainer.use_vllm=true", *server) == ids[3]
    assert run_id("trainer.vllm_gpu_memory_utilization=0.5") == ids[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trainer.use_vllm=true trainer.vllm_mode=remote", "vllm_mode=remote is unknown"),
        ("trainer.use_vllm=true trainer.vllm_mode=server", "vllm_server_base_url=None; mode server needs the URL"),
        ("trainer.use_vllm=true trainer.vllm_tensor_parallel_size=3", "must divide the 1 processes"),
        ("trainer.use_vllm=true", "needs the package vllm, which is not installed"),
        ("adapter=lora trainer.lora.r=0", "lora.r=0; it must be at least 1"),
        ("adapter=lora trainer=best_of_n", "trains nothing"),
        ("adapter=lora reward=cme_ema", "reward=cme_ema averages all weights of the policy; use adapter=none"),
        ("reward.quantization=4bit", "quantization=4bit"),
        ("reward.quantization=8bit verifier=random", "random weights"),
        ("reward.quantization=8bit reward.server={url: x, model: y, dialect: vllm}", "with a server"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_used_are_refused(line: str, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        composition.compose_cells(line.split(" ", 1))


def test_adapters_of_a_sharded_policy_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(BadConfig, match="cannot be merged into it"):
        composition.compose_cells(["adapter=lora"])


@pytest.mark.parametrize(
    ("scale", "fitting", "unfitting"),
    [("miniature", "8", "7"), ("paper family=llama regime=instruct", "8", "16")],
)
def test_a_batch_that_processes_cannot_share_is_refused(
    scale: str, fitting: str, unfitting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = f"scale={scale}".split()
    for name, value in (LAUNCH | {"WORLD_SIZE": fitting}).items():
        monkeypatch.setenv(name, value)
    assert composition.compose_cells(overrides)
    monkeypatch.setenv("WORLD_SIZE", unfitting)
    with pytest.raises(BadConfig, match=f"{unfitting} cannot divide evenly"):
        composition.compose_cells(overrides)


def test_adapter_settings_are_valid_for_peft() -> None:
    from peft import LoraConfig

    [config] = composition.compose_cells(["adapter=lora", "trainer.lora.target_modules=[q_proj,v_proj]"])
    given: Any = config.values["trainer"]["lora"]
    made = LoraConfig(task_type="CAUSAL_LM", **given)
    assert (made.r, made.lora_alpha, made.target_modules) == (16, 32, {"q_proj", "v_proj"})
    [plain] = composition.compose_cells([])
    assert plain.values["trainer"]["lora"] is None
