//! A host that keeps what it has read of a file, though the server has more: two changes within a tick of the server's clock look like one, so
//! that its attributes tell nothing.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use zoutbox_format::Record;
use zoutbox_reader::{Tail, places, sift};
use zoutbox_storage::mount::Mount;
use zoutbox_storage::{
    Disk, DiskFile, Entry, FileSystem, Mapping, Metadata, OpenMode, RealDisk, Space, StorageError, System,
};

use crate::support::{Draft, Log, drain, ids};

/// What was read, by path.
type Pages = Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>;

#[derive(Debug, Default)]
struct CachedDisk(Pages);

#[derive(Debug)]
struct CachedFile {
    file: Box<dyn DiskFile>,
    pages: Pages,
}

impl Disk for CachedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, StorageError> {
        let file = RealDisk.open(path, mode)?;
        Ok(Box::new(CachedFile { file, pages: Arc::clone(&self.0) }))
    }
    fn open_beneath(&self, root: &Path, relative: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        RealDisk.open_beneath(root, relative)
    }
    fn map(&self, path: &Path) -> Result<Mapping, StorageError> {
        RealDisk.map(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        RealDisk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        RealDisk.link(from, to)
    }
    fn remove_file(&self, path: &Path) -> Result<(), StorageError> {
        RealDisk.remove_file(path)
    }
    fn create_dir(&self, path: &Path) -> Result<(), StorageError> {
        RealDisk.create_dir(path)
    }
    fn remove_dir(&self, path: &Path) -> Result<(), StorageError> {
        RealDisk.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        RealDisk.sync_dir(path)
    }
    fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError> {
        RealDisk.list(path)
    }
    fn metadata(&self, path: &Path) -> Result<Metadata, StorageError> {
        RealDisk.metadata(path)
    }
    fn space(&self, path: &Path) -> Result<Space, StorageError> {
        RealDisk.space(path)
    }
    fn file_system(&self, path: &Path) -> Result<FileSystem, StorageError> {
        RealDisk.file_system(path)
    }
    fn mount(&self, path: &Path) -> Result<Mount, StorageError> {
        RealDisk.mount(path)
    }
}

impl DiskFile for CachedFile {
    fn path(&self) -> &Path {
        self.file.path()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        let mut pages = self.pages.lock().expect("nobody panicked");
        let pages =
            pages.entry(self.path().to_owned()).or_insert_with(|| std::fs::read(self.path()).expect("there"));
        let rest = pages.get(usize::try_from(offset).expect("small")..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        self.file.write_at(bytes, offset)
    }
    fn sync(&self) -> Result<(), StorageError> {
        self.file.sync()
    }
    fn set_length(&self, length: u64) -> Result<(), StorageError> {
        self.file.set_length(length)
    }
    fn metadata(&self) -> Result<Metadata, StorageError> {
        self.file.metadata()
    }
    fn forget_cached(&self) -> Result<(), StorageError> {
        self.pages.lock().expect("nobody panicked").remove(self.path());
        Ok(())
    }
    fn try_lock(&self) -> Result<bool, StorageError> {
        self.file.try_lock()
    }
}

/// A tail on such a host.
fn tail(log: &Log, disk: &Arc<CachedDisk>) -> Tail {
    let disk: Arc<dyn Disk> = Arc::clone(disk) as _;
    let system = System { disk, ..log.system.clone() };
    Tail::new(system, log.share.clone(), log.writer.clone(), None)
}

/// A live segment as it lies on the share: as long as it will ever be.
fn put(log: &Log, segment: &Draft) {
    let mut filled = segment.clone();
    filled.bytes.resize(4096, 0);
    log.put(&filled, false);
}

#[test]
fn bytes_that_were_cached_before_a_segment_ended_are_not_taken_for_damage() {
    for log in Log::all() {
        // Whoever begins only now; whoever reads already; and whoever has looked into it before.
        for (known, idle) in [(false, 0), (true, 0), (true, 5)] {
            let disk = Arc::new(CachedDisk::default());
            let first = log.segment(1, 1, None).commits(&[1]);
            put(&log, &first);
            let mut early = tail(&log, &disk);
            assert_eq!(drain(&mut early), (ids(1, 1..=1), vec![]));
            log.clock.advance(Duration::from_secs(idle));
            assert_eq!(drain(&mut early), (vec![], vec![]));
            let whole = first.commits(&[2]);
            put(&log, &whole);
            let next = log.segment(1, 4, Some(whole.whole())).commits(&[1]);
            let path = log.put(&next, false);
            let (mut reader, expected) = if known { (early, 2..=4) } else { (tail(&log, &disk), 1..=4) };
            assert_eq!(drain(&mut reader), (ids(1, expected), vec![]), "{known}, {idle}");
            std::fs::remove_file(path).expect("removed");
        }
    }
}

#[test]
fn who_removes_things_sees_every_record_of_a_live_segment_whatever_is_cached() {
    for log in Log::all() {
        let disk: Arc<dyn Disk> = Arc::new(CachedDisk::default());
        let system = System { disk, ..log.system.clone() };
        let sifted = || {
            let (place, mut seen) =
                (places(&system, &log.share, &log.writer).expect("readable").remove(0), 0);
            let read = sift(&system, &log.share, &log.writer, &place, &[], None, |_| {
                seen += 1;
                ControlFlow::Continue(())
            });
            read.expect("readable");
            seen
        };
        let record = |draft: Draft| {
            let mut body = Vec::new();
            Record::new("t", "x").borrowed(1).encode(&mut body).expect("sound");
            draft.body(0, &body)
        };
        let first = record(log.segment(1, 1, None));
        put(&log, &first);
        assert_eq!(sifted(), 1);
        put(&log, &record(first));
        assert_eq!(sifted(), 2);
    }
}

#[test]
fn a_record_that_was_not_there_when_its_bytes_were_cached_is_seen_all_the_same() {
    for log in Log::all() {
        let disk = Arc::new(CachedDisk::default());
        let first = log.segment(1, 1, None).commits(&[1]);
        put(&log, &first);
        let mut reader = tail(&log, &disk);
        assert_eq!(drain(&mut reader), (ids(1, 1..=1), vec![]));
        put(&log, &first.commits(&[1]));
        assert_eq!(drain(&mut reader), (vec![], vec![]), "the attributes tell nothing");
        log.clock.advance(Duration::from_secs(5));
        assert_eq!(drain(&mut reader), (ids(1, 2..=2), vec![]));
    }
}
