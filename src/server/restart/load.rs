//! Reading what [`save`](super::save) wrote: several threads take blocks one after the other, check each and hand its items
//! to the store, and give the file's memory back on the way. What is wrong anywhere makes all of it worthless: the caller
//! throws the store away.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rapidhash::v3::{RapidSecrets, RapidStreamHasherV3};
use rustix::fs::{FallocateFlags, fallocate};

use crate::base::sync::{AtomicU64, Mutex, Ordering};
use crate::base::time::Now;
use crate::store::value::{LargeBuffer, NewValue};
use crate::store::{Fit, Imported, SavedItem, Store};
use crate::sys::error_text;

use super::crew::together;
use super::format::{
    BLOCK_BYTES, BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, BlockHead, CHECKSUM_BYTES, HEADER_BYTES, Header,
    ITEM_HEAD_BYTES_MAX, ITEMS, NoHeader, checksum, decode_item, secrets,
};
use super::progress::Progress;

/// Why a kept cache is not what was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bad {
    /// It has no header: the writing did not come to its end, or it was taken already.
    Blank,
    /// Another version wrote it.
    Format(u32),
    /// It is shorter or longer than it was.
    Length,
    /// Bytes have changed at this place.
    Damaged(u64),
    /// It cannot be read.
    Unreadable(String),
}

impl Bad {
    /// In words.
    pub fn text(&self) -> String {
        match self {
            Bad::Blank => "it is not complete, or was used before".to_owned(),
            Bad::Format(format) => format!("it was saved by another version [format: {format}]"),
            Bad::Length => "it does not have the length it was saved with".to_owned(),
            Bad::Damaged(place) => format!("it is damaged at byte {place}"),
            Bad::Unreadable(text) => format!("it cannot be read: {text}"),
        }
    }

    fn unreadable(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Bad::Length,
            _ => Bad::Unreadable(error_text(error)),
        }
    }
}

/// What came back.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Loaded {
    /// Items in the store.
    pub items: u64,
    /// Items that expired while nobody served them.
    pub expired: u64,
    /// Items that did not fit.
    pub left_out: u64,
}

/// Reads the header and the description. The file has no header afterwards, so that it is used once, whatever becomes of
/// this process.
pub fn open(file: &File) -> Result<(Header, Vec<u8>), Bad> {
    let length = file.metadata().map_err(|error| Bad::unreadable(&error))?.len();
    if length < HEADER_BYTES as u64 {
        return Err(Bad::Blank);
    }
    let mut bytes = [0; HEADER_BYTES];
    read(file, &mut bytes, 0)?;
    file.write_all_at(&[0; HEADER_BYTES], 0).map_err(|error| Bad::unreadable(&error))?;
    let header = Header::decode(&bytes).map_err(|no| match no {
        NoHeader::Blank => Bad::Blank,
        NoHeader::Damaged => Bad::Damaged(0),
        NoHeader::Format(format) => Bad::Format(format),
    })?;
    if header.end != length {
        return Err(Bad::Length);
    }
    let mut text = Vec::new();
    resize(&mut text, header.description_bytes)?;
    read(file, &mut text, HEADER_BYTES as u64)?;
    let mut sum = [0; CHECKSUM_BYTES];
    read(file, &mut sum, header.blocks_start() - CHECKSUM_BYTES as u64)?;
    if u64::from_le_bytes(sum) != checksum(&text) {
        return Err(Bad::Damaged(HEADER_BYTES as u64));
    }
    Ok((header, text))
}

fn read(file: &File, bytes: &mut [u8], at: u64) -> Result<(), Bad> {
    file.read_exact_at(bytes, at).map_err(|error| Bad::unreadable(&error))
}

/// Makes `bytes` so long. Without memory for it the kept cache cannot be read.
fn resize(bytes: &mut Vec<u8>, length: usize) -> Result<(), Bad> {
    let more = length.saturating_sub(bytes.len());
    bytes.try_reserve_exact(more).map_err(|error| Bad::unreadable(&error.into()))?;
    bytes.resize(length, 0);
    Ok(())
}

/// Reads all items into `store`, which is empty, by `threads` threads. After an error the store is of no use.
pub fn load(
    file: &File,
    header: &Header,
    store: &Store,
    now: Now,
    threads: usize,
    progress: &Progress<'_>,
) -> Result<Loaded, Bad> {
    let shared = Shared {
        file,
        header,
        store,
        now,
        cursor: Mutex::new(Ok(Cursor { place: header.blocks_start(), blocks: 0 })),
        items: AtomicU64::new(0),
        expired: AtomicU64::new(0),
        left_out: AtomicU64::new(0),
        secrets: secrets(),
    };
    let threads = threads.max(1);
    together(threads, |_| shared.read_blocks(progress));
    let blocks = shared.cursor.into_inner()?.blocks;
    let loaded = Loaded {
        items: shared.items.into_inner(),
        expired: shared.expired.into_inner(),
        left_out: shared.left_out.into_inner(),
    };
    if blocks != header.blocks || loaded.items + loaded.expired + loaded.left_out != header.items {
        return Err(Bad::Length);
    }
    together(threads, |first| {
        (first..store.partition_count()).step_by(threads).for_each(|number| store.finish_import(number));
    });
    Ok(loaded)
}

/// Where the next block begins, and how many there were.
struct Cursor {
    place: u64,
    blocks: u64,
}

/// What the reading threads share.
struct Shared<'a> {
    file: &'a File,
    header: &'a Header,
    store: &'a Store,
    now: Now,
    /// Or how the first thread failed.
    cursor: Mutex<Result<Cursor, Bad>>,
    items: AtomicU64,
    expired: AtomicU64,
    left_out: AtomicU64,
    secrets: RapidSecrets,
}

/// What a thread reads into.
#[derive(Default)]
struct Space {
    block: Vec<u8>,
    value: Vec<u8>,
}

impl Shared<'_> {
    fn read_blocks(&self, progress: &Progress<'_>) {
        let mut space = Space::default();
        while let Some(head) = self.next_block() {
            let result = match head.kind {
                ITEMS => self.read_items(&head, &mut space),
                _ => self.read_large(&head, &mut space),
            };
            match result {
                Ok(items) => progress.add(items),
                Err(bad) => {
                    *self.cursor.lock() = Err(bad);
                    return;
                }
            }
            self.give_back(&head);
        }
    }

    /// The head of the next block, which is the caller's now; `None` at the end, and after a failure.
    fn next_block(&self) -> Option<BlockHead> {
        let mut guard = self.cursor.lock();
        let cursor = guard.as_mut().ok()?;
        if cursor.place == self.header.end {
            return None;
        }
        match self.block_at(cursor.place) {
            Ok((head, end)) => {
                *cursor = Cursor { place: end, blocks: cursor.blocks + 1 };
                Some(head)
            }
            Err(bad) => {
                *guard = Err(bad);
                None
            }
        }
    }

    /// The head of the block at a place, and where the block ends.
    fn block_at(&self, place: u64) -> Result<(BlockHead, u64), Bad> {
        let mut bytes = [0; BLOCK_HEAD_BYTES];
        if self.header.end - place < bytes.len() as u64 {
            return Err(Bad::Damaged(place));
        }
        read(self.file, &mut bytes, place)?;
        let head = BlockHead::decode(&bytes).filter(|head| head.place == place && head.stream == self.header.stream);
        let head = head.ok_or(Bad::Damaged(place))?;
        let end = head.block_bytes().and_then(|bytes| place.checked_add(bytes)).ok_or(Bad::Damaged(place))?;
        let is_too_long = head.kind == ITEMS && head.payload_bytes > BLOCK_BYTES_MAX as u64;
        if end > self.header.end || is_too_long {
            return Err(Bad::Damaged(place));
        }
        Ok((head, end))
    }

    fn read_items(&self, head: &BlockHead, space: &mut Space) -> Result<u64, Bad> {
        let bad = Bad::Damaged(head.place);
        resize(&mut space.block, BLOCK_HEAD_BYTES + head.payload_bytes as usize + CHECKSUM_BYTES)?;
        read(self.file, &mut space.block, head.place)?;
        let Some((summed, sum)) = space.block.split_last_chunk() else { return Err(bad) };
        let mut hasher = RapidStreamHasherV3::new(&self.secrets);
        hasher.write(summed);
        if hasher.finish() != u64::from_le_bytes(*sum) || summed[..BLOCK_HEAD_BYTES] != head.encode() {
            return Err(bad);
        }
        let mut rest = &summed[BLOCK_HEAD_BYTES..];
        let mut items = 0;
        while !rest.is_empty() {
            let (item, value_bytes) = decode_item(&mut rest).ok_or_else(|| bad.clone())?;
            let (value, behind) = rest.split_at_checked(value_bytes).ok_or_else(|| bad.clone())?;
            self.import(&item, value);
            rest = behind;
            items += 1;
        }
        Ok(items)
    }

    fn import(&self, item: &SavedItem<'_>, value: &[u8]) {
        let value = match self.store.fit(item.key.len(), value.len(), item.flags) {
            Fit::Inline => Some(NewValue::Bytes(value)),
            Fit::Large => self.store.import_buffer(item.key.len(), value.len(), item.flags).map(|mut buffer| {
                buffer.fill(value);
                NewValue::Large(buffer)
            }),
            Fit::TooLarge => None,
        };
        self.count(value.map_or(Imported::NoRoom, |value| self.store.import(item, value, self.now)));
    }

    fn count(&self, imported: Imported) {
        let counter = match imported {
            Imported::Stored => &self.items,
            Imported::Dead => &self.expired,
            Imported::NoRoom | Imported::Twice => &self.left_out,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads an item straight to where it belongs; it is linked when its checksum is right.
    fn read_large(&self, head: &BlockHead, space: &mut Space) -> Result<u64, Bad> {
        let bad = Bad::Damaged(head.place);
        let start_bytes = (head.payload_bytes as usize).min(ITEM_HEAD_BYTES_MAX);
        let mut start = vec![0; BLOCK_HEAD_BYTES + start_bytes];
        read(self.file, &mut start, head.place)?;
        let mut rest = &start[BLOCK_HEAD_BYTES..];
        let (item, value_bytes) = decode_item(&mut rest).ok_or_else(|| bad.clone())?;
        let value_start = start.len() - rest.len();
        if (value_start - BLOCK_HEAD_BYTES + value_bytes) as u64 != head.payload_bytes {
            return Err(bad);
        }
        let mut hasher = RapidStreamHasherV3::new(&self.secrets);
        hasher.write(&start[..value_start]);
        let mut target = match self.store.fit(item.key.len(), value_bytes, item.flags) {
            Fit::Inline => Target::Small,
            Fit::Large => match self.store.import_buffer(item.key.len(), value_bytes, item.flags) {
                Some(buffer) => Target::Large(buffer),
                None => Target::None,
            },
            Fit::TooLarge => Target::None,
        };
        space.value.clear();
        let mut at = head.place + value_start as u64;
        let mut missing = value_bytes;
        while missing > 0 {
            let count = missing.min(BLOCK_BYTES);
            resize(&mut space.block, count)?;
            read(self.file, &mut space.block, at)?;
            hasher.write(&space.block);
            match &mut target {
                Target::Small => space.value.extend_from_slice(&space.block),
                Target::Large(buffer) => {
                    buffer.fill(&space.block);
                }
                Target::None => {}
            }
            at += count as u64;
            missing -= count;
        }
        let mut sum = [0; CHECKSUM_BYTES];
        read(self.file, &mut sum, at)?;
        if hasher.finish() != u64::from_le_bytes(sum) {
            return Err(bad);
        }
        self.count(match target {
            Target::Small => self.store.import(&item, NewValue::Bytes(&space.value), self.now),
            Target::Large(buffer) => self.store.import(&item, NewValue::Large(buffer), self.now),
            Target::None => Imported::NoRoom,
        });
        Ok(1)
    }

    /// Frees what a block took, where files can have holes.
    fn give_back(&self, head: &BlockHead) {
        if let Some(bytes) = head.block_bytes() {
            let _ = fallocate(self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, head.place, bytes);
        }
    }
}

/// Where a large item's value goes.
enum Target {
    /// To bytes first: this version keeps it inline.
    Small,
    /// To chunks.
    Large(LargeBuffer),
    /// Nowhere: there is no room. It is read all the same, to be checked.
    None,
}
