"""Pairwise judging: each pair is judged in both orders, and every verdict goes to an append-only log at once.

A judge reads a response without its thoughts. A verdict is identified by the judge, the prompt and both responses in
the order shown. A comparison with a scored verdict in the log is not made again; an unscored one is. The log has one
line per order also for a judge that combines the orders into one verdict per pair.
"""

import hashlib
import json
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from cme import Unavailable
from cme.judges.base import Judge, JudgeVerdict, replace_surrogates
from cme.models.thoughts import split_thoughts
from cme.records import (
    BadFile,
    Cost,
    Count,
    Generation,
    Number,
    Outcome,
    Pair,
    Prompt,
    Scores,
    Strict,
    Verdict,
    explain_write_errors,
    from_json,
)
from cme.runtime.errors import in_part
from cme.runtime.files import hold_lock

SYNC_SECONDS = 1.0
"""The log is synced to the disk this often. A killed process loses no line; a power failure loses at most this time."""

SINGLE_ORDER = "the judge combines both orders into one verdict; set evaluation.both_orders=true"


@dataclass(frozen=True)
class Comparison:
    """A prompt with two responses in the order shown; `policy_first` says which is the trained policy's."""

    prompt: Prompt
    first: Generation
    second: Generation
    policy_first: bool

    def key(self, judge: str) -> str:
        """Digest of the judge's identity and of everything the judge is shown, in order."""
        shown = [(g.response, g.finished) for g in (self.first, self.second)]
        gold = [] if self.prompt.answer is None else [self.prompt.answer]
        content = [judge, self.prompt.text, self.prompt.reference, shown, *gold]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


class BadLog(BadFile):
    """A verdict log that cannot be read; the message names the file and the line."""


@dataclass(frozen=True)
class LogLine(Strict):
    """One line of a verdict log: a `JudgeVerdict` and what it belongs to. Every field must be present.

    Attributes:
        key: as `Comparison.key` gives it.
        judge: the name of a panel's member; None for a single judge.
        seconds: time since the line before. The sum over all lines is the time of judging over all restarts.
    """

    key: str
    judge: str | None
    prompt_id: str
    outcome: Outcome
    reason: str | None
    scores: Scores | None
    note: str | None
    calls: Count
    usd: Cost | None
    seconds: Number


class VerdictLog:
    """An append-only file of verdicts as JSON lines. It is read when created, and written in a `with` statement.

    Entering waits until no other process writes to the file, and reads what was written in the meantime. An incomplete
    last line is cut off.

    Attributes:
        scored: verdicts other than `unscored`, by key.
        seconds: time spent judging.
        calls, usd: requests sent and US dollars spent, by judge.

    Raises BadLog for a complete line that is not a `LogLine`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._read()

    def _read(self) -> None:
        self.scored: dict[str, JudgeVerdict] = {}
        self.seconds = 0.0
        self.calls: defaultdict[str | None, int] = defaultdict(int)
        self.usd: defaultdict[str | None, float] = defaultdict(float)
        text = self.path.read_bytes() if self.path.exists() else b""
        self._whole = text.rfind(b"\n") + 1
        for number, line in enumerate(text[: self._whole].split(b"\n")[:-1], start=1):
            try:
                self._count(from_json(LogLine, line))
            except ValueError as error:
                raise BadLog(
                    f"{self.path}, line {number}, is not a verdict ({error}): delete the line"
                ) from None

    def __enter__(self) -> "VerdictLog":
        with ExitStack() as held:
            held.enter_context(hold_lock(self.path.with_name(f"{self.path.name}.lock")))
            self._read()
            with explain_write_errors(self.path):
                self._file: BinaryIO = held.enter_context(self.path.open("ab"))
                self._file.truncate(self._whole)
            self._held = held.pop_all()
        self._last = self._synced = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        with explain_write_errors(self.path), self._held:
            os.fsync(self._file.fileno())

    def add(self, key: str, judge: str | None, prompt_id: str, verdict: JudgeVerdict) -> None:
        """Append a verdict. An unscored one only records its calls and cost; it stays pending."""
        with self._lock:
            now = time.monotonic()
            line = LogLine(key, judge, prompt_id, **asdict(verdict), seconds=round(now - self._last, 6))
            with explain_write_errors(self.path):
                self._file.write(
                    json.dumps(asdict(line), ensure_ascii=False, allow_nan=False).encode() + b"\n"
                )
                self._file.flush()
                if now - self._synced > SYNC_SECONDS:
                    os.fsync(self._file.fileno())
                    self._synced = now
            self._last = now
            self._count(line)

    def _count(self, line: LogLine) -> None:
        verdict = JudgeVerdict(line.outcome, line.reason, line.scores, line.note, line.calls, line.usd)
        self.seconds += line.seconds
        self.calls[line.judge] += line.calls
        self.usd[line.judge] += line.usd or 0.0
        if line.outcome != "unscored":
            self.scored[line.key] = verdict


def pending_comparisons(
    pairs: Sequence[Pair], both_orders: bool, log: VerdictLog, identity: str, name: str | None
) -> dict[str, Comparison]:
    """The comparisons without a scored verdict in the log, by key. Identical comparisons count once."""
    by_key = {each.key(f"{identity}/{name}"): each for each in _comparisons(pairs, both_orders)}
    return {key: comparison for key, comparison in by_key.items() if key not in log.scored}


def judge_pairs(
    judge: Judge,
    pairs: Sequence[Pair],
    both_orders: bool,
    log: VerdictLog,
    *,
    identity: str = "",
    name: str | None = None,
    progress: bool = False,
) -> list[Verdict]:
    """Judge each pair with the policy's response first and, with `both_orders`, also with the start's first.

    Only comparisons without a verdict in the log are made, `judge.concurrency` at a time. An exception in the judge
    ends the judging; comparisons in flight are finished and logged first.

    Args:
        identity: digest of everything that decides the judge's verdicts.
        name: the judge's name in a panel.
        progress: whether to show a progress bar.

    A judge that combines the orders gives one verdict per pair, unscored if an order is.

    Raises ValueError if two pairs have the same prompt id, since their verdicts could not be distinguished, and for a
    judge that combines the orders without `both_orders`.
    """
    if judge.combines_orders and not both_orders:
        raise ValueError(SINGLE_ORDER)
    counts = Counter(pair.prompt_id for pair in pairs)
    if repeated := [prompt_id for prompt_id, count in counts.items() if count > 1]:
        raise ValueError(
            f"prompt id {repeated[0]!r} is on {counts[repeated[0]]} pairs; give each pair a different id"
        )
    judge.resume(log.calls[name], log.usd[name])
    pending = pending_comparisons(pairs, both_orders, log, identity, name)
    new = _compare_all(judge, pending, log, name, progress)
    verdicts = []
    for each in _comparisons(pairs, both_orders):
        key = each.key(f"{identity}/{name}")
        judged = log.scored[key] if key in log.scored else new[key]
        shared = (judged.outcome, judged.reason, judged.scores, judged.note)
        verdicts.append(Verdict(each.prompt.id, each.policy_first, *shared, name))
    if not judge.combines_orders:
        return verdicts
    return [_combined(judge, *both) for both in zip(verdicts[::2], verdicts[1::2], strict=True)]


def _combined(judge: Judge, policy_first: Verdict, start_first: Verdict) -> Verdict:
    """One verdict from those of both orders; unscored, for the first reason, if one of them is."""
    shown, swapped = (JudgeVerdict(v.outcome, v.reason, v.scores) for v in (policy_first, start_first))
    unscored = next((one for one in (shown, swapped) if one.outcome == "unscored"), None)
    judged = unscored or judge.combine(shown, swapped)
    return replace(
        policy_first,
        outcome=judged.outcome,
        reason=judged.reason,
        scores=judged.scores,
        orders=(shown.scores, swapped.scores),
    )


def _comparisons(pairs: Sequence[Pair], both_orders: bool) -> list[Comparison]:
    comparisons = []
    for pair in pairs:
        prompt = Prompt(pair.prompt_id, pair.prompt, pair.answer, pair.reference)
        policy, start = without_thoughts(pair.policy), without_thoughts(pair.start)
        comparisons.append(Comparison(prompt, policy, start, policy_first=True))
        if both_orders:
            comparisons.append(Comparison(prompt, start, policy, policy_first=False))
    return comparisons


def without_thoughts(generation: Generation) -> Generation:
    """What a judge reads of a response: the part behind its thoughts.

    A response that ends inside a thought is empty and unfinished.
    """
    thoughts = split_thoughts(generation.response)
    finished = generation.finished if thoughts.closed else False
    return replace(generation, response=thoughts.response, finished=finished)


def _compare_all(
    judge: Judge, pending: dict[str, Comparison], log: VerdictLog, name: str | None, progress: bool
) -> dict[str, JudgeVerdict]:
    """New verdicts by key. The thread that makes a verdict logs it, so that an interrupt loses none."""

    def compare(key: str, shown: Comparison) -> JudgeVerdict:
        try:
            with in_part(f"the judge {type(judge).__name__}", type(judge)):
                given: object = judge.compare(shown.prompt, shown.first, shown.second)
        except Unavailable as error:
            if error.calls:
                reason = replace_surrogates(str(error))
                spent = JudgeVerdict("unscored", reason, calls=error.calls, usd=error.usd)
                log.add(key, name, shown.prompt.id, spent)
            raise
        if not isinstance(given, JudgeVerdict):
            raise ValueError(
                f"the judge {type(judge).__name__} gave {given!r}; its `compare` must return a JudgeVerdict"
            )
        verdict = replace(given, reason=replace_surrogates(given.reason), note=replace_surrogates(given.note))
        if verdict.outcome != "unscored" or verdict.calls:
            log.add(key, name, shown.prompt.id, verdict)
        return verdict

    unscored = 0
    title = f"judging ({name})" if name else "judging"
    # without `disable=False`, which would override TQDM_DISABLE
    bar = tqdm(total=len(pending), desc=title, leave=False) if progress else tqdm(disable=True)
    with ThreadPoolExecutor(judge.concurrency) as pool, bar:
        jobs = {key: pool.submit(compare, key, shown) for key, shown in pending.items()}
        try:
            for job in as_completed(jobs.values()):
                unscored += job.result().outcome == "unscored"
                spent = f"{log.usd[name]:.4f} USD, " if log.usd[name] else ""
                bar.set_postfix_str(f"{spent}{unscored} unscored", refresh=False)
                bar.update()
        except BaseException:
            judge.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return {key: job.result() for key, job in jobs.items()}
