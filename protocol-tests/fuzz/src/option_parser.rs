//! The option parser: whatever the words, the environment and the files it names, it answers without a panic, the same
//! twice, and what it lets through keeps the bounds that [`Options`] states. An option means the same however it is
//! written: `-m64`, `-m 64`, `--memory-limit=64`, `--memory-limit 64`.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{Error, ErrorKind};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use slabstash::options::{self, Environment, Failure, Invocation, Options, Parsed, SLAB_PAGE_BYTES};

use crate::bytes::Bytes;

/// Checks an input: a few choices, and behind them words between line ends. What follows an empty line is the contents of
/// files.
pub fn check(input: &[u8]) {
    let mut bytes = Bytes(input);
    let (choice, other) = (bytes.byte(), bytes.byte());
    let at = bytes.0.windows(2).position(|pair| pair == b"\n\n");
    let (words, file) = at.map_or((bytes.0, &b""[..]), |at| (&bytes.0[..at], &bytes.0[at + 2..]));
    FILE.with_borrow_mut(|contents| *contents = file.to_vec());
    let words: Vec<Vec<u8>> = words.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let parsed = parse(&words, choice, other);
    assert_eq!(shown(&parsed), shown(&parse(&words, choice, other)));
    judge(&parsed);
    let spelled = spellings(&words);
    let first = shown(&parse(&spelled[0], choice, other));
    for words in &spelled[1..] {
        assert_eq!(shown(&parse(words, choice, other)), first, "{}", spelled[0].join(&b' ').escape_ascii());
    }
}

thread_local! {
    /// What every file holds.
    static FILE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    match path.as_os_str().len() {
        7 => Err(Error::from(ErrorKind::NotFound)),
        8 => Err(Error::from(ErrorKind::PermissionDenied)),
        _ => Ok(FILE.with_borrow(Clone::clone)),
    }
}

fn parse(words: &[Vec<u8>], choice: u8, other: u8) -> Result<Parsed, Failure> {
    let bit = |bit: u8| choice & bit != 0;
    let set = |bit: u8, text: &str| (other & bit != 0).then(|| OsString::from(text));
    options::parse(&Invocation {
        program: if bit(1) {
            "memcached-debug"
        } else if bit(2) {
            "memcached"
        } else {
            "slabstash"
        }
        .into(),
        arguments: words.iter().cloned().map(OsString::from_vec).collect(),
        is_root: bit(4),
        core_count: usize::from(choice >> 4),
        environment: Environment {
            slabstash_name: set(1, "memcached"),
            memcached_port_filename: set(2, "/ports"),
            sasl_password_file: set(4, "/passwords"),
            sasl_configuration: set(8, "/sasl:/etc/sasl"),
            initial_malloc: set(16, "4294967328"),
            posixly_correct: other & 32 != 0,
        },
        read_file: (other & 64 == 0).then_some(read as options::ReadFile),
    })
}

fn shown(parsed: &Result<Parsed, Failure>) -> String {
    format!("{parsed:?}")
}

fn judge(parsed: &Result<Parsed, Failure>) {
    match parsed {
        Ok(Parsed::Run(options)) => judge_options(options),
        Ok(Parsed::Print { text, exit_code }) => assert!(text.ends_with('\n') && *exit_code == 0),
        Err(failure) => {
            assert!(!failure.message.is_empty() && !failure.message.ends_with('\n'), "{failure:?}");
            let codes = [options::EXIT_FAILURE, options::EXIT_USAGE, options::EXIT_NO_USER, options::EXIT_SYSTEM];
            assert!(codes.contains(&failure.exit_code), "{failure:?}");
        }
    }
}

/// What the fields of [`Options`] say of themselves.
fn judge_options(options: &Options) {
    assert!((1..=1024).contains(&options.threads) && options.max_connections > 0 && options.requests_per_event > 0);
    assert!(!options.listen.is_empty());
    assert!(options.growth_factor > 1.0 && options.chunk_size_min > 0);
    assert!((1024..=1 << 30).contains(&options.item_size_max), "{}", options.item_size_max);
    assert!(
        options.slab_chunk_max > 0 && SLAB_PAGE_BYTES.is_multiple_of(options.slab_chunk_max),
        "{}",
        options.slab_chunk_max
    );
    assert!(options.slab_automove <= 2 && options.slab_automove_ratio > 0.0 && options.slab_automove_ratio <= 1.0);
    assert!((3..=1800).contains(&options.slab_automove_window));
    assert!(options.partitions == 0 || options.partitions.is_power_of_two() && options.partitions <= 1024);
    assert!((1..80).contains(&options.hot_lru_percent) && (1..80).contains(&options.warm_lru_percent));
    assert!(options.hot_lru_percent + options.warm_lru_percent <= 80);
    assert!(options.hot_max_factor > 0.0 && options.warm_max_factor > 0.0);
    assert!(options.lru_crawler_sleep_micros <= 1_000_000);
    if let Some(sizes) = &options.slab_sizes {
        assert!(sizes.windows(2).all(|pair| pair[0] < pair[1]), "{sizes:?}");
    }
    for address in &options.listen {
        assert!(address.tag.as_ref().is_none_or(|tag| (1..=8).contains(&tag.len())), "{address:?}");
    }
    let report = options::settings_report(options);
    assert!(report.iter().all(|(name, value)| !name.is_empty() && !value.contains('\n')), "{report:?}");
    assert_eq!(report.len(), options::default_settings(options).len());
}

/// The options with a letter and a name among the words, written in every way.
fn spellings(words: &[Vec<u8>]) -> [Vec<Vec<u8>>; 4] {
    let mut spelled: [Vec<Vec<u8>>; 4] = Default::default();
    for pair in words.windows(2) {
        let [option, value] = pair else { continue };
        let [b'-', letter] = option[..] else { continue };
        let Some((_, name, has_value)) = PAIRS.iter().find(|(short, ..)| *short == letter) else { continue };
        let (short, long) = (vec![b'-', letter], format!("--{name}").into_bytes());
        if *has_value && !value.is_empty() {
            spelled[0].extend([short.clone(), value.clone()]);
            spelled[1].push([&short[..], value].concat());
            spelled[2].extend([long.clone(), value.clone()]);
            spelled[3].push([&long[..], b"=", value].concat());
        } else if !*has_value {
            for (index, words) in spelled.iter_mut().enumerate() {
                words.push(if index < 2 { short.clone() } else { long.clone() });
            }
        }
    }
    spelled
}

/// Letters and names, and whether a value follows.
const PAIRS: [(u8, &str, bool); 16] = [
    (b'p', "port", true),
    (b'U', "udp-port", true),
    (b's', "unix-socket", true),
    (b'l', "listen", true),
    (b'm', "memory-limit", true),
    (b'M', "disable-evictions", false),
    (b'c', "conn-limit", true),
    (b'f', "slab-growth-factor", true),
    (b'n', "slab-min-size", true),
    (b't', "threads", true),
    (b'R', "max-reqs-per-event", true),
    (b'C', "disable-cas", false),
    (b'b', "listen-backlog", true),
    (b'B', "protocol", true),
    (b'I', "max-item-size", true),
    (b'F', "disable-flush-all", false),
];
