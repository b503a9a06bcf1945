// The pair browser. Text written by a model enters the page only through text nodes.
"use strict";

(() => {
  const ROW = 56; // height of a row of the list in pixels, as in the style
  const BEYOND = 8; // rows drawn above and below the visible part
  const NAMES = [...FIELDS, "judge", "outcome", "sort", "q"]; // the controls and their names in the address
  const VERDICTS = new Map([[1, "policy won"], [0.5, "tie"], [0, "start won"], [null, "unscored"]]); // by points
  const byId = (id) => document.getElementById(id);
  const PARTS = ["browser", "filters", "status", "list", "rows", "detail"];
  const [browser, form, status, list, rows, detail] = PARTS.map(byId);

  let data; // Pairs
  let shown = []; // numbers of the pairs that pass the filters, in the order of the list
  let chosen = -1; // index of the open pair in `shown`

  const value = (name) => byId(name).value;
  const counted = (number) => number.toLocaleString("en");
  const rounded = (number) => String(Math.round(number * 100) / 100);
  const signed = (number) => (Number.isNaN(number) ? "n/a" : `${number < 0 ? "−" : "+"}${rounded(Math.abs(number))}`);

  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, text] of Object.entries(attributes)) made.setAttribute(name, text);
    made.append(...children);
    return made;
  }

  // Applies the filters and opens the requested pair, otherwise the first.
  function update(wanted) {
    shown = data.select(value);
    chosen = shown.length ? Math.max(0, shown.indexOf(wanted)) : -1;
    rows.style.height = `${shown.length * ROW}px`;
    status.textContent = `${counted(shown.length)} of ${counted(data.count)} pairs.`;
    document.documentElement.dataset.shown = shown.length;
    draw();
  }

  function open(place) {
    if (!shown.length) return;
    chosen = Math.min(shown.length - 1, Math.max(0, place));
    draw();
    remember();
  }

  function draw() {
    const top = Math.max(0, chosen * ROW);
    list.scrollTop = Math.min(top, Math.max(list.scrollTop, top + ROW - list.clientHeight));
    drawRows();
    detail.replaceChildren(...(chosen < 0 ? [element("p", {}, "No pair passes these filters.")] : view(shown[chosen])));
  }

  // ---- the list: only rows near the visible part exist

  function drawRows() {
    const from = Math.max(0, Math.floor(list.scrollTop / ROW) - BEYOND);
    const to = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + BEYOND);
    rows.replaceChildren(...shown.slice(from, to).map((pair, i) => row(pair, from + i)));
    if (chosen >= from && chosen < to) list.setAttribute("aria-activedescendant", `row-${chosen}`);
    else list.removeAttribute("aria-activedescendant");
  }

  function row(pair, place) {
    const made = element("div", { class: "row", role: "option", id: `row-${place}` });
    const state = { selected: place === chosen, posinset: place + 1, setsize: shown.length };
    for (const [name, is] of Object.entries(state)) made.setAttribute(`aria-${name}`, is);
    made.style.top = `${place * ROW}px`;
    const sort = value("sort");
    if (sort) made.append(element("span", { class: "small value" }, signed(data.measure(sort, pair))));
    const { family, regime, seed, method } = data.run(pair);
    made.append(
      element("div", { dir: "auto" }, data.text("prompt", pair).slice(0, 200)),
      element("div", { class: "small" }, badge(pair), ` ${family} ${regime} s${seed}, ${method}`),
    );
    made.addEventListener("click", () => open(place));
    return made;
  }

  function badge(pair) {
    const outcome = data.outcome[pair];
    return element("span", { class: `badge ${outcome}` }, outcome);
  }

  // ---- one pair

  function view(pair) {
    const [start, policy] = [data.text("start", pair), data.text("policy", pair)];
    const marks = differences(start, policy);
    const legend = marks ? "Marked: words that only one of the two has." : "Too long to mark the difference by words.";
    const [before, after] = data.run(pair).sides;
    const sides = [
      side(before, "start", pair, marks && marks[0], "del"),
      side(after, "policy", pair, marks && marks[1], "ins"),
    ];
    const reference = data.text("reference", pair);
    return [
      bar(pair),
      element("h4", {}, "Prompt"),
      box(data.text("prompt", pair)),
      ...(reference === null ? [] : [element("h4", {}, "Reference"), box(reference)]),
      element("div", { class: "pair" }, ...sides),
      element("p", { class: "small" }, start === policy ? "The two responses are the same." : legend),
      ...judgements(data.verdictsOf(pair)),
    ];
  }

  function bar(pair) {
    const { id, family, regime, seed, method, scale } = data.run(pair);
    return element(
      "div",
      { class: "bar" },
      step("Previous", -1),
      step("Next", 1),
      element("span", {}, `${counted(chosen + 1)} of ${counted(shown.length)}`),
      badge(pair),
      element("span", {}, `${family} ${regime}, ${method}, seed ${seed}, scale ${scale}`),
      element("a", { href: `#run-${encodeURIComponent(id)}` }, "settings of this run"),
      element("a", { href: address(pair) }, "link to this pair"),
    );
  }

  function step(label, by) {
    const made = element("button", { type: "button", class: label }, label);
    made.addEventListener("click", () => {
      open(chosen + by);
      detail.querySelector(`.${label}`).focus();
    });
    return made;
  }

  function side(title, role, pair, marks, tag) {
    const text = data.text(role, pair);
    const surprisal = data.pairs[`${role}_surprisal`][pair];
    const tokens = data.pairs[`${role}_tokens`][pair];
    const facts = [`${counted(text.length)} characters`];
    if (tokens !== null) facts.push(`${counted(tokens)} tokens`);
    if (data.pairs[`${role}_finished`][pair] === false) facts.push("cut at the limit");
    if (surprisal !== null) facts.push(`surprisal ${rounded(surprisal)}`);
    const under = element("p", { class: "small" }, facts.join(", "));
    return element("div", {}, element("h4", {}, title), under, box(text, marks ?? [], tag));
  }

  // A text with some of its ranges marked.
  function box(text, marks = [], tag = "mark") {
    const made = element("pre", { dir: "auto", tabindex: "0" });
    let end = 0;
    for (const [from, to] of marks) {
      made.append(text.slice(end, from), element(tag, {}, text.slice(from, to)));
      end = to;
    }
    made.append(text ? text.slice(end) : element("i", {}, "(empty)"));
    return made;
  }

  // The columns of the table of verdicts; empty columns are left out.
  const change = (before, after) => (before === null ? null : `${rounded(before)} → ${rounded(after)}`);
  const COLUMNS = [
    { title: "judge", show: (i) => data.texts[data.verdicts.judge[i]] },
    { title: "shown first", show: (i) => (data.verdicts.policy_first[i] ? "policy" : "start") },
    { title: "verdict", show: (i) => VERDICTS.get(data.verdicts.points[i]) },
    {
      title: "score: start → policy",
      show: (i) => change(data.verdicts.start_score[i], data.verdicts.policy_score[i]),
    },
  ];

  function judgements(own) {
    if (!own.length) return [element("p", {}, "No judge has seen this pair.")];
    const columns = COLUMNS.filter(({ show }) => own.some((i) => show(i) !== null));
    const cells = (i) => columns.map(({ show }) => element("td", {}, show(i) ?? "-"));
    const head = element("tr", {}, ...columns.map(({ title }) => element("th", { scope: "col" }, title)));
    const body = own.flatMap((i) => [
      element("tr", {}, ...cells(i)),
      ...said("Why unscored", data.verdicts.reason[i], columns.length),
      ...said("Note", data.verdicts.note[i], columns.length),
    ]);
    const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
    return [element("h4", {}, "Verdicts"), table];
  }

  // A judge's note as a row below its verdict; no row without a note.
  function said(title, number, width) {
    if (number === null) return [];
    const text = element("bdi", {}, data.texts[number]);
    return [element("tr", {}, element("td", { colspan: width, class: "said" }, `${title}: `, text))];
  }

  // ---- the address: filters and the open pair

  function address(pair) {
    const state = new URLSearchParams(NAMES.filter(value).map((name) => [name, value(name)]));
    if (pair !== undefined) {
      state.set("run", data.run(pair).id);
      state.set("pair", data.text("id", pair));
    }
    return `#${state}`;
  }

  function remember() {
    history.replaceState(null, "", address(shown[chosen]));
  }

  function set(name, wanted) {
    byId(name).value = wanted;
    if (value(name) !== wanted) byId(name).value = ""; // the list lacks this value
  }

  // Reads filters and pair from the address; false for an address without "=", which names a section.
  function recall() {
    if (!location.hash.includes("=")) return false;
    const state = new URLSearchParams(location.hash.slice(1));
    for (const name of NAMES) set(name, state.get(name) ?? "");
    const [run, id] = [state.get("run"), state.get("pair")];
    const wanted = data.pairs.run.findIndex((_, pair) => data.run(pair).id === run && data.text("id", pair) === id);
    update(wanted);
    if (wanted >= 0 && shown[chosen] !== wanted) {
      for (const name of NAMES) set(name, ""); // the filters hide the requested pair
      update(wanted);
    }
    if (run !== null && wanted < 0) status.textContent += ` There is no pair ${id} of run ${run} here.`;
    return true;
  }

  // ---- keys and events

  function move(event, by) {
    event.preventDefault();
    browser.scrollIntoView({ block: "nearest" });
    open(chosen + by);
  }

  function onKey(event) {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.id === "q" && ["Escape", "Enter"].includes(key)) list.focus({ preventScroll: true });
    if (target.matches("select, input")) return;
    const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
    const steps = new Map([["j", 1], ["k", -1]]);
    const inList = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -shown.length, End: shown.length };
    if (target === list) for (const [name, by] of Object.entries(inList)) steps.set(name, by);
    if (steps.has(key)) move(event, steps.get(key));
    else if (key === "Escape") target.blur();
    else if (key === "/") {
      event.preventDefault();
      byId("q").focus();
    }
  }

  function listen() {
    const changed = () => {
      update();
      remember();
    };
    let waiting;
    byId("q").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(changed, 120);
    });
    form.addEventListener("change", (event) => event.target.id !== "q" && changed());
    form.addEventListener("reset", () => setTimeout(changed)); // after the controls are empty
    form.addEventListener("submit", (event) => event.preventDefault());
    list.addEventListener("scroll", () => requestAnimationFrame(drawRows), { passive: true });
    addEventListener("resize", drawRows);
    addEventListener("hashchange", () => recall() && browser.scrollIntoView());
    document.addEventListener("keydown", onKey);
  }

  function fill() {
    for (const name of FIELDS) offer(name, data.runs.map((run) => String(run[name])));
    offer("judge", data.verdicts.judge.map((number) => data.texts[number]));
    if (data.pairs.start_surprisal.every((measured) => measured === null)) {
      const option = byId("sort").querySelector("[value=surprisal]");
      option.disabled = true;
      option.textContent += " (not measured)";
    }
  }

  function offer(name, choices) {
    byId(name).append(...Array.from(new Set(choices), (choice) => element("option", { value: choice }, choice)));
  }

  async function begin() {
    browser.hidden = false;
    status.textContent = "Unpacking …";
    try {
      data = await unpack(byId("data").textContent);
    } catch (error) {
      status.textContent = `The pairs cannot be unpacked here: ${error.message}`;
      return;
    }
    fill();
    listen();
    if (recall()) browser.scrollIntoView();
    else update();
    document.documentElement.dataset.ready = data.count;
    document.documentElement.dataset.milliseconds = Math.round(performance.now());
  }

  begin();
})();
