"""run.py, in which what training samples is known before: see trained_together.py."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))

from trained_together import known  # noqa: E402
from trl import GRPOTrainer  # noqa: E402

if __name__ == "__main__":
    GRPOTrainer._generate_single_turn = known
    runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
