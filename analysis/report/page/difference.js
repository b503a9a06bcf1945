// The difference of two texts, by words.
"use strict";

const MOST_CELLS = 9e6; // in the table that compares two texts word by word: about 50 ms

// For each of two texts the ranges [from, to) of words that are not in their longest common subsequence; null
// if the texts are too long.
function differences(before, after) {
  const a = split(before);
  const b = split(after);
  let head = 0;
  let tail = 0;
  while (head < a.length && head < b.length && a[head].word === b[head].word) head++;
  while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail).word === b.at(-1 - tail).word) tail++;
  const [n, m] = [a.length - head - tail, b.length - head - tail];
  if ((n + 1) * (m + 1) > MOST_CELLS) return null;
  const same = (i, j) => a[head + i].word === b[head + j].word;
  const width = m + 1;
  const common = new Uint16Array((n + 1) * width); // length of the common subsequence after i and j
  for (let i = n - 1; i >= 0; i--)
    for (let j = m - 1; j >= 0; j--) {
      const at = i * width + j;
      common[at] = same(i, j) ? common[at + width + 1] + 1 : Math.max(common[at + width], common[at + 1]);
    }
  const own = [new Set(), new Set()];
  for (let i = 0, j = 0; i < n || j < m; ) {
    const at = i * width + j;
    if (i < n && j < m && same(i, j)) i++, j++;
    else if (j === m || (i < n && common[at + width] >= common[at + 1])) own[0].add(head + i++);
    else own[1].add(head + j++);
  }
  return [ranges(a, own[0]), ranges(b, own[1])];
}

// Words and single signs with their start and end; scripts without blanks are split by letter.
function split(text) {
  const word = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}]|[\p{L}\p{M}\p{N}_]+|[^\s]/gu;
  return Array.from(text.matchAll(word), ({ 0: word, index }) => ({ word, from: index, to: index + word.length }));
}

// Adjacent words as one range, including the characters between them.
function ranges(words, own) {
  const found = [];
  words.forEach(({ from, to }, i) => {
    if (!own.has(i)) return;
    if (own.has(i - 1)) found.at(-1)[1] = to;
    else found.push([from, to]);
  });
  return found;
}
