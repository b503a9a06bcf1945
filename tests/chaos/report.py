"""The tables of a chaos record: what died when, and what became of it."""

from typing import Any

BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->"


def into(text: str, record: dict[str, Any]) -> str:
    """The text with a record's tables between its two marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{tables(record)}\n{END}{rest.partition(END)[2]}"


def tables(record: dict[str, Any]) -> str:
    """Markdown: a line on where it ran, then moments by outcome, then runs by outcome, and what failed."""
    trials = record["trials"]
    machine = record["environment"]
    equal = sum(not t["problems"] for t in trials)
    lines = [
        f"`{record['command']}`, {record['date']}, {machine['cores']} cores, torch {machine['torch']}, transformers "
        f"{machine['transformers']}, TRL {machine['trl']}: {equal} of {len(trials)} runs ended equal to their "
        f"undisturbed twins, after {sum(len(t['killed_in']) for t in trials)} kills and "
        f"{sum(t['restarts'] for t in trials)} restarts, in {record['seconds'] / 60:.0f} minutes.",
        "",
        *_table("killed at", _by(trials, lambda t: _kind(t["moments"]))),
        "",
        *_table("run", _by(trials, lambda t: t["twin"])),
    ]
    failed = [
        f"- {t['twin']}, {', '.join(t['moments'])}: {'; '.join(t['problems'])}"
        for t in trials
        if t["problems"]
    ]
    return "\n".join([*lines, *(["", "Not equal:", "", *failed] if failed else [])])


def _kind(moments: list[str]) -> str:
    return ", then ".join(moments)


def _by(trials: list[dict[str, Any]], key: Any) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for trial in trials:
        found.setdefault(key(trial), []).append(trial)
    return dict(sorted(found.items()))


def _table(title: str, groups: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines = [
        f"| {title} | runs | kills | while it was in | restarts | equal to the twin |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for name, trials in groups.items():
        stages = [stage for t in trials for stage in t["killed_in"]]
        seen = ", ".join(f"{stage} {stages.count(stage)}" for stage in dict.fromkeys(sorted(stages)))
        restarts = sum(t["restarts"] for t in trials)
        equal = sum(not t["problems"] for t in trials)
        lines.append(f"| {name} | {len(trials)} | {len(stages)} | {seen} | {restarts} | {equal} |")
    return lines
