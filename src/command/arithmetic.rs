//! incr and decr.

use crate::protocol::text::{classic, reply};

use super::apply::{self, Delta, DeltaRequest};
use super::output::Output;
use super::service::Context;

/// Executes incr or decr.
pub(super) fn execute(arguments: &[u8], is_increment: bool, output: &mut Output, context: &mut Context<'_>) {
    let line = match classic::arithmetic(arguments) {
        Ok(line) => line,
        Err(refusal) => {
            if !refusal.is_noreply {
                output.push(refusal.reply);
            }
            return;
        }
    };
    let request = DeltaRequest { is_increment, delta: line.argument, compare: 0, new_cas: None };
    let delta = context.visit(line.key, |entry| {
        let delta = apply::delta(entry, &request);
        if delta == Delta::NotFound {
            apply::count_miss(entry, is_increment);
        }
        delta
    });
    if line.is_noreply {
        return;
    }
    match delta {
        Delta::Done { value, .. } => {
            reply::number(value, output.bytes());
            output.push(b"\r\n");
        }
        Delta::NotFound => output.push(reply::NOT_FOUND),
        Delta::NonNumeric => output.push(reply::NON_NUMERIC),
        Delta::NoMemory => output.push(reply::NO_MEMORY),
        // No CAS id is given, so none can differ.
        Delta::Mismatch => {}
    }
}
