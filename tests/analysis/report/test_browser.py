"""The report's browser of pairs in a real browser: what it shows, what runs in it, keys, sizes, time."""

import json
import random
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from chromium import BINARY, chromium

from analysis.records.read import Records
from analysis.report.build import write
from analysis.stats.text import rouge_l
from analysis.tables.cells import build_cells
from cme.records import Generation, Pair, Verdict

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BINARY is None, reason="no chromium on the PATH"),
]

HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1"><svg onload="window.hacked = 1">',
    "<!-- <script> -->",
    "__proto__",
    "constructor",
    "half a pair: \ud83d",
    "\u05e9\u05dc\u05d5\u05dd \u202eright to left\u202c",
    "\u2028\u2029\x00\x1b ]]> {{ 7 * 7 }} &lt;b&gt; &amp;",
    "<a href='javascript:window.hacked = 1'>" * 2_500,  # 100 kB
    "x" * 100_000,
    "",
]
# Policy's points in the two orders, None unscored, with what the list must call the pair.
KNOWN = {
    "p0": (1, 1, "won"),
    "p1": (0, 0, "lost"),
    "p2": (0.5, 0.5, "tie"),
    "p3": (1, 0, "inconsistent"),
    "p4": (None, None, "unscored"),
    "p5": (1, None, "unscored"),
    "p6": (0.5, 1, "inconsistent"),
    "p7": (0, 0.5, "inconsistent"),
    "p8": (None, 0, "unscored"),
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser):
    browser.requests.clear()
    browser.errors.clear()
    browser.look(1280, 900)
    return browser


def report_of(records, folder):
    return write(Records(records, [], [], []), build_cells(records), folder)


def pair(
    prompt_id, prompt="a prompt", start="no idea", policy="the answer is seven", surprisals=(None, None)
):
    before, after = surprisals
    return Pair(
        prompt_id, prompt, None, Generation(start, False, 2, before), Generation(policy, True, 4, after)
    )


@pytest.fixture(scope="module")
def hostile(make_record, tmp_path_factory):
    """A report in which every text that a model or a configuration may hold is hostile."""
    pairs = [
        Pair(f"{i} {HOSTILE[0]}", text, text, Generation(text, False, 1), Generation(f"{text}!", True, 1))
        for i, text in enumerate(HOSTILE)
    ]
    verdicts = []
    for each, text in zip(pairs, HOSTILE, strict=True):
        verdicts += [
            Verdict(each.prompt_id, True, "first", note=text, judge=HOSTILE[1]),
            Verdict(each.prompt_id, False, "unscored", text or "none", note=text, judge=HOSTILE[1]),
        ]
    attack = HOSTILE[0] + HOSTILE[1]
    record = make_record(
        verdicts=verdicts,
        family="__proto__",
        regime="<svg onload='hacked=1'>",
        reward="<img src=x onerror='hacked=1'>",
        judge=attack,
        steps=0,
        run_id=attack,
        warnings=[attack],
        stopped=attack,
        experiment=attack,
        config={attack: attack},
        environment={attack: attack},
    )
    record = replace(record, pairs=pairs)
    return record, report_of([record], tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def known(make_record, make_verdict, tmp_path_factory):
    """A report whose outcomes, lengths, scores and surprisals are known by hand; a panel's run beside it."""
    verdicts = []
    for prompt, (first, second, _) in KNOWN.items():
        verdicts += [make_verdict(prompt, first, True), make_verdict(prompt, second, False)]
    scored = (
        Verdict("p0", True, "first", scores=(0.9, 0.4)),
        Verdict("p0", False, "second", scores=(0.2, 0.5)),
    )
    verdicts[:2] = scored  # gains 0.5 and 0.3
    verdicts[2] = replace(verdicts[2], scores=(0.1, 0.8))  # p1 loses 0.7
    alone = replace(
        make_record(verdicts=verdicts, steps=0, run_id="alone"),
        pairs=[
            pair("p0", "Name a bird.", "the Heron", "the heron is gray", (2.0, 3.0)),
            pair("p1", policy="no", surprisals=(5.0, 1.0)),
            pair("p2", start="", policy="z" * 500, surprisals=(None, 9.0)),
            *(pair(f"p{i}") for i in range(3, 9)),
        ],
    )
    panel = [
        *(Verdict("q", order, "first" if order else "second", judge="kind") for order in (True, False)),
        *(Verdict("q", order, "second" if order else "first", judge="stern") for order in (True, False)),
    ]
    beside = make_record(verdicts=panel, seed=1, judge="panel", steps=0, run_id="beside", family="llama")
    beside = replace(beside, pairs=[*beside.pairs, pair("never judged")])
    return report_of([alone, beside], tmp_path_factory.mktemp("known"))


def listed(page):
    """The prompt ids behind the list, in its order, by opening one pair after another."""
    ids = []
    for _ in range(int(page.run("document.documentElement.dataset.shown"))):
        ids.append(page.run("new URLSearchParams(location.hash.slice(1)).get('pair')"))
        page.press("j")
    return ids


def opened(page, path, **state):
    """Open the report with this state, make it write its address, and return the listed ids."""
    page.open(path, f"#{urlencode(state) or 'all='}")
    page.run("document.getElementById('list').focus()")
    page.press("Home")
    return listed(page)


def texts(page, selector):
    """The texts of all elements that a selector finds."""
    found = f"[...document.querySelectorAll({json.dumps(selector)})].map((each) => each.textContent)"
    return json.loads(page.run(f"JSON.stringify({found})"))


def test_hostile_texts_are_shown_and_neither_run_nor_cause_a_request(page, hostile):
    record, path = hostile
    for number, each in enumerate(record.pairs):
        page.open(path, "#all=")
        assert page.run("document.documentElement.dataset.ready") == str(len(record.pairs))
        page.run("document.getElementById('list').focus()")
        page.press("Home", *"j" * number)
        shown = (each.prompt, each.reference, each.start.response, each.policy.response)
        assert texts(page, "#detail pre") == [text or "(empty)" for text in shown]
        assert texts(page, "#detail .said bdi").count(HOSTILE[number]) >= 2
        assert page.run("typeof window.hacked") == "undefined"
    assert page.run("document.scripts.length") == 2
    assert page.run("[...document.images].every((image) => image.src.startsWith('data:image/png;base64,'))")
    active = "svg, iframe, [onerror], [onload], a[href^=javascript]"
    assert page.run(f"document.querySelectorAll('{active}').length") == 0
    assert page.run("({}).polluted === undefined")
    assert page.run("document.getElementById('family').options[1].value") == "__proto__"
    assert page.errors == []
    assert {url.split(":")[0] for url in page.requests} <= {"file", "data", "about"}
    page.run(
        "[...document.querySelectorAll('#detail a')].find((a) => a.textContent.startsWith('settings')).click()"
    )
    page.wait("document.querySelector('details.run').open")


def test_the_content_security_policy_blocks_scripts_and_styles(page, known):
    page.open(known)
    blocked = """new Promise((done) => {
      const stopped = [];
      addEventListener("securitypolicyviolation", (event) => stopped.push(event.effectiveDirective));
      const script = document.createElement("script");
      try { script.textContent = "window.hacked = 1"; document.body.append(script); } catch { stopped.push("typed"); }
      try { document.body.innerHTML += "<p>"; } catch { stopped.push("typed"); }
      const image = document.createElement("img");
      try { image.setAttribute("onerror", "window.hacked = 1"); } catch { stopped.push("typed"); }
      image.src = "https://127.0.0.1/x";
      document.body.append(image, Object.assign(document.createElement("style"), { textContent: "p { color: red }" }));
      fetch("https://127.0.0.1/").catch(() => setTimeout(() => done(stopped.join(" ")), 300));
    })"""
    stopped = page.run(blocked)
    assert page.run("typeof window.hacked") == "undefined"
    assert {"img-src", "connect-src", "style-src-elem", "typed"} <= set(stopped.split())


@pytest.mark.parametrize("outcome", ["won", "lost", "tie", "inconsistent", "unscored"])
def test_an_outcome_filters(page, known, outcome):
    expected = [prompt for prompt, (*_, name) in KNOWN.items() if name == outcome]
    assert opened(page, known, outcome=outcome, judge="oracle") == expected


def test_members_of_a_panel_are_judges(page, known):
    assert opened(page, known, family="Llama", outcome="tie") == ["q"]
    for judge, outcome in (("kind", "won"), ("stern", "lost"), ("majority", "tie")):
        assert opened(page, known, judge=judge) == opened(page, known, judge=judge, outcome=outcome) == ["q"]
    page.open(known, "#run=beside&pair=q")
    judges = ["kind", "kind", "stern", "stern", "majority", "majority"]
    assert texts(page, "#detail tbody tr td:first-child") == judges
    assert opened(page, known, seed="1") == ["q", "never judged"]
    page.open(known, "#run=beside&pair=never+judged")
    assert "No judge has seen this pair." in texts(page, "#detail")[0]


@pytest.mark.parametrize(
    ("column", "first"),
    [
        ("length", ["p2", "p3"]),
        ("surprisal", ["p1", "p0", "p2"]),
        ("gain", ["p0", "p1", "p2"]),
        ("loss", ["p1", "p0", "p2"]),
    ],
)
def test_sorting_puts_the_biggest_first_and_the_unmeasured_last(page, known, column, first):
    assert opened(page, known, sort=column)[: len(first)] == first
    if column == "gain":
        assert texts(page, ".row .value")[:3] == ["+0.4", "\u22120.7", "n/a"]


def test_search_in_prompts_and_responses_ignores_case(page, known):
    for words, found in (("a BIRD", ["p0"]), ("heron", ["p0"]), ("zzzz", ["p2"]), ("nowhere", [])):
        assert opened(page, known, q=words) == found
    assert "No pair passes these filters" in texts(page, "#detail")[0]


def test_an_address_opens_its_pair_even_if_its_filters_hide_it(page, known):
    for filters in ("", "outcome=won&"):
        page.open(known, f"#{filters}run=alone&pair=p4")
        assert texts(page, "#detail .bar")[0].startswith("PreviousNext5 of 11unscored")
    page.open(known, "#run=alone&pair=%3Cb%3E")
    assert "There is no pair <b> of run alone here." in texts(page, "#status")[0]
    page.open(known, "#family=nobody&sort=__proto__")
    assert page.run("document.documentElement.dataset.shown") == "11"


def test_keys(page, known):
    page.open(known)
    focused = "document.activeElement.id"
    place = "document.querySelector('[aria-selected=true]').getAttribute('aria-posinset')"
    page.press("j", "j", "k")
    assert page.run(place) == "2"
    page.press("/")
    assert page.run(focused) == "q"
    page.press(*"heron")
    page.wait("document.documentElement.dataset.shown === '1'")
    page.press("Enter")
    assert page.run(focused) == "list"
    assert page.run("getComputedStyle(document.getElementById('list')).outlineStyle") == "solid"
    page.run("document.querySelector('button[type=reset]').click()")
    page.wait("document.documentElement.dataset.shown === '11'")
    page.press("End")
    assert page.run(place) == "11"
    assert page.run("document.getElementById('list').getAttribute('aria-activedescendant')") == "row-10"
    page.press("ArrowUp", "ArrowUp", "ArrowDown", "Home", "k")
    assert page.run(place) == "1"
    page.press("/", "Escape")
    assert page.run(focused) == "list"
    page.press("Escape")
    assert page.run("document.activeElement === document.body")


@pytest.mark.parametrize(
    ("before", "after", "marks"),
    [
        ("It is red.", "It is dark red!", [[[9, 10]], [[6, 10], [14, 15]]]),
        ("a b c a", "b a c", [[[0, 1], [4, 5]], [[4, 5]]]),
        ("\u732b\u304c\u597d\u304d", "\u72ac\u304c\u597d\u304d", [[[0, 1]], [[0, 1]]]),
        ("a " * 4000, "b " * 4000, None),
    ],
)
def test_the_marked_words_are_those_beside_a_longest_common_subsequence(page, known, before, after, marks):
    page.open(known)
    assert page.run(f"differences({json.dumps(before)}, {json.dumps(after)})") == marks


def test_what_is_not_marked_is_a_longest_common_subsequence(page, known):
    page.open(known)
    draw = random.Random(5)
    pairs = [[" ".join(draw.choices("abcde", k=draw.randrange(12))) for _ in range(2)] for _ in range(200)]
    found = page.run(f"{json.dumps(pairs)}.map(([a, b]) => differences(a, b))")
    for texts_of, marks in zip(pairs, found, strict=True):
        left, right = (unmarked(text, ranges).split() for text, ranges in zip(texts_of, marks, strict=True))
        one, other = map(str.split, texts_of)
        # ROUGE-L is twice the length of the longest common subsequence over both lengths
        assert left == right and 2 * len(left) == pytest.approx(
            rouge_l([one], [other])[0] * (len(one) + len(other))
        )


def unmarked(text, ranges):
    """The text without its marked ranges."""
    for start, end in reversed(ranges):
        text = text[:start] + text[end:]
    return text


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(page, known, hostile, width):
    page.look(width, 800)
    for path in (known, hostile[1]):
        page.open(path, "#sort=length")
        assert page.run("document.documentElement.scrollWidth") <= width


def test_five_thousand_pairs_open_within_two_seconds_and_draw_few_rows(page, make_record, tmp_path):
    draw = random.Random(7)
    vocabulary = ["".join(draw.choices("abcdefghijklmnop", k=draw.randrange(2, 9))) for _ in range(4000)]

    def said(words):
        return " ".join(draw.choices(vocabulary, k=words))

    record = make_record(prompts=5000, steps=0)
    pairs = [pair(each.prompt_id, said(30), said(200), said(200), (1.0, 2.0)) for each in record.pairs]
    path = write(Records([replace(record, pairs=pairs)], [], [], []), [], tmp_path)
    times = []
    for _ in range(3):
        page.open(path)
        times.append(int(page.run("document.documentElement.dataset.milliseconds")))
    print(f"5,000 pairs, {path.stat().st_size / 2**20:.1f} MiB, open in {times} ms")
    assert min(times) < 2000, times
    assert page.run("document.querySelectorAll('.row').length") < 40
    page.run("document.getElementById('list').scrollTop = 3000 * 56")
    page.wait(
        "[...document.querySelectorAll('.row')].some((row) => row.getAttribute('aria-posinset') === '3001')"
    )
    assert page.run("document.querySelectorAll('.row').length") < 40
