// What the Node programs share: checks, the shared sizes, words to the driver.
// The words are those of README.md, "Protocol". Nothing here talks to a server.
'use strict';

const { isDeepStrictEqual, inspect } = require('util');
const readline = require('readline');

const MIB = 1 << 20;

const input = readline.createInterface({ input: process.stdin });
const waiting = [];
input.on('line', (line) => waiting.shift()(line));

function hear() {
  return new Promise((resolve) => waiting.push(resolve));
}

function check(text, isRight, detail = '') {
  console.log(isRight ? `ok - ${text}` : `not ok - ${text}: ${inspect(detail, { breakLength: Infinity })}`.slice(0, 300));
}

function equal(text, got, wanted) {
  check(text, isDeepStrictEqual(got, wanted), { got, wanted });
}

async function refuses(text, call) {
  try {
    check(text, false, await call());
  } catch (error) {
    check(text, true);
  }
}

// Asks the driver for something and waits for its answer's word, if any.
async function ask(line) {
  const answer = hear();
  console.log(line);
  const words = (await answer).split(' ');
  if (words.shift() !== 'done') throw new Error('no answer');
  return words;
}

// The part of a copy: `increment` says whether its change was stored.
async function runRace(count, increment) {
  const start = hear();
  console.log('ready');
  await start;
  let lost = 0;
  for (let round = 0; round < count; round++) {
    while (!(await increment())) lost++;
  }
  console.log(`lost ${lost}`);
}

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

// The result, or undefined where the client fails: for calls to a dead node.
async function settle(call) {
  try {
    return await call();
  } catch (error) {
    return undefined;
  }
}

// Whether the call came to something true in time.
async function until(call, tries = 50) {
  for (let turn = 0; turn < tries; turn++) {
    if (await settle(call)) return true;
    await sleep(0.1);
  }
  return false;
}

// Runs `main` to its end; an open connection must not keep the process alive.
function run(main) {
  main().then(
    () => {
      process.stdout.write('', () => process.exit(0));
    },
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
}

// Keys and values of a test that handles many.
function numbered(prefix, count) {
  return new Map(Array.from({ length: count }, (_, number) => [`${prefix}:${number}`, `value ${number}`]));
}

module.exports = {
  KEYS: 500,
  NODE_KEYS: 200,
  RACE_ROUNDS: 1000,
  MIB,
  LARGEST: MIB - 100,
  SLEEP_SECONDS: 3.2,
  ask,
  check,
  equal,
  numbered,
  refuses,
  run,
  runRace,
  settle,
  sleep,
  until,
};
