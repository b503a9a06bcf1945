"""Tables of separation: AUROC by signal, verifier against generator, and the published figures in full."""

from collections.abc import Sequence
from math import isnan

from analysis.sections.base import group_by_scale
from analysis.stats.auroc import Estimate, pooled_difference, within_difference
from analysis.stats.intervals import FEW_PROMPTS, MIN_PROMPTS, interval_excludes
from analysis.tables.render import Entry, Table
from analysis.tables.separation import (
    LENGTH,
    SIGNALS,
    SOURCE,
    Separation,
    display_names,
    file_stem,
    group_by_data,
    published_frame,
    separation_frame,
    signal_label,
)
from analysis.tables.win_rates import format_interval
from cme.records import SeparationRecord

HOW = (
    "AUROC: the chance that a wrong response has a higher value than a right one, ties counting half; 0.5 tells "
    "nothing, below it wrong responses have the lower values. Perplexity ranks as cross-entropy does. Pooled: any "
    "wrong response against any right one, as published, so that knowing hard prompts from easy ones counts; within: "
    "only responses to the same prompt, the mean over prompts that have both, as GRPO compares them."
)


def auroc_entry(estimate: Estimate, chance: float = 0.5) -> Entry:
    """An AUROC or a difference with its interval, bold where that excludes chance."""
    value = "n/a" if isnan(estimate.value) else f"{estimate.value:.3f}"
    few = "°" if estimate.prompts < FEW_PROMPTS else ""
    bold = interval_excludes(estimate.lo, estimate.hi, chance, estimate.prompts)
    return Entry(f"{value} {format_interval(estimate.lo, estimate.hi, 3)}{few}", bold=bold)


def published_range(values: Sequence[float]) -> str:
    """The lowest and the highest of some published figures."""
    return f"{min(values):.3f} to {max(values):.3f}" if len(values) else "-"


def separation_table(records: Sequence[SeparationRecord]) -> Table:
    """Records of one scale and data in blocks, a row a signal; the published range in a column of its own."""
    return signal_table([Separation(record) for record in records])


def signal_table(found: Sequence[Separation]) -> Table:
    """As `separation_table`."""
    published = published_frame().groupby("signal")["auroc"].agg(list).to_dict()
    shown = separation_frame(found).to_dict("records")
    found_rows = {(row["separation_id"], row["signal"]): row for row in shown}
    groups = []
    for one, name in zip(found, display_names(found), strict=True):
        rows: list[list[Entry]] = []
        for signal, (pooled, within) in one.estimates.items():
            row = found_rows[one.record.separation_id, signal]
            texts = ["", "", ""] if rows else [name, one.record.verifier, f"{one.accuracy:.3f}"]
            entries = [
                *map(Entry, texts),
                Entry(signal_label(signal)),
                auroc_entry(pooled),
                auroc_entry(within),
            ]
            means = [f"{row[f'{c}_mean']:.3g} ({row[f'{c}_std']:.2g})" for c in ("right", "wrong")]
            rows.append([*entries, *map(Entry, means), Entry(published_range(published.get(signal, [])))])
        groups.append(rows)
    record = found[0].record
    return Table(
        name=f"separation-{file_stem(found)}",
        title=f"AUROC of each signal for wrong against right responses, scale: {record.scale}, data: {record.data}",
        header=[
            *("generator", "verifier", "accuracy", "signal", "AUROC, pooled", "AUROC, within prompts"),
            *("right: mean (sd)", "wrong: mean (sd)", "published, other scale"),
        ],
        groups=groups,
        notes=[HOW, *counts(found), *small_print(found), f"Last column: lowest and highest. {SOURCE}"],
    )


def counts(found: Sequence[Separation]) -> list[str]:
    """How many responses are behind each block, and what was left out, in sentences."""
    notes = []
    for one, name in zip(found, display_names(found), strict=True):
        record, graded = one.record, sum(c is not None for c in one.record.correct)
        [wins] = one.wins(LENGTH)
        text = (
            f"{name}, verifier {record.verifier}: {record.samples} samples of {len(record.prompts)} prompts; "
            f"{int(wins.right.sum())} right and {int(wins.wrong.sum())} wrong, both in {int(wins.mixed.sum())} prompts"
        )
        missing = {
            "prompts without a right answer left out": record.left_out,
            "responses could not be graded": len(record.correct) - graded,
            "responses without an answer, wrong in the accuracy and in no AUROC": record.answered.count(
                False
            ),
        }
        missing |= {f"responses cut under the {model}": number for model, number in record.cut.items()}
        notes.append("; ".join([text, *(f"{n} {what}" for what, n in missing.items() if n)]) + ".")
    return notes


def small_print(found: Sequence[Separation]) -> list[str]:
    """Units, and how intervals and bold are to be read."""
    notes = [
        "In brackets 95 % intervals over prompts, the responses to a prompt kept together; pooled and close to 1 they "
        "rest on the few prompts that have a pair the wrong way round. Bold: excludes 0.5, on "
        f"{FEW_PROMPTS} prompts or more; °: fewer prompts; [n/a]: fewer than {MIN_PROMPTS}. Means are in nats a token, "
        "of length in tokens.",
    ]
    if not any(" answer" in signal for one in found for signal in one.values):
        notes.append(
            "The whole response is the answer in these data, so there is no answer span of its own, and a response "
            "that says the right thing and goes on is wrong: a signal that only dislikes going on separates these too."
        )
    return notes


def contrast_table(found: Sequence[Separation]) -> Table:
    """Whether the verifier separates better than the generator itself: differences of AUROC, with the published."""
    groups = []
    ours = published_frame().pivot(index="generator", columns="signal", values="auroc")
    for one, name in zip(found, display_names(found), strict=True):
        rows: list[list[Entry]] = []
        for verifier, generator in contrasts(one):
            pair = one.wins(verifier, generator)
            there = {verifier, generator} <= set(ours)
            published = (ours[verifier] - ours[generator]).tolist() if there else []
            measure, _, span = verifier.split()
            texts = ["", ""] if rows else [name, one.record.verifier]
            rows.append(
                [
                    *map(Entry, [*texts, f"{signal_label(measure)}, {span}"]),
                    auroc_entry(pooled_difference(*pair), 0),
                    auroc_entry(within_difference(*pair), 0),
                    Entry(", ".join(f"{value:+.3f}" for value in published) or "-"),
                ]
            )
        groups.append(rows)
    record = found[0].record
    return Table(
        name=f"separation-contrast-{file_stem(found)}",
        title=f"AUROC under the verifier less that under the generator, scale: {record.scale}, data: {record.data}",
        header=["generator", "verifier", "signal", "pooled", "within prompts", "published, other scale"],
        groups=groups,
        notes=[
            "Above 0: the verifier tells wrong from right better than the generator itself. Intervals as in the table "
            "of signals, paired by response; bold: excludes 0. Where one of the two is 1.000, no resample puts "
            "it lower: a bound next to 0 then says little.",
            f"Last column: of {', '.join(ours.index)}. {SOURCE}",
        ],
    )


def contrasts(one: Separation) -> list[tuple[str, str]]:
    """The signals that are there under the verifier and under the generator."""
    pairs = [(s, s.replace("verifier", "generator")) for s in one.values if " verifier " in s]
    return [(verifier, generator) for verifier, generator in pairs if generator in one.values]


def published_table() -> Table:
    """The published figures in full."""
    frame = published_frame()
    groups = []
    for generator in dict.fromkeys(frame["generator"]):
        own = frame[frame["generator"] == generator]
        rows: list[list[Entry]] = []
        for row in own.sort_values("signal", key=lambda s: s.map(SIGNALS.index)).to_dict("records"):
            texts = ["", ""] if rows else [str(generator), f"{row['generator_accuracy']:.3f}"]
            means = [f"{row[f'{c}_mean']:.3g} ({row[f'{c}_std']:.2g})" for c in ("correct", "wrong")]
            numbers = [str(row["correct_n"]), str(row["wrong_n"])]
            rows.append(
                list(
                    map(Entry, [*texts, signal_label(row["signal"]), f"{row['auroc']:.3f}", *means, *numbers])
                )
            )
        groups.append(rows)
    return Table(
        name="separation-published",
        title="Published: AUROC of each signal for wrong against correct responses (the paper's scale, MATH-500)",
        header=[
            *("generator", "accuracy", "signal", "AUROC, pooled"),
            *("correct: mean (sd)", "wrong: mean (sd)", "correct", "wrong"),
        ],
        groups=groups,
        notes=[
            SOURCE,
            "No interval was published, none for predictive entropy, and none within prompts. Fewer than the 800 "
            "responses are counted: the accuracies are shares of all 800, so the responses left out count as wrong in "
            "them; presumably they have no answer.",
        ],
    )


def tables_by_data(records: Sequence[SeparationRecord]) -> list[Table]:
    """The table of signals of each scale and data."""
    return [
        signal_table(own)
        for _, of_scale in group_by_scale(records)
        for own in group_by_data([Separation(record) for record in of_scale])
    ]
