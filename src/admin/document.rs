//! `/stats.json`: the present state, for the dashboard and whoever likes JSON better than lines. docs/metrics.md describes
//! it; [`super::SCHEMA`] counts changes that a reader has to know of.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::stats::observation::{
    LATENCY_BUCKETS, Latencies, ObservedCommand, TTL_BOUNDS_SECONDS, latency_bound_micros,
};
use crate::stats::sampled_prefixes::PrefixCounts;

use super::body::NoMemory;
use super::facts::{ClassFacts, Facts, Shown, is_accepting};
use super::health::Health;
use super::history::History;
use super::json::Json;
use super::warnings;

/// Writes it.
pub(super) fn write(facts: &Facts<'_>, history: &History, health: &Health) -> Result<String, NoMemory> {
    Json::document(|json| {
        json.member("schema", super::SCHEMA);
        identity(facts, health, json);
        hit_ratio(facts, history, json);
        operations(facts, history, json);
        latency(facts, history, json);
        memory(facts, json);
        json.array("classes", |json| {
            facts.classes().for_each(|class| json.item_object(|json| write_class(&class, json)));
        });
        traffic(facts, history, json);
        workers(health, json);
        hot_keys(facts, json);
        prefixes(facts, json);
        stored(facts, json);
        certificate(facts, json);
        settings(facts, json);
        warnings::write(facts, health, json);
        json.member("latest_second", history.newest());
    })
}

fn identity(facts: &Facts<'_>, health: &Health, json: &mut Json) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    json.member("start_id", facts.config.start_id.as_str());
    json.member("version", facts.config.version.as_str());
    json.member("protocol_version", facts.general.text("version"));
    json.member("process_id", facts.general.count("pid"));
    json.member("now_unix", now.as_millis() as f64 / 1000.0);
    json.member("uptime_seconds", facts.general.count("uptime"));
    json.member("is_ready", health.check_ready(facts.service).is_well);
    json.member("is_healthy", health.check().is_well);
}

fn hit_ratio(facts: &Facts<'_>, history: &History, json: &mut Json) {
    let ratio = |hits: f64, misses: f64| (hits + misses > 0.0).then(|| hits / (hits + misses));
    let (hits, misses) = (facts.general.count("get_hits"), facts.general.count("get_misses"));
    let (minute_hits, minute_misses) = history.last_minute_gets();
    json.object("hit_ratio", |json| {
        json.member("total", ratio(hits as f64, misses as f64));
        json.member("minute", ratio(minute_hits, minute_misses));
    });
}

fn operations(facts: &Facts<'_>, history: &History, json: &mut Json) {
    let second = history.last_second();
    let count = |name: &str| facts.general.count(name);
    let cas = count("cas_hits") + count("cas_misses") + count("cas_badval");
    let write = |json: &mut Json, command: &str, total: u64, found: Option<(u64, u64)>, per_second: Option<f64>| {
        json.item_object(|json| {
            json.member("command", command);
            json.member("total", total);
            json.member("hits", found.map(|(hits, _)| hits));
            json.member("misses", found.map(|(_, misses)| misses));
            json.member("per_second", per_second);
        });
    };
    json.array("operations", |json| {
        for command in ["get", "set", "delete", "incr", "decr", "cas", "touch", "flush"] {
            let (hits, misses) = (count(&format!("{command}_hits")), count(&format!("{command}_misses")));
            match command {
                "get" => {
                    let per_second = second.get_hits + second.get_misses;
                    write(json, command, hits + misses, Some((hits, misses)), Some(per_second));
                }
                "set" => write(json, command, count("cmd_set").saturating_sub(cas), None, Some(second.sets)),
                "delete" => write(json, command, hits + misses, Some((hits, misses)), Some(second.deletes)),
                "cas" => write(json, command, cas, Some((hits, misses)), None),
                "flush" => write(json, command, count("cmd_flush"), None, None),
                _ => write(json, command, hits + misses, Some((hits, misses)), None),
            }
        }
    });
}

fn latency(facts: &Facts<'_>, history: &History, json: &mut Json) {
    let (recent, window_seconds) = history.recent(&facts.latencies);
    let samples: u64 = recent.iter().map(|latencies| latencies.samples).sum();
    json.object("latency", |json| {
        json.member("window_seconds", window_seconds);
        json.member("samples_per_second", samples / window_seconds.max(1));
        json.array("commands", |json| {
            for (command, latencies) in ObservedCommand::ALL.iter().zip(&recent) {
                json.item_object(|json| command_latency(command.name(), latencies, json));
            }
        });
    });
}

fn command_latency(command: &str, latencies: &Latencies, json: &mut Json) {
    json.member("command", command);
    json.member("requests", latencies.requests());
    json.member("samples", latencies.samples);
    json.member("mean_us", latencies.mean_micros());
    for (name, share) in [("p50_us", 0.5), ("p90_us", 0.9), ("p99_us", 0.99), ("p999_us", 0.999), ("max_us", 1.0)] {
        json.member(name, latencies.quantile_micros(share));
    }
    json.array("buckets", |json| {
        for (bucket, &requests) in latencies.buckets.iter().enumerate().filter(|(_, requests)| **requests > 0) {
            // What is longer than the last bound is shown with that.
            pair(latency_bound_micros(bucket.min(LATENCY_BUCKETS - 2)), requests, json);
        }
    });
}

fn pair(bound: f64, count: u64, json: &mut Json) {
    json.item_array(|json| {
        json.item(bound);
        json.item(count);
    });
}

fn memory(facts: &Facts<'_>, json: &mut Json) {
    let sum = |part: fn(&ClassFacts<'_>) -> usize| facts.classes().map(|class| part(&class)).sum::<usize>();
    json.object("memory", |json| {
        json.member("limit_bytes", facts.snapshot.limit_bytes);
        json.member("pages_bytes", sum(|class| class.pages_bytes));
        json.member("items_bytes", sum(|class| class.items_bytes));
        json.member("free_bytes", sum(|class| class.free_bytes));
        json.member("wasted_bytes", sum(|class| class.wasted_bytes));
        json.member("index_bytes", facts.snapshot.hash_bytes);
        json.member("resident_bytes", facts.memory.resident_bytes);
        json.member("swapped_bytes", facts.memory.swapped_bytes);
        json.member("items", facts.snapshot.curr_items);
        json.member("free_pages", facts.snapshot.pool_pages);
    });
}

fn write_class(class: &ClassFacts<'_>, json: &mut Json) {
    let snapshot = class.class;
    json.member("class", u32::from(snapshot.class));
    json.member("chunk_bytes", snapshot.chunk_bytes);
    json.member("pages", snapshot.pages);
    json.member("pages_bytes", class.pages_bytes);
    json.member("items", snapshot.item_count());
    json.member("items_bytes", class.items_bytes);
    json.member("free_bytes", class.free_bytes);
    json.member("wasted_bytes", class.wasted_bytes);
    for (name, items) in ["hot", "warm", "cold", "temporary"].into_iter().zip(snapshot.items) {
        json.member(name, items);
    }
    json.member("oldest_seconds", class.oldest_seconds);
    json.member("evictions", snapshot.counters.evicted);
    json.member("evicted_age_seconds", (snapshot.counters.evicted > 0).then_some(snapshot.evicted_time));
    json.member("hits", snapshot.counters.get_hits());
    json.member("sets", snapshot.counters.cmd_set);
    json.member("no_memory", snapshot.counters.outofmemory);
}

fn traffic(facts: &Facts<'_>, history: &History, json: &mut Json) {
    let second = history.last_second();
    let count = |name: &str| facts.general.count(name);
    json.object("evictions", |json| {
        json.member("total", count("evictions"));
        json.member("per_second", second.evictions);
        json.member("never_fetched", count("evicted_unfetched"));
        json.member("expired_never_fetched", count("expired_unfetched"));
        json.member("oldest_seconds", facts.oldest_seconds());
        json.member("evicted_age_seconds", facts.evicted_age_seconds());
    });
    json.object("connections", |json| {
        json.member("current", count("curr_connections"));
        json.member("limit", count("max_connections"));
        json.member("total", count("total_connections"));
        json.member("rejected", count("rejected_connections"));
        json.member("is_accepting", is_accepting(facts.service));
        json.array("listeners", |json| {
            for (address, connections) in &facts.listeners {
                json.item_object(|json| {
                    json.member("address", address.as_str());
                    json.member("connections", *connections);
                });
            }
        });
    });
    json.object("network", |json| {
        json.member("read_bytes", count("bytes_read"));
        json.member("written_bytes", count("bytes_written"));
        json.member("read_per_second", second.read_bytes);
        json.member("written_per_second", second.written_bytes);
    });
    json.object("processor", |json| {
        json.member("user_seconds", facts.processor.user.as_secs_f64());
        json.member("system_seconds", facts.processor.system.as_secs_f64());
        json.member("cores_used", second.processor_us / 1e6);
    });
}

fn workers(health: &Health, json: &mut Json) {
    json.array("workers", |json| {
        for (worker, (turns, turns_per_second, is_stalled)) in health.workers().enumerate() {
            json.item_object(|json| {
                json.member("worker", worker);
                json.member("loop_turns", turns);
                json.member("turns_per_second", turns_per_second);
                json.member("is_stalled", is_stalled);
            });
        }
    });
}

fn shown(name: &str, shown: &Shown, json: &mut Json) {
    json.member(name, shown.name.as_deref());
    json.member("hash", shown.hash.as_str());
}

fn hot_keys(facts: &Facts<'_>, json: &mut Json) {
    json.object("hot_keys", |json| {
        json.member("names_shown", facts.config.shows_keys);
        json.array("keys", |json| {
            for (key, hot) in &facts.hot_keys {
                json.item_object(|json| {
                    shown("key", key, json);
                    json.member("per_second", hot.per_second);
                    json.member("share", hot.share);
                });
            }
        });
    });
}

fn prefixes(facts: &Facts<'_>, json: &mut Json) {
    json.object("prefixes", |json| {
        json.member("is_counting", facts.service.prefixes.is_enabled());
        json.member("delimiter", char::from(facts.service.prefixes.delimiter()).to_string());
        json.member("names_shown", facts.config.shows_keys);
        json.array("rows", |json| {
            for (prefix, row) in &facts.prefixes {
                json.item_object(|json| {
                    shown("prefix", prefix, json);
                    json.member("gets", row.gets);
                    json.member("hits", row.hits);
                    json.member("sets", row.sets);
                    json.member("deletes", row.deletes);
                });
            }
        });
        json.object("sampled", |json| {
            json.array("rows", |json| {
                for (prefix, counts) in &facts.sampled.rows {
                    json.item_object(|json| {
                        shown("prefix", prefix, json);
                        prefix_counts(counts, json);
                    });
                }
            });
            json.object("others", |json| prefix_counts(&facts.sampled.others, json));
            json.object("without", |json| prefix_counts(&facts.sampled.without, json));
        });
    });
}

fn prefix_counts(counts: &PrefixCounts, json: &mut Json) {
    json.member("gets", counts.gets);
    json.member("hits", counts.hits);
    json.member("sets", counts.sets);
    json.member("stored_bytes", counts.stored_bytes);
    json.member("deletes", counts.deletes);
}

fn stored(facts: &Facts<'_>, json: &mut Json) {
    let stored = &facts.stored;
    json.object("stored", |json| {
        json.array("sizes", |json| {
            for (power, &count) in stored.sizes.iter().enumerate().filter(|(_, count)| **count > 0) {
                pair((1u64 << power) as f64, count, json);
            }
        });
        json.array("ttls", |json| {
            let bounds = TTL_BOUNDS_SECONDS.iter().map(|&bound| bound as f64).chain([f64::INFINITY]);
            for (bound, count) in bounds.zip(stored.ttls).filter(|(_, count)| *count > 0) {
                pair(bound, count, json);
            }
        });
        json.member("without_ttl", stored.without_ttl);
    });
}

fn certificate(facts: &Facts<'_>, json: &mut Json) {
    if facts.service.certificates.is_none() {
        return json.member("certificate", None::<bool>);
    }
    json.object("certificate", |json| {
        json.member("expires_unix", facts.certificate_ends_at);
        json.member("days_left", facts.certificate_days_left().map(|days| (days * 10.0).round() / 10.0));
        json.member("handshake_errors", facts.general.count("ssl_handshake_errors"));
    });
}

/// What differs from the default; the mark of `flush_all` is a state and no setting.
fn settings(facts: &Facts<'_>, json: &mut Json) {
    let write = |json: &mut Json, name: &str, value: &str, default: &str| {
        json.item_object(|json| {
            json.member("name", name);
            json.member("value", value);
            json.member("default", default);
        });
    };
    json.array("settings", |json| {
        for (name, default) in &facts.config.default_settings {
            let value = facts.settings.text(name);
            if value != default && *name != "oldest" {
                write(json, name, value, default);
            }
        }
        write(json, "admin_listen", &facts.config.address.to_string(), "off");
        for (name, is_on) in [("admin_keys", facts.config.shows_keys), ("admin_remote", facts.config.is_remote_allowed)]
        {
            if is_on {
                write(json, name, "yes", "no");
            }
        }
    });
}
