"""The tables of a chaos record: when runs were killed, and how they ended."""

from typing import Any

BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->"


def into(text: str, record: dict[str, Any]) -> str:
    """The text with a record's tables between its two marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{tables(record)}\n{END}{rest.partition(END)[2]}"


def tables(record: dict[str, Any]) -> str:
    """Markdown: a line on where it ran, the outcomes by moment and by run, and the runs that differ."""
    trials = record["trials"]
    machine = record["environment"]
    different = [trial for trial in trials if trial["problems"]]
    lines = [
        f"`{record['command']}`, {record['date']}, {machine['cores']} cores, torch {machine['torch']}, transformers "
        f"{machine['transformers']}, TRL {machine['trl']}: {len(trials) - len(different)} of {len(trials)} runs ended "
        f"equal to their undisturbed twins, after {sum(len(t['killed_in']) for t in trials)} kills and "
        f"{sum(t['restarts'] for t in trials)} restarts, in {record['seconds'] / 60:.0f} minutes.",
        "",
        *_table("killed at", [(", then ".join(trial["moments"]), trial) for trial in trials]),
        "",
        *_table("run", [(trial["twin"], trial) for trial in trials]),
    ]
    if different:
        lines += ["", "Not equal:", ""]
    lines += [f"- {t['twin']}, {', '.join(t['moments'])}: {'; '.join(t['problems'])}" for t in different]
    return "\n".join(lines)


def _table(title: str, named: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """One row for all trials of a name."""
    lines = [
        f"| {title} | runs | kills | while it was in | restarts | equal to the twin |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for name in sorted({name for name, _ in named}):
        trials = [trial for other, trial in named if other == name]
        stages = sorted(stage for t in trials for stage in t["killed_in"])
        counts = ", ".join(f"{stage} {stages.count(stage)}" for stage in dict.fromkeys(stages))
        restarts = sum(t["restarts"] for t in trials)
        equal = sum(not t["problems"] for t in trials)
        lines.append(f"| {name} | {len(trials)} | {len(stages)} | {counts} | {restarts} | {equal} |")
    return lines
