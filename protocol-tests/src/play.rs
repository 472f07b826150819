//! Plays one case once against a running server.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::thread;
use std::time::Duration;

use crate::case::{Action, Case, Step};
use crate::connection::Connection;
use crate::server::Server;
use crate::template::{Bindings, expand};
use crate::tls::Trust;
use crate::version::Version;

/// Plays `case`, every write cut in two at `cut` where it is longer than that, and returns the writes.
pub fn play(case: &Case, cut: Option<usize>, version: Version, server: &mut Server) -> Result<Vec<Vec<u8>>, String> {
    if !case.setting.is_unreset && !case.setting.is_fresh {
        server.flush()?;
    }
    if case.setting.has_canary {
        server.set_canary()?;
    }
    let mut run = Run {
        port: server.port,
        trust: server.trust.clone(),
        cut,
        bindings: Bindings::new(version),
        connections: HashMap::new(),
        writes: Vec::new(),
    };
    for step in &case.steps {
        run.step(step).map_err(|error| format!("line {}, [{}]: {error}", step.line, step.connection))?;
    }
    if !case.setting.is_left_open {
        for (name, connection) in &mut run.connections {
            connection.probe().map_err(|error| format!("at the end, [{name}]: {error}"))?;
        }
    }
    if case.setting.has_canary {
        server.check_canary().map_err(|error| format!("the canary: {error}"))?;
    }
    if let Some(code) = case.setting.exit {
        server.expect_exit(code)?;
    }
    Ok(run.writes)
}

struct Run {
    port: u16,
    trust: Option<Trust>,
    cut: Option<usize>,
    bindings: Bindings,
    /// Those in use: a connection that was closed by either side is not among them.
    connections: HashMap<String, Connection>,
    writes: Vec<Vec<u8>>,
}

impl Run {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        if let Action::Pause(milliseconds) = step.action {
            thread::sleep(Duration::from_millis(milliseconds));
            return Ok(());
        }
        let connection = match self.connections.entry(step.connection.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Connection::open(self.port, self.trust.as_ref())?),
        };
        match &step.action {
            Action::Send(pieces) => {
                let bytes = expand(pieces, &self.bindings)?;
                connection.send(&bytes, self.cut);
                self.writes.push(bytes);
            }
            Action::Expect(pieces) => connection.expect(pieces, &mut self.bindings)?,
            Action::EndSending => connection.end_sending(),
            Action::ExpectClose => {
                connection.expect_close()?;
                self.connections.remove(&step.connection);
            }
            Action::Close => {
                self.connections.remove(&step.connection);
            }
            Action::Pause(_) => {}
        }
        Ok(())
    }
}
