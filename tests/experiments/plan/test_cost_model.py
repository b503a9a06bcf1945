"""The cost model by hand, and the documentation's tables as the scripts print them."""

import json
from pathlib import Path

import pytest

from experiments.plan import cost_model
from experiments.plan.cost_model import H100, Batch, Machine
from experiments.plan.model_sizes import Size
from tests.benchmarks import cost_model as measured
from tests.benchmarks import scaling

ROOT = Path(scaling.__file__).parents[2]
# 1,000 operations and 10 bytes a second; a layer takes the host 3 s
CPU = Machine("slow", 1000, 10, 3, asynchronous=False, checkpointed=False, recast=4)
GPU = Machine("slow", 1000, 10, 3, asynchronous=True, checkpointed=True, recast=8)
MODEL = Size(parameters=100, layers=2, hidden=4, kv_heads=1, head_dim=4, vocabulary=5)  # head 20, body 80


def test_a_pass_is_the_longest_of_its_parts_and_on_a_cpu_the_host_comes_on_top() -> None:
    assert CPU.seconds(operations=5000, moved=20, layers=2) == 5 + 6
    assert CPU.seconds(operations=1000, moved=20, layers=2) == 2 + 6
    assert [GPU.seconds(o, m, 2) for o, m in ((5000, 20), (7000, 20), (5000, 80))] == [6, 7, 8]


def test_decoding_by_hand() -> None:
    """2 rows with prompts of 10 tokens; 4 steps, each reading weights and, on average, 12 tokens' keys and values."""
    reading = 2 * (80 * 20 + 20 * 2) / 1000  # operations: 3.28 s; the weights' bytes, 400, take 40 s
    assert reading < 40
    cache = 2 * 2 * 1 * 4 * 2 * 12 * 4  # rows, keys and values, heads, size of a head, layers, tokens, bytes
    step = (400 + cache) / 10
    assert cost_model.decoding(CPU, MODEL, 2, 10, 4) == pytest.approx(40 + 6 + 4 * (step + 6))
    assert cost_model.decoding(CPU, MODEL, 2, 10, 4, weight=8) == pytest.approx(80 + 6 + 4 * (step + 40 + 6))


def test_scoring_reads_each_prompt_once_and_has_the_head_on_responses() -> None:
    shared = cost_model.scoring(CPU, MODEL, Batch(rows=8, prompts=1, prompt=100, response=50), 0, 1000)
    assert shared == pytest.approx(2 * (80 * (100 + 400) + 20 * 400) / 1000 + 2 * 2 * 3)
    apart = cost_model.scoring(CPU, MODEL, Batch(rows=8, prompts=8, prompt=100, response=50), 0, 1000)
    assert apart - shared == pytest.approx(2 * 80 * 700 / 1000)
    chunks = cost_model.scoring(CPU, MODEL, Batch(rows=8, prompts=1, prompt=100, response=50), 0, 100)
    assert chunks - shared == pytest.approx(3 * 2 * 3)  # 1 + 4 passes in place of 1 + 1


def test_updating_is_three_forward_passes_or_four_and_the_update() -> None:
    batch = Batch(rows=4, prompts=4, prompt=10, response=30)
    forward = 2 * (80 * 160 + 20 * 120) / 1000 + 2 * 2 * 3  # two micro-batches of two layers
    assert cost_model.forward(CPU, MODEL, batch, 2) == pytest.approx(forward + 2 * 400 / 10 - 30.4)
    slower = Machine("slow", 1000, 1e9, 3, asynchronous=False, checkpointed=False, recast=4)
    assert cost_model.forward(slower, MODEL, batch, 2) == pytest.approx(forward)
    assert cost_model.updating(slower, MODEL, batch, 2) == pytest.approx(3 * forward)
    assert cost_model.updating(CPU, MODEL, batch, 2) == pytest.approx(3 * (2 * 40 + 12) + 36 * 100 / 10)
    assert cost_model.updating(GPU, MODEL, batch, 2) == pytest.approx(4 * 2 * 80 + 36 * 100 / 10)


def test_memory_of_training_by_hand() -> None:
    whole = cost_model.training_bytes(MODEL, micro=2, prompt=10, response=30)
    assert whole == {
        "policy": 400,
        "gradients": 400,
        "optimizer": 800,
        "activations": 2 * 40 * 4 * (4 * 2 + 34),
        "logits": 2 * 30 * 5 * 8,
    }
    kept = cost_model.training_bytes(MODEL, micro=2, prompt=10, response=30, checkpointed=False)
    assert kept["activations"] == 2 * 40 * 4 * 68 * 2
    lora = cost_model.training_bytes(MODEL, micro=2, prompt=10, response=30, adapters=3, width=2)
    assert (lora["policy"], lora["gradients"], lora["optimizer"]) == (200 + 12, 12, 24)


def test_lora_by_hand_is_what_peft_has() -> None:
    """Llama-3.1-8B at rank 16 on all linear layers: 41,943,040, as peft's print_trainable_parameters says."""
    assert cost_model.adapters(scaling.LLAMA_8, 16) == pytest.approx(41_943_040, rel=2e-3)


def test_one_gpu_for_a_billion_and_more_for_more() -> None:
    """16 bytes a parameter and 8 of frozen copies, 16 GB of verifier, of 72 GB a GPU."""
    found = {name: scaling.devices(policy) for name, policy in scaling.GENERATORS.items()}
    assert found == {"0.135B": 1, "0.5B": 1, "1.2B": 1, "3.9B": 2, "8B": 4, "32B": 16, "70B": 32}
    # 1.236B: 24 bytes each and the verifier's 16 GB; a row of 2,560 tokens, 2,048 of them with logits
    held = 24 * 1_235_814_400 + 16e9 + 2560 * 2048 * (4 * 16 + 34) + 8 * 2048 * 128_256
    assert scaling.held(scaling.LLAMA_1, lora=False, eight_bit=False, count=1) == pytest.approx(held)


def test_a_step_on_one_gpu_by_hand() -> None:
    """Llama-3.2-1B: 881 passes of 16 ms; the verifier's 2 x 42 ms; 8 passes of the reference and 32 of the update."""
    one = scaling.step(scaling.LLAMA_1, vllm=False)
    assert one.generation == pytest.approx(881 * 0.016)
    assert one.scoring == pytest.approx(0.084 + 8 * 0.016)
    assert one.update == pytest.approx(32 * 0.016 + 36 * 1_235_814_400 / 3.35e12)
    assert one.generation / scaling.step(scaling.LLAMA_1, vllm=True).generation == pytest.approx(10, rel=0.02)
    assert H100.layer == 1e-3


def test_the_documentation_has_the_tables_that_the_scripts_print() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text()
    record = ROOT / "benchmarks" / "records" / "cost-model-cpu.jsonl"
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    for table in (scaling.steps_table(), scaling.memory_table(), measured.table(rows)):
        assert table in page
