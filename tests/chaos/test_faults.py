"""Faults around a run: each gives one clear sentence and loses no complete file, and the same command finishes the run.

The runs have random-weight models and are started by the user's command.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from . import trials
from .trials import Attempt, Twin, differences, folder, training_folder

pytestmark = pytest.mark.slow

WORDS = (
    *("trainer.max_steps=6", "trainer.per_device_train_batch_size=8", "trainer.num_generations=4"),
    *("trainer.max_completion_length=6", "evaluation.max_new_tokens=6", "evaluation.batch_size=4"),
    *("data.train_prompts=24", "data.eval_prompts=12", "checkpoint.every=2"),
)
AFTER_TRAINING = {"on": "rename", "path": "*/training.json", "call": 1, "when": "before", "fault": "kill"}
attempt = partial(trials.attempt, fresh=False)


@pytest.fixture(scope="module")
def twin(miniature_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    """An undisturbed run of random-weight models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CME_MINIATURE", str(miniature_weights))
        made = Twin("tiny", WORDS, tmp_path_factory.mktemp("twin") / "results")
        done = attempt(made, made.results)
        assert done.code == 0, done.stderr
        yield replace(made, attempt=done)


@pytest.fixture(scope="module")
def trained(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a run that is killed after its training, before the result is written."""
    results = tmp_path_factory.mktemp("trained") / "results"
    assert attempt(twin, results, fault=AFTER_TRAINING).code == -9
    return results


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The test's folder of results."""
    return tmp_path / "results"


@pytest.fixture
def disk(results: Path) -> Iterator[Callable[[str], None]]:
    """Mounts a small file system for the results with the given options, or mounts it again with others."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
    results.mkdir()
    mounted = False

    def mount(options: str) -> None:
        nonlocal mounted
        again = ["-o", f"remount,{options}"] if mounted else ["-o", options]
        done = subprocess.run(
            ["mount", "-t", "tmpfs", *again, "tmpfs", str(results)], capture_output=True, text=True
        )
        if done.returncode and not mounted:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        mounted = True

    yield mount
    if mounted:
        subprocess.run(["umount", "--lazy", str(results)], check=True)


def copy_results(source: Path, results: Path, *without: str) -> None:
    """Copy a run's results without the files that match the patterns."""
    shutil.copytree(source, results, dirs_exist_ok=True)
    for pattern in without:
        for path in results.glob(pattern):
            path.unlink()


def check_error(done: Attempt, *words: str) -> None:
    """Check that the run failed with one line of error which has all the words."""
    assert done.code in (1, 2), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert all(word in line for word in words), line


def check_continued(twin: Twin, results: Path) -> Attempt:
    """Run the command again and check that it ends as the twin did."""
    done = attempt(twin, results)
    assert done.code == 0, done.stderr
    assert differences(results, twin.results) == []
    return done


def test_a_disk_that_fills_while_training(twin: Twin, results: Path) -> None:
    path = "*/resume/checkpoint-4/model.safetensors"
    fault = {"on": "write", "path": path, "call": 1, "when": "half", "fault": "ENOSPC"}
    check_error(attempt(twin, results, fault=fault), "results", "resume", "free some space")
    assert list(results.glob("trainings/*/resume/checkpoint-2/whole.json"))
    check_continued(twin, results)


def test_a_disk_without_space_for_one_checkpoint(
    twin: Twin, results: Path, disk: Callable[[str], None]
) -> None:
    disk("size=100k")
    check_error(attempt(twin, results), "free some space")
    disk("size=100m")
    check_continued(twin, results)


@pytest.mark.parametrize("when", ["before", "half"])
def test_a_disk_that_fills_while_judging(twin: Twin, results: Path, when: str) -> None:
    copy_results(twin.results, results, "*/record.json", "*/verdicts.jsonl")
    fault = {"on": "write", "path": "*/verdicts.jsonl", "call": 5, "when": when, "fault": "ENOSPC"}
    check_error(attempt(twin, results, fault=fault), "verdicts.jsonl", "No space left on device")
    before = (folder(results) / "verdicts.jsonl").read_text()
    check_continued(twin, results)
    whole = before[: before.rfind("\n") + 1]
    assert len(whole.splitlines()) == 4
    assert (folder(results) / "verdicts.jsonl").read_text().startswith(whole)


def test_a_disk_that_fills_while_the_record_is_written(twin: Twin, results: Path) -> None:
    copy_results(twin.results, results, "*/record.json")
    fault = {"on": "sync", "path": "*/.record.json.*", "call": 1, "when": "half", "fault": "ENOSPC"}
    check_error(attempt(twin, results, fault=fault), "record.json", "No space left on device")
    assert not list(results.glob("*/*.partial")) + list(results.glob("*/.*.partial"))
    check_continued(twin, results)


def test_results_that_are_read_only(twin: Twin, results: Path, disk: Callable[[str], None]) -> None:
    disk("size=100m")
    disk("ro")
    check_error(attempt(twin, results), "Read-only file system", "results_dir")
    disk("rw")
    copy_results(twin.results, results, "*/record.json")
    disk("ro")
    check_error(attempt(twin, results), "Read-only file system", "results_dir")
    disk("rw")
    check_continued(twin, results)


def flip(path: Path) -> None:
    """Change one byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def halve(path: Path) -> None:
    """Cut a file to half."""
    os.truncate(path, path.stat().st_size // 2)


DAMAGE = [
    pytest.param(flip, id="flipped"),
    pytest.param(halve, id="truncated"),
    pytest.param(Path.unlink, id="deleted"),
]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("all_of_them", [False, True])
def test_a_damaged_checkpoint(
    twin: Twin, trained: Path, results: Path, damage: Callable[[Path], None], all_of_them: bool
) -> None:
    copy_results(trained, results)
    saved = sorted(training_folder(results).glob("resume/checkpoint-*/model.safetensors"))
    assert len(saved) == 2
    for weights in saved if all_of_them else saved[-1:]:
        damage(weights)
    done = check_continued(twin, results)
    lines = [line for line in done.stderr.splitlines() if "is damaged" in line]
    assert len(lines) == (2 if all_of_them else 1), done.stderr
    assert saved[-1].parent.name in lines[0]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_policy(twin: Twin, results: Path, damage: Callable[[Path], None]) -> None:
    """The policy is trained again; the damaged one is not used."""
    copy_results(twin.results, results, "*/record.json", "*/verdicts.jsonl", "trainings/*/generations-*.json")
    damage(training_folder(results) / "checkpoint" / "model.safetensors")
    assert "checkpoint is damaged (model.safetensors" in check_continued(twin, results).stderr


def test_a_log_of_verdicts_with_a_torn_last_line(twin: Twin, results: Path) -> None:
    copy_results(twin.results, results, "*/record.json")
    log = folder(results) / "verdicts.jsonl"
    os.truncate(log, log.stat().st_size - 40)
    check_continued(twin, results)


def test_a_log_of_verdicts_with_a_bad_line(twin: Twin, results: Path) -> None:
    copy_results(twin.results, results, "*/record.json")
    log = folder(results) / "verdicts.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join([*lines[:2], lines[2][:30] + "\n", *lines[3:]]))
    check_error(attempt(twin, results), "verdicts.jsonl, line 3", "delete the line")
    log.write_text("".join([*lines[:2], *lines[3:]]))
    done = attempt(twin, results)
    assert done.code == 0, done.stderr
    # the verdict that was asked for again stands last; the record has them in the order of the prompts
    assert differences(results, twin.results) == [f"{log.relative_to(results)} differs from the twin's"]
    assert sorted(json.loads(line)["key"] for line in log.read_text().splitlines()) == sorted(
        json.loads(line)["key"] for line in lines
    )


@pytest.mark.parametrize("name", ["training.json", "generations-*.json", "record.json"])
def test_a_file_that_is_cut(twin: Twin, results: Path, name: str) -> None:
    copy_results(twin.results, results, *([] if name == "record.json" else ["*/record.json"]))
    [file] = (folder(results) if name == "record.json" else training_folder(results)).glob(name)
    file.write_text(file.read_text()[:100])
    check_error(attempt(twin, results), file.name)
    file.unlink()
    check_continued(twin, results)


def test_a_clock_that_jumps(twin: Twin, results: Path) -> None:
    done = trials.attempt(twin, results, fault={"clock": [0, 7200, -7200, 86400, -86400]})
    assert done.code == 0, done.stderr
    assert differences(results, twin.results) == []
    took = json.loads((folder(results) / "record.json").read_text())["seconds"]
    assert all(0 <= seconds <= done.seconds for seconds in took.values()), took
