"""The list of the paper's claims."""

from analysis.claims.claim import Claim
from analysis.claims.other_claims import evaluation_claims, mathematics_claims, separation_claims
from analysis.claims.training_claims import training_claims


def all_claims() -> list[Claim]:
    """Every claim, in the order of the paper, those about its evaluation last. Reads the published figures."""
    return [*training_claims(), *mathematics_claims(), *separation_claims(), *evaluation_claims()]
