"""Sources of prompts, one file each.

A source is a function `load_prompts(split, count, seed, ...) -> list[Prompt]`. If its data come from the hub, its
module also has a function `copies(...) -> list[files.Copy]` with the same further arguments, which says what it reads;
the first copy is that of the training prompts. If they come from files of the user's own, it has
`own_files(...) -> list[str]`, their paths in the same order, and `missing(...) -> list[str]`, a sentence for each that
cannot be used. If its prompts have verifiable constraints, it has `constraints(prompt, ...) -> ConstrainedPrompt`,
those of a prompt given its text.
`EVALUATION_ARGUMENTS` names those of the further arguments, if any, that change the evaluation prompts alone: runs that
differ in them share a training.
"""
