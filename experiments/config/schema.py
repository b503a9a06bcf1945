"""The schema of the configuration: every field once, with its type, help text, bounds and part in a run's identity.

Validation, identity and `run.py --help` derive from these declarations; the values are in `conf/`. A node with a
`_target_` (reward, judge, data.source) is a `Component`: its fields are the arguments of its target.
"""

import functools
from dataclasses import Field, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from cme.grading import answers

if TYPE_CHECKING:
    from cme.grading.answers import AnswerKind
    from experiments.config.components import Component
else:
    AnswerKind = str  # OmegaConf knows no Literal; `choices` checks it
    Component = Any  # OmegaConf holds a mapping here; `experiments.config.runs.resolve` makes the component


@dataclass(frozen=True)
class Setting:
    """What is known of a field beside its type: `help`, its values, and whether another value gives other results."""

    help: str
    changes_results: bool = True
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] | None = None

    @property
    def bounds(self) -> str:
        """The bounds in words, such as `above 0 and at most 1`; empty without any."""
        named = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        return " and ".join(f"{name} {bound}" for name, bound in named.items() if bound is not None)

    def complaint(self, value: Any) -> str | None:
        """Why a value is refused, as in `it must be above 0`; None for an allowed one. Null is always allowed."""
        if value is None:
            return None
        kept = (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )
        return None if kept else f"it must be {self.bounds}"


def setting(
    default: Any = MISSING,
    *,
    help: str,
    changes_results: bool = True,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """Declare a field of the configuration. A field without a default gets its value in `conf/`."""
    declared = Setting(help, changes_results, at_least, above, at_most, below, choices)
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata={"setting": declared})
    return field(default=default, metadata={"setting": declared})


def declaration(of: "Field[Any]") -> Setting | None:
    """The declaration of a dataclass field; None for a group of fields, whose own fields have one each."""
    return of.metadata.get("setting")


@dataclass
class Family:
    """The generator's family and its checkpoints."""

    name: str = setting(help="name of the family", changes_results=False)
    ours: list[str] = setting(
        [], help="regimes at scale=paper that the paper did not run", changes_results=False
    )
    counterpart: str | None = setting(
        help="family whose bundled model verifies this one at scale=laptop", changes_results=False
    )
    checkpoints: dict[str, dict[str, str]] = setting(
        help="checkpoints by scale, then by regime; a missing one does not exist", changes_results=False
    )


@dataclass
class Regime:
    """How the generator was trained before."""

    name: str = setting(help="pretrained, sft or instruct", changes_results=False)


@dataclass
class Verifier:
    """The frozen model whose likelihood of a response is the reward, or several of them."""

    name: str = setting(help="name of the verifier", changes_results=False)
    family: str = setting(help="its family", changes_results=False)
    checkpoints: dict[str, Any] = setting(help="its checkpoints by scale", changes_results=False)
    checkpoint: Any = setting(help="the checkpoint used, or a list of them")


@dataclass
class Data:
    """The prompts, and what is known of their answers."""

    name: str = setting(help="name of the data set")
    source: Component = setting(help="function that loads the prompts of a split")
    oracle: Component | None = setting(
        help="function that knows the true quality of a response; null: nobody does"
    )
    answers: AnswerKind = setting(
        help="what the answer in a response is", choices=get_args(answers.AnswerKind)
    )
    train_split: str = setting(help="split of the training prompts")
    eval_split: str = setting(help="split of the evaluation prompts")
    train_prompts: int = setting(help="number of training prompts", above=0)
    eval_prompts: int = setting(help="number of evaluation prompts", above=0)
    seed: int = setting(help="seed of the draw of prompts")


@dataclass
class Lora:
    """Low-rank adapters in place of all weights (arXiv 2106.09685), by the names of peft.LoraConfig."""

    r: int = setting(help="rank", at_least=1)
    lora_alpha: int = setting(help="scale of the adapters", at_least=1)
    lora_dropout: float = setting(help="dropout in the adapters", at_least=0, below=1)
    target_modules: Any = setting(help="names of the adapted modules, or all-linear")


@dataclass
class Trainer:
    """What all trainers have: adapters, where the trainer trains any."""

    UNUSED: ClassVar[tuple[str, ...]] = ()
    """Groups of the configuration that this trainer does not use; they are no part of its runs."""

    lora: Lora | None = None


@dataclass
class Optimization(Trainer):
    """How weights are updated, by the names of transformers.TrainingArguments."""

    max_steps: int = setting(help="optimizer steps", above=0)
    per_device_train_batch_size: int = setting(
        help="batch of all devices together; each process takes its share", above=0
    )
    gradient_accumulation_steps: int = setting(help="batches per optimizer step", above=0)
    learning_rate: float = setting(help="highest learning rate", above=0)
    lr_scheduler_type: str = setting(
        help="schedule of the learning rate",
        choices=("linear", "cosine", "constant", "constant_with_warmup", "polynomial"),
    )
    warmup_steps: int = setting(help="steps in which the learning rate rises", at_least=0)
    weight_decay: float = setting(help="weight decay", at_least=0)
    adam_beta1: float = setting(help="decay of Adam's first moment")
    adam_beta2: float = setting(help="decay of Adam's second moment")
    max_grad_norm: float = setting(help="norm at which gradients are clipped")
    optim: str = setting(help="optimizer", choices=("adamw_torch", "adamw_torch_fused", "adafactor", "sgd"))


@dataclass
class Sampling:
    """How a model is sampled."""

    temperature: float = setting(help="sampling temperature", at_least=0)
    max_new_tokens: int = setting(help="tokens per response at most", above=0)
    batch_size: int = setting(help="prompts per batch; it decides which responses a seed gives", above=0)


@dataclass
class Grpo(Optimization):
    """GRPO on the configured reward, by the names of trl.GRPOConfig."""

    method: str = setting("grpo", help="name of the trainer")
    use_vllm: bool = setting(help="whether vLLM samples the completions")
    vllm_mode: str = setting(
        help="vLLM in this process (colocate) or behind a server",
        choices=("colocate", "server"),
        changes_results=False,
    )
    vllm_server_base_url: str | None = setting(help="URL of `trl vllm-serve`", changes_results=False)
    vllm_gpu_memory_utilization: float = setting(
        help="vLLM's share of the GPU's memory", above=0, below=1, changes_results=False
    )
    vllm_tensor_parallel_size: int = setting(
        help="devices that vLLM splits the model over", at_least=1, changes_results=False
    )
    steps_per_generation: int = setting(help="batches sampled at once", above=0)
    num_generations: int = setting(help="completions per prompt, which are a group", at_least=2)
    num_iterations: int = setting(help="updates per sampled batch")
    max_completion_length: int = setting(help="tokens per completion at most", above=0)
    mask_truncated_completions: bool = setting(
        help="whether completions that did not end are left out of the loss"
    )
    temperature: float = setting(help="sampling temperature", above=0)
    top_p: float = setting(help="probability mass that is sampled from", above=0, at_most=1)
    top_k: int = setting(help="tokens that are sampled from; 0: all", at_least=0)
    repetition_penalty: float = setting(help="penalty on repeated tokens while sampling")
    beta: float = setting(help="weight of the KL penalty", at_least=0)
    epsilon: float = setting(help="clipping range of the probability ratio", at_least=0)
    loss_type: str = setting(
        help="how token losses are joined",
        choices=("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "vespo"),
    )
    scale_rewards: str = setting(
        help="whose standard deviation divides the advantages", choices=("group", "batch", "none")
    )
    importance_sampling_level: str = setting(
        help="whether probability ratios are of tokens or of sequences", choices=("token", "sequence")
    )
    shuffle_dataset: bool = setting(help="whether training prompts are shuffled")


@dataclass
class Dpo(Optimization):
    """DPO on preference pairs, by the names of trl.DPOConfig."""

    UNUSED: ClassVar[tuple[str, ...]] = ("reward", "guard")

    method: str = setting("dpo", help="name of the trainer")
    pairs: Component | None = setting(help="function that loads preference pairs; null: the data have none")
    beta: float = setting(help="weight of the KL penalty", above=0)
    loss_type: str = setting(help="loss", choices=("sigmoid", "hinge", "ipo"))
    max_length: int = setting(help="tokens of prompt and response together at most", above=0)
    monitor_prompts: int = setting(help="prompts that the policy answers at each measurement", above=0)


@dataclass
class Sft(Optimization):
    """Supervised fine-tuning on the verifier's answers to the training prompts, by the names of trl.SFTConfig."""

    UNUSED: ClassVar[tuple[str, ...]] = ("reward", "guard")

    method: str = setting("sft", help="name of the trainer")
    sampling: Sampling = field(default_factory=Sampling)
    max_length: int = setting(help="tokens of prompt and response together at most", above=0)
    monitor_prompts: int = setting(help="prompts that the policy answers at each measurement", above=0)


@dataclass
class BestOfN(Trainer):
    """No training: of several samples of the untrained model, the one with the highest reward."""

    UNUSED: ClassVar[tuple[str, ...]] = ("guard", "monitor_every")

    method: str = setting("best_of_n", help="name of the trainer")
    num_generations: int = setting(help="samples per prompt", at_least=2)
    sampling: Sampling = field(default_factory=Sampling)


TRAINERS: dict[str, type[Trainer]] = {"grpo": Grpo, "dpo": Dpo, "sft": Sft, "best_of_n": BestOfN}
"""The schema of each option of the group `trainer`, by its `method`."""


@dataclass
class Guard:
    """When training stops early."""

    patience: int = setting(help="bad steps in a row", above=0)
    max_unscored: float = setting(help="highest share of completions without a reward", above=0, at_most=1)


@dataclass
class Evaluation:
    """Greedy responses to the evaluation prompts, judged against those of the untrained model."""

    max_new_tokens: int = setting(help="tokens per response at most", above=0)
    batch_size: int = setting(help="prompts per batch", above=0, changes_results=False)
    both_orders: bool = setting(help="whether each pair is judged in both orders")
    comparators: dict[str, str] = setting(
        {},
        help="further models, by name, that policy and untrained model are compared with",
        changes_results=False,
    )


@dataclass
class Selection:
    """The best saved checkpoint by its win rate on prompts that the evaluation does not use."""

    every: int | None = setting(help="steps between saved checkpoints; null: no selection")
    split: str = setting(help="split of the selection prompts")
    prompts: int = setting(help="number of selection prompts", above=0)
    judge: Component = setting(help="judge of the selection")
    keep: bool = setting(help="whether saved checkpoints stay after selection", changes_results=False)


@dataclass
class Capabilities:
    """Tasks of lm-eval before and after training."""

    tasks: list[str] = setting(help="names of the tasks; none: nothing is measured")
    chat_template: bool = setting(help="whether each item is put as a user's turn")
    limit: int | None = setting(help="items per task; null: all", at_least=1)
    batch_size: int = setting(help="items per batch", above=0, changes_results=False)


@dataclass
class Checkpoint:
    """Checkpoints from which an interrupted training goes on."""

    every: int = setting(help="steps between them", above=0, changes_results=False)


@dataclass
class Scoring:
    """Limits of the passes of the verifier and of the held-out verifier."""

    max_prompt_tokens: int = setting(help="tokens per prompt at most", above=0)
    max_response_tokens: int = setting(help="tokens per response at most", above=0)
    dtype: str = setting(help="type of the weights", choices=("float32", "bfloat16", "float16"))
    batch_tokens: int = setting(help="tokens per batch at most", above=0, changes_results=False)


@dataclass
class Scale:
    """Sizes and sources."""

    name: str = setting(help="miniature, laptop or paper")
    heldout: dict[str, str] = setting(
        help="held-out verifiers by family; the first of a third family is used"
    )
    reference: str = setting(help="fixed model of comparators=paper", changes_results=False)


@dataclass
class Preset:
    """Whose settings a reward trains under."""

    name: str = setting(
        help="matched: those of its scale and cell; paper: those of its own source", changes_results=False
    )


@dataclass
class Experiment:
    """A named experiment and its sweeps."""

    name: str | None = setting(None, help="name of the experiment", changes_results=False)
    independent_verifier: bool = setting(
        True, help="whether it claims that verifier and generator differ", changes_results=False
    )
    run: str = setting(
        "experiments.run.pipeline.run", help="function that runs one of its cells", changes_results=False
    )
    sweep: dict[str, Any] = setting({}, help="its grids by scale", changes_results=False)
    needs_answers: bool = setting(
        False, help="whether it tells right answers from wrong ones", changes_results=False
    )


@dataclass
class Config:
    """One run."""

    family: Family = field(default_factory=Family)
    regime: Regime = field(default_factory=Regime)
    verifier: Verifier = field(default_factory=Verifier)
    reward: Component = setting(help="what the policy is trained on")
    data: Data = field(default_factory=Data)
    judge: Component = setting(help="who compares the policy's responses with the untrained model's")
    trainer: Any = MISSING  # one of TRAINERS
    guard: Guard = field(default_factory=Guard)
    evaluation: Evaluation = field(default_factory=Evaluation)
    selection: Selection = field(default_factory=Selection)
    capabilities: Capabilities = field(default_factory=Capabilities)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    scoring: Scoring = field(default_factory=Scoring)
    scale: Scale = field(default_factory=Scale)
    preset: Preset = field(default_factory=Preset)
    tracker: str = setting(
        help="where the figures of a training are shown",
        choices=("none", "tensorboard", "mlflow", "wandb", "trackio"),
        changes_results=False,
    )
    experiment: Experiment = field(default_factory=Experiment)
    generator: str = setting(help="checkpoint of the untrained model")
    monitor_every: int = setting(
        help="steps between measurements of KL and of the held-out verifier", above=0
    )
    seed: int = setting(help="seed of the run")
    plan: bool = setting(help="print what the cells would take and run nothing", changes_results=False)
    fail_fast: bool = setting(help="stop a sweep at the first cell that fails", changes_results=False)
    results_dir: str = setting(help="folder of the results", changes_results=False)
    trusted_packages: list[str] = setting(
        [], help="packages beside cme whose callables a _target_ may name", changes_results=False
    )


SWITCHES = {"selection": "every", "capabilities": "tasks"}
"""Groups that are off, and no part of a run, unless this field of theirs is set."""


@functools.cache
def register() -> None:
    """Put the schema into Hydra's ConfigStore under the name that `conf/config.yaml` builds on.

    That of a trainer goes under `trainer/schema`, by its method.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for method, node in TRAINERS.items():
        store.store(group="trainer/schema", name=method, node=node)
