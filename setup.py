"""The packages of the wheel; all other metadata is in pyproject.toml.

conf/, results/published/ and the sanity checks in results/reference/laptop/ stay at the top of the repository and
travel in the wheel as `cme_files`: see `cme.runtime.shipped`.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["cme", "cme.*", "experiments", "experiments.*", "analysis", "analysis.*"]),
        "cme_files.conf",
        "cme_files.published",
        "cme_files.checks",
    ],
    package_dir={
        "cme_files.conf": "conf",
        "cme_files.published": "results/published",
        "cme_files.checks": "results/reference/laptop",
    },
)
