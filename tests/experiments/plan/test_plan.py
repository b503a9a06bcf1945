"""The plan of a sweep against figures computed by hand. Nothing is looked up, loaded or run."""

import copy
import importlib
import math
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import torch
import transformers
from composed_runs import compose

from experiments.config import composition
from experiments.config.runs import Run
from experiments.config.trainers import Lora
from experiments.plan import estimate, plan
from experiments.plan.sizes import SIZES
from experiments.run import preparation
from experiments.run.preparation import DiskSpace, disk_space, total_disk_space

ROOT = Path(composition.CONF).parent
LLAMA = SIZES["meta-llama/Llama-3.2-1B"].parameters


def paper(*overrides: str) -> Run:
    return compose("scale=paper", *overrides)


def tokens(run: Run, which: int, done: tuple[str, ...] = ()) -> Counter[str]:
    """Tokens by kind at most (0) or as expected (1), without those that earlier runs share."""
    found: Counter[str] = Counter()
    for each in estimate.count_tokens(run, estimate.bounds(run)[which]):
        found[each.kind] += round(each.count) * (each.shared_by not in done)
    return found


def shared(run: Run) -> tuple[str, ...]:
    return tuple(t.shared_by for t in estimate.count_tokens(run, estimate.bounds(run)[0]))


def memory(run: Run) -> float:
    """The estimate in bytes."""
    estimated = estimate.memory(run)
    assert estimated is not None
    return estimated


def test_grpo_by_hand() -> None:
    """5,000 steps of 8 completions; evaluation of 200 prompts; selection among 25 checkpoints on 50 prompts."""
    run = paper("family=qwen", "regime=instruct")
    # start, verifier, policy and selected checkpoint answer 200 prompts; start and 25 checkpoints answer 50
    responses = 5000 * 8 + 4 * 200 + 50 + 25 * 50
    for which, prompt, response in ((0, 512, 2048), (1, 128, 440)):
        assert tokens(run, which) == {
            "generated": responses * response,
            "scored": 5000 * (prompt + 8 * response),  # a prompt once for its 8 completions
            "trained on": 5000 * 8 * (prompt + response),
        }
    again = tokens(paper("family=qwen", "regime=instruct", "seed=7"), 0, shared(run))
    assert tokens(run, 0)["generated"] - again["generated"] == (2 * 200 + 50) * 2048  # of start and verifier


def test_dpo_by_hand() -> None:
    """625 steps of 8 pairs; prompt and response are 2,560 tokens at most; the monitors sample 8 at 126 steps."""
    run = paper("family=llama", "regime=instruct", "trainer=dpo", "selection.every=null")
    longest, _ = estimate.bounds(run)
    assert (longest.prompt, longest.response) == (128, 2432)
    assert tokens(run, 0) == {
        "generated": (126 * 8 + 2 * 200) * 2048,
        "trained on": 625 * 8 * 2 * 2560,
    }
    # policy, untrained model, reference, gradients and two moments, and no verifier; of a pair, the inputs of 16 layers
    # and 34 bytes per unit within one layer, and logits
    pair = 2 * 2560 * 2048 * (16 * 4 + 34) + 2 * 2432 * 128_256 * 8
    assert memory(run) == pytest.approx(6 * 4 * LLAMA + pair)


def test_sft_by_hand() -> None:
    """600 steps of 8 of the verifier's answers to 5,000 prompts, which runs share; monitors at 121 steps."""
    overrides = ("family=llama", "regime=instruct", "trainer=sft", "selection.every=null")
    run, other = (
        paper(*overrides, "trainer.learning_rate=1e-5"),
        paper(*overrides, "trainer.learning_rate=2e-5"),
    )
    longest, _ = estimate.bounds(run)
    assert (longest.prompt, longest.response) == (512, 2048)
    assert tokens(run, 1) == {
        "generated": (5000 + 121 * 8 + 3 * 200) * 440,
        "trained on": 600 * 8 * (128 + 440),
    }
    assert tokens(other, 1, shared(run))["generated"] == (121 * 8 + 200) * 440


def test_best_of_n_by_hand() -> None:
    """8 samples of the untrained model for each of 200 prompts, which are the policy's answers."""
    run = paper(
        "family=llama", "regime=instruct", "trainer=best_of_n", "selection.every=null", "capabilities=none"
    )
    assert tokens(run, 1) == {"generated": (200 * 8 + 2 * 200) * 440, "scored": 200 * 128 + 1600 * 440}
    cache = 8 * (512 + 2048) * 2 * 8 * 64 * 16 * 4
    assert memory(run) == pytest.approx(4 * LLAMA + 2 * 8e9 + cache)  # policy, verifier, and no training
    [row] = [line for line in plan.lines([run]) if "best_of_n_cme" in line and "paper" in line]
    assert row.split()[5:8] == ["paper", "-", "-"]


def test_comparators_answer_once_and_rewards_without_a_verifier_score_nothing() -> None:
    alone, compared = (
        paper("family=llama", "regime=instruct", f"comparators={c}") for c in ("none", "paper")
    )
    assert tokens(compared, 1)["generated"] - tokens(alone, 1)["generated"] == 200 * 440
    other = paper("family=llama", "regime=instruct", "comparators=paper", "seed=1")
    assert {name for name in shared(compared) if "training" not in name} <= set(shared(other))
    entropy = paper("family=llama", "regime=instruct", "reward=token_entropy", "preset=matched")
    assert tokens(entropy, 1)["scored"] == 0


def test_a_training_counts_once_for_runs_that_share_it() -> None:
    """Another judge costs nothing but judging; other evaluation prompts cost responses to them."""
    first = paper("family=qwen", "regime=instruct")
    other_judge = paper("family=qwen", "regime=instruct", "judge.max_response_chars=1000")
    assert not any(tokens(other_judge, 1, shared(first)).values())
    more_prompts = tokens(paper("family=qwen", "regime=instruct", "data.eval_prompts=300"), 1, shared(first))
    # start, policy and verifier; the selected checkpoint and three saved ones on the selection prompts of the first
    assert more_prompts["scored"] == more_prompts["trained on"] == 0 < more_prompts["generated"]
    trained = tokens(paper("family=qwen", "regime=instruct", "trainer.learning_rate=1e-7"), 1, shared(first))
    assert trained["trained on"] == tokens(first, 1)["trained on"] > 0


def test_a_training_of_an_earlier_run_has_no_steps_and_no_disk_space() -> None:
    runs = [paper("family=qwen", "regime=instruct", f"judge.max_response_chars={n}") for n in (2500, 1000)]
    rows = [line for line in plan.lines(runs) if line.startswith("qwen instruct cme")]
    first, second = (row.partition(" paper ")[2].split() for row in rows)  # the columns behind the settings
    assert first[:2] == ["5000", "5000"] and second[:2] == ["-", "-"]
    [alone], [both] = (
        [line for line in plan.lines(some) if line.startswith("disk:")] for some in (runs[:1], runs)
    )
    assert both == alone


def test_judging_by_hand() -> None:
    run = paper("family=qwen", "regime=instruct")
    longest, expected = estimate.bounds(run)
    # both orders of 200 pairs of the final and of the selected policy, and of 50 of each of 25 checkpoints; and of the
    # final policy and of the start against the cut start
    calls, most = estimate.judge_calls(run, longest, with_start=True)
    assert calls == 2 * (200 + 200 + 25 * 50 + 2 * 200) == 4100
    fixed = len(run.judge.arguments["prompt"] + run.judge.arguments["reply_with"]) / 4
    # two responses of 2,500 characters, a prompt of 512 tokens; 1,024 tokens in the reply
    sent = 2 * 2500 / 4 + 512 + fixed
    assert most / calls == pytest.approx((1.75 * sent + 14 * 1024) / 1e6, rel=0.01)
    # two responses of 440 tokens, a prompt of 128; 100 tokens in the reply
    sent = 2 * 440 + 128 + fixed
    _, likely = estimate.judge_calls(run, expected, with_start=True)
    assert likely / calls == pytest.approx((1.75 * sent + 14 * 100) / 1e6, rel=0.03)
    unpriced = paper("family=qwen", "judge=openai", "judge.model=x", "selection.every=null")
    calls, usd = estimate.judge_calls(unpriced, longest, with_start=True)
    assert calls == 3 * 400 and math.isnan(usd)


def test_memory_by_hand() -> None:
    """Llama-3.2-1B: 1.236B parameters in float32, a verifier of 8B in bfloat16, 8 KV heads of 64 in 16 layers."""
    # policy, untrained model, gradients and two moments; verifier
    states = 5 * 4 * LLAMA + 2 * 8e9
    # a row of 2,048 tokens: the inputs of 16 layers in float32, and 34 bytes per unit within one layer; and logits
    row = 2048 * 2048 * (16 * 4 + 34) + 1536 * 128_256 * 8
    assert memory(paper("family=llama", "regime=pretrained")) == pytest.approx(states + row)
    penalized = paper("family=llama", "regime=pretrained", "trainer.beta=0.1")  # adds a reference
    assert memory(penalized) == pytest.approx(states + 4 * LLAMA + row)
    # keys and values of many answers at once exceed a row
    cache = 100 * (512 + 2048) * 2 * 8 * 64 * 16 * 4
    many = paper("family=llama", "regime=pretrained", "evaluation.batch_size=100")
    assert memory(many) == pytest.approx(states + cache)


def test_memory_of_distillation_by_hand() -> None:
    """OLMo-2-1B, 1.485B parameters; TRL computes logits in tiles of 4,096 tokens by 32,768 of the vocabulary."""
    tile_of_trl = importlib.import_module("trl.kernels.chunked_divergence")
    assert estimate.DISTILLATION_TILE == (tile_of_trl.TOKEN_CHUNK_SIZE, tile_of_trl.VOCAB_CHUNK_SIZE)
    olmo = (
        "family=olmo",
        "regime=instruct",
        "trainer=distillation",
        "verifier=olmo",
        "evaluation.batch_size=1",
    )
    # policy, untrained model, gradients and two moments; the verifier, of the same size, in bfloat16
    states = (5 * 4 + 2) * 1_484_916_736
    row = (512 + 2048) * 2048 * (16 * 4 + 34)
    # 2,048 tokens: the policy's tile and the verifier's in float32, the gradient's in bfloat16
    tiles = 2048 * 32_768 * (4 + 4 + 2)
    output = 100_352 * 2048 * 4  # the gradient of the output layer
    assert memory(paper(*olmo)) == pytest.approx(states + row + tiles + output)
    many = memory(paper(*olmo, "trainer.per_device_train_batch_size=8"))
    assert many - memory(paper(*olmo)) == pytest.approx(
        7 * row + 2048 * 32_768 * (4 + 4 + 2)
    )  # at most 4,096


def test_memory_of_other_policies_and_verifiers() -> None:
    """Llama-3.2-1B at rank 16 has 11.3M adapter parameters and no reference."""
    overrides = ("family=llama", "regime=instruct")
    light = copy.deepcopy(paper(*overrides))
    # set after validation, which requires the packages
    light.trainer.lora = Lora(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear")
    light.reward.arguments["quantization"] = "8bit"
    # policy, untrained model and the merged copy of saving; adapters with gradients and moments; verifier
    assert memory(light) == pytest.approx(3 * 4 * LLAMA + 4 * 4 * 11.27e6 + 8e9, rel=1e-3)
    full = paper(*overrides)
    served = paper(*overrides, "reward.server={url: http://127.0.0.1:1, model: v, dialect: vllm}")
    assert memory(full) - memory(served) == pytest.approx(2 * 8e9)
    assert tokens(served, 0)["scored"] == tokens(full, 0)["scored"]
    # an average of the policy is in float32, the same model as a frozen verifier in bfloat16
    average, frozen = (paper(*overrides, f"reward={name}") for name in ("cme_ema", "self_likelihood"))
    assert memory(average) - memory(frozen) == pytest.approx((4 - 2) * LLAMA)
    assert memory(paper("family=qwen", "verifier=random")) == memory(paper("family=qwen"))


def test_disk_space_by_hand() -> None:
    """Llama-3.2-1B: 24 saved policies and the final one in bfloat16; three checkpoints with two moments in float32."""
    cell = ("family=llama", "regime=instruct")

    def disk(*overrides: str, on_gpu: bool = True) -> tuple[float, float]:
        space = disk_space(paper(*cell, *overrides), LLAMA, on_gpu)
        return space.peak / LLAMA, space.kept / LLAMA

    assert disk() == (25 * 2 + 3 * 12, 2)
    assert disk(on_gpu=False) == (25 * 4 + 3 * 12, 4)
    assert disk("reward=cme_ema") == (25 * 2 + 3 * (12 + 4), 2)  # the average is a part of each checkpoint
    assert disk("selection.keep=true") == (25 * 2 + 3 * 12, 25 * 2)
    assert disk("selection.every=null") == (2 + 3 * 12, 2)
    assert disk("selection.every=null", "trainer.max_steps=50") == (2, 2)
    assert disk("selection.every=null", "trainer=best_of_n", "capabilities=none") == (0, 0)
    one, two = DiskSpace(peak=10, kept=1), DiskSpace(peak=20, kept=2)
    assert total_disk_space([one, two]) == DiskSpace(peak=3 + 18, kept=3)
    text = "\n".join(plan.lines([paper(*cell), paper(*cell, "seed=1")]))
    peak, kept = 86 * LLAMA / 1e9, 2 * LLAMA / 1e9
    assert f"disk: {peak + kept:.1f} GB in results_dir" in text and f"{2 * kept:.1f} GB of which stay" in text
    assert f"downloads: {2 * (LLAMA + 8e9) / 1e9:.1f} GB" in text  # policy and verifier


# by checkpoint: the family's class, feed-forward width and attention heads, which the estimate does not need
SHAPES = {
    "package:smollm2-135m-instruct": ("Llama", 1536, 9, 3, True),
    "Qwen/Qwen2.5-0.5B": ("Qwen2", 4864, 14, 2, True),
    "Qwen/Qwen2.5-Math-1.5B": ("Qwen2", 8960, 12, 2, True),
    "Qwen/Qwen2.5-Math-7B-Instruct": ("Qwen2", 18944, 28, 4, False),
    "Qwen/Qwen2.5-32B-Instruct": ("Qwen2", 27648, 40, 8, False),
    "meta-llama/Llama-3.1-70B-Instruct": ("Llama", 28672, 64, 8, False),
    "google/gemma-3-4b-it": ("Gemma3", 10240, 8, 4, True),
    "meta-llama/Llama-3.2-1B": ("Llama", 8192, 32, 8, True),
    "meta-llama/Llama-3.1-8B-Instruct": ("Llama", 14336, 32, 8, False),
    "google/gemma-3-270m-it": ("Gemma3", 2048, 4, 1, True),
    "google/gemma-3-1b-pt": ("Gemma3", 6912, 4, 1, True),
    "google/gemma-2-2b-it": ("Gemma2", 9216, 8, 4, True),
    "allenai/OLMo-2-0425-1B": ("Olmo2", 8192, 16, 16, False),
    "allenai/OLMo-2-1124-7B-Instruct": ("Olmo2", 11008, 32, 32, False),
}


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_as_transformers_counts_them(name: str) -> None:
    size, (family, feed_forward, heads, kv_heads, tied) = SIZES[name], SHAPES[name]
    config = getattr(transformers, f"{family}TextConfig" if family == "Gemma3" else f"{family}Config")(
        hidden_size=size.hidden,
        intermediate_size=feed_forward,
        num_hidden_layers=size.layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=size.kv // kv_heads,
        vocab_size=size.vocabulary,
        tie_word_embeddings=tied,
    )
    with torch.device("meta"):
        model = getattr(transformers, f"{family}ForCausalLM")(config)
    counted = {id(p): p.numel() for p in model.parameters()}
    assert sum(counted.values()) == size.parameters


def test_every_checkpoint_of_the_paper_has_a_known_size() -> None:
    grid = ["-m", "scale=paper", "family=qwen,llama,gemma,olmo", "regime=pretrained,sft,instruct"]
    math_track = ["scale=paper", "family=qwen_math", "verifier=qwen_math", "data=math"]
    runs = composition.compose_cells([*grid, "plan=true"]) + composition.compose_cells(math_track)
    assert set(preparation.checkpoint_names(runs)) <= set(SIZES)


@pytest.mark.slow
def test_the_full_grid_is_planned_without_a_key_a_cache_or_a_hub(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "-m", "scale=paper", "family=qwen,llama,gemma,olmo",
         "regime=pretrained,sft,instruct", "plan=true", f"results_dir={tmp_path / 'runs'}"],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
        env={"PATH": "/usr/bin", "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    whose = [line.split()[5] for line in done.stdout.splitlines() if " cme gemma s42 " in line][:9]
    assert whose == ["paper"] * 6 + ["ours", "paper", "ours"]
    assert done.stderr.count("regime=sft does not exist") == 3  # of qwen, llama and gemma
    assert list(tmp_path.iterdir()) == []


def test_models_of_unknown_size_are_named() -> None:
    text = "\n".join(plan.lines(composition.compose_cells(["plan=true"])))
    assert "plan of 1 runs at scale=miniature" in text
    assert "unknown" in text and "miniature:qwen-1/pretrained" in text


def test_runs_of_one_name_are_told_apart_by_their_settings() -> None:
    cells = composition.compose_cells(["-m", "trainer.temperature=0.7,1.0", "seed=0,1", "plan=true"])
    labels = ["qwen pretrained cme gemma s0", "qwen pretrained cme gemma s1"]
    for row, (temperature, seed) in zip(plan.lines(cells)[2:6], product(("0.7", "1.0"), (0, 1)), strict=True):
        assert row.startswith(f"{labels[seed]} trainer.temperature={temperature} seed={seed}  ")
    assert plan.lines(cells[:1])[2].startswith(f"{labels[0]}  ")


def test_shared_responses_count_in_the_first_run_only() -> None:
    cells = composition.compose_cells(["-m", "scale=paper", "family=llama", "regime=instruct", "seed=1,2"])
    rows = [line for line in plan.lines(cells) if " s1 " in line or " s2 " in line][:2]
    first, second = [float(row.split()[8]) for row in rows]
    # 200 prompts by the untrained model and the verifier, and 50 by the untrained model for selection
    assert first - second == pytest.approx(450 * 2048 / 1e6, abs=0.11)


def test_planning_does_not_change_the_run_id() -> None:
    [plain], [planned] = composition.compose_cells([]), composition.compose_cells(["plan=true"])
    assert plain.run_id == planned.run_id
