"""`python run.py` and `cme run`: run the cells of a command line, or display what Hydra composes of it."""

import sys
from collections.abc import Sequence

import hydra
from omegaconf import DictConfig

from cme import __version__
from cme.runtime import distributed
from experiments.config import composition, registration
from experiments.config.registration import spell_out
from experiments.config.resolution import resolve
from experiments.run import cell
from experiments.sweep import runner
from experiments.sweep.help import help_text

DISPLAY_OPTIONS = ("--hydra-help", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc")
"""Options with which Hydra only displays something."""


@hydra.main(version_base="1.3", config_path=str(composition.CONF), config_name="config")
def display(config: DictConfig) -> None:
    """The entry point of Hydra, which answers --cfg and similar options itself."""
    cell.run(resolve(config))


def main(arguments: Sequence[str]) -> None:
    """Run the command and exit: 0 if all runs are done, 1 if one failed, else as `cme.runtime.command_line` says.

    The exit happens inside the launch, so that all processes of `accelerate launch` exit with the same code.
    """
    with distributed.launch():
        if {"--help", "-h"} & set(arguments):
            print(help_text())
        elif "--version" in arguments:
            print(f"cme {__version__}")
        elif any(word.split("=")[0] in DISPLAY_OPTIONS for word in arguments):
            registration.register()
            sys.argv[1:] = spell_out(arguments)
            display()
        else:
            sys.exit(runner.main(list(arguments)))
