"""The judges of a run, which are one judge or the members of a panel: their verdicts, and what these cost."""

import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from cme import Unavailable
from cme.judges.base import Judge
from cme.judges.pairwise import VerdictLog, judge_pairs, pending_comparisons, without_thoughts
from cme.records import Generation, Pair, Prompt, Spending, Verdict
from cme.runtime.terminal import plain
from experiments.config import identity
from experiments.config.components import Component
from experiments.config.runs import Run
from experiments.config.validation import BadConfig, as_bad_config
from experiments.run.inputs import pair_prompts

ASSUMPTIONS = """\
Estimated with 4 characters per token, the longest reply that judge.decoding allows and no failed calls, without one
trial call per command and judge. `at most`: the responses do not exist yet and are assumed to be as long as
evaluation.max_new_tokens and judge.max_response_chars allow."""

_probed_judges: set[str] = set()
"""Judges that answered a trial call of this process."""


def judges(judge: Component) -> dict[str | None, Component]:
    """The members of a panel by name, or the single judge by None."""
    return dict[str | None, Component](judge.members.items()) or {None: judge}


def checkpoints(judge: Component) -> list[str]:
    """The distinct names of the checkpoints that a judge, or the members of a panel, load in this process."""
    names = [member.arguments.get("checkpoint") for member in judges(judge).values()]
    return list(dict.fromkeys(name for name in names if name))


def judge_class(judge: Component) -> type[Judge]:
    """The class of a judge."""
    return cast("type[Judge]", judge.load_target())


def instantiate_judge(judge: Component) -> Judge:
    """The judge that the configuration names. Raises Unavailable or BadConfig if it cannot be made."""
    with as_bad_config(f"judge={judge.name}"):
        return cast("Judge", judge.instantiate())


def judge_digest(judge: Component) -> str:
    """Digest of everything that changes a judge's verdicts: its settings and its class's `fingerprint`."""
    settings = identity.judge_fields(judge)
    if judge.arguments.get("api_key_variable", "") is None:
        # a private server may serve any model under any name
        settings["judge.base_url"] = judge.arguments["base_url"]
    if fingerprint := judge_class(judge).fingerprint(**judge.arguments):
        settings["fingerprint"] = fingerprint
    return identity.digest(settings)


def network_judges(run: Run) -> dict[str, Component]:
    """The judges of a run, its checkpoint selection and its reward that send requests to a server; by their fields."""
    return {field: judge for field, judge in run.judges.items() if judge_class(judge).asks_server}


def probe(runs: Iterable[Run]) -> None:
    """Make one trial call to each judge behind a server, unless it has answered one in this process.

    Raises Unavailable, with one line per judge that did not answer.
    """
    problems: dict[str, str] = {}
    for field, judge in (asked for run in runs for asked in network_judges(run).items()):
        settings = str(judge)
        if settings in _probed_judges or settings in problems:
            continue
        try:
            instantiate_judge(judge).probe()
            _probed_judges.add(settings)
        except Unavailable as error:
            problems[settings] = re.sub(r"\bjudge\.(?=(decoding|model|base_url)\b)", f"{field}.", str(error))
    if problems:
        raise Unavailable("\n".join(problems.values()))


def collect_verdicts(
    judge: Component, pairs: Sequence[Pair], both_orders: bool, log: VerdictLog, known: Sequence[Verdict] = ()
) -> list[Verdict]:
    """The verdicts of each judge on the pairs; those in the log are not asked for again.

    With `known` verdicts on the pairs, only the unscored ones are judged again.
    """
    if known:
        unscored = {v.prompt_id for v in known if v.outcome == "unscored"}
        pairs = [pair for pair in pairs if pair.prompt_id in unscored]
    verdicts: list[Verdict] = []
    for name, member in judges(judge).items() if pairs else ():
        instance, digest = instantiate_judge(member), judge_digest(member)
        verdicts += judge_pairs(instance, pairs, both_orders, log, identity=digest, name=name, progress=True)
    if not known:
        return verdicts
    new = {(v.judge, v.prompt_id, v.policy_first): v for v in verdicts}
    return [new[v.judge, v.prompt_id, v.policy_first] if v.outcome == "unscored" else v for v in known]


def reward_spending(run: Run, log: Path) -> Spending | None:
    """What the judge of a run's reward has spent, from its log; None for a reward without a judge."""
    judged = run.reward_judges.values()
    if not judged:
        return None
    spent = VerdictLog(log)
    calls = sum(spent.calls.values())
    known = not calls or all(instantiate_judge(judge).price(1, 1) is not None for judge in judged)
    return Spending(calls, sum(spent.usd.values()) if known else None)


def check_prompts(group: str, judge: Component, prompts: Sequence[Prompt], what: str) -> None:
    """Print a warning if a judge cannot judge some of the prompts, for example for want of references.

    `group` is the judge's group of the configuration, `what` a name of the prompts. Raises BadConfig if the judge can
    judge none of them.
    """
    remedy = (
        "use another judge or other data (with data=file the field `output` is a reference answer, `answer` a gold "
        "answer)"
    )
    _warn_of_lacking(group, judge, [(prompt,) for prompt in prompts], what, remedy)


def check_pairs(judge: Component, pairs: Sequence[Pair], what: str, remedy: str) -> list[str]:
    """Print, and return, warnings if a judge cannot judge some of the pairs, which `what` names.

    Raises BadConfig, with the remedy, if it can judge none.
    """
    shown = [(q, p.start, p.policy) for q, p in zip(pair_prompts(pairs), pairs, strict=True)]
    return _warn_of_lacking("judge", judge, shown, what, remedy)


def _warn_of_lacking(
    group: str, judge: Component, shown: Sequence[tuple[Any, ...]], what: str, remedy: str
) -> list[str]:
    """Print, and return, warnings if something is missing; `shown` are the arguments of `Judge.missing`."""
    warnings = []
    for member in judges(judge).values():
        lacks = [lack for given in shown if (lack := judge_class(member).missing(*given)) is not None]
        if lacks and len(lacks) == len(shown):
            raise BadConfig(f"{group}={member.name} can judge none of {what}: {lacks[0]}; {remedy}")
        if lacks:
            warnings.append(
                f"{group}={member.name} cannot judge {len(lacks)} of {len(shown)} of {what}: {lacks[0]}"
            )
    for warning in warnings:
        print(plain(f"warning: {warning}"), file=sys.stderr)
    return warnings


def unscored_message(verdicts: Sequence[Verdict], against: str = "") -> str | None:
    """A sentence on the unscored verdicts, `against` naming a comparator; None without any."""
    reasons = [v.reason for v in verdicts if v.outcome == "unscored"]
    if not reasons:
        return None
    return (
        f"{len(reasons)} of {len(verdicts)} verdicts{against} are unscored, the first because {reasons[0]}; "
        "the same command tries them again"
    )


def truncation_warnings(run: Run, pairs: Sequence[Pair]) -> list[str]:
    """Warnings for the record: how many texts of the pairs a judge of the run did not read to the end."""
    responses = [response for pair in pairs for response in (pair.start, pair.policy)]
    return unread_warnings(run.judge, responses, [pair.reference for pair in pairs])


def unread_warnings(
    judge: Component,
    responses: Sequence[Generation],
    references: Sequence[str | None],
    *,
    field: str = "judge",
    owner: str = "",
) -> list[str]:
    """Warnings for the record: how many responses and references each judge did not read to the end.

    Args:
        field: The judge's field in the configuration.
        owner: Whose responses they are, such as `the selected checkpoint's`; empty for those of start and policy.
    """
    warnings = []
    texts = [without_thoughts(response).response for response in responses]
    given = [reference for reference in references if reference is not None]
    all_responses = f"{owner} {len(texts)} responses".strip()
    for name, member in judges(judge).items():
        path = field if name is None else f"{field}.members.{name}"
        limit = member.arguments.get("max_response_chars")
        if limit is not None and (cut := sum(len(text) > limit for text in texts)):
            warnings.append(
                f"{cut} of {all_responses} were cut at {path}.max_response_chars={limit} for judging"
            )
        for group, what in ((texts, all_responses), (given, f"{len(given)} references")):
            if unread := judge_class(member).count_unread(group):
                warnings.append(
                    f"{unread} of {what} were read by {path}={member.name} up to its encoder's limit alone"
                )
    return warnings


def cost_lines(name: str, judge: Component, pairs: Sequence[Pair], log: VerdictLog) -> list[str]:
    """The estimated cost of judging in both orders, without a call: one line per judge, the total, and the assumptions.

    Verdicts in the log count as done. `name` is that of the pairs.
    """
    lines, calls, usd = [], 0, 0.0
    for member_name, member in judges(judge).items():
        label = f"{name}: judge {member_name or member.name}"
        if not judge_class(member).asks_server:
            lines.append(f"{label} makes no calls")
            continue
        pending = pending_comparisons(pairs, True, log, judge_digest(member), member_name).values()
        instance = instantiate_judge(member)
        estimates = [instance.estimate_tokens(c.prompt, c.first, c.second) for c in pending]
        known = [estimate for estimate in estimates if estimate is not None]
        tokens, price, cost = "unknown tokens", None, "unknown cost"
        if len(known) == len(estimates):
            sent, received = (instance.calls_per_comparison * sum(e[side] for e in known) for side in (0, 1))
            tokens = f"{sent} tokens sent, {received} received"
            price = instance.price(sent, received)
            hint = "; set judge.usd_per_million_input and judge.usd_per_million_output"
            cost = f"{cost}{hint}" if price is None else f"{price:.2f} USD"
        requests = len(estimates) * instance.calls_per_comparison
        lines.append(f"{label}: {requests} calls, {tokens}, {cost}")
        calls += requests
        usd += math.nan if price is None else price
    total = f"{usd:.2f} USD" if math.isfinite(usd) else "unknown cost"
    return [*lines, f"in all {calls} calls, {total}", ASSUMPTIONS]
