"""Raw and controlled win rates by judge: how much of the gain remains at no difference in length or surprisal."""

from collections.abc import Mapping, Sequence

from analysis.figures.forest import Block, Dot, Level, Panel, forest
from analysis.figures.style import Plot, Style
from analysis.records.names import REGIMES, family_name, judge_label, place_names, sort_names
from analysis.stats.intervals import interval_excludes
from analysis.tables.judging.confounds import JUDGES, describe_judge, known_truth, simulate_judge
from analysis.tables.judging.controlled import ORACLE, RAW, ControlledCell
from analysis.tables.render import slug
from analysis.tables.win_rates import side_names

REWARDS = ("cme", "imported")  # the second is the reward of outputs that were made elsewhere
STYLES = {
    RAW: Style("#000000", "o"),
    "length": Style("#E69F00", "s"),
    "surprisal": Style("#0072B2", "^"),
    "both": Style("#009E73", "D"),
}
TRUTH = Style("#CC79A7", "|")
SHOWN = ("truth + length", "truth + likelihood")
"""The simulated judges next to the oracle."""
ROW = 0.27  # inches


def confound_plots(cells: Sequence[ControlledCell]) -> list[Plot]:
    """Win rates of CME or imported outputs by control, a column of panels per judge; none without such cells.

    If the oracle judged, its win rate is the truth: it is marked in every panel, and judges with a bias are simulated.
    """
    own = [each for each in cells if each.cell.reward in REWARDS]
    if not own:
        return []
    scale, judges = own[0].cell.scale, dict[str, list[ControlledCell]]()
    for judge in sort_names((each.cell.judge for each in own), (ORACLE,)):
        judges[judge] = [each for each in own if each.cell.judge == judge]
        if known := known_truth(judges[judge]):
            judges |= {name: [simulate_judge(each, JUDGES[name]) for each in known] for name in SHOWN}
    rows: dict[str, str] = {}
    for regime in sort_names((each.cell.regime for each in own), REGIMES):
        rows[regime] = place_names(scale, "", regime)[1]
        for each in sorted((each for each in own if each.cell.regime == regime), key=row_key):
            family, method = family_name(each.cell.family), each.cell.method
            details = method if scale == "imported" else method.partition(" (")[2].removesuffix(")")
            rows[row_key(each)] = f"{family}, {details}" if details else family
    truths = [Level([row_key(each)], each.rates[RAW].rate, TRUTH, width=3) for each in judges.get(ORACLE, [])]
    panels = []
    for judge, shown in judges.items():
        title = f"simulated judge:\n{judge}" if judge in SHOWN else f"judge: {judge_label(judge)}"
        dots = [dot for each in shown for dot in control_dots(each)]
        panels.append(Panel("", dots, 50, title, limits=(40, 60), levels=truths))
    label = f"win rate against the {side_names([each.cell for each in own])[0]} (%)"
    block = Block("", rows, panels, x_label=label, height=ROW, share_x=True)
    subject = "Win rates" if scale == "imported" else "Win rates of CME"
    drawn = {dot.style for panel in panels for dot in panel.dots}
    legend = {control: style for control, style in STYLES.items() if style in drawn}
    legend |= {"truth": TRUTH} if ORACLE in judges else {}
    figure = forest(f"{subject}, raw and controlled (scale: {scale})", [block], legend)
    return [Plot(f"confounds-{slug(scale)}", caption(subject, scale, judges), figure)]


def row_key(each: ControlledCell) -> str:
    """The row of a cell."""
    cell = each.cell
    return f"{cell.regime}\n{cell.family}\n{cell.method}"


def control_dots(each: ControlledCell) -> list[Dot]:
    """A cell's win rate under each control, without those that the table of controlled rates does not give."""
    dots = []
    for index, (control, style) in enumerate(STYLES.items()):
        rate = each.rates[control]
        if rate.reason is None and not rate.extrapolated:
            hollow = not interval_excludes(rate.lo, rate.hi, 50, rate.prompts, decimals=1)
            below = 0.2 * (index - (len(STYLES) - 1) / 2)
            dots.append(
                Dot(row_key(each), rate.rate, rate.lo, rate.hi, style, hollow=hollow, below=below, size=3.2)
            )
    return dots


def caption(subject: str, scale: str, judges: Mapping[str, Sequence[ControlledCell]]) -> str:
    """How to read the figure."""
    text = (
        f"{subject} at scale {scale} by judge: raw, and at no difference in length (AlpacaEval 2.0's form), in "
        "surprisal under an independent language model, and in both, with 95 % intervals. Hollow: the interval covers "
        "50 % (dashed)."
    )
    rates = [each.rates[control] for shown in judges.values() for each in shown for control in STYLES]
    reasons = sort_names(rate.reason for rate in rates if rate.reason and not rate.extrapolated)
    if any(rate.extrapolated for rate in rates):
        reasons.insert(
            0,
            "fewer than 2.5 % of the pairs at no difference or beyond it, so that a rate would be extrapolated",
        )
    if reasons:
        text += f" No mark: {'; '.join(reasons)}."
    if any(len(each.models) > 1 for shown in judges.values() for each in shown):
        text += (
            " Surprisal is in standard deviations under each language model, as a row pools runs of several."
        )
    if ORACLE in judges:
        text += (
            " The bar across a row is the truth, the oracle's own win rate. Its distance from 50 % is quality, that "
            "from it to another judge's raw rate is this judge's bias, and that from it to a controlled rate is the "
            "control's error."
        )
    if any(name in judges for name in SHOWN):
        text += (
            f" Simulated judges see quality and have a bias: {'; '.join(map(describe_judge, SHOWN))} (logits); they "
            "judge the pairs whose surprisal is known."
        )
    return text
