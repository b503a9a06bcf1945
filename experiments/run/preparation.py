"""Check and prepare what runs need before the first one starts: weights, data, judges, trackers and disk space."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cme import Unavailable
from cme.data import files
from cme.models import hub
from cme.records import RunRecord
from cme.training.checkpoint_files import KEPT
from experiments.config import identity, schema
from experiments.config.runs import Run
from experiments.config.validation import BadConfig, saved_checkpoints
from experiments.run import inputs, judging
from experiments.run.store import Store, add_to_experiments, lacks_cut_start, pending_checkpoints
from experiments.run.twin import find_responses

CPU_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Instructions for bfloat16 of x86 and Arm by their names in torch, of which a CPU needs one."""


def prepare(runs: list[Run]) -> None:
    """Check everything that the unfinished runs need, then make it loadable.

    Raises Unavailable, with one line per problem, for weights and data that are not available and for judges and
    trackers that do not answer; BadConfig for settings that cannot work, such as more prompts than there are.
    """
    # imports of torch are late: a command line that is refused needs none
    new: list[Run] = []
    compared: list[str] = []
    cut: list[str] = []
    for run in runs:
        store = Store.of(run)
        record = find_responses(run, store) if trains(run) else None
        if record is None:
            new.append(run)
            continue
        compared += pending_checkpoints(store, record)
        if run.data.oracle is None and lacks_cut_start(store, record):
            cut.append(run.generator)
        if not store.record.exists():
            compared += judging.checkpoints(run.judge)
            _check_judge_of_twin(run, record)
    tokenizers = [*_served_verifiers(new), *cut]
    trained = [run for run in new if trains(run)]
    over_network = (run for run in runs if judging.network_judges(run) and not Store.of(run).done)
    checks: list[Callable[[], None]] = [
        lambda: judging.probe(over_network),
        lambda: _check_trackers(trained),
        lambda: _check_available([*checkpoint_names(new), *compared], tokenizers, _data_copies(new)),
        lambda: _check_own_files(new),
        lambda: _check_commits(runs),
    ]
    problems = []
    for check in checks:
        try:
            check()
        except Unavailable as error:
            problems += str(error).splitlines()
    if problems:
        raise Unavailable("\n".join(problems))
    _check_selection_and_capabilities(trained)
    _warn_of_slow_bfloat16(new)
    make_loadable(new)
    _check_stop_rules(new)
    _check_disk_space(trained)
    for run in trained:
        if run.selection.every is not None:
            from experiments.run import selection

            selection.keep_saved_checkpoints(run, Store.of(run))
    if compared or cut:
        from cme.checkpoints import ensure

        ensure(compared, cut)
    add_to_experiments(run for run in runs if trains(run))


def trains(run: Run) -> bool:
    """Whether the run trains and evaluates a policy; probes, and functions of the user's, do not."""
    return run.experiment.run == schema.Experiment.run


def _check_judge_of_twin(run: Run, twin: RunRecord) -> None:
    """Raise BadConfig if the run's judge can judge none of its twin's responses, or has judged them."""
    from experiments.run.evaluation import pair_prompts

    settings = identity.component_fields(run.judge, "judge")
    if any((f.name, f.settings) == (run.judge.name, settings) for f in twin.further_judges or []):
        raise BadConfig(
            f"judge={run.judge.name}: the record of {twin.run_id} has the verdicts of this judge, from `cme judge`; "
            "`cme analyze` shows them"
        )
    what = f"the evaluation prompts of {twin.run_id}"
    judging.check_prompts("judge", run.judge, pair_prompts(twin.pairs), what)


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


def _served_verifiers(runs: list[Run]) -> list[str]:
    return [name for run in runs for name in identity.served_verifiers(run)]


def _check_available(names: list[str], tokenizers_of: list[str], data: Sequence[files.Copy] = ()) -> None:
    """Raise Unavailable or BadConfig for checkpoints, and data from the hub or local copies, that cannot be loaded."""
    if not names and not tokenizers_of and not data:
        return
    from cme.checkpoints import check_available

    problems = [line for copy in data if copy.path is not None for line in files.missing(copy)]
    try:
        check_available(names, tokenizers_of, [copy.repository for copy in data if copy.path is None])
    except ValueError as error:
        raise BadConfig(str(error)) from error
    except Unavailable as error:
        problems = [*str(error).splitlines(), *problems]
    if problems:
        raise Unavailable("\n".join(problems))


def _data_copies(runs: list[Run]) -> list[files.Copy]:
    """The distinct copies of the hub's data from which the prompts of runs are read."""
    return list(dict.fromkeys(copy for run in runs for copy in inputs.data_copies(run)))


def _check_own_files(runs: list[Run]) -> None:
    """Raise Unavailable, with one line per file, for files of the user's own prompts that cannot be used."""
    by_source = {str(run.data.source): run for run in runs}
    problems = [line for run in by_source.values() for line in inputs.file_problems(run)]
    if problems:
        raise Unavailable("\n".join(dict.fromkeys(problems)))


def _check_selection_and_capabilities(runs: list[Run]) -> None:
    """Raise BadConfig or Unavailable for selection prompts and capability tasks that cannot be used."""
    selecting = [run for run in runs if run.selection.every is not None]
    for run in {str((run.data, run.selection)): run for run in selecting}.values():
        from experiments.run import selection

        prompts, what = selection.selection_prompts(run), f"the selection prompts of data={run.data.name}"
        judging.check_prompts("judge@selection.judge", run.selection.judge, prompts, what)
    if tasks := list(dict.fromkeys(task for run in runs for task in run.capabilities.tasks)):
        from cme.evaluation import capabilities

        try:
            capabilities.check(tasks)
        except ValueError as error:
            raise BadConfig(str(error)) from error


def _check_stop_rules(runs: list[Run]) -> None:
    """Raise BadConfig for a checkpoint that does not name the end tokens that `evaluation.stop` refers to."""
    for run in runs:
        if run.evaluation.stop == "both":
            continue
        from cme.checkpoints import stop_ids

        verifier = identity.responding_verifier(run)
        names = {run.generator, *identity.comparators(run).values(), *([verifier] if verifier else [])}
        try:
            for name in sorted(names):
                stop_ids(name, run.evaluation.stop)
        except ValueError as error:
            raise BadConfig(f"evaluation.stop={run.evaluation.stop}: {error}") from error


def make_loadable(runs: list[Run]) -> None:
    """Download, build or convert everything that runs load. Raises as `prepare` does."""
    if not runs:
        return
    from cme.checkpoints import ensure

    names, served = checkpoint_names(runs), _served_verifiers(runs)
    _check_available(names, served)
    for run in {str(run.data): run for run in runs}.values():
        inputs.training_prompts(run)
    for run in {str((run.data, run.judge)): run for run in runs}.values():
        what = f"the evaluation prompts of data={run.data.name}"
        judging.check_prompts("judge", run.judge, inputs.evaluation_prompts(run), what)
    for run in runs:
        if run.trainer.method == "dpo":
            inputs.load_preferences(run)
    ensure(names, served)


@dataclass(frozen=True)
class DiskSpace:
    """Bytes that the training of a run takes at most, and those of them that stay."""

    peak: float
    kept: float


def disk_space(run: Run, parameters: int, on_gpu: bool) -> DiskSpace:
    """The disk space of a run whose policy has so many parameters; records and responses are small beside it.

    A policy takes 2 bytes per parameter if it is trained on a GPU, else 4. A checkpoint to resume from takes 4 and, for
    each trained parameter, 8 of Adam's moments; while one is written, the earlier ones are still there.
    """
    if run.trainer.method == "best_of_n":
        return DiskSpace(0.0, 0.0)
    policy = (2.0 if on_gpu else 4.0) * parameters
    saved = saved_checkpoints(run) * policy
    trains_all = run.trainer.lora is None  # adapters are small beside the model
    resume = (
        12.0 * parameters * (KEPT + 1) if trains_all and run.trainer.max_steps > run.checkpoint.every else 0.0
    )
    return DiskSpace(policy + saved + resume, policy + saved * run.selection.keep)


def total_disk_space(spaces: Sequence[DiskSpace]) -> DiskSpace:
    """The disk space of runs that follow each other."""
    kept = sum(space.kept for space in spaces)
    return DiskSpace(kept + max((space.peak - space.kept for space in spaces), default=0.0), kept)


def _check_disk_space(runs: list[Run]) -> None:
    """Raise Unavailable if the policies of runs that are not trained yet do not fit on the disk."""
    from torch.cuda import is_available

    from cme.checkpoints import ensure

    for root in dict.fromkeys(run.results_dir for run in runs):
        spaces, used = [], 0
        here = [run for run in runs if run.results_dir == root]
        for run in {identity.training_id(run): run for run in here}.values():
            store = Store.of(run)
            if not store.training.exists():
                parameters = hub.count_parameters(Path(ensure([run.generator])[run.generator]))
                spaces.append(disk_space(run, parameters, is_available()))
                used += sum(file.stat().st_size for file in store.trained.rglob("*") if file.is_file())
        needed = total_disk_space(spaces).peak - used
        place = next(p for p in (Path(root).absolute(), *Path(root).absolute().parents) if p.exists())
        if needed > (free := shutil.disk_usage(place).free):
            raise Unavailable(
                f"results_dir={root} has {free / 1e9:.1f} GB free, and the runs need {needed / 1e9:.1f} GB for "
                "policies and checkpoints: free some space, use another results_dir, or save fewer policies with a "
                "larger selection.every or selection.every=null"
            )


def _warn_of_slow_bfloat16(runs: list[Run]) -> None:
    """Print a warning if runs compute in bfloat16 on a CPU that has no instructions for it."""
    remedies = {"scoring.dtype=float32": any(run.scoring.dtype == "bfloat16" for run in runs)}
    optimized = [run.trainer for run in runs if isinstance(run.trainer, schema.Optimization)]
    remedies["trainer.bf16=false"] = any(trainer.bf16 for trainer in optimized)
    if not any(remedies.values()):
        return
    from torch import cpu, cuda

    capabilities = cpu.get_capabilities()
    if not cuda.is_available() and not any(capabilities.get(name) for name in CPU_BFLOAT16):
        print(
            "warning: this CPU has no instructions for bfloat16 and is far slower in it than in float32; add "
            f"{' '.join(remedy for remedy, helps in remedies.items() if helps)}",
            file=sys.stderr,
        )


def _check_commits(runs: list[Run]) -> None:
    """Raise Unavailable for runs that began with other commits than those in the local cache now."""
    problems: list[str] = []
    for run in runs:
        if inputs.has_commits(run):
            problems += inputs.changed_commits(run, inputs.cached_commits(run, checkpoint_names([run])))
    if problems:
        raise Unavailable("\n".join(dict.fromkeys(problems)))


def checkpoint_names(runs: list[Run]) -> list[str]:
    """The distinct names of the checkpoints that runs load."""
    names: list[str | None] = []
    for run in runs:
        judges = [run.judge, *([] if run.selection.every is None else [run.selection.judge])]
        names += inputs.training_checkpoints(run)
        names += [name for judge in judges for name in judging.checkpoints(judge)]
        names += identity.comparators(run).values()
    return list(dict.fromkeys(name for name in names if name))
