//! Layer 1: what std and mio lack of the system: users, limits, the daemon, the service manager, facts about the process.

pub mod daemon;
pub mod inherited;
pub mod limits;
pub mod pid_file;
pub mod process;
pub mod sandbox;
pub mod service_manager;
pub mod signals;
pub mod socket_file;
pub mod user;

/// An error's text as C programs print it: without std's `(os error N)`.
pub fn error_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn error_texts_have_no_number() {
        let error = std::io::Error::from_raw_os_error(98);
        assert_eq!(super::error_text(&error), "Address already in use");
        let error = std::io::Error::other("plain");
        assert_eq!(super::error_text(&error), "plain");
    }
}
