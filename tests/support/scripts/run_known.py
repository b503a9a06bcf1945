"""run.py with the known completions of trained_together.py in place of sampled ones."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))

from trained_together import known_completions  # noqa: E402

from cme.training.trl_internals import PromptTrainer  # noqa: E402

if __name__ == "__main__":
    PromptTrainer._generate_single_turn = known_completions
    runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
