"""Stand-ins for what scale=paper reads from outside: checkpoints, tokenizers, data sets and a judge's endpoint."""
