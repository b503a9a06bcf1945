"""What an exception of a library says, in one line."""


def innermost_cause(error: BaseException) -> BaseException:
    """The first exception of the chain that led to this one."""
    while (
        cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    ) is not None:
        error = cause
    return error


def describe(error: BaseException) -> str:
    """Type and first line of an exception, and of its innermost cause if that is another one."""
    first = innermost_cause(error)
    return _first_line(error) if first is error else f"{_first_line(error)}; caused by {_first_line(first)}"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
