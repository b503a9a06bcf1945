"""The configured judges of a run: one, or the members of a panel."""

from collections.abc import Iterable, Sequence
from typing import cast

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from cme import Unavailable
from cme.judges.base import Judge
from cme.judges.pairwise import VerdictLog, judge_pairs
from cme.records import Generation, Pair, Verdict
from experiments.config import identity
from experiments.config.validation import BadConfig
from experiments.run.stage import arguments

_answered: set[str] = set()  # judges that a trial call of this process has reached


def judges(judge: DictConfig) -> dict[str | None, DictConfig]:
    """The configuration of each judge by its name in the panel; None for a judge that is on none."""
    members = judge.get("members")
    return {None: judge} if members is None else {str(name): node for name, node in members.items()}


def judge_class(node: DictConfig) -> type[Judge]:
    """The class of the judge that a configuration names."""
    return cast("type[Judge]", get_object(node._target_))


def instantiate_judge(node: DictConfig) -> Judge:
    """The judge that a configuration names. Raises Unavailable or BadConfig where it cannot be made."""
    try:
        return cast("Judge", instantiate(arguments(node), _convert_="all"))
    except InstantiationException as error:
        if isinstance(error.__cause__, Unavailable):
            raise error.__cause__ from None
        if isinstance(error.__cause__, ValueError):
            raise BadConfig(f"judge={node.get('name')}: {error.__cause__}") from None
        raise


def judge_digest(node: DictConfig) -> str:
    """Digest of all that changes a judge's rulings: fields, and its `fingerprint` of what is not in them, if any."""
    fields = identity.flatten(OmegaConf.to_container(node, resolve=True), "judge")
    counted = {path: value for path, value in fields.items() if identity.changes_results(path)}
    if node.get("api_key_variable", "") is None:  # a server of one's own: its model's name says little
        counted["judge.base_url"] = node.base_url
    given = {key: value for key, value in arguments(node).items() if key != "_target_"}
    if fingerprint := judge_class(node).fingerprint(**given):
        counted["fingerprint"] = fingerprint
    return identity.digest(counted)


def network_judges(config: DictConfig) -> list[DictConfig]:
    """The judges of a cell that are asked over a network, those of checkpoint selection too."""
    asked = [config.judge, *([] if config.selection.every is None else [config.selection.judge])]
    nodes = [node for judge in asked for node in judges(judge).values()]
    return [node for node in nodes if judge_class(node).asks_server]


def probe(configs: Iterable[DictConfig]) -> None:
    """One trial call to each judge that is asked over a network, each once in a process.

    Raises Unavailable, a line for each that did not answer; it is tried again.
    """
    why = []
    for settings, node in {str(node): node for config in configs for node in network_judges(config)}.items():
        if settings in _answered:
            continue
        try:
            instantiate_judge(node).probe()
            _answered.add(settings)
        except Unavailable as error:
            why.append(str(error))
    if why:
        raise Unavailable("\n".join(why))


def collect_verdicts(
    judge: DictConfig, pairs: Sequence[Pair], both_orders: bool, log: VerdictLog
) -> list[Verdict]:
    """What each judge says of the pairs, from the log where it is there."""
    found = []
    for name, node in judges(judge).items():
        found += judge_pairs(
            instantiate_judge(node),
            pairs,
            both_orders,
            log,
            identity=judge_digest(node),
            name=name,
            progress=True,
        )
    return found


def rejudge(
    judge: DictConfig, pairs: Sequence[Pair], both_orders: bool, log: VerdictLog, known: Sequence[Verdict]
) -> list[Verdict]:
    """The known verdicts on the pairs, with those that are unscored judged again."""
    owed = {v.prompt_id for v in known if v.outcome == "unscored"}
    asked = [p for p in pairs if p.prompt_id in owed]
    found = collect_verdicts(judge, asked, both_orders, log) if asked else []
    anew = {(v.judge, v.prompt_id, v.policy_first): v for v in found}
    return [anew[v.judge, v.prompt_id, v.policy_first] if v.outcome == "unscored" else v for v in known]


def truncation_warnings(config: DictConfig, pairs: Sequence[Pair]) -> list[str]:
    """Warnings for the record: how many of the pairs' texts a judge of the run did not see whole."""
    responses = [response for pair in pairs for response in (pair.start, pair.policy)]
    return unread_warnings(config.judge, responses, [pair.reference for pair in pairs])


def unread_warnings(
    judge: DictConfig,
    responses: Sequence[Generation],
    references: Sequence[str | None],
    where: str = "judge",
    whose: str = "of",
) -> list[str]:
    """Warnings: how many texts each judge did not see whole, `where` being its place in the configuration."""
    found = []
    said = [response.response for response in responses]
    known = [reference for reference in references if reference is not None]
    for name, node in judges(judge).items():
        field = where if name is None else f"{where}.members.{name}"
        limit = node.get("max_response_chars")
        longer = sum(len(text) > limit for text in said) if limit is not None else 0
        if longer:
            found.append(
                f"{longer} {whose} {len(said)} responses were cut at {field}.max_response_chars={limit} for judging"
            )
        for texts, what in ((said, f"{whose} {len(said)} responses"), (known, f"of {len(known)} references")):
            if longer := judge_class(node).count_unread(texts):
                found.append(
                    f"{longer} {what} were read by {field}={node.name} up to its encoder's limit alone"
                )
    return found
