"""Sources of prompts, one file each.

A source is a function `load_prompts(split, count, seed, ...) -> list[Prompt]`. If its data come from the hub, its
module also has a function `missing(...) -> list[str]` with the same further arguments. It returns one sentence for each
data set that is neither here nor on the hub, and downloads nothing.
"""
