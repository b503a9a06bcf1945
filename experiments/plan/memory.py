"""A rough estimate of the memory of a run, from the published shapes of its models. Never measured on a GPU."""

from dataclasses import dataclass, replace

from experiments.config import identity
from experiments.config.runs import Run

GIB = 2**30
FORMULA = """\
GiB: memory of one GPU, computed and never measured. 4 bytes per parameter for each of policy, untrained model, TRL's
reference and gradients, 8 for Adam's moments; verifiers in scoring.dtype, or 4 for an average of the policy; and the
larger of the KV cache of a batch and the activations (arXiv 2205.05198, with checkpointing) and logits of a
micro-batch. Without fragmentation and vLLM."""


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
    "tuned:gemma-3-270m-sft": GEMMA3_270M,
    # of Qwen's packages, the GGUF file has the embeddings of the output apart
    "package:qwen2.5-coder-0.5b-instruct": replace(QWEN_05, parameters=630_167_424),
    "package:qwen2.5-coder-1.5b-instruct": replace(QWEN_15, parameters=1_777_088_000),
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
    """The size of a checkpoint, also at a revision, and of its architecture with random weights; None if unknown."""
    return SIZES.get(checkpoint.removeprefix("random:").partition("@")[0])


def estimate_memory(run: Run, prompt: float, response: float) -> float | None:
    """GiB on one GPU by FORMULA; None if the size of a model is unknown.

    `prompt` and `response` are the largest numbers of tokens of a trained row.
    """
    trainer, policy = run.trainer, size_of(run.generator)
    trains, lora = trainer.method != "best_of_n", trainer.lora is not None
    # SFT needs its verifier only before training, and a server has its own GPU
    served = identity.served_verifiers(run)
    scoring = [] if trainer.method == "sft" or served else identity.verifiers(run)
    heldout = [name for name in [identity.heldout_verifier(run)] if name and trains]
    verifiers = [size for name in (*scoring, *heldout) if (size := size_of(name)) is not None]
    if policy is None or len(verifiers) < len(scoring) + len(heldout):
        return None
    width = 4 if run.scoring.dtype == "float32" else 2
    scored = 1 if identity.quantization(run) == "8bit" else 4 if identity.averages_policy(run) else width
    widths = [scored] * len(scoring) + [width] * len(heldout)
    weights = 4 * policy.parameters
    # LoRA: rank x the sides of the seven matrices of a layer, together about 20 x hidden
    trained = 20 * trainer.lora.r * policy.hidden * policy.layers if lora else policy.parameters
    # the reference of LoRA is the policy without adapters
    has_reference = not lora and (trainer.method == "dpo" or (trainer.method == "grpo" and trainer.beta > 0))
    states = weights * (1 + trains + has_reference) + 4 * trained * lora + (4 + 8) * trained * trains
    states += sum(w * size.parameters for w, size in zip(widths, verifiers, strict=True))
    rows = 0
    if trains:
        rows = trainer.per_device_train_batch_size * (2 if trainer.method == "dpo" else 1)
    batch = run.evaluation.batch_size
    if trainer.method == "grpo":
        batch = max(batch, trainer.per_device_train_batch_size * trainer.steps_per_generation)
    tokens = run.scoring.max_prompt_tokens + max(response, run.evaluation.max_new_tokens)
    cache = 8 * batch * policy.layers * policy.kv * tokens
    activations = rows * (prompt + response) * policy.hidden * (4 * policy.layers + 34)
    logits = 8 * rows * response * policy.vocabulary
    merged = weights * lora  # a copy, when the policy is saved
    return float(states + max(cache, activations + logits, merged)) / GIB
