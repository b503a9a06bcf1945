"""Every column of the committed CSV files is documented."""

from csv_columns import PAGE, undocumented

FILES = sorted((PAGE.parents[1] / "results" / "reference" / "analysis" / "tables").glob("*.csv"))

COMMITTED = """
    laptop laptop-accuracy laptop-confounds laptop-main-table laptop-math laptop-reward-probe
    laptop-rewards laptop-sanity miniature miniature-accuracy miniature-advantage-norm
    miniature-advantage-norm-drift miniature-confounds miniature-faults miniature-granularity
    miniature-group-size miniature-kl-beta miniature-kl-beta-drift miniature-math
    miniature-overoptimisation miniature-verifier-sweep-math
    miniature-independence miniature-main-table miniature-main-table-comparators
    miniature-reward-probe miniature-rewards miniature-sanity miniature-separation
    miniature-verifier-sweep published-separation
"""


def test_every_column_of_the_committed_files_is_documented() -> None:
    assert {file.stem for file in FILES} >= set(COMMITTED.split()) and undocumented(FILES) == []
