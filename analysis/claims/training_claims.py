"""The paper's claims about training on open-ended instructions, as data."""

from functools import partial

from analysis.claims import comparisons, quality
from analysis.claims import evidence as kinds
from analysis.claims.claim import NO_FIGURE, Claim
from analysis.claims.rules import above, below, between, differs, no_less, same
from analysis.records.published import (
    main_table_range,
    published_kl_weights,
    published_sweep_range,
    read_published,
)
from analysis.tables.training.courses import GREEDY, SAMPLED

MARGIN = 5.0  # percentage points: a smaller difference counts as none
QUALITY_MARGIN = AUROC_MARGIN = 0.05
GRID = ("main_table",)
REWARDS = ("rewards", "main_table")


def training_claims() -> list[Claim]:
    """Claims about training on open-ended instructions."""
    low, high = main_table_range()
    sweep = read_published("verifier_sweep_quality.csv").set_index("verifier")["win_rate_vs_base_pct"]
    weak, strong = sweep["google/gemma-3-270m-it"], sweep["google/gemma-4-E4B-it"]
    llama, random = sweep["meta-llama/Llama-3.2-1B-Instruct"], sweep["random-weight Llama (control)"]
    own, others = published_sweep_range(["qwen"]), published_sweep_range(["gemma", "llama", "olmo"])
    better = above(0, MARGIN)
    in_grid, among_rewards = (partial(Claim, experiments=names) for names in (GRID, REWARDS))
    better_than_trainer = partial(Claim, rule=better, where="baselines", experiments=("rewards",))
    of_independence = partial(Claim, where="central argument, not run", experiments=("independence",))
    in_sweep = partial(Claim, where="verifier sweep, generator Qwen2.5-0.5B", experiments=("verifier_sweep",))
    no_fall = partial(
        Claim,
        rule=no_less(QUALITY_MARGIN, 3),
        where="central argument, not run",
        experiments=("overoptimisation",),
    )
    return [
        in_grid(
            "beats the untrained model",
            "CME beats the untrained model in four families (Qwen, Llama, Gemma, OLMo) and three regimes.",
            comparisons.win_rates(kinds.CME),
            above(50, MARGIN),
            f"{low} to {high} %, no interval",
            whole_grid=True,
            where="abstract, main table",
        ),
        in_grid(
            "size of the gain",
            f"CME's win rates against the untrained model are {low} to {high} %.",
            comparisons.win_rates(kinds.CME),
            between(low, high),
            f"{low} to {high} %, no interval",
            paper_scale=True,
            where="abstract",
        ),
        in_grid(
            "CME works",
            "CME gains more than training on a random reward, and more than ending earlier: it beats the untrained "
            "model's own responses cut at the end of their first sentence.",
            comparisons.gains_over_controls(kinds.CME),
            better,
            where="not claimed in these words; a condition of every gain from CME",
        ),
        in_grid(
            "CME raises true quality",
            "Training on CME raises true quality, of greedy responses and of the completions sampled in training.",
            quality.QUALITY_GAINS,
            above(0, QUALITY_MARGIN, 3),
            where="supported by win rates alone",
        ),
        among_rewards(
            "majority vote fails",
            "Self-agreement can be gamed: training on the group's majority does worse than on a random reward.",
            comparisons.gains_over_random(kinds.trained_with("majority vote", "majority_vote")),
            below(0, MARGIN),
            where="argued, not run",
            quantifier="existential",
        ),
        among_rewards(
            "token entropy fails",
            "Rewarding the policy's own certainty (RENT) collapses: it does worse than a random reward.",
            comparisons.gains_over_random(kinds.trained_with("token entropy", "token_entropy")),
            below(0, MARGIN),
            where="baselines",
        ),
        among_rewards(
            "better than self-reference",
            "CME does better than rewards computed from the policy's own outputs.",
            comparisons.kind_differences(kinds.CME, kinds.SELF_REFERENCE),
            better,
            where="baselines; majority vote argued, not run",
        ),
        better_than_trainer(
            "better than DPO",
            "CME does better than DPO on preference pairs.",
            comparisons.kind_differences(kinds.CME, kinds.trained_with("DPO", "dpo")),
            letter="a",
        ),
        better_than_trainer(
            "better than SFT",
            "CME does better than SFT on the verifier's own generations.",
            comparisons.kind_differences(kinds.CME, kinds.trained_with("SFT", "sft")),
            letter="b",
        ),
        Claim(
            "better than reverse KL",
            "CME does better than on-policy reverse KL (the verifier's minus the policy's own log-likelihood).",
            comparisons.kind_differences(kinds.CME, kinds.trained_with("reverse KL", "reverse_kl")),
            better,
            where="ablations",
            experiments=("granularity", "rewards"),
        ),
        Claim(
            "dense",
            "Dense CME, one value per token, does better than the scalar.",
            comparisons.kind_differences(kinds.DENSE_CME, kinds.CME, "dense minus scalar"),
            better,
            where="ablations; the configurations say dense, a comment says that the released results are the scalar's",
            experiments=("granularity",),
        ),
        in_sweep(
            "random-weight verifier",
            "Even a verifier with random weights beats the untrained model, so a win alone is no evidence for CME.",
            comparisons.win_rates(kinds.RANDOM_VERIFIER),
            above(50, MARGIN),
            f"{random} %",
        ),
        in_sweep(
            "stronger verifier",
            "A stronger verifier trains a better policy.",
            comparisons.verifier_differences(
                "strongest minus weaker trained verifier of one family that is not the generator's"
            ),
            better,
            f"Gemma: {weak} % with 270M, {strong} % with E4B",
        ),
        in_sweep(
            "the gain saturates",
            "Beyond a point a stronger verifier gains nothing more.",
            comparisons.verifier_differences(
                "strongest minus the next weaker trained verifier", next_only=True
            ),
            same(MARGIN),
            f"{llama} % with Llama-3.2-1B-Instruct, {strong} % with gemma-4-E4B-it",
        ),
        in_sweep(
            "other family",
            "A verifier of another family does at least as well as one of the generator's own.",
            comparisons.family_differences("other family minus own, verifiers of equal knowledge"),
            no_less(MARGIN),
            f"own family {own}, others {others}",
        ),
        Claim(
            "norm of the advantages",
            "It matters whether advantages are divided by the group's standard deviation (group_std) or not "
            "(group_mean). The direction of the published collapse study is not known.",
            comparisons.setting_differences("trainer.scale_rewards", "group", "only centred minus divided"),
            differs(0, MARGIN),
            where="ablations, collapse study",
            experiments=("advantage_norm",),
            quantifier="existential",
        ),
        Claim(
            "KL weight",
            "The weight of the KL penalty (0, 0.01, 0.1) hardly matters: the published cells have 0 or 0.01.",
            comparisons.setting_differences("trainer.beta", 0.0, "with the penalty minus without"),
            same(MARGIN),
            f"{published_kl_weights()}; {NO_FIGURE}",
            where="ablations, main table's configurations",
            experiments=("kl_beta",),
        ),
        of_independence(
            "independence protects",
            "The reward cannot be gamed because its verifier is independent: on facts that the generator's family has "
            "wrong, a policy trained with another family's verifier is right more often than one trained with its own "
            "family's.",
            quality.fact_test(
                "main test",
                "other family minus own, on the facts that the generator's family alone has wrong",
            ),
            above(0, QUALITY_MARGIN, 3),
        ),
        of_independence(
            "cannot be gamed",
            "A policy does not learn the errors of an independent verifier: on facts that the verifier's family has "
            "wrong, it does not become worse than the untrained model.",
            quality.fact_test(
                "exchange of errors", "policy minus untrained model, on the facts that the verifier has wrong"
            ),
            no_less(QUALITY_MARGIN, 3),
        ),
        no_fall(
            "no over-optimisation, sampled",
            "Training on CME does not overshoot: true quality of the completions sampled in training does not fall "
            "from its peak.",
            quality.since_peak(SAMPLED),
            letter="a",
        ),
        no_fall(
            "no over-optimisation, greedy",
            "Training on CME does not overshoot: true quality of the saved checkpoints' greedy responses does not fall "
            "from its peak.",
            quality.since_peak(GREEDY),
            letter="b",
        ),
    ]
