"""`python -m experiments stress [overrides]`: how every reward ranks answers of known worth, before any training.

The overrides are those of `run.py`, such as `scale=laptop`, `family=llama verifier=olmo`, `reward.pmi=true`, or
`-m family=qwen,llama` for several tables.

`python -m experiments measure [RECORD_DIR ...] [--model CHECKPOINT]`: how surprising recorded responses are to an
independent language model.
"""

import os
import sys
from collections.abc import Sequence

from cme import Unavailable
from experiments import grid
from experiments.validate import BadConfig


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code: 2 for what cannot run, 1 for what failed while it ran."""
    if not arguments or arguments[0] not in ("stress", "measure"):
        print("usage: python -m experiments {stress [overrides] | measure [RECORD_DIR ...]}", file=sys.stderr)
        return 2
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # a thread that spins while it waits is a core lost to whoever else runs here
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if arguments[0] == "measure":
        from experiments import measure

        return measure.main(arguments[1:])
    from experiments import stress

    try:
        cells = grid.cells(list(arguments[1:]))
        stress.prepare(cells)
    except (BadConfig, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not cells:  # asked for help
        print(__doc__)
    for cell in cells:
        try:
            path = stress.run(cell)
        except Unavailable as error:
            print(f"error: {stress.stress_id(cell)}: {error}", file=sys.stderr)
            return 1
        from analysis.render import to_markdown
        from analysis.stress import stress_table
        from cme.records import read_stress

        print(to_markdown(stress_table(read_stress(path))))
        print(f"record: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
