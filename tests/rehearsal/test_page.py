"""docs/reproduce.md, followed on the stand-ins: its commands in reduced form, and the files that it promises."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from cme.records import read_record
from tests.rehearsal.checks import check_accuracy, check_history, check_verdicts, win_rate
from tests.rehearsal.parts import (
    CAPABILITIES,
    GRPO,
    MAIN_TABLE,
    PAGE,
    PANEL,
    PARTS,
    ROOT,
    SELECTION,
    Rehearsal,
    page_commands,
    run_command,
)
from tests.rehearsal.stand_ins.hub_cache import HubCache

ELSEWHERE = (
    *("git clone ", "make ", "export ", "tmux "),
    *(".venv/bin/hf auth login", ".venv/bin/python -m nltk.downloader "),
)
"""How the commands begin that download, log in or prepare the machine. They are not run here."""
ANALYSIS = ".venv/bin/python -m analysis results/runs"
SERVER = ".venv/bin/python -m tests.rehearsal /tmp/stand-ins"
ON_STAND_INS = (
    "docs/recipes/llama-instruct.sh judge.members.gpt_5_2.base_url=... judge.members.anthropic.base_url=... "
    "selection.judge.base_url=... trainer.max_steps=2 ..."
)
ANALYSED = (
    *("main table", "judge sanity", "recipe of mathematics", "separation", "one cell"),
    *("baselines", "mathematics", "verifier sweep"),
)
rehearsed = pytest.mark.rehearsal


def test_every_command_of_the_page_is_followed() -> None:
    followed = {part.typed for part in PARTS.values() if part.typed} | {ANALYSIS, SERVER, ON_STAND_INS}
    assert followed == {command for command in page_commands() if not command.startswith(ELSEWHERE)}


@rehearsed
def test_the_plans(rehearsal: Rehearsal) -> None:
    """They need no checkpoint."""
    one, all_cells = rehearsal.run("plan of a cell"), rehearsal.run("plan")
    assert re.search(r"^llama instruct cme gemma s42 +paper +5000 ", one, re.MULTILINE)
    for family, regime in MAIN_TABLE:
        assert f"{family} {regime}" in all_cells or f"{family}-{regime}" in all_cells, all_cells
    assert not rehearsal.results("plan").exists() and not rehearsal.results("plan of a cell").exists()


def contents(folder: Path) -> dict[Path, bytes]:
    """The records and trainings of a results directory."""
    files = [*folder.glob("*/record.json"), *folder.glob("trainings/*/training.json")]
    return {path: path.read_bytes() for path in files}


@rehearsed
def test_finished_cells_are_recognized(rehearsal: Rehearsal) -> None:
    """By the other command of the main table, by a cell's recipe, and by status and resume."""
    rehearsal.run("main table")
    results = rehearsal.results("main table")
    before = contents(results)
    assert len(before) == 2 * 9

    rehearsal.run_in(results, "main table by a launcher")
    asked = [word for word in ON_STAND_INS.split()[1:] if word.endswith("=...")]
    assert asked == [f"{field}=..." for field in PANEL]
    addresses = [f"{field}={rehearsal.server.url(maker)}" for field, maker in PANEL.items()]
    recipe = [ON_STAND_INS.split()[0], *addresses, *GRPO, *SELECTION, *CAPABILITIES, f"results_dir={results}"]
    done = run_command(recipe, rehearsal.cache)
    assert done.returncode == 0, done.stderr[-3000:]
    printed = rehearsal.run_in(results, "status")
    assert re.search(r"^main_table +paper +9 .* 9$", printed, re.MULTILINE)
    rehearsal.run_in(results, "resume")
    assert contents(results) == before


@rehearsed
def test_the_recipe_of_mathematics(rehearsal: Rehearsal) -> None:
    """One training, evaluated on three sets."""
    records = {r.config["data"]["name"]: r for r in rehearsal.records("recipe of mathematics")}
    assert records.keys() == {"math", "math_amc23", "math_aime24"}
    assert len(list(rehearsal.results("recipe of mathematics").glob("trainings/*/training.json"))) == 1
    for record in records.values():
        assert record.reward == "cme_answer"
        check_history(record)
        check_accuracy(record)
    for name in ("math_amc23", "math_aime24"):
        for pair in records[name].pairs:
            assert pair.answer is not None and pair.answer.isdigit()  # AMC's 27.0 is 27


@rehearsed
def test_one_cell_and_its_control(rehearsal: Rehearsal) -> None:
    rehearsal.run("one cell")
    results = rehearsal.results("one cell")
    rehearsal.run_in(results, "one cell, random weights")
    records = {r.verifier: r for r in map(read_record, sorted(results.glob("*/record.json")))}
    assert records.keys() == {"gemma", "random"}
    assert records["gemma"].history["reward"] != records["random"].history["reward"]
    for record in records.values():
        check_history(record)
        check_verdicts(record.pairs, record.verdicts)
        compared = {c.name: c.checkpoint for c in record.comparisons or []}
        assert compared.items() >= {
            ("instruct", "Qwen/Qwen2.5-0.5B-Instruct"),
            ("reference", "google/gemma-3-1b-it"),
        }


@rehearsed
def test_analysis(rehearsal: Rehearsal, tmp_path: Path) -> None:
    """It writes the files that the page names, and its win rates are those of the records' verdicts."""
    for part in ANALYSED:
        rehearsal.run(part)
    folders = [str(rehearsal.results(part)) for part in ANALYSED]
    done = run_command([sys.executable, "-m", "analysis", *folders, "--out", str(tmp_path)], rehearsal.cache)
    assert done.returncode == 0, done.stderr[-3000:]
    named = re.findall(r"`((?:tables|figures)/[^`]+|report\.html|reproduction\.md)`", PAGE.read_text())
    assert len(named) > 12
    assert [name for name in dict.fromkeys(named) if not (tmp_path / name).exists()] == []
    published = re.findall(r"`(\w+\.csv)`", PAGE.read_text())
    assert published and all((ROOT / "results" / "published" / name).exists() for name in published)
    rows = pd.read_csv(tmp_path / "tables" / "paper-main-table.csv")
    rows = rows[rows["judge"].isin(["panel: gpt_5_2", "panel: anthropic"])]
    records = {(r.family, r.regime): r for r in rehearsal.records("main table")}
    assert rows["judge"].nunique() == 2
    for row in rows.to_dict("records"):
        verdicts = records[row["family"], row["regime"]].verdicts
        of_judge = [v for v in verdicts if f"panel: {v.judge}" == row["judge"]]
        assert row["win_rate"] == pytest.approx(win_rate(of_judge))


@rehearsed
def test_the_server_prints_what_to_set(hub: HubCache) -> None:
    words = [sys.executable, *SERVER.split()[1:-1], str(hub.home)]
    lines: list[str] = []
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        while not lines or "judge=anthropic" not in lines[-1]:
            lines.append(server.stdout.readline().strip())
        server.terminate()
    exported = dict(line.removeprefix("export ").split("=", 1) for line in lines if "export" in line)
    assert exported.items() <= hub.environment().items()
    assert exported.keys() >= {"HF_HUB_CACHE", "HF_HUB_OFFLINE", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"}
    assert [re.sub(":[0-9]+/", ":PORT/", line) for line in lines if line.startswith("#")] == [
        "# judge=gpt_5_2 judge.base_url=http://127.0.0.1:PORT/openai/v1",
        "# judge=anthropic judge.base_url=http://127.0.0.1:PORT/anthropic/v1",
    ]
