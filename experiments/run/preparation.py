"""Check and prepare what runs need before the first one starts: weights, data, judges, trackers and disk space."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cme import Unavailable
from cme.data import files
from cme.models import hub
from cme.records import CUT_START, RunRecord, read_record
from cme.training.checkpoint_files import KEPT
from experiments.config import identity
from experiments.config.runs import Run
from experiments.config.trainers import Optimization
from experiments.config.validation import BadConfig, as_bad_config
from experiments.run import inputs, judging, provenance
from experiments.run.cell import is_done, job_of
from experiments.run.store import Store, add_to_experiments, trains
from experiments.run.twin import find_twin

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
        store = Store(run)
        judged = trains(run) and store.record.exists()
        record = read_record(store.record) if judged else find_twin(run, store) if trains(run) else None
        if record is None:
            new.append(run)
            continue
        known = {(c.name, c.checkpoint) for c in record.comparisons or []}
        missing = {name: c for name, c in run.comparisons.items() if (name, c) not in known}
        compared += [checkpoint for name, checkpoint in missing.items() if name != CUT_START]
        if CUT_START in missing and run.data.oracle is None:
            cut.append(run.generator)
        if not judged:
            compared += judging.checkpoints(run.judge)
            _check_judge_of_twin(run, record)
    trained = [run for run in new if trains(run)]
    problems = [
        *_problems(judging.probe, [run for run in runs if judging.network_judges(run) and not is_done(run)]),
        *_tracker_problems(trained),
        *_missing(new, compared, cut),
        *_changed_commits(runs),
    ]
    if problems:
        raise Unavailable("\n".join(dict.fromkeys(problems)))
    _check_selection_and_capabilities(trained)
    _warn_of_slow_bfloat16(new)
    make_loadable(new)
    _check_stop_rules(new)
    _check_disk_space(trained)
    if trained:
        from experiments.run import selection

        for run in trained:
            selection.keep_saved_checkpoints(run, Store(run))
    if compared or cut:
        from cme.availability import ensure

        ensure(compared, cut)
    add_to_experiments(run for run in runs if trains(run))


def make_loadable(runs: list[Run]) -> None:
    """Download, build or convert everything that runs load. Raises as `prepare` does."""
    if not runs:
        return
    from cme.availability import ensure

    if problems := _missing(runs):
        raise Unavailable("\n".join(problems))
    for run in {str(run.data): run for run in runs}.values():
        inputs.training_prompts(run)
    for run in {str((run.data, run.judge)): run for run in runs}.values():
        what = f"the evaluation prompts of data={run.data.name}"
        judging.check_prompts("judge", run.judge, inputs.evaluation_prompts(run), what)
    for run in runs:
        if run.trainer.method == "dpo":
            inputs.load_preferences(run)
        for path, judge in run.reward_judges.items():
            what = f"the training prompts of data={run.data.name}"
            judging.check_prompts(f"judge@{path}", judge, inputs.training_prompts(run), what)
    _check_distillation(runs)
    ensure(checkpoint_names(runs), [name for run in runs for name in run.served_verifiers])


def checkpoint_names(runs: list[Run]) -> list[str]:
    """The distinct names of the checkpoints that runs load."""
    names: list[str] = []
    for run in runs:
        judges = [run.judge, *([] if run.selection.every is None else [run.selection.judge])]
        names += inputs.training_checkpoints(run) if trains(run) else job_of(run).checkpoints(run)
        names += [name for judge in judges for name in judging.checkpoints(judge)]
        names += run.comparators.values()
    return list(dict.fromkeys(names))


def _problems(check: Callable[..., object], *arguments: Any) -> list[str]:
    """The lines of the Unavailable that a check raises."""
    try:
        check(*arguments)
    except Unavailable as error:
        return str(error).splitlines()
    return []


def _tracker_problems(runs: list[Run]) -> list[str]:
    """A line for each tracker that cannot be used, of the runs that will train."""
    training = [r for r in runs if r.trainer.method != "best_of_n" and not Store(r).training.exists()]
    # TensorBoard needs no check, and importing the checks of the others takes seconds
    names = dict.fromkeys(run.tracker for run in training if run.tracker not in ("none", "tensorboard"))
    if not names:
        return []
    from cme.training.trackers import check_tracker

    return [line for name in names for line in _problems(check_tracker, name)]


def _missing(runs: list[Run], more: Sequence[str] = (), more_tokenizers: Sequence[str] = ()) -> list[str]:
    """Lines on the data of runs, on their checkpoints and `more`, and on tokenizers, that are not available.

    Raises BadConfig for names that cannot be those of checkpoints.
    """
    names = [*checkpoint_names(runs), *more]
    tokenizers = [*(name for run in runs for name in run.served_verifiers), *more_tokenizers]
    copies = dict.fromkeys(copy for run in runs for copy in inputs.data_copies(run))
    problems = []
    if names or tokenizers or copies:
        from cme.availability import check_available

        hosted = [copy.repository for copy in copies if copy.path is None]
        with as_bad_config():
            problems = _problems(check_available, names, tokenizers, hosted)
    problems += [line for copy in copies if copy.path is not None for line in files.missing(copy)]
    sources = {str(run.data.source): run for run in runs}
    return problems + [line for run in sources.values() for line in inputs.file_problems(run)]


def _changed_commits(runs: list[Run]) -> list[str]:
    """Lines on runs that began with other commits than those in the local cache now."""
    begun = [run for run in runs if any(path.exists() for path in provenance.commits_files(run))]
    return [
        line
        for run in begun
        for line in provenance.changed_commits(run, provenance.cached_commits(run, checkpoint_names([run])))
    ]


def _check_judge_of_twin(run: Run, twin: RunRecord) -> None:
    """Raise BadConfig if the run's judge can judge none of its twin's responses, or has judged them."""
    settings = identity.judge_fields(run.judge)
    if any((f.name, f.settings) == (run.judge.name, settings) for f in twin.further_judges or []):
        raise BadConfig(
            f"judge={run.judge.name}: the record of {twin.run_id} has the verdicts of this judge, from `cme judge`; "
            "`cme analyze` shows them"
        )
    what = f"the evaluation prompts of {twin.run_id}"
    judging.check_prompts("judge", run.judge, inputs.pair_prompts(twin.pairs), what)


def _check_selection_and_capabilities(runs: list[Run]) -> None:
    """Raise BadConfig or Unavailable for selection prompts and capability tasks that cannot be used."""
    selecting = [run for run in runs if run.selection.every is not None]
    for run in {str((run.data, run.selection)): run for run in selecting}.values():
        from experiments.run import selection

        prompts, what = selection.selection_prompts(run), f"the selection prompts of data={run.data.name}"
        judging.check_prompts("judge@selection.judge", run.selection.judge, prompts, what)
    if tasks := list(dict.fromkeys(task for run in runs for task in run.capabilities.tasks)):
        from cme.evaluation import capabilities

        with as_bad_config():
            capabilities.check(tasks)


def _check_stop_rules(runs: list[Run]) -> None:
    """Raise BadConfig for a checkpoint that does not name the end tokens that `evaluation.stop` refers to."""
    for run in runs:
        if run.evaluation.stop == "both":
            continue
        from cme.checkpoints import stop_ids

        verifier = run.responding_verifier
        names = {run.generator, *run.comparators.values(), *([verifier] if verifier else [])}
        with as_bad_config(f"evaluation.stop={run.evaluation.stop}"):
            for name in sorted(names):
                stop_ids(name, run.evaluation.stop)


def _warn_of_slow_bfloat16(runs: list[Run]) -> None:
    """Print a warning if runs compute in bfloat16 on a CPU that has no instructions for it."""
    remedies = []
    if any(run.scoring.dtype == "bfloat16" for run in runs):
        remedies.append("scoring.dtype=float32")
    if any(isinstance(run.trainer, Optimization) and run.trainer.bf16 for run in runs):
        remedies.append("trainer.bf16=false")
    if not remedies:
        return
    from torch import cpu, cuda

    capabilities = cpu.get_capabilities()
    if not cuda.is_available() and not any(capabilities.get(name) for name in CPU_BFLOAT16):
        print(
            "warning: this CPU has no instructions for bfloat16 and is far slower in it than in float32, so runs take "
            f"far longer than estimated; add {' '.join(remedies)}",
            file=sys.stderr,
        )


def _check_distillation(runs: list[Run]) -> None:
    """Raise BadConfig for distillation between models whose tokens differ."""
    distilled = [run for run in runs if run.trainer.method == "distillation"]
    for run in {str((r.generator, r.verifier, r.data, r.chat_template)): r for r in distilled}.values():
        from cme.training.distillation import check_tokenizers

        models, template = (run.generator, run.verifier.checkpoint), run.chat_template
        with as_bad_config(f"trainer=distillation verifier={run.verifier.name}"):
            check_tokenizers(*models, inputs.training_prompts(run), template.generator, template.verifier)


@dataclass(frozen=True)
class DiskSpace:
    """Bytes that the training of a run takes at most, and those of them that stay."""

    peak: float
    kept: float


def disk_space(run: Run, parameters: int, on_gpu: bool) -> DiskSpace:
    """The disk space of a run whose policy has so many parameters; records and responses are small beside it.

    A policy takes 2 bytes per parameter if it is trained on a GPU, else 4. A checkpoint to resume from takes 4 and, for
    each trained parameter, 8 of Adam's moments, and 4 of a reward's average of the policy; while one is written, the
    earlier ones are still there.
    """
    if run.trainer.method == "best_of_n":
        return DiskSpace(0.0, 0.0)
    policy = (2.0 if on_gpu else 4.0) * parameters
    saved = run.selection.count_saved(run.trainer) * policy
    resume = 0.0
    # adapters are small beside the model
    if run.trainer.lora is None and run.trainer.max_steps > run.checkpoint.every:
        resume = (12.0 + 4.0 * run.averages_policy) * parameters * (KEPT + 1)
    return DiskSpace(policy + saved + resume, policy + saved * run.selection.keep)


def total_disk_space(spaces: Sequence[DiskSpace]) -> DiskSpace:
    """The disk space of runs that follow each other."""
    kept = sum(space.kept for space in spaces)
    return DiskSpace(kept + max((space.peak - space.kept for space in spaces), default=0.0), kept)


def _check_disk_space(runs: list[Run]) -> None:
    """Raise Unavailable if the policies of runs that are not trained yet do not fit on the disk."""
    from torch.cuda import is_available

    from cme.availability import ensure

    for root in dict.fromkeys(run.results_dir for run in runs):
        spaces, used = [], 0
        for run in {identity.training_id(run): run for run in runs if run.results_dir == root}.values():
            store = Store(run)
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
