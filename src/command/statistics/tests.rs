//! The lists against those of memcached 1.6.45, and the selection of sub-commands.

use super::super::admin_testing::{Fixture, NOW, text};
use super::super::output::Output;
use super::classes::{items_of, slabs_of};
use super::*;
use crate::stats::connections::{ConnectionEntry, ConnectionState};
use crate::store::snapshot::{ClassSnapshot, Snapshot};
use crate::store::{self, Policy, Tuning};

/// Names of `stats` of memcached 1.6.45 without options, in its order.
const NAMES: &str = "pid uptime time version libevent pointer_size rusage_user rusage_system max_connections \
    curr_connections total_connections rejected_connections connection_structures response_obj_oom \
    response_obj_count response_obj_bytes read_buf_count read_buf_bytes read_buf_bytes_free read_buf_oom \
    reserved_fds cmd_get cmd_set cmd_flush cmd_touch cmd_meta get_hits get_misses get_expired get_flushed \
    delete_misses delete_hits incr_misses incr_hits decr_misses decr_hits cas_misses cas_hits cas_badval \
    touch_hits touch_misses store_too_large store_no_memory auth_cmds auth_errors bytes_read bytes_written \
    limit_maxbytes accepting_conns listen_disabled_num time_in_listen_disabled_us threads conn_yields \
    hash_power_level hash_bytes hash_is_expanding slab_reassign_rescues slab_reassign_chunk_rescues \
    slab_reassign_inline_reclaim slab_reassign_busy_items slab_reassign_busy_deletes slab_reassign_busy_nomem \
    slab_reassign_last_busy_status slab_reassign_running slabs_moved lru_crawler_running lru_crawler_starts \
    lru_maintainer_juggles malloc_fails log_worker_dropped log_worker_written log_watcher_skipped \
    log_watcher_sent log_watchers unexpected_napi_ids round_robin_fallback bytes curr_items total_items \
    slab_global_page_pool expired_unfetched evicted_unfetched evicted_active evictions reclaimed \
    crawler_reclaimed crawler_items_checked lrutail_reflocked moves_to_cold moves_to_warm moves_within_lru \
    direct_reclaims lru_bumps_dropped";

/// Missing with `-o no_lru_crawler,no_lru_maintainer`.
const CRAWLER_AND_MAINTAINER: &str = "lru_crawler_running lru_crawler_starts lru_maintainer_juggles \
    evicted_active moves_to_cold moves_to_warm moves_within_lru direct_reclaims lru_bumps_dropped";

/// Missing with `-o no_modern`, besides those.
const MODERN: &str = "rejected_connections slab_reassign_rescues slab_reassign_chunk_rescues \
    slab_reassign_inline_reclaim slab_reassign_busy_items slab_reassign_busy_deletes slab_reassign_busy_nomem \
    slab_reassign_last_busy_status slab_reassign_running slabs_moved";

fn stats(fixture: &Fixture, line: &str) -> String {
    let tokens: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
    let mut output = Output::new();
    fixture.with(|context| execute(&tokens, &mut output, context));
    text(&mut output)
}

fn names(reply: &str) -> Vec<&str> {
    reply.lines().filter_map(|line| line.strip_prefix("STAT ")?.split(' ').next()).collect()
}

fn value<'a>(reply: &'a str, name: &str) -> &'a str {
    reply
        .lines()
        .find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("{name} is missing"))
}

#[track_caller]
fn check_names(fixture: &Fixture, expected: &[&str], count: usize) {
    let reply = stats(fixture, "stats");
    assert_eq!(names(&reply), expected);
    assert_eq!(expected.len(), count);
    assert!(reply.ends_with("\r\nEND\r\n"));
    assert_eq!(reply.matches("\r\n").count(), reply.matches('\n').count());
}

fn without<'a>(names: &[&'a str], missing: &str) -> Vec<&'a str> {
    let missing: Vec<&str> = missing.split_whitespace().collect();
    names.iter().copied().filter(|name| !missing.contains(name)).collect()
}

#[test]
fn the_general_list_is_memcacheds_for_four_sets_of_options() {
    let all: Vec<&str> = NAMES.split_whitespace().collect();
    let mut fixture = Fixture::new();
    check_names(&fixture, &all, 93);

    fixture.service.config.idle_timeout_seconds = 30;
    let mut with_idle = all.clone();
    let position = all.iter().position(|name| *name == "bytes_read").unwrap();
    with_idle.insert(position, "idle_kicks");
    check_names(&fixture, &with_idle, 94);

    let tuning = Tuning { has_crawler: false, has_maintainer: false, ..Tuning::default() };
    let plain = without(&all, CRAWLER_AND_MAINTAINER);
    let fixture = Fixture::with_store(store::Config { tuning: tuning.clone(), ..store::Config::default() });
    check_names(&fixture, &plain, 84);

    let mut fixture =
        Fixture::with_store(store::Config { tuning, has_slab_reassign: false, ..store::Config::default() });
    fixture.service.config.is_maxconns_fast = false;
    check_names(&fixture, &without(&plain, MODERN), 74);
}

#[test]
fn rows_have_distinct_names_and_help() {
    let mut names: Vec<&str> = general::STATISTICS.iter().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), general::STATISTICS.len());
    for row in general::STATISTICS {
        assert!(row.help.ends_with('.'), "{}", row.name);
    }
}

#[test]
fn general_values_come_from_their_sources() {
    let fixture = Fixture::new();
    let service = &fixture.service;
    service.workers[0].auth_cmds.add(2);
    service.workers[3].auth_cmds.add(3);
    service.connections.is_accepting.store(1, Ordering::Relaxed);
    for descriptor in [26, 27] {
        service.connections.open(entry(descriptor, "tcp:a"));
    }
    service.store.count(1, |_, counters| counters.get_misses += 4);
    fixture.set(b"key", b"value", 0, 0, false);
    let reply = stats(&fixture, "stats");
    for (name, expected) in [
        ("uptime", "40"),
        ("time", "1700000100"),
        ("version", "1.6.45"),
        ("pointer_size", "64"),
        ("max_connections", "1024"),
        ("curr_connections", "1"),
        ("total_connections", "2"),
        ("connection_structures", "2"),
        ("response_obj_count", "1"),
        ("reserved_fds", "20"),
        ("cmd_get", "4"),
        ("get_misses", "4"),
        ("auth_cmds", "5"),
        ("limit_maxbytes", "67108864"),
        ("accepting_conns", "1"),
        ("threads", "4"),
        ("slab_reassign_last_busy_status", "none"),
        ("curr_items", "1"),
        ("total_items", "1"),
        ("log_watchers", "0"),
    ] {
        assert_eq!(value(&reply, name), expected, "{name}");
    }
    let (_, micros) = value(&reply, "rusage_user").split_once('.').unwrap();
    assert_eq!(micros.len(), 6);
}

#[test]
fn reset_keeps_the_present_state() {
    let fixture = Fixture::new();
    let service = &fixture.service;
    service.workers[1].cmd_flush.add(2);
    service.connections.open(entry(26, "tcp:a"));
    service.connections.open(entry(27, "tcp:b"));
    service.prefixes.set_enabled(true);
    service.prefixes.record_set(b"a:b");
    fixture.set(b"key", b"value", 0, 0, false);
    assert_eq!(stats(&fixture, "stats r"), "RESET\r\n");
    let reply = stats(&fixture, "stats");
    for (name, expected) in [
        ("cmd_flush", "0"),
        ("total_connections", "0"),
        ("curr_connections", "1"),
        ("total_items", "0"),
        ("curr_items", "1"),
    ] {
        assert_eq!(value(&reply, name), expected, "{name}");
    }
    assert_eq!(stats(&fixture, "stats detail dump"), "END\r\n");
    assert!(service.prefixes.is_enabled());
}

#[track_caller]
fn check(line: &str, expected: &str) {
    assert_eq!(stats(&Fixture::new(), line), expected, "{line}");
}

#[test]
fn sub_commands_are_selected_as_in_memcached() {
    check("stats reset now", "RESET\r\n");
    check("stats resets", "ERROR\r\n");
    check("stats foo", "ERROR\r\n");
    check("stats noreply", "ERROR\r\n");
    check("stats extstore", "ERROR\r\n");
    check("stats item", "ERROR\r\n");
    check("stats items", "END\r\n");
    check("stats items x", "END\r\n");
    check("stats co", "END\r\n");
    check("stats sizes", "STAT sizes_status disabled\r\nEND\r\n");
    check("stats sizes_enable", "ERROR\r\n");
    check("stats d on", "OK\r\n");
    check("stats d o", "OK\r\n");
    check("stats detail off x", "OK\r\n");
    check("stats detail du", "END\r\n");
    check("stats detail", "CLIENT_ERROR usage: stats detail on|off|dump\r\n");
    check("stats detail x", "CLIENT_ERROR usage: stats detail on|off|dump\r\n");
    check("stats cachedump 1 0 0", "END\r\n");
    check("stats c 1 0", "END\r\n");
    check("stats cachedump 1", "CLIENT_ERROR bad command line\r\n");
    check("stats cachedump 1 x", "CLIENT_ERROR bad command line format\r\n");
    check("stats cachedump -1 1", "CLIENT_ERROR bad command line format\r\n");
    check("stats cachedump 200 0", "CLIENT_ERROR Illegal slab id\r\n");
    check("stats cachedump 63 0", "END\r\n");
    check("stats cachedump 64 0", "CLIENT_ERROR Illegal slab id\r\n");
}

#[test]
fn dumping_can_be_forbidden() {
    let mut fixture = Fixture::new();
    fixture.service.config.is_dump_enabled = false;
    for (line, expected) in [
        ("stats detail on", "CLIENT_ERROR stats detail not allowed\r\n"),
        ("stats cachedump 1 0", "CLIENT_ERROR stats cachedump not allowed\r\n"),
    ] {
        assert_eq!(stats(&fixture, line), expected);
    }
}

#[test]
fn sizes_are_listed_when_they_are_tracked() {
    let fixture = Fixture::with_store(store::Config { has_size_tracking: true, ..store::Config::default() });
    assert_eq!(stats(&fixture, "stats sizes"), "END\r\n");
}

#[test]
fn settings_show_live_values() {
    let fixture = Fixture::new();
    let service = &fixture.service;
    service.verbosity.store(2, Ordering::Relaxed);
    service.prefixes.set_enabled(true);
    service.store.tune(|tuning| {
        tuning.policy = Policy::Flat;
        tuning.hot_max_factor = 0.125;
        tuning.has_temp_lru = true;
        tuning.temporary_ttl_seconds = 9;
    });
    let reply = stats(&fixture, "stats s");
    for (name, expected) in [
        ("maxbytes", "67108864"),
        ("verbosity", "2"),
        ("oldest", "0"),
        ("detail_enabled", "yes"),
        ("slab_automove_ratio", "0.80"),
        ("lru_crawler", "yes"),
        ("lru_segmented", "no"),
        ("hot_max_factor", "0.12"),
        ("temp_lru", "yes"),
        ("temporary_ttl", "9"),
    ] {
        assert_eq!(value(&reply, name), expected, "{name}");
    }
}

fn entry(descriptor: i32, address: &str) -> ConnectionEntry {
    ConnectionEntry::new(descriptor, address.into(), "".into(), ConnectionState::Listening, 62)
}

#[test]
fn connections_are_listed_by_descriptor() {
    let fixture = Fixture::new();
    let connections = &fixture.service.connections;
    let client = ConnectionEntry::new(
        27,
        "tcp:127.0.0.1:46486".into(),
        "tcp:127.0.0.1:11211".into(),
        ConnectionState::ParseCommand,
        90,
    );
    client.replies_waiting.store(3, Ordering::Relaxed);
    connections.open(client);
    connections.open(entry(26, "tcp:127.0.0.1:11211"));
    connections.open(entry(25, "udp:0.0.0.0:11211"));
    assert_eq!(
        stats(&fixture, "stats conns"),
        "STAT 25:UDP UDP\r\n\
         STAT 25:addr udp:0.0.0.0:11211\r\n\
         STAT 25:state conn_listening\r\n\
         STAT 25:secs_since_last_cmd 38\r\n\
         STAT 26:addr tcp:127.0.0.1:11211\r\n\
         STAT 26:state conn_listening\r\n\
         STAT 26:secs_since_last_cmd 38\r\n\
         STAT 27:addr tcp:127.0.0.1:46486\r\n\
         STAT 27:listen_addr tcp:127.0.0.1:11211\r\n\
         STAT 27:state conn_parse_cmd\r\n\
         STAT 27:resps_waiting 3\r\n\
         STAT 27:secs_since_last_cmd 10\r\n\
         END\r\n"
    );
}

fn snapshot() -> Snapshot {
    let mut used = ClassSnapshot {
        class: 1,
        chunk_bytes: 96,
        chunks_per_page: 10922,
        pages: 2,
        used_chunks: 3,
        free_chunks: 21841,
        items: [0, 1, 2, 0],
        tail_times: [0, 95, 60, 0],
        mem_requested: 135,
        evicted_time: 7,
        ..ClassSnapshot::default()
    };
    used.counters.hits_to_cold = 4;
    used.counters.hits_to_warm = 1;
    used.counters.cmd_set = 2;
    let emptied = ClassSnapshot {
        class: 2,
        pages: 1,
        chunk_bytes: 120,
        chunks_per_page: 8738,
        free_chunks: 8738,
        ..ClassSnapshot::default()
    };
    let unused = ClassSnapshot { class: 3, ..ClassSnapshot::default() };
    Snapshot { classes: vec![used, emptied, unused], malloced_bytes: 3 << 20, ..Snapshot::default() }
}

fn collect(fill: impl FnOnce(Emit<'_>)) -> String {
    let mut text = String::new();
    fill(&mut |name, value| text += &format!("{name} {value}\n"));
    text
}

#[test]
fn items_list_classes_that_hold_items() {
    let all = collect(|emit| items_of(&snapshot(), &Tuning::default(), NOW, emit));
    assert_eq!(
        all.replace("items:1:", ""),
        "number 3\nnumber_hot 0\nnumber_warm 1\nnumber_cold 2\nage_hot 0\nage_warm 5\nage 40\nmem_requested 135\n\
         evicted 0\nevicted_nonzero 0\nevicted_time 7\noutofmemory 0\ntailrepairs 0\nreclaimed 0\n\
         expired_unfetched 0\nevicted_unfetched 0\nevicted_active 0\ncrawler_reclaimed 0\n\
         crawler_items_checked 0\nlrutail_reflocked 0\nmoves_to_cold 0\nmoves_to_warm 0\nmoves_within_lru 0\n\
         direct_reclaims 0\nhits_to_hot 0\nhits_to_warm 1\nhits_to_cold 4\nhits_to_temp 0\n"
    );
    let with_temp = Tuning { has_temp_lru: true, ..Tuning::default() };
    let text = collect(|emit| items_of(&snapshot(), &with_temp, NOW, emit));
    assert!(text.contains("items:1:number_cold 2\nitems:1:number_temp 0\nitems:1:age_hot 0\n"));
    let flat = Tuning { has_maintainer: false, has_temp_lru: true, ..Tuning::default() };
    let text = collect(|emit| items_of(&snapshot(), &flat, NOW, emit));
    assert_eq!(
        text.replace("items:1:", ""),
        "number 3\nage 40\nmem_requested 135\nevicted 0\nevicted_nonzero 0\nevicted_time 7\noutofmemory 0\n\
         tailrepairs 0\nreclaimed 0\nexpired_unfetched 0\nevicted_unfetched 0\ncrawler_reclaimed 0\n\
         crawler_items_checked 0\nlrutail_reflocked 0\n"
    );
}

#[test]
fn slabs_list_classes_that_own_pages() {
    let text = collect(|emit| slabs_of(&snapshot(), emit));
    assert_eq!(
        text,
        "1:chunk_size 96\n1:chunks_per_page 10922\n1:total_pages 2\n1:total_chunks 21844\n1:used_chunks 3\n\
         1:free_chunks 21841\n1:free_chunks_end 0\n1:get_hits 5\n1:cmd_set 2\n1:delete_hits 0\n1:incr_hits 0\n\
         1:decr_hits 0\n1:cas_hits 0\n1:cas_badval 0\n1:touch_hits 0\n\
         2:chunk_size 120\n2:chunks_per_page 8738\n2:total_pages 1\n2:total_chunks 8738\n2:used_chunks 0\n\
         2:free_chunks 8738\n2:free_chunks_end 0\n2:get_hits 0\n2:cmd_set 0\n2:delete_hits 0\n2:incr_hits 0\n\
         2:decr_hits 0\n2:cas_hits 0\n2:cas_badval 0\n2:touch_hits 0\n\
         active_slabs 2\ntotal_malloced 3145728\n"
    );
}
