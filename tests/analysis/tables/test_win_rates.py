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
from analysis.tables.win_rates import quality_table, score_name, win_rate_table, win_rate_tables
from cme.records import CUT_START, Comparison, FurtherJudge, Generation, RunRecord, Verdict
from cme.records import points as points_of


def points(make_verdict, prompts, value):
    return [make_verdict(f"p{i}", value, first) for i in range(prompts) for first in (True, False)]


def test_the_summary_has_one_line_per_cell(make_record):
    line = summarize([make_record(prompts=96, gain=0.4)])
    assert line.startswith("miniature: qwen pretrained CME: win rate ")
    assert "against its untrained model (96 prompts, 192 verdicts, 0 unscored); quality 0." in line


@pytest.mark.parametrize(
    ("judge", "name"),
    [
        ("oracle", "quality"),
        ("instruction_following", "constraints met"),
        ("panel: instruction_following", "constraints met"),
        ("correctness", "correctness"),
    ],
)
def test_a_score_is_named_by_what_it_measures(judge: str, name: str) -> None:
    assert score_name(judge) == name


def test_seeds_are_pooled_and_prompts_are_not_counted_twice(make_record):
    (cell,) = build_cells([make_record(seed=seed, prompts=24) for seed in range(3)])
    assert (cell.win.prompts, cell.win.verdicts, list(cell.seeds.rates)) == (24, 144, [0, 1, 2])


def test_scales_and_judges_never_share_a_table(make_record):
    scales = build_cells([make_record(), make_record(scale="laptop")])
    judges = build_cells([make_record(), make_record(judge="reference_similarity")])
    for cells in (scales, judges):
        assert len(cells) == 2
        with pytest.raises(ValueError, match="one scale and one judge"):
            win_rate_tables(cells)


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


def test_quality_is_shown_only_where_scores_exist(make_record, make_verdict):
    assert len(win_rate_tables(build_cells([make_record()]))) == 4
    assert len(win_rate_tables(build_cells([make_record(verdicts=points(make_verdict, 20, 1))]))) == 3


def test_quality_numbers_are_those_of_the_scores(make_record):
    record = make_record(prompts=40, gain=0.3)
    scores = {v.prompt_id: v.scores for v in record.verdicts if v.policy_first}
    before = sum(start for _, start in scores.values()) / len(scores)
    after = sum(policy for policy, _ in scores.values()) / len(scores)
    text = to_markdown(quality_table(build_cells([record])))
    assert f"{before:.2f} → {after:.2f} (+{after - before:.2f} [" in text


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
    assert sorted(held) == [
        ("llama", "CME (OLMo)", "CME (Gemma)"),
        ("llama", "Random", "CME (Gemma)"),
        ("qwen", "CME (OLMo)", "CME (Gemma)"),
        ("qwen", "Random", "CME (Gemma)"),
    ]
    frame = cells_frame(cells).set_index(["family", "method"])
    own = frame.loc[("llama", "Random")]
    assert own["against"] == "CME (Gemma)"
    assert own["contrast_difference"] == pytest.approx(
        own["win_rate"] - frame.loc[("llama", "CME (Gemma)"), "win_rate"]
    )
    assert "contrast-miniature-oracle" in [table.name for table in win_rate_tables(cells)]
    alone = [cell for cell in cells if cell.family == "olmo"]
    assert not any(table.name.startswith("contrast") for table in win_rate_tables(alone))


def test_no_table_is_too_wide_to_read(make_record):
    cells = build_cells([make_record(seed=s, reward=r) for s in range(3) for r in ("cme", "random")])
    for table in win_rate_tables(cells):
        assert len(table.header) <= 12
        assert all(len(row) == len(table.header) for group in table.groups for row in group)


def test_latex_and_markdown_escape_their_special_characters():
    table = Table("t", "50 % of A_B", ["a|b"], [[[Entry("-1.5 & x_y #1 {~^\\} <b>")]]], ["$5"])
    latex = to_latex(table, "tab:t")
    assert r"$-$1.5 \& x\_\allowbreak{}y \#1 \{\textasciitilde{}\textasciicircum{}\textbackslash{}\}" in latex
    assert r"50 \% of A\_\allowbreak{}B" in latex and r"\$5" in latex
    markdown = to_markdown(table)
    assert r"a\|b" in markdown and "&lt;b&gt;" in markdown and "<b>" not in markdown


@pytest.mark.parametrize(("prompts", "bold"), [(29, False), (30, True)])
def test_a_change_of_quality_over_few_prompts_is_never_bold(make_record, prompts, bold):
    [cell] = build_cells([make_record(gain=0.9, prompts=prompts)])
    assert cell.quality is not None and cell.quality.lo > 0
    assert quality_entry(cell).bold is bold


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
    [cell] = build_cells([make_record(verdicts=verdicts)])
    assert (cell.win.rate, cell.win.unscored, cell.win.half_scored, cell.both_orders) == (50, 30, 30, True)
    assert cell.seeds.rates == {0: 50} and cell.tally.rate == 0.5 and len(cell.tally.prompts) == 30
    assert cell.first_shown == 100 and cell.consistent == 0
    tables = win_rate_tables([cell])
    assert "30 verdicts are left out because their pair is unscored in the other order" in to_markdown(
        tables[0]
    )
    assert "| 30 + 30 " in to_markdown(tables[-1]) and "50.0, 75.0" in to_markdown(tables[-1])
    row = cells_frame([cell]).iloc[0]
    assert (row["half_scored"], row["both_orders"]) == (30, True)
    assert "30 scored in one order only and left out" in summarize([make_record(verdicts=verdicts)])


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


def biased(make_verdict, firsts, pairs):
    """Verdicts in both orders of pairs, of which `firsts` got `first` in both; the others went to the policy."""
    return [
        make_verdict(f"p{i}", float(first or i >= firsts), first)
        for i in range(pairs)
        for first in (True, False)
    ]


@pytest.mark.parametrize(("firsts", "warned"), [(12, "0.0 %"), (7, "41.7 %"), (6, None), (0, None)])
def test_a_judge_that_follows_the_order_is_a_warning_in_the_result_line(
    make_record, make_verdict, firsts, warned
):
    line = summarize([make_record(verdicts=biased(make_verdict, firsts, 12))])
    expected = f"warning: the judge gave only {warned} of pairs the same verdict in both orders (below 50 %)"
    assert ("warning" in line) == (warned is not None)
    assert warned is None or expected in line
    assert firsts != 12 or "preferred the response shown first in 100.0 % of decided verdicts" in line


def test_a_judge_that_gives_one_verdict_only_is_a_warning(make_record, make_verdict):
    one_order = [make_verdict(f"p{i}", float(i % 2), bool(i % 2)) for i in range(23)]
    assert "warning: the judge preferred the response shown first in 100.0 %" in summarize(
        [make_record(verdicts=one_order)]
    )
    line = summarize([make_record(verdicts=points(make_verdict, 40, 0.5))])
    assert line.endswith("warning: the judge called every pair a tie")


@pytest.mark.parametrize(("firsts", "warned"), [(20, True), (4, False)])
def test_a_judge_whose_preferences_follow_the_order_is_a_warning_beside_ties(
    make_record, make_verdict, firsts, warned
):
    """It prefers the first response of 20 pairs (or of 4, too few to tell) in both orders, and ties 40 others."""
    follows = [make_verdict(f"p{i}", float(first), first) for i in range(firsts) for first in (True, False)]
    ties = [make_verdict(f"t{i}", 0.5, first) for i in range(40) for first in (True, False)]
    line = summarize([make_record(verdicts=[*follows, *ties])])
    expected = "warning: the judge preferred the response shown first in 100.0 % of decided verdicts"
    assert line.endswith(expected) == warned and ("warning" in line) == warned


@pytest.mark.parametrize(("unscored", "warned"), [(76, True), (40, False)])
def test_a_judge_that_rarely_gives_a_verdict_is_a_warning(make_record, make_verdict, unscored, warned):
    verdicts = [
        make_verdict(f"p{i}", None if i < unscored else float(i % 2), first)
        for i in range(80)
        for first in (True, False)
    ]
    line = summarize([make_record(verdicts=verdicts)])
    assert ("warning: the judge gave no verdict in 95.0 % of cases" in line) == warned
    assert ("warning" in line) == warned


def test_the_lines_of_several_judges_name_them(make_record, make_verdict):
    def always(first_wins):
        return [make_verdict(f"p{i}", float(f == first_wins), f) for i in range(40) for f in (True, False)]

    other = FurtherJudge("second", {}, always(False), 0.0)
    lines = summarize([make_record(verdicts=always(True), judge="first", further_judges=[other])])
    one, two = lines.splitlines()
    assert one.startswith("first: ") and "shown first in 100.0 % of decided" in one
    assert two.startswith("second: ") and "shown first in 0.0 % of decided" in two
    assert summarize([make_record(judge="first")]).startswith("miniature: ")


def test_equal_responses_on_both_sides_are_named_in_the_result_line(make_record):
    record = make_record(seed=103)
    same = [replace(pair, policy=pair.start) for pair in record.pairs]
    assert summarize([replace(record, pairs=same)]).endswith("seed 2:3: both sides have the same responses")
    same[0] = record.pairs[0]
    assert "same responses" not in summarize([replace(record, pairs=same)])


def test_a_collapsed_policy_is_named_in_the_result_line(make_record):
    record = make_record(seed=103, prompts=4)
    texts = {"start": ["a", "b", "c", "d"], "half": ["x", "x", "y", "z"], "most": ["x", "x", "y", "x"]}

    def line(start, policy):
        pairs = [
            replace(pair, start=Generation(one, True, 1), policy=Generation(other, True, 1))
            for pair, one, other in zip(record.pairs, texts[start], texts[policy], strict=True)
        ]
        return summarize([replace(record, pairs=pairs)])

    assert line("start", "most").endswith("warning: seed 2:3 gives 3 of 4 prompts the same response")
    assert "same response" not in line("start", "half")
    assert "same response" not in line("most", "most").replace("the same responses", "")


def test_an_untrained_policy_is_named_in_the_result_line(make_record):
    line = summarize([make_record(seed=3, untrained="the training changed no weight")])
    assert line.endswith("seed 3: the training changed no weight, so both sides are the untrained model")
    assert "untrained model (" in summarize([make_record()]) and "both sides" not in summarize(
        [make_record()]
    )


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


def test_rates_of_and_against_the_cut_start(make_record: Any) -> None:
    one = compared(make_record)
    [cell] = build_cells([one])
    cut, against = cell.controls.cut_start, cell.controls.against_cut_start
    assert cut is not None and against is not None
    assert (cut.rate, against.rate) == pytest.approx((100 * 36 / 40, 100 * (10 + 5) / 40))
    assert cut.lo < 90 < cut.hi and (cut.prompts, cut.verdicts) == (40, 80)
    of_start = [points_of(v) for v in (one.comparisons or [])[0].start or []]
    assert cut.rate == pytest.approx(100 - 100 * sum(of_start) / 80)
    assert cell.controls.ceiling == 100  # every start has quality 0.4
    [row] = cells_frame([cell]).to_dict("records")
    assert (row["cut_start"], row["against_cut_start"], row["ceiling"]) == pytest.approx((90, 37.5, 100))


def test_an_unscored_verdict_leaves_its_pair_out(make_record: Any) -> None:
    one = compared(make_record)
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
        for v in judged(30, 10, 0)
    ]
    policy = [Verdict(v.prompt_id, v.policy_first, v.outcome, judge="strict") for v in judged(40, 0, 0)]
    policy += [Verdict(v.prompt_id, v.policy_first, v.outcome, judge="kind") for v in judged(0, 40, 0)]
    one = with_cut_start(make_record(judge="panel", verdicts=both), policy, policy)
    rates = {c.judge: c.controls.against_cut_start for c in build_cells([one])}
    assert {judge: rate and rate.rate for judge, rate in rates.items()} == {
        "panel: strict": 100,
        "panel: kind": 0,
        "panel: majority": 50,
    }


def test_the_main_tables_show_them_and_older_records_have_no_such_rows(make_record: Any) -> None:
    tables = {t.name: to_markdown(t) for t in win_rate_tables(build_cells([compared(make_record)]))}
    main, against = tables["win-rate-miniature-oracle"], tables["cut-start-miniature-oracle"]
    assert "Cut start" in main and "**90.0 [" in main and "Perfect policy" in main and "| 100.0 " in main
    assert "37.5 [" in against and "Perfect policy" not in against
    older = win_rate_tables(build_cells([make_record(verdicts=judged(30, 10, 0))]))
    assert "cut-start" not in "".join(t.name for t in older) and "Cut start" not in to_markdown(older[0])
    assert "Perfect policy" not in to_markdown(older[0])  # without scores the truth is unknown


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (1, "The cut changes 2.5 % of the responses, so it can hardly differ from the start."),
        (30, "The cut changes 75.0 % of the responses.\n"),
    ],
)
def test_the_tables_say_how_many_responses_the_cut_changes(make_record: Any, changed: int, said: str) -> None:
    one = compared(make_record)
    [comparison] = one.comparisons or []
    comparison.responses[changed:] = [pair.start for pair in one.pairs[changed:]]
    tables = {t.name: to_markdown(t) for t in win_rate_tables(build_cells([one]))}
    assert said in tables["win-rate-miniature-oracle"] and said in tables["cut-start-miniature-oracle"]


def test_two_builds_of_a_generator_share_a_row(make_record: Any) -> None:
    first = compared(make_record, config={"seed": 0, "scale": {"build": 1}})
    second = compared(
        make_record,
        config={"seed": 0, "scale": {"build": 2}},
        generator_checkpoint="miniature:qwen-2/pretrained",
        run_id="second",
    )
    [comparison] = second.comparisons or []
    assert comparison.start is not None
    comparison.start[:] = judged(40, 0, 0)
    [table, *_] = win_rate_tables(build_cells([first, second]))
    rows = [[entry.text for entry in row] for group in table.groups for row in group]
    assert [row[2].split()[0] for row in rows if row[1] == "Cut start"] == ["45.0"]  # of 90 and 0
