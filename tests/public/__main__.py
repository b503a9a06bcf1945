"""Run the public tests of TRL, lm-eval and alpaca-eval with our parts in place of theirs.

python -m tests.public CHECKOUTS

CHECKOUTS is a folder with checkouts `trl`, `lm-evaluation-harness` and `alpaca_eval`. A test that fails runs again
without our parts. The command ends with status 1 if one then passes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from . import stand_ins

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULT = HERE / "result.md"


@dataclass(frozen=True)
class Suite:
    """The tests of one package.

    Attributes:
        package: Its name on PyPI.
        checkout: The folder of its repository.
        files: Those of its tests that apply here.
        parts: What `with_our_parts` puts in place.
        note: What that is, in words.
    """

    package: str
    checkout: str
    files: tuple[str, ...]
    parts: str
    note: str


@dataclass(frozen=True)
class Outcome:
    """How a test ended: `passed`, `failed` or `skipped`, and why."""

    name: str
    reason: str


SUITES = (
    Suite(
        "trl",
        "trl",
        ("tests/test_grpo_trainer.py", "tests/test_rewards.py"),
        "trl",
        "with our trainer (`PromptTrainer`) in place of `GRPOTrainer`, on local stand-ins of the tiny models",
    ),
    Suite(
        "lm_eval",
        "lm-evaluation-harness",
        (
            "tests/test_metrics.py",
            "tests/test_aggregation_pipeline.py",
            "tests/test_evaluator_utils.py",
            "tests/test_filters.py",
            "tests/test_utils.py",
        ),
        "none",
        "as they are, since our adapter calls the metrics unchanged. `tests/test_evaluator.py` and `tests/models` are "
        "not run: they need models and data from the hub",
    ),
    Suite(
        "alpaca_eval",
        "alpaca_eval",
        ("tests/test_analyze.py", "tests/test_main.py", "tests/test_pairwise_evaluator.py"),
        "alpaca_eval",
        "with the changes that our annotator makes to the package. `tests/test_decoders_unit.py` is not run: it needs "
        "the clients of other services",
    ),
)


def main(words: Sequence[str]) -> int:
    """Run the suites and write the result; returns 1 if a test fails because of our parts."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.public",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkouts", type=Path)
    checkouts = parser.parse_args(words).checkouts.resolve()
    sections, broken = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stand_ins.build(folder, checkouts / "trl")
        for suite in SUITES:
            root = checkouts / suite.checkout
            outcomes = run(suite, root, folder, suite.parts, suite.files)
            failed = find_failures(suite, root, folder, outcomes)
            sections.append(describe(suite, root, outcomes, failed))
            broken += [test for test, by_us in failed.items() if by_us]
    RESULT.write_text("# Public tests with our parts in place\n\n" + "\n".join(sections))
    print("\n".join(f"fails because of our parts: {test}" for test in broken) or f"result: {RESULT}")
    return 1 if broken else 0


def run(suite: Suite, root: Path, folder: Path, parts: str, tests: Sequence[str]) -> dict[str, Outcome]:
    """The outcomes of tests of a suite by name, run in the folder of the stand-ins. `root` is its checkout."""
    report = folder / "report.xml"
    plugins = ["-p", "with_our_parts", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *plugins]
    paths = ["--rootdir", str(root), "--junitxml", str(report), *(f"{root}/{test}" for test in tests)]
    path = os.pathsep.join([str(ROOT), str(HERE)])
    environment = {"PYTHONPATH": path, "CME_PARTS": parts, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *paths], cwd=folder, env=os.environ | environment, check=False)
    return read_outcomes(suite, report)


def read_outcomes(suite: Suite, report: Path) -> dict[str, Outcome]:
    """The outcomes in a JUnit report, by the names that pytest takes."""
    outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        place, test = case.attrib["classname"], case.attrib["name"]
        for file in suite.files:
            module = file.removesuffix(".py").replace("/", ".")
            if f"{place}.".startswith(f"{module}."):
                test = "::".join([file, *place.removeprefix(module).split(".")[1:], test])
        ends = {child.tag: child.get("message", "") for child in case}
        name = (
            "skipped" if "skipped" in ends else "failed" if {"failure", "error"} & ends.keys() else "passed"
        )
        reason = " ".join(ends.get("skipped", ends.get("failure", ends.get("error", ""))).split())
        outcomes[test] = Outcome(name, reason.removeprefix("Skipped: ")[:160])
    return outcomes


def find_failures(suite: Suite, root: Path, folder: Path, outcomes: Mapping[str, Outcome]) -> dict[str, bool]:
    """Whether our parts break each failed test, by its name: it passes without them."""
    failed = [test for test, outcome in outcomes.items() if outcome.name == "failed"]
    if not failed or suite.parts == "none":
        return dict.fromkeys(failed, False)
    without = run(suite, root, folder, "none", failed)
    return {test: without[test].name == "passed" for test in failed}


def describe(suite: Suite, root: Path, outcomes: Mapping[str, Outcome], failed: Mapping[str, bool]) -> str:
    """The section of a suite: counts, the tests that fail, and those skipped by reason."""
    git = ["git", "-C", str(root), "log", "-1", "--format=%h of %cs"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    counts = Counter(outcome.name for outcome in outcomes.values())
    lines = [
        f"## {suite.package}",
        "",
        f"Tests of commit {commit}, run on {suite.package} {version(suite.package)} {suite.note}.",
        "",
        f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped.",
    ]
    for by_us, title in ((True, "Failed because of our parts:"), (False, "Failed, as without our parts:")):
        tests = [test for test in failed if failed[test] is by_us]
        lines += ["", title, "", *(f"- `{test}`: {outcomes[test].reason}" for test in tests)] if tests else []
    by_reason: dict[str, list[str]] = {}
    for test, outcome in outcomes.items():
        if outcome.name == "skipped":
            by_reason.setdefault(outcome.reason, []).append(f"`{test.partition('::')[2]}`")
    if by_reason:
        lines += ["", "Skipped:", ""]
        lines += [f"- {reason}: {', '.join(tests)}" for reason, tests in sorted(by_reason.items())]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
