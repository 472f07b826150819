//! Where a server leaves its cache over a restart: a file in memory, or the hands of a service manager.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process;

use crate::case::Setting;
use crate::manager::{self, Manager, STARTER};
use crate::server::{Program, Server};

/// How a cache is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// In the file that `-e` names.
    File,
    /// By a service manager.
    Manager,
    /// Wrongly, to see that the check notices: in a file, and each server gets what the one before the last left.
    OldFile,
}

/// Keeps a cache. Its files go with it.
#[derive(Debug)]
pub struct Keeper {
    folder: PathBuf,
    file: PathBuf,
    manager: Option<(Manager, PathBuf)>,
    kept: Option<File>,
    keeping: Keeping,
    /// The file and its description as they were at the last stop.
    before: Option<[Vec<u8>; 2]>,
}

impl Keeper {
    /// Keeps the cache of servers of a program.
    pub fn new(keeping: Keeping, program: &Program) -> Result<Keeper, String> {
        let fail = |error: io::Error| error.to_string();
        let name = format!("history-{}-kept", process::id());
        let folder = env::temp_dir().join(&name);
        fs::create_dir_all(&folder).map_err(fail)?;
        let memory = Path::new("/dev/shm");
        let file = if memory.is_dir() { memory.join(name) } else { folder.join("cache") };
        let mut keeper = Keeper { folder, file, manager: None, kept: None, keeping, before: None };
        if keeping == Keeping::Manager {
            let starter = keeper.folder.join("start");
            let words = STARTER.replace("\"$@\"", &format!("'{}' \"$@\"", program.path.display()));
            fs::write(&starter, format!("#!/bin/sh\n{words}\n")).map_err(fail)?;
            fs::set_permissions(&starter, fs::Permissions::from_mode(0o755)).map_err(fail)?;
            keeper.manager = Some((Manager::new(&keeper.folder.join("notify"))?, starter));
        }
        Ok(keeper)
    }

    /// Lets a server find what was kept, and keep it again.
    pub fn prepare(&self, program: &mut Program, setting: &mut Setting) {
        let Some((manager, starter)) = &self.manager else {
            return setting.options.extend(["-e".to_string(), self.file.display().to_string()]);
        };
        program.path.clone_from(starter);
        let told = manager.environment().map(|(name, value)| (name.to_string(), value.to_string()));
        setting.environment.extend(told);
        setting.environment.extend(self.kept.iter().flat_map(manager::given));
    }

    /// Stops a server in order and takes what it leaves.
    pub fn stop(&mut self, server: &mut Server) -> Result<(), String> {
        server.stop_gracefully()?;
        if let Some((manager, _)) = &self.manager {
            self.kept = Some(manager.kept()?);
        }
        if self.keeping == Keeping::OldFile {
            self.exchange().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Puts the files of the stop before in place of those of this one.
    fn exchange(&mut self) -> io::Result<()> {
        let paths = [self.file.clone(), self.file.with_extension("meta")];
        let left = [fs::read(&paths[0])?, fs::read(&paths[1])?];
        if let Some(before) = self.before.replace(left) {
            fs::write(&paths[0], &before[0])?;
            fs::write(&paths[1], &before[1])?;
        }
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_file(self.file.with_extension("meta"));
    }
}
