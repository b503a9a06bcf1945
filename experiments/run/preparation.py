"""Check and prepare what runs need before the first one starts: weights, data, judges and trackers."""

from collections.abc import Callable
from importlib import import_module

from cme import Unavailable
from experiments.config import identity, schema
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.run import inputs, judging
from experiments.run.store import Store, add_to_experiments, pending_checkpoints


def prepare(runs: list[Run]) -> None:
    """Check everything that the unfinished runs need, then make it loadable.

    Raises Unavailable, with one line per problem, for weights and data that are not available and for judges and
    trackers that do not answer; BadConfig for settings that cannot work, such as more prompts than there are.
    """
    # imports of torch are late: a command line that is refused needs none
    stores = [Store.of(run) for run in runs]
    new = [run for run, store in zip(runs, stores, strict=True) if not store.record.exists()]
    compared = [name for store in stores if store.record.exists() for name in pending_checkpoints(store)]
    over_network = (run for run in runs if judging.network_judges(run) and not Store.of(run).done)
    checks: list[Callable[[], None]] = [
        lambda: judging.probe(over_network),
        lambda: _check_trackers(new),
        lambda: _check_checkpoints([*checkpoint_names(new), *compared]),
        lambda: _check_data(new),
    ]
    problems = []
    for check in checks:
        try:
            check()
        except Unavailable as error:
            problems += str(error).splitlines()
    if problems:
        raise Unavailable("\n".join(problems))
    _check_selection_and_capabilities(new)
    make_loadable(new)
    if compared:
        from cme.checkpoints import ensure

        ensure(compared)
    add_to_experiments(run for run in runs if run.experiment.run == schema.Experiment.run)


def _check_trackers(runs: list[Run]) -> None:
    """Try the trackers of the runs that will train. Raises Unavailable, with one line per tracker."""
    training = [r for r in runs if r.trainer.method != "best_of_n" and not Store.of(r).training.exists()]
    problems = []
    for name in dict.fromkeys(run.tracker for run in training if run.tracker != "none"):
        from cme.training.trackers import check_tracker

        try:
            check_tracker(name)
        except Unavailable as error:
            problems.append(str(error))
    if problems:
        raise Unavailable("\n".join(problems))


def _check_checkpoints(names: list[str]) -> None:
    """Raise Unavailable or BadConfig for checkpoints that cannot be loaded."""
    if not names:
        return
    from cme.checkpoints import check_available

    try:
        check_available(names)
    except ValueError as error:
        raise BadConfig(str(error)) from error


def _check_data(runs: list[Run]) -> None:
    """Raise Unavailable, with one line per data set, for data that is neither here nor on the hub."""
    problems: list[str] = []
    for source in {str(run.data.source): run.data.source for run in runs}.values():
        module = import_module(source.target.rpartition(".")[0])
        # sources whose data is never downloaded have no such function; see `cme.data`
        if (missing := vars(module).get("missing")) is not None:
            problems += missing(**source.arguments)
    if problems:
        raise Unavailable("\n".join(dict.fromkeys(problems)))


def _check_selection_and_capabilities(runs: list[Run]) -> None:
    """Raise BadConfig or Unavailable for selection prompts and capability tasks that cannot be used."""
    for run in runs:
        if run.selection.every is not None:
            from experiments.run import selection

            selection.selection_prompts(run)
    if tasks := list(dict.fromkeys(task for run in runs for task in run.capabilities.tasks)):
        from cme.evaluation import capabilities

        try:
            capabilities.check(tasks)
        except ValueError as error:
            raise BadConfig(str(error)) from error


def make_loadable(runs: list[Run]) -> None:
    """Download, build or convert everything that runs load. Raises as `prepare` does."""
    if not runs:
        return
    from cme.checkpoints import ensure

    _check_checkpoints(checkpoint_names(runs))
    for run in {str(run.data): run for run in runs}.values():
        inputs.training_prompts(run)
    for run in {str((run.data, run.judge, run.selection)): run for run in runs}.values():
        judging.check_references(run, inputs.evaluation_prompts(run))
    for run in runs:
        if run.trainer.method == "dpo":
            inputs.load_preferences(run)
    ensure(checkpoint_names(runs))


def checkpoint_names(runs: list[Run]) -> list[str]:
    """The distinct names of the checkpoints that runs load."""
    names: list[str | None] = []
    for run in runs:
        judges = [run.judge, *([] if run.selection.every is None else [run.selection.judge])]
        members = [member for judge in judges for member in judging.judges(judge).values()]
        names += [*identity.verifiers(run), run.generator, identity.heldout_verifier(run)]
        names += [member.arguments.get("checkpoint") for member in members]
        names += identity.comparators(run).values()
    return list(dict.fromkeys(name for name in names if name))
