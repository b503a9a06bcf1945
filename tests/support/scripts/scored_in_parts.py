"""Score a policy that FSDP2 shards over the processes of a launch: scored_in_parts.py CHECKPOINT."""

import os
import sys
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch.distributed.fsdp import fully_shard

os.environ["ACCELERATE_USE_FSDP"] = "true"

from cme.checkpoints import load
from cme.runtime import distributed
from cme.scoring.policy import gather_weights
from cme.scoring.token_scorer import TokenScorer

if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    prompts = [[5, 6, 7, 8], [9, 10, 11]] * 3
    responses = [[12 + i, 13, 14 + i, 15] for i in range(6)]
    rows = slice(0, 6 if distributed.process_index() == 0 else 2)
    complete, sharded = load(sys.argv[1]).model, load(sys.argv[1]).model
    for layer in sharded.model.layers:
        fully_shard(layer)
    fully_shard(sharded)
    sharded(input_ids=torch.tensor([[5, 6, 7]]))  # as generation does before the first scoring
    trainer = cast(
        "Any",
        SimpleNamespace(
            model_wrapped=sharded, accelerator=SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=None))
        ),
    )
    for _ in range(2):
        with gather_weights(trainer):
            scorer = TokenScorer(sharded, batch_tokens=8 if distributed.process_index() == 0 else 64)
            ours = scorer.score(prompts[rows], responses[rows])
    assert any(weight.to_local().numel() < weight.numel() for weight in sharded.parameters()), "sharded again"
    theirs = TokenScorer(complete).score(prompts[rows], responses[rows])
    assert all(
        torch.allclose(a.log_likelihoods, b.log_likelihoods, atol=1e-4)
        for a, b in zip(ours, theirs, strict=True)
    )
    print("alike")
    torch.distributed.destroy_process_group()
