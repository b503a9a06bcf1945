"""The tables of a chaos record: when runs were killed, and how they ended."""

from typing import Any

BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->"


def insert_tables(text: str, record: dict[str, Any]) -> str:
    """The text with a record's tables between its two marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{format_tables(record)}\n{END}{rest.partition(END)[2]}"


def format_tables(record: dict[str, Any]) -> str:
    """Markdown: a line on where it ran, the outcomes by moment and by run, and the runs that differ."""
    trials = record["trials"]
    machine = record["environment"]
    different = [trial for trial in trials if trial["problems"]]
    lines = [
        f"`{record['command']}`, {record['date']}, {machine['cores']} cores, torch {machine['torch']}, transformers "
        f"{machine['transformers']}, TRL {machine['trl']}: {len(trials) - len(different)} of {len(trials)} runs ended "
        f"equal to their undisturbed twins, after {sum(len(t['killed_in']) for t in trials)} kills and "
        f"{sum(t['restarts'] for t in trials)} restarts, in {record['seconds'] / 60:.0f} minutes.",
    ]
    names = {"killed at": lambda trial: ", then ".join(trial["moments"]), "run": lambda trial: trial["twin"]}
    for title, name_of in names.items():
        lines += ["", f"| {title} | runs | kills | while it was in | restarts | equal to the twin |"]
        lines.append("|---|---:|---:|---|---:|---:|")
        for name in sorted({name_of(trial) for trial in trials}):
            own = [trial for trial in trials if name_of(trial) == name]
            stages = sorted(stage for t in own for stage in t["killed_in"])
            counts = ", ".join(f"{stage} {stages.count(stage)}" for stage in dict.fromkeys(stages))
            restarts, equal = sum(t["restarts"] for t in own), sum(not t["problems"] for t in own)
            lines.append(f"| {name} | {len(own)} | {len(stages)} | {counts} | {restarts} | {equal} |")
    if different:
        lines += ["", "Not equal:", ""]
    lines += [f"- {t['twin']}, {', '.join(t['moments'])}: {'; '.join(t['problems'])}" for t in different]
    return "\n".join(lines)
