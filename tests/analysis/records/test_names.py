"""Names of methods: settings that differ are distinguished, seeds are not."""

from dataclasses import replace

from analysis.records.names import (
    REGIMES,
    REWARDS,
    method_names,
    result_settings,
    sort_names,
    training_names,
    verifier_of,
)


def names(*records, raw=False):
    return list(method_names(records, raw).values())


def with_beta(make_record, beta, seed, **fields):
    config = {"seed": seed, "trainer": {"beta": beta}, "reward": {"seed": seed}}
    return make_record(seed=seed, config=config, run_id=f"{beta}-{seed}-{fields}", **fields)


def configured(make_record, *configs, **fields):
    return [make_record(config=config, run_id=str(n), **fields) for n, config in enumerate(configs)]


def test_seeds_are_one_method(make_record):
    assert names(*(with_beta(make_record, 0.0, seed) for seed in (0, 1))) == ["CME", "CME"]


def test_differing_settings_are_named_even_at_different_seeds(make_record):
    runs = [with_beta(make_record, 0.0, 0), with_beta(make_record, 0.1, 1)]
    assert names(*runs) == ["CME (trainer.beta=0.0)", "CME (trainer.beta=0.1)"]
    prompts = configured(make_record, *({"data": {"seed": n}} for n in (0, 1)))
    assert names(*prompts) == ["CME (data.seed=0)", "CME (data.seed=1)"]


def test_granularity_is_named_dense_and_details_share_brackets(make_record):
    runs = configured(make_record, *({"reward": {"granularity": g}} for g in ("sequence", "token")))
    assert names(*runs) == ["CME", "CME (dense)"]
    assert names(*runs, raw=True) == ["cme (granularity=sequence)", "cme (granularity=token)"]
    best = configured(make_record, *({"trainer": {"n": n}} for n in (4, 16)), reward="best_of_n_cme")
    assert names(*best) == ["Best-of-n (CME, trainer.n=4)", "Best-of-n (CME, trainer.n=16)"]


def test_an_unknown_reward_keeps_its_name(make_record):
    assert names(make_record(reward="my_reward")) == ["my_reward"]


def test_a_sum_is_named_by_its_rewards(make_record):
    sums = [
        make_record(reward=name, run_id=name) for name in ("cme+length", "cme+mine", "best_of_n_cme+length")
    ]
    assert names(*sums) == ["CME + Length", "CME + mine", "best_of_n_cme+length"]
    weighted = configured(
        make_record,
        *({"reward": {"weights": {"cme": 1.0, "length": w}}} for w in (1.0, 0.1)),
        reward="cme+length",
    )
    assert names(*weighted) == ["CME + Length", "CME + 0.1 Length"]
    assert names(weighted[1]) == ["CME + 0.1 Length"]  # beside no other sum, too
    assert names(*weighted, raw=True) == [
        "cme+length (weights.length=1.0)",
        "cme+length (weights.length=0.1)",
    ]
    assert names(*weighted, make_record(reward="cme_length"))[-1] == "CME + length"


def test_a_record_names_the_settings_that_change_no_result(make_record):
    runs = configured(make_record, *({"trainer": {"speed": n}} for n in (1, 2)))
    assert names(*runs) == ["CME (trainer.speed=1)", "CME (trainer.speed=2)"]
    assert names(*(replace(run, neutral=["trainer.speed"]) for run in runs)) == ["CME", "CME"]
    config = {"a": {"b": 1, "c": 2}, "a_b": 0, "seed": 3}
    assert result_settings(make_record(config=config, neutral=["a.b"])) == {"a.c": "2", "a_b": "0"}
    assert result_settings(make_record(config=config, neutral=["a"])) == {"a_b": "0"}


def test_families_and_scales_may_have_different_settings(make_record):
    runs = [with_beta(make_record, 0.0, 0), with_beta(make_record, 0.1, 0, family="olmo")]
    assert names(*runs) == ["CME", "CME"]
    runs = [make_record(verifier="gemma"), make_record(verifier="olmo", scale="laptop")]
    assert names(*runs) == ["CME", "CME"]


def test_an_experiment_names_its_settings(make_record):
    runs = [with_beta(make_record, 0.0, 0), with_beta(make_record, 0.1, 0, experiment="tuning")]
    assert names(*runs) == ["CME", "CME (tuning)"]


def test_verifiers_are_named_where_one_family_has_several(make_record):
    runs = [make_record(verifier="gemma"), make_record(verifier="olmo"), make_record(reward="random")]
    assert names(*runs) == ["CME (Gemma)", "CME (OLMo)", "Random"]
    runs = [make_record(verifier="gemma"), make_record(verifier="olmo", family="gemma")]
    assert names(*runs) == ["CME", "CME"]


def test_a_verifier_that_depends_on_the_generator_is_named_by_its_checkpoint(make_record):
    run = make_record(verifier="counterpart", verifier_checkpoint="package:smollm2-135m-instruct")
    assert verifier_of(run) == "smollm2-135m-instruct"
    hub = replace(run, verifier_checkpoint="HuggingFaceTB/SmolLM2-135M")
    assert (verifier_of(hub), verifier_of(make_record())) == ("SmolLM2-135M", "Gemma")


def test_trainings_under_different_judges_are_named_by_what_differs(make_record):
    old = make_record(family="smollm2", verifier="gemma", judge="reference_similarity")
    new = make_record(family="smollm2", verifier="olmo", judge="oracle")
    assert names(old, new) == ["CME", "CME"]
    assert list(training_names([old, new]).values()) == ["CME (Gemma)", "CME (OLMo)"]

    runs = [make_record(judge=judge) for judge in ("reference_similarity", "oracle")]
    labels = ["CME (judge: reference similarity)", "CME (judge: oracle)"]
    assert list(training_names(runs).values()) == labels


def test_one_training_under_two_judges_has_one_name(make_record):
    first = make_record(judge="oracle")
    second = replace(make_record(judge="local", seed=1), history=first.history)
    assert list(training_names([first, make_record(seed=1), second]).values()) == ["CME"] * 3


def test_known_names_come_first():
    assert sort_names(["zeta", "instruct", "alpha", "pretrained"], REGIMES) == [
        *("pretrained", "instruct"),
        *("alpha", "zeta"),
    ]
    assert sort_names(["random", "mine", "cme+length", "cme_rank", "cme"], REWARDS) == [
        *("cme", "cme+length", "cme_rank", "random"),
        "mine",
    ]
