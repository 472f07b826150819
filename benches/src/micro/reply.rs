//! Replies to bytes. What writes a meta reply belongs to the commands and is counted with them, in [`super::session`].

use std::hint::black_box;

use slabstash::protocol::binary::header::{Header, Parsed};
use slabstash::protocol::binary::reply::{self as binary, Echo, Parts, Status};
use slabstash::protocol::text::reply;

use crate::load::batch::Batch;
use crate::load::data::Data;
use crate::load::request;
use crate::micro::{Item, Prepared, item};

/// From the smallest part to whole headers.
pub const ITEMS: &[Item] = &[
    item("reply-number-small", || numbers(|index| index % 1000)),
    item("reply-number-cas", || numbers(|index| u64::MAX - index)),
    item("reply-value-header", || headers(None)),
    item("reply-value-header-cas", || headers(Some(1_234_567))),
    item("reply-binary-header", binary_headers),
];

fn numbers(number: fn(u64) -> u64) -> Prepared {
    let mut out = Vec::with_capacity(OUTPUT_BYTES);
    Prepared::each((0..REPLIES).map(number).collect(), move |&number| {
        out.clear();
        reply::number(number, black_box(&mut out));
    })
}

fn headers(cas: Option<u64>) -> Prepared {
    let data = Data::short(REPLIES, VALUE_BYTES);
    let key = |id| {
        let mut key = Vec::new();
        data.write_key(id, &mut key);
        key
    };
    let mut out = Vec::with_capacity(OUTPUT_BYTES);
    Prepared::each((0..REPLIES).map(key).collect(), move |key: &Vec<u8>| {
        out.clear();
        reply::value_header(key, 0, black_box(VALUE_BYTES), black_box(cas), black_box(&mut out));
    })
}

fn binary_headers() -> Prepared {
    let parts = Parts { extras_bytes: 4, value_bytes: VALUE_BYTES, ..Parts::default() };
    let mut out = Vec::with_capacity(OUTPUT_BYTES);
    let data = Data::short(REPLIES, VALUE_BYTES);
    let echo = |id| {
        let mut batch = Batch::default();
        request::binary_get_quietly(&data, id, &mut batch);
        match Header::parse(&batch.request) {
            Parsed::Header(header) => Echo::of(&header),
            _ => panic!("a request has a header"),
        }
    };
    Prepared::each((0..REPLIES).map(echo).collect(), move |&echo: &Echo| {
        out.clear();
        binary::push_header(echo, Status::Success, black_box(parts), 7, black_box(&mut out));
    })
}

const REPLIES: u64 = 2000;
const VALUE_BYTES: usize = 100;
const OUTPUT_BYTES: usize = 1024;
