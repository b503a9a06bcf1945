"""Run command lines of `run.py` up to the construction of TRL's trainer, and write down what reaches it.

python -m tests.rehearsal.capture_trainers OUT '{"name": ["scale=paper", ...]}'

OUT gets one JSON line for each trainer: the name of the command line, the trainer's class, the model and the settings.
"""

import json
import sys
from pathlib import Path
from typing import Any

from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.sft_trainer import SFTTrainer


class _TrainerReached(Exception):
    """Ends a cell."""


def main(out: Path, lines: dict[str, list[str]]) -> None:
    """Run the command lines one after the other."""
    from experiments.sweep import command

    current = ""

    def capture(trainer: Any, model: Any = None, *_: Any, args: Any = None, **__: Any) -> None:
        kind = next(k.__name__ for k in type(trainer).__mro__ if k in (GRPOTrainer, DPOTrainer, SFTTrainer))
        found = {
            "line": current,
            "trainer": kind,
            "model": model.config.name_or_path,
            "settings": args.to_dict(),
        }
        with out.open("a") as file:
            file.write(json.dumps(found, default=str) + "\n")
        raise _TrainerReached

    for trainer in (GRPOTrainer, DPOTrainer, SFTTrainer):
        trainer.__init__ = capture
    for current, words in lines.items():
        try:
            command.main(words)
        except SystemExit as error:  # the cell has failed of _TrainerReached
            print(f"{current}: {error.code}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
