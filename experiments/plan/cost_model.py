"""Seconds and bytes of what a run does, from sizes of models and speeds of a machine: a roofline with launches.

Every token is multiplied with a model's body, and one whose next token is predicted or scored with its head too: two
operations a weight. A pass takes as long as its operations at the speed of matrix products, or its bytes at the speed
of memory, whichever is longer. The host launches every layer's operations one by one: on a GPU while earlier ones are
computed, so that the longer of the two counts, on a CPU in turn with them. Checked against measurements in
docs/scaling.md.

Not in it: attention's own products, which grow with the square of the length (11 % of the rest for 2,560 tokens of a
0.5B model, 3 % for 570), padding, tokenizing, sampling from logits, loading, and what devices wait for one another.
"""

from dataclasses import dataclass, replace
from math import ceil

from experiments.plan.model_sizes import Size

UPDATE = 36
"""Bytes a parameter that an update moves: gradients and weights read and written, two moments likewise (AdamW, all in
float32: 28), and the norm of the gradients taken and applied (8)."""


@dataclass(frozen=True)
class Machine:
    """Speeds of one device and its host.

    flops: operations a second that large matrix products reach in training and scoring.
    bandwidth: bytes a second from memory. layer: seconds in which the host launches one layer of a forward pass.
    asynchronous: the host launches ahead of the device. checkpointed: activations are computed a second time for the
    backward pass instead of kept. recast: bytes that a float32 weight moves in a pass (8 under autocast: 4 read, 2
    written in bfloat16 and 2 read again).
    """

    name: str
    flops: float
    bandwidth: float
    layer: float
    asynchronous: bool
    checkpointed: bool
    recast: float

    def seconds(self, operations: float, moved: float, layers: float) -> float:
        """Of a pass that computes so many operations, moves so many bytes and launches so many layers."""
        work = max(operations / self.flops, moved / self.bandwidth)
        launched = layers * self.layer
        return max(work, launched) if self.asynchronous else work + launched


H100 = Machine(
    "H100",
    flops=0.4
    * 989e12,  # of the stated dense bfloat16 peak, what Llama 3's training reached (arXiv 2407.21783: 38-43 %)
    bandwidth=3.35e12,  # as stated
    layer=1e-3,  # assumed: see docs/scaling.md
    asynchronous=True,
    checkpointed=True,
    recast=8,
)
VLLM = replace(H100, name="H100 with vLLM", layer=1e-4, recast=2)
"""vLLM's generation: launches captured once (CUDA graphs), weights in bfloat16; the 0.1 ms a layer are assumed."""


@dataclass(frozen=True)
class Batch:
    """`rows` responses to `prompts` distinct prompts, of so many tokens each on average."""

    rows: int
    prompts: int
    prompt: float
    response: float


def decoding(
    machine: Machine, model: Size, rows: int, prompt: float, steps: float, weight: float | None = None
) -> float:
    """Seconds in which transformers answers `rows` prompts in one batch, the longest response having `steps` tokens.

    `weight` is the bytes a weight moves in each step: `machine.recast` unless given.
    """
    moved = (machine.recast if weight is None else weight) * model.active
    reading = machine.seconds(2 * (model.body * rows * prompt + model.head * rows), moved, model.layers)
    cached = rows * model.cache_bytes(round(prompt + steps / 2), 4)
    one = machine.seconds(2 * model.active * rows, moved + cached, model.layers)
    return reading + steps * one


def scoring(machine: Machine, model: Size, batch: Batch, width: float, pass_tokens: int) -> float:
    """Seconds in which `TokenScorer` scores responses: each distinct prompt once, the head on responses alone.

    Weights take `width` bytes; a pass holds `pass_tokens` at most.
    """
    responses = batch.rows * batch.response
    tokens = batch.prompts * batch.prompt + responses
    passes = ceil(batch.prompts * batch.prompt / pass_tokens) + ceil(responses / pass_tokens)
    return machine.seconds(
        2 * (model.body * tokens + model.head * responses),
        passes * width * model.active,
        passes * model.layers,
    )


def forward(machine: Machine, model: Size, batch: Batch, micro: int) -> float:
    """Seconds of forward passes over prompt and response together, `micro` rows at a time, as TRL makes them."""
    passes = ceil(batch.rows / micro)
    responses = batch.rows * batch.response
    operations = 2 * (model.body * (batch.rows * batch.prompt + responses) + model.head * responses)
    return machine.seconds(operations, passes * machine.recast * model.active, passes * model.layers)


def updating(machine: Machine, model: Size, batch: Batch, micro: int) -> float:
    """Seconds of one optimizer step: forward and backward passes, `micro` rows at a time, and the update.

    A backward pass costs two forward ones, and one more where activations are computed a second time.
    """
    factor = 4 if machine.checkpointed else 3
    return factor * forward(machine, model, batch, micro) + UPDATE * model.parameters / machine.bandwidth


def training_bytes(
    policy: Size,
    *,
    micro: int,
    prompt: float,
    response: float,
    checkpointed: bool = True,
    adapters: int | None = None,
    width: int = 4,
) -> dict[str, float]:
    """Bytes that a policy in training holds on one device, by what they are for, its frozen copies not among them.

    Weights take `width` bytes; gradients, Adam's two moments and adapters (LoRA's parameters, which alone are trained
    where they are named) float32. Logits are of one micro-batch, with their gradient, in float32. Activations: where
    they are computed a second time, each layer's input in float32 and 34 bytes a token and hidden unit within one
    layer; otherwise twice these 34 in every layer (Korthikanti et al., arXiv 2205.05198, section 4.1, without
    attention's own matrix).
    """
    trained = policy.parameters if adapters is None else adapters
    units = micro * (prompt + response) * policy.hidden
    return {
        "policy": width * policy.parameters + 4.0 * (adapters or 0),
        "gradients": 4.0 * trained,
        "optimizer": 8.0 * trained,
        "activations": units * (4 * policy.layers + 34 if checkpointed else 68 * policy.layers),
        "logits": 8.0 * micro * response * policy.vocabulary,
    }


def adapters(model: Size, rank: int) -> int:
    """Parameters of LoRA on every linear layer of the blocks: `rank` times the sides of each.

    The feed-forward width follows from the body, heads taken to be as wide together as the model.
    """
    d, own = model.hidden, model.kv_heads * model.head_dim
    inner = (model.body / model.layers - 2 * d * d - 2 * d * own) / (3 * d)
    return round(model.layers * rank * (2 * 2 * d + 2 * (d + own) + 3 * (d + inner)))
