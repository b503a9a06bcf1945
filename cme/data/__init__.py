"""Sources of prompts, one file each: `load_prompts(split, count, seed, ...) -> list[Prompt]`.

A source that may not be at hand has a function `missing` beside it, of the same further arguments: a sentence on each
thing that cannot be had here. It downloads nothing.
"""
