"""Everything that is written to disk, as versioned dataclasses. Standard library only.

One finished run is one JSON file that needs no other: configuration, training history, the paired
generations, the verdicts. Win rates are not in it; `analysis` computes them from the verdicts. A stress table
is one file too, and so are a judge's sanity and a separation.
"""

import errno
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Literal

from cme import Unavailable

SCHEMA = 1
REWARD_PROBE_SCHEMA = 1
SANITY_SCHEMA = 1
EXPERIMENT_SCHEMA = 1
SEPARATION_SCHEMA = 1
STATE_SCHEMA = 1

Outcome = Literal["first", "second", "tie", "unscored"]


@dataclass(frozen=True)
class Prompt:
    """One prompt of a data set; `answer` is what it must say, `reference` one good way to say it."""

    id: str
    text: str
    answer: str | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Preference:
    """A prompt with two whole responses, of which the first is the better one."""

    prompt: Prompt
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Generation:
    """One response; `finished` says that the model ended it itself, `tokens` counts its own tokens.

    Both are None where they are not known, as for outputs made elsewhere. `surprisal` is minus its mean
    log-likelihood under an independent language model, in nats a token of that model's; None where it was not
    measured.
    """

    response: str
    finished: bool | None
    tokens: int | None
    surprisal: float | None = None


@dataclass(frozen=True)
class Verdict:
    """One call of a judge on one pair in one order.

    `policy_first` says that the trained policy's response was shown first. `reason` is set when and only
    when the outcome is `unscored`. `scores` are the judge's values of (first, second) where it has any, `note`
    what it said for itself. `judge` names the member of a panel; None is the record's one judge.
    """

    prompt_id: str
    policy_first: bool
    outcome: Outcome
    reason: str | None = None
    scores: tuple[float, float] | None = None
    note: str | None = None
    judge: str | None = None

    def __post_init__(self) -> None:
        if self.outcome not in ("first", "second", "tie", "unscored"):
            raise ValueError(f"outcome is {self.outcome!r}; it must be first, second, tie or unscored")
        if (self.outcome == "unscored") != (self.reason is not None):
            raise ValueError(
                f"a reason goes with unscored and with nothing else; outcome is {self.outcome!r}"
            )


@dataclass(frozen=True)
class Pair:
    """One evaluation prompt with the response of the untrained start and of the trained policy.

    `answer` is the gold answer of a mathematics track's prompt; None for one without, and for all other data.
    """

    prompt_id: str
    prompt: str
    reference: str | None
    start: Generation
    policy: Generation
    answer: str | None = None


@dataclass(frozen=True)
class Accuracy:
    """Whether the responses to the evaluation prompts are right, in the order of the record's pairs.

    None for a prompt without a gold answer and where the comparison with it is undecided; a response without an answer
    is wrong. `selected` is of the selected checkpoint's responses, None where the record has none of its own.
    """

    start: list[bool | None]
    policy: list[bool | None]
    selected: list[bool | None] | None = None


@dataclass(frozen=True)
class CheckpointResult:
    """A checkpoint of the training against the untrained start, on the selection prompts.

    For each of the trajectory's prompts, in their order: `points` are the policy's points of each verdict (1 for
    a win, 0.5 for a tie, 0 for a loss, None unscored), `quality` is the true quality of its response (0-1), None
    without an oracle. `unscored` counts the unscored verdicts by reason.
    """

    step: int
    points: list[list[float | None]]
    quality: list[float] | None
    unscored: dict[str, int]


@dataclass(frozen=True)
class Trajectory:
    """A training seen at its saved checkpoints, the final policy last.

    `prompts` are the ids of the selection prompts, none of them an evaluation prompt; `judge` decided the points;
    `start_quality` is the true quality of the untrained start's response to each prompt.
    """

    judge: str
    prompts: list[str]
    start_quality: list[float] | None
    milestones: list[CheckpointResult]


@dataclass(frozen=True)
class Selected:
    """The checkpoint chosen on the selection prompts, and how it fares on the evaluation prompts.

    `responses` go with the record's pairs, in their order; `verdicts` are the record's judge's. Both are None
    where the final policy was chosen: the record's own pairs and verdicts are its.
    """

    step: int
    responses: list[Generation] | None
    verdicts: list[Verdict] | None


@dataclass(frozen=True)
class Comparison:
    """How a run's policy, and its untrained start, fare against a further model on the evaluation prompts.

    `responses` are the further model's, in the order of the record's pairs. `policy` and `start` are the record's
    judge's verdicts on the policy's and on the start's responses against them: these stand where the policy stands in
    a run, so that `policy_first` says that they were shown first, and points are theirs.
    """

    name: str
    checkpoint: str
    responses: list[Generation]
    policy: list[Verdict]
    start: list[Verdict] | None = None


@dataclass(frozen=True)
class Capability:
    """One metric of one lm-eval task on `n` items, before and after training, with lm-eval's standard errors.

    `before_items` and `after_items` are the metric of each item, in the same order; None for a metric that is not
    a mean over items. A standard error is None where lm-eval gives none.
    """

    task: str
    metric: str
    n: int
    before: float
    before_stderr: float | None
    after: float
    after_stderr: float | None
    before_items: list[float] | None
    after_items: list[float] | None


@dataclass(frozen=True)
class RunRecord:
    """One run, whole.

    `reward` is what the tables call the method: the trained reward's name or, where no reward trains, the trainer's:
    `dpo`, `sft`, and `best_of_n_` with the name of the reward that chooses.
    `history` holds columns of equal length, one entry a training step, None where a value was not
    measured: `step`; `reward` and `reward_std` (of the trained reward, in its own unit); `quality`
    (oracle, 0-1); `heldout` (mean log-likelihood under the held-out verifier, nats
    a token); `length` (tokens); `clipped` (share cut at the length limit); `repetition` (share of
    repeated word bigrams); `entropy` (policy, nats a token); `kl` (policy from its start, nats a
    response); `unscored` (share of completions without a reward); `loss`; `grad_norm`; on a mathematics track
    `accuracy`, `majority_share` and `label_accuracy` (shares; see `cme.training.monitors`). DPO and SFT sample nothing
    to train on: what is measured on responses is measured on some sampled for it, before the step. A method that does
    not train has no columns.
    `verifier` and `verifier_checkpoint` are the configured ones, by which the held-out verifier is chosen too; a
    reward uses them only where `config.reward.verifier` names them. `language_model` is the checkpoint that
    measured the generations' surprisal, None where it was not measured.
    `trajectory` is None where no checkpoints were saved, `selected` where none was, or they share no scored verdict.
    `accuracy` is None but on a mathematics track's data.
    `verifier_responses` are the frozen verifier's own greedy responses to the evaluation prompts, in the order of the
    pairs; None where the run learns from no verifier, from several, or from one behind a server; `verifier_quality`
    is their true quality (0-1), None without an oracle too.
    `comparisons` are with further models, each of its own name; None where there was none. They may be added to a
    record after it was made.
    `stopped` is None, or why training ended before its last step. `seconds` is wall-clock by stage.
    """

    run_id: str
    scale: str
    family: str
    regime: str
    reward: str
    verifier: str
    judge: str
    seed: int
    experiment: str | None
    generator_checkpoint: str
    verifier_checkpoint: str
    heldout_checkpoint: str | None
    config: dict[str, Any]
    environment: dict[str, str]
    warnings: list[str]
    stopped: str | None
    history: dict[str, list[float | None]]
    pairs: list[Pair]
    verdicts: list[Verdict]
    seconds: dict[str, float]
    language_model: str | None = None
    trajectory: Trajectory | None = None
    selected: Selected | None = None
    capabilities: list[Capability] | None = None
    accuracy: Accuracy | None = None
    verifier_responses: list[Generation] | None = None
    verifier_quality: list[float] | None = None
    comparisons: list[Comparison] | None = None
    schema: int = SCHEMA


@dataclass(frozen=True)
class RewardProbeRecord:
    """How rewards value answers of known worth, before any training.

    `prompts` are the prompts' ids. `values` holds, by line (a reward or a variant of one) and by grade of the
    answer, one value a prompt in the line's own unit, None where the reward could not score the answer. Grades
    stand in the order of `cme.evaluation.reward_probe.GRADES`. `second_checkpoint` is the verifier that the ensembles
    have beside the first, None without ensembles. `seconds` is wall-clock.
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
    schema: int = REWARD_PROBE_SCHEMA


@dataclass(frozen=True)
class SanityRecord:
    """A judge's verdicts on opponents of which none is better than a model's own responses.

    `pairs` and `verdicts` by opponent, the opponent standing where the trained policy stands in a run; `tokens` of one
    that no model wrote is None. Which opponents there are: `experiments.probes.sanity`. `seconds` is wall-clock.
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
    schema: int = SANITY_SCHEMA


@dataclass(frozen=True)
class ExperimentRecord:
    """Which runs make up an experiment at a scale, by their run ids; a run may belong to several experiments."""

    name: str
    scale: str
    runs: list[str]
    schema: int = EXPERIMENT_SCHEMA


@dataclass(frozen=True)
class SeparationRecord:
    """What signals say of right and wrong responses of an untrained generator, response by response.

    `prompts` are those with a right answer; `left_out` counts the others. `responses` holds `samples` responses to
    each prompt, prompt by prompt, sample by sample; `correct` (None where it could not be graded) and `answered`
    (whether a response has an answer that parses) go with them, and so does each list of `signals`, None where a
    response has no value. A signal is named
    by measure, model and span, such as `cross_entropy verifier response`; nats a token. `cut` counts, by model, the
    responses scored with prompt or response cut to the scorer's limits. `seconds` is wall-clock by stage.
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
    schema: int = SEPARATION_SCHEMA


class BadFile(ValueError):
    """A file of ours that is not what it should be; the message names it and says what to do."""


WHAT_WOULD_DO = {
    errno.ENOSPC: "free some space there, and the same command goes on",
    errno.EDQUOT: "free some of your quota there, and the same command goes on",
    errno.EROFS: "write elsewhere, such as with results_dir=...",
    errno.EACCES: "make it writable, or write elsewhere, such as with results_dir=...",
    errno.EPERM: "make it writable, or write elsewhere, such as with results_dir=...",
}


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Raise the file system's refusals to write `path` as Unavailable, which says why and what would do."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        remedy = WHAT_WOULD_DO.get(error.errno or 0, "nothing that was whole is lost")
        raise Unavailable(f"{path} cannot be written ({why}): {remedy}") from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the file is either whole or not there: a temporary file, synced, then renamed.

    Raises Unavailable where the file system does not take it; what was there before is there still.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(partial, 0o644)
            os.replace(partial, path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name, too
        finally:
            os.close(folder)


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises ValueError for one that is none."""
    return json.loads(path.read_text())


def write_record(path: Path, record: RunRecord) -> None:
    """Write a run's record, atomically."""
    write_json(path, asdict(record))


def read_record(path: Path) -> RunRecord:
    """Read a run's record. Raises BadFile, naming the file, for another schema or a malformed one."""
    try:
        raw = read_json(path)
        if raw["schema"] != SCHEMA:
            raise ValueError(f"schema is {raw['schema']}; this version reads schema {SCHEMA}")
        raw["pairs"] = [pair_from(p) for p in raw["pairs"]]
        raw["verdicts"] = [verdict_from(v) for v in raw["verdicts"]]
        for field, made in (("trajectory", trajectory_from), ("selected", selected_from)):
            raw[field] = made(raw[field]) if raw.get(field) is not None else None
        responses = raw["selected"].responses if raw["selected"] else None
        if responses is not None and len(responses) != len(raw["pairs"]):
            raise ValueError("the selected checkpoint must have one response a pair")
        if raw.get("capabilities") is not None:
            raw["capabilities"] = [Capability(**c) for c in raw["capabilities"]]
        if raw.get("accuracy") is not None:
            raw["accuracy"] = accuracy_from(raw["accuracy"], len(raw["pairs"]))
        if raw.get("verifier_responses") is not None:
            raw["verifier_responses"] = [Generation(**g) for g in raw["verifier_responses"]]
            if len(raw["verifier_responses"]) != len(raw["pairs"]):
                raise ValueError("the verifier must have one response a pair")
        if raw.get("verifier_quality") is not None and len(raw["verifier_quality"]) != len(raw["pairs"]):
            raise ValueError("the verifier's quality must have one entry a pair")
        if raw.get("comparisons") is not None:
            raw["comparisons"] = [comparison_from(c, len(raw["pairs"])) for c in raw["comparisons"]]
            if len({c.name for c in raw["comparisons"]}) < len(raw["comparisons"]):
                raise ValueError("every comparison must have a name of its own")
        return RunRecord(**raw)
    except (KeyError, TypeError, ValueError) as error:
        remedy = "; move it away, and the command of its run makes it again" * isinstance(
            error, JSONDecodeError
        )
        raise BadFile(f"{path} is not a readable record: {error}{remedy}") from error


def write_reward_probe(path: Path, record: RewardProbeRecord) -> None:
    """Write a stress table's record, atomically."""
    write_json(path, asdict(record))


def read_reward_probe(path: Path) -> RewardProbeRecord:
    """Read a stress table's record. Raises ValueError, naming the file, for another schema or a malformed one."""
    try:
        raw = read_json(path)
        if raw["schema"] != REWARD_PROBE_SCHEMA:
            raise ValueError(f"schema is {raw['schema']}; this version reads schema {REWARD_PROBE_SCHEMA}")
        record = RewardProbeRecord(**raw)
        if any(len(v) != len(record.prompts) for by in record.values.values() for v in by.values()):
            raise ValueError("every line and grade must have one value a prompt")
        return record
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a readable stress record: {error}") from error


def write_sanity(path: Path, record: SanityRecord) -> None:
    """Write a judge's sanity record, atomically."""
    write_json(path, asdict(record))


def read_sanity(path: Path) -> SanityRecord:
    """Read a judge's sanity record. Raises ValueError, naming the file, for another schema or a malformed one."""
    try:
        raw = read_json(path)
        if raw["schema"] != SANITY_SCHEMA:
            raise ValueError(f"schema is {raw['schema']}; this version reads schema {SANITY_SCHEMA}")
        raw["pairs"] = {name: [pair_from(p) for p in pairs] for name, pairs in raw["pairs"].items()}
        raw["verdicts"] = {name: [verdict_from(v) for v in own] for name, own in raw["verdicts"].items()}
        if raw["pairs"].keys() != raw["verdicts"].keys():
            raise ValueError("pairs and verdicts are of different opponents")
        return SanityRecord(**raw)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a readable sanity record: {error}") from error


def write_experiment(path: Path, record: ExperimentRecord) -> None:
    """Write an experiment's list of runs, atomically."""
    write_json(path, asdict(record))


def read_experiment(path: Path) -> ExperimentRecord:
    """Read an experiment's list of runs. Raises ValueError, naming the file, for another schema or a malformed one."""
    try:
        raw = read_json(path)
        if raw["schema"] != EXPERIMENT_SCHEMA:
            raise ValueError(f"schema is {raw['schema']}; this version reads schema {EXPERIMENT_SCHEMA}")
        return ExperimentRecord(**raw)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a readable experiment: {error}") from error


def write_separation(path: Path, record: SeparationRecord) -> None:
    """Write a separation's record, atomically."""
    write_json(path, asdict(record))


def read_separation(path: Path) -> SeparationRecord:
    """Read a separation's record. Raises ValueError, naming the file, for another schema or a malformed one."""
    try:
        raw = read_json(path)
        if raw["schema"] != SEPARATION_SCHEMA:
            raise ValueError(f"schema is {raw['schema']}; this version reads schema {SEPARATION_SCHEMA}")
        raw["prompts"] = [Prompt(**p) for p in raw["prompts"]]
        raw["responses"] = [Generation(**g) for g in raw["responses"]]
        record = SeparationRecord(**raw)
        columns: list[list[Any]] = [record.responses, record.correct, record.answered]
        columns += record.signals.values()
        if any(len(column) != len(record.prompts) * record.samples for column in columns):
            raise ValueError("every column must have one value a response, and `samples` responses a prompt")
        return record
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a readable separation record: {error}") from error


def verdict_from(raw: Mapping[str, Any]) -> Verdict:
    """A verdict from its JSON form."""
    scores = raw["scores"]
    return Verdict(**{**raw, "scores": None if scores is None else (scores[0], scores[1])})


def pair_from(raw: Mapping[str, Any]) -> Pair:
    """A pair from its JSON form."""
    return Pair(**{**raw, "start": Generation(**raw["start"]), "policy": Generation(**raw["policy"])})


def accuracy_from(raw: Mapping[str, Any], pairs: int) -> Accuracy:
    """Accuracy from its JSON form. Raises ValueError unless there is one entry a pair."""
    found = Accuracy(**raw)
    columns = [column for column in (found.start, found.policy, found.selected) if column is not None]
    if any(len(column) != pairs for column in columns):
        raise ValueError("accuracy must have one entry a pair")
    return found


def trajectory_from(raw: Mapping[str, Any]) -> Trajectory:
    """A trajectory from its JSON form. Raises ValueError unless every milestone has an entry a prompt."""
    found = Trajectory(**{**raw, "milestones": [CheckpointResult(**m) for m in raw["milestones"]]})
    columns: list[Any] = [found.start_quality]
    columns += [column for m in found.milestones for column in (m.points, m.quality)]
    if any(len(column) != len(found.prompts) for column in columns if column is not None):
        raise ValueError("every milestone of a trajectory must have one entry a prompt")
    return found


def comparison_from(raw: Mapping[str, Any], pairs: int) -> Comparison:
    """A comparison from its JSON form. Raises ValueError unless there is one response a pair."""
    if len(raw["responses"]) != pairs:
        raise ValueError(f"the comparison with {raw['name']} must have one response a pair")
    start = raw.get("start")
    return Comparison(
        raw["name"],
        raw["checkpoint"],
        [Generation(**g) for g in raw["responses"]],
        [verdict_from(v) for v in raw["policy"]],
        None if start is None else [verdict_from(v) for v in start],
    )


def selected_from(raw: Mapping[str, Any]) -> Selected:
    """A selected checkpoint from its JSON form."""
    if raw["responses"] is None:
        return Selected(raw["step"], None, None)
    responses = [Generation(**g) for g in raw["responses"]]
    return Selected(raw["step"], responses, [verdict_from(v) for v in raw["verdicts"]])


@dataclass(frozen=True)
class RunState:
    """How the last attempt at a run stands; `running` is what it says, too, once its process was killed.

    `reason` is one line and `traceback` the whole of it where an attempt failed; neither has a secret in it.
    `attempts` counts them, `seconds` is the last one's wall-clock. Of a done run `record` names the record's file in
    the run's folder, `unscored` counts its unscored verdicts, and `comparators` are those it has met, by name.
    `owner` is the process that is at it, None once it ended.
    """

    state: Literal["running", "done", "failed", "interrupted"]
    attempts: int
    seconds: float = 0.0
    reason: str | None = None
    traceback: str | None = None
    record: str | None = None
    unscored: int = 0
    comparators: dict[str, str] = field(default_factory=dict)
    owner: str | None = None
    schema: int = STATE_SCHEMA


@dataclass(frozen=True)
class Progress:
    """What a run is at: its stage, and in training the step of so many and the seconds a step takes."""

    stage: str
    step: int | None = None
    steps: int | None = None
    seconds_per_step: float | None = None


def write_state(path: Path, state: RunState) -> None:
    """Write a run's state, atomically."""
    write_json(path, asdict(state))


def read_state(path: Path) -> RunState:
    """Read a run's state. Raises ValueError, naming the file, for another schema or a malformed one."""
    try:
        raw = read_json(path)
        if raw["schema"] != STATE_SCHEMA:
            raise ValueError(f"schema is {raw['schema']}; this version reads schema {STATE_SCHEMA}")
        return RunState(**raw)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a readable state: {error}") from error


def write_progress(path: Path, progress: Progress) -> None:
    """Write what a run is at, atomically."""
    write_json(path, asdict(progress))


def read_progress(path: Path) -> Progress:
    """Read what a run is at. Raises ValueError, naming the file, for a malformed one."""
    try:
        return Progress(**read_json(path))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a readable progress: {error}") from error
