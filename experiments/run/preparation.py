"""What the cells need before the first of them runs: weights, data, judges and trackers, each tried."""

from collections.abc import Callable, Sequence
from importlib import import_module

from cme import Unavailable
from experiments.config import identity, schema
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.run import judging
from experiments.run.inputs import load_preferences, load_prompts
from experiments.run.store import Store, add_to_experiments


def prepare(configs: list[Run]) -> None:
    """Make everything loadable that the cells not yet done need, and try judges and trackers, before the first job.

    Raises Unavailable for weights and data that cannot be had and for judges and trackers that do not answer, with
    a line for each of them, and BadConfig for more prompts than there are.
    """
    from experiments.run import comparators  # late: it loads torch, and a refused command line needs none

    stores = [Store.of(c) for c in configs]
    owed = [c for c, store in zip(configs, stores, strict=True) if not store.record.exists()]
    further = [
        name for store in stores if store.record.exists() for name in comparators.pending_checkpoints(store)
    ]
    wanted = [*checkpoint_names(owed), *further]
    why = [
        *_complaints(
            lambda: judging.probe(c for c in configs if judging.network_judges(c) and not Store.of(c).done)
        ),
        *(_complaints(lambda: _probe_trackers(owed)) if owed else []),
        *(_complaints(lambda: _check_checkpoints(wanted)) if wanted else []),
        *_data_missing(owed),
    ]
    if why:
        raise Unavailable("\n".join(why))
    if owed:
        _check_parts(owed)
        make_loadable(owed)
    if further:
        from cme.checkpoints import ensure

        ensure(further)
    add_to_experiments(c for c in configs if c.experiment.run == schema.Experiment.run)


def _complaints(check: Callable[[], None]) -> list[str]:
    """What a check says is not to be had, nothing where it passes."""
    try:
        check()
    except Unavailable as error:
        return str(error).splitlines()
    return []


def _data_missing(configs: Sequence[Run]) -> list[str]:
    """What the cells' data sources say they lack. See `cme.data` for the contract."""
    found = []
    for source in {str(c.data.source): c.data.source for c in configs}.values():
        lacking = getattr(import_module(source.target.rpartition(".")[0]), "missing", None)
        if lacking is not None:
            found += lacking(**source.arguments)
    return list(dict.fromkeys(found))


def _probe_trackers(configs: list[Run]) -> None:
    from experiments.run import tracking

    tracking.probe(configs)


def _check_checkpoints(names: list[str]) -> None:
    from cme.checkpoints import check_available as check

    try:
        check(names)
    except ValueError as error:
        raise BadConfig(str(error)) from error


def _check_parts(configs: list[Run]) -> None:
    """Check the selection prompts and the capability tasks of the cells that have any."""
    from experiments.run import selection

    for config in configs:
        if config.selection.every is not None:
            selection.selection_prompts(config)
    if tasks := list(dict.fromkeys(task for config in configs for task in config.capabilities.tasks)):
        from cme.evaluation import capabilities

        try:
            capabilities.check(tasks)
        except ValueError as error:
            raise BadConfig(str(error)) from error


def make_loadable(configs: list[Run]) -> None:
    """Make everything loadable that the cells need. Raises as `prepare` does."""
    if not configs:
        return
    from cme.checkpoints import ensure

    _check_checkpoints(checkpoint_names(configs))
    for data in {str(c.data): c.data for c in configs}.values():
        load_prompts(data, data.train_split, data.train_prompts)
        load_prompts(data, data.eval_split, data.eval_prompts)
    for config in configs:
        if config.trainer.method == "dpo":
            load_preferences(config)
    ensure(checkpoint_names(configs))


def checkpoint_names(configs: list[Run]) -> list[str]:
    """Names of the checkpoints that the cells load, each once."""
    wanted: list[str] = []
    for config in configs:
        held = identity.heldout_verifier(config)
        judges = [config.judge, *([] if config.selection.every is None else [config.selection.judge])]
        asked = [
            node.arguments.get("checkpoint") for judge in judges for node in judging.judges(judge).values()
        ]
        used = [config.generator, *([held] if held else []), *(name for name in asked if name)]
        wanted += [*identity.verifiers(config), *used, *identity.comparators(config).values()]
    return list(dict.fromkeys(wanted))
