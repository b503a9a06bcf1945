"""Judging that survives: every ruling is in an append-only log before the next is asked for.

A ruling is known by its judge, the prompt and both texts in the order they were shown. What is in the log is not
asked again; what could not be scored is never taken for an answer, and is owed again.
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
from typing import Any, BinaryIO

from tqdm import tqdm

from cme import Unavailable
from cme.judges import Judge, JudgeVerdict, replace_surrogates
from cme.records import BadFile, Generation, Pair, Prompt, Verdict, explain_write_errors
from cme.runtime.files import hold_lock

SYNC_SECONDS = 1.0
"""A killed process loses no line that was written; a machine that loses power loses at most these seconds."""


@dataclass(frozen=True)
class Comparison:
    """What a judge is shown, and whether the trained policy's response is the first."""

    prompt: Prompt
    first: Generation
    second: Generation
    policy_first: bool

    def key(self, judge: str) -> str:
        """Digest of a judge's identity and of all that it is shown, in the order of showing."""
        shown = [(g.response, g.finished) for g in (self.first, self.second)]
        gold = [] if self.prompt.answer is None else [self.prompt.answer]
        asked = [judge, self.prompt.text, self.prompt.reference, shown, *gold]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]


class BadLog(BadFile):
    """A log that cannot be read; the message names the file and the line."""


class VerdictLog:
    """Rulings as JSON lines in a file that only grows; read on making, written to in a `with` statement.

    That waits until no other process writes to the file, and reads what was written meanwhile.

    Each line has the ruling, its `key`, the `judge` (a panel member's name or null), the prompt's id and the
    `seconds` since the line before, so that they add up to the wall-clock time of judging over all restarts.
    `calls` and `usd` are what each judge took. A torn last line is cut off. Raises BadLog, naming file and
    line, for any other line that is no verdict.
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
                self._count(json.loads(line))
            except (LookupError, RecursionError, TypeError, ValueError) as error:
                raise BadLog(
                    f"{self.path}, line {number}, is no verdict ({error!r}); delete the line"
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

    def add(self, key: str, judge: str | None, prompt_id: str, ruling: JudgeVerdict) -> None:
        """Append a ruling. One that is unscored is there for the account of what it took, and stays owed."""
        with self._lock:
            now = time.monotonic()
            line = {"key": key, "judge": judge, "prompt_id": prompt_id, **asdict(ruling)}
            line["seconds"] = round(now - self._last, 6)
            with explain_write_errors(self.path):
                self._file.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")
                self._file.flush()
                if now - self._synced > SYNC_SECONDS:
                    os.fsync(self._file.fileno())
                    self._synced = now
            self._last = now
            self._count(line)

    def _count(self, line: dict[str, Any]) -> None:
        ruling = JudgeVerdict(**{field: line[field] for field in JudgeVerdict.__dataclass_fields__})
        self.seconds += line["seconds"]
        self.calls[line["judge"]] += ruling.calls
        self.usd[line["judge"]] += ruling.usd or 0.0
        if ruling.outcome != "unscored":
            scores = None if ruling.scores is None else (ruling.scores[0], ruling.scores[1])
            self.scored[line["key"]] = replace(ruling, scores=scores)


def pending_comparisons(
    pairs: Sequence[Pair], both_orders: bool, log: VerdictLog, identity: str, name: str | None
) -> dict[str, Comparison]:
    """The comparisons that the log has no scored ruling of, by key; those that show the same are one."""
    asked = _comparisons(pairs, both_orders)
    keyed = {comparison.key(f"{identity}/{name}"): comparison for comparison in asked}
    return {key: comparison for key, comparison in keyed.items() if key not in log.scored}


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
    """Judge each pair, policy first and then, with `both_orders`, start first.

    `identity` stands for all of the judge that changes its rulings, `name` for it in a panel. Only what the log
    does not have is asked, `judge.concurrency` rulings at a time. Whatever a judge raises ends the judging; what
    was in flight, and what an Unavailable took before it, is in the log by then. Raises ValueError for two pairs
    of one prompt id, whose verdicts could not be told apart.
    """
    asked_of = Counter(pair.prompt_id for pair in pairs)
    if repeated := [prompt_id for prompt_id, count in asked_of.items() if count > 1]:
        raise ValueError(
            f"prompt id {repeated[0]!r} is on {asked_of[repeated[0]]} pairs; each pair needs an id of its own"
        )
    if hasattr(judge, "resume"):
        judge.resume(log.calls[name], log.usd[name])
    made = _ask(judge, pending_comparisons(pairs, both_orders, log, identity, name), log, name, progress)
    verdicts = []
    for asked in _comparisons(pairs, both_orders):
        key = asked.key(f"{identity}/{name}")
        said = log.scored[key] if key in log.scored else made[key]
        shown = (asked.prompt.id, asked.policy_first)
        verdicts.append(Verdict(*shown, said.outcome, said.reason, said.scores, said.note, name))
    return verdicts


def _comparisons(pairs: Sequence[Pair], both_orders: bool) -> list[Comparison]:
    found = []
    for pair in pairs:
        prompt = Prompt(pair.prompt_id, pair.prompt, pair.answer, pair.reference)
        found.append(Comparison(prompt, pair.policy, pair.start, policy_first=True))
        if both_orders:
            found.append(Comparison(prompt, pair.start, pair.policy, policy_first=False))
    return found


def _ask(
    judge: Judge, asked: dict[str, Comparison], log: VerdictLog, name: str | None, progress: bool
) -> dict[str, JudgeVerdict]:
    """Rulings by key, each logged by the thread that made it, so that an interrupt loses none."""

    def ask(key: str, shown: Comparison) -> JudgeVerdict:
        try:
            ruling = judge.rule(shown.prompt, shown.first, shown.second)
        except Unavailable as error:
            if error.calls:
                spent = JudgeVerdict(
                    "unscored", replace_surrogates(str(error)), calls=error.calls, usd=error.usd
                )
                log.add(key, name, shown.prompt.id, spent)
            raise
        ruling = replace(
            ruling, reason=replace_surrogates(ruling.reason), note=replace_surrogates(ruling.note)
        )
        if ruling.outcome != "unscored" or ruling.calls:
            log.add(key, name, shown.prompt.id, ruling)
        return ruling

    unscored = 0
    title = f"judging ({name})" if name else "judging"
    with (
        ThreadPoolExecutor(getattr(judge, "concurrency", 1)) as pool,
        tqdm(total=len(asked), desc=title, disable=not progress, leave=False) as bar,
    ):
        jobs = {key: pool.submit(ask, key, shown) for key, shown in asked.items()}
        try:
            for job in as_completed(jobs.values()):
                unscored += job.result().outcome == "unscored"
                spent = f"{log.usd[name]:.4f} USD, " if log.usd[name] else ""
                bar.set_postfix_str(f"{spent}{unscored} unscored", refresh=False)
                bar.update()
        except BaseException:
            getattr(judge, "stop", lambda: None)()
            pool.shutdown(cancel_futures=True)
            raise
    return {key: job.result() for key, job in jobs.items()}
