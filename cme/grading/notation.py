"""How words and numbers are written: Unicode's words, signs and digits, fractions, exponents, thousands, and LaTeX."""

import re
from fractions import Fraction
from unicodedata import category, decimal, normalize

LONGEST = 300
"""Digits and exponents beyond this are compared as they are written, since their values would not fit in memory."""

_MINUS = "-\u2212\u2012\u2013\ufe63\uff0d"
_SPACE = r"[^\S\n]"
_THIN = (
    r"\{,\}|\\[,;:! ]|\\?_|['\u2019\u066c\u00a0\u2009\u202f]|(?<=[\uff10-\uff19])\uff0c"  # of thousands alone
)
_SEPARATOR = rf"(?:,(?:\\!)?|{_THIN})"  # between groups of three digits
_INDIAN = r"\d{1,2}(?:,\d\d){1,9},\d{3}(?!,?\d)"
_GROUPS = rf"\d{{1,3}}(?:{_SEPARATOR}\d{{3}})+(?!\d)|{_INDIAN}|\d{{1,3}}(?:\.\d{{3}}){{2,}}(?!\.?\d)"
_SPACED = r"\d{1,3}(?:[ ]\d{3})*?[ ]0\d\d(?:[ ]\d{3})*(?!\d)"  # no number of its own begins with 0
_DECIMAL_COMMA = r"(?:\d{1,3}(?:\.\d{3})+,\d{1,2}|\d+,(?!\d{3}(?!\d))0\d+)(?![.,]?\d)"
_PLAIN = rf"(?:{_DECIMAL_COMMA}|(?:{_GROUPS}|{_SPACED}|\d+)(?:[.\u066b]\d+)?|(?<!\d)[.\u066b]\d+)"
_CURRENCY = r"[$\u20ac\u00a3\u00a5\u20b9]"
_SIGN = rf"(?:[{_MINUS}]|[Mm]inus\b|[Nn]egative\b){_SPACE}*(?:\\?{_CURRENCY}{_SPACE}*)?"
_BEFORE_SIGN = re.compile(
    rf"""(?:
      [=<>\u2264\u2265\u2260\u2248\u2208(\[{{,;:\#/+\u00d7\u00b7]
    | \\(?:[lgn]eq?|approx|in|to|times|cdot)
    | \b(?:is|are|was|equals|gives|get|to|than|by|or|and)
    ){_SPACE}*\Z | [$*]\Z""",
    re.VERBOSE,
)
"""What stands in front of a sign, and not of a dash or a subtraction."""
_CARET = r"(?:\ ?\^\ ?|(?<=\d)\*\*)"
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_VULGAR = {c: normalize("NFKC", c).split("\u2044") for c in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
_NUMBER = re.compile(
    rf"""(?P<no_number>  # the exponent of a unit, such as cm^2, the index of a name, such as x_1, and what is behind ±
        [^\W\d]{_CARET}(?:\{{[^{{}}]*\}}|[{_MINUS}+]?\d+) | [^\W\d_]_(?:\{{[^{{}}]*\}}|\d+)
        | (?:\u00b1|\\pm)\s*{_PLAIN})
    | (?P<sign>(?<![\w)]){_SIGN})?(?:
      (?:(?P<whole1>\d+)\s?)?\\[dtc]?frac\s*(?:\{{\s*(?P<over1>[{_MINUS}]?\ *{_PLAIN})\s*\}}|(?P<over2>\d))
        \s*(?:\{{\s*(?P<under1>[{_MINUS}]?\ *{_PLAIN})\s*\}}|(?P<under2>\d))
    | (?<![/\u2044\d.])(?<![/\u2044]\ )(?:(?P<whole2>\d+)\ (?!0\d\d))?(?P<over3>{_PLAIN})\ ?[/\u2044]\ ?
        (?P<under3>[{_MINUS}]?\ *{_PLAIN})(?!\ ?[/\u2044]\ ?\d)
    | (?:(?P<whole3>\d+)\s?)?(?P<vulgar>[{"".join(_VULGAR)}])
    | (?P<plain>{_PLAIN})(?:
        [eE](?P<power1>[{_MINUS}+]?\d+)(?!\w)
      | \s*(?:[\u00d7x*\u00b7\u22c5]|\\times|\\cdot)\s*10(?:
          {_CARET}\{{?(?P<power2>[{_MINUS}+]?\d+)\}}? | (?P<power3>[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)
        )
      | (?:{_CARET}(?:\{{(?P<exponent1>[{_MINUS}+]?\d+)\}}|(?P<exponent2>[{_MINUS}+]?\d+)(?!\.?\d|/))
          | (?P<exponent3>[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+))
      | _(?:\{{(?P<base1>\d+)\}}|(?P<base2>\d+))
      )?
    )""",
    re.VERBOSE,
)


def visible(text: str) -> str:
    """A text without invisible format characters, such as joiners and spaces of no width."""
    return "".join(c for c in text if category(c) != "Cf")


def words(text: str) -> list[str]:
    """The words and numbers of a text, compared by Unicode's rules: canonical equivalence, and full case folding.

    Combining marks belong to their word.
    """
    folded = normalize("NFC", normalize("NFD", visible(text)).casefold())
    return "".join(c if c.isalnum() or c == "_" or category(c)[0] == "M" else " " for c in folded).split()


def last_number(text: str) -> tuple[int, int] | None:
    """The characters [start, end) of the last number in digits: with its sign, exponent, or denominator.

    The exponent or the index of a name, as in `cm^2` and `x_1`, is no number, nor is ±3, which is two. A minus sign
    apart from its number, as in `x = - 7`, counts behind an operator or a verb, and if nothing else is in the text;
    elsewhere it is a dash, a bullet or a subtraction.
    """
    matches = [match for match in _NUMBER.finditer(visible(text)) if not match["no_number"]]
    if not matches:
        return None
    start, end = _span(matches[-1])
    places = [i for i, c in enumerate(text) if category(c) != "Cf"]
    return places[start], places[end - 1] + 1


def exact_value(number: str) -> str:
    """The exact value of a number that `last_number` found: its shortest digits, or a fraction in lowest terms.

    Equal values give equal texts up to `LONGEST` digits.
    """
    number = visible(number)
    match = _NUMBER.fullmatch(number)
    if match is None or match["no_number"]:
        return number
    sign = "-" if match["sign"] else ""
    over = match["over1"] or match["over2"] or match["over3"]
    under = match["under1"] or match["under2"] or match["under3"]
    if match["vulgar"]:
        over, under = _VULGAR[match["vulgar"]]
    if base := match["base1"] or match["base2"]:
        return sign + _in_base(_digits(match["plain"]), _digits(base))
    exponent = match["exponent1"] or match["exponent2"] or (match["exponent3"] or "").translate(_SUPERSCRIPTS)
    if exponent:
        return _power(sign, _digits(match["plain"]), _digits(exponent))
    if over is None:
        power = match["power1"] or match["power2"] or (match["power3"] or "0").translate(_SUPERSCRIPTS)
        value = _shift(_digits(match["plain"]), _digits(power))
        return value if value == "0" else sign + value
    whole = match["whole1"] or match["whole2"] or match["whole3"] or "0"
    parts = [_digits(part) for part in (whole, over, under)]
    if max(map(len, parts)) > LONGEST or not Fraction(parts[2]):
        return f"{sign}{' '.join(parts[:2])}/{parts[2]}"
    return _shortest(Fraction(f"{sign}1") * (Fraction(parts[0]) + Fraction(parts[1]) / Fraction(parts[2])))


def _in_base(digits: str, base: str) -> str:
    """The value of digits in a base from 2 to 10; as it is written for any other."""
    known = base in map(str, range(2, 11)) and len(digits) <= LONGEST
    if known and all(c.isdigit() and int(c) < int(base) for c in digits):
        return str(int(digits, int(base)))
    return f"{digits}_{base}"


def _power(sign: str, base: str, exponent: str) -> str:
    """The value of a power with the sign in front of it; as it is written where that has no value or is too long."""
    if (
        len(exponent) > 9
        or len(base) * abs(int(exponent)) > LONGEST
        or (not Fraction(base) and int(exponent) < 0)
    ):
        return f"{sign}{base}^{exponent}"
    return _shortest(Fraction(f"{sign}1") * Fraction(base) ** int(exponent))


def to_latex(text: str) -> str:
    """A box's content with signs, digits, fractions, exponents and separators in plain LaTeX, without outer blanks."""
    text = re.sub(rf"(?<=\d)(?:{_THIN})(?=\d{{3}}(?!\d))", "", normalize("NFC", visible(text)))
    text = re.sub(rf"(?<![\d,.])(?:{_INDIAN})|(?<!\d){_SPACED}", _join_groups, text)
    text = "".join("-" if c in _MINUS else str(decimal(c)) if category(c) == "Nd" else c for c in text)
    text = text.replace("{-}", "-").replace(r"\%", "%")
    text = re.sub(rf"(?:\\text\{{\\?{_CURRENCY}\}}|\\?{_CURRENCY})(?=\s*[\d.])", "", text)
    text = re.sub(r"(?<![\w.,^{}/])(\d+) (\d+)/(\d+)(?![\w./])", _mixed_number, text)
    text = re.sub(r"(?<=[\w)}])\*\*(?=[\w({-])", "^", text)
    text = re.sub(r"(?<=\d)[eE]([+-]?\d+)(?!\w)", r"\\times 10^{\1}", text)
    text = re.sub("[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda found: f"^{{{found[0].translate(_SUPERSCRIPTS)}}}", text)
    for character, (over, under) in _VULGAR.items():
        text = text.replace(character, rf"\frac{{{over}}}{{{under}}}")
    for character, latex in (
        ("\u2044", "/"),
        ("\u00d7", r"\times "),
        ("\u00b7", r"\cdot "),
        ("\u22c5", r"\cdot "),
        ("\u00b1", r"\pm "),
        ("\u2208", r"\in "),
        ("π", r"\pi "),
        ("∞", r"\infty "),
    ):
        text = text.replace(character, latex)
    return re.sub(r"√\s*(?:\(([^()]*)\)|(\d+|\w))", r"\\sqrt{\1\2}", text).strip()


def _join_groups(found: re.Match[str]) -> str:
    """Digits without separators, unless they can be a list: none of its numbers begins with 0."""
    return re.sub("[, ]", "", found[0]) if re.search("[, ]0", found[0]) else found[0]


def _mixed_number(found: re.Match[str]) -> str:
    """A mixed number in LaTeX; digits in front of an improper fraction stay as they are."""
    whole, over, under = found.groups()
    proper = len(over + under) <= LONGEST and int(over) < int(under)
    return rf"{whole}\frac{{{over}}}{{{under}}}" if proper else found[0]


def _span(match: re.Match[str]) -> tuple[int, int]:
    """A match's characters: of a fraction without a value its denominator, of no mixed number its fraction.

    A dash in front is left out.
    """
    start, end = match.end("sign") if _is_dash(match) else match.start(), match.end()
    under = match["under3"]
    if under is None:
        return start, end
    if not under.strip(f"0.,{_MINUS} "):
        return match.span("under3")
    over, under = _digits(match["over3"]), _digits(under)
    if match["whole2"] and (max(len(over), len(under)) > LONGEST or Fraction(over) >= Fraction(under)):
        return match.start("over3"), end
    return start, end


def _is_dash(match: re.Match[str]) -> bool:
    """Whether the sign of a match is a dash or a subtraction, by the text around it."""
    if not re.search(r"\s|\w", match["sign"] or ""):
        return False
    before, after = match.string[: match.start()], match.string[match.end() :]
    alone = not before.strip() and not re.search(r"\w", after)
    return not alone and _BEFORE_SIGN.search(before[-20:]) is None


def _digits(number: str) -> str:
    """A number in ASCII, without separators of thousands."""
    if re.fullmatch(_DECIMAL_COMMA, number):
        number = number.replace(".", "").replace(",", ".")
    number = re.sub(rf"{_SEPARATOR}| ", "", number).replace("\u066b", ".")
    if number.count(".") > 1:
        number = number.replace(".", "")
    return "".join("-" if c in _MINUS else str(decimal(c, c)) for c in number)


def _shift(number: str, power: str) -> str:
    """The shortest digits of a decimal number times ten to a power; exact at any length of the number."""
    whole, _, decimals = number.partition(".")
    if len(power) > 9 or abs(int(power)) > LONGEST:
        return f"{_shift(number, '0')}e{power.lstrip('+')}"
    point = len(whole) + int(power)
    digits = (whole + decimals).ljust(point, "0")
    if point < 0:
        digits, point = "0" * -point + digits, 0
    whole, decimals = digits[:point].lstrip("0") or "0", digits[point:].rstrip("0")
    return f"{whole}.{decimals}" if decimals else whole


def _shortest(value: Fraction) -> str:
    """A fraction as a decimal number where that is exact, else in lowest terms."""
    rest, places = value.denominator, 0
    while rest % 2 == 0 or rest % 5 == 0:
        rest //= 10 if rest % 10 == 0 else 2 if rest % 2 == 0 else 5
        places += 1
    if rest > 1:
        return f"{value.numerator}/{value.denominator}"
    scaled = str(abs(value.numerator) * 10**places // value.denominator)
    shortest = _shift(scaled, str(-places))
    return f"-{shortest}" if value < 0 else shortest
