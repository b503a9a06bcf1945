"""The paper's claims, as data: what each says, the measure and the rule that decide it, and the published figure."""

from functools import partial

from analysis.claims import evidence as kinds
from analysis.claims import judging, quality
from analysis.claims.claim import Claim
from analysis.claims.rules import above, below, differs, not_shown_above
from analysis.claims.training_claims import AUROC_MARGIN, GRID, training_claims
from analysis.records.published import format_range, format_signed, published_auroc, read_published

NOTICEABLE = 1.0  # point of the win rate, or of the preference for a position
EVALUATIONS = ("main_table", "rewards", "imported")


def all_claims() -> list[Claim]:
    """Every claim, in the order of the paper, those about its evaluation last. Reads the published figures."""
    return [*training_claims(), *mathematics_claims(), *separation_claims(), *evaluation_claims()]


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
            mathematics=True,
        ),
        Claim(
            "whichever verifier",
            "It does so whichever verifier is used, even one worse at mathematics than the generator.",
            quality.accuracy_change(gain, with_random=False),
            above(0, 0),
            f"{format_range(after, 0)} % with verifiers that score {format_range(own, 0)} %",
            where="mathematics, verifier sweep",
            experiments=("verifier_sweep_math",),
            mathematics=True,
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
