"""What the runner of public tests reads and writes, without the tests."""

from pathlib import Path

from tests.public.__main__ import SUITES, Outcome, read_outcomes

REPORT = """<testsuites><testsuite>
<testcase classname="tests.test_rewards" name="test_a[x-y]"/>
<testcase classname="tests.test_grpo_trainer.TestGRPOTrainer" name="test_b"><failure message="no
 good"/></testcase>
<testcase classname="tests.test_grpo_trainer" name="test_c"><skipped message="Skipped: needs the hub: a/b"/></testcase>
</testsuite></testsuites>"""


def test_outcomes_have_the_names_that_pytest_takes(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    assert read_outcomes(SUITES[0], tmp_path / "report.xml") == {
        "tests/test_rewards.py::test_a[x-y]": Outcome("passed", ""),
        "tests/test_grpo_trainer.py::TestGRPOTrainer::test_b": Outcome("failed", "no good"),
        "tests/test_grpo_trainer.py::test_c": Outcome("skipped", "needs the hub: a/b"),
    }
