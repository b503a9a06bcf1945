"""The record of one run, and its parts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cme.records.codec import Count, Number, Settings, Share, Strict, check_lengths
from cme.records.pairs import (
    Comparison,
    FurtherJudge,
    Generation,
    Grades,
    Pair,
    Spending,
    Verdict,
    distinct_prompt_ids,
)
from cme.records.votes import majority_verdicts, verdicts_by_order

CONFIG_GROUPS = (
    "chat_template",
    "data",
    "imported",
    "judge",
    "reward",
    "scale",
    "scoring",
    "trainer",
    "verifier",
)
"""Fields of a record's configuration that have fields themselves."""


def checkpoint_build(checkpoint: str) -> int:
    """The build of a checkpoint, such as 2 of `miniature:qwen-2/sft`; 1 without builds."""
    match = re.search(r"miniature:\w+-(\d{1,3})/", checkpoint)
    return int(match[1]) if match else 1


@dataclass(frozen=True)
class Accuracy(Strict):
    """Whether the responses to the evaluation prompts are correct, in the order of the record's pairs.

    A response without an answer is wrong. None for a prompt without a gold answer, and if the comparison with the gold
    answer is undecided. `selected` is for the selected checkpoint's responses; None if the record has none.
    """

    start: list[bool | None]
    policy: list[bool | None]
    selected: list[bool | None] | None = None


@dataclass(frozen=True)
class CheckpointResult(Strict):
    """One checkpoint of a training compared with the untrained model, on the selection prompts.

    Attributes:
        points: For each prompt of the trajectory, the policy's points from each verdict: 1 for a win, 0.5 for a tie, 0
            for a loss, None for an unscored verdict.
        quality: True quality of the response to each prompt, 0-1; None without an oracle.
        unscored: Number of unscored verdicts by reason.
    """

    step: Count
    points: list[list[Share | None]]
    quality: list[Share] | None
    unscored: dict[str, Count]


@dataclass(frozen=True)
class Trajectory(Strict):
    """The results of a training's saved checkpoints, the final policy last.

    Attributes:
        judge: The judge that gave the points.
        prompts: Ids of the selection prompts; none of them is an evaluation prompt.
        start_quality: True quality of the untrained model's response to each prompt, 0-1; None without an oracle.
        checkpoints: The checkpoints.
    """

    judge: str
    prompts: list[str]
    start_quality: list[Share] | None
    checkpoints: list[CheckpointResult]


@dataclass(frozen=True)
class Selected(Strict):
    """The checkpoint chosen on the selection prompts, and its results on the evaluation prompts.

    `responses` are in the order of the record's pairs, and `verdicts` are by the record's judge. Both are None if the
    final policy was chosen, whose responses and verdicts are in the record already.
    """

    step: Count
    responses: list[Generation] | None
    verdicts: list[Verdict] | None

    def __post_init__(self) -> None:
        if (self.responses is None) != (self.verdicts is None):
            raise ValueError(
                "the selected checkpoint must have both responses and verdicts, or null for both"
            )


@dataclass(frozen=True)
class Capability(Strict):
    """One metric of one lm-eval task on `n` items, before and after training, with lm-eval's standard errors.

    Data with verifiable constraints are a task with IFEval's metrics. Its items are the evaluation prompts or, for the
    metrics `inst_level`, their constraints.

    `before_items` and `after_items` are the metric of each item, in the same order; None for a metric that is not
    a mean over items. A standard error is None if lm-eval gives none.
    """

    task: str
    metric: str
    n: Count
    before: Number
    before_stderr: Number | None
    after: Number
    after_stderr: Number | None
    before_items: list[Number] | None
    after_items: list[Number] | None


@dataclass(frozen=True)
class RunRecord(Strict):
    """One complete run.

    Attributes:
        reward: The method's name in the tables: the trained reward or, if none is trained, the trainer: `dpo`, `sft`,
            or `best_of_n_` followed by the reward that chooses.
        verifier, verifier_checkpoint: The configured verifier, which also determines the held-out verifier; a reward
            uses it only if `config.reward.verifier` names it.
        stopped: Why training ended before its last step; None if it did not.
        untrained: Why the policy is the untrained model, because training made no step or changed no weight, or because
            best-of-n had nothing to choose by; None otherwise, and in older records.
        history: Columns of equal length with one entry per training step, None if a value was not measured; empty for
            a method that does not train. `step`; `reward` and `reward_std` of the trained reward, in its own unit;
            `quality` (oracle, 0-1); `heldout` (mean log-likelihood under the held-out verifier, nats per token);
            `length` (tokens); `clipped` (share cut at the length limit); `repetition` (share of repeated word bigrams);
            `entropy` (policy, nats per token); `kl` (policy from the untrained model, nats per response); `unscored`
            (share of completions without a reward); `loss`; `grad_norm`; on a mathematics track `accuracy`,
            `majority_share` and `label_accuracy` (shares; see `cme.training.monitors`). DPO and SFT do not train on
            sampled completions; their columns on responses are measured on samples drawn before the step.
        seconds: Wall-clock seconds by stage; those of GRPO's steps also by part, such as `train: sampling`
            (`cme.training.history`).
        language_model: The checkpoint that measured the generations' surprisal; None if it was not measured.
        trajectory: None if no checkpoints were saved.
        selected: None if no checkpoint was selected, or the checkpoints have no scored verdict in common.
        accuracy: None for data other than a mathematics track's.
        grades: The true quality of the responses; None without an oracle, and in older records.
        blind_spots: Names of the facts, as in `Grade.parts`, about which the family of the `generator`, or of the
            configured `verifier`, has a false belief; None if that is unknown.
        verifier_responses: The frozen verifier's greedy responses to the evaluation prompts, in the order of the pairs;
            None if the run uses no verifier, several, or one behind a server.
        verifier_quality: True quality of these responses, 0-1; None without them or without an oracle.
        comparisons: Comparisons with further models, each with a distinct name; None without any. They may be added
            to a finished record.
        further_judges: Judges that judged the pairs later; None without any. They may be added to a finished record.
        decoding: How the responses were decoded: fields of transformers' GenerationConfig, and the end tokens as text;
            None in older records. The policy of best-of-n is sampled instead, as `config.trainer` says.
        reward_judging: What a reward that asks a judge spent in training, that of a killed training included; None for
            another reward.
        neutral: Dotted paths of the settings in `config` that do not change results; None in older records.
    """

    run_id: str
    scale: str
    family: str
    regime: str
    reward: str
    verifier: str
    judge: str
    seed: Count
    experiment: str | None
    generator_checkpoint: str
    verifier_checkpoint: str
    heldout_checkpoint: str | None
    config: Settings
    environment: dict[str, str]
    warnings: list[str]
    stopped: str | None
    history: dict[str, list[Number | None]]
    pairs: list[Pair]
    verdicts: list[Verdict]
    seconds: dict[str, Number]
    language_model: str | None = None
    trajectory: Trajectory | None = None
    selected: Selected | None = None
    capabilities: list[Capability] | None = None
    accuracy: Accuracy | None = None
    grades: Grades | None = None
    blind_spots: dict[str, list[str]] | None = None
    verifier_responses: list[Generation] | None = None
    verifier_quality: list[Share] | None = None
    comparisons: list[Comparison] | None = None
    further_judges: list[FurtherJudge] | None = None
    neutral: list[str] | None = None
    decoding: Settings | None = None
    untrained: str | None = None
    reward_judging: Spending | None = None
    schema: int = 1

    @property
    def build(self) -> int:
        """The build of the generator's checkpoint, as `checkpoint_build`."""
        return checkpoint_build(self.generator_checkpoint)

    @property
    def data(self) -> str:
        """Name of the data set; empty for imported outputs."""
        return str(self.config.get("data", {}).get("name", ""))

    @property
    def last_step(self) -> int:
        """The last training step in the history; 0 without any."""
        steps = self.history.get("step", [])
        return int(steps[-1] or 0) if steps else 0

    @property
    def prompt_names(self) -> dict[str, str]:
        """A name for each prompt id that is unique among records: the ids of imported outputs are only row numbers."""
        imported = self.scale == "imported"
        return {p.prompt_id: f"{p.prompt_id}\n{p.prompt}" if imported else p.prompt_id for p in self.pairs}

    def judgements(self, by_order: bool = False) -> list[tuple[str, Verdict]]:
        """Every verdict on the pairs with the name of its judge, such as `panel` or a further judge's.

        The verdicts of a panel's majority follow those of its members. `by_order` splits a verdict from both orders
        into what each order alone says.
        """
        judges = [(self.judge, self.verdicts)]
        judges += [(further.name, further.verdicts) for further in self.further_judges or []]
        return [
            (judge, verdict)
            for judge, given in judges
            for verdict in [*(verdicts_by_order(given) if by_order else given), *majority_verdicts(given)]
        ]

    def check(self) -> None:
        """Raise ValueError unless every part has one entry per pair, prompt or step, and names are distinct."""
        for group in CONFIG_GROUPS:
            if not isinstance(settings := self.config.get(group, {}), dict):
                raise ValueError(f"config.{group} is {str(settings)[:80]}; it must be an object")
        by_pair: dict[str, Sequence[Any] | None] = {
            "verifier_responses": self.verifier_responses,
            "verifier_quality": self.verifier_quality,
            "selected.responses": None if self.selected is None else self.selected.responses,
            **{f"comparisons.{one.name}.responses": one.responses for one in self.comparisons or []},
        }
        for name, part in (("accuracy", self.accuracy), ("grades", self.grades)):
            if part is not None:
                by_pair |= {f"{name}.{side}": column for side, column in vars(part).items()}
        check_lengths(by_pair, len(self.pairs), "pairs")
        history = {f"history.{name}": column for name, column in self.history.items()}
        check_lengths(history, len(self.history.get("step", [])), "steps")
        self._check_prompt_ids()
        if self.trajectory is not None:
            by_prompt: dict[str, Sequence[Any] | None] = {
                "trajectory.start_quality": self.trajectory.start_quality
            }
            for i, checkpoint in enumerate(self.trajectory.checkpoints):
                by_prompt[f"trajectory.checkpoints.{i}.points"] = checkpoint.points
                by_prompt[f"trajectory.checkpoints.{i}.quality"] = checkpoint.quality
            check_lengths(by_prompt, len(self.trajectory.prompts), "prompts")
        judges = [self.judge, *(further.name for further in self.further_judges or [])]
        compared = [comparison.name for comparison in self.comparisons or []]
        for fields, names in (("comparisons", compared), ("judge and further_judges", judges)):
            if len(set(names)) < len(names):
                raise ValueError(f"{fields} are named {', '.join(names)}; give each a different name")

    def _check_prompt_ids(self) -> None:
        """Raise ValueError unless the pairs have distinct prompt ids, and each verdict has that of a pair."""
        ids = distinct_prompt_ids(self.pairs)
        given = {"verdicts": self.verdicts}
        given |= {f"further_judges.{one.name}.verdicts": one.verdicts for one in self.further_judges or []}
        for comparison in self.comparisons or []:
            given[f"comparisons.{comparison.name}.policy"] = comparison.policy
            given[f"comparisons.{comparison.name}.start"] = comparison.start or []
        if self.selected is not None:
            given["selected.verdicts"] = self.selected.verdicts or []
        for field, verdicts in given.items():
            if unknown := [verdict.prompt_id for verdict in verdicts if verdict.prompt_id not in ids]:
                raise ValueError(f"{field} on prompts without a pair: {unknown[:3]}")


@dataclass(frozen=True)
class ExperimentRecord(Strict):
    """The run ids of an experiment at one scale; a run may belong to several experiments."""

    name: str
    scale: str
    runs: list[str]
    schema: int = 1
