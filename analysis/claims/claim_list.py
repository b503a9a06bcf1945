"""The paper's claims, as data: what each says, the measure and the rule that decide it, and the published figure."""

from functools import partial

from analysis.claims import comparisons, judging, quality
from analysis.claims import evidence as kinds
from analysis.claims.claim import NO_FIGURE, Claim
from analysis.claims.rules import above, below, between, differs, no_less, not_shown_above, same
from analysis.records.published import (
    format_range,
    format_signed,
    main_table_range,
    published_auroc,
    published_kl_weights,
    published_sweep_range,
    read_published,
)

MARGIN = 5.0  # percentage points: a smaller difference counts as none
QUALITY_MARGIN = AUROC_MARGIN = 0.05
NOTICEABLE = 1.0  # point of the win rate, or of the preference for a position
GRID = ("main_table",)
REWARDS = ("rewards", "main_table")
EVALUATIONS = ("main_table", "rewards", "imported")


def all_claims() -> list[Claim]:
    """Every claim, in the order of the paper, those about its evaluation last. Reads the published figures."""
    return [*training_claims(), *mathematics_claims(), *separation_claims(), *evaluation_claims()]


def training_claims() -> list[Claim]:
    """Claims about training on open-ended instructions."""
    low, high = main_table_range()
    sweep = read_published("verifier_sweep_quality.csv").set_index("verifier")["win_rate_vs_base_pct"]
    weak, strong = sweep["google/gemma-3-270m-it"], sweep["google/gemma-4-E4B-it"]
    llama, random = sweep["meta-llama/Llama-3.2-1B-Instruct"], sweep["random-weight Llama (control)"]
    own, others = published_sweep_range(["qwen"]), published_sweep_range(["gemma", "llama", "olmo"])
    better = above(0, MARGIN)
    in_sweep = partial(Claim, where="verifier sweep, generator Qwen2.5-0.5B", experiments=("verifier_sweep",))
    return [
        Claim(
            "beats the untrained model",
            "CME beats the untrained model in four families (Qwen, Llama, Gemma, OLMo) and three regimes.",
            comparisons.win_rates(kinds.CME),
            above(50, MARGIN),
            f"{low} to {high} %, no interval",
            whole_grid=True,
            where="abstract, main table",
            experiments=GRID,
        ),
        Claim(
            "size of the gain",
            f"CME's win rates against the untrained model are {low} to {high} %.",
            comparisons.win_rates(kinds.CME),
            between(low, high),
            f"{low} to {high} %, no interval",
            paper_scale=True,
            where="abstract",
            experiments=GRID,
        ),
        Claim(
            "CME works",
            "CME gains more than training on a random reward, and more than ending earlier: it beats the untrained "
            "model's own responses cut at the end of their first sentence.",
            comparisons.works(kinds.CME),
            better,
            where="not claimed in these words; a condition of every gain from CME",
            experiments=GRID,
        ),
        Claim(
            "CME raises true quality",
            "Training on CME raises true quality, of greedy responses and of the completions sampled in training.",
            quality.QUALITY_GAINS,
            above(0, QUALITY_MARGIN, 3),
            where="supported by win rates alone",
            experiments=GRID,
        ),
        Claim(
            "majority vote fails",
            "Self-agreement can be gamed: training on the group's majority does worse than on a random reward.",
            comparisons.below_random(kinds.trained_with("majority vote", "majority_vote")),
            below(0, MARGIN),
            where="argued, not run",
            experiments=REWARDS,
            quantifier="existential",
        ),
        Claim(
            "token entropy fails",
            "Rewarding the policy's own certainty (RENT) collapses: it does worse than a random reward.",
            comparisons.below_random(kinds.trained_with("token entropy", "token_entropy")),
            below(0, MARGIN),
            where="baselines",
            experiments=REWARDS,
        ),
        Claim(
            "better than self-reference",
            "CME does better than rewards computed from the policy's own outputs.",
            comparisons.differences(kinds.CME, kinds.SELF_REFERENCE),
            better,
            where="baselines; majority vote argued, not run",
            experiments=REWARDS,
        ),
        Claim(
            "better than DPO and SFT",
            "CME does better than DPO on preference pairs and than SFT on the verifier's own generations.",
            comparisons.differences(kinds.CME, kinds.trained_with("DPO or SFT", "dpo", "sft")),
            better,
            where="baselines",
            experiments=("rewards",),
        ),
        Claim(
            "better than reverse KL",
            "CME does better than on-policy reverse KL (the verifier's minus the policy's own log-likelihood).",
            comparisons.differences(kinds.CME, kinds.trained_with("reverse KL", "reverse_kl")),
            better,
            where="ablations",
            experiments=("granularity", "rewards"),
        ),
        Claim(
            "dense",
            "Dense CME, one value per token, does better than the scalar.",
            comparisons.differences(kinds.DENSE_CME, kinds.CME, "dense minus scalar"),
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
            comparisons.strongest_verifier(
                "strongest minus weaker, of one family that is not the generator's"
            ),
            better,
            f"Gemma: {weak} % with 270M, {strong} % with E4B",
        ),
        in_sweep(
            "the gain saturates",
            "Beyond a point a stronger verifier gains nothing more.",
            comparisons.strongest_verifier("strongest minus the next weaker one", next_only=True),
            same(MARGIN),
            f"{llama} % with Llama-3.2-1B-Instruct, {strong} % with gemma-4-E4B-it",
        ),
        in_sweep(
            "other family",
            "A verifier of another family does at least as well as one of the generator's own.",
            comparisons.other_family("other family minus own, verifiers of equal knowledge"),
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
        Claim(
            "independence protects",
            "The reward cannot be gamed because its verifier is independent: on facts that the generator's family has "
            "wrong, a policy trained with another family's verifier is right more often than one trained with its own "
            "family's.",
            quality.fact_test(
                "main test",
                "other family minus own, on the facts that the generator's family alone has wrong",
            ),
            above(0, QUALITY_MARGIN, 3),
            where="central argument, not run",
            experiments=("independence",),
        ),
        Claim(
            "cannot be gamed",
            "A policy does not learn the errors of an independent verifier: on facts that the verifier's family has "
            "wrong, it does not become worse than the untrained model.",
            quality.fact_test(
                "exchange of errors", "policy minus untrained model, on the facts that the verifier has wrong"
            ),
            no_less(QUALITY_MARGIN, 3),
            where="central argument, not run",
            experiments=("independence",),
        ),
        Claim(
            "no over-optimisation",
            "Training on CME does not overshoot: true quality does not fall as training goes on, neither for the "
            "completions sampled in training nor for the saved checkpoints' greedy responses.",
            quality.LATE_QUALITY,
            no_less(QUALITY_MARGIN, 3),
            where="central argument, not run",
            experiments=("overoptimisation",),
        ),
    ]


def mathematics_claims() -> list[Claim]:
    """Claims about mathematics."""
    row, sweep = read_published("math_accuracy.csv").iloc[0], read_published("verifier_sweep_math.csv")
    gain = f"+{100 * (row['after_lowest'] - row['before']):.0f} to +{100 * (row['after_highest'] - row['before']):.0f}"
    after, own = sweep["generator_math500_pass1_pct"], sweep["verifier_math500_pass1_pct"]
    return [
        Claim(
            "mathematics improves",
            "Training on CME raises the accuracy on mathematics.",
            quality.accuracy_change(gain),
            above(0, 0),
            f"{row['before']} to {row['after_lowest']}-{row['after_highest']}, {row['problems']} problems",
            where="mathematics, MATH-500",
            experiments=("math",),
        ),
        Claim(
            "whichever verifier",
            "It does so whichever verifier is used, even one worse at mathematics than the generator.",
            quality.accuracy_change(gain, with_random=False),
            above(0, 0),
            f"{format_range(after, 0)} % with verifiers that score {format_range(own, 0)} %",
            where="mathematics, verifier sweep",
            experiments=("verifier_sweep_math",),
        ),
    ]


def separation_claims() -> list[Claim]:
    """Claims about which signal tells right responses from wrong ones."""
    claim = partial(Claim, where="separation, MATH-500, four generators", experiments=("separation",))
    verifier, generator = "cross_entropy verifier response", "cross_entropy generator response"
    full, span = (
        published_auroc(f"ce_verifier_{s}") - published_auroc(f"ce_generator_{s}") for s in ("full", "answer")
    )
    answer = published_auroc("ce_verifier_answer") - published_auroc("ce_verifier_full")
    return [
        claim(
            "the verifier separates",
            "The verifier's cross-entropy tells wrong responses from right ones.",
            quality.separation(" of wrong against right, whole response", verifier),
            above(0.5, AUROC_MARGIN, 3),
            f"AUROC {format_range(published_auroc('ce_verifier_full'), 3)}, whole response",
        ),
        claim(
            "better than the generator",
            "The verifier's cross-entropy separates better than the generator's own.",
            quality.separation(", verifier minus generator, whole response", verifier, generator),
            above(0, AUROC_MARGIN, 3),
            f"whole response {format_signed(full)}; answer {format_signed(span)}",
        ),
        claim(
            "the answer's span",
            "Over the answer's span the verifier separates better than over the whole response.",
            quality.separation(
                " of the verifier, answer minus whole response", "cross_entropy verifier answer", verifier
            ),
            above(0, AUROC_MARGIN, 3),
            format_signed(answer),
        ),
    ]


def evaluation_claims() -> list[Claim]:
    """Weaknesses of the released evaluation, tested on ours."""
    value = read_published("evaluation.csv").set_index("quantity")["value"]
    first, second = (value[f"verdicts for the response shown {place}"] for place in ("first", "second"))
    before, after = (
        format_range(
            [value[f"characters of a {who} response: {end} cell"] for end in ("lowest", "highest")], 0
        )
        for who in ("pretrained start's", "trained policy's")
    )
    claim = partial(Claim, where="weakness of the released evaluation")
    return [
        claim(
            "failed calls as ties",
            "A judge's failed calls change the result if they count as ties.",
            judging.FAILURES_AS_TIES,
            above(NOTICEABLE, 0),
            f"{value['failed calls written as ties']:,.0f} failed calls written as ties, win rate "
            f"{value['win rate made of failed calls']:.1f} %",
            experiments=EVALUATIONS,
            quantifier="existential",
            released=judging.released_failures,
        ),
        claim(
            "position",
            "A judge has a position bias: the response shown first wins more, or less, often than the other.",
            judging.FIRST_POSITION,
            differs(50, NOTICEABLE),
            f"first {first:,.0f}, second {second:,.0f} ({100 * first / (first + second):.1f} %), one order per pair",
            experiments=EVALUATIONS,
            quantifier="existential",
            released=judging.released_position,
        ),
        claim(
            "no interval",
            "Without intervals, some win rates pass for wins that are not.",
            judging.APPARENT_WINS,
            not_shown_above(50),
            f"none given; at 200 prompts ±{value['half-width of a 95 % interval']:g} points, at 805 "
            f"±{value['half-width of a 95 % interval at full size']:g}",
            experiments=(*GRID, "imported"),
            quantifier="existential",
            released=judging.released_wins,
        ),
        claim(
            "length",
            "Trained policies write less than pretrained models, which run on to the limit.",
            judging.text_change(
                "Change in length, in characters, on the same prompts",
                kinds.PRETRAINED_CME,
                lambda generation: float(len(generation.response)),
            ),
            below(0, 0),
            f"untrained {before}, trained {after} characters",
            experiments=GRID,
        ),
        claim(
            "likelier text",
            "CME makes text likelier under an independent model, which judges prefer (arXiv 2410.21819).",
            judging.text_change(
                "Change in surprisal under an independent language model, nats/token",
                kinds.CME,
                lambda generation: generation.surprisal,
            ),
            below(0, 0, 2),
            "by construction, not measured",
            experiments=GRID,
        ),
    ]
