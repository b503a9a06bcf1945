"""The paper's claims as data: what was published, which experiments test it, the measure, and the rule that decides."""

from dataclasses import replace
from functools import partial

from analysis.claims import measures as m
from analysis.claims.claim import Claim
from analysis.claims.evidence import dense_cme, pretrained_cme, random_verifier, reward, scalar_cme
from analysis.claims.rules import Range, Rule, above, below, between, differs, no_less, same
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
POSITION_MARGIN = 2.0  # points: the published preference is 3.4
NOTICEABLE = 1.0  # points of the win rate
NO_FIGURE = "no figure at hand"
GRID = ("main_table", "reference")
REWARDS = ("rewards", "reference")
WIN = "Win rate against the untrained model (%)"
LESS = "Difference of win rates, in points"


def all_claims() -> list[Claim]:
    """Every claim, in the order of the paper, those about its evaluation last. Reads the published figures."""
    return [*training(), *mathematics(), *signals(), *evaluation()]


def training() -> list[Claim]:
    """Claims about training on open-ended instructions."""
    low, high = main_table_range()
    sweep = read_published("verifier_sweep_quality.csv").set_index("verifier")["win_rate_vs_base_pct"]
    weak, strong = sweep["google/gemma-3-270m-it"], sweep["google/gemma-4-E4B-it"]
    llama = sweep["meta-llama/Llama-3.2-1B-Instruct"]
    where = "verifier sweep, generator Qwen2.5-0.5B"
    better = above(0, MARGIN, f"{LESS}, CME minus the other")
    claims = [
        Claim(
            "beats the untrained model",
            "CME beats the untrained model in four families (Qwen, Llama, Gemma, OLMo) and three regimes.",
            "abstract, main table",
            f"{low} to {high} %, no interval",
            GRID,
            m.win_rates(scalar_cme, "no run of CME has a verdict"),
            above(50, MARGIN, WIN),
            whole_grid=True,
        ),
        Claim(
            "size of the gain",
            f"CME's win rates against the untrained model are {low} to {high} %.",
            "abstract",
            f"{low} to {high} %, no interval",
            GRID,
            m.win_rates(scalar_cme, "no run of CME has a verdict"),
            between(low, high, WIN),
            paper_scale=True,
        ),
        Claim(
            "majority vote fails",
            "Self-agreement can be gamed: training on the group's majority does worse than the untrained model.",
            "argued, not run",
            NO_FIGURE,
            REWARDS,
            m.win_rates(reward("majority_vote"), "no run of majority vote has a verdict"),
            below(50, MARGIN, WIN),
        ),
        Claim(
            "token entropy fails",
            "Rewarding the policy's own certainty (RENT) collapses: it does worse than the untrained model.",
            "baselines",
            NO_FIGURE,
            REWARDS,
            m.win_rates(reward("token_entropy"), "no run of token entropy has a verdict"),
            below(50, MARGIN, WIN),
        ),
        Claim(
            "better than self-reference",
            "CME does better than rewards computed from the policy's own outputs.",
            "baselines; majority vote argued, not run",
            NO_FIGURE,
            REWARDS,
            m.differences(
                scalar_cme,
                reward("majority_vote", "token_entropy", "self_certainty", "semantic_entropy"),
                "no run of a self-referential reward next to one of CME",
            ),
            better,
        ),
        Claim(
            "better than DPO and SFT",
            "CME does better than DPO on preference pairs and than SFT on the verifier's own generations.",
            "baselines",
            NO_FIGURE,
            ("rewards",),
            m.differences(scalar_cme, reward("dpo", "sft"), "no run of DPO or SFT next to one of CME"),
            better,
        ),
        Claim(
            "better than reverse KL",
            "CME does better than on-policy reverse KL (the verifier's minus the policy's own log-likelihood).",
            "ablations",
            NO_FIGURE,
            ("granularity", "rewards"),
            m.differences(scalar_cme, reward("reverse_kl"), "no run of reverse KL next to one of CME"),
            better,
        ),
        Claim(
            "dense",
            "Dense CME, one value per token, does better than the scalar.",
            "ablations; the configurations say dense, a comment says that the released results are the scalar's",
            NO_FIGURE,
            ("granularity", "reference"),
            m.differences(dense_cme, scalar_cme, "no run of dense CME next to one of the scalar"),
            above(0, MARGIN, f"{LESS}, dense minus scalar"),
        ),
        Claim(
            "random-weight verifier",
            "Even a verifier with random weights beats the untrained model, which is no credit to CME.",
            where,
            f"{sweep['random-weight Llama (control)']} %",
            ("verifier_sweep",),
            m.win_rates(random_verifier, "no run has the verifier with random weights"),
            above(50, MARGIN, WIN),
        ),
        Claim(
            "stronger verifier",
            "A stronger verifier trains a better policy.",
            where,
            f"Gemma: {weak} % with 270M, {strong} % with E4B",
            ("verifier_sweep",),
            m.strongest_verifier,
            above(0, MARGIN, f"{LESS}, strongest minus weaker, of one family that is not the generator's"),
        ),
        Claim(
            "the gain saturates",
            "Beyond a point a stronger verifier gains nothing more.",
            where,
            f"{llama} % with Llama-3.2-1B-Instruct, {strong} % with gemma-4-E4B-it",
            ("verifier_sweep",),
            partial(m.strongest_verifier, next_only=True),
            same(MARGIN, f"{LESS}, strongest minus the next weaker one"),
        ),
        Claim(
            "other family",
            "A verifier of another family does at least as well as one of the generator's own.",
            where,
            f"own family {published_sweep_range(['qwen'])}, others {published_sweep_range(['gemma', 'llama', 'olmo'])}",
            ("verifier_sweep",),
            m.other_family,
            no_less(MARGIN, f"{LESS}, other family minus own, verifiers of equal knowledge"),
        ),
        Claim(
            "norm of the advantages",
            "It matters whether advantages are divided by the group's standard deviation (group_std) or not "
            "(group_mean). The direction of the published collapse study is not at hand.",
            "ablations, collapse study",
            NO_FIGURE,
            ("advantage_norm",),
            m.setting_differences("trainer.scale_rewards", "group"),
            differs(0, MARGIN, f"{LESS}, only centred minus divided"),
        ),
        Claim(
            "KL weight",
            "The weight of the KL penalty (0, 0.01, 0.1) hardly matters: the published cells have 0 or 0.01.",
            "ablations, main table's configurations",
            f"{published_kl_weights()}; {NO_FIGURE}",
            ("kl_beta",),
            m.setting_differences("trainer.beta", 0.0),
            same(MARGIN, f"{LESS}, with the penalty minus without"),
        ),
        Claim(
            "independence protects",
            "The reward cannot be gamed because its verifier is independent: of verifiers that know as much, those of "
            "another family do better than one of the generator's own.",
            "central argument, not run",
            NO_FIGURE,
            ("independence",),
            m.other_family,
            above(0, MARGIN, f"{LESS}, other family minus own"),
        ),
    ]
    no_fall = Claim(
        "no over-optimisation",
        "Training on CME does not overshoot: true quality does not fall as training goes on, neither for the "
        "completions sampled in training nor for the saved checkpoints' greedy responses.",
        "central argument, not run",
        NO_FIGURE,
        ("overoptimisation",),
        m.late_quality,
        no_less(QUALITY_MARGIN, "True quality (0 to 1) late in training minus that at a quarter of it", 3),
    )
    return [*(replace(claim, by_verdicts=True) for claim in claims), no_fall]


def mathematics() -> list[Claim]:
    """Claims about mathematics."""
    row = read_published("math_accuracy.csv").iloc[0]
    sweep = read_published("verifier_sweep_math.csv")
    rises = above(0, 0, "Change of pass@1, in points, on the same prompts")
    return [
        Claim(
            "mathematics improves",
            "Training on CME raises the accuracy on mathematics.",
            "mathematics, MATH-500",
            f"{row['before']} to {row['after_lowest']}-{row['after_highest']}, {row['problems']} problems",
            ("math",),
            m.accuracy_change,
            rises,
        ),
        Claim(
            "whichever verifier",
            "It does so whichever verifier is used, even one worse at mathematics than the generator.",
            "mathematics, verifier sweep",
            f"{format_range(sweep['generator_math500_pass1_pct'], 0)} % with verifiers that score "
            f"{format_range(sweep['verifier_math500_pass1_pct'], 0)} %",
            ("verifier_sweep_math",),
            partial(m.accuracy_change, with_random=False),
            rises,
        ),
    ]


def signals() -> list[Claim]:
    """Claims about which signal tells right responses from wrong ones."""
    where, tests = "separation, MATH-500, four generators", ("separation",)
    verifier, generator = "cross_entropy verifier response", "cross_entropy generator response"
    full, span = (
        published_auroc(f"ce_verifier_{s}") - published_auroc(f"ce_generator_{s}") for s in ("full", "answer")
    )
    answer = published_auroc("ce_verifier_answer") - published_auroc("ce_verifier_full")
    no_span = "no data of these records has an answer span apart from the whole response"
    return [
        Claim(
            "the verifier separates",
            "The verifier's cross-entropy tells wrong responses from right ones.",
            where,
            f"AUROC {format_range(published_auroc('ce_verifier_full'), 3)}, whole response",
            tests,
            m.separation(verifier),
            above(0.5, AUROC_MARGIN, "Pooled AUROC of wrong against right, whole response", 3),
        ),
        Claim(
            "better than the generator",
            "The verifier's cross-entropy separates better than the generator's own.",
            where,
            f"whole response {format_signed(full)}; answer {format_signed(span)}",
            tests,
            m.separation(verifier, generator),
            above(0, AUROC_MARGIN, "Pooled AUROC, verifier minus generator, whole response", 3),
        ),
        Claim(
            "the answer's span",
            "Over the answer's span the verifier separates better than over the whole response.",
            where,
            format_signed(answer),
            tests,
            m.separation("cross_entropy verifier answer", verifier, no_span),
            above(0, AUROC_MARGIN, "Pooled AUROC of the verifier, answer minus whole response", 3),
        ),
    ]


def evaluation() -> list[Claim]:
    """Weaknesses of the released evaluation, tested on ours."""
    value = read_published("evaluation.csv").set_index("quantity")["value"]
    first, second = (value[f"verdicts for the response shown {place}"] for place in ("first", "second"))
    before, after = (
        format_range(
            [value[f"characters of a {who} response: {end} cell"] for end in ("lowest", "highest")], 0
        )
        for who in ("pretrained start's", "trained policy's")
    )
    where = "weakness of the released evaluation"
    return [
        Claim(
            "failed calls as ties",
            "A judge's failed calls change the result if they count as ties.",
            where,
            f"{value['failed calls written as ties']:,.0f} failed calls written as ties, win rate "
            f"{value['win rate made of failed calls']:.1f} %",
            (*GRID, "rewards"),
            m.failures_as_ties,
            above(NOTICEABLE, 0, "Shift of the win rate, in points, if failed calls were ties"),
        ),
        Claim(
            "position",
            "The judge has a position bias: the response shown first wins more, or less, often than the other.",
            where,
            f"first {first:,.0f}, second {second:,.0f} ({100 * first / (first + second):.1f} %), one order per pair",
            (*GRID, "rewards"),
            m.first_position,
            differs(50, POSITION_MARGIN, "Share of decided verdicts for the response shown first (%)"),
        ),
        Claim(
            "no interval",
            "Without intervals, some win rates pass for wins that are not.",
            where,
            f"none given; at 200 prompts ±{value['half-width of a 95 % interval']:g} points, at 805 "
            f"±{value['half-width of a 95 % interval at full size']:g}",
            GRID,
            m.wins_without_interval,
            Rule(
                "Any win rate of CME above 50 % whose interval does not lie above it",
                supports=[],
                contradicts=[Range(50)],
                null=50,
                otherwise="supports",
                any_part=True,
            ),
        ),
        Claim(
            "length",
            "Trained policies write less than pretrained models, which run on to the limit.",
            where,
            f"untrained {before}, trained {after} characters",
            GRID,
            m.text_change(
                pretrained_cme, lambda g: float(len(g.response)), "no run of CME on a pretrained model"
            ),
            below(0, 0, "Change in length, in characters, on the same prompts"),
        ),
        Claim(
            "likelier text",
            "CME makes text likelier under an independent model, which judges like (arXiv 2410.21819).",
            where,
            "by construction, not measured",
            GRID,
            m.text_change(
                scalar_cme,
                lambda generation: generation.surprisal,
                "no run of CME has its responses' surprisal measured under another model",
            ),
            below(0, 0, "Change in surprisal under an independent language model, nats/token", 2),
        ),
    ]
