// memjs: the binary protocol, a hash modulo the number of nodes. It has neither
// multi-get nor cas: many keys are many requests at once on one connection, and
// the race of two processes is one of increments.
'use strict';

const crypto = require('crypto');
const memjs = require('memjs');
const { KEYS, NODE_KEYS, RACE_ROUNDS, MIB, LARGEST, SLEEP_SECONDS, ask, check, equal, numbered, refuses, run, runRace,
  settle, sleep, until } = require('../lib/harness');

const NOISE = crypto.randomBytes(2 * MIB);
const BINARY = Buffer.concat([Buffer.from('END\r\n\0\r\n'), Buffer.from(Array.from({ length: 256 }, (_, i) => i))]);

function connect(...servers) {
  return memjs.Client.create(servers.join(','), {
    timeout: 5, retries: 1, retry_delay: 0.05, failover: servers.length > 1, failoverTime: 1, logger: { log() {} },
  });
}

// The value as a text; null for a miss.
async function get(client, key) {
  const { value } = await client.get(key);
  return value && value.toString();
}

async function checkValues(client) {
  check('set stores', await client.set('a', 'one'));
  equal('get returns what was set', await get(client, 'a'), 'one');
  equal('get of a missing key is a miss', await get(client, 'missing'), null);
  await client.set('binary', BINARY);
  equal('a value may hold any byte', (await client.get('binary')).value, BINARY);
  await client.set('empty', '');
  equal('a value may be empty', await get(client, 'empty'), '');
  await client.set('k'.repeat(250), 'long');
  equal('a key may have 250 bytes', await get(client, 'k'.repeat(250)), 'long');
  // By closing the connection, which this client does not get over.
  await refuses('a key of 251 bytes is refused', () => connect(process.argv[2]).set('k'.repeat(251), 'x'));
  check('add stores a new key', await client.add('new', '1'));
  check('add refuses a known key', !(await client.add('new', '2')));
  check('replace stores a known key', await client.replace('new', '3'));
  check('replace refuses a new key', !(await client.replace('other', '1')));
  check('append stores', await client.append('new', '4'));
  equal('append adds to the end', await get(client, 'new'), '34');
  // This client's prepend sends the opcode of append (0x0E).
  check('prepend stores', await client.prepend('new', '2'));
  equal('prepend is answered as the append that it is', await get(client, 'new'), '342');
  // Answered with status 5, which this client does not know.
  check('append refuses a new key', !(await settle(() => client.append('other', '1'))));
  check('delete of a known key', await client.delete('new'));
  check('delete of a missing key', !(await client.delete('new')));
}

async function checkMany(client) {
  const values = numbered('many', KEYS);
  const stored = await Promise.all([...values].map(([key, value]) => client.set(key, value)));
  check(`${KEYS} sets at once are stored`, stored.every(Boolean));
  const found = await Promise.all([...values.keys()].map((key) => get(client, key)));
  equal(`${KEYS} gets at once find them`, found, [...values.values()]);
  const missing = await Promise.all([...numbered('none', KEYS).keys()].map((key) => get(client, key)));
  check(`${KEYS} gets at once miss`, missing.every((value) => value === null));
  const deleted = await Promise.all([...values.keys()].map((key) => client.delete(key)));
  check(`${KEYS} deletes at once find them`, deleted.every(Boolean));
}

async function checkSizes(client) {
  check('the largest value is stored', await client.set('large', NOISE.subarray(0, LARGEST)));
  check('the largest value comes back', (await client.get('large')).value.equals(NOISE.subarray(0, LARGEST)));
  await refuses('1 MiB is refused', () => client.set('large', NOISE.subarray(0, MIB)));
  equal('a refused set leaves no old value', await get(client, 'large'), null);
  await refuses('2 MiB is refused', () => client.set('large', NOISE));
  check('the client works on after it', await client.set('large', 'small'));
  equal('and reads it', await get(client, 'large'), 'small');
}

async function checkCounters(client) {
  const value = async (answer) => (await answer).value;
  equal('increment of a missing key stores the initial value', await value(client.increment('counter', 5, { initial: 10 })), 10);
  equal('increment adds', await value(client.increment('counter', 5, {})), 15);
  equal('decrement subtracts', await value(client.decrement('counter', 6, {})), 9);
  equal('decrement stops at 0', await value(client.decrement('counter', 100, {})), 0);
  await client.set('counter', '18446744073709551615');
  equal('increment wraps at 64 bits', await value(client.increment('counter', 2, {})), 1);
  await client.set('counter', 'word');
  await refuses('increment of a word is refused', () => client.increment('counter', 1, {}));
  await client.set('race', '0');
  await ask(`race race ${RACE_ROUNDS}`);
  equal('two processes lose no increment', await get(client, 'race'), String(2 * RACE_ROUNDS));
}

async function checkTime(client) {
  await client.set('short', '1', { expires: 2 });
  await client.set('absolute', '1', { expires: Math.floor(Date.now() / 1000) + 2 });
  await client.set('touched', '1', { expires: 2 });
  await client.set('shortened', '1', { expires: 100 });
  await client.set('forever', '1');
  await client.increment('counted', 1, { initial: 5, expires: 2 });
  equal('a value lives until it expires', await get(client, 'short'), '1');
  check('touch finds the key', await client.touch('touched', 100));
  check('touch can shorten', await client.touch('shortened', 2));
  check('touch of a missing key is a miss', !(await client.touch('missing', 100)));
  await sleep(SLEEP_SECONDS);
  equal('a relative time ends', await get(client, 'short'), null);
  equal('an absolute time ends', await get(client, 'absolute'), null);
  equal('touch kept its key', await get(client, 'touched'), '1');
  equal('touch shortened its key', await get(client, 'shortened'), null);
  equal('a counter made by increment ends', await get(client, 'counted'), null);
  equal('no time is for ever', await get(client, 'forever'), '1');
}

async function checkAdmin(client) {
  const stats = (method, ...words) => new Promise((resolve, reject) => {
    client[method](...words, (error, _server, found) => (error ? reject(error) : resolve(found)));
  });
  const general = await stats('stats');
  check('stats has what others read', Number(general.curr_items) > 0 && 'get_hits' in general, general);
  check('stats settings answers', 'maxbytes' in (await stats('statsWithKey', 'settings')));
  check('flush answers', Object.values(await client.flush()).every(Boolean));
  equal('flush empties', await get(client, 'forever'), null);
}

async function checkRestart(client) {
  await client.set('kept', '1');
  await ask('restart 0');
  check('after a restart the same client stores again', await until(() => client.set('again', '2')));
  equal('and reads it', await get(client, 'again'), '2');
  equal('and the cache was empty', await get(client, 'kept'), null);
}

async function checkNodes(one, two) {
  const client = connect(one, two);
  const values = numbered('node', NODE_KEYS);
  const keys = [...values.keys()];
  const storeAll = async () => {
    const stored = [];
    for (const [key, value] of values) stored.push(await settle(() => client.set(key, value)));
    return stored.every(Boolean);
  };
  const foundBy = async (some) => {
    const found = [];
    for (const key of keys) if ((await settle(() => get(some, key))) === values.get(key)) found.push(key);
    return found;
  };
  check('two nodes: every key is stored', await storeAll());
  equal('two nodes: every key is found', await foundBy(client), keys);
  const onOne = await foundBy(connect(one));
  const onTwo = await foundBy(connect(two));
  check('two nodes: each holds its part',
    onOne.length && onTwo.length && new Set([...onOne, ...onTwo]).size === NODE_KEYS
    && onOne.length + onTwo.length === NODE_KEYS, [onOne.length, onTwo.length]);
  await ask('stop 2');
  equal("a node dies: the other's keys stay", await foundBy(client), onOne);
  check('a node dies: the other takes its keys', await storeAll());
  equal('a node dies: every key is found again', await foundBy(client), keys);
  await ask('start 2');
  await sleep(1.2);
  check('the node is back: every key is stored', await until(storeAll));
  equal('the node is back: it has the keys it had', await foundBy(connect(two)), onTwo);
}

run(async () => {
  const words = process.argv.slice(2);
  if (words[0] === 'race') {
    const client = connect(words[1]);
    await runRace(Number(words[3]), async () => (await client.increment(words[2], 1, {})).success);
    return;
  }
  const client = connect(words[0]);
  await checkValues(client);
  await checkMany(client);
  await checkSizes(client);
  await checkCounters(client);
  await checkTime(client);
  await checkAdmin(client);
  await checkRestart(client);
  await checkNodes(words[1], words[2]);
  console.log('end');
});
