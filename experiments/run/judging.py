"""The configured judges of a run: one, or the members of a panel."""

from collections.abc import Iterable, Sequence
from typing import cast

from cme import Unavailable
from cme.judges.base import Judge
from cme.judges.pairwise import VerdictLog, judge_pairs
from cme.records import Generation, Pair, Verdict
from experiments.config import identity
from experiments.config.components import Component
from experiments.config.runs import Run
from experiments.config.validation import BadConfig

_answered: set[str] = set()  # judges that a trial call of this process has reached


def judges(judge: Component) -> dict[str | None, Component]:
    """The judges of a panel by their names; a judge that is no panel by None."""
    return dict[str | None, Component](judge.members.items()) or {None: judge}


def judge_class(judge: Component) -> type[Judge]:
    """The class of a judge."""
    return cast("type[Judge]", judge.load_target())


def instantiate_judge(judge: Component) -> Judge:
    """The judge that the configuration names. Raises Unavailable or BadConfig where it cannot be made."""
    try:
        return cast("Judge", judge.instantiate())
    except ValueError as error:
        raise BadConfig(f"judge={judge.name}: {error}") from error


def judge_digest(judge: Component) -> str:
    """Digest of what changes a judge's verdicts: settings, and its `fingerprint` of what is not in them, if any."""
    counted = identity.component_fields(judge, "judge")
    if judge.arguments.get("api_key_variable", "") is None:
        # A model's name says little where everybody may serve a model under any name.
        counted["judge.base_url"] = judge.arguments["base_url"]
    if fingerprint := judge_class(judge).fingerprint(**judge.arguments):
        counted["fingerprint"] = fingerprint
    return identity.digest(counted)


def network_judges(run: Run) -> list[Component]:
    """The judges of a run that are asked over a network, those of checkpoint selection too."""
    asked = [run.judge, *([] if run.selection.every is None else [run.selection.judge])]
    return [one for judge in asked for one in judges(judge).values() if judge_class(one).asks_server]


def probe(runs: Iterable[Run]) -> None:
    """One trial call to each judge that is asked over a network, each once in a process.

    Raises Unavailable, a line for each that did not answer; it is tried again.
    """
    why = []
    for settings, judge in {str(judge): judge for run in runs for judge in network_judges(run)}.items():
        if settings in _answered:
            continue
        try:
            instantiate_judge(judge).probe()
            _answered.add(settings)
        except Unavailable as error:
            why.append(str(error))
    if why:
        raise Unavailable("\n".join(why))


def collect_verdicts(
    judge: Component, pairs: Sequence[Pair], both_orders: bool, log: VerdictLog
) -> list[Verdict]:
    """What each judge says of the pairs, from the log where it is there."""
    found = []
    for name, one in judges(judge).items():
        found += judge_pairs(
            instantiate_judge(one),
            pairs,
            both_orders,
            log,
            identity=judge_digest(one),
            name=name,
            progress=True,
        )
    return found


def rejudge(
    judge: Component, pairs: Sequence[Pair], both_orders: bool, log: VerdictLog, known: Sequence[Verdict]
) -> list[Verdict]:
    """The known verdicts on the pairs, with those that are unscored judged again."""
    owed = {v.prompt_id for v in known if v.outcome == "unscored"}
    asked = [p for p in pairs if p.prompt_id in owed]
    found = collect_verdicts(judge, asked, both_orders, log) if asked else []
    anew = {(v.judge, v.prompt_id, v.policy_first): v for v in found}
    return [anew[v.judge, v.prompt_id, v.policy_first] if v.outcome == "unscored" else v for v in known]


def truncation_warnings(run: Run, pairs: Sequence[Pair]) -> list[str]:
    """Warnings for the record: how many of the pairs' texts a judge of the run did not see whole."""
    responses = [response for pair in pairs for response in (pair.start, pair.policy)]
    return unread_warnings(run.judge, responses, [pair.reference for pair in pairs])


def unread_warnings(
    judge: Component,
    responses: Sequence[Generation],
    references: Sequence[str | None],
    where: str = "judge",
    whose: str = "of",
) -> list[str]:
    """Warnings: how many texts each judge did not see whole, `where` being its place in the configuration."""
    found = []
    said = [response.response for response in responses]
    known = [reference for reference in references if reference is not None]
    for name, one in judges(judge).items():
        field = where if name is None else f"{where}.members.{name}"
        limit = one.arguments.get("max_response_chars")
        longer = sum(len(text) > limit for text in said) if limit is not None else 0
        if longer:
            found.append(
                f"{longer} {whose} {len(said)} responses were cut at {field}.max_response_chars={limit} for judging"
            )
        for texts, what in ((said, f"{whose} {len(said)} responses"), (known, f"of {len(known)} references")):
            if longer := judge_class(one).count_unread(texts):
                found.append(
                    f"{longer} {what} were read by {field}={one.name} up to its encoder's limit alone"
                )
    return found
