"""The plan of a sweep: figures reckoned by hand, and nothing looked up, loaded or run."""

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
import transformers
import yaml

from experiments.config import composition, identity
from experiments.config.runs import Run
from experiments.config.schema import Lora
from experiments.plan import memory, plan, workload
from experiments.plan.model_sizes import SIZES, Size
from experiments.plan.workload import Stage
from experiments.run import preparation

ROOT = Path(composition.CONF).parent


def paper(*overrides: str) -> Run:
    [config] = composition.compose_cells(["scale=paper", *overrides])
    return config


def hours(stages: list[Stage] | None, kind: str | None = None) -> float:
    assert stages is not None
    return sum(stage.seconds for stage in stages if kind in (None, stage.kind)) / 3600


def total(stages: list[Stage] | None, field: str) -> float:
    assert stages is not None
    return sum(getattr(stage, field) for stage in stages)


def test_one_cell_by_hand() -> None:
    """Qwen2.5-0.5B-Instruct: 494.0M parameters, 24 layers; 5,000 steps of 8 completions of up to 2,048 tokens.

    Whatever it does on an H100 is bound by launches, 24 ms a pass, and the verifier's 42 layers by 42 ms.
    """
    config = paper("family=qwen", "regime=instruct")
    most, expected = workload.lengths(config)
    done = workload.work(config, most)
    # 200 prompts by start, verifier, policy and selected checkpoint; 50 by start and by 25 checkpoints
    responses = 5000 * 8 + 4 * 200 + 50 + 25 * 50
    assert total(done, "generated") == responses * 2048
    # the prompt once for its 8 completions
    assert total(done, "read") == 5000 * (512 + 8 * 2048)
    # one call of generate a step; evaluations in batches of 8; one pass more for the prompts of each
    passes = 2049 * (5000 + 3 * 25 + 7 + 25 * 7)
    # the verifier's 25 batches: reading 8 prompts of 512 takes it longer than launching
    head = 262_144 * 2560
    reading = 2 * ((4.5e9 - head) * 8 * 512 + head * 8) / (0.4 * 989e12)
    assert reading > 0.042
    seconds = passes * 0.024 + 25 * (reading + 2048 * 0.042)
    assert hours(done, "generation") == pytest.approx(seconds / 3600, rel=1e-9)
    # 8 micro-batches of forward, recomputation and backward (as two); 36 bytes a parameter
    update = 8 * 4 * 0.024 + 36 * 494_032_768 / 3.35e12
    assert hours(done, "update") == pytest.approx(5000 * update / 3600, rel=1e-9)
    # verifier: 4.5B effective, its head of 262,144 x 2,560 on responses alone: more than its 2 x 42 ms
    verifier = 2 * ((4.5e9 - head) * (512 + 8 * 2048) + head * 8 * 2048) / (0.4 * 989e12)
    assert verifier > 0.084
    # the reference: 8 forward passes; the monitors, at 1,001 steps: policy and start, 2 passes each
    scoring = 5000 * verifier + 5000 * 8 * 0.024 + 1001 * 2 * 2 * 0.024
    assert hours(done, "scoring") == pytest.approx(scoring / 3600, rel=1e-9)
    likely = workload.work(config, expected)
    assert total(likely, "generated") == responses * 440
    assert total(likely, "read") == 5000 * (128 + 8 * 440)
    assert hours(likely, "generation") == pytest.approx(
        (881 * (passes / 2049 * 0.024 + 25 * 0.042)) / 3600, rel=1e-9
    )
    left = plan.own(done, {identity.start_id(config)})
    assert total(done, "generated") - total(left, "generated") == 200 * 2048


def test_dpo_by_hand() -> None:
    """Llama-3.2-1B-Instruct, 16 layers; 625 steps of 8 pairs, one a micro-batch; prompt and response 2,560 at most."""
    config = paper("family=llama", "regime=instruct", "trainer=dpo", "selection.every=null")
    most, expected = workload.lengths(config)
    assert (most.prompt, most.response) == (128, 2432)
    done, likely = workload.work(config, most), workload.work(config, expected)
    # monitors sample 8 responses at 126 steps; 200 answers of start and policy; no verifier reads or answers
    assert total(done, "generated") == (126 * 8 + 2 * 200) * 2048
    assert total(done, "read") == 0
    assert hours(done, "generation") == pytest.approx((126 + 2 * 25) * 2049 * 0.016 / 3600, rel=1e-9)
    # both responses of a pair in one micro-batch: 5,120 tokens of the body, 4,864 of the head, four times
    head = 128_256 * 2048
    forward = 2 * ((1_235_814_400 - head) * 5120 + head * 4864) / (0.4 * 989e12)
    assert forward > 0.016
    update = 8 * 4 * forward + 36 * 1_235_814_400 / 3.35e12
    assert hours(done, "update") == pytest.approx(625 * update / 3600, rel=1e-9)
    # the reference, 8 passes a step; the monitors' 8 prompts of 128 tokens (1 pass) and responses (1 pass), two models
    assert hours(done, "scoring") == pytest.approx(
        (625 * 8 * forward + 126 * 2 * _monitor(8, 128, 2048)) / 3600, rel=1e-9
    )
    assert total(likely, "generated") == (126 * 8 + 2 * 200) * 440
    need = memory.memory(config)
    assert need is not None
    assert need["reference"] == need["start"] == need["policy"] and need["verifiers"] == 0
    assert need["logits"] == pytest.approx(2 * 2432 * 128_256 * 8 / 2**30)


def _monitor(rows: int, prompt: int, response: int) -> float:
    """Seconds of Llama-3.2-1B over rows with a prompt each, two passes of 16 layers at least."""
    head = 128_256 * 2048
    tokens = rows * (prompt + response)
    return max(0.032, 2 * ((1_235_814_400 - head) * tokens + head * rows * response) / (0.4 * 989e12))


def test_sft_by_hand() -> None:
    """The verifier (42 layers) answers 5,000 prompts, once for both cells; 600 steps of 8 answers."""
    cells = composition.compose_cells(
        [
            "-m",
            "scale=paper",
            "family=llama",
            "regime=instruct",
            "trainer=sft",
            "selection.every=null",
            "trainer.learning_rate=1e-5,2e-5",
        ]
    )
    config = cells[0]
    most, expected = workload.lengths(config)
    assert (most.prompt, most.response) == (512, 2048)
    assert (expected.prompt, expected.response, expected.longest) == (128, 440, 880)
    done: set[str] = set()
    first = plan.own(workload.work(config, expected), done)
    # the monitors' 8 at 121 steps; 200 answers of start, policy and verifier
    assert total(first, "generated") == (5000 + 121 * 8 + 3 * 200) * 440
    # answers in batches of 8: the verifier's 625 and 25 of them, the policy's 121 and 2 x 25
    passes = 42 * (625 + 25) + 16 * (121 + 50)
    assert hours(first, "generation") == pytest.approx(881 * passes * 1e-3 / 3600, rel=1e-9)
    update = 8 * 4 * 0.016 + 36 * 1_235_814_400 / 3.35e12
    assert hours(first, "update") == pytest.approx(600 * update / 3600, rel=1e-9)
    second = plan.own(workload.work(cells[1], expected), done)
    assert total(second, "generated") == (121 * 8 + 200) * 440  # what verifier and start said is there


def test_best_of_n_by_hand() -> None:
    """8 samples of the start to each of 200 prompts, which the verifier reads; they are the policy's answers."""
    config = paper(
        "family=llama", "regime=instruct", "trainer=best_of_n", "selection.every=null", "capabilities=none"
    )
    _, expected = workload.lengths(config)
    done = workload.work(config, expected)
    assert total(done, "generated") == (200 * 8 + 2 * 200) * 440  # beside them the start's and the verifier's
    assert total(done, "read") == 200 * 128 + 1600 * 440
    assert hours(done, "generation") == pytest.approx((881 * (200 + 25) * 0.016 + 881 * 25 * 0.042) / 3600)
    assert hours(done, "update") == 0
    need = memory.memory(config)
    assert need is not None and need["gradients"] == need["start"] == need["logits"] == 0
    assert need["total"] == pytest.approx(need["policy"] + need["verifiers"] + need["KV cache"])
    [row] = [line for line in plan.lines([config]) if "best_of_n_cme" in line and "paper" in line]
    assert row.split()[5:8] == ["paper", "-", "-"]


def test_a_comparator_answers_once_and_a_reward_on_the_policy_reads_it() -> None:
    """Llama's instruct model is its own start here; Gemma-3-1B-it (26 layers) answers 200 prompts."""
    plain, met = (
        paper("family=llama", "regime=instruct"),
        paper("family=llama", "regime=instruct", "comparators=paper"),
    )
    _, tokens = workload.lengths(met)
    before, after = workload.work(plain, tokens), workload.work(met, tokens)
    assert total(after, "generated") - total(before, "generated") == 200 * 440
    assert hours(after) - hours(before) == pytest.approx(25 * 881 * 0.026 / 3600)
    done: set[str] = set()
    plan.own(after, done)
    other = paper("family=llama", "regime=instruct", "comparators=paper", "seed=1")
    left = plan.own(workload.work(other, tokens), done)
    assert not [s for s in left or [] if s.once]  # nothing that is shared is left to another seed
    entropy = paper("family=llama", "regime=instruct", "reward=token_entropy", "preset=matched")
    assert total(workload.work(entropy, tokens), "read") == 0
    random = paper("family=llama", "regime=instruct", "reward=random")
    # two passes of 16 layers a step, of prompt and responses
    assert hours(workload.work(entropy, tokens)) - hours(workload.work(random, tokens)) == pytest.approx(
        5000 * 0.032 / 3600
    )


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "reward").glob("*.yaml")), ids=lambda p: p.stem)
def test_rewards_on_the_live_policy_are_known(path: Path) -> None:
    """Those that hold a LivePolicy, by their source."""
    target = yaml.safe_load(path.read_text()).get("_target_")
    if target is None:
        pytest.skip("takes another reward's target")
    module, _, name = target.rpartition(".")
    source = inspect.getsource(getattr(import_module(module), name))
    assert ("LivePolicy(" in source) == (name in workload.LIVE)


def test_memory_of_one_cell_by_hand() -> None:
    """Llama-3.2-1B: 1.236B parameters in float32, a verifier of 8B in bfloat16, 8 KV heads of 64 in 16 layers."""
    need = memory.memory(paper("family=llama", "regime=pretrained"))
    assert need is not None
    gib = 2**30
    assert need["policy"] == need["gradients"] == need["start"] == pytest.approx(1.2358e9 * 4 / gib, rel=1e-3)
    assert need["optimizer"] == pytest.approx(2 * need["policy"])
    assert need["reference"] == 0  # beta is 0
    assert need["verifiers"] == pytest.approx(8e9 * 2 / gib)
    assert need["KV cache"] == pytest.approx(8 * (512 + 1536) * 2 * 8 * 64 * 16 * 4 / gib)
    assert need["logits"] == pytest.approx(1536 * 128256 * 8 / gib)
    # a row of 2,048 tokens: the inputs of 16 layers in float32, 34 bytes within one
    assert need["activations"] == pytest.approx(2048 * 2048 * (16 * 4 + 34) / gib)
    assert need["total"] == pytest.approx(
        5 * need["policy"] + need["verifiers"] + need["logits"] + need["activations"]
    )
    penalised = memory.memory(paper("family=llama", "regime=pretrained", "trainer.beta=0.1"))
    assert penalised is not None and penalised["reference"] == need["policy"]


def test_a_sliding_window_holds_no_more_than_itself() -> None:
    gemma = SIZES["google/gemma-3-1b-pt"]  # 26 layers, of which the 6th, 12th, 18th and 24th see everything
    assert gemma.cache_bytes(2048, 2) == 2 * 256 * 2 * (4 * 2048 + 22 * 512)
    assert gemma.cache_bytes(100, 2) == 2 * 256 * 2 * 26 * 100


def test_judging_by_hand() -> None:
    config = paper("family=qwen", "regime=instruct")
    most, expected = workload.lengths(config)
    # both orders of 200 pairs of the final and of the selected policy, and of 50 of each of 25 checkpoints
    calls = 2 * (200 + 200 + 25 * 50)
    assert plan.judged(config, most, with_start=True).calls == calls == 3300
    usd, likely = (
        plan.judged(config, most, with_start=True).usd,
        plan.judged(config, expected, with_start=True).usd,
    )
    assert usd is not None and likely is not None
    # two responses of 2,500 characters, a prompt of 512 tokens, what the judge is told; 1,024 tokens replied
    told = len(config.judge.arguments["prompt"] + config.judge.arguments["reply_with"]) / 4
    sent = 2 * 2500 / 4 + 512 + told
    assert usd / calls == pytest.approx((1.75 * sent + 14 * 1024) / 1e6, rel=0.01)
    # the shorter ones of 440 tokens, a prompt of 128, 100 replied
    sent = 2 * 440 + 128 + told
    assert likely / calls == pytest.approx((1.75 * sent + 14 * 100) / 1e6, rel=0.03)
    free = paper("family=qwen", "judge=openai", "judge.model=x", "selection.every=null")
    assert plan.judged(free, most, with_start=True) == plan.Judging(400, None)


CLASSES = {
    "Qwen/Qwen2.5": ("Qwen2Config", "Qwen2ForCausalLM"),
    "package:smollm2": ("LlamaConfig", "LlamaForCausalLM"),
    "meta-llama/": ("LlamaConfig", "LlamaForCausalLM"),
    "google/gemma-3": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
    "google/gemma-2": ("Gemma2Config", "Gemma2ForCausalLM"),
    "allenai/OLMo-2": ("Olmo2Config", "Olmo2ForCausalLM"),
}
# what the plan has no use for: width of the feed-forward layers and attention heads
SHAPES = {
    "package:smollm2-135m-instruct": (1536, 9),
    "Qwen/Qwen2.5-0.5B": (4864, 14),
    "Qwen/Qwen2.5-Math-1.5B": (8960, 12),
    "Qwen/Qwen2.5-Math-7B-Instruct": (18944, 28),
    "Qwen/Qwen2.5-32B-Instruct": (27648, 40),
    "meta-llama/Llama-3.1-70B-Instruct": (28672, 64),
    "google/gemma-3-4b-it": (10240, 8),
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
    assert set(
        preparation.checkpoint_names(composition.compose_cells(every) + composition.compose_cells(math))
    ) <= set(SIZES)


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
    found = plan.lines(composition.compose_cells(["-m", "seed=0,1", "plan=true"]))
    text = "\n".join(found)
    assert "plan of 2 cells at scale=miniature" in text
    assert "unknown sizes" in text and "miniature:qwen/pretrained" in text
    assert "in all unknown H100 hours" in text


def test_a_shared_start_is_counted_once() -> None:
    cells = composition.compose_cells(["-m", "scale=paper", "family=llama", "regime=instruct", "seed=1,2"])
    lines = [line for line in plan.lines(cells) if " s1 " in line or " s2 " in line][:2]
    first, second = [float(line.split()[8]) for line in lines]
    # 200 prompts by start and verifier, and the start's 50 of checkpoint selection
    assert first - second == pytest.approx(450 * 2048 / 1e6, abs=0.11)


def test_a_plan_is_no_part_of_a_run() -> None:

    plain, planned = composition.compose_cells([]) + composition.compose_cells(["plan=true"])
    assert plain.run_id == planned.run_id
    assert plain.run_id == "miniature-qwen-pretrained-cme-gemma-s0-073c7a4e"


def test_lora_an_8_bit_verifier_and_vllm() -> None:
    """Llama-3.2-1B at rank 16: 11.3M parameters trained, no reference of its own; 0.1 ms a layer to sample."""
    plain = paper("family=llama", "regime=instruct")
    light = paper("family=llama", "regime=instruct")  # set behind validation, which wants the packages
    light.trainer.lora = Lora(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear")
    light.reward.quantization = "8bit"
    before, after = memory.memory(plain), memory.memory(light)
    assert before is not None and after is not None
    assert after["gradients"] * 2**30 == pytest.approx(4 * 11.27e6, rel=1e-3)
    assert after["policy"] - before["policy"] == pytest.approx(after["gradients"])
    kept = sum(after[name] for name in ("policy", "gradients", "optimizer", "start", "verifiers"))
    assert after["total"] == pytest.approx(kept + before["policy"])  # with a copy, merged to be saved
    assert after["reference"] == 0 and after["verifiers"] == before["verifiers"] / 2
    fast, slow = (paper("family=llama", "regime=instruct", "selection.every=null") for _ in range(2))
    fast.trainer.use_vllm = True
    _, tokens = workload.lengths(plain)
    saved = hours(workload.work(slow, tokens)) - hours(workload.work(fast, tokens))
    assert saved == pytest.approx(5000 * 881 * 0.0144 / 3600, rel=1e-2)


def test_a_verifier_behind_a_server_takes_nothing_of_this_gpu() -> None:
    own = paper("family=llama", "regime=instruct")
    served = paper(
        "family=llama", "regime=instruct", "reward.server={url: http://127.0.0.1:1, model: v, dialect: vllm}"
    )
    _, tokens = workload.lengths(own)
    before, after = workload.work(own, tokens), workload.work(served, tokens)
    assert total(before, "read") == total(after, "read")
    assert hours(before, "scoring") - hours(after, "scoring") == pytest.approx(5000 * 0.084 / 3600)
    here, there = memory.memory(own), memory.memory(served)
    assert here is not None and there is not None
    assert (here["verifiers"], there["verifiers"]) == (pytest.approx(16e9 / 2**30), 0)


def test_random_weights_are_as_large_as_trained_ones() -> None:
    trained, random = paper("family=qwen"), paper("family=qwen", "verifier=random")
    assert memory.memory(random) == memory.memory(trained) is not None
