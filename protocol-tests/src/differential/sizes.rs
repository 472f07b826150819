//! Values of every size: which sizes, and what is done with each.

use super::stream::{Batch, Command};

/// Largest of the sizes that are tried one by one.
pub const SIZE_MAX: usize = 70_000;

/// Sizes around those at which something changes, up to the largest there can be.
pub fn edges() -> Vec<usize> {
    let around = |size: usize| size.saturating_sub(3)..size + 4;
    let mut sizes = Vec::new();
    sizes.extend((4..=20).flat_map(|power| around(1 << power)));
    // Multiples of the buffers, and an item of so many bytes in all.
    sizes.extend((1..=8).flat_map(|count| around(count * 16_384)));
    sizes.extend((1..=4).flat_map(|count| around(count * 65_536)));
    sizes.extend([1 << 14, 1 << 19, 1 << 20].into_iter().flat_map(|size| size - 80..size - 40));
    // Classes grow by a quarter from 96 bytes; what is in them is smaller by a header of 48 or 56, a key and an end.
    let mut class = 96.0;
    while class < 600_000.0 {
        let size = class as usize / 8 * 8;
        sizes.extend(size.saturating_sub(66)..size.saturating_sub(44));
        class *= 1.25;
    }
    sizes
}

/// Stores, changes and fetches a value of some bytes in the ways of the text protocol.
pub fn size_commands(size: usize, batch: &mut Batch) {
    let byte = [b'a' + (size % 26) as u8];
    let value: Vec<u8> = byte.iter().copied().cycle().take(size).collect();
    let mut add = |line: String, value: &[u8]| {
        let mut command = Command::bytes(line);
        command.push("\r\n");
        if !value.is_empty() || size == 0 {
            command.push(value);
            command.push("\r\n");
        }
        batch.commands.push(command);
    };
    let flags = size % 3;
    match size % 4 {
        0 => add(format!("set sized {flags} 0 {size}"), &value),
        1 => add(format!("ms sized {size} T0 F{flags} s k"), &value),
        2 => {
            add(format!("set sized {flags} 0 {}", size - 1), &value[1..]);
            add("append sized 0 0 1".to_string(), &byte);
        }
        _ => {
            add(format!("set sized {flags} 0 {}", size - 1), &value[1..]);
            add("prepend sized 0 0 1".to_string(), &byte);
        }
    }
    let fetch = match size % 3 {
        0 => "get sized\r\n",
        1 => "mg sized s f v\r\n",
        _ => "gets sized\r\ndelete sized\r\n",
    };
    batch.commands.push(Command::bytes(fetch));
}
