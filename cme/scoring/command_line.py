"""Score a file of responses from the shell.

    python -m cme.scoring.command_line --verifier google/gemma-3-4b-it responses.jsonl > scored.jsonl

The file is in AlpacaEval's format: objects with `instruction` and `output`, one a line or in one JSON list.
Lines are read, scored and written a chunk at a time; a list is read whole. Each object is written as a line
of JSON with a field `cme` added (one it had is replaced; NaN, which is not JSON, becomes null):

    log_likelihood   mean nats a token; null where the response cannot be scored
    entropy          mean nats a token of the verifier's distributions, with --entropy
    tokens           how many of the verifier's tokens were scored
    truncated        whether prompt or response was cut to the limits
    reason           why there is no score, or null

What cannot be used ends the command with status 2 and one sentence; what came before it has been written.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tqdm import tqdm

from cme import Unavailable
from cme.data.alpaca_format import BadOutputs, Row, checked_rows

if TYPE_CHECKING:
    from cme.scoring.verifier import Verifier

    pass

CHUNK = 64
"""Rows scored, and then written, together."""


class _Unusable(Exception):
    """An argument; the message says which, why, and what would do."""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m cme.scoring.command_line") -> int:
    """Run the command; the exit status is 0, or 2 after a sentence on standard error."""
    options = _options(arguments, prog)
    try:
        if options.out and options.out.exists() and options.out.samefile(options.file):
            raise _Unusable(f"--out is {options.file} itself: name another file")
        if options.out and not options.out.parent.is_dir():
            raise _Unusable(f"--out: there is no folder {options.out.parent}: make it first")
        with options.file.open("rb") as file:
            remedies = {
                options.prompt_field: "name the field by --prompt-field",
                options.response_field: "name the field by --response-field",
            }
            rows = checked_rows(file, remedies)
            rows = chain([next(rows)], rows)  # the first is checked before anything loads
            scorer = _scorer(options)
            with options.out.open("w") if options.out else nullcontext(sys.stdout) as out:
                _score(scorer, rows, out, options)
    except (_Unusable, BadOutputs, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"error: {error.filename or options.out or 'standard output'}: {error.strerror or error}",
            file=sys.stderr,
        )
        return 2
    return 0


def _options(arguments: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Score responses by their mean log-likelihood under a verifier, in nats a token.",
    )
    add = parser.add_argument
    add("file", type=Path, help="JSON lines or a JSON list, of objects")
    add("--verifier", required=True, help="a hub id, a folder, package:... or miniature:...")
    add("--dtype", choices=("float32", "bfloat16", "float16", "float64"), default="float32")
    add("--device", help="default: the GPU where there is one")
    add("--batch-tokens", type=_count, default=4096, help="bound on rows x columns of a forward pass")
    add("--max-prompt-tokens", type=_count, default=2048, help="longer prompts lose their start")
    add("--max-response-tokens", type=_count, default=2048, help="longer responses lose their end")
    add("--prompt-field", default="instruction")
    add("--response-field", default="output")
    add("--end-of-turn", action="store_true", help="score the end-of-turn token behind every response")
    add("--entropy", action="store_true", help="add the verifier's mean entropy")
    add("--out", type=Path, help="file to write, overwritten; default: standard output")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return int(text)


def _scorer(options: argparse.Namespace) -> "Verifier":
    import torch

    from cme.checkpoints import load
    from cme.scoring.token_scorer import TokenScorer
    from cme.scoring.verifier import Verifier

    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError) as error:
        raise _Unusable(f"--device {options.device}: {str(error).splitlines()[0]}: try cpu") from error
    try:
        verifier = load(options.verifier, dtype=options.dtype, device=options.device)
        return Verifier(
            verifier.tokenizer,
            TokenScorer(verifier.model, batch_tokens=options.batch_tokens),
            score_end_of_turn=options.end_of_turn,
            max_prompt_tokens=options.max_prompt_tokens,
            max_response_tokens=options.max_response_tokens,
        )
    except (ValueError, OSError) as error:
        raise _Unusable(f"--verifier {options.verifier}: {str(error).splitlines()[0]}") from error


def _score(scorer: "Verifier", rows: Iterator[Row], out: TextIO, options: argparse.Namespace) -> None:
    """Write each row with its score, and at the end, or where a row is bad, a line on what was written."""
    means: list[float] = []
    written = truncated = 0
    try:
        with tqdm(unit=" rows", file=sys.stderr) as bar:
            for chunk in _chunks(rows):
                scores = scorer.score(
                    [row[options.prompt_field] for row in chunk],
                    [row[options.response_field] for row in chunk],
                    [options.end_of_turn] * len(chunk),
                    entropy=options.entropy,
                )
                for row, score in zip(chunk, scores, strict=True):
                    found: Row = {"log_likelihood": score.mean}
                    if options.entropy:
                        found["entropy"] = None if score.reason else float(score.entropies.mean())
                    found |= {"tokens": score.tokens, "truncated": score.truncated, "reason": score.reason}
                    out.write(json.dumps(row | {"cme": found}) + "\n")
                    means += [] if score.mean is None else [score.mean]
                    written += 1
                    truncated += score.truncated
                out.flush()
                bar.update(len(chunk))
    finally:
        mean = f"{sum(means) / len(means):.4f} nats a token" if means else "none"
        unscored = written - len(means)
        print(
            f"{len(means)} rows scored, {unscored} unscored, {truncated} truncated; mean log-likelihood {mean}",
            file=sys.stderr,
        )


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """The rows, CHUNK at a time; what came before a bad row is given out before its error is raised."""
    chunk: list[Row] = []
    try:
        for row in rows:
            chunk.append(row)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    except BadOutputs:
        yield chunk
        raise
    yield chunk


if __name__ == "__main__":
    sys.exit(main())
