<?php
// PHP's memcached extension (libmemcached 1.1), over text or (`binary`) binary.

declare(strict_types=1);

const KEYS = 500;
const NODE_KEYS = 200;
const RACE_ROUNDS = 1000;
const MIB = 1 << 20;
const LARGEST = MIB - 100;
const SLEEP_MICROSECONDS = 3200000;
// Long enough that no try of the dead node falls into the checks without it; the
// library counts whole seconds.
const DEAD_SECONDS = 3;

$words = array_slice($argv, 1);
$is_binary = $words[0] === 'binary';
if ($is_binary) {
    array_shift($words);
}

function check(string $text, mixed $is_right, mixed $detail = ''): void
{
    if ($is_right) {
        fwrite(STDOUT, "ok - $text\n");
    } else {
        fwrite(STDOUT, substr("not ok - $text: " . json_encode($detail), 0, 300) . "\n");
    }
}

function equal(string $text, mixed $got, mixed $wanted): void
{
    check($text, $got === $wanted, ['got' => $got, 'not' => $wanted]);
}

function ask(string $line): array
{
    fwrite(STDOUT, "$line\n");
    $words = explode(' ', trim((string) fgets(STDIN)));
    if (array_shift($words) !== 'done') {
        exit(1);
    }
    return $words;
}

// The first true answer of a call that a dead server may refuse for a while.
function until(callable $call): bool
{
    for ($try = 0; $try < 6; $try++) {
        if ($call()) {
            return true;
        }
        // Over binary each refused try puts the next real one off, so the
        // pause must be longer than OPT_RETRY_TIMEOUT.
        usleep(1300000);
    }
    return false;
}

function connect(string ...$servers): Memcached
{
    global $is_binary;
    $client = new Memcached();
    $client->setOptions([
        Memcached::OPT_BINARY_PROTOCOL => $is_binary,
        Memcached::OPT_LIBKETAMA_COMPATIBLE => true,
        Memcached::OPT_COMPRESSION => false,
        Memcached::OPT_TCP_NODELAY => true,
        Memcached::OPT_CONNECT_TIMEOUT => 2000,
        Memcached::OPT_RETRY_TIMEOUT => 1,
    ]);
    foreach ($servers as $server) {
        [$host, $port] = explode(':', $server);
        $client->addServer($host, (int) $port);
    }
    return $client;
}

function gets(Memcached $client, string $key): array|false
{
    return $client->get($key, null, Memcached::GET_EXTENDED);
}

function increment(Memcached $client, string $key): bool
{
    $old = gets($client, $key);
    return $client->cas($old['cas'], $key, $old['value'] + 1);
}

function check_values(Memcached $client): void
{
    $bytes = "END\r\n\0\r\nVALUE x 0 1\r\n" . implode('', array_map('chr', range(0, 255)));
    check('set stores', $client->set('a', 'one'));
    equal('get returns what was set', $client->get('a'), 'one');
    $client->set('array', ['a' => [1, 2.5, true]]);
    equal('flags bring an array back', $client->get('array'), ['a' => [1, 2.5, true]]);
    $client->set('number', 42);
    equal('flags bring a number back', $client->get('number'), 42);
    equal('get of a missing key is false', $client->get('missing'), false);
    equal('and the result code says why', $client->getResultCode(), Memcached::RES_NOTFOUND);
    $client->set('binary', $bytes);
    check('a value may hold any byte', $client->get('binary') === $bytes);
    $client->set('empty', '');
    equal('a value may be empty', $client->get('empty'), '');
    $client->set(str_repeat('k', 250), 'long');
    equal('a key may have 250 bytes', $client->get(str_repeat('k', 250)), 'long');
    equal('a key of 251 bytes is refused', $client->set(str_repeat('k', 251), 'x'), false);
    check('add stores a new key', $client->add('new', '1'));
    check('add refuses a known key', !$client->add('new', '2'));
    check('replace stores a known key', $client->replace('new', '3'));
    check('replace refuses a new key', !$client->replace('other', '1'));
    check('append stores', $client->append('new', '4'));
    check('prepend stores', $client->prepend('new', '2'));
    equal('append and prepend add to both ends', $client->get('new'), '234');
    check('append refuses a new key', !$client->append('other', '1'));
    check('delete of a known key', $client->delete('new'));
    check('delete of a missing key', !$client->delete('new'));
    equal('and its result code says why', $client->getResultCode(), Memcached::RES_NOTFOUND);
}

function check_many(Memcached $client, string $server): void
{
    $values = [];
    $missing = [];
    for ($number = 0; $number < KEYS; $number++) {
        $values["many:$number"] = "value $number";
        $missing[] = "none:$number";
    }
    $keys = array_keys($values);
    check('setMulti stores ' . KEYS . ' keys', $client->setMulti($values));
    equal('getMulti returns ' . KEYS . ' keys', sorted($client->getMulti($keys)), sorted($values));
    equal('getMulti leaves out what is missing', sorted($client->getMulti([...$missing, ...$keys])), sorted($values));
    $client->getDelayed($keys, true);
    $tokens = array_column($client->fetchAll(), 'cas');
    equal('getDelayed returns a cas value of its own for each', count(array_unique($tokens)), KEYS);
    check('deleteMulti answers', !in_array(false, $client->deleteMulti($keys), true));
    equal('deleteMulti deletes them all', $client->getMulti($keys), []);
    $quiet = connect($server);
    $quiet->setOption(Memcached::OPT_NOREPLY, true);
    foreach ($values as $key => $value) {
        $quiet->set($key, $value);
    }
    equal(KEYS . ' sets without an answer are all done', sorted($quiet->getMulti($keys)), sorted($values));
    // The same with the client's own buffer of requests.
    $buffered = connect($server);
    $buffered->setOption(Memcached::OPT_BUFFER_WRITES, true);
    foreach ($values as $key => $value) {
        $buffered->set($key, "$value again");
    }
    check('buffered sets are flushed', $buffered->flushBuffers());
    equal('buffered sets are all done', $client->get('many:499'), 'value 499 again');
}

function sorted(array $values): array
{
    ksort($values);
    return $values;
}

function check_sizes(Memcached $client): void
{
    $noise = random_bytes(2 * MIB);
    $largest = substr($noise, 0, LARGEST);
    check('the largest value is stored', $client->set('large', $largest));
    check('the largest value comes back', $client->get('large') === $largest);
    check('1 MiB is refused', !$client->set('large', substr($noise, 0, MIB)));
    equal('and the result code says why', $client->getResultCode(), Memcached::RES_E2BIG);
    equal('a refused set leaves no old value', $client->get('large'), false);
    check('2 MiB is refused', !$client->set('large', $noise));
    check('the client works on after it', until(fn() => $client->set('large', 'small')));
    equal('and reads it', $client->get('large'), 'small');
}

function check_cas(Memcached $client): void
{
    $client->set('cas', 0);
    $token = gets($client, 'cas')['cas'];
    check('cas with the current value is stored', $client->cas($token, 'cas', 1));
    check('cas with an old value is not', !$client->cas($token, 'cas', 2));
    equal('and the result code says why', $client->getResultCode(), Memcached::RES_DATA_EXISTS);
    check('cas of a missing key is a miss', !$client->cas($token, 'missing', 2));
    $client->set('race', 0);
    $lost = (int) ask('race race ' . RACE_ROUNDS)[0];
    equal('two processes lose no increment', $client->get('race'), 2 * RACE_ROUNDS);
    check('they did meet', $lost > 0, 'no round was lost');
}

function check_counters(Memcached $client): void
{
    global $is_binary;
    $client->set('counter', 10);
    equal('increment adds', $client->increment('counter', 5), 15);
    equal('decrement subtracts', $client->decrement('counter', 6), 9);
    equal('a counter reads as a number', $client->get('counter'), 9);
    equal('decrement stops at 0', $client->decrement('counter', 100), 0);
    equal('increment of a missing key is a miss', $client->increment('none'), false);
    if ($is_binary) {
        equal('increment of a missing key stores the default', $client->increment('made', 1, 7), 7);
    }
    $client->set('counter', '18446744073709551615');
    equal('increment wraps at 64 bits', $client->increment('counter', 2), 1);
    $client->set('counter', 'word');
    equal('increment of a word is refused', $client->increment('counter'), false);
}

function check_time(Memcached $client): void
{
    global $is_binary;
    $client->set('short', 1, 2);
    $client->set('absolute', 1, time() + 2);
    $client->set('touched', 1, 2);
    $client->set('shortened', 1, 100);
    $client->set('forever', 1);
    equal('a value lives until it expires', $client->get('short'), 1);
    check('touch finds the key', $client->touch('touched', 100));
    check('touch can shorten', $client->touch('shortened', 2));
    check('touch of a missing key is a miss', !$client->touch('missing', 100));
    $client->set('past', 1, -1);
    usleep(SLEEP_MICROSECONDS);
    equal('a relative time ends', $client->get('short'), false);
    equal('an absolute time ends', $client->get('absolute'), false);
    equal('touch kept its key', $client->get('touched'), 1);
    equal('touch shortened its key', $client->get('shortened'), false);
    equal('no time is for ever', $client->get('forever'), 1);
    // Binary times have no sign: -1 is a second in the year 2106.
    equal('a negative time is over, if not binary', $client->get('past'), $is_binary ? 1 : false);
}

function check_admin(Memcached $client): void
{
    $stats = current($client->getStats());
    check('stats has what others read', $stats['curr_items'] > 0 && isset($stats['get_hits']), $stats);
    check('stats settings answers', isset(current($client->getStats('settings'))['maxbytes']));
    check('version is a number', str_starts_with(current($client->getVersion()), '1.'), $client->getVersion());
    check('flush answers', $client->flush());
    equal('flush empties', $client->get('forever'), false);
}

function check_restart(Memcached $client): void
{
    $client->set('kept', 1);
    ask('restart 0');
    check('after a restart the same client stores again', until(fn() => $client->set('again', 2)));
    equal('and reads it', $client->get('again'), 2);
    equal('and the cache was empty', $client->get('kept'), false);
    equal('as the result code says', $client->getResultCode(), Memcached::RES_NOTFOUND);
}

function check_nodes(string $one, string $two): void
{
    $client = connect($one, $two);
    $client->setOption(Memcached::OPT_REMOVE_FAILED_SERVERS, true);
    $client->setOption(Memcached::OPT_SERVER_FAILURE_LIMIT, 1);
    $client->setOption(Memcached::OPT_DEAD_TIMEOUT, DEAD_SECONDS);
    $values = [];
    for ($number = 0; $number < NODE_KEYS; $number++) {
        $values["node:$number"] = $number;
    }
    $keys = array_keys($values);
    check('two nodes: every key is stored', $client->setMulti($values));
    equal('two nodes: every key is found', sorted($client->getMulti($keys)), sorted($values));
    $on_one = sorted(connect($one)->getMulti($keys));
    $on_two = sorted(connect($two)->getMulti($keys));
    check(
        'two nodes: each holds its part',
        $on_one && $on_two && !array_intersect_key($on_one, $on_two) && count($on_one + $on_two) === NODE_KEYS,
        [count($on_one), count($on_two)]
    );
    ask('stop 2');
    $found = array_filter($values, fn($value, $key) => $client->get($key) === $value, ARRAY_FILTER_USE_BOTH);
    equal("a node dies: the other's keys stay", sorted($found), $on_one);
    $stored = array_filter($keys, fn($key) => until(fn() => $client->set($key, $values[$key])));
    equal('a node dies: the other takes its keys', count($stored), NODE_KEYS);
    equal('a node dies: every key is found again', sorted($client->getMulti($keys)), sorted($values));
    ask('start 2');
    usleep((DEAD_SECONDS * 10 + 12) * 100000);
    $stored = array_filter($keys, fn($key) => until(fn() => $client->set($key, $values[$key])));
    equal('the node is back: every key is stored', count($stored), NODE_KEYS);
    equal('the node is back: it has the keys it had', sorted(connect($two)->getMulti($keys)), $on_two);
}

function run_race(string $server, string $key, int $count): void
{
    $client = connect($server);
    fwrite(STDOUT, "ready\n");
    fgets(STDIN);
    $lost = 0;
    for ($round = 0; $round < $count; $round++) {
        while (!increment($client, $key)) {
            $lost++;
        }
    }
    fwrite(STDOUT, "lost $lost\n");
}

if ($words[0] === 'race') {
    run_race($words[1], $words[2], (int) $words[3]);
    exit(0);
}
$client = connect($words[0]);
check_values($client);
check_many($client, $words[0]);
check_sizes($client);
check_cas($client);
check_counters($client);
check_time($client);
check_admin($client);
check_restart($client);
check_nodes($words[1], $words[2]);
fwrite(STDOUT, "end\n");
