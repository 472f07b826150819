//! Suboptions of `-o` for parts of memcached that are not here: external storage, the proxy.
//!
//! Each is refused by name, which says more than "illegal". Those that memcached shows in `stats settings` are shown
//! there with its defaults, since tools look for the names.

use super::EXIT_FAILURE;
use super::row::{PLAIN, Row, Setting, Support, yes_no};

/// The suboptions that are refused.
pub(super) static ROWS: &[Row] = &[
    storage("ext_path", &[]),
    storage("ext_page_size", &[]),
    storage("ext_wbuf_size", &[("ext_wbuf_size", |_| "4194304".to_string())]),
    storage("ext_threads", &[]),
    storage("ext_io_depth", &[]),
    storage("ext_item_size", &[("ext_item_size", |_| "512".to_string())]),
    storage("ext_item_age", &[("ext_item_age", |_| u32::MAX.to_string())]),
    storage("ext_low_ttl", &[("ext_low_ttl", |_| "0".to_string())]),
    storage("ext_recache_rate", &[("ext_recache_rate", |_| "2000".to_string())]),
    storage("ext_compact_under", &[("ext_compact_under", |_| "0".to_string())]),
    storage("ext_drop_under", &[("ext_drop_under", |_| "0".to_string())]),
    storage("ext_max_sleep", &[("ext_max_sleep", |_| "1000000".to_string())]),
    storage("ext_max_frag", &[("ext_max_frag", |_| "0.80".to_string())]),
    storage("ext_drop_unread", &[("ext_drop_unread", |_| yes_no(false))]),
    storage("slab_automove_freeratio", &[("slab_automove_freeratio", |_| "0.010".to_string())]),
    proxy("proxy_config"),
    proxy("proxy_arg"),
    proxy("proxy_uring"),
    proxy("proxy_memprofile"),
];

const fn storage(name: &'static str, settings: &'static [Setting]) -> Row {
    let support = Support::Refused(EXIT_FAILURE, "-o {name}: this server has no external storage (extstore).");
    Row { name, support, settings, ..PLAIN }
}

const fn proxy(name: &'static str) -> Row {
    let support = Support::Refused(EXIT_FAILURE, "-o {name}: this server is not built with proxy support.");
    Row { name, support, ..PLAIN }
}
