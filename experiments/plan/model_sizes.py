"""Sizes of published checkpoints, so that a sweep can be planned where none of them is at hand.

Source: `config.json` and model card of each on the hub, as we knew them in 2026. `parameters` is what transformers'
class of that configuration has; a test builds each without its weights and counts. Gemma 4's is from its card, "8B
with embeddings" (vision and audio included) and "4.5B effective".
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Numbers of a decoder: `active` parameters are multiplied with every token, `parameters` are held in memory.

    Of layers with a sliding `window`, every `global_every`-th sees everything all the same.
    """

    parameters: int
    layers: int
    hidden: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool = True
    window: int | None = None
    global_every: int = 6
    effective: int | None = None

    @property
    def active(self) -> int:
        """All but tables that are only looked up: an untied input embedding, embeddings of single layers."""
        table = 0 if self.tied else self.vocabulary * self.hidden
        return self.effective or self.parameters - table

    @property
    def head(self) -> int:
        """Parameters that only predicting a next token multiplies with."""
        return self.vocabulary * self.hidden

    @property
    def body(self) -> int:
        """Parameters that every token is multiplied with."""
        return self.active - self.head

    def cache_bytes(self, tokens: int, width: int) -> int:
        """Keys and values of one sequence of so many tokens, at `width` bytes a number."""
        everywhere = self.layers if self.window is None else self.layers // self.global_every
        seen = everywhere * tokens + (self.layers - everywhere) * min(tokens, self.window or 0)
        return 2 * self.kv_heads * self.head_dim * width * seen


SMOLLM2_135M = Size(134_515_008, 30, 576, 3, 64, 49_152)
QWEN_05 = Size(494_032_768, 24, 896, 2, 64, 151_936)
QWEN_15 = Size(1_543_714_304, 28, 1536, 2, 128, 151_936)
QWEN_7 = Size(7_615_616_512, 28, 3584, 4, 128, 152_064, tied=False)
QWEN_32 = Size(32_763_876_352, 64, 5120, 8, 128, 152_064, tied=False)
LLAMA_1 = Size(1_235_814_400, 16, 2048, 8, 64, 128_256)
LLAMA_8 = Size(8_030_261_248, 32, 4096, 8, 128, 128_256, tied=False)
LLAMA_70 = Size(70_553_706_496, 80, 8192, 8, 128, 128_256, tied=False)
GEMMA3_270M = Size(268_098_176, 18, 640, 1, 256, 262_144, window=512)
GEMMA3_1 = Size(999_885_952, 26, 1152, 1, 256, 262_144, window=512)
GEMMA3_4 = Size(3_880_263_168, 34, 2560, 4, 256, 262_208, window=1024)
GEMMA2_2 = Size(2_614_341_888, 26, 2304, 4, 256, 256_000, window=4096, global_every=2)
GEMMA4_E4 = Size(8_000_000_000, 42, 2560, 2, 256, 262_144, window=512, effective=4_500_000_000)
OLMO2_1 = Size(1_484_916_736, 16, 2048, 16, 128, 100_352, tied=False)
OLMO2_7 = Size(7_298_617_344, 32, 4096, 32, 128, 100_352, tied=False)

SIZES: dict[str, Size] = {
    "package:smollm2-135m-instruct": SMOLLM2_135M,
    "package:gemma-3-270m": GEMMA3_270M,
    "Qwen/Qwen2.5-0.5B": QWEN_05,
    "Qwen/Qwen2.5-0.5B-Instruct": QWEN_05,
    "Qwen/Qwen2.5-1.5B-Instruct": QWEN_15,
    "Qwen/Qwen2.5-Math-1.5B": QWEN_15,
    "Qwen/Qwen2.5-Math-1.5B-Instruct": QWEN_15,
    "Qwen/Qwen2.5-Math-7B-Instruct": QWEN_7,
    "Qwen/Qwen2.5-32B-Instruct": QWEN_32,
    "meta-llama/Llama-3.2-1B": LLAMA_1,
    "meta-llama/Llama-3.2-1B-Instruct": LLAMA_1,
    "meta-llama/Llama-3.1-8B-Instruct": LLAMA_8,
    "meta-llama/Llama-3.1-70B-Instruct": LLAMA_70,
    "google/gemma-3-270m-it": GEMMA3_270M,
    "google/gemma-3-1b-pt": GEMMA3_1,
    "google/gemma-3-1b-it": GEMMA3_1,
    "google/gemma-3-4b-it": GEMMA3_4,
    "google/gemma-2-2b-it": GEMMA2_2,
    "google/gemma-4-E4B-it": GEMMA4_E4,
    "allenai/OLMo-2-0425-1B": OLMO2_1,
    "allenai/OLMo-2-0425-1B-SFT": OLMO2_1,
    "allenai/OLMo-2-0425-1B-DPO": OLMO2_1,
    "allenai/OLMo-2-0425-1B-Instruct": OLMO2_1,
    "allenai/OLMo-2-1124-7B-Instruct": OLMO2_7,
}
