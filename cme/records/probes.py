"""Records of what is measured without training: reward probes, judge sanity checks, separations."""

from dataclasses import dataclass, field
from typing import Any

from cme.records.codec import Strict
from cme.records.pairs import Generation, Pair, Prompt, Verdict


@dataclass(frozen=True)
class RewardProbeRecord(Strict):
    """How rewards value responses of known quality, before any training.

    Attributes:
        second_checkpoint: The second verifier of the ensembles; None without ensembles.
        prompts: Ids of the prompts.
        values: By line (a reward or a variant of one) and by grade of the response, one value per prompt in the
            reward's own unit, None where the reward could not score the response. The grades are in the order of
            `cme.evaluation.reward_probe.GRADES`.
        seconds: Wall-clock seconds.
    """

    stress_id: str
    scale: str
    family: str
    regime: str
    verifier: str
    seed: int
    generator_checkpoint: str
    verifier_checkpoint: str
    second_checkpoint: str | None
    config: dict[str, Any]
    environment: dict[str, str]
    prompts: list[str]
    values: dict[str, dict[str, list[float | None]]]
    seconds: float
    schema: int = 1

    def check(self) -> None:
        """Raise ValueError unless every line and grade has one value per prompt."""
        for line, by_grade in self.values.items():
            for grade, values in by_grade.items():
                if len(values) != len(self.prompts):
                    raise ValueError(
                        f"values.{line}.{grade} has {len(values)} values for {len(self.prompts)} prompts"
                    )


@dataclass(frozen=True)
class SanityRecord(Strict):
    """A judge's verdicts on opponents that are no better than a model's own responses.

    Attributes:
        pairs: Pairs by opponent; the opponent's response is in the field `policy`, and `tokens` of a response that no
            model wrote is None. `experiments.probes.sanity` lists the opponents.
        verdicts: Verdicts by opponent.
        seconds: Wall-clock seconds.
        neutral: As in `RunRecord`.
    """

    sanity_id: str
    scale: str
    family: str
    regime: str
    judge: str
    seed: int
    generator_checkpoint: str
    config: dict[str, Any]
    environment: dict[str, str]
    pairs: dict[str, list[Pair]]
    verdicts: dict[str, list[Verdict]]
    seconds: float
    warnings: list[str] = field(default_factory=list)
    neutral: list[str] | None = None
    schema: int = 1

    def check(self) -> None:
        """Raise ValueError unless pairs and verdicts have the same opponents."""
        if self.pairs.keys() != self.verdicts.keys():
            raise ValueError(
                f"pairs are of {', '.join(self.pairs)}; verdicts are of {', '.join(self.verdicts)}"
            )


@dataclass(frozen=True)
class SeparationRecord(Strict):
    """What signals say about right and wrong responses of an untrained generator, response by response.

    Attributes:
        prompts: The prompts with a gold answer.
        left_out: Number of prompts without one.
        samples: Number of responses per prompt.
        responses: `samples` responses to each prompt: prompt by prompt, sample by sample.
        correct: Whether each response is right; None where it could not be graded.
        answered: Whether each response has an answer that can be parsed.
        signals: One value per response, in nats per token, None where a response has no value. A signal is named by
            measure, model and span, such as `cross_entropy verifier response`.
        cut: By model, the number of responses whose prompt or response was cut to the scorer's limits.
        seconds: Wall-clock seconds by stage.
    """

    separation_id: str
    scale: str
    family: str
    regime: str
    verifier: str
    data: str
    seed: int
    generator_checkpoint: str
    verifier_checkpoint: str
    config: dict[str, Any]
    environment: dict[str, str]
    prompts: list[Prompt]
    left_out: int
    samples: int
    responses: list[Generation]
    correct: list[bool | None]
    answered: list[bool]
    signals: dict[str, list[float | None]]
    cut: dict[str, int]
    seconds: dict[str, float]
    schema: int = 1

    def check(self) -> None:
        """Raise ValueError unless every column has one value per response."""
        expected = len(self.prompts) * self.samples
        columns: dict[str, list[Any]] = {
            "responses": self.responses,
            "correct": self.correct,
            "answered": self.answered,
            **{f"signals.{name}": column for name, column in self.signals.items()},
        }
        for name, column in columns.items():
            if len(column) != expected:
                raise ValueError(
                    f"{name} has {len(column)} values; {len(self.prompts)} prompts with {self.samples} samples each "
                    f"need {expected}"
                )
