"""Sources of prompts, one file each: `load_prompts(split, count, seed) -> list[Prompt]`."""
