"""An estimate of the GPU memory that a run needs, from its configuration and the published sizes of its models."""

from dataclasses import dataclass

from experiments.config import identity
from experiments.config.runs import Run

GIB = 2**30
FORMULA = """\
Memory (GiB): 4 bytes per parameter for each of policy, start (to measure KL), TRL's reference and gradients; 8 for
Adam's moments; verifiers in scoring.dtype. Added is the larger of two: the KV cache of one batch in float32; or, of one
micro-batch, activations of tokens x hidden x (4 x layers + 34) bytes (arXiv 2205.05198, activation checkpointing) and
logits of response tokens x vocabulary x 8 bytes. Excluded: vLLM in the same process, fragmentation."""


@dataclass(frozen=True)
class Size:
    """The shape of a decoder; `kv` is the number of key-value heads times their width."""

    parameters: int
    layers: int
    hidden: int
    kv: int
    vocabulary: int


QWEN_05 = Size(494_032_768, 24, 896, 128, 151_936)
QWEN_15 = Size(1_543_714_304, 28, 1536, 256, 151_936)
LLAMA_1 = Size(1_235_814_400, 16, 2048, 512, 128_256)
GEMMA3_270M = Size(268_098_176, 18, 640, 256, 262_144)
GEMMA3_1 = Size(999_885_952, 26, 1152, 256, 262_144)
OLMO2_1 = Size(1_484_916_736, 16, 2048, 2048, 100_352)

# from each checkpoint's config.json and model card; `parameters` as transformers counts them
SIZES = {
    "package:smollm2-135m-instruct": Size(134_515_008, 30, 576, 192, 49_152),
    "package:gemma-3-270m": GEMMA3_270M,
    "Qwen/Qwen2.5-0.5B": QWEN_05,
    "Qwen/Qwen2.5-0.5B-Instruct": QWEN_05,
    "Qwen/Qwen2.5-1.5B-Instruct": QWEN_15,
    "Qwen/Qwen2.5-Math-1.5B": QWEN_15,
    "Qwen/Qwen2.5-Math-1.5B-Instruct": QWEN_15,
    "Qwen/Qwen2.5-Math-7B-Instruct": Size(7_615_616_512, 28, 3584, 512, 152_064),
    "Qwen/Qwen2.5-32B-Instruct": Size(32_763_876_352, 64, 5120, 1024, 152_064),
    "meta-llama/Llama-3.2-1B": LLAMA_1,
    "meta-llama/Llama-3.2-1B-Instruct": LLAMA_1,
    "meta-llama/Llama-3.1-8B-Instruct": Size(8_030_261_248, 32, 4096, 1024, 128_256),
    "meta-llama/Llama-3.1-70B-Instruct": Size(70_553_706_496, 80, 8192, 1024, 128_256),
    "google/gemma-3-270m-it": GEMMA3_270M,
    "google/gemma-3-1b-pt": GEMMA3_1,
    "google/gemma-3-1b-it": GEMMA3_1,
    "google/gemma-3-4b-it": Size(3_880_263_168, 34, 2560, 1024, 262_208),
    "google/gemma-2-2b-it": Size(2_614_341_888, 26, 2304, 1024, 256_000),
    "google/gemma-4-E4B-it": Size(8_000_000_000, 42, 2560, 512, 262_144),
    "allenai/OLMo-2-0425-1B": OLMO2_1,
    "allenai/OLMo-2-0425-1B-SFT": OLMO2_1,
    "allenai/OLMo-2-0425-1B-DPO": OLMO2_1,
    "allenai/OLMo-2-0425-1B-Instruct": OLMO2_1,
    "allenai/OLMo-2-1124-7B-Instruct": Size(7_298_617_344, 32, 4096, 4096, 100_352),
}


def size_of(checkpoint: str) -> Size | None:
    """The size of a checkpoint, or of the one whose shape random weights have; None if it is unknown."""
    return SIZES.get(checkpoint.removeprefix("random:"))


def estimate_memory(run: Run, prompt: float, response: float) -> dict[str, float] | None:
    """GiB on one GPU by purpose, with the sum as `total`; None if the size of a model is unknown.

    `prompt` and `response` are the most tokens of a row that is trained on. See FORMULA.
    """
    trainer, policy = run.trainer, size_of(run.generator)
    heldout = identity.heldout_verifier(run)
    served = identity.uses_reward(run) and run.reward.arguments.get("server") is not None
    trains, lora = trainer.method != "best_of_n", trainer.lora is not None
    # SFT needs its verifier only before training
    learned = [] if trainer.method == "sft" or served else identity.verifiers(run)
    watched = [heldout] if heldout and trains else []
    sizes = [size_of(name) for name in (*learned, *watched)]
    if policy is None or None in sizes:
        return None
    width = 4 if run.scoring.dtype == "float32" else 2
    widths = [1 if identity.quantization(run) == "8bit" else width] * len(learned) + [width] * len(watched)
    weights = 4.0 * policy.parameters
    # LoRA: rank x the sides of the seven matrices of a layer, together about 20 x hidden
    trained = 20.0 * trainer.lora.r * policy.hidden * policy.layers if lora else float(policy.parameters)
    # without a KL penalty there is no reference; LoRA's is the policy without adapters
    reference = (
        trains and not lora and (trainer.method == "dpo" or (trainer.method == "grpo" and trainer.beta > 0))
    )
    batch = run.evaluation.batch_size
    tokens = rows = 0.0
    if trains:
        rows = trainer.per_device_train_batch_size * (2 if trainer.method == "dpo" else 1)
        tokens = rows * (prompt + response)
    if trainer.method == "grpo":
        batch = max(batch, trainer.per_device_train_batch_size * trainer.steps_per_generation)
    longest = run.scoring.max_prompt_tokens + max(response, run.evaluation.max_new_tokens)
    kept = {
        "policy": weights + (4 * trained if lora else 0.0),
        "gradients": 4 * trained * trains,
        "optimizer": 8 * trained * trains,
        "start": weights * trains,
        "reference": weights * reference,
        "verifiers": sum(w * s.parameters for w, s in zip(widths, sizes, strict=True) if s is not None),
    }
    passing = {
        "KV cache": 8.0 * batch * policy.layers * policy.kv * longest,
        "activations": tokens * policy.hidden * (4 * policy.layers + 34),
        "logits": 8 * rows * response * policy.vocabulary,
    }
    merged = weights * lora  # a copy, when the policy is saved
    peak = max(passing["KV cache"], passing["activations"] + passing["logits"], merged)
    total = sum(kept.values()) + peak
    return {name: value / GIB for name, value in (kept | passing | {"total": total}).items()}
