"""The options of the config groups: the files of each folder in `conf/`, and `none` where a group may be left out."""

from cme.runtime import shipped

OPTIONAL = ("adapter", "comparators", "experiment")
"""Groups for which `conf/config.yaml` chooses `none`, an option without a file."""


def group_options(group: str) -> list[str]:
    """The options of a group by name, such as `trainer`; empty for a name that is no group."""
    files = [file.stem for file in (shipped.CONF / group).glob("*.yaml")]
    return sorted([*files, "none"] if group in OPTIONAL else files)
