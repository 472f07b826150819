// Node's memcached: the text protocol, a ketama ring for two nodes.
'use strict';

const Memcached = require('memcached');
const { KEYS, NODE_KEYS, RACE_ROUNDS, MIB, LARGEST, SLEEP_SECONDS, ask, check, equal, numbered, refuses, run, runRace,
  settle, sleep, until } = require('../lib/harness');

// The client takes an answer for a string of UTF-16, so noise is letters here.
const NOISE = Array.from({ length: 2 * MIB }, (_, i) => String.fromCharCode(97 + ((i * 7919) % 26))).join('');

// After an error the client leaves a server alone for `retry` milliseconds.
const RETRY_SECONDS = 0.3;

// The client's calls as promises.
function connect(servers, options = {}) {
  const client = new Memcached(servers, {
    maxValue: 4 * MIB, poolSize: 4, retry: RETRY_SECONDS * 1000, failures: 100, retries: 4, timeout: 2000,
    minTimeout: 20, factor: 2, idle: 60000, ...options,
  });
  const call = (method) => (...words) => new Promise((resolve, reject) => {
    client[method](...words, (error, result) => (error ? reject(error) : resolve(result)));
  });
  return Object.fromEntries(['set', 'get', 'gets', 'getMulti', 'cas', 'add', 'replace', 'append', 'prepend', 'incr',
    'decr', 'del', 'touch', 'stats', 'settings', 'slabs', 'items', 'version', 'flush'].map((name) => [name, call(name)]));
}

async function increment(client, key) {
  const found = await client.gets(key);
  return client.cas(key, found[key] + 1, found.cas, 0);
}

async function checkValues(client) {
  check('set stores', await client.set('a', 'one', 0));
  equal('get returns what was set', await client.get('a'), 'one');
  await client.set('object', { a: [1, 'é'] }, 0);
  equal('flags bring an object back', await client.get('object'), { a: [1, 'é'] });
  await client.set('number', 42, 0);
  equal('flags bring a number back', await client.get('number'), 42);
  equal('get of a missing key is a miss', await client.get('missing'), undefined);
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  await client.set('binary', bytes, 0);
  equal('a value may hold any byte', await client.get('binary'), bytes);
  await client.set('lines', 'END\r\nVALUE x 0 1\r\n', 0);
  equal('a value may hold lines', await client.get('lines'), 'END\r\nVALUE x 0 1\r\n');
  await client.set('empty', '', 0);
  equal('a value may be empty', await client.get('empty'), '');
  await client.set('k'.repeat(250), 'long', 0);
  equal('a key may have 250 bytes', await client.get('k'.repeat(250)), 'long');
  check('add stores a new key', await client.add('new', '1', 0));
  await refuses('add refuses a known key', () => client.add('new', '2', 0));
  check('replace stores a known key', await client.replace('new', '3', 0));
  await refuses('replace refuses a new key', () => client.replace('other', '1', 0));
  check('append stores', await client.append('new', '4'));
  check('prepend stores', await client.prepend('new', '2'));
  equal('append and prepend add to both ends', await client.get('new'), '234');
  await refuses('append refuses a new key', () => client.append('other', '1'));
  check('delete of a known key', await client.del('new'));
  check('delete of a missing key', !(await client.del('new')));
}

async function checkMany(client) {
  const values = numbered('many', KEYS);
  const missing = [...numbered('none', KEYS).keys()];
  const stored = await Promise.all([...values].map(([key, value]) => client.set(key, value, 0)));
  check(`${KEYS} sets at once are stored`, stored.every(Boolean));
  equal(`getMulti returns ${KEYS} keys`, await client.getMulti([...values.keys()]), Object.fromEntries(values));
  equal('getMulti leaves out what is missing', await client.getMulti([...missing, ...values.keys()]),
    Object.fromEntries(values));
}

async function checkSizes(client) {
  check('the largest value is stored', await client.set('large', NOISE.slice(0, LARGEST), 0));
  check('the largest value comes back', (await client.get('large')) === NOISE.slice(0, LARGEST));
  check('1 MiB is refused', !(await client.set('large', NOISE.slice(0, MIB), 0)));
  await sleep(RETRY_SECONDS + 0.1);
  equal('a refused set leaves no old value', await client.get('large'), undefined);
  check('2 MiB is refused', !(await client.set('large', NOISE, 0)));
  check('the client works on after it', await until(() => client.set('large', 'small', 0)));
  equal('and reads it', await client.get('large'), 'small');
}

async function checkCas(client) {
  await client.set('cas', '0', 0);
  const { cas } = await client.gets('cas');
  check('cas with the current value is stored', await client.cas('cas', '1', cas, 0));
  check('cas with an old value is not', !(await client.cas('cas', '2', cas, 0)));
  check('cas of a missing key is a miss', !(await client.cas('missing', '2', cas, 0)));
  await client.set('race', 0, 0);
  const [lost] = await ask(`race race ${RACE_ROUNDS}`);
  equal('two processes lose no increment', await client.get('race'), 2 * RACE_ROUNDS);
  check('they did meet', Number(lost) > 0, 'no round was lost');
}

async function checkCounters(client) {
  await client.set('counter', 10, 0);
  equal('incr adds', await client.incr('counter', 5), 15);
  equal('decr subtracts', await client.decr('counter', 6), 9);
  equal('a counter reads as a number', await client.get('counter'), 9);
  equal('decr stops at 0', await client.decr('counter', 100), 0);
  equal('incr of a missing key is a miss', await client.incr('none', 1), false);
  await client.set('counter', '18446744073709551615', 0);
  equal('incr wraps at 64 bits', await client.incr('counter', 2), 1);
  await client.set('counter', 'word', 0);
  await refuses('incr of a word is refused', () => client.incr('counter', 1));
}

async function checkTime(client) {
  await client.set('short', '1', 2);
  await client.set('absolute', '1', Math.floor(Date.now() / 1000) + 2);
  await client.set('touched', '1', 2);
  await client.set('shortened', '1', 100);
  await client.set('forever', '1', 0);
  equal('a value lives until it expires', await client.get('short'), '1');
  check('touch finds the key', await client.touch('touched', 100));
  check('touch can shorten', await client.touch('shortened', 2));
  check('touch of a missing key is a miss', !(await client.touch('missing', 100)));
  await client.set('past', '1', -1);
  equal('a negative time is over at once', await client.get('past'), undefined);
  await sleep(SLEEP_SECONDS);
  equal('a relative time ends', await client.get('short'), undefined);
  equal('an absolute time ends', await client.get('absolute'), undefined);
  equal('touch kept its key', await client.get('touched'), '1');
  equal('touch shortened its key', await client.get('shortened'), undefined);
  equal('no time is for ever', await client.get('forever'), '1');
}

async function checkAdmin(client) {
  const [stats] = await client.stats();
  check('stats has what others read', stats.curr_items > 0 && 'get_hits' in stats, stats);
  const [settings] = await client.settings();
  check('stats settings answers', settings.maxbytes > 0, settings);
  const [slabs] = await client.slabs();
  check('stats slabs answers by class', slabs[1].chunk_size > 0, slabs);
  const [items] = await client.items();
  check('stats items answers by class', items[1].number > 0, items);
  const [version] = await client.version();
  equal('version is of three numbers', version.major, '1');
  equal('flush answers', await client.flush(), [true]);
  equal('flush empties', await client.get('forever'), undefined);
}

async function checkRestart(client) {
  await client.set('kept', '1', 0);
  await ask('restart 0');
  check('after a restart the same client stores again', await until(() => client.set('again', '2', 0)));
  equal('and reads it', await client.get('again'), '2');
  equal('and the cache was empty', await client.get('kept'), undefined);
}

async function checkNodes(one, two) {
  const client = connect([one, two], { remove: true, failures: 1, retry: 50 });
  const values = numbered('node', NODE_KEYS);
  const keys = [...values.keys()];
  const all = Object.fromEntries(values);
  const stored = await Promise.all([...values].map(([key, value]) => client.set(key, value, 0)));
  check('two nodes: every key is stored', stored.every(Boolean));
  equal('two nodes: every key is found', await client.getMulti(keys), all);
  const onOne = Object.keys(await connect(one).getMulti(keys));
  const onTwo = Object.keys(await connect(two).getMulti(keys));
  check('two nodes: each holds its part',
    onOne.length && onTwo.length && new Set([...onOne, ...onTwo]).size === onOne.length + onTwo.length
    && onOne.length + onTwo.length === NODE_KEYS, [onOne.length, onTwo.length]);
  await ask('stop 2');
  const found = [];
  for (const key of keys) if (await settle(() => client.get(key))) found.push(key);
  equal("a node dies: the other's keys stay", found.sort(), onOne.sort());
  // Each failed try counts; with the last one the client takes the node out of its ring.
  check('a node dies: the other takes its keys', await until(async () => {
    for (const [key, value] of values) if (!(await client.set(key, value, 0))) return false;
    return true;
  }));
  equal('a node dies: every key is found again', await client.getMulti(keys), all);
  // A removed node stays out for the life of this client; a new one uses it.
  await ask('start 2');
  const fresh = connect([one, two]);
  const again = await Promise.all([...values].map(([key, value]) => fresh.set(key, value, 0)));
  check('the node is back: a new client stores every key', again.every(Boolean));
  equal('the node is back: it has the keys it had', Object.keys(await connect(two).getMulti(keys)).sort(), onTwo.sort());
}

run(async () => {
  const words = process.argv.slice(2);
  if (words[0] === 'race') {
    const client = connect(words[1]);
    await runRace(Number(words[3]), () => increment(client, words[2]));
    return;
  }
  const client = connect(words[0]);
  await checkValues(client);
  await checkMany(client);
  await checkSizes(client);
  await checkCas(client);
  await checkCounters(client);
  await checkTime(client);
  await checkAdmin(client);
  await checkRestart(client);
  await checkNodes(words[1], words[2]);
  console.log('end');
});
