"""Where a sweep's cells run: through the Hydra launcher that the command line names, by default one after the other."""

from collections.abc import Callable, Sequence

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig


def is_hydras(argument: str) -> bool:
    """Whether an override is of Hydra itself, such as hydra/launcher=joblib."""
    return argument.lstrip("+~").startswith(("hydra/", "hydra."))


def without_hydra(arguments: Sequence[str]) -> list[str]:
    """The arguments without overrides of Hydra itself."""
    return [a for a in arguments if not is_hydras(a)]


def check(arguments: Sequence[str]) -> None:
    """Refuse a launcher that is not there."""


def launch(
    cells: Sequence[Sequence[str]], arguments: Sequence[str], function: Callable[[DictConfig], None]
) -> None:
    """Run each cell, its own override words, in one batch."""
    from hydra._internal.callbacks import Callbacks

    from experiments.grid import CONF

    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        words = [a for a in arguments if is_hydras(a)]
        config = hydra.compose_config("config", words, run_mode=RunMode.MULTIRUN)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config))
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=function, config=config
        )
        for returned in launcher.launch([list(c) for c in cells], initial_job_idx=0):
            if returned.status == JobStatus.FAILED:
                raise RuntimeError(f"{' '.join(returned.overrides or [])}: {returned._return_value}")  # noqa: SLF001


BATCH = 1000


def chosen(arguments: Sequence[str]) -> str | None:
    """The launcher that a command line names."""
    return next((a.split("=", 1)[1] for a in arguments if a.startswith("hydra/launcher=")), None)
