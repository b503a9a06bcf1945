"""The plan of a sweep: figures reckoned by hand, and nothing looked up, loaded or run."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from omegaconf import DictConfig

from experiments import grid, plan
from experiments.model_sizes import SIZES, Size
from experiments.validate import BadConfig

ROOT = Path(grid.CONF).parent


def paper(*overrides: str) -> DictConfig:
    [config] = grid.cells(["scale=paper", *overrides])
    return config


def test_one_cell_by_hand() -> None:
    """Qwen2.5-0.5B-Instruct: 494.0M parameters, 24 layers; 5,000 steps of 8 completions of up to 2,048 tokens."""
    config = paper("family=qwen", "regime=instruct")
    most, expected = plan.lengths(config)
    done = plan.work(config, most, with_start=True)
    assert done is not None
    # 200 prompts by start, policy and selected checkpoint; 50 by start and by 25 checkpoints
    responses = 5000 * 8 + 3 * 200 + 50 + 25 * 50
    assert done.generated == responses * 2048
    assert done.read == 5000 * 8 * (512 + 2048)
    # one call of generate a step; evaluations in batches of 8
    decoded = 2048 * (5000 + 3 * 25 + 7 + 25 * 7)
    flop = 5000 * 8 * 2560 * (8 * 0.494e9 + 2 * 0.494e9 + 2 * 4.5e9 + 2 * 2 * 0.494e9 / 5)
    assert done.seconds == pytest.approx(decoded * 24 * 0.001 + flop / (0.2 * 989e12), rel=1e-3)
    assert done.seconds / 3600 == pytest.approx(73.8, abs=0.1)
    likely = plan.work(config, expected, with_start=True)
    assert likely is not None
    assert likely.generated == responses * 440
    assert likely.seconds / 3600 == pytest.approx(
        (880 * (decoded / 2048) * 0.024 + flop * (440 + 128) / 2560 / (0.2 * 989e12)) / 3600, rel=1e-3
    )
    shared = plan.work(config, most, with_start=False)
    assert shared is not None and done.generated - shared.generated == 200 * 2048


def test_memory_of_one_cell_by_hand() -> None:
    """Llama-3.2-1B: 1.236B parameters in float32, a verifier of 8B in bfloat16, 8 KV heads of 64 in 16 layers."""
    need = plan.memory(paper("family=llama", "regime=pretrained"))
    assert need is not None
    gib = 2**30
    assert need["policy"] == need["gradients"] == need["start"] == pytest.approx(1.2358e9 * 4 / gib, rel=1e-3)
    assert need["optimizer"] == pytest.approx(2 * need["policy"])
    assert need["reference"] == 0  # beta is 0
    assert need["verifiers"] == pytest.approx(8e9 * 2 / gib)
    assert need["KV cache"] == pytest.approx(8 * (512 + 1536) * 2 * 8 * 64 * 16 * 4 / gib)
    assert need["logits"] == pytest.approx(1536 * 128256 * 8 / gib)
    assert need["total"] == pytest.approx(5 * need["policy"] + need["verifiers"] + need["logits"])
    penalised = plan.memory(paper("family=llama", "regime=pretrained", "trainer.beta=0.1"))
    assert penalised is not None and penalised["reference"] == need["policy"]


def test_a_sliding_window_holds_no_more_than_itself() -> None:
    gemma = SIZES["google/gemma-3-1b-pt"]  # 26 layers, of which the 6th, 12th, 18th and 24th see everything
    assert gemma.cache_bytes(2048, 2) == 2 * 256 * 2 * (4 * 2048 + 22 * 512)
    assert gemma.cache_bytes(100, 2) == 2 * 256 * 2 * 26 * 100


def test_judging_by_hand() -> None:
    config = paper("family=qwen", "regime=instruct")
    most, expected = plan.lengths(config)
    # both orders of 200 pairs of the final and of the selected policy, and of 50 of each of 25 checkpoints
    calls = 2 * (200 + 200 + 25 * 50)
    assert plan.judged(config, most, with_start=True).calls == calls == 3300
    usd, likely = (
        plan.judged(config, most, with_start=True).usd,
        plan.judged(config, expected, with_start=True).usd,
    )
    assert usd is not None and likely is not None
    # two responses of 2,500 characters, a prompt of 512 tokens, what the judge is told; 1,024 tokens replied
    told = len(config.judge.prompt + config.judge.reply_with) / 4
    sent = 2 * 2500 / 4 + 512 + told
    assert usd / calls == pytest.approx((1.75 * sent + 14 * 1024) / 1e6, rel=0.01)
    # the shorter ones of 440 tokens, a prompt of 128, 100 replied
    sent = 2 * 440 + 128 + told
    assert likely / calls == pytest.approx((1.75 * sent + 14 * 100) / 1e6, rel=0.03)
    free = paper("family=qwen", "judge=openai", "judge.model=x", "selection.every=null")
    assert plan.judged(free, most, with_start=True) == plan.Judging(400, None)


CLASSES = {
    "Qwen/Qwen2.5": ("Qwen2Config", "Qwen2ForCausalLM"),
    "meta-llama/": ("LlamaConfig", "LlamaForCausalLM"),
    "google/gemma-3": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
    "google/gemma-2": ("Gemma2Config", "Gemma2ForCausalLM"),
    "allenai/OLMo-2": ("Olmo2Config", "Olmo2ForCausalLM"),
}
# what the plan has no use for: width of the feed-forward layers and attention heads
SHAPES = {
    "Qwen/Qwen2.5-0.5B": (4864, 14),
    "Qwen/Qwen2.5-Math-1.5B": (8960, 12),
    "Qwen/Qwen2.5-Math-7B-Instruct": (18944, 28),
    "meta-llama/Llama-3.2-1B": (8192, 32),
    "meta-llama/Llama-3.1-8B-Instruct": (14336, 32),
    "google/gemma-3-270m-it": (2048, 4),
    "google/gemma-3-1b-pt": (6912, 4),
    "google/gemma-2-2b-it": (9216, 8),
    "allenai/OLMo-2-0425-1B": (8192, 16),
    "allenai/OLMo-2-1124-7B-Instruct": (11008, 32),
}


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_of_transformers_own_class(name: str) -> None:
    size, (feed_forward, heads) = SIZES[name], SHAPES[name]
    [(config_class, model_class)] = [names for prefix, names in CLASSES.items() if name.startswith(prefix)]
    config = getattr(transformers, config_class)(
        hidden_size=size.hidden,
        intermediate_size=feed_forward,
        num_hidden_layers=size.layers,
        num_attention_heads=heads,
        num_key_value_heads=size.kv_heads,
        head_dim=size.head_dim,
        vocab_size=size.vocabulary,
        tie_word_embeddings=size.tied,
    )
    with torch.device("meta"):
        model = getattr(transformers, model_class)(config)
    counted = {id(p): p.numel() for p in model.parameters()}
    assert sum(counted.values()) == size.parameters
    table = 0 if size.tied else model.get_input_embeddings().weight.numel()
    assert size.active == size.parameters - table


def test_what_a_token_is_multiplied_with() -> None:
    assert Size(100, 1, 4, 1, 4, 5, tied=False).active == 80
    assert Size(100, 1, 4, 1, 4, 5, tied=False, effective=60).active == 60


def test_every_checkpoint_of_the_paper_has_a_size() -> None:
    every = [
        "-m",
        "scale=paper",
        "family=qwen,llama,gemma,olmo",
        "regime=pretrained,sft,instruct",
        "plan=true",
    ]
    math = ["scale=paper", "family=qwen_math", "verifier=qwen_math", "data=math"]
    assert set(grid.checkpoints(grid.cells(every) + grid.cells(math))) <= set(SIZES)


def test_the_full_grid_is_planned_without_a_key_a_cache_or_a_hub(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "-m", "scale=paper", "family=qwen,llama,gemma,olmo",
         "regime=pretrained,sft,instruct", "plan=true", f"results_dir={tmp_path / 'runs'}"],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
        env={"PATH": "/usr/bin", "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {" ".join(line.split()[:2]): line.split() for line in done.stdout.splitlines() if " s42 " in line}
    assert len(rows) == 9
    whose = [line.split()[5] for line in done.stdout.splitlines() if " cme gemma s42 " in line][:9]
    assert whose == ["paper"] * 6 + ["ours", "paper", "ours"]
    assert done.stderr.count("left out: regime=sft does not exist") == 3  # of qwen, llama and gemma
    assert list(tmp_path.iterdir()) == []


def test_models_of_unknown_size_are_named() -> None:
    found = plan.lines(grid.cells(["-m", "seed=0,1", "plan=true"]))
    text = "\n".join(found)
    assert "plan of 2 cells at scale=miniature" in text
    assert "unknown sizes" in text and "miniature:qwen/pretrained" in text
    assert "in all unknown H100 hours" in text


def test_a_shared_start_is_counted_once() -> None:
    cells = grid.cells(["-m", "scale=paper", "family=llama", "regime=instruct", "seed=1,2"])
    lines = [line for line in plan.lines(cells) if " s1 " in line or " s2 " in line][:2]
    first, second = [float(line.split()[8]) for line in lines]
    assert first - second == pytest.approx(200 * 2048 / 1e6, abs=0.051)


def test_a_plan_is_no_part_of_a_run() -> None:
    from experiments import identity

    plain, planned = grid.cells([]) + grid.cells(["plan=true"])
    assert identity.run_id(plain) == identity.run_id(planned)
    assert identity.run_id(plain) == "miniature-qwen-pretrained-cme-gemma-s0-073c7a4e"


def test_other_trainers_are_left_out_and_counted() -> None:
    cells = grid.cells(["-m", "scale=paper", "family=llama", "regime=instruct", "trainer=grpo,dpo,sft"])
    assert "left out: 2 cells of trainer=dpo,sft" in plan.lines(cells)
    assert any("plan of 1 cells" in line for line in plan.lines(cells))
    with pytest.raises(BadConfig, match=r"reckons trainer=grpo, and not trainer=dpo"):
        plan.lines([cells[1]])


def test_random_weights_are_as_large_as_trained_ones() -> None:
    trained, random = paper("family=qwen"), paper("family=qwen", "verifier=random")
    assert plan.memory(random) == plan.memory(trained) is not None
