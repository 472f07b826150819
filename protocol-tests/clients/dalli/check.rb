# frozen_string_literal: true

# Ruby dalli: the binary protocol, a ring of 160 points a server for two nodes.

require 'logger'
require 'dalli'

$stdout.sync = true
# dalli says on its logger, which is standard output, which server it lost.
Dalli.logger = Logger.new($stderr, level: :warn)

KEYS = 500
NODE_KEYS = 200
RACE_ROUNDS = 1000
MIB = 1 << 20
LARGEST = MIB - 100
SLEEP_SECONDS = 3.2
BINARY = "END\r\n\0\r\nVALUE x 0 1\r\n".b + (0..255).to_a.pack('C*')
NOISE = Random.new(1).bytes(2 * MIB)
RAW = { raw: true }.freeze

def check(text, is_right, detail = '')
  puts is_right ? "ok - #{text}" : "not ok - #{text}: #{detail}"[0, 300]
end

def equal(text, got, wanted)
  check(text, got == wanted, "got #{got.inspect}, not #{wanted.inspect}")
end

def refuses(text, kind)
  got = yield
  check(text, false, "returned #{got.inspect}")
rescue kind
  check(text, true)
rescue StandardError => e
  check(text, false, "raised #{e.inspect}")
end

def ask(line)
  puts line
  words = $stdin.gets.split
  raise words.inspect unless words.shift == 'done'

  words
end

def settle
  yield
rescue Dalli::DalliError
  nil
end

def connect(*servers, **options)
  # The limits of the client are put out of the way: the server is to refuse.
  Dalli::Client.new(servers, compress: false, value_max_bytes: 4 * MIB, socket_timeout: 5, **options)
end

def check_values(client)
  check('set stores', client.set('a', 'one'))
  equal('get returns what was set', client.get('a'), 'one')
  client.set('object', { a: [1, 'é'] })
  equal('flags bring an object back', client.get('object'), { a: [1, 'é'] })
  equal('get of a missing key is a miss', client.get('missing'), nil)
  client.set('binary', BINARY, nil, RAW)
  equal('a value may hold any byte', client.get('binary', RAW).b, BINARY)
  client.set('empty', '', nil, RAW)
  equal('a value may be empty', client.get('empty', RAW), '')
  client.set('k' * 250, 'long')
  equal('a key may have 250 bytes', client.get('k' * 250), 'long')
  client.set('k' * 500, 'hashed')
  equal('a longer key is hashed by the client', client.get('k' * 500), 'hashed')
  check('add stores a new key', client.add('new', '1', nil, RAW))
  check('add refuses a known key', !client.add('new', '2', nil, RAW))
  check('replace stores a known key', client.replace('new', '3', nil, RAW))
  # A miss is answered with cas value 0, which this dalli hands on.
  equal('replace refuses a new key', client.replace('other', '1', nil, RAW), 0)
  check('append stores', client.append('new', '4'))
  check('prepend stores', client.prepend('new', '2'))
  equal('append and prepend add to both ends', client.get('new', RAW), '234')
  check('append refuses a new key', !client.append('other', '1'))
  check('delete of a known key', client.delete('new'))
  check('delete of a missing key', !client.delete('new'))
end

def check_many(client)
  values = (0...KEYS).to_h { |number| ["many:#{number}", "value #{number}"] }
  client.multi { values.each { |key, value| client.set(key, value) } }
  equal("get_multi returns #{KEYS} keys that were set quietly", client.get_multi(*values.keys), values)
  missing = (0...KEYS).map { |number| "none:#{number}" }
  equal('get_multi leaves out what is missing', client.get_multi(*missing, *values.keys), values)
  tokens = client.get_multi_cas(*values.keys).values.map(&:last).uniq
  equal('get_multi_cas returns a cas value of its own for each', tokens.size, KEYS)
  client.multi { values.each_key { |key| client.delete(key) } }
  equal('quiet deletes delete them all', client.get_multi(*values.keys), {})
end

def check_sizes(client)
  check('the largest value is stored', client.set('large', NOISE[0, LARGEST], nil, RAW))
  check('the largest value comes back', client.get('large', RAW).b == NOISE[0, LARGEST])
  refuses('1 MiB is refused', Dalli::DalliError) { client.set('large', NOISE[0, MIB], nil, RAW) }
  equal('a refused set leaves no old value', client.get('large', RAW), nil)
  refuses('2 MiB is refused', Dalli::DalliError) { client.set('large', NOISE, nil, RAW) }
  check('the client works on after it', client.set('large', 'small') && client.get('large') == 'small')
end

def check_cas(client)
  client.set('cas', 0)
  _, token = client.get_cas('cas')
  new_token = client.set_cas('cas', 1, token)
  check('set_cas with the current value is stored', new_token)
  equal('it returns the next cas value', client.get_cas('cas'), [1, new_token])
  check('set_cas with an old value is not', !client.set_cas('cas', 2, token))
  check('replace_cas with an old value is not', !client.replace_cas('cas', 2, token))
  equal('set_cas of a missing key is a miss', client.set_cas('missing', 2, token), 0)
  check('delete_cas with an old value is refused', !client.delete_cas('cas', token))
  check('delete_cas with the current value deletes', client.delete_cas('cas', new_token))
  equal('cas of a missing key yields nothing', client.cas('cas') { 1 }, nil)
  client.set('race', 0)
  lost = Integer(ask("race race #{RACE_ROUNDS}").first)
  equal('two processes lose no increment', client.get('race'), 2 * RACE_ROUNDS)
  check('they did meet', lost.positive?, 'no round was lost')
end

def check_counters(client)
  client.set('counter', '10', nil, RAW)
  equal('incr adds', client.incr('counter', 5), 15)
  equal('decr subtracts', client.decr('counter', 6), 9)
  equal('a counter reads as its digits', client.get('counter', RAW), '9 ')
  equal('decr stops at 0', client.decr('counter', 100), 0)
  equal('incr of a missing key is a miss', client.incr('none'), nil)
  equal('incr of a missing key stores the default', client.incr('made', 1, nil, 7), 7)
  client.set('counter', '18446744073709551615', nil, RAW)
  equal('incr wraps at 64 bits', client.incr('counter', 2), 1)
  client.set('counter', 'word', nil, RAW)
  refuses('incr of a word is refused', Dalli::DalliError) { client.incr('counter') }
end

def check_time(client)
  client.set('short', 1, 2)
  client.set('absolute', 1, Time.now.to_i + 2)
  client.set('touched', 1, 2)
  client.set('gotten', 1, 2)
  client.set('shortened', 1, 100)
  client.incr('counted', 1, 2, 5)
  client.set('forever', 1)
  equal('a value lives until it expires', client.get('short'), 1)
  check('touch finds the key', client.touch('touched', 100))
  equal('gat returns the value', client.gat('gotten', 100), 1)
  check('touch can shorten', client.touch('shortened', 2))
  check('touch of a missing key is a miss', !client.touch('missing', 100))
  equal('gat of a missing key is a miss', client.gat('missing', 100), nil)
  sleep SLEEP_SECONDS
  equal('a relative time ends', client.get('short'), nil)
  equal('an absolute time ends', client.get('absolute'), nil)
  equal('touch kept its key', client.get('touched'), 1)
  equal('gat kept its key', client.get('gotten'), 1)
  equal('touch shortened its key', client.get('shortened'), nil)
  equal('a counter made by incr ends', client.get('counted', RAW), nil)
  equal('no time is for ever', client.get('forever'), 1)
end

def check_admin(client)
  stats = client.stats.values.first
  check('stats has what others read', stats['curr_items'].to_i.positive? && stats.key?('get_hits'), stats)
  check('stats settings answers', client.stats(:settings).values.first.key?('maxbytes'))
  check('stats items answers', client.stats(:items).values.first.keys.any? { |key| key.start_with?('items:') })
  check('stats slabs answers', client.stats(:slabs).values.first.key?('active_slabs'))
  check('version is a number', client.version.values.first.start_with?('1.'), client.version)
  equal('flush answers', client.flush, [true])
  equal('flush empties', client.get('forever'), nil)
end

def check_restart(client)
  client.set('kept', 1)
  ask('restart 0')
  check('after a restart the same client stores again', (1..50).any? do
    settle { client.set('again', 2) } || (sleep(0.1) && nil)
  end)
  equal('and reads it', client.get('again'), 2)
  equal('and the cache was empty', client.get('kept'), nil)
end

def check_nodes(one, two)
  client = connect(one, two, down_retry_delay: 1, socket_failure_delay: 0.05)
  values = (0...NODE_KEYS).to_h { |number| ["node:#{number}", number] }
  check('two nodes: every key is stored', values.all? { |key, value| client.set(key, value) })
  equal('two nodes: every key is found', client.get_multi(*values.keys), values)
  on_one = connect(one).get_multi(*values.keys).keys.sort
  on_two = connect(two).get_multi(*values.keys).keys.sort
  check('two nodes: each holds its part',
        on_one.any? && on_two.any? && (on_one & on_two).empty? && on_one.size + on_two.size == NODE_KEYS,
        "#{on_one.size} and #{on_two.size}")
  ask('stop 2')
  found = values.keys.reject { |key| settle { client.get(key) }.nil? }
  equal("a node dies: the other's keys stay", found.sort, on_one)
  check('a node dies: the other takes its keys', values.all? { |key, value| settle { client.set(key, value) } })
  equal('a node dies: every key is found again', client.get_multi(*values.keys), values)
  ask('start 2')
  sleep 1.2
  check('the node is back: every key is stored', values.all? { |key, value| client.set(key, value) })
  equal('the node is back: it has the keys it had', connect(two).get_multi(*values.keys).keys.sort, on_two)
end

def run_race(server, key, count)
  client = connect(server)
  puts 'ready'
  $stdin.gets
  lost = 0
  count.times { lost += 1 until client.cas(key) { |value| value + 1 } }
  puts "lost #{lost}"
end

if ARGV.first == 'race'
  run_race(ARGV[1], ARGV[2], Integer(ARGV[3]))
else
  client = connect(ARGV[0])
  check_values(client)
  check_many(client)
  check_sizes(client)
  check_cas(client)
  check_counters(client)
  check_time(client)
  check_admin(client)
  check_restart(client)
  check_nodes(ARGV[1], ARGV[2])
  puts 'end'
end
