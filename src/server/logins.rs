//! Where logins come from: the file of `-Y`, or that of `MEMCACHED_SASL_PWDB` with libsasl's configuration; and the thread
//! that verifies hashed passwords.
//!
//! The file of `-Y` is read at start and at SIGHUP. That of SASL is looked at before each login, as in memcached, and read
//! again when it is another. A file that cannot be used leaves the entries in force, with a line in the log; a SASL file
//! that is gone takes everybody's right to log in with it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use crossbeam_channel::{Receiver, TrySendError, bounded};

use crate::base::sync::{Arc, Mutex};
use crate::command::login::accounts::Accounts;
use crate::command::login::files::{FILE_BYTES_MAX, parse_auth_file, parse_sasl_file};
use crate::command::login::mechanism::Sasl;
use crate::command::login::{LoadError, Logins, Method, Source, Verification, Verify};
use crate::options::EXIT_FAILURE;
use crate::sys::{error_text, limits, process};

use super::Failure;
use super::privileges::Restricted;

/// Who has to log in, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LoginConfig {
    /// `-Y`.
    Text {
        /// Users and passwords.
        file: PathBuf,
    },
    /// `-S`.
    Sasl {
        /// `MEMCACHED_SASL_PWDB`: users and passwords.
        file: PathBuf,
        /// `SASL_CONF_PATH`: folders in which libsasl would look for `memcached.conf`, separated by colons.
        folders: Option<OsString>,
    },
}

impl LoginConfig {
    /// The file with the passwords.
    pub fn file(&self) -> &Path {
        match self {
            LoginConfig::Text { file } | LoginConfig::Sasl { file, .. } => file,
        }
    }
}

/// Reads the files for the first time. The verifier is to be started.
pub(super) fn open(config: LoginConfig) -> Result<(Logins, Verifier), Failure> {
    let fail = |text| Failure::new(EXIT_FAILURE, text);
    let (method, path, is_watched) = match config {
        LoginConfig::Text { file } => (Method::Text, file, false),
        LoginConfig::Sasl { file, folders } => {
            let sasl = sasl(folders.as_deref().map(Path::new)).map_err(fail)?;
            (Method::Sasl(sasl), file, true)
        }
    };
    let (verify, verifier) = verifier();
    let logins = Logins::load(method, source(path.clone(), is_watched), verify).map_err(fail)?;
    if logins.count() == 0 {
        log::warn!("SASL password file [{}] has no entry: nobody can log in", path.display());
    }
    Ok((logins, verifier))
}

/// libsasl's configuration, as far as it means something here.
fn sasl(folders: Option<&Path>) -> Result<Sasl, String> {
    let path = configuration_files(folders).into_iter().find(|path| path.is_file());
    let text = match &path {
        None => None,
        Some(path) => {
            log::info!("Reading configuration from: <{}>", path.display());
            let text = fs::read(path).map_err(|error| {
                format!("Could not open SASL configuration [{}]: {}", path.display(), error_text(&error))
            })?;
            Some(String::from_utf8_lossy(&text).into_owned())
        }
    };
    Sasl::new(text.as_deref(), process::host_name())
        .map_err(|text| format!("SASL configuration [{}] cannot be used: {text}", path.unwrap_or_default().display()))
}

/// Where memcached looks.
fn configuration_files(folders: Option<&Path>) -> Vec<PathBuf> {
    match folders {
        Some(folders) => std::env::split_paths(folders).map(|folder| folder.join("memcached.conf")).collect(),
        None => ["/etc/sasl", "/etc/sasl2"]
            .iter()
            .flat_map(|folder| {
                ["memcached.conf/memcached.conf", "memcached.conf"].map(|name| Path::new(folder).join(name))
            })
            .collect(),
    }
}

/// The file at `path`: of SASL, to be looked at again for each login, or of `-Y`.
fn source(path: PathBuf, is_watched: bool) -> Source {
    let seen = Arc::new(Mutex::new(None));
    let (watched, last) = (path.clone(), Arc::clone(&seen));
    let has_changed = move || {
        is_watched && {
            let now = stamp(&watched);
            std::mem::replace(&mut *last.lock(), now) != now
        }
    };
    let load = move || {
        *seen.lock() = stamp(&path);
        match is_watched {
            true => load_sasl_file(&path),
            false => load_auth_file(&path),
        }
    };
    Source { load: Box::new(load), has_changed: Box::new(has_changed) }
}

/// What tells one state of a file from another. `None`: it cannot be looked at.
type Stamp = Option<[i64; 7]>;

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    let (device, inode, bytes) = (file.dev() as i64, file.ino() as i64, file.size() as i64);
    Some([device, inode, bytes, file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()])
}

/// With memcached's messages.
fn load_auth_file(path: &Path) -> Result<Accounts, LoadError> {
    let shown = path.display();
    let accounts = match read(path) {
        Ok(bytes) => parse_auth_file(&bytes).map_err(|text| format!("Authfile [{shown}] {text}")),
        Err(error) => {
            // memcached says why twice.
            let text = error_text(&error);
            Err(format!("Could not open authfile [{shown}] for reading, error {text}: {text}"))
        }
    };
    accounts.map_err(LoadError::Unusable)
}

fn load_sasl_file(path: &Path) -> Result<Accounts, LoadError> {
    let shown = path.display();
    match read(path) {
        Ok(bytes) => {
            let accounts = parse_sasl_file(&bytes);
            accounts.map_err(|text| LoadError::Unusable(format!("SASL password file [{shown}] {text}")))
        }
        Err(error) => {
            let text = format!("Could not open SASL password file [{shown}]: {}", error_text(&error));
            Err(match error.kind() {
                ErrorKind::NotFound => LoadError::Gone(text),
                _ => LoadError::Unusable(text),
            })
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(io::Error::from_raw_os_error(rustix::io::Errno::FBIG.raw_os_error())),
        false => Ok(bytes),
    }
}

/// The thread that verifies hashed passwords, one after the other and after the workers, before it is started.
pub(super) struct Verifier(Receiver<Verification>);

impl Verifier {
    /// Starts it; it ends with the server. What it hashes comes from whoever reaches the port, so it has to be one of the
    /// threads that have given up files.
    pub(super) fn start(self, _restricted: &Restricted) -> io::Result<()> {
        thread::Builder::new().name("verifier".to_owned()).spawn(move || {
            limits::lower_priority(VERIFIER_NICENESS);
            for verification in self.0 {
                verification.run();
            }
        })?;
        Ok(())
    }
}

fn verifier() -> (Box<Verify>, Verifier) {
    let (sender, receiver) = bounded::<Verification>(VERIFICATIONS_MAX);
    let verify = move |verification| !matches!(sender.try_send(verification), Err(TrySendError::Full(_)));
    (Box::new(verify), Verifier(receiver))
}

/// Passwords that wait to be verified. A login beyond them fails at once.
const VERIFICATIONS_MAX: usize = 256;
/// How far the verifier stands behind the workers where there is no processor for both.
const VERIFIER_NICENESS: i32 = 10;

#[cfg(test)]
mod tests {
    use super::super::privileges::{self, Privileges};
    use super::*;
    use crate::command::login::accounts::Claim;
    use crate::options::Sandbox;
    use crate::sys::sandbox::Needs;

    /// A folder that is removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("slabstash-logins-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[track_caller]
    fn check_refused(config: LoginConfig, expected: &str) {
        let failure = open(config).err().expect("refused");
        assert_eq!((failure.message.as_str(), failure.exit_code), (expected, 1));
    }

    fn with_sasl(file: &Path, folders: &Path) -> LoginConfig {
        LoginConfig::Sasl { file: file.to_owned(), folders: Some(folders.into()) }
    }

    #[test]
    fn files_that_cannot_be_used_are_refused_with_a_line() {
        let folder = Folder::new("refused");
        let good = folder.write("good", "u@h:p\n");
        let bad = folder.write("bad", "u@h:p\nu p\n");
        let missing = folder.0.join("missing");
        let (shown_bad, shown_missing, shown_folder) = (bad.display(), missing.display(), folder.0.display());
        let text = format!("Could not open SASL password file [{shown_missing}]: No such file or directory");
        check_refused(with_sasl(&missing, &folder.0), &text);
        let text = format!("Could not open SASL password file [{shown_folder}]: Is a directory");
        check_refused(with_sasl(&folder.0, &folder.0), &text);
        let entry = "has a malformed entry in line 2. Should be 'user@realm:password'";
        check_refused(with_sasl(&bad, &folder.0), &format!("SASL password file [{shown_bad}] {entry}"));
        let why = "No such file or directory";
        let text = format!("Could not open authfile [{shown_missing}] for reading, error {why}: {why}");
        check_refused(LoginConfig::Text { file: missing.clone() }, &text);
        let most = "# one comment.\n\n".repeat(FILE_BYTES_MAX as usize / 16);
        let largest = folder.write("largest", &most);
        assert_eq!(most.len() as u64, FILE_BYTES_MAX);
        assert!(open(with_sasl(&largest, &folder.0)).is_ok());
        let large = folder.write("large", &format!("{most}\n"));
        let text = format!("Could not open SASL password file [{}]: File too large", large.display());
        check_refused(with_sasl(&large, &folder.0), &text);
        let configuration = folder.write("memcached.conf", "mech_list: gssapi\n");
        let why = "its mech_list names none of PLAIN and CRAM-MD5";
        let text = format!("SASL configuration [{}] cannot be used: {why}", configuration.display());
        check_refused(with_sasl(&good, &folder.0), &text);
    }

    /// The verifier hashes what strangers send, and was started before files were given up: it alone of all threads could
    /// read every file of the user. A restriction is for the process' life, so this runs in one of its own.
    #[test]
    fn the_verifier_has_given_up_files() {
        const MARK: &str = "SLABSTASH_TEST_VERIFIER";
        if std::env::var_os(MARK).is_none() {
            let name = "server::logins::tests::the_verifier_has_given_up_files";
            let mut again = std::process::Command::new(std::env::current_exe().unwrap());
            let output = again.args(["--exact", name, "--nocapture"]).env(MARK, "1").output().unwrap();
            assert!(output.status.success(), "{output:?}");
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
            return;
        }
        let folder = Folder::new("verifier");
        let hash = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$4mqQiyq0VpIzuZmp+8eSF3YJ7Av58TkEJ4LIdOVsAc4";
        let path = folder.write("users", &format!("u:{hash}\n"));
        let (logins, verifier) = open(LoginConfig::Text { file: path }).ok().unwrap();
        let needs = Needs::default();
        let privileges = Privileges::new(privileges::Config { sandbox: Sandbox::Auto, is_relaxed: false, needs });
        verifier.start(&privileges.restrict_files()).unwrap();
        // What wakes a connection runs in the verifier's thread.
        let (sender, woken) = bounded(1);
        let wake = || -> Arc<dyn Fn() + Send + Sync> {
            Arc::new(move || {
                let _ = sender.send((thread::current().name().map(str::to_owned), fs::read("/etc/passwd").is_ok()));
            })
        };
        let claim = Claim { user: b"u".to_vec(), bare_user: None, password: b"wrong".to_vec() };
        let answer = logins.check(claim, wake);
        assert_eq!(woken.recv().unwrap(), (Some("verifier".to_owned()), privileges.text().contains("as the user has")));
        assert!(matches!(answer, crate::command::login::Answer::Later(_)));
    }

    #[test]
    fn the_configuration_is_where_libsasl_looks() {
        let folder = Folder::new("configuration");
        folder.write("memcached.conf", "mech_list: cram-md5\n");
        let paths = std::env::join_paths([Path::new("/nonexistent"), &folder.0]).unwrap();
        assert_eq!(sasl(Some(Path::new(&paths))).unwrap().names(), "CRAM-MD5");
        assert_eq!(sasl(Some(Path::new("/nonexistent"))).unwrap().names(), "PLAIN");
        let standard = configuration_files(None);
        assert_eq!(standard.last().map(PathBuf::as_path), Some(Path::new("/etc/sasl2/memcached.conf")));
    }

    #[test]
    fn a_sasl_file_is_read_again_when_it_is_another() {
        let folder = Folder::new("changes");
        let path = folder.write("users", "u@h:p\n");
        let logins = open(with_sasl(&path, &folder.0)).ok().unwrap().0;
        assert_eq!(logins.accounts().count(), 1);
        folder.write("users", "u@h:p\nv@h:p\n");
        assert_eq!(logins.accounts().count(), 2);
        // A file with a mistake leaves what was, and is not read over and over.
        folder.write("users", "u p\n");
        assert_eq!(logins.accounts().count(), 2);
        assert!(!(source(path.clone(), false).has_changed)());
        fs::remove_file(&path).unwrap();
        assert_eq!(logins.accounts().count(), 0);
        folder.write("users", "u@h:p\n");
        assert_eq!(logins.accounts().count(), 1);
    }

    #[test]
    fn an_auth_file_is_read_again_when_told() {
        let folder = Folder::new("told");
        let path = folder.write("users", "u:p\n");
        let logins = open(LoginConfig::Text { file: path.clone() }).ok().unwrap().0;
        folder.write("users", "u:p\nv:p\n");
        assert_eq!(logins.accounts().count(), 1);
        assert_eq!((logins.reload(), logins.count()), (Ok(()), 2));
        fs::remove_file(&path).unwrap();
        assert!(logins.reload().is_err());
        assert_eq!(logins.count(), 2);
    }
}
