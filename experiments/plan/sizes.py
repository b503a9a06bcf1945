"""The published shapes of the models, from which memory and time are estimated."""

from dataclasses import dataclass, replace


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
