//! `me`: what the server knows of an item, in words.

use std::io::Write;

use crate::protocol::text::base64;
use crate::protocol::text::meta::{Refusal, Request};

use super::super::output::Output;
use super::super::service::Context;
use super::{KeyBuffer, Reply};

/// `me <key> [b <anything>]`. As in memcached `b` counts only when another token follows it.
pub(super) fn show(request: &Request<'_>, output: &mut Output, context: &mut Context<'_>) -> Result<(), Reply> {
    let mut key = request.key();
    let decoded;
    if let [first, _, ..] = request.flags()
        && request.text(first) == b"b"
    {
        decoded = KeyBuffer::decoded(key);
        key = decoded.as_slice();
        if key.is_empty() {
            return Err(Refusal::BadFormat.reply());
        }
    }
    let now = context.now;
    context.counters().cmd_meta.add(1);
    context.visit(key, |entry| {
        let Some(item) = entry.item() else {
            output.push(b"EN\r\n");
            return Ok(());
        };
        let out = output.bytes();
        out.extend_from_slice(b"ME ");
        if item.marks().is_binary_key {
            base64::encode(item.key(), out);
        } else {
            out.extend_from_slice(item.key());
        }
        let expires = match item.exptime() {
            0 => -1,
            exptime => exptime.wrapping_sub(now.seconds) as i32,
        };
        let idle = item.idle_seconds(now);
        let fetched = if item.is_fetched() { "yes" } else { "no" };
        let (cas, class_id, bytes) = (item.cas(), item.class(), item.item_bytes());
        // Writing to memory does not fail.
        let _ = write!(out, " exp={expires} la={idle} cas={cas} fetch={fetched} cls={class_id} size={bytes}\r\n");
        Ok(())
    })
}
