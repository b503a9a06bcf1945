"""The files of results, as versioned dataclasses.

The record of a finished run is one self-contained JSON file: configuration, training history, paired generations,
verdicts. It has no win rates; `analysis` computes them from the verdicts. A reward probe, a judge's sanity check and a
separation are one file each too.
"""

from cme.records.codec import (
    LARGEST_COUNT,
    BadFile,
    Cost,
    Count,
    Number,
    Share,
    Strict,
    find_unwritable,
    from_json,
    parse_json,
)
from cme.records.files import (
    explain_write_errors,
    read_json,
    read_record,
    record_files,
    write_json,
    write_record,
)
from cme.records.grades import Grade, Grades, Oracle
from cme.records.pairs import (
    Conversation,
    Generation,
    Outcome,
    Pair,
    Preference,
    Prompt,
    Scores,
    Verdict,
    check_outcome,
)
from cme.records.probes import RewardProbeRecord, SanityRecord, SeparationRecord
from cme.records.run import (
    CUT_START,
    Accuracy,
    Capability,
    CheckpointResult,
    Comparison,
    ExperimentRecord,
    FurtherJudge,
    RunRecord,
    Selected,
    Spending,
    Trajectory,
)
from cme.records.state import Progress, RunState
from cme.records.votes import MAJORITY, judge_name, majority_verdicts, points, scores, verdicts_by_order

__all__ = [
    "CUT_START",
    "LARGEST_COUNT",
    "MAJORITY",
    "Accuracy",
    "BadFile",
    "Capability",
    "CheckpointResult",
    "Comparison",
    "Conversation",
    "Cost",
    "Count",
    "ExperimentRecord",
    "FurtherJudge",
    "Generation",
    "Grade",
    "Grades",
    "Number",
    "Oracle",
    "Outcome",
    "Pair",
    "Preference",
    "Progress",
    "Prompt",
    "RewardProbeRecord",
    "RunRecord",
    "RunState",
    "SanityRecord",
    "Scores",
    "Selected",
    "SeparationRecord",
    "Share",
    "Spending",
    "Strict",
    "Trajectory",
    "Verdict",
    "check_outcome",
    "explain_write_errors",
    "find_unwritable",
    "from_json",
    "judge_name",
    "majority_verdicts",
    "parse_json",
    "points",
    "read_json",
    "read_record",
    "record_files",
    "scores",
    "verdicts_by_order",
    "write_json",
    "write_record",
]
