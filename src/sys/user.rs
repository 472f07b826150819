//! Which user the process runs as (`-u`).

use std::ffi::CString;

use nix::unistd::{User, geteuid, getuid, initgroups, setgid, setuid};

/// Why the user could not be changed.
#[derive(Debug)]
pub enum UserError {
    /// There is no user of that name.
    Unknown,
    /// The groups were refused.
    Groups,
    /// The user or its group was refused.
    User,
}

/// Whether the process runs as root.
pub fn is_root() -> bool {
    getuid().is_root() || geteuid().is_root()
}

/// Becomes the user `name`, with its groups and no others. Call while there is one thread. A system that keeps us from
/// choosing groups has done so for us.
pub fn become_user(name: &str) -> Result<(), UserError> {
    let user = User::from_name(name).map_err(|_| UserError::User)?.ok_or(UserError::Unknown)?;
    let name = CString::new(name).map_err(|_| UserError::Unknown)?;
    match initgroups(&name, user.gid) {
        Ok(()) | Err(nix::errno::Errno::EPERM) => {}
        Err(_) => return Err(UserError::Groups),
    }
    setgid(user.gid).map_err(|_| UserError::User)?;
    setuid(user.uid).map_err(|_| UserError::User)
}
