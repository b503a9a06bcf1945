"""Score a file of responses by their mean log-likelihood under a verifier, in nats per token.

    cme score --verifier google/gemma-3-4b-it responses.jsonl > scored.jsonl

The file has AlpacaEval's format: objects with `instruction` and `output`, one per line or in one JSON list. Lines are
read, scored and written in chunks; a list is read as a whole. Each object is written as one line of JSON with a field
`cme` added (an existing field of that name is replaced; NaN, which is not JSON, becomes null):

    log_likelihood   mean in nats per token; null where the response cannot be scored
    entropy          mean entropy of the verifier's distributions, nats per token, with --entropy
    tokens           number of the verifier's tokens that were scored
    truncated        whether the prompt or the response was truncated
    reason           why there is no score, or null

The command ends with status 2 and one sentence for input that it cannot use; rows before that are written. If no row
could be scored, it ends with status 1 and the most common reason.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm

from cme import Unavailable
from cme.data.alpaca_format import BadOutputs, Row, checked_rows
from cme.records import parse_json
from cme.runtime.command_line import DONE, FAILED, exit_code, print_errors

if TYPE_CHECKING:
    from cme.scoring.verifier import Verifier

CHUNK = 64
"""Number of rows that are scored, and then written, together."""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m cme.scoring.command_line") -> int:
    """Run the command. Returns the exit status (`cme.runtime.command_line`)."""
    options = _parse(arguments, prog)
    return exit_code(lambda: _score_file(options))


def _score_file(options: argparse.Namespace) -> int:
    if options.out and options.out.exists() and options.out.samefile(options.file):
        raise BadOutputs(f"--out {options.out} is the input file: name another file")
    with options.file.open("rb") as file:
        remedies = {
            options.prompt_field: "name the field with --prompt-field",
            options.response_field: "name the field with --response-field",
        }
        rows = checked_rows(file, remedies)
        rows = chain([next(rows)], rows)  # check the first row before anything loads
        if options.out:
            _check_writable(options.out)
        verifier = _load_verifier(options)
        with options.out.open("w") if options.out else nullcontext(sys.stdout) as out:
            return _score(verifier, rows, out, options)


def _check_writable(path: Path) -> None:
    """Raise OSError for a file that cannot be written. Leaves it as it is, and a pipe alone."""
    if not path.exists():
        path.touch()
        path.unlink()
    elif not path.is_fifo():
        path.open("a").close()


def _parse(arguments: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("file", type=Path, help="JSON lines, or a JSON list of objects")
    add("--verifier", required=True, help="a hub id, a folder, package:... or miniature:...")
    dtypes = ("float32", "bfloat16", "float16", "float64")
    add("--dtype", choices=dtypes, default="float32", help="data type of its weights; default: float32")
    add("--device", help="default: the GPU where there is one")
    for name, default, text in (
        ("batch", 4096, "most tokens, with padding, of a forward pass"),
        ("max-prompt", 2048, "longer prompts lose their start"),
        ("max-response", 2048, "longer responses lose their end"),
    ):
        add(f"--{name}-tokens", type=_positive, default=default, help=f"{text}; default: {default}")
    add("--prompt-field", default="instruction", help="the field of the prompt; default: instruction")
    add("--response-field", default="output", help="the field of the response; default: output")
    add("--end-of-turn", action="store_true", help="score the end-of-turn token behind every response")
    add("--entropy", action="store_true", help="add the verifier's mean entropy")
    add("--out", type=Path, help="file to write, overwritten; default: standard output")
    add(
        "--chat-template-kwargs",
        type=_json_object,
        metavar="JSON",
        help="""values for the verifier's chat template, such as '{"enable_thinking": false}'""",
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text} is not a JSON object")
    return value


def _load_verifier(options: argparse.Namespace) -> "Verifier":
    import torch

    from cme.checkpoints import load
    from cme.scoring.token_scorer import TokenScorer
    from cme.scoring.verifier import Verifier

    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError) as error:
        raise Unavailable(f"--device {options.device}: {str(error).splitlines()[0]}: try cpu") from error
    try:
        checkpoint = load(
            options.verifier,
            dtype=options.dtype,
            device=options.device,
            chat_template_kwargs=options.chat_template_kwargs,
        )
        return Verifier(
            checkpoint.tokenizer,
            TokenScorer(checkpoint.model, batch_tokens=options.batch_tokens),
            max_prompt_tokens=options.max_prompt_tokens,
            max_response_tokens=options.max_response_tokens,
        )
    except (ValueError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise Unavailable(f"--verifier {options.verifier}: {reason}") from error


def _score(verifier: "Verifier", rows: Iterator[Row], out: TextIO, options: argparse.Namespace) -> int:
    """Write each row with its score, and at the end, or at a bad row, a summary to stderr; return the status."""
    means: list[float] = []
    reasons = Counter[str]()
    truncated = 0
    try:
        with tqdm(unit=" rows", file=sys.stderr) as bar:
            for chunk in _chunks(rows):
                scores = verifier.score(
                    [row[options.prompt_field] for row in chunk],
                    [row[options.response_field] for row in chunk],
                    [options.end_of_turn] * len(chunk),
                    entropy=options.entropy,
                )
                for row, score in zip(chunk, scores, strict=True):
                    added: Row = {"log_likelihood": score.mean}
                    if options.entropy:
                        added["entropy"] = None if score.reason else float(score.entropies.mean())
                    added |= {"tokens": score.tokens, "truncated": score.truncated, "reason": score.reason}
                    out.write(json.dumps(row | {"cme": added}) + "\n")
                    means += [] if score.mean is None else [score.mean]
                    reasons.update([] if score.reason is None else [score.reason])
                    truncated += score.truncated
                out.flush()
                bar.update(len(chunk))
    finally:
        mean = f"{sum(means) / len(means):.4f} nats per token" if means else "none"
        print(
            f"{len(means)} rows scored, {reasons.total()} unscored, {truncated} truncated; mean log-likelihood {mean}",
            file=sys.stderr,
        )
    if means:
        return DONE
    [(reason, rows_of_it)] = reasons.most_common(1)
    print_errors([f"no row was scored: {reason} ({rows_of_it} of {reasons.total()} rows)"])
    return FAILED


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """The rows in chunks. The rows before a bad one are yielded before its error is raised."""
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
