//! Writing a store to a file or to memory: several threads take partitions and write blocks, each wherever the file ends at
//! that moment. The header comes last, so that a file that was left in the middle has none.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use rapidhash::v3::{RapidSecrets, RapidStreamHasherV3};

use crate::base::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::base::time::Now;
use crate::store::value::Value;
use crate::store::{SavedItem, Store};

use super::crew::together;
use super::format::{
    BLOCK_BYTES, BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, BlockHead, CHECKSUM_BYTES, HEADER_BYTES, Header,
    ITEM_HEAD_BYTES_MAX, ITEMS, LARGE, checksum, encode_item, secrets,
};
use super::progress::Progress;

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Written {
    /// Items.
    pub items: u64,
    /// Bytes of everything.
    pub bytes: u64,
}

/// Takes `store` apart into `file`, which is empty, by `threads` threads. Nobody else may use the store. After an error the
/// file has no header.
pub fn save(
    file: &File,
    store: &Store,
    description: (&str, u64),
    now: Now,
    threads: usize,
    progress: &Progress<'_>,
) -> io::Result<Written> {
    let (text, stream) = description;
    file.write_all_at(text.as_bytes(), HEADER_BYTES as u64)?;
    file.write_all_at(&checksum(text.as_bytes()).to_le_bytes(), (HEADER_BYTES + text.len()) as u64)?;
    let mut header = Header { description_bytes: text.len(), stream, end: 0, blocks: 0, items: 0 };
    let shared = Shared {
        file,
        stream,
        end: AtomicU64::new(header.blocks_start()),
        blocks: AtomicU64::new(0),
        items: AtomicU64::new(0),
        next: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
        error: Mutex::new(None),
        secrets: secrets(),
    };
    together(threads.clamp(1, store.partition_count()), |_| {
        if let Err(error) = shared.write_partitions(store, now, progress) {
            shared.is_over.store(true, Ordering::Relaxed);
            shared.error.lock().get_or_insert(error);
        }
    });
    if let Some(error) = shared.error.into_inner() {
        return Err(error);
    }
    header.end = shared.end.into_inner();
    header.blocks = shared.blocks.into_inner();
    header.items = shared.items.into_inner();
    file.write_all_at(&header.encode(), 0)?;
    Ok(Written { items: header.items, bytes: header.end })
}

/// What the writing threads share.
struct Shared<'a> {
    file: &'a File,
    stream: u64,
    /// Where the next block begins.
    end: AtomicU64,
    blocks: AtomicU64,
    items: AtomicU64,
    /// The next partition that nobody has taken.
    next: AtomicUsize,
    /// One thread has failed.
    is_over: AtomicBool,
    /// How the first one did.
    error: Mutex<Option<io::Error>>,
    secrets: RapidSecrets,
}

impl Shared<'_> {
    fn write_partitions(&self, store: &Store, now: Now, progress: &Progress<'_>) -> io::Result<()> {
        let mut block = Vec::new();
        block.try_reserve_exact(BLOCK_HEAD_BYTES + BLOCK_BYTES_MAX + CHECKSUM_BYTES)?;
        let mut writer = BlockWriter { shared: self, block, items: 0, progress };
        writer.begin();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= store.partition_count() || self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let mut error = None;
            let flow = store.export(number, now, &mut |item, value| match writer.put(item, value) {
                Ok(()) if self.is_over.load(Ordering::Relaxed) => ControlFlow::Break(()),
                Ok(()) => ControlFlow::Continue(()),
                Err(failed) => {
                    error = Some(failed);
                    ControlFlow::Break(())
                }
            });
            match (error, flow) {
                (Some(error), _) => return Err(error),
                (None, ControlFlow::Break(())) => return Ok(()),
                (None, ControlFlow::Continue(())) => {}
            }
        }
        writer.flush()
    }

    /// A place for a block, of which there is one more now.
    fn place(&self, kind: u32, payload_bytes: u64) -> BlockHead {
        let mut head = BlockHead { kind, payload_bytes, place: 0, stream: self.stream };
        let bytes = payload_bytes + (BLOCK_HEAD_BYTES + CHECKSUM_BYTES) as u64;
        head.place = self.end.fetch_add(bytes, Ordering::Relaxed);
        self.blocks.fetch_add(1, Ordering::Relaxed);
        head
    }
}

/// One thread's block in the making.
struct BlockWriter<'a> {
    shared: &'a Shared<'a>,
    /// Head and payload so far.
    block: Vec<u8>,
    items: u64,
    progress: &'a Progress<'a>,
}

impl BlockWriter<'_> {
    fn begin(&mut self) {
        self.block.clear();
        self.block.resize(BLOCK_HEAD_BYTES, 0);
        self.items = 0;
    }

    fn put(&mut self, item: &SavedItem<'_>, value: Value<'_>) -> io::Result<()> {
        match value {
            Value::Large(_) => self.put_large(item, value),
            Value::Inline(bytes) => {
                encode_item(item, bytes.len(), &mut self.block);
                self.block.extend_from_slice(bytes);
                self.items += 1;
                if self.block.len() >= BLOCK_BYTES { self.flush() } else { Ok(()) }
            }
        }
    }

    /// Writes what there is.
    fn flush(&mut self) -> io::Result<()> {
        if self.items > 0 {
            let head = self.shared.place(ITEMS, (self.block.len() - BLOCK_HEAD_BYTES) as u64);
            self.block[..BLOCK_HEAD_BYTES].copy_from_slice(&head.encode());
            let mut hasher = RapidStreamHasherV3::new(&self.shared.secrets);
            hasher.write(&self.block);
            let sum = hasher.finish();
            self.block.extend_from_slice(&sum.to_le_bytes());
            self.shared.file.write_all_at(&self.block, head.place)?;
            self.shared.items.fetch_add(self.items, Ordering::Relaxed);
            self.progress.add(self.items);
        }
        self.begin();
        Ok(())
    }

    /// Writes an item as a block of its own, straight from where it is.
    fn put_large(&mut self, item: &SavedItem<'_>, value: Value<'_>) -> io::Result<()> {
        let mut start = vec![0; BLOCK_HEAD_BYTES];
        start.reserve(ITEM_HEAD_BYTES_MAX);
        encode_item(item, value.len(), &mut start);
        let payload_bytes = start.len() - BLOCK_HEAD_BYTES + value.len();
        let head = self.shared.place(LARGE, payload_bytes as u64);
        start[..BLOCK_HEAD_BYTES].copy_from_slice(&head.encode());
        let (file, mut at, mut result) = (self.shared.file, head.place, Ok(()));
        let mut hasher = RapidStreamHasherV3::new(&self.shared.secrets);
        let mut write = |piece: &[u8]| {
            if result.is_ok() {
                hasher.write(piece);
                result = file.write_all_at(piece, at);
                at += piece.len() as u64;
            }
        };
        write(&start);
        value.pieces(&mut write);
        result?;
        file.write_all_at(&hasher.finish().to_le_bytes(), at)?;
        self.shared.items.fetch_add(1, Ordering::Relaxed);
        self.progress.add(1);
        Ok(())
    }
}
