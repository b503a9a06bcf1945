"""A small run, started by its command, killed at a chosen moment, started again, and compared with its twin."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tests.support import forked

ROOT = Path(__file__).resolve().parents[2]
SABOTEUR = Path(__file__).resolve().parent / "saboteur"
ALIKE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}  # for all processes
LIMIT = 600  # seconds after which a run counts as hanging
# Every process writes these anew: its progress, and figures to look at.
FLEETING = ("state.json", "progress.json", "report.html")
FLEETING_FOLDERS = ("tensorboard", "tables", "figures")


@dataclass(frozen=True)
class Moment:
    """When a run is killed: at a share of its twin's time, or in one file operation.

    `since` is what the share is of: "start" (the whole process, imports too) or "lock" (from when the run holds its
    lock to the end). `fault` is what `saboteur/sitecustomize.py` reads.
    """

    name: str
    share: float = 0.0
    since: str = "lock"
    fault: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Attempt:
    """One process: its exit code (-9: killed), seconds, when it took the run's lock, and its stderr."""

    code: int
    seconds: float
    locked: float
    stderr: str

    @property
    def last(self) -> str:
        """The last line of stderr."""
        return self.stderr.rpartition("\n")[2]


@dataclass(frozen=True)
class Twin:
    """An undisturbed run: the words of its command line, and its process once it has run in `results`."""

    name: str
    words: tuple[str, ...]
    results: Path
    attempt: Attempt | None = None

    @property
    def verdicts(self) -> int:
        """Lines in its log of verdicts."""
        return len((folder(self.results) / "verdicts.jsonl").read_text().splitlines())


@dataclass
class Trial:
    """A run that was killed: the stages it was killed in, its processes, and how it differs from its twin."""

    twin: str
    moments: list[str]
    killed_in: list[str] = field(default_factory=list)
    restarts: int = 0
    seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def folder(results: Path) -> Path:
    """The one run's folder in a folder of results."""
    [found] = results.glob("*/.lock")
    return found.parent


def training_folder(results: Path) -> Path:
    """The folder of the one training in a folder of results."""
    [found] = results.glob("trainings/*")
    return found


def attempt(
    twin: Twin,
    results: Path,
    moment: Moment | None = None,
    fault: Mapping[str, Any] | None = None,
    fresh: bool = True,
) -> Attempt:
    """Run the command in `results` to its end; a moment of time kills it then.

    With `fresh`, the process is started anew, else forked from one that has already done the imports.
    """
    fault = moment.fault if moment else fault
    variables = ALIKE | ({"CHAOS": json.dumps(fault)} if fault else {})
    words = [*twin.words, "results_dir=results"]
    home = results.parent
    home.mkdir(parents=True, exist_ok=True)
    with (home / "stderr").open("ab") as log:
        before, began = log.tell(), time.monotonic()
        if fresh:
            environment = os.environ | variables | ({"PYTHONPATH": str(SABOTEUR)} if fault else {})
            command = [sys.executable, str(ROOT / "run.py"), *words]
            started = subprocess.Popen(
                command, cwd=home, env=environment, stdout=subprocess.DEVNULL, stderr=log
            )
            code, locked = _wait(started.poll, started.kill, results, twin, moment)
        else:
            first = SABOTEUR / "sitecustomize.py" if fault else None
            process = forked.start(words, home, variables, Path(os.devnull), home / "stderr", first)
            code, locked = _wait(lambda: process.exitcode, process.kill, results, twin, moment)
        seconds = time.monotonic() - began
    text = (home / "stderr").read_bytes()[before:].decode(errors="replace").replace("\r", "\n").strip()
    return Attempt(code, seconds, locked, text)


def _wait(
    poll: Callable[[], int | None],
    kill: Callable[[], None],
    results: Path,
    twin: Twin,
    moment: Moment | None,
) -> tuple[int, float]:
    """Wait for the end of a process, or kill it; returns its exit code, and after what time it held the run's lock."""
    began = time.monotonic()
    locked, deadline = float("inf"), float(LIMIT)
    timed = moment if moment and moment.fault is None else None
    if timed and timed.since == "start":
        assert twin.attempt
        deadline = timed.share * twin.attempt.seconds
    while (code := poll()) is None:
        now = time.monotonic() - began
        if locked == float("inf") and _at_work(results):
            locked = now
            if timed and timed.since == "lock":
                assert twin.attempt
                deadline = now + timed.share * (twin.attempt.seconds - twin.attempt.locked)
        if now >= deadline:
            kill()
        time.sleep(0.02)
    return code, locked


def _at_work(results: Path) -> bool:
    """Whether some process holds the run's lock."""
    held = Path("/proc/locks").read_text()
    return any(f":{lock.stat().st_ino} " in held for lock in results.glob("*/.lock"))


def stage(results: Path) -> str:
    """How far a run had come, by the files it has left."""
    if not any(results.glob("*/.lock")):
        return "before its work"
    run = folder(results)
    if (run / "record.json").exists():
        return "recorded"
    if (run / "verdicts.jsonl").exists():
        return "judging"
    return "generation" if any(results.glob("trainings/*/training.json")) else "training"


def survive(twin: Twin, moments: list[Moment], results: Path, restarts: int = 5) -> Trial:
    """Kill the run at each moment in turn, then start it until it is done; compare it with the twin.

    A run that was faster than its twin, and done before it was killed, is killed earlier in a second try.
    """
    fresh = any(moment.since == "start" for moment in moments)
    trial = Trial(twin.name, [moment.name for moment in moments])
    for moment in moments:
        ended = attempt(twin, results, moment, fresh=fresh)
        trial.seconds.append(round(ended.seconds, 1))
        trial.killed_in.append(stage(results))
        if ended.code == 0 and moment.fault is None:
            sooner = [replace(moment, share=moment.share * 0.7) for moment in moments]
            return survive(twin, sooner, results.parent / "sooner" / results.name, restarts)
        if ended.code != -signal.SIGKILL:
            trial.problems.append(f"not killed ({moment.name}), exit code {ended.code}: {ended.last}")
            return trial
    for _ in range(restarts):
        trial.restarts += 1
        saved = _saved(results)
        ended = attempt(twin, results, fresh=fresh)
        if saved and f"training continues from step {saved}\n" not in f"{ended.stderr}\n":
            trial.problems.append(f"it had a whole checkpoint of step {saved}, and did not continue from it")
        trial.seconds.append(round(ended.seconds, 1))
        if ended.code == 0:
            break
        trial.problems.append(f"exit code {ended.code}: {ended.last}")
    trial.problems += differences(results, twin.results)
    return trial


def _saved(results: Path) -> int:
    """The step of the newest whole checkpoint of a training that has not ended; 0 where there is none."""
    ended = any(results.glob("trainings/*/training.json"))
    steps = [
        int(m.parent.name.split("-")[1]) for m in results.glob("trainings/*/resume/checkpoint-*/whole.json")
    ]
    return 0 if ended else max(steps, default=0)


def differences(results: Path, twin: Path) -> list[str]:
    """How a finished run's files differ from its twin's: contents but for seconds, doubled verdicts, locks held."""
    ours, theirs = _files(results), _files(twin)
    problems = [f"{name} is missing" for name in sorted(theirs.keys() - ours.keys())]
    problems += [f"{name} is one file more than the twin has" for name in sorted(ours.keys() - theirs.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        try:
            if _content(ours[name]) != _content(theirs[name]):
                problems.append(f"{name} differs from the twin's")
        except ValueError as error:
            problems.append(f"{name} is not whole: {error}")
    for log in results.rglob("verdicts.jsonl"):
        keys = Counter(json.loads(line)["key"] for line in log.read_text().splitlines())
        problems += [f"{log.name} has {n} lines of {key}" for key, n in keys.items() if n > 1]
    for lock in results.rglob("*.lock"):
        try:
            FileLock(lock).acquire(timeout=0).lock.release()
        except Timeout:
            problems.append(f"{lock} is held by nobody alive, and blocks")
    return problems


def _files(results: Path) -> dict[str, Path]:
    """The files of a folder of results that must equal the twin's, by relative path."""
    return {
        str(path.relative_to(results)): path
        for path in results.rglob("*")
        if path.is_file()
        and path.suffix != ".lock"
        and path.name not in FLEETING
        and not _partial(path)
        and not set(FLEETING_FOLDERS) & set(path.relative_to(results).parts)
    }


def _partial(path: Path) -> bool:
    """Whether a name says that the file may be part of one."""
    return path.is_file() and any(word in path.name for word in (".partial", ".tmp"))


def _content(path: Path) -> Any:
    """The content of a file that must equal the twin's. Raises ValueError for a file that does not parse."""
    if path.suffix == ".json":
        return _untimed(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [_untimed(json.loads(line)) for line in path.read_text().splitlines()]
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _untimed(value: Any) -> Any:
    """A JSON value without any `seconds` in it."""
    if isinstance(value, dict):
        return {key: _untimed(inner) for key, inner in value.items() if key != "seconds"}
    return [_untimed(inner) for inner in value] if isinstance(value, list) else value
