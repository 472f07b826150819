//! The rules that bind several options, once all have been read, in memcached's order.
//!
//! The order matters where a command line breaks two rules: the exit code and the message are those of the first.

use crate::base::sizes::{CLASSES_MAX, ITEM_BYTES_MAX};

use super::admin;
use super::draft::Draft;
use super::listen::{self, Context};
use super::{
    EXIT_FAILURE, EXIT_SYSTEM, EXIT_USAGE, Failure, Host, Invocation, ListenAddress, Options, Port, Protocol,
    SLAB_PAGE_BYTES, TlsVersion, number,
};

/// Checks the whole and pours the draft into its options.
pub(super) fn finish(mut draft: Draft, invocation: &Invocation) -> Result<Options, Failure> {
    check_napi_ids(&draft)?;
    check_sizes(&mut draft)?;
    check_slab_sizes(&mut draft)?;
    check_lru(&mut draft)?;
    check_protocol(&mut draft)?;
    check_ports(&mut draft)?;
    check_user(&mut draft, invocation)?;
    if draft.options.auth_file.is_some() && draft.udp_port != 0 {
        return usage("Cannot use UDP with ascii authentication enabled (-U 0 to disable)");
    }
    check_hash_power(&draft)?;
    check_tls(&mut draft)?;
    admin::check(&draft.options.admin)?;
    settle_listeners(&mut draft)?;
    check_sasl(&draft.options)?;
    Ok(draft.options)
}

fn usage<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::new(EXIT_USAGE, message))
}

/// The thread count memcached would compare with: its default does not depend on the machine.
fn memcached_threads(draft: &Draft) -> usize {
    if draft.threads_are_given { draft.options.threads } else { MEMCACHED_THREADS }
}

fn check_napi_ids(draft: &Draft) -> Result<(), Failure> {
    let (ids, threads) = (draft.options.napi_ids, memcached_threads(draft));
    if ids as usize > threads {
        return usage(format!("Number of napi_ids({ids}) cannot be greater than number of threads({threads})"));
    }
    Ok(())
}

fn check_sizes(draft: &mut Draft) -> Result<(), Failure> {
    let item_max = draft.item_size_max;
    if item_max < 1024 {
        return usage("Item max size cannot be less than 1024 bytes.");
    }
    if draft.memory_megabytes < 0 {
        return usage("Memory limit cannot be negative.");
    }
    let memory_bytes = u64::from(draft.memory_megabytes.unsigned_abs()) * 1024 * 1024;
    if u64::from(item_max.unsigned_abs()) > memory_bytes / 2 {
        return usage("Cannot set item size limit higher than 1/2 of memory max.");
    }
    if item_max > ITEM_BYTES_MAX as i32 {
        return usage("Cannot set item size limit higher than a gigabyte.");
    }
    if item_max > 1024 * 1024 && !draft.slab_chunk_max_is_given {
        draft.slab_chunk_max = SLAB_PAGE_BYTES as i32 / 2;
    }
    let chunk_max = draft.slab_chunk_max;
    if chunk_max > item_max {
        return usage(format!(
            "slab_chunk_max (bytes: {chunk_max}) cannot be larger than -I (item_size_max {item_max})"
        ));
    }
    if item_max % chunk_max != 0 {
        return usage(format!(
            "-I (item_size_max: {item_max}) must be evenly divisible by slab_chunk_max (bytes: {chunk_max})"
        ));
    }
    if SLAB_PAGE_BYTES as i32 % chunk_max != 0 {
        return usage(format!(
            "slab_chunk_max (bytes: {chunk_max}) must divide evenly into {SLAB_PAGE_BYTES} (slab_page_size)"
        ));
    }
    draft.options.memory_limit_bytes = memory_bytes;
    draft.options.item_size_max = item_max.unsigned_abs();
    draft.options.slab_chunk_max = chunk_max.unsigned_abs();
    Ok(())
}

fn check_slab_sizes(draft: &mut Draft) -> Result<(), Failure> {
    let Some(text) = draft.slab_sizes_text.take() else {
        return Ok(());
    };
    let out_of_range = |size: u32| usage(format!("slab size {size} is out of valid range"));
    if text.is_empty() {
        return out_of_range(0);
    }
    let options = &mut draft.options;
    let mut sizes: Vec<u32> = Vec::new();
    let mut last = 0;
    for part in text.split(|byte| *byte == b'-').filter(|part| !part.is_empty()) {
        let size = number::strict_unsigned(part).unwrap_or(0);
        if size == 0 || size < options.chunk_size_min || size > options.slab_chunk_max {
            return out_of_range(size);
        }
        if last >= size {
            return usage(format!("slab size {size} cannot be lower than or equal to a previous class size"));
        }
        if size <= last + CHUNK_ALIGN_BYTES {
            return usage(format!(
                "slab size {size} must be at least {CHUNK_ALIGN_BYTES} bytes larger than previous class"
            ));
        }
        sizes.push(size);
        last = size;
        if sizes.len() >= CLASSES_MAX as usize - 1 {
            return usage("too many slab classes specified");
        }
    }
    options.slab_sizes = Some(sizes);
    Ok(())
}

fn check_lru(draft: &mut Draft) -> Result<(), Failure> {
    let options = &mut draft.options;
    if options.hot_lru_percent + options.warm_lru_percent > 80 {
        return usage("hot_lru_pct + warm_lru_pct cannot be more than 80% combined");
    }
    if draft.temporary_lru && !options.lru_maintainer {
        return usage("temporary_ttl requires lru_maintainer to be enabled");
    }
    options.temporary_ttl_seconds = draft.temporary_lru.then_some(draft.temporary_ttl_seconds);
    Ok(())
}

fn check_protocol(draft: &mut Draft) -> Result<(), Failure> {
    if draft.options.has_sasl {
        if draft.protocol_is_given && draft.options.protocol != Protocol::Binary {
            return usage("ERROR: You cannot allow the ASCII protocol while using SASL.");
        }
        if draft.udp_port != 0 {
            return usage("ERROR: Cannot enable UDP while using binary SASL authentication.");
        }
        draft.options.protocol = Protocol::Binary;
    }
    if draft.options.auth_file.is_none() {
        return Ok(());
    }
    if draft.protocol_is_given && draft.options.protocol != Protocol::Ascii {
        return usage("ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.");
    }
    draft.options.protocol = Protocol::Ascii;
    Ok(())
}

fn check_ports(draft: &mut Draft) -> Result<(), Failure> {
    if draft.udp_is_given && draft.udp_port != 0 && !draft.tcp_is_given {
        draft.tcp_port = draft.udp_port;
    }
    draft.options.tcp_port = checked_port(draft.tcp_port)?;
    draft.options.udp_port = checked_port(draft.udp_port)?;
    draft.options.tcp_port_setting = draft.tcp_port;
    draft.options.udp_port_setting = draft.udp_port;
    Ok(())
}

fn checked_port(port: i32) -> Result<Port, Failure> {
    match (port, u16::try_from(port)) {
        (-1, _) => Ok(Port::Ephemeral),
        (0, _) => Ok(Port::Off),
        (_, Ok(number)) => Ok(Port::Number(number)),
        (_, Err(_)) => usage(format!("ERROR: Invalid port number {port}.")),
    }
}

/// Nobody serves as root by accident, whatever the name.
fn check_user(draft: &mut Draft, invocation: &Invocation) -> Result<(), Failure> {
    let options = &mut draft.options;
    options.user = options.user.take().filter(|user| !user.is_empty());
    if invocation.is_root && options.user.is_none() {
        return usage("must add '-u root' to start as root");
    }
    Ok(())
}

/// memcached's table of item locks must be smaller than its hash table; kept so that the same command lines fail.
fn check_hash_power(draft: &Draft) -> Result<(), Failure> {
    let power = draft.options.hash_power;
    let lock_power = match memcached_threads(draft) {
        0..3 => 10,
        3 => 11,
        4 => 12,
        5..=10 => 13,
        11..=20 => 14,
        _ => 15,
    };
    if power == 0 || power > lock_power {
        return Ok(());
    }
    Err(Failure::new(
        EXIT_FAILURE,
        format!(
            "Hash table power size ({power}) cannot be equal to or less than item lock table ({lock_power})\n\
             Item lock table grows with `-t N` (worker threadcount)\n\
             Hash table grows with `-o hashpower=N` "
        ),
    ))
}

fn check_tls(draft: &mut Draft) -> Result<(), Failure> {
    let tls = &draft.options.tls;
    if !tls.is_enabled {
        return Ok(());
    }
    if draft.tcp_port == 0 {
        return usage("ERROR: You cannot enable SSL without a TCP port.");
    }
    if tls.min_version < TlsVersion::V1_2 {
        let asked = tls.min_version.text();
        draft.options.notes.push(format!("-o ssl_min_version: {asked} is not spoken here, the minimum is tlsv1.2"));
    }
    Ok(())
}

/// memcached would go on to libsasl's own databases, which are not here.
fn check_sasl(options: &Options) -> Result<(), Failure> {
    if !options.has_sasl || options.auth_file.is_some() || options.sasl_password_file.is_some() {
        return Ok(());
    }
    Err(Failure::new(EXIT_FAILURE, "-S needs a password file: the environment variable MEMCACHED_SASL_PWDB names none"))
}

/// With a Unix socket the network is off, unless `-p` or `-l` ask for it by name.
fn settle_listeners(draft: &mut Draft) -> Result<(), Failure> {
    let is_network_wanted = draft.tcp_is_given || draft.options.listen_text.is_some();
    let options = &mut draft.options;
    if options.unix_socket.is_some() && !is_network_wanted {
        options.tcp_port = Port::Off;
        options.udp_port = Port::Off;
    }
    let Some(list) = &options.listen_text else {
        // Who wrote such a file for memcached wants what memcached does.
        if draft.has_read_file {
            options.listen = vec![ListenAddress::plain(Host::Any)];
        }
        return Ok(());
    };
    let context = Context {
        is_authenticated: options.auth_file.is_some(),
        has_sasl: options.has_sasl && options.auth_file.is_none(),
        has_tls: options.tls.is_enabled,
    };
    match listen::parse_list(list, context, &mut options.warnings) {
        Ok(addresses) => {
            options.listen = addresses;
            Ok(())
        }
        Err(complaint) => Err(Failure::new(
            EXIT_SYSTEM,
            format!("{complaint}\nfailed to listen on one of interface(s) {list}: Invalid argument"),
        )),
    }
}

/// memcached's default for `-t`.
const MEMCACHED_THREADS: usize = 4;
/// The least distance between two classes.
const CHUNK_ALIGN_BYTES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::super::tests::{invocation, refuse, run, run_in};
    use super::super::{Parsed, parse};
    use super::*;

    #[test]
    fn item_and_chunk_sizes() {
        refuse(&["-I", "1023"], 64, "Item max size cannot be less than 1024 bytes.");
        refuse(&["-I", "1g"], 64, "Item max size cannot be less than 1024 bytes.");
        refuse(&["-I", ""], 64, "Item max size cannot be less than 1024 bytes.");
        refuse(&["-I", "33m"], 64, "Cannot set item size limit higher than 1/2 of memory max.");
        refuse(&["-m", "0"], 64, "Cannot set item size limit higher than 1/2 of memory max.");
        refuse(&["-m", "1"], 64, "Cannot set item size limit higher than 1/2 of memory max.");
        refuse(&["-m", "-1"], 64, "Memory limit cannot be negative.");
        refuse(&["-m", "4096", "-I", "1025m"], 64, "Cannot set item size limit higher than a gigabyte.");
        let too_small = "slab_chunk_max (bytes: 524288) cannot be larger than -I (item_size_max 1024)";
        refuse(&["-I", "1024"], 64, too_small);
        let uneven = "-I (item_size_max: 1000000) must be evenly divisible by slab_chunk_max (bytes: 524288)";
        refuse(&["-I", "1000000"], 64, uneven);
        let page = "slab_chunk_max (bytes: 3072) must divide evenly into 1048576 (slab_page_size)";
        refuse(&["-I", "3m", "-o", "slab_chunk_max=3"], 64, page);
        assert_eq!(run("memcached", &["-I", "1k", "-o", "slab_chunk_max=1"]).item_size_max, 1024);
        assert_eq!(run("memcached", &["-I", "5M"]).item_size_max, 5 << 20);
        assert_eq!(run("memcached", &["-m", "2048", "-I", "1024m"]).item_size_max, 1 << 30);
        assert_eq!(run("memcached", &["-o", "no_chunked_items"]).slab_chunk_max, 1 << 20);
        assert_eq!(run("memcached", &["-I", "2m", "-o", "no_chunked_items"]).slab_chunk_max, 512 << 10);
    }

    #[test]
    fn slab_sizes() {
        assert_eq!(run("memcached", &["-o", "slab_sizes=100-200-300"]).slab_sizes, Some(vec![100, 200, 300]));
        let refuse = |list: &str, message: &str| refuse(&["-o", &format!("slab_sizes={list}")], 64, message);
        refuse("5-600", "slab size 5 is out of valid range");
        refuse("100-x", "slab size 0 is out of valid range");
        refuse("", "slab size 0 is out of valid range");
        refuse("100-600000", "slab size 600000 is out of valid range");
        refuse("100-100", "slab size 100 cannot be lower than or equal to a previous class size");
        refuse("100-108", "slab size 108 must be at least 8 bytes larger than previous class");
        let many: Vec<String> = (1..64).map(|class| (class * 100).to_string()).collect();
        refuse(&many.join("-"), "too many slab classes specified");
        let fitting = format!("slab_sizes={}", many[..62].join("-"));
        assert_eq!(run("memcached", &["-o", &fitting]).slab_sizes.map(|sizes| sizes.len()), Some(62));
    }

    #[test]
    fn options_that_do_not_fit_together() {
        let pct = "hot_lru_pct + warm_lru_pct cannot be more than 80% combined";
        refuse(&["-o", "hot_lru_pct=50"], 64, pct);
        let ttl = "temporary_ttl requires lru_maintainer to be enabled";
        refuse(&["-o", "temporary_ttl=5,no_lru_maintainer"], 64, ttl);
        let binary = "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.";
        refuse(&["-Y", "f", "-B", "binary"], 64, binary);
        refuse(&["-B", "auto", "-Y", "f"], 64, binary);
        let udp = "Cannot use UDP with ascii authentication enabled (-U 0 to disable)";
        refuse(&["-Y", "f", "-U", "5"], 64, udp);
        assert_eq!(run("memcached", &["-Y", "f"]).protocol, Protocol::Ascii);
        let text = "ERROR: You cannot allow the ASCII protocol while using SASL.";
        refuse(&["-S", "-B", "ascii"], 64, text);
        refuse(&["-B", "auto", "-S", "-U", "5"], 64, text);
        refuse(&["-S", "-U", "5"], 64, "ERROR: Cannot enable UDP while using binary SASL authentication.");
        refuse(&["-S", "-Y", "f", "-B", "binary"], 64, binary);
        let file = "-S needs a password file: the environment variable MEMCACHED_SASL_PWDB names none";
        refuse(&["-S"], 1, file);
        let mut with_file = invocation("memcached", &["-S"]);
        with_file.environment.sasl_password_file = Some("f".into());
        assert_eq!(run_in(&with_file).protocol, Protocol::Binary);
        assert_eq!(run("memcached", &["-S", "-Y", "f"]).protocol, Protocol::Ascii);
        assert_eq!(run("memcached", &["-Y", "f", "-B", "ascii"]).protocol, Protocol::Ascii);
    }

    #[test]
    fn tls_wants_tcp() {
        refuse(&["-Z", "-p", "0"], 64, "ERROR: You cannot enable SSL without a TCP port.");
        refuse(&["-p", "0", "-Z"], 64, "ERROR: You cannot enable SSL without a TCP port.");
        assert!(run("memcached", &["-Z"]).tls.is_enabled);
        assert!(run("memcached", &["-Z", "-s", "/tmp/x"]).tls.is_enabled);
        assert!(run("memcached", &["-Z", "-o", "ssl_min_version=2"]).notes.is_empty());
        let old = run("memcached", &["-Z", "-o", "ssl_min_version=0"]);
        assert_eq!(old.notes, ["-o ssl_min_version: tlsv1.0 is not spoken here, the minimum is tlsv1.2"]);
    }

    #[test]
    fn ports() {
        #[track_caller]
        fn check(arguments: &[&str], tcp: Port, udp: Port) {
            let options = run("memcached", arguments);
            assert_eq!((options.tcp_port, options.udp_port), (tcp, udp), "{arguments:?}");
        }
        use Port::{Ephemeral, Number, Off};
        check(&["-p", "11212"], Number(11212), Off);
        check(&["-U", "11222"], Number(11222), Number(11222));
        check(&["-p", "-1"], Ephemeral, Off);
        check(&["-U", "-1"], Ephemeral, Ephemeral);
        check(&["-p", "0"], Off, Off);
        check(&["-U", "0"], Number(11211), Off);
        check(&["-p", "11232", "-U", "11233"], Number(11232), Number(11233));
        check(&["-p", "-1", "-U", "11252"], Ephemeral, Number(11252));
        check(&["-p", "11262", "-U", "-1"], Number(11262), Ephemeral);
        check(&["-s", "/tmp/x"], Off, Off);
        check(&["-s", "/tmp/x", "-U", "5"], Off, Off);
        check(&["-s", "/tmp/x", "-p", "5"], Number(5), Off);
        check(&["-s", "/tmp/x", "-l", "*"], Number(11211), Off);
        check(&["-s", "/tmp/x", "-p", "5", "-U", "6"], Number(5), Number(6));
    }

    #[test]
    fn root_wants_a_user() {
        // By its own name it used to serve as root with a warning that nobody read.
        for name in ["memcached", "slabstash"] {
            let mut as_root = invocation(name, &[]);
            as_root.is_root = true;
            let failure = Failure { message: "must add '-u root' to start as root".to_string(), exit_code: 64 };
            assert_eq!(parse(&as_root).err(), Some(failure.clone()));
            as_root.arguments = vec!["-u".into(), "".into()];
            assert_eq!(parse(&as_root).err(), Some(failure));
            for user in ["root", "nobody"] {
                as_root.arguments = vec![format!("-u{user}").into()];
                assert_eq!(run_in(&as_root).user.as_deref(), Some(user));
                assert!(run_in(&as_root).warnings.is_empty());
            }
            as_root.arguments = vec!["-h".into()];
            assert!(matches!(parse(&as_root), Ok(Parsed::Print { .. })));
            // Whoever is not root may name any user; it stays who it is.
            assert_eq!(run(name, &["-u", "nobody"]).user.as_deref(), Some("nobody"));
        }
    }
}
