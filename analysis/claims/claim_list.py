"""The paper's claims, with what was published of each, what tests it here, and the rule that decides."""

from analysis.claims import claims as of
from analysis.claims import claims_evaluation as judging
from analysis.claims.claim_list_training import GRID, training
from analysis.claims.claims import Claim
from analysis.claims.rules import Rule, above, below, differs
from analysis.records.published import format_range, format_signed, published_auroc, read_published

AUROC_MARGIN = 0.05
POSITION_MARGIN = 2.0  # points: the published preference is 3.4


def all_claims() -> list[Claim]:
    """Every claim, in the order of the paper, those about its evaluation last. Reads the published figures."""
    return [*training(), *mathematics(), *signals(), *evaluation()]


def mathematics() -> list[Claim]:
    """Claims about mathematics."""
    row = read_published("math_accuracy.csv").iloc[0]
    by_verifier = read_published("verifier_sweep_math.csv")
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
            f"{format_range(by_verifier['generator_math500_pass1_pct'], 0)} % under verifiers that score "
            f"{format_range(by_verifier['verifier_math500_pass1_pct'], 0)} %",
            ("verifier_sweep_math",),
            rises,
            of.any_verifier,
        ),
    ]


def signals() -> list[Claim]:
    """Claims about which signal tells right responses from wrong ones."""
    where = "separation, MATH-500, four generators"
    over = [
        published_auroc(f"ce_verifier_{s}") - published_auroc(f"ce_generator_{s}") for s in ("full", "answer")
    ]
    answer = published_auroc("ce_verifier_answer") - published_auroc("ce_verifier_full")
    return [
        Claim(
            "the verifier separates",
            "The verifier's cross-entropy tells wrong responses from right ones.",
            where,
            f"AUROC {format_range(published_auroc('ce_verifier_full'), 3)}, whole response",
            ("separation",),
            above(0.5, AUROC_MARGIN, "Pooled AUROC of wrong against right, whole response", 3),
            of.separates,
        ),
        Claim(
            "better than the generator",
            "The verifier's cross-entropy separates better than the generator's own.",
            where,
            f"whole response {format_signed(over[0])}; answer {format_signed(over[1])}",
            ("separation",),
            above(0, AUROC_MARGIN, "Pooled AUROC, verifier less generator, whole response", 3),
            of.verifier_separates_better,
        ),
        Claim(
            "the answer's span",
            "Over the answer's span the verifier separates better than over the whole response.",
            where,
            format_signed(answer),
            ("separation",),
            above(0, AUROC_MARGIN, "Pooled AUROC under the verifier, answer less whole response", 3),
            of.answer_separates_better,
        ),
    ]


def evaluation() -> list[Claim]:
    """What makes the released evaluation less trustworthy, asked of ours."""
    value = read_published("evaluation.csv").set_index("quantity")["value"]
    first, second = (
        value["verdicts for the response shown first"],
        value["verdicts for the response shown second"],
    )
    begun, trained = (
        format_range(
            [value[f"characters of a {who} response: {end} cell"] for end in ("lowest", "highest")], 0
        )
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
