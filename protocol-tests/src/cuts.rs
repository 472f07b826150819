//! Where to cut the input of a case: at each byte if it is short, around its structure if it is long.

use std::collections::BTreeSet;

use crate::case::CutRule;

/// The cut positions for a case that sent these writes, in ascending order. At a position every write that is longer is
/// split there.
pub fn positions(writes: &[Vec<u8>], rule: CutRule) -> Vec<usize> {
    let mut positions = BTreeSet::new();
    for write in writes {
        if write.len() <= EVERY_BYTE_MAX {
            positions.extend(1..write.len());
        } else {
            positions.extend(around_structure(write));
        }
    }
    let all: Vec<usize> = positions.into_iter().collect();
    let limit = match rule {
        CutRule::Everywhere => POSITIONS_MAX,
        CutRule::AtMost(count) => count,
    };
    if all.len() <= limit {
        return all;
    }
    (0..limit).map(|index| all[index * all.len() / limit]).collect()
}

fn around_structure(write: &[u8]) -> BTreeSet<usize> {
    let length = write.len();
    let line_ends: Vec<usize> = (0..length).filter(|index| write[*index] == b'\n').collect();
    let mut positions: BTreeSet<usize> = (1..HEAD_BYTES).collect();
    let first = line_ends.iter().take(LINE_ENDS_MAX);
    let last = line_ends.iter().rev().take(LINE_ENDS_MAX);
    for end in first.chain(last) {
        positions.extend([end.saturating_sub(1), *end, end + 1, end + 2]);
    }
    for boundary in BOUNDARIES {
        positions.extend([boundary - 1, boundary, boundary + 1]);
    }
    positions.extend((1..SAMPLES).map(|index| index * length / SAMPLES));
    positions.extend(length.saturating_sub(TAIL_BYTES)..length);
    positions.retain(|position| (1..length).contains(position));
    positions
}

/// Writes up to this length are cut at each byte.
const EVERY_BYTE_MAX: usize = 200;

/// More positions than this are thinned out evenly.
const POSITIONS_MAX: usize = 250;

/// In longer writes: the bytes at both ends, so many line ends from both ends, and even samples.
const HEAD_BYTES: usize = 34;
const TAIL_BYTES: usize = 6;
const LINE_ENDS_MAX: usize = 8;
const SAMPLES: usize = 8;

/// Sizes at which servers are known to change their mind: memcached's line limit and read buffer.
const BOUNDARIES: [usize; 3] = [2048, 8192, 16384];

#[cfg(test)]
mod tests {
    use super::{POSITIONS_MAX, positions};
    use crate::case::CutRule;

    #[test]
    fn short_input_is_cut_at_each_byte() {
        let writes = [b"get a\r\n".to_vec(), b"x".to_vec()];
        assert_eq!(positions(&writes, CutRule::Everywhere), [1, 2, 3, 4, 5, 6]);
        assert_eq!(positions(&writes, CutRule::AtMost(2)), [1, 4]);
        assert_eq!(positions(&writes, CutRule::AtMost(0)), []);
        assert_eq!(positions(&[], CutRule::Everywhere), []);
    }

    #[test]
    fn long_input_is_cut_around_its_structure() {
        let mut write = b"set a 0 0 20000\r\n".to_vec();
        write.extend(vec![b'x'; 20000]);
        write.extend(b"\r\n");
        let cuts = positions(&[write.clone()], CutRule::Everywhere);
        assert!(cuts.len() < POSITIONS_MAX);
        for expected in [1, 16, 17, 18, 2047, 2048, 16384, 16385, write.len() - 2, write.len() - 1] {
            assert!(cuts.contains(&expected), "{expected}");
        }
        assert!(cuts.iter().all(|cut| (1..write.len()).contains(cut)));
    }
}
