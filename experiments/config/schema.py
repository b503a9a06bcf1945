"""The schema of the configuration. Each field has a type, a help text, bounds, and the first stage that it changes.

Validation, identity and `run.py --help` derive from these declarations; the values are in `conf/`. A node with a
`_target_` (reward, judge, data.source) is a `Component`: its fields are the arguments of its target.
"""

import functools
import operator
from dataclasses import Field, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf
from omegaconf.resolvers import oc

from cme.grading import answers
from cme.models import chat, template_variables
from cme.runtime.secrets import SECRET_NAME

if TYPE_CHECKING:
    from cme.grading.answers import AnswerKind
    from cme.models.chat import StopRule
    from experiments.config.components import Component
else:
    AnswerKind = StopRule = str  # OmegaConf does not support Literal; `choices` checks the value
    Component = Any  # a mapping in OmegaConf; `experiments.config.runs.resolve` makes it a Component


REGIMES = ("pretrained", "sft", "instruct")
Stage = Literal["training", "responses", "evaluation"]
"""The stages of a run in their order; `evaluation` is judging, checkpoint selection and capabilities."""
COMPARISONS = {"at least": operator.ge, "above": operator.gt, "at most": operator.le, "below": operator.lt}


@dataclass(frozen=True)
class Setting:
    """The declaration of a field: its help text, its allowed values, and what it changes."""

    help: str
    changes_results: bool = True
    stage: Stage = "training"
    """The first stage that the field changes. Runs with equal fields of `training` share one training."""
    neutral_values: tuple[Any, ...] = ()
    """Values that are not part of a run's identity: what runs computed before the field existed."""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] | None = None

    @property
    def limits(self) -> dict[str, float]:
        """The bounds by the keys of COMPARISONS."""
        limits = (self.at_least, self.above, self.at_most, self.below)
        return {name: limit for name, limit in zip(COMPARISONS, limits, strict=True) if limit is not None}

    @property
    def bounds(self) -> str:
        """The bounds in words, such as `above 0 and at most 1`; empty without any."""
        return " and ".join(f"{name} {limit}" for name, limit in self.limits.items())

    def allows(self, value: Any) -> bool:
        """Whether a value, which may be null, is within the bounds."""
        return value is None or all(COMPARISONS[name](value, limit) for name, limit in self.limits.items())


def setting(default: Any = MISSING, **declared: Any) -> Any:
    """Declare a field of the configuration. `declared` are the fields of `Setting`.

    A field without a default gets its value in `conf/`.
    """
    metadata = {"setting": Setting(**declared)}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def declaration(one: "Field[Any]") -> Setting | None:
    """The declaration of a dataclass field; None for a group of fields, each of which has its own."""
    return one.metadata.get("setting")


@dataclass
class Family:
    """The generator's family and its checkpoints."""

    name: str = setting(help="name of the family", changes_results=False)
    ours: list[str] = setting(
        [], help="regimes at scale=paper that the paper did not train", changes_results=False
    )
    counterpart: str | None = setting(
        help="family whose bundled model verifies this one at scale=laptop", changes_results=False
    )
    checkpoints: dict[str, dict[str, str]] = setting(
        help="checkpoints by scale, then by regime", changes_results=False
    )
    grpo_paper: dict[str, Any] = setting(
        {}, help="settings of trainer=grpo at scale=paper by regime", changes_results=False
    )


@dataclass
class Verifier:
    """The frozen model whose likelihood of a response is the reward, or several of them."""

    name: str = setting(help="name of the verifier", changes_results=False)
    family: str = setting(help="its family", changes_results=False)
    checkpoints: dict[str, Any] = setting(help="its checkpoints by scale", changes_results=False)
    checkpoint: Any = setting(help="the checkpoint used, or a list of them")


@dataclass
class Data:
    """The prompts and their answers."""

    name: str = setting(help="name of the data set", stage="responses")
    path: str | None = setting(
        None, help="file of prompts, for data=file and instruction_following", changes_results=False
    )
    eval_path: str | None = setting(
        None, help="file of evaluation prompts, for the same data", changes_results=False
    )
    source: Component = setting(help="function that loads the prompts of a split")
    oracle: Component | None = setting(
        help="function that grades a response; null: its true quality is unknown"
    )
    blind_spots: Component | None = setting(
        None,
        help="function that names the facts about which a family has false beliefs",
        changes_results=False,
    )
    pairs: Component | None = setting(
        None, help="function that loads preference pairs for trainer=dpo", changes_results=False
    )
    answers: AnswerKind = setting(
        help="form of the answer in a response", choices=get_args(answers.AnswerKind)
    )
    train_split: str = setting(help="split of the training prompts")
    eval_split: str = setting(help="split of the evaluation prompts", stage="responses")
    train_prompts: int = setting(help="number of training prompts", above=0)
    eval_prompts: int = setting(help="number of evaluation prompts", above=0, stage="responses")
    seed: int = setting(help="seed of the sample of prompts", at_least=0)
    max_new_tokens: int = setting(
        2048, help="evaluation.max_new_tokens at scale=paper", above=0, changes_results=False
    )


@dataclass
class Lora:
    """Low-rank adapters (arXiv 2106.09685) instead of all weights, with the field names of peft.LoraConfig."""

    r: int = setting(help="rank", at_least=1)
    lora_alpha: int = setting(help="scale of the adapters", at_least=1)
    lora_dropout: float = setting(help="dropout in the adapters", at_least=0, below=1)
    target_modules: Any = setting(help="names of the adapted modules, or all-linear")


@dataclass
class Trainer:
    """Fields of all trainers."""

    UNUSED: ClassVar[tuple[str, ...]] = ()
    """Groups of the configuration that this trainer does not use; they are not part of its runs."""
    ALSO_TRAINING: ClassVar[tuple[str, ...]] = ()
    """Fields of later stages that change the training by this trainer too."""

    lora: Lora | None = None


@dataclass
class Optimization(Trainer):
    """How weights are updated, with the field names of transformers.TrainingArguments."""

    max_steps: int = setting(help="optimizer steps", above=0)
    per_device_train_batch_size: int = setting(
        help="batch size over all devices; each process takes its share", above=0
    )
    gradient_accumulation_steps: int = setting(help="batches per optimizer step", above=0)
    learning_rate: float = setting(help="highest learning rate", above=0)
    lr_scheduler_type: str = setting(
        help="learning rate schedule",
        choices=("linear", "cosine", "constant", "constant_with_warmup", "polynomial"),
    )
    warmup_steps: int = setting(help="warm-up steps of the learning rate", at_least=0)
    weight_decay: float = setting(help="weight decay", at_least=0)
    adam_beta1: float = setting(help="Adam's beta1", at_least=0, below=1)
    adam_beta2: float = setting(help="Adam's beta2", at_least=0, below=1)
    max_grad_norm: float = setting(
        help="gradient norm above which gradients are clipped; 0: never", at_least=0
    )
    optim: str = setting(help="optimizer", choices=("adamw_torch", "adamw_torch_fused", "adafactor", "sgd"))
    bf16: bool | None = setting(
        None,
        help="whether the policy computes in bfloat16, with float32 weights; null: on a GPU alone",
        neutral_values=(None,),
    )


@dataclass
class Sampling:
    """How a model is sampled."""

    temperature: float = setting(help="sampling temperature", at_least=0)
    max_new_tokens: int = setting(help="tokens per response at most", above=0)
    batch_size: int = setting(help="prompts per batch; changes the responses of a seed", above=0)


@dataclass
class Grpo(Optimization):
    """GRPO on the configured reward, with the field names of trl.GRPOConfig."""

    method: str = setting("grpo", help="name of the trainer")
    use_vllm: bool = setting(help="whether vLLM samples the completions")
    vllm_mode: str = setting(
        help="vLLM in this process (colocate) or behind a server",
        choices=("colocate", "server"),
        changes_results=False,
    )
    vllm_server_base_url: str | None = setting(help="URL of `trl vllm-serve`", changes_results=False)
    vllm_gpu_memory_utilization: float = setting(
        help="share of the GPU's memory for vLLM", above=0, below=1, changes_results=False
    )
    vllm_tensor_parallel_size: int = setting(
        help="devices over which vLLM splits the model", at_least=1, changes_results=False
    )
    steps_per_generation: int = setting(help="batches per sampling", above=0)
    num_generations: int = setting(help="completions per prompt, which form a group", at_least=2)
    num_iterations: int = setting(help="updates per sampled batch", at_least=1)
    max_completion_length: int = setting(help="tokens per completion at most", above=0)
    mask_truncated_completions: bool = setting(help="whether the loss excludes unfinished completions")
    temperature: float = setting(help="sampling temperature", above=0)
    top_p: float = setting(help="probability mass of nucleus sampling", above=0, at_most=1)
    top_k: int = setting(help="number of most likely tokens to sample from; 0: all", at_least=0)
    repetition_penalty: float = setting(help="penalty on repeated tokens in sampling; 1: none", above=0)
    beta: float = setting(help="weight of the KL penalty", at_least=0)
    use_bias_correction_kl: bool = setting(
        help="whether the probability ratio multiplies the KL penalty", neutral_values=(True,)
    )
    epsilon: float = setting(help="clipping range of the probability ratio", at_least=0)
    loss_type: str = setting(
        help="aggregation of token losses",
        choices=("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "vespo"),
    )
    scale_rewards: str = setting(
        help="set of rewards whose standard deviation divides the advantages",
        choices=("group", "batch", "none"),
    )
    importance_sampling_level: str = setting(
        help="whether probability ratios are per token or per sequence", choices=("token", "sequence")
    )
    shuffle_dataset: bool = setting(help="whether training prompts are shuffled")


MONITORED = ("evaluation.max_new_tokens",)
"""The length of the responses that DPO and SFT measure during training, which the history records."""


@dataclass
class Dpo(Optimization):
    """DPO on preference pairs, with the field names of trl.DPOConfig."""

    UNUSED: ClassVar[tuple[str, ...]] = ("reward", "guard")
    ALSO_TRAINING: ClassVar[tuple[str, ...]] = MONITORED

    method: str = setting("dpo", help="name of the trainer")
    pairs: Component | None = setting(help="function that loads preference pairs, that of the data")
    beta: float = setting(help="weight of the KL penalty", above=0)
    loss_type: str = setting(help="loss", choices=("sigmoid", "hinge", "ipo"))
    max_length: int = setting(help="tokens of prompt and response together at most", above=0)
    monitor_prompts: int = setting(help="prompts that the policy answers at each measurement", above=0)


@dataclass
class Sft(Optimization):
    """Supervised fine-tuning on the verifier's answers to the training prompts, in the terms of trl.SFTConfig."""

    UNUSED: ClassVar[tuple[str, ...]] = ("reward", "guard")
    ALSO_TRAINING: ClassVar[tuple[str, ...]] = MONITORED

    method: str = setting("sft", help="name of the trainer")
    sampling: Sampling = field(default_factory=Sampling)
    max_length: int = setting(help="tokens of prompt and response together at most", above=0)
    monitor_prompts: int = setting(help="prompts that the policy answers at each measurement", above=0)


@dataclass
class Distillation(Optimization):
    """On-policy distillation from the verifier, with the field names of trl.DistillationConfig."""

    UNUSED: ClassVar[tuple[str, ...]] = ("reward", "guard")

    method: str = setting("distillation", help="name of the trainer")
    beta: float = setting(
        help="divergence between policy and verifier; 1: reverse KL, 0: forward KL, between: Jensen-Shannon",
        at_least=0,
        at_most=1,
    )
    temperature: float = setting(help="temperature of the sampling and of the loss", above=0)
    max_completion_length: int = setting(help="tokens per completion at most", above=0)


@dataclass
class BestOfN(Trainer):
    """No training: the sample of the untrained model with the highest reward."""

    UNUSED: ClassVar[tuple[str, ...]] = ("guard", "monitor_every")

    method: str = setting("best_of_n", help="name of the trainer")
    num_generations: int = setting(help="samples per prompt", at_least=2)
    sampling: Sampling = field(default_factory=Sampling)


TRAINERS: dict[str, type[Trainer]] = {
    "grpo": Grpo,
    "dpo": Dpo,
    "sft": Sft,
    "distillation": Distillation,
    "best_of_n": BestOfN,
}
"""The schema of each option of the group `trainer`, by its `method`."""


@dataclass
class Guard:
    """Conditions that stop training early."""

    patience: int = setting(help="consecutive steps with a reason to stop, at least", above=0)
    patience_groups: int = setting(
        help="groups of completions in these steps, at least", above=0, neutral_values=(80,)
    )
    max_unscored: float = setting(help="highest share of completions without a reward", above=0, at_most=1)


@dataclass
class Evaluation:
    """Comparison of greedy responses to the evaluation prompts with those of the untrained model."""

    max_new_tokens: int = setting(help="tokens per response at most", above=0, stage="responses")
    batch_size: int = setting(help="prompts per batch", above=0, changes_results=False)
    both_orders: bool = setting(help="whether each pair is judged in both orders", stage="evaluation")
    stop: StopRule = setting(
        "both",
        help="tokens that end an evaluated response: those of the checkpoint's own generation config, its template's "
        "end of turn, or both",
        choices=get_args(chat.StopRule),
        neutral_values=("both",),
        stage="responses",
    )
    cut_start: bool = setting(
        True,
        help="whether policy and untrained model are compared with the untrained model's own responses, cut short; "
        "two further pairs to judge for each prompt",
        changes_results=False,
    )
    comparators: dict[str, str] = setting(
        {},
        help="further models, by name, with which policy and untrained model are compared",
        changes_results=False,
    )


@dataclass
class Selection:
    """Selection of the saved checkpoint with the highest win rate on prompts that the evaluation does not use."""

    every: int | None = setting(help="steps between saved checkpoints; null: no selection", above=0)
    split: str = setting(help="split of the selection prompts", stage="evaluation")
    prompts: int = setting(help="number of selection prompts", above=0, stage="evaluation")
    judge: Component = setting(help="judge of the selection", stage="evaluation")
    max_checkpoints: int | None = setting(
        help="saved checkpoints at most, a run with more is refused; null: any number",
        at_least=1,
        changes_results=False,
    )
    keep: bool = setting(help="whether saved checkpoints stay on disk after selection", changes_results=False)


@dataclass
class Capabilities:
    """Tasks of lm-eval before and after training."""

    tasks: list[str] = setting([], help="names of the tasks; empty: none is run", stage="evaluation")
    chat_template: bool = setting(
        False, help="whether each item is rendered as a user turn", stage="evaluation"
    )
    limit: int | None = setting(None, help="items per task; null: all", at_least=1, stage="evaluation")
    batch_size: int = setting(64, help="items per batch", above=0, changes_results=False)


@dataclass
class Checkpoint:
    """Checkpoints from which an interrupted training resumes."""

    every: int = setting(help="steps between checkpoints", above=0, changes_results=False)


@dataclass
class Scoring:
    """Limits for the verifier and the held-out verifier."""

    max_prompt_tokens: int = setting(help="tokens per prompt at most", above=0)
    max_response_tokens: int = setting(help="tokens per response at most", above=0)
    dtype: str = setting(help="data type of the weights", choices=("float32", "bfloat16", "float16"))
    batch_tokens: int = setting(help="tokens per batch at most", above=0, changes_results=False)


@dataclass
class ChatTemplate:
    """Values for variables of chat templates (`cme.models.template_variables`)."""

    generator: dict[str, Any] = setting(
        template_variables.DEFAULTS,
        help="variables of generator and comparators: date, enable_thinking, close_thought; others with +",
        neutral_values=(template_variables.DEFAULTS,),
    )
    verifier: dict[str, Any] = setting(
        template_variables.DEFAULTS,
        help="variables of the verifier and the held-out verifier, likewise",
        neutral_values=(template_variables.DEFAULTS,),
    )


@dataclass
class Scale:
    """Model sizes and data sources."""

    name: str = setting(help="miniature, laptop or paper")
    build: int = setting(
        1,
        help="which of the two builds of the miniature checkpoints; they differ in initial weights and data order",
        at_least=1,
        at_most=2,
        changes_results=False,
    )
    heldout: dict[str, str] = setting(
        help="held-out verifiers by family; the first that is neither the generator's nor the verifier's is used"
    )
    reference: str = setting(help="fixed reference model of comparators=paper", changes_results=False)


@dataclass
class Preset:
    """The settings that a reward trains with."""

    name: str = setting(
        help="matched: those of its scale and model; paper: those of its publication; others: those of one study of "
        "the author",
        changes_results=False,
    )


@dataclass
class Experiment:
    """A named experiment and its grids."""

    name: str | None = setting(None, help="name of the experiment", changes_results=False)
    independent_verifier: bool = setting(
        True, help="whether a warning follows if verifier and generator are equal", changes_results=False
    )
    run: str = setting(
        "experiments.run.pipeline.run", help="function that runs one cell", changes_results=False
    )
    sweep: dict[str, Any] = setting({}, help="grids by scale", changes_results=False)
    needs_answers: bool = setting(False, help="whether it needs data with answers", changes_results=False)


@dataclass
class Config:
    """One run."""

    family: Family = field(default_factory=Family)
    verifier: Verifier = field(default_factory=Verifier)
    reward: Component = setting(help="reward that the policy is trained on")
    data: Data = field(default_factory=Data)
    judge: Component = setting(
        help="judge that compares the policy's responses with the untrained model's", stage="evaluation"
    )
    trainer: Any = MISSING  # one of TRAINERS
    guard: Guard = field(default_factory=Guard)
    evaluation: Evaluation = field(default_factory=Evaluation)
    selection: Selection = field(default_factory=Selection)
    capabilities: Capabilities = field(default_factory=Capabilities)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    scoring: Scoring = field(default_factory=Scoring)
    chat_template: ChatTemplate = field(default_factory=ChatTemplate)
    scale: Scale = field(default_factory=Scale)
    preset: Preset = field(default_factory=Preset)
    tracker: str = setting(
        help="where training metrics are shown",
        choices=("none", "tensorboard", "mlflow", "wandb", "trackio"),
        changes_results=False,
    )
    experiment: Experiment = field(default_factory=Experiment)
    regime: str = setting(help="how the generator was trained before", choices=REGIMES, changes_results=False)
    generator: str = setting(help="checkpoint of the untrained model")
    monitor_every: int = setting(
        help="steps between measurements of KL and of the held-out verifier", above=0
    )
    seed: int = setting(help="seed of the run", at_least=0, below=2**32)  # numpy's limit
    plan: bool = setting(help="print an estimate of the cost and run nothing", changes_results=False)
    fail_fast: bool = setting(help="stop a sweep at the first run that fails", changes_results=False)
    results_dir: str = setting(help="folder of the results", changes_results=False)
    trusted_packages: list[str] = setting(
        [], help="packages other than cme whose callables a _target_ may name", changes_results=False
    )


SWITCHES = {"selection": "every", "capabilities": "tasks"}
"""Groups that are off, and not part of a run, unless their field named here is set."""


@functools.cache
def register() -> None:
    """Store the schema in Hydra's ConfigStore as `schema`, and those of the trainers as `trainer/schema/METHOD`.

    Also adds the interpolation `${max:A,B}`, the larger of two numbers, and refuses secrets in `${oc.env:NAME}`.
    """
    OmegaConf.register_new_resolver("max", max)
    OmegaConf.register_new_resolver("oc.env", _environment_variable, replace=True)
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for method, node in TRAINERS.items():
        store.store(group="trainer/schema", name=method, node=node)


def _environment_variable(name: str, *default: Any) -> Any:
    """The value of an environment variable. Raises ValueError for a secret: records keep the resolved configuration."""
    if SECRET_NAME.search(name):
        raise ValueError(
            f"{name} is a secret by its name, and a record would show it; name it in api_key_variable where a key is "
            "needed"
        )
    return oc.env(name, *default)
