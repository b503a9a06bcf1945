"""Names of methods: settings that differ are told apart, seeds are not."""

import pytest

from analysis.records.names import NEUTRAL, REGIMES, method_names, sort_names


def names(*records):
    return list(method_names(records).values())


def with_beta(make_record, beta, seed, **fields):
    config = {"seed": seed, "trainer": {"beta": beta}, "reward": {"seed": seed}, "results_dir": f"run {seed}"}
    return make_record(seed=seed, config=config, run_id=f"{beta}-{seed}-{fields}", **fields)


def test_seeds_and_output_folders_are_one_method(make_record):
    assert names(*(with_beta(make_record, 0.0, seed) for seed in (0, 1))) == ["CME", "CME"]


def test_other_evaluation_prompts_are_another_setting(make_record):
    runs = [make_record(config={"data": {"seed": n}}, run_id=str(n)) for n in (0, 1)]
    assert names(*runs) == ["CME (data.seed=0)", "CME (data.seed=1)"]


def test_how_a_judge_of_selection_is_reached_is_no_setting(make_record):
    judges = [{"timeout": 30, "members": {"a": {"retries": n}}, "model": "m"} for n in (1, 2)]
    judges += [{"timeout": 60, "members": {"a": {"retries": 1}}, "model": "m"}]
    runs = [make_record(config={"selection": {"judge": j}}, run_id=str(n)) for n, j in enumerate(judges)]
    assert names(*runs) == ["CME"] * 3
    other = make_record(config={"selection": {"judge": judges[0] | {"model": "n"}}}, run_id="other")
    assert names(runs[0], other) == ["CME (selection.judge.model=m)", "CME (selection.judge.model=n)"]


def test_settings_that_differ_are_named_even_at_different_seeds(make_record):
    runs = [with_beta(make_record, 0.0, 0), with_beta(make_record, 0.1, 1)]
    assert names(*runs) == ["CME (trainer.beta=0.0)", "CME (trainer.beta=0.1)"]


def test_families_may_have_settings_of_their_own(make_record):
    runs = [with_beta(make_record, 0.0, 0), with_beta(make_record, 0.1, 0, family="olmo")]
    assert names(*runs) == ["CME", "CME"]


def test_an_experiment_stands_for_the_settings_it_brings(make_record):
    runs = [with_beta(make_record, 0.0, 0), with_beta(make_record, 0.1, 0, experiment="tuning")]
    assert names(*runs) == ["CME", "CME (tuning)"]


def test_a_sweep_of_verifiers_names_them(make_record):
    runs = [make_record(verifier="gemma"), make_record(verifier="olmo"), make_record(reward="random")]
    assert names(*runs) == ["CME (gemma)", "CME (olmo)", "Random"]


def test_one_verifier_a_family_needs_no_name(make_record):
    runs = [make_record(verifier="gemma"), make_record(verifier="olmo", family="gemma")]
    assert names(*runs) == ["CME", "CME"]


def test_scales_do_not_influence_each_other(make_record):
    runs = [make_record(verifier="gemma"), make_record(verifier="olmo", scale="laptop")]
    assert names(*runs) == ["CME", "CME"]


def test_neutral_fields_are_those_of_a_runs_identity():
    identity = pytest.importorskip("experiments.config.identity")
    assert set(NEUTRAL) == set(identity.CHANGES_NOTHING)


def test_known_names_come_first():
    assert sort_names(["zeta", "instruct", "alpha", "pretrained"], REGIMES) == [
        "pretrained",
        "instruct",
        "alpha",
        "zeta",
    ]
