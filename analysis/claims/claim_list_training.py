"""The paper's claims about training on open-ended instructions, as `claim_list` has them."""

from dataclasses import replace

from analysis.claims import claims as of
from analysis.claims.claims import Claim
from analysis.claims.claims_course import no_fall
from analysis.claims.rules import above, below, between, differs, no_less, same
from analysis.records.published import (
    main_table_range,
    published_kl_weights,
    published_sweep_range,
    read_published,
)

MARGIN = 5.0  # percentage points: a smaller difference counts as none
QUALITY_MARGIN = 0.05
NO_FIGURE = "no figure at hand"
GRID = ("main_table", "reference")
REWARDS = ("rewards", "reference")
WIN = "Win rate against the untrained start (%)"
LESS = "Difference of win rates, in points"


def training() -> list[Claim]:
    """Claims about training on open-ended instructions."""
    low, high = main_table_range()
    better = above(0, MARGIN, f"{LESS}, CME less the other")
    claims = [
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
            f"{published_kl_weights()}; {NO_FIGURE}",
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
            "Training on CME does not overshoot: true quality does not fall as training goes on, neither that of the "
            "completions sampled in training nor that of the saved checkpoints' greedy responses.",
            "central argument, not run",
            NO_FIGURE,
            ("overoptimisation",),
            no_less(
                QUALITY_MARGIN,
                "True quality (0 to 1) late in training less that at a quarter of it",
                decimals=3,
            ),
            no_fall,
        ),
    ]
    return [replace(claim, by_verdicts=claim.judge is not no_fall) for claim in claims]


def verifiers() -> list[Claim]:
    """Claims about the verifier, from the published sweep."""
    sweep = read_published("verifier_sweep_quality.csv").set_index("verifier")["win_rate_vs_base_pct"]
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
            f"own family {published_sweep_range(['qwen'])}, others {published_sweep_range(['gemma', 'llama', 'olmo'])}",
            ("verifier_sweep",),
            no_less(MARGIN, f"{LESS}, other family less own, verifiers that know as much"),
            of.other_family,
        ),
    ]
