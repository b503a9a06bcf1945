// The pairs and their verdicts, as packed by analysis/report/pairs.py: filtering and sorting.
"use strict";

const MAJORITY = "majority"; // the name of a panel's majority among its judges, as in cme.records
const FIELDS = ["scale", "family", "regime", "method", "seed"]; // of a run, used as filters

async function unpack(packed) {
  const characters = atob(packed);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i); // much faster than Uint8Array.from
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Pairs(await new Response(stream).json());
}

class Pairs {
  constructor({ texts, runs, pairs, verdicts }) {
    Object.assign(this, { texts, runs, pairs, verdicts, count: pairs.run.length });
    this.first = new Int32Array(this.count + 1); // number of each pair's first verdict
    pairs.verdicts.forEach((own, pair) => (this.first[pair + 1] = this.first[pair] + own));
    this.judge("");
  }

  text(column, pair) {
    const number = this.pairs[column][pair];
    return number === null ? null : this.texts[number];
  }

  run(pair) {
    return this.runs[this.pairs.run[pair]];
  }

  verdictsOf(pair) {
    return Array.from({ length: this.pairs.verdicts[pair] }, (_, i) => this.first[pair] + i);
  }

  // Sets the outcome, missing verdicts and mean gain in score of every pair, by one judge or by all. Where a panel
  // judged, its majority counts for all, as in the tables; the gain is that of the members, since only they have scores.
  judge(name) {
    const only = name === "" ? null : this.texts.indexOf(name);
    this.majority = this.texts.indexOf(MAJORITY);
    this.outcome = new Array(this.count);
    this.missing = new Int32Array(this.count);
    this.gain = new Float64Array(this.count); // NaN without a score
    for (let pair = 0; pair < this.count; pair++) this.judgePair(pair, only);
  }

  judgePair(pair, only) {
    const { judge, points, start_score, policy_score } = this.verdicts;
    const own = this.verdictsOf(pair);
    const decisive = only ?? (own.some((i) => judge[i] === this.majority) ? this.majority : null);
    let [seen, scored, rated, total, gain, turned] = [0, 0, 0, 0, 0, false];
    for (const i of own) {
      if (start_score[i] !== null && points[i] !== null && (only === null || judge[i] === only)) {
        rated++;
        gain += policy_score[i] - start_score[i];
      }
      if (decisive !== null && judge[i] !== decisive) continue;
      seen++;
      if (points[i] === null) continue;
      scored++;
      total += points[i];
      for (let j = this.first[pair]; j < i; j++) turned ||= this.decidedOtherwise(i, j);
    }
    this.missing[pair] = seen - scored;
    this.gain[pair] = gain / rated;
    const side = total / scored > 0.5 ? "won" : total / scored < 0.5 ? "lost" : "tie";
    this.outcome[pair] = !seen ? "not judged" : scored < seen ? "unscored" : turned ? "inconsistent" : side;
  }

  // Whether a judge's two verdicts, one in each order, differ.
  decidedOtherwise(i, j) {
    const { judge, points, policy_first } = this.verdicts;
    const both = points[i] !== null && points[j] !== null;
    return both && judge[i] === judge[j] && policy_first[i] !== policy_first[j] && points[i] !== points[j];
  }

  // Numbers of the pairs that pass: `wanted(name)` is the value of a filter, "" for none.
  select(wanted) {
    this.judge(wanted("judge"));
    const passes = this.runs.map((run) => FIELDS.every((name) => ["", String(run[name])].includes(wanted(name))));
    const found = this.search(wanted("q").trim().toLowerCase());
    const chosen = [];
    for (let pair = 0; pair < this.count; pair++)
      if (passes[this.pairs.run[pair]] && this.isOutcome(pair, wanted) && found(pair)) chosen.push(pair);
    return wanted("sort") ? this.sorted(chosen, wanted("sort")) : chosen;
  }

  isOutcome(pair, wanted) {
    if (wanted("judge") && this.outcome[pair] === "not judged") return false;
    if (wanted("outcome") === "unscored") return this.missing[pair] > 0;
    return !wanted("outcome") || this.outcome[pair] === wanted("outcome");
  }

  // Whether a pair's prompt or one of its responses contains the words; each distinct text is searched once.
  search(words) {
    if (!words) return () => true;
    this.lower ??= this.texts.map((text) => text.toLowerCase());
    const has = this.lower.map((text) => text.includes(words));
    const { prompt, start, policy } = this.pairs;
    return (pair) => has[prompt[pair]] || has[start[pair]] || has[policy[pair]];
  }

  // Difference between the policy's response and the start's; NaN if unmeasured.
  measure(name, pair) {
    if (name === "length") return this.text("policy", pair).length - this.text("start", pair).length;
    if (name !== "surprisal") return this.gain[pair];
    const [start, policy] = [this.pairs.start_surprisal[pair], this.pairs.policy_surprisal[pair]];
    return start === null || policy === null ? NaN : policy - start;
  }

  // Sorted from the largest, unmeasured pairs last; ties keep their order.
  sorted(chosen, name) {
    const size = { length: Math.abs, surprisal: Math.abs, gain: (gain) => gain, loss: (gain) => -gain }[name];
    const sizes = new Map(chosen.map((pair) => [pair, size(this.measure(name, pair))]));
    const known = (pair) => (Number.isNaN(sizes.get(pair)) ? -Infinity : sizes.get(pair));
    return chosen.sort((a, b) => (known(b) > known(a) ? 1 : known(b) < known(a) ? -1 : a - b));
  }
}
