"""`reward=[a,b]` on the command line: what it composes, what names and weights it gives, and what is refused."""

from typing import Any

import pytest
from composed_runs import compose

from experiments.config import composition, identity
from experiments.config.registration import spell_out
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.sweep import launchers


def reward_fields(run: Run) -> dict[str, Any]:
    return {path: v for path, v in identity.identity_fields(run).items() if path.startswith("reward.")}


def test_a_list_is_the_sum_that_a_file_would_be() -> None:
    listed, filed = compose("reward=[cme,length]"), compose("reward=cme_length")
    assert reward_fields(listed) == reward_fields(filed) | {"reward.name": "cme+length"}
    assert listed.reward.target == filed.reward.target == "cme.rewards.WeightedSum"
    assert "-cme+length-gemma-s0-" in listed.run_id and listed.overrides == ["reward=[cme,length]"]
    assert listed.verifiers == [listed.verifier.checkpoint]


def test_weights_are_in_the_order_of_the_rewards() -> None:
    run = compose("reward=[length,cme]", "reward.weights=[0.1,2]")
    assert run.reward.arguments["weights"] == {"length": 0.1, "cme": 2.0}
    assert list(run.reward.members) == ["length", "cme"]
    same = (
        ("reward.weights=[0.1,2]", "reward=[length,cme]"),
        ("reward=[length,cme]", "reward.weights.length=0.1", "reward.weights.cme=2.0"),
    )
    assert {compose(*words).run_id for words in same} == {run.run_id}
    assert compose("reward=[length,cme]").run_id != run.run_id


def test_fields_of_members_and_of_the_sum_can_be_set() -> None:
    run = compose(
        "reward=[cme,length]", "reward.members.length.target=9", "reward.aggregation=normalize_then_sum"
    )
    assert run.reward.members["length"].arguments["target"] == 9
    assert run.reward.arguments["aggregation"] == "normalize_then_sum"
    asked = compose("reward=[pairwise_judge,length]")
    assert list(asked.reward_judges) == ["reward.members.pairwise_judge.judge"]


def test_a_sweep_over_sums_and_weights() -> None:
    runs = composition.compose_cells(["-m", "reward=[cme,length],random,[cme,random]", "seed=0,1"])
    assert [run.reward.name for run in runs] == [
        name for name in ("cme+length", "random", "cme+random") for _ in range(2)
    ]
    assert len({run.run_id for run in runs}) == 6
    again = [composition.compose_cells(run.overrides)[0].run_id for run in runs]  # as `cme resume` does
    assert again == [run.run_id for run in runs]
    weighted = composition.compose_cells(["-m", "reward=[cme,length]", "reward.weights=[1,0.1],[1,1]"])
    assert [run.reward.arguments["weights"]["length"] for run in weighted] == [0.1, 1.0]


def test_a_launcher_composes_the_same() -> None:
    cells = [["reward=[cme,length]", "reward.weights=[1,0.5]"], ["reward=random"]]
    ids: list[str] = []
    launchers.launch(cells, ["-m"], lambda run: ids.append(run.run_id))
    assert ids == [compose(*cell).run_id for cell in cells]


def test_other_overrides_stay_as_they_are() -> None:
    words = ["-m", "--cfg", "job", "~data.oracle", "reward.clip={", "reward=cme,random", "reward.clip=[-5,0]"]
    assert spell_out(words) == words


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["reward=[cme,lenght]"], ["reward=lenght is unknown", "length"]),
        (["reward=[cme]"], ["reward=[cme]", "at least two rewards"]),
        (["reward=[cme,cme]"], ["reward=[cme,cme]", "each once"]),
        (["reward=[cme,length]", "reward.weights=[1]"], ["reward.weights=[1]", "reward=[cme,length]", "one number"]),
        (["reward=[cme,length]", "reward.weights=[1,true]"], ["reward.weights=[1, True]", "one number for each"]),
        (["reward=[cme,length]", "reward.weights=[1,inf]"], ["weights.length=inf", "finite"]),
        (["reward=cme_length", "reward.weights=[1,2]"], ["reward.weights=[1, 2]", "reward.weights.length=0.1"]),
        (["reward=[cme_length,random]"], ["reward.members.cme_length is a sum itself", "name its members"]),
        (["reward=[cme,length]", "reward.members.cme.granularity=token"], ["reward.members.cme.granularity=sequence"]),
        (["reward=weighted_sum"], ["reward=weighted_sum is unknown"]),
    ],
)  # fmt: skip
def test_a_list_that_makes_no_sum_is_refused_by_name(words: list[str], named: list[str]) -> None:
    with pytest.raises(BadConfig) as refused:
        composition.compose_cells(words)
    assert all(part in str(refused.value) for part in named), refused.value
