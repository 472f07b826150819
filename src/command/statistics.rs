//! Stand-in for the statistics commands, until they land.

use super::service::Context;

/// Lines of `stats`.
pub fn general(context: &Context<'_>, emit: &mut dyn FnMut(&str, &str)) {
    emit("version", &context.service.config.version);
}

/// Lines of `stats settings`.
pub fn settings(_context: &Context<'_>, _emit: &mut dyn FnMut(&str, &str)) {}

/// Lines of `stats items`.
pub fn items(_context: &Context<'_>, _emit: &mut dyn FnMut(&str, &str)) {}

/// Lines of `stats slabs`.
pub fn slabs(_context: &Context<'_>, _emit: &mut dyn FnMut(&str, &str)) {}

/// Lines of `stats sizes`.
pub fn sizes(_context: &Context<'_>, _emit: &mut dyn FnMut(&str, &str)) {}

/// `stats reset`.
pub fn reset(_context: &Context<'_>) {}
