"""Every column of the committed CSV files is documented."""

from csv_columns import PAGE, undocumented

FILES = sorted((PAGE.parents[1] / "results" / "reference" / "analysis" / "tables").glob("*.csv"))


def test_every_column_of_the_committed_files_is_documented() -> None:
    assert len(FILES) > 25 and undocumented(FILES) == []
