"""Tables: one scale and judge each, bold and daggers where they belong, escaped in every format."""

from dataclasses import replace
from typing import Any

import pytest
from statsmodels.stats.multitest import multipletests

from analysis import summarize
from analysis.tables.cell_tables import quality_entry, win_rate_entry
from analysis.tables.cells import build_cells, build_contrasts, cells_frame
from analysis.tables.findings import cell_verdict
from analysis.tables.latex import to_latex
from analysis.tables.render import Entry, Table, to_markdown
from analysis.tables.win_rates import score_name, win_rate_table, win_rate_tables
from cme.records import CUT_START, Comparison, FurtherJudge, Generation, RunRecord, Verdict


def points(make_verdict, prompts, value):
    return [make_verdict(f"p{i}", value, first) for i in range(prompts) for first in (True, False)]


def test_the_summary_has_one_line_per_cell(make_record):
    line = summarize([make_record(prompts=96, gain=0.4)])
    assert line.startswith("miniature: qwen pretrained CME: win rate ")
    assert "against its untrained model (96 prompts, 192 verdicts, 0 unscored); quality 0." in line


def test_bold_only_where_the_interval_excludes_half(make_record, make_verdict):
    won = make_record(verdicts=points(make_verdict, 30, 1))
    tied = make_record(verdicts=points(make_verdict, 30, 0.5), reward="random")
    few = make_record(verdicts=points(make_verdict, 29, 1), reward="majority_vote")
    text = to_markdown(win_rate_table(build_cells([won, tied, few])))
    assert "**100.0 [88.4, 100.0]**" in text  # 0.025 ** (1 / 30)
    assert "| 50.0 [44.2, 55.8] " in text
    assert "| 100.0 [88.1, 100.0] °" in text and "fewer than 30" in text
    assert "few prompts" in summarize([few]) and "few prompts" not in summarize([won])


def test_unscored_verdicts_are_counted_and_bounded(make_record, make_verdict):
    verdicts = [*points(make_verdict, 20, 1), *points(make_verdict, 1, None)]
    cells = build_cells([make_record(verdicts=verdicts)])
    tables = win_rate_tables(cells)
    assert "2 verdicts are unscored" in to_markdown(tables[0])
    assert "95.2, 100.0" in to_markdown(tables[-1])
    row = cells_frame(cells).iloc[0]
    assert (row["unscored"], row["n_verdicts"]) == (2, 42)
    assert row["worst_lo"] == pytest.approx(100 * 40 / 42)


def test_stopped_runs_are_marked_and_explained(make_record):
    cells = build_cells([make_record(stopped="too many unscored", steps=7), make_record(seed=1)])
    text = to_markdown(win_rate_table(cells))
    assert " †" in text
    assert "† Qwen pretrained CME: seed 0 stopped after step 7: too many unscored" in text


def test_quality_is_that_of_the_scores_where_there_are_any(make_record, make_verdict):
    record = make_record(prompts=40, gain=0.3)
    scores = {v.prompt_id: v.scores for v in record.verdicts if v.policy_first}
    before = sum(start for _, start in scores.values()) / len(scores)
    after = sum(policy for policy, _ in scores.values()) / len(scores)
    tables = {table.name: to_markdown(table) for table in win_rate_tables(build_cells([record]))}
    assert f"{before:.2f} → {after:.2f} (+{after - before:.2f} [" in tables["quality-miniature-oracle"]
    without = win_rate_tables(build_cells([make_record(verdicts=points(make_verdict, 20, 1))]))
    assert not any(table.name.startswith("quality") for table in without)


@pytest.mark.parametrize(("prompts", "bold"), [(29, False), (30, True)])
def test_a_change_of_quality_over_few_prompts_is_never_bold(make_record, prompts, bold):
    [cell] = build_cells([make_record(gain=0.9, prompts=prompts)])
    assert cell.quality.lo > 0 and quality_entry(cell).bold is bold


def test_a_score_is_named_by_what_it_measures():
    judges = ("oracle", "instruction_following", "panel: instruction_following", "correctness")
    named = ["quality", "constraints met", "constraints met", "correctness"]
    assert [score_name(judge) for judge in judges] == named


def test_p_values_are_corrected_over_one_table(make_record):
    methods = {"cme": 0.1, "random": 0.0, "majority_vote": 0.05}
    cells = build_cells([make_record(reward=name, gain=gain) for name, gain in methods.items()])
    other = build_cells(
        [make_record(scale="laptop"), *[make_record(reward=r, gain=g) for r, g in methods.items()]]
    )
    theirs = multipletests([cell.win.p for cell in cells], method="holm")[1]
    assert [cell.p_holm for cell in cells] == pytest.approx(theirs)
    assert [cell.p_holm for cell in other[1:]] == pytest.approx(theirs) and other[0].p_holm == other[0].win.p


def test_every_method_is_compared_with_the_first_of_cme(make_record):
    sweep = [("cme", "olmo"), ("cme", "gemma"), ("random", "gemma")]
    records = [make_record(reward=r, verifier=v, family=f) for r, v in sweep for f in ("qwen", "llama")]
    cells = build_cells([*records, make_record(reward="random", family="olmo")])
    held = [(cell.family, cell.method, against.method) for cell, against, *_ in build_contrasts(cells)]
    methods = ("CME (OLMo)", "Random")
    assert sorted(held) == [(f, method, "CME (Gemma)") for f in ("llama", "qwen") for method in methods]
    frame = cells_frame(cells).set_index(["family", "method"])
    own, cme = frame.loc[("llama", "Random")], frame.loc[("llama", "CME (Gemma)")]
    assert own["against"] == "CME (Gemma)"
    assert own["contrast_difference"] == pytest.approx(own["win_rate"] - cme["win_rate"])
    assert "contrast-miniature-oracle" in [table.name for table in win_rate_tables(cells)]
    alone = [cell for cell in cells if cell.family == "olmo"]
    assert not any(table.name.startswith("contrast") for table in win_rate_tables(alone))


def test_latex_and_markdown_escape_their_special_characters():
    table = Table("t", "50 % of A_B", ["a|b"], [[[Entry("-1.5 & x_y #1 {~^\\} <b>")]]], ["$5"])
    latex = to_latex(table, "tab:t")
    assert r"$-$1.5 \& x\_\allowbreak{}y \#1 \{\textasciitilde{}\textasciicircum{}\textbackslash{}\}" in latex
    assert r"50 \% of A\_\allowbreak{}B" in latex and r"\$5" in latex
    markdown = to_markdown(table)
    assert r"a\|b" in markdown and "&lt;b&gt;" in markdown and "<b>" not in markdown


def test_a_verdict_from_both_orders_counts_once_and_the_position_bias_is_of_each_order_alone(
    make_record, make_verdict
):
    """40 pairs: the policy wins 30, always shown first in the order that decides alone for the first place."""
    single = [make_verdict(i, 1 if i < 30 else 0) for i in range(40)]
    # the first 12 are preferred in both places; of the others, whichever stands first
    orders = [((0.9, 0.1), (0.2, 0.8) if i < 12 else (0.8, 0.2)) for i in range(40)]
    both = [replace(verdict, orders=order) for verdict, order in zip(single, orders, strict=True)]
    [cell], [once] = (build_cells([make_record(verdicts=verdicts)]) for verdicts in (both, single))
    assert cell.win == once.win and (cell.win.verdicts, cell.win.half_scored, cell.win.rate) == (40, 0, 75)
    assert cell.tally.counts.sum() == 40 and cell.outcomes == (30, 0, 10)
    assert cell.both_orders and not once.both_orders
    assert cell.consistent == 100 * 12 / 40 and cell.first_shown == 100 * (40 + 28) / 80
    assert "40 prompts, 40 verdicts, 0 unscored" in summarize([make_record(verdicts=both)])
    missing = replace(both[0], outcome="unscored", reason="too long", orders=((0.9, 0.1), None))
    [cell] = build_cells([make_record(verdicts=[missing, *both[1:]])])
    assert (cell.win.verdicts, cell.win.unscored, cell.win.half_scored, cell.win.scored) == (40, 1, 0, 39)
    assert cell.consistent == pytest.approx(100 * 11 / 39)


def test_half_scored_pairs_are_left_out_and_counted_everywhere(make_record, make_verdict):
    """Always the first shown; with the start first, half of the calls fail. Nothing of it may look like a win."""
    verdicts = []
    for i in range(60):
        verdicts += [make_verdict(f"p{i}", 1, True), make_verdict(f"p{i}", None if i % 2 else 0, False)]
    record = make_record(verdicts=verdicts)
    [cell] = build_cells([record])
    assert (cell.win.rate, cell.win.unscored, cell.win.half_scored, cell.both_orders) == (50, 30, 30, True)
    assert cell.seeds.rates == {0: 50} and cell.tally.rate == 0.5 and len(cell.tally.prompts) == 30
    assert cell.first_shown == 100 and cell.consistent == 0
    tables = [to_markdown(table) for table in win_rate_tables([cell])]
    assert "30 verdicts are left out because their pair is unscored in the other order" in tables[0]
    assert "| 30 + 30 " in tables[-1] and "50.0, 75.0" in tables[-1]
    assert "30 scored in one order only and left out" in summarize([record])


def test_rates_that_the_unscored_could_change_are_marked_and_not_bold(make_record, make_verdict):
    verdicts = [*points(make_verdict, 40, 1), *(make_verdict(f"u{i}", None) for i in range(90))]
    record = make_record(verdicts=verdicts)
    text = to_markdown(win_rate_table(build_cells([record])))
    assert "| 100.0 [91.2, 100.0] ?" in text and "**" not in text
    assert "?: the unscored verdicts could bring the rate to 50 % or past it; never bold." in text
    assert "47.1 to 100.0 %" in summarize([record])


def test_pairs_judged_in_one_order_by_design_are_counted_and_flagged(make_record, make_verdict):
    single = [make_verdict(f"p{i}", float(i % 4 > 0), bool(i % 2)) for i in range(80)]
    [cell] = build_cells([make_record(verdicts=single)])
    assert (cell.win.rate, cell.win.half_scored, cell.both_orders) == (75, 0, False)
    assert "All pairs were judged in one order only" in to_markdown(win_rate_table([cell]))
    assert "each pair judged in one order only" in summarize([make_record(verdicts=single)])
    assert "one order" not in summarize([make_record(prompts=40)])


def test_an_interval_that_prints_as_touching_50_is_neither_bold_nor_won(make_record):
    [cell] = build_cells([make_record(gain=0.3)])
    for lo, bold in ((50.04, False), (50.06, True)):
        near = replace(cell, win=replace(cell.win, lo=lo, worst_lo=51.0, scored=40))
        entry = win_rate_entry(near)
        assert entry.bold is bold and f"[{lo:.1f}, " in entry.text
        assert cell_verdict(near) == ("won" if bold else "even")


SWAYED = "gave only {} % of pairs the same verdict in both orders (below 50 %)"
FIRST = "preferred the response shown first in 100.0 % of decided verdicts"


@pytest.mark.parametrize(
    ("firsts", "won", "tied", "unscored", "warnings"),
    [
        (12, 0, 0, 0, [SWAYED.format("0.0"), FIRST]),
        (7, 5, 0, 0, [SWAYED.format("41.7")]),
        (6, 6, 0, 0, []),
        (20, 0, 40, 0, [FIRST]),
        (4, 0, 40, 0, []),  # too few decided verdicts to tell
        (0, 0, 40, 0, ["called every pair a tie"]),
        (0, 4, 0, 76, ["gave no verdict in 95.0 % of cases"]),
        (0, 40, 0, 40, []),
    ],
)
def test_a_judge_that_does_not_read_the_responses_is_a_warning_in_the_result_line(
    make_record, make_verdict, firsts, won, tied, unscored, warnings
):
    """`firsts` pairs have two verdicts for the response shown first, `won` two for the policy."""
    kinds = [None] * firsts + [1.0] * won + [0.5] * tied
    verdicts = [
        make_verdict(f"p{i}", float(first) if value is None else value, first)
        for i, value in enumerate(kinds)
        for first in (True, False)
    ]
    verdicts += [make_verdict(f"u{i}", None, first) for i in range(unscored) for first in (True, False)]
    line = summarize([make_record(verdicts=verdicts)])
    assert all(warning in line for warning in warnings)
    assert ("warning: the judge" in line) == bool(warnings)


def test_a_judge_of_one_order_that_follows_it_is_a_warning(make_record, make_verdict):
    one_order = [make_verdict(f"p{i}", float(i % 2), bool(i % 2)) for i in range(23)]
    assert f"warning: the judge {FIRST}" in summarize([make_record(verdicts=one_order)])


def test_the_lines_of_several_judges_name_them(make_record, make_verdict):
    def always(first_wins):
        return [make_verdict(f"p{i}", float(f == first_wins), f) for i in range(40) for f in (True, False)]

    other = FurtherJudge("second", {}, always(False), 0.0)
    lines = summarize([make_record(verdicts=always(True), judge="first", further_judges=[other])])
    one, two = lines.splitlines()
    assert one.startswith("first: ") and "shown first in 100.0 % of decided" in one
    assert two.startswith("second: ") and "shown first in 0.0 % of decided" in two
    assert summarize([make_record(judge="first")]).startswith("miniature: ")


def with_responses(record, start, policy):
    """The record with one letter per prompt as the responses of both sides."""
    pairs = [
        replace(pair, start=Generation(one, True, 1), policy=Generation(other, True, 1))
        for pair, one, other in zip(record.pairs, start, policy, strict=True)
    ]
    return replace(record, pairs=pairs)


@pytest.mark.parametrize(
    ("start", "policy", "end"),
    [
        ("abcd", "abcd", "seed 2:3: both sides have the same responses"),
        ("abcd", "xxyx", "warning: seed 2:3 gives 3 of 4 prompts the same response"),
        ("abcd", "xxyz", None),
        ("xxyx", "yyxy", None),
    ],
)
def test_unchanged_and_collapsed_policies_are_named_in_the_result_line(make_record, start, policy, end):
    line = summarize([with_responses(make_record(seed=103, prompts=4), start, policy)])
    assert line.endswith(end) if end else "same response" not in line


def test_an_untrained_policy_is_named_in_the_result_line(make_record):
    line = summarize([make_record(seed=3, untrained="the training changed no weight")])
    assert line.endswith("seed 3: the training changed no weight, so both sides are the untrained model")


def judged(won: int, lost: int, tied: int, scores: tuple[float, float] | None = None) -> list[Verdict]:
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


def compared(make_record: Any, **fields: Any) -> RunRecord:
    """40 prompts: the policy beats the start on 30 and the cut start on 10; the cut start beats the start on 36."""
    made = make_record(verdicts=judged(30, 10, 0, (0.9, 0.4)), **fields)
    return with_cut_start(made, judged(10, 20, 10), judged(4, 36, 0))


def test_an_unscored_verdict_leaves_its_pair_out_of_the_rate_against_the_cut_start(make_record: Any) -> None:
    one = compared(make_record)
    [comparison] = one.comparisons or []
    comparison.policy[0] = Verdict("p0", True, "unscored", "no answer")
    against = build_cells([one])[0].controls.against_cut_start
    assert (against.unscored, against.half_scored, against.scored) == (1, 1, 39)
    assert against.rate == pytest.approx(100 * (9 + 5) / 39)


def test_the_members_of_a_panel_have_their_own_controls(make_record: Any) -> None:
    def voted(**won: int) -> list[Verdict]:
        return [replace(v, judge=name) for name, n in won.items() for v in judged(n, 40 - n, 0)]

    against = voted(strict=40, kind=0)
    one = with_cut_start(make_record(judge="panel", verdicts=voted(strict=30, kind=30)), against, against)
    rates = {c.judge: c.controls.against_cut_start for c in build_cells([one])}
    members = {"panel: strict": 100, "panel: kind": 0, "panel: majority": 50}
    assert {judge: rate and rate.rate for judge, rate in rates.items()} == members


def test_the_main_tables_show_the_cut_start_and_older_records_have_no_such_rows(make_record: Any) -> None:
    cells = build_cells([compared(make_record)])
    tables = {t.name: to_markdown(t) for t in win_rate_tables(cells)}
    main, against = tables["win-rate-miniature-oracle"], tables["cut-start-miniature-oracle"]
    assert "Cut start" in main and "**90.0 [" in main and "Perfect policy" in main and "| 100.0 " in main
    assert "37.5 [" in against and "Perfect policy" not in against
    [row] = cells_frame(cells).to_dict("records")
    assert (row["cut_start"], row["against_cut_start"], row["ceiling"]) == pytest.approx((90, 37.5, 100))
    older = win_rate_tables(build_cells([make_record(verdicts=judged(30, 10, 0))]))
    assert "cut-start" not in "".join(t.name for t in older) and "Cut start" not in to_markdown(older[0])
    assert "Perfect policy" not in to_markdown(older[0])  # without scores the truth is unknown


def test_the_tables_say_where_the_cut_changes_hardly_any_response(make_record: Any) -> None:
    one = compared(make_record)
    [comparison] = one.comparisons or []
    comparison.responses[1:] = [pair.start for pair in one.pairs[1:]]
    tables = [to_markdown(t) for t in win_rate_tables(build_cells([one])) if "cut" in t.name]
    assert "The cut changes 2.5 % of the responses, so it can hardly differ from the start." in tables[0]
