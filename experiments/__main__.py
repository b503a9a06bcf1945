"""The command `cme`, with a subcommand for each job of the project. `python -m experiments` is the same command."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cme import __version__
from cme.runtime.command_line import REFUSED, exit_code

COMMANDS = {
    "run": "train, generate, judge and report; the same as `python run.py`",
    "score": "log-likelihoods of the responses in a file under a verifier",
    "probe": "how each reward ranks answers of known quality, before any training",
    "judge": "another judge on a finished run, or any judge on two files of outputs",
    "import": "compare two files of outputs by verdicts from elsewhere",
    "measure": "surprisal of recorded responses under an independent language model",
    "status": "which cells are done, running, interrupted, failed and pending",
    "pending": "command lines of the cells that are not done",
    "resume": "run cells that are pending or were interrupted",
    "retry": "run cells that failed",
    "cost": "steps, tokens, memory, judge calls and money of runs; the same as `python run.py plan=true`",
    "analyze": "tables, figures and a report from records; the same as `python -m analysis`",
}
_PROBE = """Rank nine answers of known quality (empty, copied, wrong, correct ...) to each evaluation prompt by
every reward, or by the one of reward=NAME, and print how often the correct answer is first. Nothing is trained.
The table is printed and written to RESULTS_DIR/ID/probe.json."""
_COST = (
    """Print what runs would take: steps, tokens, memory, disk, judge calls and money. No model is loaded."""
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit code (`cme.runtime.command_line`)."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # threads that spin while they wait take cores from others
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    program = "cme" if Path(sys.argv[0]).stem == "cme" else "python -m experiments"
    words = sys.argv[1:] if arguments is None else arguments
    return exit_code(lambda: _dispatch(*_split(program, words), program))


def _split(program: str, arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The subcommand and its arguments."""
    width = max(map(len, COMMANDS)) + 2
    parser = argparse.ArgumentParser(
        prog=program,
        usage=f"{program} COMMAND ...",
        description="Label-free reinforcement learning of language models with Cross-Model Entropy.",
        epilog="commands:\n"
        + "\n".join(f"  {name:{width}}{text}" for name, text in COMMANDS.items())
        + f"\n\n`{program} COMMAND --help` describes a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cme {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="see below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="arguments of the command")
    if not arguments:
        parser.print_help(sys.stderr)
        parser.exit(REFUSED, "\nerror: give a command\n")
    options = parser.parse_args(arguments)
    return options.command, options.arguments


def _dispatch(command: str, arguments: list[str], program: str) -> int:
    """Run a subcommand. Local imports keep --help and light commands from loading torch."""
    prog = f"{program} {command}"
    match command:
        case "run":
            from experiments.sweep import command as run

            run.main(arguments)
            return 0
        case "score":
            from cme.scoring import command_line

            return command_line.main(arguments, prog)
        case "judge" | "import":
            from experiments.probes import head_to_head

            return head_to_head.main(command, arguments, prog)
        case "measure":
            from experiments.run import surprisal

            return surprisal.main(arguments, prog)
        case "analyze":
            from analysis.__main__ import main as analyze

            return analyze(arguments, prog)
        case "probe":
            return _probe(_overrides(arguments, prog, _PROBE))
        case "cost":
            from experiments.sweep import command as run

            run.main([*_overrides(arguments, prog, _COST), "plan=true"])
            return 0
    from experiments.sweep import status

    return status.main(command, arguments, prog)


def _overrides(arguments: Sequence[str], prog: str, description: str) -> list[str]:
    """The overrides of a command that takes the same as `cme run`."""
    parser = argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="one result per combination of comma lists"
    )
    parser.add_argument(
        "overrides", nargs="*", help="as for `cme run`, such as scale=laptop family=llama reward.pmi=true"
    )
    options = parser.parse_intermixed_args(arguments)
    return [*(["-m"] if options.multirun else []), *options.overrides]


def _probe(overrides: list[str]) -> int:
    """Probe the rewards of the cells of a command line."""
    from analysis.tables.reward_probe import reward_probe_table
    from cme.records import RewardProbeRecord, read_record
    from cme.runtime.terminal import plain
    from experiments.config import composition
    from experiments.config.validation import BadConfig
    from experiments.probes import records, reward_probe

    if hydra := [word for word in overrides if composition.configures_hydra(word)]:
        raise BadConfig(
            f"{hydra[0]}: the probes of a sweep run one after the other in this process; leave it out"
        )
    cells = composition.compose_cells(overrides)
    if any(cell.plan for cell in cells):
        raise BadConfig(
            "plan=true: a reward probe trains nothing, and its cost is not estimated; leave it out"
        )
    reward_probe.prepare(cells)
    for cell, own in zip(cells, composition.differing_words([cell.overrides for cell in cells]), strict=True):
        path = reward_probe.run(cell)
        if own:
            print(f"## {plain(own)}\n")
        records.print_record(path, reward_probe_table(read_record(path, RewardProbeRecord)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
