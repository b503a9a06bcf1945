"""The configured judges of a run: one, or the members of a panel."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from cme.judging import VerdictLog, judge_pairs
from cme.records import Pair, Verdict
from experiments import identity


def judges(config: DictConfig) -> dict[str | None, DictConfig]:
    """The configuration of each judge by its name in the panel; None for a judge that is on none."""
    members = config.judge.get("members")
    return {None: config.judge} if members is None else {str(name): node for name, node in members.items()}


def made(node: DictConfig) -> Any:
    """The judge that a configuration names."""
    values = cast("dict[str, Any]", OmegaConf.to_container(node, resolve=True))
    return instantiate({key: value for key, value in values.items() if key != "name"}, _convert_="all")


def key(config: DictConfig, name: str | None) -> str:
    """Digest of all fields of a judge that change its rulings."""
    prefix = "judge." if name is None else f"judge.members.{name}."
    fields = {
        path: value
        for path, value in identity.leaves(config).items()
        if path.startswith(prefix) and identity.changes_results(path)
    }
    return identity.digest(fields)


def probe(configs: Iterable[DictConfig]) -> None:
    """One trial call to each judge that is asked over a network, each once. Raises Unavailable."""
    nodes = [node for config in configs for node in judges(config).values()]
    for node in {str(node): node for node in nodes if hasattr(get_object(node._target_), "probe")}.values():
        made(node).probe()


def verdicts(config: DictConfig, pairs: Sequence[Pair], log: VerdictLog) -> list[Verdict]:
    """What each judge says of the pairs, from the log where it is there."""
    found = []
    orders = config.evaluation.both_orders
    for name, node in judges(config).items():
        found += judge_pairs(
            made(node), pairs, orders, log, identity=key(config, name), name=name, progress=True
        )
    return found


def cut(config: DictConfig, pairs: Sequence[Pair]) -> list[str]:
    """Warnings for the record: how many responses a judge did not see whole."""
    found = []
    responses = [response for pair in pairs for response in (pair.start.response, pair.policy.response)]
    for name, node in judges(config).items():
        limit = node.get("max_response_chars")
        longer = sum(len(response) > limit for response in responses) if limit is not None else 0
        if longer:
            field = "judge" if name is None else f"judge.members.{name}"
            found.append(
                f"{longer} of {len(responses)} responses were cut at {field}.max_response_chars={limit} for judging"
            )
    return found
