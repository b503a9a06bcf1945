"""The cut start and the ceiling beside win rates, against counts by hand."""

from typing import Any

import pytest

from analysis.tables.cells import build_cells, cells_frame
from analysis.tables.evidence import win_rate_tables
from analysis.tables.render import to_markdown
from cme.records import CUT_START, Comparison, Generation, RunRecord, Verdict, points


def verdicts(won: int, lost: int, tied: int, scores: tuple[float, float] | None = None) -> list[Verdict]:
    """Verdicts in both orders; `scores` are those of the first side and of the second one."""
    made = []
    for i, value in enumerate([1.0] * won + [0.0] * lost + [0.5] * tied):
        for first in (True, False):
            outcome = "tie" if value == 0.5 else "first" if (value == 1) == first else "second"
            shown = scores if scores is None or first else (scores[1], scores[0])
            made.append(Verdict(f"p{i}", first, outcome, scores=shown))  # type: ignore[arg-type]
    return made


def with_cut_start(run: RunRecord, policy: list[Verdict], start: list[Verdict]) -> RunRecord:
    responses = [Generation("no", True, None)] * len(run.pairs)
    object.__setattr__(
        run, "comparisons", [Comparison(CUT_START, run.generator_checkpoint, responses, policy, start)]
    )
    return run


def run(make_record: Any, **fields: Any) -> RunRecord:
    """40 prompts: the policy beats the start on 30 and the cut start on 10; the cut start beats the start on 36."""
    made = make_record(verdicts=verdicts(30, 10, 0, (0.9, 0.4)), **fields)
    return with_cut_start(made, verdicts(10, 20, 10), verdicts(4, 36, 0))


def test_rates_of_and_against_the_cut_start(make_record: Any) -> None:
    one = run(make_record)
    [cell] = build_cells([one])
    cut, against = cell.controls.cut_start, cell.controls.against_cut_start
    assert cut is not None and against is not None
    assert (cut.rate, against.rate) == pytest.approx((100 * 36 / 40, 100 * (10 + 5) / 40))
    assert cut.lo < 90 < cut.hi and (cut.prompts, cut.verdicts) == (40, 80)
    of_start = [points(v) for v in (one.comparisons or [])[0].start or []]
    assert cut.rate == pytest.approx(100 - 100 * sum(of_start) / 80)
    assert cell.controls.ceiling == 100  # every start has quality 0.4
    [row] = cells_frame([cell]).to_dict("records")
    assert (row["cut_start"], row["against_cut_start"], row["ceiling"]) == pytest.approx((90, 37.5, 100))


def test_an_unscored_verdict_leaves_its_pair_out(make_record: Any) -> None:
    one = run(make_record)
    [comparison] = one.comparisons or []
    comparison.policy[0] = Verdict("p0", True, "unscored", "no answer")
    [cell] = build_cells([one])
    against = cell.controls.against_cut_start
    assert against is not None and (against.unscored, against.half_scored, against.scored) == (1, 1, 39)
    assert against.rate == pytest.approx(100 * (9 + 5) / 39)


def test_the_members_of_a_panel_have_their_own_controls(make_record: Any) -> None:
    both = [
        Verdict(v.prompt_id, v.policy_first, v.outcome, judge=name)
        for name in ("strict", "kind")
        for v in verdicts(30, 10, 0)
    ]
    policy = [Verdict(v.prompt_id, v.policy_first, v.outcome, judge="strict") for v in verdicts(40, 0, 0)]
    policy += [Verdict(v.prompt_id, v.policy_first, v.outcome, judge="kind") for v in verdicts(0, 40, 0)]
    one = with_cut_start(make_record(judge="panel", verdicts=both), policy, policy)
    rates = {c.judge: c.controls.against_cut_start for c in build_cells([one])}
    assert {judge: rate and rate.rate for judge, rate in rates.items()} == {
        "panel: strict": 100,
        "panel: kind": 0,
        "panel: majority": 50,
    }


def test_the_main_tables_show_them_and_older_records_have_no_such_rows(make_record: Any) -> None:
    tables = {t.name: to_markdown(t) for t in win_rate_tables(build_cells([run(make_record)]))}
    main, against = tables["win-rate-miniature-oracle"], tables["cut-start-miniature-oracle"]
    assert "Cut start" in main and "**90.0 [" in main and "Perfect policy" in main and "| 100.0 " in main
    assert "37.5 [" in against and "Perfect policy" not in against
    older = win_rate_tables(build_cells([make_record(verdicts=verdicts(30, 10, 0))]))
    assert "cut-start" not in "".join(t.name for t in older) and "Cut start" not in to_markdown(older[0])
    assert "Perfect policy" not in to_markdown(older[0])  # without scores the truth is unknown


def test_two_builds_of_a_generator_share_a_row(make_record: Any) -> None:
    first = run(make_record, config={"seed": 0, "scale": {"build": 1}})
    second = run(
        make_record,
        config={"seed": 0, "scale": {"build": 2}},
        generator_checkpoint="miniature:qwen-2/pretrained",
        run_id="second",
    )
    [comparison] = second.comparisons or []
    assert comparison.start is not None
    comparison.start[:] = verdicts(40, 0, 0)
    [table, *_] = win_rate_tables(build_cells([first, second]))
    rows = [[entry.text for entry in row] for group in table.groups for row in group]
    assert [row[2].split()[0] for row in rows if row[1] == "Cut start"] == ["45.0"]  # of 90 and 0
