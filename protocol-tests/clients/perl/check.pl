#!/usr/bin/perl
# Cache::Memcached::Fast: the text protocol in C, ketama points for two nodes.

use v5.36;
use Cache::Memcached::Fast ();
use Time::HiRes qw(sleep);

use constant {
    KEYS          => 500,
    NODE_KEYS     => 200,
    RACE_ROUNDS   => 1000,
    MIB           => 1 << 20,
    LARGEST       => ( 1 << 20 ) - 100,
    SLEEP_SECONDS => 3.2,
};

$| = 1;

sub check ( $text, $is_right, $detail = '' ) {
    say $is_right ? "ok - $text" : substr( "not ok - $text: $detail", 0, 300 );
}

sub equal ( $text, $got, $wanted ) {
    my $is_right = defined $got && defined $wanted ? $got eq $wanted : !defined $got && !defined $wanted;
    check( $text, $is_right, sprintf 'got %s, not %s', $got // 'undef', $wanted // 'undef' );
}

# Two hashes as one comparable text.
sub flat ($hash) {
    return join ',', map {"$_=$hash->{$_}"} sort keys %$hash;
}

sub ask ($line) {
    say $line;
    my ( $word, @rest ) = split ' ', scalar <STDIN>;
    die 'no answer' unless $word eq 'done';
    return @rest;
}

sub until_true ($call) {
    for ( 1 .. 50 ) {
        return 1 if $call->();
        sleep 0.1;
    }
    return 0;
}

sub connect_to (@servers) {
    # max_size is put out of the way: the server is to refuse.
    return Cache::Memcached::Fast->new( {
        servers         => \@servers,
        ketama_points   => 150,
        connect_timeout => 2,
        io_timeout      => 5,
        max_size        => 4 * MIB,
    } );
}

# In list context the client returns an empty list for a miss.
sub get ( $client, $key ) {
    return scalar $client->get($key);
}

sub check_values ($client) {
    my $bytes = "END\r\n\0\r\nVALUE x 0 1\r\n" . join '', map {chr} 0 .. 255;
    check( 'set stores', $client->set( 'a', 'one' ) );
    equal( 'get returns what was set', get( $client, 'a' ), 'one' );
    $client->set( 'hash', { a => [ 1, 2 ] } );
    equal( 'flags bring a reference back', get( $client, 'hash' )->{a}[1], 2 );
    equal( 'get of a missing key is a miss', get( $client, 'missing' ), undef );
    $client->set( 'binary', $bytes );
    equal( 'a value may hold any byte', get( $client, 'binary' ), $bytes );
    $client->set( 'empty', '' );
    equal( 'a value may be empty', get( $client, 'empty' ), '' );
    $client->set( 'k' x 250, 'long' );
    equal( 'a key may have 250 bytes', get( $client, 'k' x 250 ), 'long' );
    check( 'a key of 251 bytes is refused', !$client->set( 'k' x 251, 'x' ) );
    equal( 'the client works on after it', get( $client, 'a' ), 'one' );
    check( 'add stores a new key',        $client->add( 'new', 1 ) );
    check( 'add refuses a known key',     !$client->add( 'new', 2 ) );
    check( 'replace stores a known key',  $client->replace( 'new', 3 ) );
    check( 'replace refuses a new key',   !$client->replace( 'other', 1 ) );
    check( 'append stores',               $client->append( 'new', 4 ) );
    check( 'prepend stores',              $client->prepend( 'new', 2 ) );
    equal( 'append and prepend add to both ends', get( $client, 'new' ), '234' );
    check( 'append refuses a new key', !$client->append( 'other', 1 ) );
    check( 'delete of a known key',    $client->delete('new') );
    check( 'delete of a missing key',  !$client->delete('new') );
}

sub check_many ( $client, $server ) {
    my %values  = map { ( "many:$_" => "value $_" ) } 0 .. KEYS - 1;
    my @missing = map {"none:$_"} 0 .. KEYS - 1;
    my @stored  = $client->set_multi( map { [ $_, $values{$_} ] } keys %values );
    equal( 'set_multi stores ' . KEYS . ' keys', scalar( grep {$_} @stored ), KEYS );
    equal( 'get_multi returns ' . KEYS . ' keys', flat( $client->get_multi( keys %values ) ), flat( \%values ) );
    equal( 'get_multi leaves out what is missing',
        flat( $client->get_multi( @missing, keys %values ) ), flat( \%values ) );
    my %tokens = map { ( $_->[0] => 1 ) } values %{ $client->gets_multi( keys %values ) };
    equal( 'gets_multi returns a cas value of its own for each', scalar( keys %tokens ), KEYS );
    my @deleted = $client->delete_multi( keys %values );
    equal( 'delete_multi deletes them all', scalar( grep {$_} @deleted ), KEYS );
    equal( 'and none is found', flat( $client->get_multi( keys %values ) ), '' );
    my $quiet = Cache::Memcached::Fast->new( { servers => [$server], nowait => 1, io_timeout => 5 } );
    $quiet->set( $_, $values{$_} ) for keys %values;
    $quiet->nowait_push;
    equal( KEYS . ' sets without an answer are all done',
        flat( $client->get_multi( keys %values ) ), flat( \%values ) );
}

sub check_sizes ($client) {
    my $noise   = join '', map { pack 'N', int rand 2**32 } 1 .. MIB / 2;
    my $largest = substr $noise, 0, LARGEST;
    check( 'the largest value is stored',   $client->set( 'large', $largest ) );
    check( 'the largest value comes back',  get( $client, 'large' ) eq $largest );
    check( '1 MiB is refused', !$client->set( 'large', substr $noise, 0, MIB ) );
    equal( 'a refused set leaves no old value', get( $client, 'large' ), undef );
    check( '2 MiB is refused', !$client->set( 'large', $noise ) );
    check( 'the client works on after it', until_true( sub { $client->set( 'large', 'small' ) } ) );
    equal( 'and reads it', get( $client, 'large' ), 'small' );
}

sub check_cas ($client) {
    $client->set( 'cas', 0 );
    my $token = $client->gets('cas')->[0];
    check( 'cas with the current value is stored', $client->cas( 'cas', $token, 1 ) );
    my $answer = $client->cas( 'cas', $token, 2 );
    check( 'cas with an old value is not', defined $answer && !$answer );
    check( 'cas of a missing key is a miss', !$client->cas( 'missing', $token, 2 ) );
    $client->set( 'race', 0 );
    my ($lost) = ask( 'race race ' . RACE_ROUNDS );
    equal( 'two processes lose no increment', get( $client, 'race' ), 2 * RACE_ROUNDS );
    check( 'they did meet', $lost > 0, 'no round was lost' );
}

sub check_counters ($client) {
    $client->set( 'counter', 10 );
    equal( 'incr adds', $client->incr( 'counter', 5 ), 15 );
    equal( 'decr subtracts', $client->decr( 'counter', 6 ), 9 );
    equal( 'decr stops at 0', $client->decr( 'counter', 100 ), '0E0' );
    my $answer = $client->incr('none');
    check( 'incr of a missing key is a miss', defined $answer && !$answer );
    $client->set( 'counter', '18446744073709551615' );
    equal( 'incr wraps at 64 bits', $client->incr( 'counter', 2 ), 1 );
    $client->set( "counter:$_", $_ ) for 1 .. 9;
    equal( 'incr_multi adds to each', join( ' ', $client->incr_multi( map { [ "counter:$_", $_ ] } 1 .. 9 ) ),
        '2 4 6 8 10 12 14 16 18' );
    $client->set( 'counter', 'word' );
    equal( 'incr of a word is refused', scalar $client->incr('counter'), undef );
}

sub check_time ($client) {
    $client->set( 'short',     1, 2 );
    $client->set( 'absolute',  1, time + 2 );
    $client->set( 'touched',   1, 2 );
    $client->set( 'gotten',    1, 2 );
    $client->set( 'shortened', 1, 100 );
    $client->set( 'forever',   1 );
    equal( 'a value lives until it expires', get( $client, 'short' ), 1 );
    check( 'touch finds the key', $client->touch( 'touched', 100 ) );
    equal( 'gat returns the value', $client->gat( 100, 'gotten' ), 1 );
    equal( 'gats returns its cas value', $client->gats( 100, 'gotten' )->[0], $client->gets('gotten')->[0] );
    equal( 'gat_multi returns what is there', flat( $client->gat_multi( 100, 'gotten', 'missing' ) ), 'gotten=1' );
    check( 'touch can shorten', $client->touch( 'shortened', 2 ) );
    check( 'touch of a missing key is a miss', !$client->touch( 'missing', 100 ) );
    sleep SLEEP_SECONDS;
    equal( 'a relative time ends',     get( $client, 'short' ),     undef );
    equal( 'an absolute time ends',    get( $client, 'absolute' ),  undef );
    equal( 'touch kept its key',       get( $client, 'touched' ),   1 );
    equal( 'gat kept its key',         get( $client, 'gotten' ),    1 );
    equal( 'touch shortened its key',  get( $client, 'shortened' ), undef );
    equal( 'no time is for ever',      get( $client, 'forever' ),   1 );
}

sub check_admin ($client) {
    my ($version) = values %{ $client->server_versions };
    check( 'version is a number', $version =~ /^1\./, $version );
    my ($is_flushed) = values %{ $client->flush_all };
    check( 'flush_all answers', $is_flushed );
    equal( 'flush_all empties', get( $client, 'forever' ), undef );
}

sub check_restart ($client) {
    $client->set( 'kept', 1 );
    ask('restart 0');
    check( 'after a restart the same client stores again', until_true( sub { $client->set( 'again', 2 ) } ) );
    equal( 'and reads it', get( $client, 'again' ), 2 );
    equal( 'and the cache was empty', get( $client, 'kept' ), undef );
}

# This client has no failover: a dead node's keys are misses until it is back.
sub check_nodes ( $one, $two ) {
    my $client = connect_to( $one, $two );
    my %values = map { ( "node:$_" => $_ ) } 0 .. NODE_KEYS - 1;
    my @keys   = sort keys %values;
    my @stored = $client->set_multi( map { [ $_, $values{$_} ] } @keys );
    equal( 'two nodes: every key is stored', scalar( grep {$_} @stored ), NODE_KEYS );
    equal( 'two nodes: every key is found', flat( $client->get_multi(@keys) ), flat( \%values ) );
    my $on_one = connect_to($one)->get_multi(@keys);
    my $on_two = connect_to($two)->get_multi(@keys);
    check( 'two nodes: each holds its part',
        %$on_one && %$on_two && flat( { %$on_one, %$on_two } ) eq flat( \%values )
            && keys(%$on_one) + keys(%$on_two) == NODE_KEYS );
    ask('stop 2');
    my %found = map { my $value = get( $client, $_ ); defined $value ? ( $_ => $value ) : () } @keys;
    equal( "a node dies: the other's keys stay", flat( \%found ), flat($on_one) );
    equal( 'a node dies: get_multi returns the rest', flat( $client->get_multi(@keys) ), flat($on_one) );
    my @kept = grep { $client->set( $_, $values{$_} ) } @keys;
    equal( 'a node dies: its keys are not stored', "@kept", join ' ', sort keys %$on_one );
    ask('start 2');
    my ($lost) = sort keys %$on_two;
    until_true( sub { $client->set( $lost, $values{$lost} ) } );
    equal( 'the node is back: every key is stored', scalar( grep { $client->set( $_, $values{$_} ) } @keys ), NODE_KEYS );
    equal( 'the node is back: it has the keys it had', flat( connect_to($two)->get_multi(@keys) ), flat($on_two) );
}

sub run_race ( $server, $key, $count ) {
    my $client = connect_to($server);
    say 'ready';
    <STDIN>;
    my $lost = 0;
    for ( 1 .. $count ) {
        while (1) {
            my ( $token, $value ) = @{ $client->gets($key) };
            last if $client->cas( $key, $token, $value + 1 );
            $lost++;
        }
    }
    say "lost $lost";
}

if ( $ARGV[0] eq 'race' ) {
    run_race( @ARGV[ 1 .. 3 ] );
    exit;
}
my $client = connect_to( $ARGV[0] );
check_values($client);
check_many( $client, $ARGV[0] );
check_sizes($client);
check_cas($client);
check_counters($client);
check_time($client);
check_admin($client);
check_restart($client);
check_nodes( @ARGV[ 1, 2 ] );
say 'end';
