"""WildBench's judges at a server on loopback."""

from pathlib import Path

import pytest
from chat_stub import USAGE, ChatStub, completion, serving
from samples import response
from stub_judges import judge_settings

from cme import Unavailable
from cme.judges.pairwise import VerdictLog, judge_pairs
from cme.judges.wildbench import WildBenchScore
from cme.records import Pair

PRICE = (USAGE["prompt_tokens"] * 2 + USAGE["completion_tokens"] * 8) / 1e6


class KeyRevoked(ChatStub):
    """Grades once, and then revokes the key."""

    def judged(self, body: object, question: str) -> bytes:
        self.key = "another"
        return completion('{"score": "7"}')


@pytest.mark.parametrize("price", [2.0, None])
def test_a_grade_is_paid_for_although_the_next_call_fails(tmp_path: Path, price: float | None) -> None:
    settings = judge_settings("wildbench_score", usd_per_million_input=price, usd_per_million_output=8.0)
    known = {k: v for k, v in settings.items() if k in WildBenchScore.__init__.__annotations__}
    pair = Pair("trial", "Name a colour.", None, response("Blue."), response("A chair."))
    with serving(KeyRevoked()) as stub, VerdictLog(tmp_path / "log") as log:
        judge = WildBenchScore(**known | {"base_url": stub.url, "path": None, "revision": None})
        with pytest.raises(Unavailable, match="no access") as refused:
            judge_pairs(judge, [pair], False, log)
        assert len(stub.bodies) == 2
    assert refused.value.usd == (None if price is None else pytest.approx(PRICE))
    again = VerdictLog(tmp_path / "log")
    assert (again.calls[None], again.usd[None]) == (2, pytest.approx(PRICE if price else 0.0))
