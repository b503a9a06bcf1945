"""The paper's claims, with what was published of each, what tests it here, and the rule that decides."""

from analysis import claims as of
from analysis import claims_evaluation as judging
from analysis.claims import Claim
from analysis.published import auroc, kl_weights, main_range, published, signed, span, sweep_of
from analysis.rules import Rule, above, below, between, differs, no_less, same

MARGIN = 5.0  # percentage points: a smaller difference counts as none
AUROC_MARGIN = 0.05
QUALITY_MARGIN = 0.05
POSITION_MARGIN = 2.0  # points: the published preference is 3.4
NO_FIGURE = "no figure at hand"
GRID = ("main_table", "reference")
REWARDS = ("rewards", "reference")
WIN = "Win rate against the untrained start (%)"
LESS = "Difference of win rates, in points"


def all_claims() -> list[Claim]:
    """Every claim, in the order of the paper, those about its evaluation last. Reads the published figures."""
    return [*training(), *mathematics(), *signals(), *evaluation()]


def training() -> list[Claim]:
    """Claims about training on open-ended instructions."""
    low, high = main_range()
    better = above(0, MARGIN, f"{LESS}, CME less the other")
    return [
        Claim(
            "beats start",
            "CME beats the untrained start in four families (Qwen, Llama, Gemma, OLMo) and three regimes.",
            "abstract, main table",
            f"{low} to {high} %, no interval",
            GRID,
            above(50, MARGIN, WIN),
            of.beats_start,
        ),
        Claim(
            "size of the gain",
            f"CME's win rates against the start are {low} to {high} %.",
            "abstract",
            f"{low} to {high} %, no interval",
            GRID,
            between(low, high, WIN),
            of.win_range,
        ),
        Claim(
            "majority vote fails",
            "Agreement with oneself can be gamed: training on the group's majority does worse than the start.",
            "argued about, not run",
            NO_FIGURE,
            REWARDS,
            below(50, MARGIN, WIN),
            of.against_start("majority_vote"),
        ),
        Claim(
            "token entropy fails",
            "Rewarding the policy's own certainty (RENT) collapses: it does worse than the start.",
            "baselines",
            NO_FIGURE,
            REWARDS,
            below(50, MARGIN, WIN),
            of.against_start("token_entropy"),
        ),
        Claim(
            "better than self-reference",
            "CME does better than rewards made of the policy's own outputs.",
            "baselines; majority vote argued about, not run",
            NO_FIGURE,
            REWARDS,
            better,
            of.better_than("majority_vote", "token_entropy", "self_certainty", "semantic_entropy"),
        ),
        Claim(
            "better than DPO and SFT",
            "CME does better than DPO on preference pairs and than SFT on the verifier's own generations.",
            "baselines",
            NO_FIGURE,
            ("rewards",),
            better,
            of.better_than("dpo", "sft"),
        ),
        Claim(
            "better than reverse KL",
            "CME does better than on-policy reverse KL (the verifier's less the policy's own log-likelihood).",
            "ablations",
            NO_FIGURE,
            ("granularity", "rewards"),
            better,
            of.better_than("reverse_kl"),
        ),
        Claim(
            "dense",
            "Dense CME, one value a token, does better than the scalar.",
            "ablations; the configurations say dense, a comment says that the released results are the scalar's",
            NO_FIGURE,
            ("granularity", "reference"),
            above(0, MARGIN, f"{LESS}, dense less scalar"),
            of.dense,
        ),
        *verifiers(),
        Claim(
            "norm of the advantages",
            "Whether advantages are divided by the group's standard deviation (group_std) or not (group_mean) matters. "
            "The direction of the published collapse study is not at hand.",
            "ablations, collapse study",
            NO_FIGURE,
            ("advantage_norm",),
            differs(0, MARGIN, f"{LESS}, only centred less divided"),
            of.advantages,
        ),
        Claim(
            "KL weight",
            "The weight of the KL penalty (0, 0.01, 0.1) hardly matters: the published cells have 0 or 0.01.",
            "ablations, main table's configurations",
            f"{kl_weights()}; {NO_FIGURE}",
            ("kl_beta",),
            same(MARGIN, f"{LESS}, with the penalty less without"),
            of.kl_weight,
        ),
        Claim(
            "independence protects",
            "The reward cannot be gamed because its verifier is independent: of verifiers that know as much, those of "
            "another family do better than one of the generator's own.",
            "central argument, not run",
            NO_FIGURE,
            ("independence",),
            above(0, MARGIN, f"{LESS}, other family less own"),
            of.other_family,
        ),
        Claim(
            "no over-optimisation",
            "Training on CME does not overshoot: true quality does not fall as training goes on.",
            "central argument, not run",
            NO_FIGURE,
            ("overoptimisation",),
            no_less(
                QUALITY_MARGIN,
                "True quality (0 to 1) late in training less that at a quarter of it, over seeds",
                decimals=3,
            ),
            of.no_fall,
        ),
    ]


def verifiers() -> list[Claim]:
    """Claims about the verifier, from the published sweep."""
    sweep = published("verifier_sweep_quality.csv").set_index("verifier")["win_rate_vs_base_pct"]
    weak, strong = sweep["google/gemma-3-270m-it"], sweep["google/gemma-4-E4B-it"]
    llama = sweep["meta-llama/Llama-3.2-1B-Instruct"]
    where = "verifier sweep, generator Qwen2.5-0.5B"
    return [
        Claim(
            "random-weight verifier",
            "Even a verifier with random weights beats the start, which is no credit to CME.",
            where,
            f"{sweep['random-weight Llama (control)']} %",
            ("verifier_sweep",),
            above(50, MARGIN, WIN),
            of.random_verifier,
        ),
        Claim(
            "stronger verifier",
            "A stronger verifier trains a better policy.",
            where,
            f"Gemma: {weak} % under 270M, {strong} % under E4B",
            ("verifier_sweep",),
            above(0, MARGIN, f"{LESS}, strongest less weaker, of one family that is not the generator's"),
            of.stronger_verifier,
        ),
        Claim(
            "the gain saturates",
            "Beyond a point a stronger verifier gains nothing more.",
            where,
            f"{llama} % under Llama-3.2-1B-Instruct, {strong} % under gemma-4-E4B-it",
            ("verifier_sweep",),
            same(MARGIN, f"{LESS}, strongest less the next below it"),
            of.saturation,
        ),
        Claim(
            "other family",
            "A verifier of another family does at least as well as one of the generator's own.",
            where,
            f"own family {sweep_of(['qwen'])}, others {sweep_of(['gemma', 'llama', 'olmo'])}",
            ("verifier_sweep",),
            no_less(MARGIN, f"{LESS}, other family less own, verifiers that know as much"),
            of.other_family,
        ),
    ]


def mathematics() -> list[Claim]:
    """Claims about mathematics."""
    row = published("math_accuracy.csv").iloc[0]
    by_verifier = published("verifier_sweep_math.csv")
    rises = above(0, 0, "Change of pass@1, in points, on the same prompts")
    return [
        Claim(
            "mathematics improves",
            "Training on CME raises the accuracy on mathematics.",
            "mathematics, MATH-500",
            f"{row['before']} to {row['after_lowest']}-{row['after_highest']}, {row['problems']} problems",
            ("math",),
            rises,
            of.accuracy_rises,
        ),
        Claim(
            "whichever verifier",
            "It does so whichever verifier is used, even one worse at mathematics than the generator.",
            "mathematics, verifier sweep",
            f"{span(by_verifier['generator_math500_pass1_pct'], 0)} % under verifiers that score "
            f"{span(by_verifier['verifier_math500_pass1_pct'], 0)} %",
            ("verifier_sweep_math",),
            rises,
            of.any_verifier,
        ),
    ]


def signals() -> list[Claim]:
    """Claims about which signal tells right responses from wrong ones."""
    where = "separation, MATH-500, four generators"
    over = [auroc(f"ce_verifier_{s}") - auroc(f"ce_generator_{s}") for s in ("full", "answer")]
    answer = auroc("ce_verifier_answer") - auroc("ce_verifier_full")
    return [
        Claim(
            "the verifier separates",
            "The verifier's cross-entropy tells wrong responses from right ones.",
            where,
            f"AUROC {span(auroc('ce_verifier_full'), 3)}, whole response",
            ("separation",),
            above(0.5, AUROC_MARGIN, "Pooled AUROC of wrong against right, whole response", 3),
            of.separates,
        ),
        Claim(
            "better than the generator",
            "The verifier's cross-entropy separates better than the generator's own.",
            where,
            f"whole response {signed(over[0])}; answer {signed(over[1])}",
            ("separation",),
            above(0, AUROC_MARGIN, "Pooled AUROC, verifier less generator, whole response", 3),
            of.verifier_separates_better,
        ),
        Claim(
            "the answer's span",
            "Over the answer's span the verifier separates better than over the whole response.",
            where,
            signed(answer),
            ("separation",),
            above(0, AUROC_MARGIN, "Pooled AUROC under the verifier, answer less whole response", 3),
            of.answer_separates_better,
        ),
    ]


def evaluation() -> list[Claim]:
    """What makes the released evaluation less trustworthy, asked of ours."""
    value = published("evaluation.csv").set_index("quantity")["value"]
    first, second = (
        value["verdicts for the response shown first"],
        value["verdicts for the response shown second"],
    )
    begun, trained = (
        span([value[f"characters of a {who} response: {end} cell"] for end in ("lowest", "highest")], 0)
        for who in ("pretrained start's", "trained policy's")
    )
    where = "weakness of the released evaluation"
    return [
        Claim(
            "failed calls as ties",
            "A judge's failed calls change the result if they pass as ties.",
            where,
            f"{value['failed calls written as ties']:,.0f} failed calls written as ties, win rate "
            f"{value['win rate made of failed calls']:.1f} %",
            (*GRID, "rewards"),
            above(judging.NOTICED, 0, "Shift of the win rate, in points, were failed calls ties"),
            judging.failures_as_ties,
        ),
        Claim(
            "position",
            "The judge prefers a place: the response shown first wins more, or less, often than the other.",
            where,
            f"first {first:,.0f}, second {second:,.0f} ({100 * first / (first + second):.1f} %), one order a pair",
            (*GRID, "rewards"),
            differs(50, POSITION_MARGIN, "Share of decided verdicts for the response shown first (%)"),
            judging.position,
        ),
        Claim(
            "no interval",
            "Without intervals, some win rates pass for wins that are none.",
            where,
            f"none given; at 200 prompts ±{value['half-width of a 95 % interval']:g} points, at 805 "
            f"±{value['half-width of a 95 % interval at full size']:g}",
            GRID,
            Rule(
                lambda part: "contradicts" if part.lo > 50 else "supports",
                "Any win rate of CME above 50 % whose interval does not lie above it",
                50,
            ),
            judging.without_intervals,
        ),
        Claim(
            "length",
            "Trained policies write less than pretrained starts, which run on to the limit.",
            where,
            f"start {begun}, trained {trained} characters",
            GRID,
            below(0, 0, "Change in length, in characters, on the same prompts"),
            judging.shorter,
        ),
        Claim(
            "likelier text",
            "CME makes text likelier under a model that took no part, as judges like it (arXiv 2410.21819).",
            where,
            "by construction, not measured",
            GRID,
            below(0, 0, "Change in surprisal under an independent language model, nats/token", 2),
            judging.likelier,
        ),
    ]
