"""Records of what is measured without training: reward probes, judge sanity checks, separations."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cme.records.codec import Count, Number, Settings, Strict, check_lengths
from cme.records.pairs import Generation, Pair, Prompt, Verdict, distinct_prompt_ids
from cme.records.run import checkpoint_build


@dataclass(frozen=True)
class RewardProbeRecord(Strict):
    """How rewards value responses of known quality, before any training.

    Attributes:
        second_checkpoint: The second verifier of the ensembles; None without ensembles.
        prompts: Ids of the prompts.
        values: By line (a reward or a variant of one) and by grade of the response, one value per prompt in the
            reward's own unit; None if the reward could not score the response. The grades are in the order of
            `cme.evaluation.reward_probe.GRADES`.
        seconds: Wall-clock seconds.
        not_probed: Why a reward has no line, by its name.
    """

    probe_id: str
    scale: str
    family: str
    regime: str
    verifier: str
    seed: Count
    generator_checkpoint: str
    verifier_checkpoint: str
    second_checkpoint: str | None
    config: Settings
    environment: dict[str, str]
    prompts: list[str]
    values: dict[str, dict[str, list[Number | None]]]
    seconds: Number
    not_probed: dict[str, str] = field(default_factory=dict)
    schema: int = 1

    @property
    def data(self) -> str:
        """Name of the data set."""
        return str(self.config.get("data", {}).get("name", ""))

    def check(self) -> None:
        """Raise ValueError unless every line and grade has one value per prompt."""
        for line, by_grade in self.values.items():
            columns = {f"values.{line}.{grade}": values for grade, values in by_grade.items()}
            check_lengths(columns, len(self.prompts), "prompts")


@dataclass(frozen=True)
class SanityRecord(Strict):
    """A judge's verdicts on opponents that are no better than a model's own responses.

    Attributes:
        pairs: Pairs by opponent; the field `policy` has the opponent's response. `tokens` is None for a response that
            no model wrote. `experiments.probes.sanity` lists the opponents.
        verdicts: Verdicts by opponent.
        seconds: Wall-clock seconds.
        neutral: As in `RunRecord`.
    """

    sanity_id: str
    scale: str
    family: str
    regime: str
    judge: str
    seed: Count
    generator_checkpoint: str
    config: Settings
    environment: dict[str, str]
    pairs: dict[str, list[Pair]]
    verdicts: dict[str, list[Verdict]]
    seconds: Number
    warnings: list[str] = field(default_factory=list)
    neutral: list[str] | None = None
    schema: int = 1

    def check(self) -> None:
        """Raise ValueError unless pairs and verdicts are of the same opponents, and each prompt occurs once in each."""
        if self.pairs.keys() != self.verdicts.keys():
            opponents = (", ".join(self.pairs), ", ".join(self.verdicts))
            raise ValueError(f"pairs have the opponents {opponents[0]}, but verdicts have {opponents[1]}")
        for pairs in self.pairs.values():
            distinct_prompt_ids(pairs)


@dataclass(frozen=True)
class SeparationRecord(Strict):
    """The values of signals on correct and wrong responses of an untrained generator, response by response.

    Attributes:
        prompts: The prompts with a gold answer.
        left_out: Number of prompts without one.
        samples: Number of responses per prompt.
        responses: `samples` responses to each prompt: prompt by prompt, sample by sample.
        correct: Whether each response is correct; None if it could not be graded.
        answered: Whether each response has an answer that can be parsed.
        signals: One value per response, in nats per token; None for a response without a value. The name of a signal
            has measure, model and span, such as `cross_entropy verifier response`.
        cut: By model, the number of responses whose prompt or response was cut to the scorer's limits.
        seconds: Wall-clock seconds by stage.
    """

    separation_id: str
    scale: str
    family: str
    regime: str
    verifier: str
    data: str
    seed: Count
    generator_checkpoint: str
    verifier_checkpoint: str
    config: Settings
    environment: dict[str, str]
    prompts: list[Prompt]
    left_out: Count
    samples: Count
    responses: list[Generation]
    correct: list[bool | None]
    answered: list[bool]
    signals: dict[str, list[Number | None]]
    cut: dict[str, Count]
    seconds: dict[str, Number]
    schema: int = 1

    @property
    def build(self) -> int:
        """The build of the generator's checkpoint, as `checkpoint_build`."""
        return checkpoint_build(self.generator_checkpoint)

    def check(self) -> None:
        """Raise ValueError unless every column has one value per response."""
        columns: dict[str, Sequence[Any]] = {
            "responses": self.responses,
            "correct": self.correct,
            "answered": self.answered,
            **{f"signals.{name}": column for name, column in self.signals.items()},
        }
        responses = len(self.prompts) * self.samples
        check_lengths(
            columns, responses, f"responses ({self.samples} to each of {len(self.prompts)} prompts)"
        )
