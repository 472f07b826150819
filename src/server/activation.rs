//! Sockets that the service manager has opened (socket activation).
//!
//! Where there are any, they are all that is served, and `-p`, `-U`, `-l` and `-s` say nothing. A socket's name
//! (`FileDescriptorName=`) may hold words of `-l`'s, separated by commas, and they mean the same: `notls`, `btls` or `mtls`,
//! and `ascii`, `binary` or `negotiating`. Other words mean nothing; without any a socket is as `-Z` and `-B` say.
//! Descriptors that are no sockets are left where they are, for those who know their names.

use crate::base::sync::Arc;
use crate::command::service::ProtocolChoice;
use crate::net::listener::{self, Adopted};
use crate::net::tls::identities::Policy;
use crate::net::tls::{Identities, Terms};
use crate::options::{EXIT_SYSTEM, EXIT_USAGE};
use crate::sys::error_text;
use crate::sys::inherited::Inherited;

use super::Failure;
use super::config::Config;
use super::sockets::{Sockets, endpoint};

/// The sockets among `inherited`; `None` when there are none.
pub fn sockets(
    config: &Config,
    identities: Option<&Arc<Identities>>,
    inherited: &mut Vec<Inherited>,
) -> Result<Option<Sockets>, Failure> {
    let mut sockets = Sockets { listeners: Vec::new(), endpoints: Vec::new() };
    for Inherited { name, descriptor } in inherited.extract_if(.., |one| listener::is_socket(&one.descriptor)) {
        let terms = Words::of(&name).terms(&name, config.protocol, identities)?;
        let adopted = listener::adopt(descriptor, terms.protocol).map_err(|error| {
            let text = error_text(&error);
            Failure::new(EXIT_SYSTEM, format!("cannot serve the service manager's socket {name}: {text}"))
        })?;
        match adopted {
            Adopted::Listener(mut listener) => {
                // A Unix socket's connections are never encrypted.
                listener.encryption = terms.encryption.filter(|_| listener.internet_address().is_some());
                let encryption = if listener.encryption.is_some() { "TLS" } else { "plain" };
                log::info!("serving the service manager's socket {name}: {}, {encryption}", listener.text());
                sockets.listeners.push(listener);
            }
            Adopted::Udp(_) if config.load_logins.is_some() => {
                let text = "Cannot use UDP with ascii authentication enabled";
                return Err(Failure::new(EXIT_USAGE, format!("{text} (the service manager's socket {name})")));
            }
            Adopted::Udp(socket) => {
                let endpoint = endpoint(socket, terms.protocol);
                log::info!("serving the service manager's socket {name}: {}", endpoint.text);
                sockets.endpoints.push(endpoint);
            }
        }
    }
    let is_empty = sockets.listeners.is_empty() && sockets.endpoints.is_empty();
    Ok((!is_empty).then_some(sockets))
}

/// What a name says.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Words {
    /// `None` in it is without encryption.
    encryption: Option<Option<Policy>>,
    protocol: Option<ProtocolChoice>,
}

/// How a socket is served.
struct SocketTerms {
    protocol: ProtocolChoice,
    encryption: Option<Terms>,
}

impl Words {
    fn of(name: &str) -> Self {
        let mut words = Self::default();
        for word in name.split(',') {
            match word {
                "notls" => words.encryption = Some(None),
                "btls" => words.encryption = Some(Some(Policy::Anonymous)),
                "mtls" => words.encryption = Some(Some(Policy::Mutual)),
                "ascii" => words.protocol = Some(ProtocolChoice::Text),
                "binary" => words.protocol = Some(ProtocolChoice::Binary),
                "negotiating" => words.protocol = Some(ProtocolChoice::Negotiate),
                _ => {}
            }
        }
        words
    }

    fn terms(
        self,
        name: &str,
        protocol: ProtocolChoice,
        identities: Option<&Arc<Identities>>,
    ) -> Result<SocketTerms, Failure> {
        if self.encryption.is_some() && identities.is_none() {
            let text = format!("the service manager's socket {name}: the name is valid only when SSL is enabled");
            return Err(Failure::new(EXIT_SYSTEM, text));
        }
        let policy = self.encryption.unwrap_or(Some(Policy::Configured));
        let encryption = policy.zip(identities);
        let encryption = encryption.map(|(policy, identities)| Terms { identities: Arc::clone(identities), policy });
        let protocol = match protocol {
            // Whatever restricts the server to one protocol (`-B`, a login) holds for each of its sockets.
            ProtocolChoice::Negotiate => self.protocol.unwrap_or(protocol),
            restricted => restricted,
        };
        Ok(SocketTerms { protocol, encryption })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_how_a_socket_is_served() {
        #[track_caller]
        fn check(name: &str, encryption: Option<Option<Policy>>, protocol: Option<ProtocolChoice>) {
            assert_eq!(Words::of(name), Words { encryption, protocol }, "{name}");
        }
        check("slabstash.socket", None, None);
        check("", None, None);
        check("notls", Some(None), None);
        check("mtls,binary", Some(Some(Policy::Mutual)), Some(ProtocolChoice::Binary));
        check("cache,btls", Some(Some(Policy::Anonymous)), None);
        check("negotiating", None, Some(ProtocolChoice::Negotiate));
        check("mtls.binary", None, None);
    }

    #[test]
    fn a_name_cannot_widen_what_the_server_speaks() {
        let protocol = |name: &str, configured| {
            Words::of(name).terms(name, configured, None).map(|terms| terms.protocol).map_err(|failure| failure.message)
        };
        assert_eq!(protocol("binary", ProtocolChoice::Negotiate), Ok(ProtocolChoice::Binary));
        assert_eq!(protocol("binary", ProtocolChoice::Text), Ok(ProtocolChoice::Text));
        assert_eq!(protocol("", ProtocolChoice::Binary), Ok(ProtocolChoice::Binary));
        let text = "the service manager's socket mtls: the name is valid only when SSL is enabled";
        assert_eq!(protocol("mtls", ProtocolChoice::Negotiate), Err(text.to_owned()));
    }
}
