"""The configuration's schema: every field, its type and what it means. Values live in `conf/`.

Fields of groups with a `_target_` (reward, judge, data.source) are the target's own arguments and are bound
to its signature by `experiments.config.validation`.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class Family:
    """A generator family; `checkpoints` by scale, then regime. What is not listed does not exist.

    `counterpart` is the family whose bundled model verifies this one at scale=laptop. `ours` lists the regimes that the
    paper did not run.
    """

    name: str = MISSING
    ours: list[str] = field(default_factory=list)
    counterpart: str | None = MISSING
    checkpoints: dict[str, dict[str, str]] = MISSING


@dataclass
class Regime:
    """How the generator was trained before: pretrained, sft or instruct."""

    name: str = MISSING


@dataclass
class Verifier:
    """The frozen model whose likelihood is the reward, or several of them; `checkpoints` by scale."""

    name: str = MISSING
    family: str = MISSING
    checkpoints: dict[str, Any] = MISSING
    checkpoint: Any = MISSING  # a name or a list of names


@dataclass
class Data:
    """Prompts. `source` yields them, `oracle` knows their truth (or null), `answers` what answers are."""

    name: str = MISSING
    source: dict[str, Any] = MISSING
    oracle: dict[str, Any] | None = MISSING
    answers: str = MISSING
    train_split: str = MISSING
    eval_split: str = MISSING
    train_prompts: int = MISSING
    eval_prompts: int = MISSING
    seed: int = MISSING


@dataclass
class Lora:
    """Low-rank adapters in place of all weights, by the names of peft.LoraConfig.

    `target_modules` is a list of module names, or `all-linear`.
    """

    r: int = MISSING
    lora_alpha: int = MISSING
    lora_dropout: float = MISSING
    target_modules: Any = MISSING


@dataclass
class Optimization:
    """How weights are updated, by TRL's own names, which are those of transformers.TrainingArguments.

    `per_device_train_batch_size` is the batch of all devices together: each process takes its share. `lora` is null
    where all weights are trained.
    """

    lora: Lora | None = None
    max_steps: int = MISSING
    per_device_train_batch_size: int = MISSING
    gradient_accumulation_steps: int = MISSING
    learning_rate: float = MISSING
    lr_scheduler_type: str = MISSING
    warmup_steps: int = MISSING
    weight_decay: float = MISSING
    adam_beta1: float = MISSING
    adam_beta2: float = MISSING
    max_grad_norm: float = MISSING
    optim: str = MISSING


@dataclass
class Sampling:
    """How a model answers when it is sampled. `batch_size` decides which responses a seed gives."""

    temperature: float = MISSING
    max_new_tokens: int = MISSING
    batch_size: int = MISSING


@dataclass
class Grpo(Optimization):
    """GRPO on the configured reward; see trl.GRPOConfig. With `use_vllm` vLLM samples, in TRL's way."""

    method: str = "grpo"
    use_vllm: bool = MISSING
    vllm_mode: str = MISSING
    vllm_server_base_url: str | None = MISSING
    vllm_gpu_memory_utilization: float = MISSING
    vllm_tensor_parallel_size: int = MISSING
    steps_per_generation: int = MISSING
    num_generations: int = MISSING
    num_iterations: int = MISSING
    max_completion_length: int = MISSING
    mask_truncated_completions: bool = MISSING
    temperature: float = MISSING
    top_p: float = MISSING
    top_k: int = MISSING
    repetition_penalty: float = MISSING
    beta: float = MISSING
    epsilon: float = MISSING
    loss_type: str = MISSING
    scale_rewards: str = MISSING
    importance_sampling_level: str = MISSING
    shuffle_dataset: bool = MISSING


@dataclass
class Dpo(Optimization):
    """DPO on preference pairs; see trl.DPOConfig. `pairs` yields them, null where the data have none.

    `monitor_prompts` are answered by the policy at each measurement of the monitors.
    """

    method: str = "dpo"
    pairs: dict[str, Any] | None = MISSING
    beta: float = MISSING
    loss_type: str = MISSING
    max_length: int = MISSING
    monitor_prompts: int = MISSING


@dataclass
class Sft(Optimization):
    """Supervised fine-tuning on what the verifier answers to the training prompts; see trl.SFTConfig.

    `sampling` is the verifier's, `monitor_prompts` are answered by the policy at each measurement of the monitors.
    """

    method: str = "sft"
    sampling: Sampling = field(default_factory=Sampling)
    max_length: int = MISSING
    monitor_prompts: int = MISSING


@dataclass
class BestOfN:
    """No training: of `num_generations` samples of the start, the one that the reward puts highest."""

    method: str = "best_of_n"
    lora: Lora | None = None  # there is nothing to train, which is said where it is set
    num_generations: int = MISSING
    sampling: Sampling = field(default_factory=Sampling)


TRAINERS = {"grpo": Grpo, "dpo": Dpo, "sft": Sft, "best_of_n": BestOfN}
"""The schema of each option of the group `trainer`, by its `method`."""


@dataclass
class Guard:
    """When training ends early: see cme.training.collapse.CollapseGuard."""

    patience: int = MISSING
    max_unscored: float = MISSING


@dataclass
class Evaluation:
    """Greedy responses to the evaluation prompts, judged against the untrained start's.

    `comparators` are further models by name, each a checkpoint that the policy and the start meet too.
    """

    max_new_tokens: int = MISSING
    batch_size: int = MISSING
    both_orders: bool = MISSING
    comparators: dict[str, str] = field(default_factory=dict)


@dataclass
class Selection:
    """Which checkpoint is the best: the win rate against the start on prompts that evaluation never sees.

    Off where `every`, the steps between saved checkpoints, is null. `prompts` of `split` are used; where that is
    the evaluation's own split, they are drawn from what the evaluation leaves. `keep` keeps the saved checkpoints.
    """

    every: int | None = MISSING
    split: str = MISSING
    prompts: int = MISSING
    judge: dict[str, Any] = MISSING
    keep: bool = MISSING


@dataclass
class Capabilities:
    """lm-eval's tasks, before and after training; off without tasks. `limit` takes the first items of each alone.

    `chat_template` puts each item to the model as a user's turn, otherwise it is plain text to continue.
    """

    tasks: list[str] = MISSING
    chat_template: bool = MISSING
    limit: int | None = MISSING
    batch_size: int = MISSING


@dataclass
class Checkpoint:
    """What a training that is killed goes on from; `every` is in steps. A signal has a checkpoint saved at any step."""

    every: int = MISSING


@dataclass
class Scoring:
    """Limits of the verifier's pass, for the reward and the held-out verifier alike; tokens."""

    max_prompt_tokens: int = MISSING
    max_response_tokens: int = MISSING
    dtype: str = MISSING
    batch_tokens: int = MISSING


@dataclass
class Scale:
    """Sizes and sources. `heldout` lists held-out verifiers by family, the first of a third family is used.

    `reference` is the fixed model that comparators=paper has beside the family's instruct model.
    """

    name: str = MISSING
    heldout: dict[str, str] = MISSING
    reference: str = MISSING


@dataclass
class Preset:
    """Under whose settings a reward trains: `matched`, those of its scale and cell, or `paper`, its own source's."""

    name: str = MISSING


@dataclass
class Tracker:
    """Where a training's figures are shown beside the record: see cme.training.tracking."""

    name: str = MISSING


@dataclass
class Experiment:
    """A named experiment; `independent_verifier` says that it claims verifier and generator to differ.

    `run` is the dotted path of what runs a cell of it. `sweep` is its grids by scale: see
    `experiments.config.experiment_grids`.
    `needs_answers` says that it tells right answers from wrong.
    """

    name: str | None = None
    independent_verifier: bool = True
    run: str = "experiments.run.pipeline.run"
    sweep: dict[str, Any] = field(default_factory=dict)
    needs_answers: bool = False


@dataclass
class Config:
    """One run."""

    family: Family = field(default_factory=Family)
    regime: Regime = field(default_factory=Regime)
    verifier: Verifier = field(default_factory=Verifier)
    reward: dict[str, Any] = MISSING
    data: Data = field(default_factory=Data)
    judge: dict[str, Any] = MISSING
    trainer: Any = MISSING  # one of TRAINERS
    guard: Guard = field(default_factory=Guard)
    evaluation: Evaluation = field(default_factory=Evaluation)
    selection: Selection = field(default_factory=Selection)
    capabilities: Capabilities = field(default_factory=Capabilities)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    scoring: Scoring = field(default_factory=Scoring)
    scale: Scale = field(default_factory=Scale)
    preset: Preset = field(default_factory=Preset)
    tracker: Tracker = field(default_factory=Tracker)
    experiment: Experiment = field(default_factory=Experiment)
    generator: str = MISSING
    monitor_every: int = MISSING
    seed: int = MISSING
    plan: bool = MISSING
    fail_fast: bool = MISSING
    results_dir: str = MISSING


def register() -> None:
    """Put the schema into Hydra's ConfigStore under the name that `conf/config.yaml` builds on.

    That of a trainer goes under `trainer/schema`, by its method.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for method, node in TRAINERS.items():
        store.store(group="trainer/schema", name=method, node=node)
