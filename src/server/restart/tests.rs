//! Stores that are saved and come back, and what happens when something is wrong with what was saved.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;

use crate::base::sync::{Mutex, Ordering};
use crate::store::value::NewValue;
use crate::store::{Fit, Marks, NewItem};

use super::*;

const NOW: Now = Now { seconds: 500, epoch: 1_700_000_000 };
const STOPPED: i64 = 1_700_000_500;

fn quiet(_: &str) {}

fn config(partitions: usize) -> store::Config {
    // Many partitions with a little in each class need more memory than few.
    store::Config { memory_limit_bytes: 256 << 20, item_size_max: 2 << 20, partitions, ..store::Config::default() }
}

fn set(store: &Store, key: &str, bytes: &[u8], exptime: u32) {
    let value = match store.fit(key.len(), bytes.len(), 7) {
        Fit::Large => {
            let mut buffer = store.large_buffer(key.len(), bytes.len(), 7, NOW).expect("memory");
            buffer.fill(bytes);
            NewValue::Large(buffer)
        }
        _ => NewValue::Bytes(bytes),
    };
    let hash = store.hash(key.as_bytes());
    let item = NewItem { flags: 7, exptime, cas: None, value, marks: Marks::default() };
    store.entry(key.as_bytes(), hash, NOW, |entry| entry.insert(item)).expect("stored");
}

/// Items by key: value, flags, exptime, last access, CAS id.
type Items = BTreeMap<Vec<u8>, (Vec<u8>, u32, u32, u32, u64)>;

fn items(store: &Store, now: Now) -> Items {
    let mut items = Items::new();
    let mut cursor = Some(store::DumpCursor::default());
    while let Some(from) = cursor {
        cursor = store.dump(from, u64::MAX, 1000, now, &mut |item| {
            let mut value = Vec::new();
            item.value().copy_to(&mut value);
            let facts = (value, item.flags(), item.exptime(), item.last_access(), item.cas());
            items.insert(item.key().to_vec(), facts);
        });
    }
    items
}

/// A store with items of these sizes.
fn filled(partitions: usize, sizes: &[usize]) -> Store {
    let store = Store::new(config(partitions), Arc::default());
    for (number, size) in sizes.iter().enumerate() {
        let bytes: Vec<u8> = (0..*size).map(|byte| (byte * 7 + number) as u8).collect();
        set(&store, &format!("key{number}"), &bytes, if number % 3 == 0 { 600 + number as u32 } else { 0 });
    }
    store
}

fn description(store: &Store) -> Description {
    Description { stream: 99, clock: NOW, stop_time: STOPPED, state: store.saved_state(), event: 5 }
}

fn saved(store: &Store, threads: usize) -> File {
    let memory = File::from(memfd_create("test", MemfdFlags::CLOEXEC).expect("memory"));
    let description = description(store);
    let writer = Writer { store, description: &description, threads, say: &quiet };
    writer.save(&memory, &description.text(store.config())).expect("saved");
    memory
}

fn take(file: &File, partitions: usize, threads: usize, unix_now: i64) -> Result<Option<Begun>, Dropped> {
    let (config, events) = (config(partitions), Arc::default());
    let reader = Reader { config: &config, events: &events, threads, unix_now, say: &quiet };
    let begun = reader.take(file, None);
    if matches!(begun, Ok(Some(_))) {
        assert_eq!(events.last_number(), 5);
    }
    begun
}

fn content(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().expect("a file").len() as usize];
    file.read_exact_at(&mut bytes, 0).expect("its bytes");
    bytes
}

fn memory_with(bytes: &[u8]) -> File {
    let mut memory = File::from(memfd_create("test", MemfdFlags::CLOEXEC).expect("memory"));
    memory.write_all(bytes).expect("room");
    memory
}

/// A folder that goes when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("slabstash-restart-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_cache_comes_back_whatever_the_partitions_and_threads() {
    let size = |number: usize| match number {
        5 | 500 => 20_000,
        7 => 700_000,
        11 => 1_500_000,
        _ => number,
    };
    let sizes: Vec<usize> = (0..3000).map(size).collect();
    for (before, after, threads) in [(1, 1, 1), (4, 2, 3), (2, 8, 2)] {
        let store = filled(before, &sizes);
        let expected = items(&store, NOW);
        assert_eq!(expected.len(), 3000);
        let file = saved(&store, threads);
        assert_eq!(store.snapshot().curr_items, 0);
        let begun = take(&file, after, threads, STOPPED).expect("whole").expect("a store");
        assert!(items(&begun.store, NOW) == expected, "{before} {after} {threads}");
        assert_eq!(begun.store.snapshot().counters.total_items, 3000);
    }
}

#[test]
fn time_goes_on_while_the_server_is_down() {
    let store = filled(1, &[1, 2, 3, 4]);
    let file = saved(&store, 1);
    let begun = take(&file, 1, 1, STOPPED + 102).expect("whole").expect("a store");
    let now = begun.clock.now();
    assert_eq!((now.epoch, now.seconds - 602), (NOW.epoch, 0));
    let keys: Vec<_> = items(&begun.store, now).into_keys().collect();
    assert_eq!(keys, [b"key1", b"key2", b"key3"]);
}

#[test]
fn a_cache_is_used_once() {
    let file = saved(&filled(2, &[10; 100]), 2);
    assert!(matches!(take(&file, 2, 2, STOPPED), Ok(Some(_))));
    assert_eq!(take(&file, 2, 2, STOPPED).err(), Some(Dropped::Bad(Bad::Blank)));
    // Also when the first try did not come to its end, or was refused.
    let file = saved(&filled(1, &[10; 100]), 1);
    assert!(load::open(&file).is_ok());
    assert_eq!(take(&file, 1, 1, STOPPED).err(), Some(Dropped::Bad(Bad::Blank)));
    let file = saved(&filled(1, &[10; 100]), 1);
    let early = take(&file, 1, 1, STOPPED - 1).err();
    assert_eq!(early, Some(Dropped::Unfit(Unfit::Clock { stop_time: STOPPED })));
    assert_eq!(take(&file, 1, 1, STOPPED).err(), Some(Dropped::Bad(Bad::Blank)));
}

#[test]
fn no_flipped_bit_is_served() {
    let small = content(&saved(&filled(1, &[0, 10, 100, 300, 5, 0, 1]), 1));
    let large = content(&saved(&filled(1, &[17_000]), 1));
    for (whole, step) in [(small, 1), (large, 61)] {
        assert!(matches!(take(&memory_with(&whole), 1, 1, STOPPED), Ok(Some(_))));
        for place in (0..whole.len()).step_by(step) {
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << (place % 8);
            let taken = take(&memory_with(&flipped), 1, 1, STOPPED);
            assert!(taken.is_err(), "byte {place} of {}", whole.len());
        }
    }
}

#[test]
fn nothing_cut_or_longer_is_served() {
    let whole = content(&saved(&filled(1, &[0, 10, 100, 300, 5, 0, 1]), 1));
    for length in 0..whole.len() {
        let taken = take(&memory_with(&whole[..length]), 1, 1, STOPPED).err();
        let expected = if length < format::HEADER_BYTES { Bad::Blank } else { Bad::Length };
        assert_eq!(taken, Some(Dropped::Bad(expected)), "{length} bytes");
    }
    let longer = [&whole[..], b"x"].concat();
    assert_eq!(take(&memory_with(&longer), 1, 1, STOPPED).err(), Some(Dropped::Bad(Bad::Length)));
    // A page that was lost, as after a power failure.
    let large = content(&saved(&filled(1, &[300_000, 1000, 1000]), 1));
    for page in 0..large.len() / 4096 {
        let mut torn = large.clone();
        torn[page * 4096..(page + 1) * 4096].fill(0);
        assert!(take(&memory_with(&torn), 1, 1, STOPPED).is_err(), "page {page}");
    }
}

#[test]
fn blocks_of_another_writing_are_not_taken() {
    let one = content(&saved(&filled(1, &[50; 10]), 1));
    let store = filled(1, &[50; 10]);
    let mut other = description(&store);
    other.stream = 100;
    let memory = memory_with(b"");
    let writer = Writer { store: &store, description: &other, threads: 1, say: &quiet };
    // As long as the first, but for one digit more in its description.
    writer.save(&memory, &other.text(store.config())).expect("saved");
    let other = content(&memory);
    assert_eq!(other.len(), one.len() + 1);
    let start = one.windows(4).position(|bytes| bytes == b"blck").expect("a block");
    let mixed = [&other[..start + 1], &one[start..]].concat();
    let taken = take(&memory_with(&mixed), 1, 1, STOPPED).err();
    assert_eq!(taken, Some(Dropped::Bad(Bad::Damaged(start as u64 + 1))));
}

/// A block's length decides how much is read at once, before its checksum is known.
#[test]
fn a_block_that_is_too_long_is_not_read() {
    use super::format::{
        BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, BlockHead, HEADER_BYTES, Header, ITEMS, checksum, encode_item,
    };
    let one = content(&saved(&filled(1, &[50]), 1));
    let header = Header::decode(one.first_chunk::<HEADER_BYTES>().expect("a header")).expect("a header");
    let start = header.blocks_start() as usize;
    let with_block = |payload_bytes: usize| {
        let mut payload = Vec::new();
        let mut items = 0;
        while payload.len() < payload_bytes {
            let key = format!("key{items:06}");
            let item = store::SavedItem {
                key: key.as_bytes(),
                flags: 0,
                exptime: 0,
                time: 400,
                cas: 5 + items,
                marks: 0,
                rank: items as u32,
            };
            let head = payload.len();
            encode_item(&item, 0, &mut payload);
            let head_bytes = payload.len() - head;
            let left = payload_bytes - payload.len();
            // The last one fills the block.
            let value_bytes = if left < 9000 + 2 * head_bytes { left } else { 9000 };
            payload.truncate(head);
            encode_item(&item, value_bytes, &mut payload);
            payload.resize(payload.len() + value_bytes, b'v');
            items += 1;
        }
        let head =
            BlockHead { kind: ITEMS, payload_bytes: payload.len() as u64, place: start as u64, stream: header.stream };
        let mut block = [&head.encode()[..], &payload].concat();
        block.extend_from_slice(&checksum(&block).to_le_bytes());
        let header = Header { end: (start + block.len()) as u64, blocks: 1, items, ..header };
        assert_eq!(payload.len(), payload_bytes);
        assert!(block.len() > BLOCK_HEAD_BYTES);
        memory_with(&[&header.encode()[..], &one[HEADER_BYTES..start], &block].concat())
    };
    let taken = |payload_bytes: usize| take(&with_block(payload_bytes), 1, 1, STOPPED).map(|begun| begun.is_some());
    assert_eq!(taken(BLOCK_BYTES_MAX), Ok(true));
    assert_eq!(taken(BLOCK_BYTES_MAX + 1), Err(Dropped::Bad(Bad::Damaged(start as u64))));
}

#[test]
fn a_full_disk_is_an_error() {
    for threads in [1, 3] {
        let store = filled(4, &[1000; 2000]);
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
        let said = Mutex::new(0);
        let say = |_: &str| *said.lock() += 1;
        let description = description(&store);
        let writer = Writer { store: &store, description: &description, threads, say: &say };
        let error = writer.save(&full, &description.text(store.config())).expect_err("it is full");
        assert_eq!(error_text(&error), "No space left on device");
    }
}

#[test]
fn a_file_and_its_metadata_are_a_pair() {
    let folder = Folder::new();
    let path = folder.0.join("cache");
    let (config, events) = (config(2), Arc::default());
    let reader = |unix_now| Reader { config: &config, events: &events, threads: 2, unix_now, say: &quiet };
    let save = |sizes: &[usize]| {
        let file = MemoryFile::open(&path).expect("a file");
        let store = filled(2, sizes);
        let description = description(&store);
        Writer { store: &store, description: &description, threads: 2, say: &quiet }.save_file(&file).expect("saved");
        items(&store, NOW)
    };
    let metadata = folder.0.join("cache.meta");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    save(&[100; 50]);
    assert_eq!((mode(&path), mode(&metadata)), (0o600, 0o600));
    assert!(!folder.0.join("cache.meta.tmp").exists());
    let file = MemoryFile::open(&path).expect("a file");
    let begun = reader(STOPPED).take_file(&file).expect("no failure").expect("a store");
    assert_eq!(begun.store.snapshot().curr_items, 50);
    // Gone, both of them.
    assert!(!metadata.exists());
    assert_eq!(fs::metadata(&path).expect("it is there").len(), 0);
    assert!(reader(STOPPED).take_file(&file).expect("no failure").is_none());
    drop(file);

    // Metadata of another time.
    save(&[100; 50]);
    let old = fs::read(&metadata).expect("it is there");
    fs::write(&metadata, String::from_utf8_lossy(&old).replace("stream 99", "stream 98")).expect("room");
    let file = MemoryFile::open(&path).expect("a file");
    assert!(reader(STOPPED).take_file(&file).expect("no failure").is_none());
    drop(file);

    // Any change of the metadata, and none is taken for what it is not.
    for place in 0..old.len() {
        save(&[100; 3]);
        let mut flipped = old.clone();
        flipped[place] ^= 1 << (place % 7);
        fs::write(&metadata, &flipped).expect("room");
        let file = MemoryFile::open(&path).expect("a file");
        match reader(STOPPED).take_file(&file) {
            Ok(begun) => assert!(begun.is_none() && !metadata.exists(), "byte {place}"),
            Err(failure) => assert_eq!((place, failure.exit_code), (0, EXIT_FAILURE), "{}", failure.message),
        }
    }
}

#[test]
fn files_that_cannot_be_trusted_are_refused() {
    let folder = Folder::new();
    let path = folder.0.join("cache");
    let shown = path.display();
    let refuse = |expected: String| {
        let text = MemoryFile::open(&path).map(|_| "opened").expect_err("a refusal");
        assert_eq!(text, expected);
    };
    let open = MemoryFile::open(&path).expect("a file");
    refuse(format!("memory file {shown} is in use by another process"));
    drop(open);
    fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("ours");
    refuse(format!("memory file {shown} may be written by others (mode 666)"));
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("ours");
    if geteuid_is_root() {
        std::os::unix::fs::chown(&path, Some(12345), None).expect("root may");
        refuse(format!("memory file {shown} belongs to another user (id 12345)"));
    }
    fs::remove_file(&path).expect("ours");
    symlink("/dev/null", &path).expect("a link");
    refuse(format!("memory file {shown} is not a regular file"));
    fs::remove_file(&path).expect("ours");
    fs::create_dir(&path).expect("a folder");
    refuse(format!("failed to open memory file {shown}: Is a directory"));
    fs::remove_dir(&path).expect("ours");
    let missing = folder.0.join("no/such/folder");
    let text = MemoryFile::open(&missing).map(|_| "opened").expect_err("a refusal");
    assert_eq!(text, format!("failed to open memory file {}: No such file or directory", missing.display()));
    // A folder in the way of the metadata.
    let draft = folder.0.join("cache.meta.tmp");
    fs::create_dir(&draft).expect("a folder");
    refuse(format!("failed to write metadata file {}: Is a directory", draft.display()));
}

fn geteuid_is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn of_several_kept_caches_the_first_whole_one_is_taken() {
    let (config, events) = (config(1), Arc::default());
    let reader = Reader { config: &config, events: &events, threads: 1, unix_now: STOPPED, say: &quiet };
    let whole = saved(&filled(1, &[9; 20]), 1);
    let second = saved(&filled(1, &[9; 30]), 1);
    let left = second.try_clone().expect("a copy");
    let kept = vec![memory_with(b"junk"), whole, second].into_iter().map(OwnedFd::from).collect();
    let begun = reader.take_kept(kept).expect("a store");
    assert_eq!(begun.store.snapshot().curr_items, 20);
    assert_eq!(left.metadata().expect("memory").len(), 0);
    assert!(reader.take_kept(Vec::new()).is_none());
}

#[test]
fn signals_decide_who_keeps() {
    let kept = [Signal::Stop, Signal::StopGracefully].map(|signal| {
        let folder = Folder::new();
        let nobody = ServiceManager::default();
        let file = Keeper::new(Some(&folder.0.join("cache")), true, Vec::new(), &nobody).expect("a file");
        let managed = Keeper::new(None, true, Vec::new(), &nobody).expect("a manager");
        [file.is_for(signal), managed.is_for(signal), Keeper::Nobody.is_for(signal)]
    });
    assert_eq!(kept, [[false, true, false], [true, true, false]]);
    assert!(!is_wanted(Some(true), &ServiceManager::default()));
}
