//! The lines that watchers see for commands: lookups, stores, deletes. Keys are URI-encoded.

use crate::base::key::uri_encode;
use crate::base::time::Now;
use crate::stats::events::class;
use crate::store::{Entry, Found, StoreError};

use super::apply::{Mode, StoreOutcome, Stored};
use super::service::{Context, Service};

/// Tells watchers of a lookup. Call it at the start of a visit.
#[inline]
pub fn fetched(entry: &Entry<'_>, key: &[u8], descriptor: i32, service: &Service) {
    if service.events.is_watched(class::FETCHERS) {
        emit_fetched(entry, key, descriptor, service);
    }
}

#[cold]
fn emit_fetched(entry: &Entry<'_>, key: &[u8], descriptor: i32, service: &Service) {
    let status = match entry.found() {
        Found::Miss => "not_found",
        Found::Hit => "found",
        Found::Flushed => "flushed",
        Found::Expired => "expired",
    };
    let (class_id, bytes) = entry.item().map_or((0, 0), |item| (item.class(), item.value().len()));
    service.events.emit(class::FETCHERS, |line| {
        line.extend_from_slice(b"type=item_get key=");
        uri_encode(key, line);
        line.extend_from_slice(format!(" status={status} clsid={class_id} cfd={descriptor} size={bytes}").as_bytes());
    });
}

/// Tells watchers of a storage command.
#[cold]
pub fn stored(mode: Mode, outcome: StoreOutcome, key: &[u8], exptime: u32, class_id: u8, context: &Context<'_>) {
    let status = match outcome.stored {
        Stored::Stored => "stored",
        Stored::NotStored => "not_stored",
        Stored::Exists => "exists",
        Stored::NotFound => "not_found",
        Stored::NoMemory => "no_memory",
    };
    let (ttl, descriptor) = (seconds_left(exptime, context.now), context.descriptor);
    context.service.events.emit(class::MUTATIONS, |line| {
        line.extend_from_slice(b"type=item_store key=");
        uri_encode(key, line);
        let (name, bytes) = (mode.name(), outcome.value_bytes);
        line.extend_from_slice(
            format!(" status={status} cmd={name} ttl={ttl} clsid={class_id} cfd={descriptor} size={bytes}").as_bytes(),
        );
    });
}

/// Tells watchers of an item that another command has made of its own accord, as if `mode` had stored it.
#[inline]
pub fn made(mode: Mode, key: &[u8], value_bytes: usize, flags: u32, exptime: u32, context: &Context<'_>) {
    let service = context.service;
    if service.events.is_watched(class::MUTATIONS) {
        let class_id = service.store.class_of(service.store.item_bytes(key.len(), value_bytes, flags));
        let outcome = StoreOutcome { stored: Stored::Stored, cas: 0, value_bytes };
        stored(mode, outcome, key, exptime, class_id, context);
    }
}

/// Tells watchers of a storage command that was refused before its data came; `name` is the command's. memcached leaves
/// class and descriptor to chance here; this gives class 0 and the descriptor.
#[cold]
pub fn refused(name: &str, error: StoreError, key: &[u8], context: &Context<'_>) {
    let (events, descriptor) = (&context.service.events, context.descriptor);
    if !events.is_watched(class::MUTATIONS) {
        return;
    }
    let status = match error {
        StoreError::TooLarge => "too_large",
        StoreError::NoMemory => "no_memory",
    };
    events.emit(class::MUTATIONS, |line| {
        line.extend_from_slice(b"type=item_store key=");
        uri_encode(key, line);
        line.extend_from_slice(format!(" status={status} cmd={name} ttl=0 clsid=0 cfd={descriptor} size=0").as_bytes());
    });
}

/// Tells watchers that `command` (`delete`, `md`) removes the entry's item. Call it before the removal.
#[inline]
pub fn deleted(entry: &Entry<'_>, key: &[u8], command: &str, service: &Service) {
    if service.events.is_watched(class::DELETIONS) {
        emit_deleted(entry, key, command, service);
    }
}

#[cold]
fn emit_deleted(entry: &Entry<'_>, key: &[u8], command: &str, service: &Service) {
    let Some((class_id, bytes)) = entry.item().map(|item| (item.class(), item.value().len())) else {
        return;
    };
    service.events.emit(class::DELETIONS, |line| {
        line.extend_from_slice(b"type=deleted key=");
        uri_encode(key, line);
        line.extend_from_slice(format!(" cmd={command} clsid={class_id} size={bytes}").as_bytes());
    });
}

/// Seconds until `exptime`, 0 for never; wraps for the past as memcached's unsigned number does.
pub fn seconds_left(exptime: u32, now: Now) -> u32 {
    if exptime == 0 { 0 } else { exptime.wrapping_sub(now.seconds) }
}
