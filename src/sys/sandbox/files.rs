//! Landlock: which files the process can still reach, and that it opens no TCP connection or port of its own.
//!
//! A rule is bound to what a path leads to when the rule is made, so a file that is replaced by a new one (as
//! certificates are) would be lost to it. Folders stay: the rules are for the folder of each file, and, where the file is
//! a link, for the folder it leads to at present as well.
//!
//! Of the TCP ports none is left to bind or connect to, since all sockets are open by now. Landlock cannot see UDP before
//! its ABI 10 and is not asked to: replies go out from the sockets that are there, and new ones [`super::calls`] bars.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::{Needs, folder};

/// Takes from the calling thread, and from those that it starts later, all files but those of `needs`. Returns the ABI as
/// far as the kernel has it and this program uses it; 0 when the kernel has none.
pub fn restrict(needs: &Needs) -> Result<u32, String> {
    match apply(needs) {
        Ok(status) => Ok(level(&status)),
        Err(error) => Err(error.to_string()),
    }
}

fn apply(needs: &Needs) -> Result<RestrictionStatus, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?;
    for path in &needs.read {
        for folder in folders(path) {
            rules = allow(rules, &folder, AccessFs::ReadFile.into())?;
        }
    }
    for path in &needs.remove {
        rules = allow(rules, folder(path), AccessFs::RemoveFile.into())?;
    }
    for path in &needs.write {
        let kept = AccessFs::ReadFile
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::RemoveFile
            | AccessFs::ReadDir;
        rules = allow(rules, path, kept)?;
    }
    // Where the streams of a daemon go.
    rules = allow(rules, Path::new("/dev/null"), AccessFs::ReadFile | AccessFs::WriteFile)?;
    rules.restrict_self()
}

/// A folder that cannot be opened gets no rule: it could not be used without Landlock either.
fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(opened) => rules.add_rule(PathBeneath::new(opened, access)),
        Err(error) => {
            log::warn!("{error}; it stays out of reach");
            Ok(rules)
        }
    }
}

/// The folder of the path, and of what it leads to.
fn folders(path: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder(path).to_owned()];
    if let Ok(target) = path.canonicalize() {
        let target = folder(&target).to_owned();
        if !folders.contains(&target) {
            folders.push(target);
        }
    }
    folders
}

fn level(status: &RestrictionStatus) -> u32 {
    match (&status.ruleset, &status.landlock) {
        (RulesetStatus::NotEnforced, _) => 0,
        (_, LandlockStatus::Available { effective_abi, .. }) => (*effective_abi).min(NEWEST) as u32,
        _ => 0,
    }
}

/// The newest ABI whose rights for files are used.
const NEWEST: ABI = ABI::V7;
