"""The report and the command: escaped, self-contained, the same bytes twice, one sentence on failure."""

import re
import subprocess
import sys
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.records.read import Records
from analysis.report.build import block_notes, write
from analysis.tables.cells import build_cells
from cme.records import ExperimentRecord, write_record

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def records(make_record):
    return [
        make_record(seed=0, response=HOSTILE, warnings=[HOSTILE], stopped=HOSTILE),
        make_record(seed=1),
        make_record(reward="random", gain=0.0),
        make_record(scale="laptop", judge="reference_similarity", unmeasured=["quality"]),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("records")
    for record in records:
        write_record(folder / record.run_id / "record.json", record)
    return folder


@pytest.fixture(scope="module")
def report(folder, tmp_path_factory):
    """The report by the command, beside its other outputs. Do not write there."""
    out = tmp_path_factory.mktemp("out")
    assert main([str(folder), "--out", str(out)]) == 0
    return out / "report.html"


def test_the_report_needs_no_other_file_and_escapes_what_models_wrote(report):
    html, figures = report.read_text(), report.parent / "figures"
    assert "<script>alert" not in html and "<img src=x" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert re.findall(r'(?:src|href)="(?!data:image/png;base64,|#)', html) == []
    assert html.count("data:image/png;base64,") == len(list(figures.glob("*.png")))
    assert {p.stem for p in figures.glob("*.png")} == {p.stem for p in figures.glob("*.svg")} != set()


def test_scales_have_separate_sections_and_files(report):
    html = report.read_text()
    miniature, laptop = re.split(r"<h2>\d+\. Scale: laptop</h2>", html)
    assert "scale: laptop" not in miniature.split('<section id="scale-1">')[1]
    assert "scale: miniature" not in laptop.split('<section id="confounds">')[0]
    names = {path.name for path in (report.parent / "tables").iterdir()}
    stems = [f"{scale}{part}" for scale in ("miniature", "laptop") for part in ("", "-confounds")]
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("md", "csv")} | {"latex"}
    latex = {path.parent.name for path in (report.parent / "tables" / "latex").glob("*/*.tex")}
    assert latex == set(stems)
    assert "laptop" not in (report.parent / "tables" / "miniature.md").read_text()


@pytest.mark.slow
def test_same_records_same_bytes_in_another_process_that_imports_nothing_heavy(folder, report, tmp_path):
    here, there = report.parent, tmp_path / "there"
    command = [sys.executable, "-X", "importtime", "-m", "analysis", str(folder), "--out", str(there)]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    assert "win rate" in done.stdout.lower() and str(there / "report.html") in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "matplotlib" in imported and not {"torch", "transformers", "hydra", "trl"} & imported
    first, second = (
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in (here, there)
    )
    assert first == second and {Path("report.html"), Path("reproduction.md")} < set(first)


def test_the_page_begins_with_the_result_and_lists_its_sections(report):
    html = report.read_text()
    result = html.split('<section id="result">')[1].split("</section>")[0]
    definition, sentence = result.index("Cross-Model Entropy (CME)"), result.index('class="headline"')
    assert definition < sentence < result.index("data:image/png") < result.index("4 runs.")
    assert (report.parent / "figures" / "result-miniature-oracle.png").exists()
    [listed] = re.findall(r"<nav.*?</nav>", html, re.DOTALL)
    entries = re.findall(r'<li><a href="#((?!table-).*?)">(.*?)</a>', listed)
    sections = re.findall(r'<section id="(.*?)">\s*<h2>(\d+)\. (.*?)</h2>', html)
    assert [(anchor, title) for anchor, _, title in sections] == entries
    assert [int(number) for _, number, _ in sections] == list(range(1, len(entries) + 1))
    anchors = re.findall(r'href="#(table-.*?)"', listed)
    assert anchors and all(f'<h3 id="{anchor}">' in html for anchor in anchors)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("with_ours", [False, True])
def test_an_experiment_of_the_user_has_a_result_and_a_section(make_record, tmp_path, with_ours):
    own = [make_record(reward=reward, seed=seed) for reward in ("cme", "random") for seed in (0, 1)]
    plans = [ExperimentRecord("my_sweep", "miniature", [run.run_id for run in own])]
    ours = [make_record(family="olmo")] if with_ours else []
    if with_ours:
        plans.append(ExperimentRecord("main_table", "miniature", [run.run_id for run in ours]))
    records = Records([*own, *ours], [], [], plans)
    html = write(records, build_cells(records.overview), tmp_path).read_text()
    section = html.split('<section id="experiment-my-sweep">')[1].split("</section>")[0]
    assert "Experiment: my sweep</h2>" in section and section.count("<table>") == 4
    assert section.count("data:image/png") == 2
    runs = "5 runs, of which 1 are in the tables by scale" if with_ours else "4 runs."
    assert runs in html and "0 runs" not in html


@pytest.mark.usefixtures("undrawn")
def test_outputs_beside_the_records_are_not_read_as_records_and_one_without_verdicts_is_named(
    make_record, tmp_path
):
    write_record(tmp_path / "one.record.json", make_record(verdicts=[], steps=0))
    for _ in range(2):
        assert main([str(tmp_path)]) == 0
    html = (tmp_path / "analysis" / "report.html").read_text()
    assert "Without verdicts, so in no table: miniature-qwen-pretrained-cme-gemma-oracle-s0" in html


@pytest.mark.parametrize("place", ["nowhere", ".", "loop", "records/record.json"])
def test_missing_records_or_a_link_to_itself_give_one_sentence_and_code_2(tmp_path, capsys, place):
    path = tmp_path / place
    if place in ("loop", "records/record.json"):
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(path)
    assert main([str(path.parent if path.suffix else path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and str(path) in printed.err


def test_the_policy_names_the_digests_of_the_style_and_the_script(report):
    html = report.read_text()
    allowed = re.search(r'Content-Security-Policy"\s+content="([^"]+)"', html)[1].replace("&#39;", "'")
    for tag in ("style", "script"):
        (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = subprocess.run(
            ["openssl", "dgst", "-sha256", "-binary"], input=inline.encode(), capture_output=True, check=True
        ).stdout
        assert f"{tag}-src 'sha256-{b64encode(digest).decode()}'" in allowed
    assert "default-src 'none'" in allowed and "unsafe" not in allowed


def test_the_script_never_parses_text_as_html():
    pages = Path(__file__).parents[3] / "analysis" / "report" / "page"
    script = "".join(path.read_text() for path in pages.glob("*.js"))
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(|on\w+=", script
    )
    assert "</" not in script


def test_only_the_list_of_pairs_needs_a_script(report):
    without = re.sub(r"<script.*?</script>", "", report.read_text(), flags=re.DOTALL)
    assert re.search(r"<noscript><p>This list of 96 pairs needs JavaScript", without)
    assert '<div id="browser" hidden>' in without
    assert without.index("Win rate against the untrained model") < without.index("<noscript>")


def test_the_notes_name_the_runs_whose_quality_fell(make_record) -> None:
    steps = [float(step) for step in range(1, 21)]
    fallen = [
        replace(make_record(seed=seed), history={"step": steps, "quality": [0.9] * 10 + [0.1] * 10})
        for seed in range(7)
    ]
    risen = replace(make_record(reward="random"), history={"step": steps, "quality": [0.1] * 10 + [0.9] * 10})
    [fell] = [note for note in block_notes([*fallen, risen]) if fallen[0].run_id in note and "fell" in note]
    assert fell.count("(0.90 at steps 1 to 2, 0.10 in the end)") == 5 and fell.endswith("; 2 more.")
    assert risen.run_id not in fell
    notes = " ".join(block_notes([risen]))
    assert "fell" not in notes and "selection.every=10" in notes  # how to see where it would begin
