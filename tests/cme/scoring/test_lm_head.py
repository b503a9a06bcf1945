"""The head against whole logits in float64."""

from itertools import accumulate
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from cme.scoring import lm_head as module
from cme.scoring.lm_head import LMHead

D, V, N = 8, 37, 23


def model(bias: bool = False, vocabulary: int = V, **config: Any) -> Any:
    """A stand-in with what the head reads of a model."""
    torch.manual_seed(0)
    output = torch.nn.Linear(D, vocabulary, bias=bias)
    text = SimpleNamespace(**config)
    return SimpleNamespace(
        config=SimpleNamespace(get_text_config=lambda: text), get_output_embeddings=lambda: output
    )


def naive(model: Any, hidden: torch.Tensor, targets: torch.Tensor, **config: float) -> Any:
    output = model.get_output_embeddings().double()
    logits = output(hidden.double()) * config.get("logit_scale", 1.0) / config.get("logits_scaling", 1.0)
    if cap := config.get("final_logit_softcapping"):
        logits = cap * torch.tanh(logits / cap)
    log_p = logits.log_softmax(-1)
    certainty = -torch.tensor(V).double().log() - log_p.mean(-1)  # sum over v of 1/V log(1/V / p_v)
    entropy, normalizer = -(log_p.exp() * log_p).sum(-1), logits.logsumexp(-1)
    return log_p[torch.arange(N), targets], entropy, certainty, normalizer


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "config",
    [{}, {"logit_scale": 0.25}, {"logits_scaling": 6.0}, {"final_logit_softcapping": 0.7}],
)
@pytest.mark.parametrize(("rows", "tile"), [(1024, 8192), (5, 8192), (1024, 10), (7, 1)])
@torch.no_grad()
def test_chunks_and_tiles_change_nothing(
    monkeypatch: pytest.MonkeyPatch, rows: int, tile: int, config: dict[str, float], bias: bool
) -> None:
    monkeypatch.setitem(module.TILES, "cpu", (rows, tile))
    made = model(bias, **config)
    hidden, targets = 4 * torch.randn(N, D), torch.randint(0, V, (N,))
    values, entropies, certainties, normalizers = LMHead(made).score(
        hidden, targets, entropy=True, certainty=True
    )
    alone, *nothing, normalizers_alone = LMHead(made).score(hidden, targets)
    _, no_entropies, certainties_alone, _ = LMHead(made).score(hidden, targets, certainty=True)
    expected, spread, certain, normal = naive(made, hidden, targets, **config)
    assert values.tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert alone.tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert entropies.tolist() == pytest.approx(spread.tolist(), abs=1e-5)
    assert certainties.tolist() == pytest.approx(certain.tolist(), abs=1e-5)
    assert certainties_alone.tolist() == pytest.approx(certain.tolist(), abs=1e-5)
    assert normalizers.tolist() == pytest.approx(normal.tolist(), abs=1e-5)
    assert normalizers_alone.tolist() == pytest.approx(normal.tolist(), abs=1e-5)
    assert [part.shape for part in (*nothing, no_entropies)] == [(0,)] * 3


@torch.no_grad()
def test_large_logits_neither_overflow_nor_vanish() -> None:
    made = model()
    hidden, targets = 1e4 * torch.randn(N, D), torch.randint(0, V, (N,))
    values, entropies, certainties, normalizers = LMHead(made).score(
        hidden, targets, entropy=True, certainty=True
    )
    expected, _, certain, normal = naive(made, hidden, targets)
    assert values.tolist() == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-2)
    assert entropies.tolist() == pytest.approx([0.0] * N, abs=1e-2)
    assert certainties.tolist() == pytest.approx(certain.tolist(), rel=1e-4, abs=1e-2)
    assert normalizers.tolist() == pytest.approx(normal.tolist(), rel=1e-4)


@torch.no_grad()
def test_a_masked_token_has_no_share_in_the_entropy() -> None:
    made = model(bias=True)
    made.get_output_embeddings().bias[3] = -torch.inf
    hidden = torch.randn(N, D)
    values, entropies, certainties, normalizers = LMHead(made).score(
        hidden, torch.full((N,), 3), entropy=True, certainty=True
    )
    logits = made.get_output_embeddings()(hidden).double()[:, [i for i in range(V) if i != 3]]
    others = logits.log_softmax(-1)
    assert (values == -torch.inf).all()
    assert (certainties == torch.inf).all()  # uniform has mass where the model has none
    assert entropies.tolist() == pytest.approx((-(others.exp() * others).sum(-1)).tolist(), abs=1e-5)
    assert normalizers.tolist() == pytest.approx(logits.exp().sum(-1).log().tolist(), abs=1e-5)


@pytest.mark.parametrize("certainty", [False, True])
@pytest.mark.parametrize("entropy", [False, True])
@torch.no_grad()
def test_memory_does_not_grow_with_rows_and_vocabulary(entropy: bool, certainty: bool) -> None:
    """Whole logits would take 98 MiB here; two tiles of float32 take 16."""
    made = model(vocabulary=25_000)
    hidden, targets = torch.randn(1024, D), torch.randint(0, 25_000, (1024,))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        LMHead(made).score(hidden, targets, entropy=entropy, certainty=certainty)
    assert watched.profiler is not None
    events = [e for e in watched.profiler.kineto_results.events() if e.name() == "[memory]"]
    peak = max(accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())))
    assert 8 * 2**20 < peak < 20 * 2**20


def test_tiles_stay_within_160_mib_on_every_device() -> None:
    for rows, tile in module.TILES.values():
        assert rows * tile * (4 + 4 + 2) <= 160 * 2**20
