//! The parsers of lines, numbers and classic commands against plain ones that split a line into a list of tokens and count
//! with wide integers.

use slabstash::base::key::is_valid;
use slabstash::protocol::text::classic::{self, Keyed, NOREPLY, Refusal, Storage, StorageLine};
use slabstash::protocol::text::line::{
    self, Found, TOKENS_KEPT, Tokens, UNFINISHED_BYTES_MAX, next_token, printable_length, skip_spaces,
};
use slabstash::protocol::text::{number, reply};

/// Checks an input: some bytes that a connection may have received.
pub fn check(input: &[u8]) {
    let (text, bytes) = check_find(input);
    check_tokens(text);
    for text in [text, input] {
        check_numbers(text);
        text.split(|&byte| byte == b' ').for_each(check_numbers);
        check_commands(text);
    }
    if let Some((key, taken)) = classic::single_get(input) {
        assert_eq!((tokens(text), taken), (vec![&b"get"[..], key], bytes));
        assert!(is_valid(key));
    }
    if let Some((line, taken)) = classic::single_set(input) {
        assert_eq!((Storage::Data(line), taken), (classic::storage(&text[4..], false), bytes));
    }
}

/// The first line and its length with its end, or everything.
fn check_find(input: &[u8]) -> (&[u8], usize) {
    let found = line::find(input, 0);
    let end = input.iter().position(|&byte| byte == b'\n');
    let scanned = end.unwrap_or(input.len());
    for scanned in [0, scanned / 2, scanned] {
        assert_eq!(line::find(input, scanned), found);
    }
    let Some(end) = end else {
        let spaces = input.iter().take_while(|&&byte| byte == b' ').count();
        let is_get = [&b"get "[..], b"gets "].iter().any(|word| input[spaces..].starts_with(word));
        let may_grow = input.len() <= UNFINISHED_BYTES_MAX || is_get && spaces <= 100;
        assert_eq!(found, if may_grow { Found::Partial } else { Found::TooLong });
        return (input, input.len());
    };
    let text = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    assert_eq!(found, Found::Line { text, bytes: end + 1 });
    (text, end + 1)
}

fn tokens(text: &[u8]) -> Vec<&[u8]> {
    text.split(|&byte| byte == b' ').filter(|token| !token.is_empty()).collect()
}

fn check_tokens(text: &[u8]) {
    let all = tokens(text);
    let mut rest = text;
    for &token in &all {
        assert_eq!(next_token(&mut rest), token);
    }
    assert_eq!(next_token(&mut rest), b"");
    let kept = &all[..all.len().min(TOKENS_KEPT)];
    assert_eq!(Tokens::split(text).as_slice(), kept);
    assert_eq!(Tokens::split(text).last(), kept.last().copied());
    for start in 0..text.len().min(20) {
        let text = &text[start..];
        assert_eq!(printable_length(text), text.iter().take_while(|&&byte| byte > b' ').count());
        let spaces = text.iter().take_while(|&&byte| byte == b' ').count();
        assert_eq!(skip_spaces(text), &text[spaces..]);
    }
    let (verb, rest) = classic::verb(text);
    assert!(text.ends_with(rest), "{verb:?}");
    assert_eq!(tokens(rest), if text.starts_with(b" ") { all } else { all.into_iter().skip(1).collect::<Vec<_>>() });
}

/// Digits, of a token not longer than `length`.
fn digits(token: &[u8], length: usize) -> Option<i128> {
    let is_number = token.len() <= length && token.iter().all(u8::is_ascii_digit);
    is_number.then(|| token.iter().fold(0, |number, digit| number * 10 + i128::from(digit - b'0')))
}

fn signed_digits(token: &[u8], length: usize) -> Option<i128> {
    match token.strip_prefix(b"-") {
        Some(rest) if token.len() <= length => digits(rest, length).map(|number| -number),
        Some(_) => None,
        None => digits(token, length),
    }
}

/// What C's functions read: white space, a sign, digits, and then white space, a NUL or the end.
fn c_number(text: &[u8]) -> Option<(bool, u64)> {
    let is_space = |byte: &u8| b" \t\n\x0b\x0c\r".contains(byte);
    let start = text.iter().position(|byte| !is_space(byte))?;
    let text = &text[start..];
    let is_negative = text[0] == b'-';
    let text = if b"+-".contains(&text[0]) { &text[1..] } else { text };
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let ends_well = text.get(count).is_none_or(|byte| is_space(byte) || *byte == 0);
    let number: u64 = std::str::from_utf8(&text[..count]).ok()?.parse().ok()?;
    ends_well.then_some((is_negative, number))
}

fn check_numbers(text: &[u8]) {
    assert_eq!(number::strict_u64(text), digits(text, 22).and_then(|number| number.try_into().ok()));
    assert_eq!(number::strict_u32(text), digits(text, 11).and_then(|number| number.try_into().ok()));
    assert_eq!(number::strict_i32(text), signed_digits(text, 11).and_then(|number| number.try_into().ok()));
    assert_eq!(number::strict_i64(text), signed_digits(text, 22).and_then(|number| number.try_into().ok()));
    let read = c_number(text);
    let wrapped = read.map(|(is_negative, number)| if is_negative { number.wrapping_neg() } else { number });
    let flags = match (read, wrapped) {
        (Some((true, _)), Some(wrapped)) if wrapped > i64::MAX as u64 => None,
        (_, wrapped) => wrapped.map(|wrapped| wrapped as u32),
    };
    assert_eq!(number::c_u32(text), flags);
    let exptime = read.and_then(|(is_negative, number)| {
        let wide = if is_negative { -i128::from(number) } else { i128::from(number) };
        i64::try_from(wide).ok().map(|wide| wide as i32)
    });
    assert_eq!(number::c_exptime(text), exptime);
    assert_eq!(number::c_u64(text), read.filter(|read| !read.0 || read.1 == 0).map(|read| read.1));
    if let Some(double) = number::c_double(text) {
        assert!(double.is_nan() || double.is_finite() || text.iter().any(|byte| b"iI".contains(byte)));
    }
}

/// Whether the last of the kept tokens of a command with `word` tokens before `tokens` is `noreply`.
fn is_silent(tokens: &[&[u8]]) -> bool {
    tokens.iter().take(TOKENS_KEPT - 1).next_back() == Some(&NOREPLY)
}

fn check_commands(text: &[u8]) {
    let all = tokens(text);
    let is_silent = is_silent(&all);
    let loud = |reply| Refusal { reply, is_noreply: false };
    let refuse = |reply| Refusal { reply, is_noreply: is_silent };
    let key = all.first().copied().unwrap_or_default();
    assert_eq!(
        classic::delete(text),
        match all.len() {
            0 => Err(loud(reply::BAD_LINE)),
            _ if is_valid(key) => Ok(Keyed { key, argument: (), is_noreply: is_silent }),
            _ => Err(refuse(reply::BAD_LINE)),
        }
    );
    let argument = all.get(1).copied();
    let arithmetic = match argument {
        None => Err(loud(reply::BAD_LINE)),
        Some(_) if !is_valid(key) => Err(refuse(reply::BAD_LINE)),
        Some(argument) => match number::strict_u64(argument) {
            Some(argument) => Ok(Keyed { key, argument, is_noreply: is_silent }),
            None => Err(refuse(reply::BAD_DELTA)),
        },
    };
    assert_eq!(classic::arithmetic(text), arithmetic);
    let touch = match argument {
        None => Err(loud(reply::BAD_LINE)),
        Some(_) if !is_valid(key) => Err(refuse(reply::BAD_LINE)),
        Some(argument) => match number::strict_i32(argument) {
            Some(argument) => Ok(Keyed { key, argument, is_noreply: is_silent }),
            None => Err(refuse(reply::BAD_EXPTIME)),
        },
    };
    assert_eq!(classic::touch(text), touch);
    assert_eq!(classic::retrieval(text).map(tokens).ok(), (!all.is_empty()).then(|| all.clone()));
    let touched = classic::retrieval_and_touch(text);
    match (all.get(1), number::strict_i32(key)) {
        (None, _) => assert_eq!(touched, Err(loud(reply::BAD_LINE))),
        (Some(_), None) => assert_eq!(touched, Err(loud(reply::BAD_EXPTIME))),
        (Some(_), Some(exptime)) => {
            assert_eq!(touched.map(|(exptime, keys)| (exptime, tokens(keys))), Ok((exptime, all[1..].to_vec())));
        }
    }
    for has_compare in [false, true] {
        check_storage(text, &all, has_compare);
    }
}

fn check_storage(text: &[u8], all: &[&[u8]], has_compare: bool) {
    let storage = classic::storage(text, has_compare);
    let length =
        all.get(3).and_then(|token| number::strict_i32(token)).filter(|&bytes| (0..=2_147_483_645).contains(&bytes));
    let Some(value_bytes) = length.map(|bytes| bytes as usize) else {
        let refusal = Refusal { reply: reply::BAD_LINE, is_noreply: false };
        assert_eq!(storage, Storage::Refused(refusal));
        return;
    };
    // Flags and exptime are read from where their token begins, whatever follows.
    let from = |index: usize| &text[all[index].as_ptr() as usize - text.as_ptr() as usize..];
    let compare = match has_compare {
        true => all.get(4).and_then(|token| number::strict_u64(token)),
        false => Some(0),
    };
    let is_noreply = is_silent(all);
    let parts = (number::c_u32(from(1)), number::c_exptime(from(2)), compare);
    let expected = match parts {
        (Some(flags), Some(exptime), Some(compare)) if is_valid(all[0]) => {
            Storage::Data(StorageLine { key: all[0], flags, exptime, value_bytes, compare, is_noreply })
        }
        _ => Storage::Swallow { value_bytes, refusal: Refusal { reply: reply::BAD_LINE, is_noreply } },
    };
    assert_eq!(storage, expected);
}
