"""The files that ship with the code: configuration, published figures, and sanity checks of judges.

They are at the top of a checkout, or in the folder `cme_files` beside the packages of an installed wheel (`setup.py`).
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The folder with the packages: the top of a checkout, or `site-packages`."""
_WHEEL = ROOT / "cme_files"
INSTALLED = _WHEEL.is_dir()
"""Whether this code runs from an installed wheel."""

CONF = _WHEEL / "conf" if INSTALLED else ROOT / "conf"
PUBLISHED = _WHEEL / "published" if INSTALLED else ROOT / "results" / "published"
CHECKS = _WHEEL / "checks" if INSTALLED else ROOT / "results" / "reference" / "laptop"
"""The folder of our sanity checks of judges on language models, `*.sanity.json`."""
RUN = "cme run" if INSTALLED else "python run.py"
"""The command that runs cells, as messages show it."""
