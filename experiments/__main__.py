"""`python -m experiments stress [overrides]`: how every reward ranks answers of known worth, before any training.

`python -m experiments cost [overrides]`: what judging would take in calls, tokens and money, without any call.

The overrides are those of `run.py`, such as `scale=laptop`, `family=llama verifier=olmo`, `reward.pmi=true`, or
`-m family=qwen,llama` for several tables.

`python -m experiments import ...` and `python -m experiments judge ...`: outputs made elsewhere, with their verdicts or
judged here, as records; each has its own --help.

`python -m experiments measure [RECORD_DIR ...] [--model CHECKPOINT]`: how surprising recorded responses are to an
independent language model.

`python -m experiments status|owed|resume|retry [EXPERIMENT]`: a sweep seen, and gone on with; see
`experiments.sweep.status`.
"""

import os
import sys
from collections.abc import Sequence

from cme import Unavailable
from experiments.config import composition
from experiments.config.validation import BadConfig
from experiments.sweep import status


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code: 2 for what cannot run, 1 for what failed while it ran."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # a thread that spins while it waits is a core lost to whoever else runs here
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if arguments and arguments[0] in ("import", "judge"):
        from experiments.probes import head_to_head

        return head_to_head.main(arguments)
    if arguments and arguments[0] == "measure":
        from experiments.run import surprisal

        return surprisal.main(arguments[1:])
    if arguments and arguments[0] in status.COMMANDS:
        return status.main(arguments)
    if not arguments or arguments[0] not in ("stress", "cost"):
        usage = "usage: python -m experiments stress|cost [overrides], or import|judge|measure ..."
        print(f"{usage}, or status|owed|resume|retry [experiment]", file=sys.stderr)
        return 2
    if arguments[0] == "cost":
        return _cost(list(arguments[1:]))
    from experiments.probes import reward_probe

    try:
        cells = composition.compose_configs(list(arguments[1:]))
        reward_probe.prepare(cells)
    except (BadConfig, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not cells:  # asked for help
        print(__doc__)
    for cell in cells:
        try:
            path = reward_probe.run(cell)
        except Unavailable as error:
            print(f"error: {reward_probe.reward_probe_id(cell)}: {error}", file=sys.stderr)
            return 1
        from analysis.sections.reward_probe import reward_probe_table
        from analysis.tables.render import to_markdown
        from cme.records import RewardProbeRecord, read_record

        print(to_markdown(reward_probe_table(read_record(path, RewardProbeRecord))))
        print(f"record: {path}")
    return 0


def _cost(overrides: list[str]) -> int:
    from experiments.plan import cost

    try:
        print("\n".join(cost.lines(composition.compose_configs(overrides))))
    except (ValueError, Unavailable) as error:  # BadConfig, and a log or a record that cannot be read
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
