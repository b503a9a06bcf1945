"""What a cell holds in GPU memory, reckoned from its configuration alone."""

from experiments.config import identity
from experiments.config.runs import Run
from experiments.plan.cost_model import adapters, training_bytes
from experiments.plan.workload import lengths, served, size, unknown, width

GIB = 2**30


def memory(config: Run) -> dict[str, float] | None:
    """GiB by what they are for, in all at `total`; None where the size of a model is unknown."""
    if unknown(config):
        return None
    trainer, policy, method = config.trainer, size(config.generator), config.trainer.method
    most, _ = lengths(config)
    weights, trains = 4.0 * policy.parameters, method != "best_of_n"
    micro = 0 if not trains else trainer.per_device_train_batch_size * (2 if method == "dpo" else 1)
    lora = trainer.lora if trains else None
    trained = None if lora is None else adapters(policy, lora.r)
    training = training_bytes(
        policy, micro=micro, prompt=most.prompt, response=most.response, adapters=trained
    )
    kept = training | {"start": weights, "reference": weights} if trains else {"policy": weights}
    if method == "sft" or lora is not None or (method == "grpo" and trainer.beta == 0):
        kept["reference"] = 0.0  # LoRA's is the policy without its adapters
    kept["verifiers"] = _held_verifiers(config)
    rows = config.evaluation.batch_size
    if method == "grpo":
        rows = max(rows, trainer.per_device_train_batch_size * trainer.steps_per_generation)
    cache = rows * policy.cache_bytes(
        config.scoring.max_prompt_tokens + round(max(most.response, most.answer)), 4
    )
    columns = ("policy", "gradients", "optimizer", "start", "reference", "verifiers")
    found = {name: kept.get(name, 0.0) for name in columns} | {
        "KV cache": cache,
        "activations": kept.get("activations", 0.0),
        "logits": kept.get("logits", 0.0),
    }
    merged = 0.0 if lora is None else weights  # a copy, when the policy is saved
    passing = max(cache, found["activations"] + found["logits"], merged)
    found["total"] = sum(found[name] for name in columns) + passing
    return {name: value / GIB for name, value in found.items()}


def _held_verifiers(config: Run) -> float:
    """Bytes of the verifiers that lie beside the policy: not one behind a server, and SFT's only before it trains."""
    method, held = config.trainer.method, identity.heldout_verifier(config)
    learned = [] if method == "sft" or served(config) else identity.verifiers(config)
    watching = [held] if held and method != "best_of_n" else []
    first = 1 if identity.quantization(config) == "8bit" else width(config)
    return sum(float(first * size(name).parameters) for name in learned) + sum(
        float(width(config) * size(name).parameters) for name in watching
    )
