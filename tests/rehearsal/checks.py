"""What holds for the records of every part of the rehearsal, whatever its method."""

import json
import math
import re
from collections.abc import Sequence

import pandas as pd
import pytest

from cme.records import Pair, RunRecord, Verdict
from tests.rehearsal.parts import STEPS
from tests.rehearsal.stand_ins.judge_server import verdict


def check_verdicts(pairs: Sequence[Pair], verdicts: Sequence[Verdict], judges: int = 1) -> None:
    """Every pair is judged in both orders by every judge, and each verdict is the server's rule."""
    by_id = {pair.prompt_id: pair for pair in pairs}
    assert len(verdicts) == len(pairs) * 2 * judges
    assert len({(v.prompt_id, v.policy_first, v.judge) for v in verdicts}) == len(verdicts)
    for one in verdicts:
        sides = [by_id[one.prompt_id].policy.response, by_id[one.prompt_id].start.response]
        first, second = sides if one.policy_first else sides[::-1]
        winner = json.loads(verdict({"response A": first, "response B": second}))["winner"]
        assert one.outcome == {"A": "first", "B": "second", "tie": "tie"}[winner]


def check_history(record: RunRecord) -> None:
    """Each step has a finite reward, loss and KL, and the policy has moved."""
    assert record.stopped is None
    assert record.history["step"] == list(range(1, STEPS + 1))
    for name in ("reward", "loss", "grad_norm", "kl", "length", "entropy"):
        values = [math.nan if v is None else v for v in record.history[name]]
        assert all(map(math.isfinite, values)), (record.run_id, name, values)
    assert record.history["kl"][0] == pytest.approx(0, abs=1e-4) and record.history["kl"][-1] != 0


def win_rate(verdicts: Sequence[Verdict]) -> float:
    """(wins + ties / 2) / n over the prompts, in percent; each prompt's orders and judges count equally."""
    points = [
        (v.prompt_id, 0.5 if v.outcome == "tie" else (v.outcome == "first") == v.policy_first)
        for v in verdicts
    ]
    frame = pd.DataFrame(points, columns=["prompt", "points"]).astype({"points": float})
    return float(100 * frame.groupby("prompt")["points"].mean().mean())


def check_accuracy(record: RunRecord) -> None:
    """A response is right only with its gold answer in its last box; the judge agrees with the accuracy."""
    assert record.accuracy is not None
    right: dict[tuple[str, bool], bool | None] = {}
    for pair, start, policy in zip(record.pairs, record.accuracy.start, record.accuracy.policy, strict=True):
        for response, found in ((pair.start.response, start), (pair.policy.response, policy)):
            boxes = re.findall(r"\\boxed\{(.*?)\}", response)
            assert found in (None, False) or boxes, response
        right[pair.prompt_id, True], right[pair.prompt_id, False] = policy, start
    for one in record.verdicts:
        policy, start = right[one.prompt_id, True], right[one.prompt_id, False]
        if one.outcome == "tie":
            assert policy == start
        elif one.outcome != "unscored":
            assert ((one.outcome == "first") == one.policy_first) == bool(policy)
