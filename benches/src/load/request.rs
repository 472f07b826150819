//! Requests of the three protocols, each appended to a batch together with the reply that a server holding the item must
//! give. All items have client flags 0.

use std::io::Write as _;

use crate::load::batch::Batch;
use crate::load::data::Data;

/// `get` of one key.
pub fn get(data: &Data, id: u64, batch: &mut Batch) {
    multiget(data, [id], batch);
}

/// One `get` with many keys; each key counts as an operation.
pub fn multiget(data: &Data, ids: impl IntoIterator<Item = u64>, batch: &mut Batch) {
    batch.request.extend_from_slice(b"get");
    for id in ids {
        batch.request.push(b' ');
        let key = batch.request.len();
        data.write_key(id, &mut batch.request);
        batch.reply.extend_from_slice(b"VALUE ");
        batch.reply.extend_from_slice(&batch.request[key..]);
        batch.reply.extend_from_slice(b" 0 ");
        write_number(data.value_bytes(id), &mut batch.reply);
        batch.reply.extend_from_slice(b"\r\n");
        data.write_value(id, &mut batch.reply);
        batch.reply.extend_from_slice(b"\r\n");
        batch.operations += 1;
    }
    batch.request.extend_from_slice(b"\r\n");
    batch.reply.extend_from_slice(b"END\r\n");
}

/// `set` of one item.
pub fn set(data: &Data, id: u64, batch: &mut Batch) {
    batch.request.extend_from_slice(b"set ");
    data.write_key(id, &mut batch.request);
    batch.request.extend_from_slice(b" 0 0 ");
    write_number(data.value_bytes(id), &mut batch.request);
    batch.request.extend_from_slice(b"\r\n");
    data.write_value(id, &mut batch.request);
    batch.request.extend_from_slice(b"\r\n");
    batch.reply.extend_from_slice(b"STORED\r\n");
    batch.operations += 1;
}

/// `mg` of one value.
pub fn meta_get(data: &Data, id: u64, batch: &mut Batch) {
    batch.request.extend_from_slice(b"mg ");
    data.write_key(id, &mut batch.request);
    batch.request.extend_from_slice(b" v\r\n");
    batch.reply.extend_from_slice(b"VA ");
    write_number(data.value_bytes(id), &mut batch.reply);
    batch.reply.extend_from_slice(b"\r\n");
    data.write_value(id, &mut batch.reply);
    batch.reply.extend_from_slice(b"\r\n");
    batch.operations += 1;
}

/// Binary `GETQ`: a get that says nothing on a miss.
pub fn binary_get_quietly(data: &Data, id: u64, batch: &mut Batch) {
    const OPCODE: u8 = 0x09;
    let opaque = id as u32;
    let key_bytes = data.key_bytes(id);
    binary_header(0x80, OPCODE, key_bytes, 0, key_bytes, opaque, &mut batch.request);
    data.write_key(id, &mut batch.request);

    let flags = [0; 4];
    let body_bytes = flags.len() + data.value_bytes(id);
    let start = batch.reply.len();
    binary_header(0x81, OPCODE, 0, flags.len(), body_bytes, opaque, &mut batch.reply);
    batch.ignored.push(start + 16..start + 24);
    batch.reply.extend_from_slice(&flags);
    data.write_value(id, &mut batch.reply);
    batch.operations += 1;
}

/// Binary `NOOP`, which ends a train of quiet requests. It is the client's means, so it is not counted.
pub fn binary_noop(batch: &mut Batch) {
    const OPCODE: u8 = 0x0a;
    binary_header(0x80, OPCODE, 0, 0, 0, 0, &mut batch.request);
    binary_header(0x81, OPCODE, 0, 0, 0, 0, &mut batch.reply);
}

/// 24 bytes; data type, status (or vbucket) and CAS are zero.
fn binary_header(
    magic: u8,
    opcode: u8,
    key_bytes: usize,
    extras_bytes: usize,
    body_bytes: usize,
    opaque: u32,
    out: &mut Vec<u8>,
) {
    let mut header = [0; 24];
    header[0] = magic;
    header[1] = opcode;
    header[2..4].copy_from_slice(&(key_bytes as u16).to_be_bytes());
    header[4] = extras_bytes as u8;
    header[8..12].copy_from_slice(&(body_bytes as u32).to_be_bytes());
    header[12..16].copy_from_slice(&opaque.to_be_bytes());
    out.extend_from_slice(&header);
}

fn write_number(number: usize, out: &mut Vec<u8>) {
    if number == 100 {
        // Nearly every value of the suite has this size; formatting it would be a third of the client's own time.
        out.extend_from_slice(b"100");
    } else {
        write!(out, "{number}").expect("a vector takes every write");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: Data =
        Data { keys: 10, key: crate::load::data::KeyShape::Short, value: crate::load::data::ValueSize::Fixed(3) };

    #[track_caller]
    fn check(fill: impl FnOnce(&mut Batch), request: &str, reply: &str, operations: u64) {
        let mut batch = Batch::default();
        fill(&mut batch);
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        assert_eq!(text(&batch.request), text(request.as_bytes()));
        let mut value = Vec::new();
        DATA.write_value(1, &mut value);
        let reply = reply.replace('$', std::str::from_utf8(&value).unwrap());
        assert_eq!(text(&batch.reply), text(reply.as_bytes()));
        assert_eq!(batch.operations, operations);
    }

    #[test]
    fn text_requests() {
        check(|b| get(&DATA, 1, b), "get key:00000001-\r\n", "VALUE key:00000001- 0 3\r\n$\r\nEND\r\n", 1);
        check(|b| meta_get(&DATA, 1, b), "mg key:00000001- v\r\n", "VA 3\r\n$\r\n", 1);
        check(
            |b| multiget(&DATA, [1, 1], b),
            "get key:00000001- key:00000001-\r\n",
            "VALUE key:00000001- 0 3\r\n$\r\nVALUE key:00000001- 0 3\r\n$\r\nEND\r\n",
            2,
        );
    }

    #[test]
    fn a_set_carries_the_value() {
        let mut batch = Batch::default();
        set(&DATA, 1, &mut batch);
        assert!(batch.request.starts_with(b"set key:00000001- 0 0 3\r\n"));
        assert_eq!(batch.request.len(), 25 + 5);
        assert_eq!(batch.reply, b"STORED\r\n");
    }

    #[test]
    fn numbers() {
        for number in [0, 99, 100, 101, 1_048_576] {
            let mut out = Vec::new();
            write_number(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }

    #[test]
    fn binary_requests() {
        let mut batch = Batch::default();
        binary_get_quietly(&DATA, 1, &mut batch);
        binary_noop(&mut batch);
        let request = b"\x80\x09\x00\x0d\0\0\0\0\0\0\0\x0d\0\0\0\x01\0\0\0\0\0\0\0\0key:00000001-";
        assert_eq!(batch.request[..37], request[..]);
        assert_eq!(batch.request.len(), 37 + 24);
        let reply = b"\x81\x09\0\0\x04\0\0\0\0\0\0\x07\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(batch.reply[..28], reply[..]);
        assert_eq!(batch.reply.len(), 31 + 24);
        assert_eq!((batch.ignored.len(), batch.ignored[0].clone()), (1, 16..24));
        assert_eq!(batch.operations, 1);
    }
}
