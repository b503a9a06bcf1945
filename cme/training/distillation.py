"""On-policy distillation: the policy learns the verifier's whole distribution over the next token, on its own samples.

    loss = 1/N sum_i sum_t KL(p(. | x_i, y_i,<t) || q(. | x_i, y_i,<t))        nats per token

p is the policy, q the frozen verifier, and y_i a response that the policy samples to the prompt x_i; N counts the
tokens of all responses of a step, with those that end them. This is GKD (Agarwal et al., ICLR 2024, arXiv 2306.13649)
on on-policy data alone (lambda = 1) with the reverse KL divergence, `beta=1`. Below 1, `beta` gives the generalized
Jensen-Shannon divergence, and 0 the forward KL divergence. No gradient passes through the sampling. TRL's
DistillationTrainer computes it, with the softmax in float32.

Unlike CME, which works with any verifier, a divergence between distributions needs policy and verifier to have the same
tokens. The verifier reads the policy's token ids, so their chat templates must agree, too (`check_tokenizers`).

Deviations: Agarwal et al. also mix in responses of a data set (lambda < 1). Thinking Machines ("On-Policy
Distillation", 2025) estimate the same divergence from the sampled tokens, and use its negative as the advantage per
token of a policy gradient.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from transformers import AutoConfig
from trl import DistillationConfig

from cme.availability import ensure
from cme.checkpoints import Checkpoint, load_tokenizer
from cme.models import chat
from cme.records import Prompt
from cme.training.history import TrainingResult
from cme.training.job import TrainingJob
from cme.training.monitors import Monitors
from cme.training.trl_internals import MonitoredDistillationTrainer


def train_distillation(
    start: Checkpoint,
    verifier: Checkpoint,
    prompts: Sequence[Prompt],
    monitors: Monitors,
    settings: Mapping[str, Any],
    job: TrainingJob,
) -> TrainingResult:
    """Train `start.model` in place on the distributions of `verifier` and save the policy to `job.folder`.

    `settings` are fields of DistillationConfig by TRL's names; `temperature` is that of the sampling and of both
    distributions in the loss. The monitors measure the samples of each step.

    Raises TrainingFailed for a loss or gradient that is not finite, Interrupted for a signal, Unavailable where the
    disk is full, and ValueError for models with vocabularies of different sizes.
    """
    trainer = MonitoredDistillationTrainer(
        monitors=monitors,
        model=start.model,
        teacher_model=verifier.model.requires_grad_(False),
        processing_class=start.tokenizer,
        args=job.arguments(DistillationConfig, settings),
        train_dataset=Dataset.from_list([{"prompt": p.conversation} for p in prompts]),
        peft_config=job.adapters(),
    )
    monitors.bind(trainer)
    return job.run(trainer)


def check_tokenizers(
    generator: str,
    verifier: str,
    prompts: Sequence[Prompt],
    generator_variables: Mapping[str, Any] | None = None,
    verifier_variables: Mapping[str, Any] | None = None,
) -> None:
    """Raise ValueError unless two checkpoints have the same tokens, read the prompts alike, and end a turn alike.

    The variables are those of their chat templates (`cme.checkpoints.load`). Loads tokenizers and no weights. Raises as
    `cme.availability.ensure` does.
    """
    own = load_tokenizer(generator, generator_variables)
    other = load_tokenizer(verifier, verifier_variables)
    folders = ensure([generator, verifier], tokenizers_of=[generator, verifier])
    configs = [
        AutoConfig.from_pretrained(folders[name], trust_remote_code=False) for name in (generator, verifier)
    ]
    rows = [config.get_text_config().vocab_size for config in configs]
    reason = None
    if own.get_vocab() != other.get_vocab():
        reason = "their tokenizers have different vocabularies"
    elif rows[0] != rows[1]:
        reason = f"their models have logits of {rows[0]} and {rows[1]} tokens"
    elif chat.end_of_turn_id(own) != chat.end_of_turn_id(other):
        reason = "their responses end with different tokens"
    elif any(chat.prompt_ids(own, p.conversation) != chat.prompt_ids(other, p.conversation) for p in prompts):
        reason = "their chat templates render a prompt differently"
    if reason is not None:
        raise ValueError(
            f"distillation of {verifier} into {generator}: {reason}, and distillation compares the probabilities of "
            "all tokens; use a verifier whose tokenizer and chat template are the generator's, or another trainer"
        )
