"""Tables of separation: AUROC by signal, verifier against generator, and the published figures."""

from collections.abc import Sequence
from math import isnan

import pandas as pd

from analysis.records.names import verifier_name
from analysis.stats.auroc import Estimate, pooled_difference, within_difference
from analysis.stats.intervals import FEW_PROMPTS, MIN_PROMPTS, interval_excludes
from analysis.tables.render import Entry, Table, format_interval, group_rows
from analysis.tables.separation import (
    LENGTH,
    PUBLISHED,
    PUBLISHED_AMC23,
    SIGNALS,
    SOURCE,
    Separation,
    data_label,
    display_names,
    file_stem,
    group_by_data,
    published_frame,
    separation_frame,
    signal_label,
)
from cme.records import SeparationRecord

AUROC_NOTE = (
    "AUROC: the probability that a wrong response has a higher value than a right one, ties counting half; 0.5 is "
    "chance, and below it wrong responses have the lower values. Perplexity ranks as cross-entropy does. Pooled: any "
    "wrong response against any right one, as published, so that separating hard prompts from easy ones counts; "
    "within: only responses to the same prompt, the mean over prompts that have both, as GRPO compares them."
)


def separation_tables(records: Sequence[SeparationRecord]) -> list[Table]:
    """The tables of the records of one scale, by data."""
    return [
        table
        for separations in group_by_data(records)
        for table in (signal_table(separations), contrast_table(separations))
    ]


def signal_tables(records: Sequence[SeparationRecord]) -> list[Table]:
    """The tables of signals of the records of one scale, by data."""
    return [signal_table(separations) for separations in group_by_data(records)]


def signal_table(separations: Sequence[Separation]) -> Table:
    """One group per record, one row per signal, with the published range in a separate column."""
    published = published_frame().groupby("signal")["auroc"].agg(["min", "max"])
    values = separation_frame(separations).set_index(["separation_id", "signal"]).to_dict("index")
    rows: list[Sequence[Entry | str]] = []
    for each, name in zip(separations, display_names(separations), strict=True):
        for signal, estimates in each.estimates.items():
            row = values[each.record.separation_id, signal]
            means = [f"{row[f'{c}_mean']:.3g} ({row[f'{c}_std']:.2g})" for c in ("right", "wrong")]
            place = [name, verifier_name(each.record.verifier), f"{each.accuracy:.3f}", signal_label(signal)]
            span = "{:.3f} to {:.3f}".format(*published.loc[signal]) if signal in published.index else "-"
            rows.append([*place, *map(auroc_entry, estimates), *means, span])
    record = separations[0].record
    return Table(
        name=f"separation-{file_stem(separations)}",
        title=f"AUROC of each signal for wrong against right responses, {data_label(record)}",
        header=[
            *("generator", "verifier", "accuracy", "signal", "AUROC, pooled", "AUROC, within prompts"),
            *("right: mean (sd)", "wrong: mean (sd)", "published, other scale"),
        ],
        groups=group_rows(rows, 3),
        notes=[
            AUROC_NOTE,
            *count_notes(separations),
            *unit_notes(separations),
            f"Last column: lowest and highest. {SOURCE}",
        ],
    )


def auroc_entry(estimate: Estimate, chance: float = 0.5) -> Entry:
    """An AUROC or a difference with its interval, bold where the interval excludes chance."""
    value = "n/a" if isnan(estimate.value) else f"{estimate.value:.3f}"
    few = "°" if estimate.prompts < FEW_PROMPTS else ""
    bold = interval_excludes(estimate.lo, estimate.hi, chance, estimate.prompts, decimals=3)
    return Entry(f"{value} {format_interval(estimate.lo, estimate.hi, 3)}{few}", bold=bold)


def count_notes(separations: Sequence[Separation]) -> list[str]:
    """For each record, the number of responses and of those left out."""
    notes = []
    for each, name in zip(separations, display_names(separations), strict=True):
        record, graded = each.record, sum(c is not None for c in each.record.correct)
        [wins] = each.wins(LENGTH)
        text = (
            f"{name}, verifier {verifier_name(record.verifier)}: {record.samples} samples of {len(record.prompts)} "
            f"prompts; {int(wins.right.sum())} right and {int(wins.wrong.sum())} wrong, both in "
            f"{int(wins.mixed.sum())} prompts"
        )
        unanswered = record.answered.count(False)
        missing = {
            "prompts without a right answer left out": record.left_out,
            "responses could not be graded": len(record.correct) - graded,
            "responses without an answer, wrong in the accuracy and in no AUROC": unanswered,
        }
        missing |= {f"responses cut under the {model}": number for model, number in record.cut.items()}
        notes.append("; ".join([text, *(f"{n} {what}" for what, n in missing.items() if n)]) + ".")
    return notes


def unit_notes(separations: Sequence[Separation]) -> list[str]:
    """Units, intervals and bold entries."""
    notes = [
        "In brackets 95 % CIs over prompts, the responses to a prompt kept together; a pooled AUROC close to 1 depends "
        "on the few prompts with a pair in the wrong order. Bold: excludes 0.5, on "
        f"{FEW_PROMPTS} prompts or more; °: fewer prompts; [n/a]: fewer than {MIN_PROMPTS}. Means are in nats per "
        "token, of length in tokens."
    ]
    if not any(" answer" in signal for each in separations for signal in each.values):
        notes.append(
            "The whole response is the answer in these data, so there is no separate answer span, and a response that "
            "continues after the right answer is wrong: a signal that only penalises continuing separates these too."
        )
    return notes


def contrast_table(separations: Sequence[Separation]) -> Table:
    """Whether the verifier separates better than the generator: differences of AUROC, with the published ones."""
    rows: list[Sequence[Entry | str]] = []
    published = published_frame().pivot(index="generator", columns="signal", values="auroc")
    for each, name in zip(separations, display_names(separations), strict=True):
        for verifier in (signal for signal in each.values if " verifier " in signal):
            generator = verifier.replace("verifier", "generator")
            if generator not in each.values:
                continue
            pair = each.wins(verifier, generator)
            known = {verifier, generator} <= set(published)
            differences = (published[verifier] - published[generator]).tolist() if known else []
            measure, _, span = verifier.split()
            rows.append(
                [
                    *(name, verifier_name(each.record.verifier), f"{signal_label(measure)}, {span}"),
                    auroc_entry(pooled_difference(*pair), 0),
                    auroc_entry(within_difference(*pair), 0),
                    ", ".join(f"{value:+.3f}" for value in differences) or "-",
                ]
            )
    record = separations[0].record
    return Table(
        name=f"separation-contrast-{file_stem(separations)}",
        title=f"AUROC under the verifier minus that under the generator, {data_label(record)}",
        header=["generator", "verifier", "signal", "pooled", "within prompts", "published, other scale"],
        groups=group_rows(rows, 2),
        notes=[
            "Above 0: the verifier separates wrong from right better than the generator itself. Intervals as in the "
            "table of signals, paired by response; bold: excludes 0. Where one of the two is 1.000, no resample can "
            "lower it: a bound next to 0 is then uninformative.",
            f"Last column: of {', '.join(published.index)}. {SOURCE}",
        ],
    )


def published_table() -> Table:
    """The published figures in full: MATH-500, then AMC23."""
    files = {"MATH-500": PUBLISHED, "AMC23": PUBLISHED_AMC23}
    frame = pd.concat(published_frame(file).assign(problems=name) for name, file in files.items())
    orders = {
        "problems": list(files),
        "generator": list(dict.fromkeys(frame["generator"])),
        "signal": SIGNALS,
    }
    frame = frame.sort_values(list(orders), key=lambda column: column.map(orders[str(column.name)].index))
    rows = []
    for row in frame.to_dict("records"):
        spread = {c: f"{row[f'{c}_mean']:.3g} ({row[f'{c}_std']:.2g})" for c in ("correct", "wrong")}
        counts = {c: f"{row[f'{c}_n']:.0f}" for c in spread}
        known = [
            value if row[f"{c}_n"] > 0 else "-" for values in (spread, counts) for c, value in values.items()
        ]
        accuracy, value = f"{row['generator_accuracy']:.3f}", f"{row['auroc']:.3f}"
        rows.append(
            [row["problems"], str(row["generator"]), accuracy, signal_label(row["signal"]), value, *known]
        )
    return Table(
        name="separation-published",
        title="Published: AUROC of each signal for wrong against correct responses (the paper's scale)",
        header=[
            *("problems", "generator", "accuracy", "signal", "AUROC, pooled"),
            *("correct: mean (sd)", "wrong: mean (sd)", "correct", "wrong"),
        ],
        groups=group_rows(rows, 3),
        notes=[
            SOURCE,
            "The paper published no interval and none within prompts. -: the repository's history has the AUROC alone. "
            "Fewer responses than 800 are counted. The accuracies are shares of all 800, so responses that are left "
            "out count as wrong in them; presumably these have no answer.",
        ],
    )
