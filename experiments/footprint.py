"""What a cell holds in GPU memory, reckoned from its configuration alone."""

from omegaconf import DictConfig

from experiments import identity
from experiments.cost_model import training_bytes
from experiments.workload import lengths, served, size, unknown, width

GIB = 2**30


def memory(config: DictConfig) -> dict[str, float] | None:
    """GiB by what they are for, in all at `total`; None where the size of a model is unknown."""
    if unknown(config):
        return None
    trainer, policy, method = config.trainer, size(config.generator), config.trainer.method
    most, _ = lengths(config)
    weights, trains = 4.0 * policy.parameters, method != "best_of_n"
    micro = 0 if not trains else trainer.per_device_train_batch_size * (2 if method == "dpo" else 1)
    training = training_bytes(policy, micro=micro, prompt=most.prompt, response=most.response)
    kept = training | {"start": weights, "reference": weights} if trains else {"policy": weights}
    if method == "sft" or (method == "grpo" and trainer.beta == 0):
        del kept["reference"]
    kept["verifiers"] = _held_verifiers(config)
    rows = config.evaluation.batch_size
    if method == "grpo":
        rows = max(rows, trainer.per_device_train_batch_size * trainer.steps_per_generation)
    cache = rows * policy.cache_bytes(config.scoring.max_prompt_tokens + max(most.response, most.answer), 4)
    columns = ("policy", "gradients", "optimizer", "start", "reference", "verifiers")
    found = {name: kept.get(name, 0.0) for name in columns} | {
        "KV cache": cache,
        "activations": kept.get("activations", 0.0),
        "logits": kept.get("logits", 0.0),
    }
    passing = max(cache, found["activations"] + found["logits"])
    found["total"] = sum(found[name] for name in columns) + passing
    return {name: value / GIB for name, value in found.items()}


def _held_verifiers(config: DictConfig) -> float:
    """Bytes of the verifiers that lie beside the policy: not one behind a server, and SFT's only before it trains."""
    method, held = config.trainer.method, identity.heldout(config)
    learned = [] if method == "sft" or served(config) else identity.verifiers(config)
    watching = [held] if held and method != "best_of_n" else []
    return sum(float(width(config) * size(name).parameters) for name in [*learned, *watching])
