// SPDX-License-Identifier: Apache-2.0
// A node program with a real heap: text files as objects, once more through
// JSON, and an index of their words. Arguments: how many bytes of text, files.
const fs = require('fs');

let left = Number(process.argv[2]);
const documents = [];
const words = new Map();
for (const path of process.argv.slice(3)) {
  if (left <= 0) break;
  const text = fs.readFileSync(path, 'utf8');
  left -= text.length;
  const lines = text.split('\n').map((line, number) => ({
    number, indent: line.length - line.trimStart().length, text: line.trim(),
    words: line.split(/\W+/).filter(w => w),
  }));
  documents.push(JSON.parse(JSON.stringify({path, lines})));
  for (const {number, words: those} of lines) {
    for (const word of those) {
      if (!words.has(word)) words.set(word, []);
      words.get(word).push({path, number});
    }
  }
}
console.log('ready');
process.stdin.resume();
process.stdin.on('end', () => process.exit(documents.length ? 0 : 1));
