//! The parser of meta lines and base64 against plain ones that take a line apart token by token.

use slabstash::protocol::text::base64;
use slabstash::protocol::text::meta::{self, Refusal};
use slabstash::protocol::text::number::{strict_i32, strict_u32, strict_u64};

/// Checks an input: a line, perhaps others behind it.
pub fn check(input: &[u8]) {
    check_keys(input);
    let line = input.split(|&byte| byte == b'\n').next().unwrap_or_default();
    for positional in [2, 3] {
        check_split(line, positional);
    }
    line.split(|&byte| byte == b' ').for_each(check_base64);
}

/// What a line comes to.
#[derive(PartialEq, Debug)]
struct Plain<'a> {
    key: &'a [u8],
    flags: Vec<&'a [u8]>,
    data: &'a [u8],
    tokens: usize,
}

fn split(line: &[u8], positional: usize) -> Option<Plain<'_>> {
    let line = &line[..line.len().min(65_534)];
    let mut tokens: Vec<&[u8]> = line.split(|&byte| byte == b' ').filter(|token| !token.is_empty()).collect();
    tokens.truncate(23);
    if tokens.len() < positional {
        return None;
    }
    let flags = &tokens[positional..];
    if flags.iter().any(|flag| !(flag[0].is_ascii_digit() || (b'A'..=b'z').contains(&flag[0]))) {
        return None;
    }
    let data = if positional == 3 { tokens[2] } else { b"" };
    let flags = flags.iter().copied().take(20).collect();
    Some(Plain { key: tokens[1], flags, data, tokens: tokens.len() })
}

fn check_split(line: &[u8], positional: usize) {
    let request = meta::split(line, positional);
    let plain = split(line, positional);
    assert_eq!(request.is_some(), plain.is_some());
    let (Some(mut request), Some(plain)) = (request, plain) else { return };
    let shown: Vec<&[u8]> = request.flags().iter().map(|flag| request.text(flag)).collect();
    assert_eq!((request.key(), shown), (plain.key, plain.flags.clone()));
    if positional == 3 {
        let bytes = strict_i32(plain.data).and_then(|bytes| usize::try_from(bytes).ok());
        assert_eq!(request.data_bytes(), bytes.filter(|&bytes| bytes <= 2_147_483_645));
    }
    let checked = request.check();
    assert_eq!(checked, expected(&plain));
    assert_eq!(request.check_key().is_err(), plain.key.len() > 250);
    if checked.is_err() {
        return;
    }
    for letter in b'A'..=b'z' {
        let flag = plain.flags.iter().find(|flag| flag[0] == letter);
        assert_eq!(request.has(letter), flag.is_some());
        let Some(flag) = flag else {
            assert!(request.flag(letter).is_none());
            continue;
        };
        match letter {
            b'C' | b'D' | b'E' | b'J' => assert_eq!(request.number(letter), strict_u64(&flag[1..])),
            b'F' => assert_eq!(request.number(letter), strict_u32(&flag[1..]).map(u64::from)),
            b'N' | b'R' | b'T' => assert_eq!(request.seconds(letter), strict_i32(&flag[1..]).map(i64::from)),
            b'O' => assert_eq!(request.opaque().ok(), Some(*flag).filter(|flag| flag.len() <= 32)),
            b'M' => {
                let mode = flag.get(1).copied().unwrap_or(b' ');
                assert_eq!(request.mode(), Some(mode).filter(|&mode| mode != 0));
            }
            _ => {}
        }
    }
}

fn expected(plain: &Plain<'_>) -> Result<(), Refusal> {
    if plain.key.len() > 250 {
        return Err(Refusal::BadFormat);
    }
    if plain.tokens > 20 {
        return Err(Refusal::TooManyFlags);
    }
    let mut refusal = Ok(());
    for (index, flag) in plain.flags.iter().enumerate() {
        if !b"bcfhklqstuvxCDEFIJLMNOPRT".contains(&flag[0]) {
            return Err(Refusal::InvalidFlag);
        }
        if plain.flags[..index].iter().any(|other| other[0] == flag[0]) {
            return Err(Refusal::DuplicateFlag);
        }
        let text = &flag[1..];
        let (is_fine, wrong) = match flag[0] {
            b'C' | b'E' => (strict_u64(text).is_some(), Refusal::BadToken),
            b'D' => (strict_u64(text).is_some(), Refusal::BadDelta),
            b'J' => (strict_u64(text).is_some(), Refusal::BadInitial),
            b'N' | b'R' | b'T' => (strict_i32(text).is_some(), Refusal::BadToken),
            // An earlier refusal stays.
            b'F' if refusal.is_err() => continue,
            b'F' => (strict_u32(text).is_some(), Refusal::BadFormat),
            b'b' => {
                refusal = decode(plain.key).filter(|key| key.len() <= 250).map_or(Err(Refusal::BadKey), |_| refusal);
                continue;
            }
            _ => continue,
        };
        if !is_fine || text.is_empty() {
            refusal = Err(wrong);
        }
    }
    refusal
}

/// Base64 as memcached reads it: other bytes are skipped, the rest are quartets, and the first padded one is the last.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u8> = text.iter().copied().filter(|byte| *byte == b'=' || LETTERS.contains(byte)).collect();
    // Room is asked for before anything is decoded.
    if digits.is_empty() || !digits.len().is_multiple_of(4) || digits.len() / 4 * 3 > 250 {
        return None;
    }
    let mut bytes = Vec::new();
    for quartet in digits.chunks(4) {
        let value = |digit: &u8| LETTERS.iter().position(|letter| letter == digit).unwrap_or(0) as u32;
        let bits = quartet.iter().fold(0, |bits, digit| bits << 6 | value(digit));
        let padding = quartet.iter().filter(|&&digit| digit == b'=').count();
        if padding > 2 {
            return None;
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
        if padding > 0 {
            break;
        }
    }
    Some(bytes)
}

fn check_base64(text: &[u8]) {
    let mut room = [0xaa; 250];
    let decoded = base64::decode(text, &mut room).map(|length| room[..length].to_vec());
    assert_eq!(decoded, decode(text));
    let mut encoded = Vec::new();
    base64::encode(text, &mut encoded);
    let mut room = vec![0; encoded.len()];
    let length = base64::decode(&encoded, &mut room);
    assert_eq!(length.map(|length| &room[..length]), (!text.is_empty()).then_some(text));
}

/// The keys that are looked ahead for are those of the lines.
fn check_keys(input: &[u8]) {
    let mut rest = input;
    for key in meta::keys(input) {
        let [b'm', command, b' ', behind @ ..] = rest else {
            panic!("a key of no meta command");
        };
        let length = behind.iter().take_while(|&&byte| byte > b' ').count();
        assert_eq!(key, &behind[..length]);
        if *command == b's' {
            rest = b"";
            continue;
        }
        let end = behind.iter().position(|&byte| byte == b'\n').expect("a whole line");
        rest = &behind[end + 1..];
    }
}
