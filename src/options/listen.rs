//! The grammar of `-l`: which addresses to listen on, and how each speaks.
//!
//! ```text
//! list    = item { ("," | ";") item }
//! item    = [ ("notls" | "btls" | "mtls") ":" ] [ "proto[" word "]:" ] [ "tag[" name "]:" | "tag_" name "_:" ] address [ ":" port ]
//! address = IPv4 | name | "[" IPv6 "]" | IPv6 | "*"
//! ```
//!
//! Only the text is read here: resolving names and binding is the server's. A bare IPv6 address cannot carry a port.
//! The words `notls` (plain), `btls` (TLS that asks for no client certificate) and `mtls` (TLS that requires one) need
//! `-Z` and are refused without it. The complaints are
//! memcached's, with two of its accidents mended: a host whose name begins with `proto` or `tag` keeps its whole name,
//! and a port outside 0..=65535 is refused instead of cut to 16 bits.

use super::{Protocol, number};

/// One thing to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// The interface.
    pub host: Host,
    /// Its own port (0 lets the system choose), or `None` for that of `-p` (TCP) and `-U` (UDP).
    pub port: Option<u16>,
    /// Its own protocol, or `None` for that of `-B`.
    pub protocol: Option<Protocol>,
    /// A name of 1 to 8 bytes for watchers.
    pub tag: Option<String>,
    /// How its connections are encrypted.
    pub encryption: Encryption,
}

/// How connections of a listener are encrypted. All but [`Encryption::Default`] need `-Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// As `-Z` and `ssl_verify_mode` say.
    Default,
    /// `notls`: not at all.
    Plain,
    /// `btls`: TLS that asks for no client certificate.
    NoPeer,
    /// `mtls`: TLS that requires a client certificate.
    Peer,
}

/// The interface to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// All interfaces, IPv4 and IPv6.
    Any,
    /// An address or a name to resolve; an IPv6 address has no brackets here.
    Named(String),
}

/// What the rest of the command line says about listeners.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    /// `-Y` is on: every listener speaks text only.
    pub is_authenticated: bool,
    /// `-S` alone is on: every listener speaks binary only.
    pub has_sasl: bool,
    /// `-Z` is on.
    pub has_tls: bool,
}

impl ListenAddress {
    /// `host` with everything else as the other options say.
    pub(super) fn plain(host: Host) -> ListenAddress {
        ListenAddress { host, port: None, protocol: None, tag: None, encryption: Encryption::Default }
    }
}

/// Reads a whole list. The error is memcached's first line about it; warnings are added to `warnings`.
pub(super) fn parse_list(
    list: &str,
    context: Context,
    warnings: &mut Vec<String>,
) -> Result<Vec<ListenAddress>, String> {
    let items = list.split([',', ';']).filter(|item| !item.is_empty());
    let mut addresses = Vec::new();
    for item in items {
        addresses.push(parse_item(item, list, context, warnings)?);
    }
    if addresses.is_empty() {
        return Err("No address to listen on".to_string());
    }
    Ok(addresses)
}

fn parse_item(item: &str, list: &str, context: Context, warnings: &mut Vec<String>) -> Result<ListenAddress, String> {
    let (encryption, rest) = parse_encryption(item, context)?;
    let (protocol, rest) = parse_protocol(rest, list, context, warnings)?;
    let (tag, rest) = parse_tag(rest)?;
    let (host, port) = parse_address(rest)?;
    Ok(ListenAddress { host, port, protocol, tag, encryption })
}

/// `notls:`, `btls:` or `mtls:`.
fn parse_encryption(text: &str, context: Context) -> Result<(Encryption, &str), String> {
    let words = [("notls", Encryption::Plain), ("btls", Encryption::NoPeer), ("mtls", Encryption::Peer)].into_iter();
    for (word, encryption) in words {
        if let Some(rest) = text.strip_prefix(word) {
            return match context.has_tls {
                true => Ok((encryption, skip_character(rest))),
                false => Err(format!("'{word}' option is valid only when SSL is enabled")),
            };
        }
    }
    Ok((Encryption::Default, text))
}

/// `proto[word]:`, where the word may be cut short and an unknown one changes nothing.
fn parse_protocol<'a>(
    text: &'a str,
    list: &str,
    context: Context,
    warnings: &mut Vec<String>,
) -> Result<(Option<Protocol>, &'a str), String> {
    let Some(bracket) = text.strip_prefix("proto").filter(|rest| rest.starts_with('[')) else {
        return Ok((None, text));
    };
    let Some((word, rest)) = bracket[1..].split_once(']') else {
        return Err(format!("Invalid protocol spec: \"{bracket}\""));
    };
    let rest = skip_character(rest);
    // memcached would serve text there to anybody.
    if context.has_sasl && ("ascii".starts_with(word) || "negotiating".starts_with(word)) {
        return Err("Cannot use ascii protocol when SASL enabled".to_string());
    }
    if "ascii".starts_with(word) {
        return Ok((Some(Protocol::Ascii), rest));
    }
    if "binary".starts_with(word) {
        if context.is_authenticated {
            return Err("Cannot use binary protocol when ascii authentication enabled".to_string());
        }
        return Ok((Some(Protocol::Binary), rest));
    }
    if "negotiating".starts_with(word) {
        if context.is_authenticated {
            warnings.push(NEGOTIATING_IS_ASCII.to_string());
            return Ok((Some(Protocol::Ascii), rest));
        }
        return Ok((Some(Protocol::Negotiate), rest));
    }
    if "proxy".starts_with(word) {
        return Err(format!("Server not built with proxy: \"{list}\""));
    }
    Ok((None, rest))
}

/// `tag[name]:` or `tag_name_:`.
fn parse_tag(text: &str) -> Result<(Option<String>, &str), String> {
    let Some(bracket) = text.strip_prefix("tag").filter(|rest| rest.starts_with(['[', '_'])) else {
        return Ok((None, text));
    };
    let inside = &bracket[1..];
    let closed = if bracket.starts_with('[') {
        inside.split_once(']').or_else(|| inside.split_once('_'))
    } else {
        inside.split_once('_')
    };
    let Some((name, rest)) = closed else {
        return Err(format!("Invalid tag in socket config: \"{bracket}\""));
    };
    if name.is_empty() || name.len() > TAG_BYTES_MAX {
        return Err(format!("Listener tags must be between 1 and 8 characters: \"{name}\""));
    }
    Ok((Some(name.to_string()), skip_character(rest)))
}

fn parse_address(text: &str) -> Result<(Host, Option<u16>), String> {
    let (bracketed, rest) = match text.strip_prefix('[') {
        Some(inside) => match inside.split_once(']') {
            Some((address, rest)) => (Some(address), rest),
            None => return Err(format!("Invalid IPV6 address: \"{text}\"")),
        },
        None => (None, text),
    };
    let (before, port) = match rest.split_once(':') {
        // More colons without brackets: a bare IPv6 address, which has no port.
        Some((_, after)) if bracketed.is_none() && after.contains(':') => (rest, None),
        Some((before, port)) => (before, Some(parse_port(port)?)),
        None => (rest, None),
    };
    let host = match bracketed.unwrap_or(before) {
        "*" => Host::Any,
        name => Host::Named(name.to_string()),
    };
    Ok((host, port))
}

fn parse_port(text: &str) -> Result<u16, String> {
    let port = match number::strict_integer(text.as_bytes()) {
        Some(-1) => Some(0),
        port => port.and_then(|port| u16::try_from(port).ok()),
    };
    port.ok_or_else(|| format!("Invalid port number: \"{text}\""))
}

/// memcached steps over the character after a bracket unseen; it is a colon in every sane list.
fn skip_character(text: &str) -> &str {
    let mut characters = text.chars();
    characters.next();
    characters.as_str()
}

/// Longest name behind `tag`, as in memcached.
const TAG_BYTES_MAX: usize = 8;
const NEGOTIATING_IS_ASCII: &str = "WARNING: negotiating ports are ascii only when ascii authentication enabled";

#[cfg(test)]
mod tests {
    use super::*;

    fn show(address: &ListenAddress) -> String {
        let host = match &address.host {
            Host::Any => "ANY".to_string(),
            Host::Named(name) => name.clone(),
        };
        let port = address.port.map_or("-".to_string(), |port| port.to_string());
        let protocol = address.protocol.map_or("-".to_string(), |protocol| format!("{protocol:?}"));
        format!("{host} {port} {protocol} {}", address.tag.as_deref().unwrap_or("-"))
    }

    fn read(list: &str, context: Context) -> String {
        let mut warnings = Vec::new();
        let mut shown = match parse_list(list, context, &mut warnings) {
            Ok(addresses) => addresses.iter().map(show).collect::<Vec<_>>(),
            Err(complaint) => vec![complaint],
        };
        shown.extend(warnings);
        shown.join(" | ")
    }

    #[track_caller]
    fn check(list: &str, expected: &str) {
        assert_eq!(read(list, Context::default()), expected, "{list:?}");
    }

    #[track_caller]
    fn check_authenticated(list: &str, expected: &str) {
        assert_eq!(read(list, Context { is_authenticated: true, ..Context::default() }), expected, "{list:?}");
    }

    #[test]
    fn addresses_and_ports() {
        check("127.0.0.1", "127.0.0.1 - - -");
        check("127.0.0.1:5", "127.0.0.1 5 - -");
        check("127.0.0.1:0", "127.0.0.1 0 - -");
        check("127.0.0.1:-1", "127.0.0.1 0 - -");
        check("*", "ANY - - -");
        check("*:7", "ANY 7 - -");
        check("::1", "::1 - - -");
        check("[::1]", "::1 - - -");
        check("[::1]:9", "::1 9 - -");
        check("localhost:9,10.0.0.1;[::]:1,,", "localhost 9 - - | 10.0.0.1 - - - | :: 1 - -");
        check("prototype.example:1", "prototype.example 1 - -");
        check("tagesschau.example", "tagesschau.example - - -");
    }

    #[test]
    fn protocols_and_tags() {
        check("proto[ascii]:*:1", "ANY 1 Ascii -");
        check("proto[binary]:tag[services]:127.0.0.1:11211", "127.0.0.1 11211 Binary services");
        check("proto[ascii]:tag_tools_:127.0.0.1:11212", "127.0.0.1 11212 Ascii tools");
        check("proto[n]:h", "h - Negotiate -");
        check("proto[]:h", "h - Ascii -");
        check("proto[odd]:h", "h - - -");
        check("tag_a_:[::1]:3", "::1 3 - a");
        check("proto[ascii]", " - Ascii -");
    }

    #[test]
    fn complaints() {
        check("", "No address to listen on");
        check(",;", "No address to listen on");
        check("h:x", "Invalid port number: \"x\"");
        check("h:", "Invalid port number: \"\"");
        check("h:70000", "Invalid port number: \"70000\"");
        check("h:-5", "Invalid port number: \"-5\"");
        check("[::1", "Invalid IPV6 address: \"[::1\"");
        check("[::1]:1:2", "Invalid port number: \"1:2\"");
        check("proto[ascii:h", "Invalid protocol spec: \"[ascii:h\"");
        check("tag[abc:h", "Invalid tag in socket config: \"[abc:h\"");
        check("tag[123456789]:h", "Listener tags must be between 1 and 8 characters: \"123456789\"");
        check("tag[]:h", "Listener tags must be between 1 and 8 characters: \"\"");
        check("proto[proxy]:h", "Server not built with proxy: \"proto[proxy]:h\"");
        check("notls:h", "'notls' option is valid only when SSL is enabled");
        check("h,btls:h", "'btls' option is valid only when SSL is enabled");
        check("mtls:h", "'mtls' option is valid only when SSL is enabled");
    }

    #[test]
    fn encryption_of_listeners() {
        let context = Context { has_tls: true, ..Context::default() };
        let list = "notls:h:1,btls:proto[ascii]:h,mtls:tag_x_:[::1]:3,h";
        let addresses = parse_list(list, context, &mut Vec::new()).expect("a good list");
        let encryption: Vec<_> = addresses.iter().map(|address| address.encryption).collect();
        assert_eq!(encryption, [Encryption::Plain, Encryption::NoPeer, Encryption::Peer, Encryption::Default]);
        let shown = read(list, context);
        assert_eq!(shown, "h 1 - - | h - Ascii - | ::1 3 - x | h - - -");
    }

    #[test]
    fn sasl_leaves_only_binary() {
        let context = Context { has_sasl: true, ..Context::default() };
        for list in ["proto[ascii]:h", "proto[]:h", "h,proto[neg]:h"] {
            assert_eq!(read(list, context), "Cannot use ascii protocol when SASL enabled", "{list:?}");
        }
        assert_eq!(read("proto[binary]:h,g", context), "h - Binary - | g - - -");
    }

    #[test]
    fn authentication_leaves_only_text() {
        check_authenticated("proto[binary]:h", "Cannot use binary protocol when ascii authentication enabled");
        check_authenticated("proto[negotiating]:h", &format!("h - Ascii - | {NEGOTIATING_IS_ASCII}"));
        check_authenticated("proto[ascii]:h", "h - Ascii -");
        check_authenticated("h", "h - - -");
    }

    #[test]
    fn any_cut_of_a_long_list_is_answered() {
        let list = "proto[binary]:tag[services]:[::1]:11211,tag_tools_:proto[é]é:*:12;h:1";
        for (end, _) in list.char_indices() {
            read(&list[..end], Context::default());
            read(&list[end..], Context::default());
        }
    }
}
