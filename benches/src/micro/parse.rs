//! Bytes to requests: the line's end, the words, the numbers; the header of a binary request.

use std::hint::black_box;

use slabstash::protocol::binary::header::{Header, Parsed};
use slabstash::protocol::binary::opcode::Opcode;
use slabstash::protocol::text::classic::{self, Storage};
use slabstash::protocol::text::line::{self, Found};
use slabstash::protocol::text::meta;

use crate::load::batch::Batch;
use crate::load::data::Data;
use crate::load::request;
use crate::micro::{Item, Prepared, item};

/// From the smallest part to the longest line.
pub const ITEMS: &[Item] = &[
    item("parse-line-end", || each(request::get, line_end)),
    item("parse-get", || each(request::get, |input| keys(text(input)))),
    item("parse-multiget-key", multiget),
    item("parse-set", || each(request::set, |input| storage(text(input)))),
    item("parse-incr", || each(incr, |input| arithmetic(text(input)))),
    item("parse-mg", || each(request::meta_get, |input| meta_get(text(input)))),
    item("parse-binary", || each(request::binary_get_quietly, binary)),
];

/// An item whose subjects are requests, one each.
fn each(render: fn(&Data, u64, &mut Batch), parse: fn(&[u8])) -> Prepared {
    Prepared::each(requests(render), move |input: &Vec<u8>| parse(input))
}

fn requests(render: fn(&Data, u64, &mut Batch)) -> Vec<Vec<u8>> {
    let data = Data::short(REQUESTS, VALUE_BYTES);
    let render = |id| {
        let mut batch = Batch::default();
        render(&data, id, &mut batch);
        batch.request
    };
    (0..REQUESTS).map(render).collect()
}

fn multiget() -> Prepared {
    fn fifty(data: &Data, id: u64, batch: &mut Batch) {
        request::multiget(data, (0..KEYS_PER_LINE).map(|index| (id + index) % data.keys), batch);
    }
    Prepared::each(requests(fifty), |input| keys(text(input))).counting(KEYS_PER_LINE)
}

fn incr(data: &Data, id: u64, batch: &mut Batch) {
    batch.request.extend_from_slice(b"incr ");
    data.write_key(id, &mut batch.request);
    batch.request.extend_from_slice(b" 1234\r\n");
}

fn line_end(input: &[u8]) {
    black_box(text(input));
}

fn text(input: &[u8]) -> &[u8] {
    match line::find(input, 0) {
        Found::Line { text, .. } => text,
        _ => panic!("no line: {}", input.escape_ascii()),
    }
}

fn keys(text: &[u8]) {
    let (verb, arguments) = classic::verb(text);
    black_box(verb);
    let mut rest = classic::retrieval(arguments).expect("a get with a key");
    loop {
        let key = line::next_token(&mut rest);
        if key.is_empty() {
            break;
        }
        black_box(key);
    }
}

fn storage(text: &[u8]) {
    let (verb, arguments) = classic::verb(text);
    black_box(verb);
    let parsed = classic::storage(arguments, false);
    assert!(matches!(parsed, Storage::Data(_)), "{parsed:?}");
    black_box(parsed);
}

fn arithmetic(text: &[u8]) {
    let (verb, arguments) = classic::verb(text);
    black_box(verb);
    black_box(classic::arithmetic(arguments).expect("an incr with a number"));
}

fn meta_get(text: &[u8]) {
    let (verb, _) = classic::verb(text);
    black_box(verb);
    let mut request = meta::Request::new(text);
    assert!(request.split(2), "word, key and flag");
    request.check().expect("a flag that mg has");
    black_box(request);
}

fn binary(input: &[u8]) {
    let Parsed::Header(header) = Header::parse(input) else { panic!("no header: {}", input.escape_ascii()) };
    let opcode = Opcode::find(header.opcode).expect("a known opcode");
    assert!(opcode.accepts(&header, header.value_bytes().expect("lengths that add up")));
    black_box((header, opcode));
}

const REQUESTS: u64 = 2000;
const VALUE_BYTES: usize = 100;
const KEYS_PER_LINE: u64 = 50;
