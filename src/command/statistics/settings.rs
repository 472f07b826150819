//! `stats settings`: the options the server was started with, and in their place the values that commands have changed
//! since.

use crate::base::sync::Ordering;

use super::super::service::Context;
use super::Emit;

/// Emits the settings.
pub fn settings(context: &Context<'_>, emit: Emit<'_>) {
    let report = &context.service.settings_report;
    for (name, value) in report(&live_values(context)) {
        emit(name, &value);
    }
}

/// The settings that commands may change, with their present values.
fn live_values(context: &Context<'_>) -> Vec<(&'static str, String)> {
    let service = context.service;
    let tuning = service.store.tuning();
    let snapshot = service.store.snapshot();
    vec![
        ("maxbytes", snapshot.limit_bytes.to_string()),
        ("verbosity", service.verbosity.load(Ordering::Relaxed).to_string()),
        ("oldest", snapshot.oldest_live.to_string()),
        ("detail_enabled", yes_no(service.prefixes.is_enabled())),
        ("slab_automove", tuning.automove.to_string()),
        ("slab_automove_ratio", format!("{:.2}", tuning.automove_ratio)),
        ("slab_automove_window", tuning.automove_window.to_string()),
        ("lru_crawler", yes_no(tuning.has_crawler)),
        ("lru_crawler_sleep", tuning.crawler_sleep_micros.to_string()),
        ("lru_crawler_tocrawl", tuning.crawler_items_max.to_string()),
        ("lru_maintainer_thread", yes_no(tuning.has_maintainer)),
        ("lru_segmented", yes_no(tuning.policy.is_segmented())),
        ("hot_lru_pct", tuning.hot_lru_percent.to_string()),
        ("warm_lru_pct", tuning.warm_lru_percent.to_string()),
        ("hot_max_factor", format!("{:.2}", tuning.hot_max_factor)),
        ("warm_max_factor", format!("{:.2}", tuning.warm_max_factor)),
        ("temp_lru", yes_no(tuning.has_temp_lru)),
        ("temporary_ttl", tuning.temporary_ttl_seconds.to_string()),
        ("eviction_policy", tuning.policy.name().to_string()),
    ]
}

fn yes_no(is_on: bool) -> String {
    if is_on { "yes" } else { "no" }.to_owned()
}
