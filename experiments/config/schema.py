"""The schema of the configuration: each field with its type, default, help, bounds, and the first stage it changes.

Validation, identity and `run.py --help` derive from these declarations. Values that differ between the options of a
group are in `conf/`. A node with a `_target_` (reward, judge, data.source) is a `Component`: its fields are the
arguments of its target.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from omegaconf import MISSING

from cme.grading import answers
from cme.models import chat, template_variables
from experiments.config.settings import MOST_TOKENS, Component, neutral, setting

if TYPE_CHECKING:
    from cme.grading.answers import AnswerKind
    from cme.models.chat import StopRule
else:
    AnswerKind = StopRule = str  # OmegaConf does not support Literal; `choices` checks the value


REGIMES = ("pretrained", "sft", "instruct")


@dataclass
class Family:
    """The generator's family and its checkpoints."""

    name: str = neutral(help="name of the family")
    ours: list[str] = neutral(
        [], help="regimes that the paper did not train, though scale=paper has them here"
    )
    counterpart: str | None = neutral(
        None, help="family whose bundled model verifies this one with verifier=counterpart"
    )
    checkpoints: dict[str, dict[str, str]] = neutral(help="checkpoints by scale, then by regime")
    grpo_laptop: dict[str, Any] = neutral({}, help="settings of trainer=grpo at scale=laptop by regime")
    grpo_paper: dict[str, Any] = neutral({}, help="settings of trainer=grpo at scale=paper by regime")


@dataclass
class Verifier:
    """The frozen model whose likelihood of a response is the reward, or several of them."""

    name: str = neutral(help="name of the verifier")
    family: str = neutral(help="family of the verifier, such as gemma")
    checkpoints: dict[str, Any] = neutral(help="its checkpoints by scale")
    checkpoint: Any = setting(
        "${verifier.checkpoints.${scale.name}}", help="the checkpoint used, or a list of them"
    )


@dataclass
class Data:
    """The prompts and their answers."""

    name: str = setting(help="name of the data set", stage="responses")
    path: str | None = neutral(None, help="file of prompts, for data=file and instruction_following")
    eval_path: str | None = neutral(None, help="file of evaluation prompts, for the same data")
    source: Component = setting(help="function that loads the prompts of a split")
    oracle: Component | None = setting(
        None, help="function that grades a response; null: its true quality is unknown"
    )
    blind_spots: Component | None = neutral(
        None, help="function that names the facts about which a family has false beliefs"
    )
    pairs: Component | None = neutral(None, help="function that loads preference pairs for trainer=dpo")
    answers: AnswerKind = setting(
        "none", help="form of the answer in a response", choices=get_args(answers.AnswerKind)
    )
    train_split: str = setting("train", help="split of the training prompts")
    eval_split: str = setting("eval", help="split of the evaluation prompts", stage="responses")
    train_prompts: int = setting(help="number of training prompts", above=0)
    eval_prompts: int = setting(help="number of evaluation prompts", above=0, stage="responses")
    seed: int = setting(0, help="seed of the sample of prompts", at_least=0)
    max_new_tokens: int = neutral(
        2048, help="evaluation.max_new_tokens at scale=paper", above=0, at_most=MOST_TOKENS
    )


@dataclass
class Guard:
    """Conditions that stop training early."""

    patience: int = setting(10, help="consecutive steps with a reason to stop, at least", above=0)
    patience_groups: int = setting(
        80, help="groups of completions in these steps, at least", above=0, added_later=True
    )
    max_unscored: float = setting(
        0.5, help="highest share of completions without a reward", above=0, at_most=1
    )


@dataclass
class Evaluation:
    """Comparison of greedy responses to the evaluation prompts with those of the untrained model."""

    max_new_tokens: int = setting(
        help="tokens per response at most", above=0, at_most=MOST_TOKENS, stage="responses"
    )
    batch_size: int = neutral(help="prompts per batch", above=0)
    both_orders: bool = setting(True, help="whether each pair is judged in both orders", stage="evaluation")
    stop: StopRule = setting(
        "both",
        help="tokens that end an evaluated response: those of the checkpoint's own generation config, its template's "
        "end of turn, or both",
        choices=get_args(chat.StopRule),
        added_later=True,
        stage="responses",
    )
    cut_start: bool = neutral(
        True,
        help="whether policy and untrained model are compared with the untrained model's own responses, cut short; "
        "two further pairs to judge for each prompt",
    )
    verifier_responses: bool = neutral(
        True,
        help="whether the frozen verifier answers the evaluation prompts itself, for the similarity to its responses "
        "and its own quality in the tables",
    )
    comparators: dict[str, str] = neutral(
        {}, help="further models, by name, with which policy and untrained model are compared"
    )


@dataclass
class Selection:
    """Selection of the saved checkpoint with the highest win rate on prompts that the evaluation does not use."""

    every: int | None = setting(None, help="steps between saved checkpoints; null: no selection", above=0)
    split: str = setting(help="split of the selection prompts", stage="evaluation")
    prompts: int = setting(help="number of selection prompts", above=0, stage="evaluation")
    judge: Component = setting(help="judge of the selection", stage="evaluation")
    max_checkpoints: int | None = neutral(
        None, help="saved checkpoints at most, a run with more is refused; null: any number", at_least=1
    )
    keep: bool = neutral(False, help="whether saved checkpoints stay on disk after selection")

    def count_saved(self, trainer: Any) -> int:
        """Number of checkpoints that training saves; the final policy is not among them."""
        return 0 if self.every is None else len(range(self.every, trainer.max_steps, self.every))


@dataclass
class Capabilities:
    """Tasks of lm-eval before and after training."""

    tasks: list[str] = setting([], help="names of the tasks; empty: none is run", stage="evaluation")
    chat_template: bool = setting(
        False, help="whether each item is rendered as a user turn", stage="evaluation"
    )
    limit: int | None = setting(None, help="items per task; null: all", at_least=1, stage="evaluation")
    batch_size: int = neutral(64, help="items per batch", above=0)


@dataclass
class Checkpoint:
    """Checkpoints from which an interrupted training resumes; they are deleted when it ends."""

    every: int = neutral(50, help="steps between checkpoints", above=0)


@dataclass
class Scoring:
    """Limits for the verifier and the held-out verifier."""

    max_prompt_tokens: int = setting(help="tokens per prompt at most", above=0)
    max_response_tokens: int = setting(help="tokens per response at most", above=0)
    dtype: str = setting(help="data type of the weights", choices=("float32", "bfloat16", "float16"))
    batch_tokens: int = neutral(help="tokens per batch at most", above=0)


@dataclass
class ChatTemplate:
    """Values for variables of chat templates (`cme.models.template_variables`)."""

    generator: dict[str, Any] = setting(
        template_variables.DEFAULTS,
        help="variables of generator and comparators: date, enable_thinking (null: the template decides), "
        "close_thought (true: close a thought that the template opens); others with +chat_template.generator.NAME=...",
        added_later=True,
    )
    verifier: dict[str, Any] = setting(
        template_variables.DEFAULTS,
        help="variables of the verifier and the held-out verifier, the same as for the generator",
        added_later=True,
    )


@dataclass
class Scale:
    """Model sizes and data sources."""

    name: str = setting(help="miniature, laptop or paper")
    build: int = neutral(
        1,
        help="which of the two builds of the miniature checkpoints; they differ in initial weights and data order",
        at_least=1,
        at_most=2,
    )
    heldout: dict[str, str] = setting(
        help="held-out verifiers by family; the first that is neither the generator's nor the verifier's is used"
    )
    reference: str = neutral(help="fixed reference model of comparators=paper")


@dataclass
class Preset:
    """The settings that a reward trains with."""

    name: str = neutral(
        help="matched: the settings of its scale and model; paper: those of the reward's publication; dense_study: "
        "those of the paper's author in a separate study of rewards per token"
    )


@dataclass
class Experiment:
    """A named experiment and its grids."""

    name: str | None = neutral(None, help="name of the experiment")
    independent_verifier: bool = neutral(
        True, help="whether a warning follows if verifier and generator are equal"
    )
    run: str = neutral("experiments.run.pipeline.run", help="function that runs one cell")
    sweep: dict[str, list[dict[str, Any]]] = neutral(
        {}, help='grids of overrides by scale, such as - {family: qwen, seed: "0,1"}'
    )
    needs_answers: bool = neutral(False, help="whether it needs data with answers")


@dataclass
class Config:
    """One run."""

    family: Family = field(default_factory=Family)
    verifier: Verifier = field(default_factory=Verifier)
    reward: Component = setting(
        help="reward that the policy is trained on; several, as in [cme,length], are summed"
    )
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
    tracker: str = neutral(
        "tensorboard",
        help="where training metrics are shown",
        choices=("none", "tensorboard", "mlflow", "wandb", "trackio"),
    )
    experiment: Experiment = field(default_factory=Experiment)
    regime: str = neutral("pretrained", help="how the generator was trained before", choices=REGIMES)
    generator: str = setting(
        "${family.checkpoints.${scale.name}.${regime}}", help="checkpoint of the untrained model"
    )
    monitor_every: int = setting(
        5, help="steps between measurements of KL and of the held-out verifier", above=0
    )
    seed: int = setting(0, help="seed of the run", at_least=0, below=2**32)  # numpy's limit
    plan: bool = neutral(False, help="print an estimate of the cost and run nothing")
    fail_fast: bool = neutral(False, help="stop a sweep at the first run that fails")
    results_dir: str = neutral("results/runs", help="folder of the results")
    trusted_packages: list[str] = neutral(
        [], help="packages other than cme whose callables a _target_ may name"
    )


WEIGHTED_SUM = {
    "name": "weighted_sum",
    "_target_": "cme.rewards.WeightedSum",
    "weights": None,
    "num_generations": "${trainer.num_generations}",
    "aggregation": "sum_then_normalize",
}
"""The option of the group `reward` to which `registration.spell_out` adds the members of `reward=[a,b]`."""

SWITCHES = {"selection": "every", "capabilities": "tasks"}
"""Groups that are off, and not part of a run, unless their field named here is set."""
