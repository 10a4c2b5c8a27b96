//! A share, the writers that append to it in this process, and what is to be seen on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use zoutbox_format::layout::SegmentName;
use zoutbox_format::{Checkpoint, WriterId};
use zoutbox_storage::{Share, System};
use zoutbox_test_support::{TestRoot, test_roots, wait_until};
use zoutbox_writer::{Options, Record, RecordId, Writer};

use super::LONG;

/// A share of its own, on a disk (or below `ZOUTBOX_TEST_DIR`).
pub(crate) struct World {
    pub(crate) share: Share,
    /// For what lies beside the share.
    pub(crate) beside: TestRoot,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on(test_roots().pop().unwrap())
    }

    pub(crate) fn on(beside: TestRoot) -> Self {
        let (share, _) = Share::init(&System::real(), &beside.join("share")).unwrap();
        Self { share, beside }
    }

    pub(crate) fn root(&self) -> &Path {
        self.share.layout.root()
    }

    pub(crate) fn writer(&self, id: &str) -> Producer {
        self.writer_with(id, Options::default())
    }

    pub(crate) fn writer_with(&self, id: &str, options: Options) -> Producer {
        let writer = Writer::open(self.root(), id, options.clone()).unwrap();
        Producer {
            writer: Some(writer),
            id: WriterId::new(id).unwrap(),
            root: self.root().to_owned(),
            options,
            appended: Vec::new(),
        }
    }

    pub(crate) fn directory(&self, writer: &str) -> PathBuf {
        self.share.layout.writer(&WriterId::new(writer).unwrap())
    }

    pub(crate) fn checkpoint_path(&self, writer: &str) -> PathBuf {
        self.share.layout.checkpoint(&WriterId::new(writer).unwrap())
    }

    /// The sequence behind the last confirmed record, as the checkpoint on the share says; 1 without one.
    pub(crate) fn confirmed(&self, writer: &str) -> u64 {
        let bytes = fs::read(self.checkpoint_path(writer)).unwrap_or_default();
        Checkpoint::decode(&bytes).map_or(1, |checkpoint| checkpoint.position.next_sequence.get())
    }

    pub(crate) fn wait_until_confirmed(&self, producer: &Producer) {
        let end = producer.next_sequence();
        wait_until(&format!("{}'s checkpoint is at {end}", producer.id), LONG, || {
            self.confirmed(producer.id.as_str()) == end
        });
    }

    pub(crate) fn is_confirmed_within(&self, producer: &Producer, patience: Duration) -> bool {
        let (start, end) = (Instant::now(), producer.next_sequence());
        while self.confirmed(producer.id.as_str()) != end && start.elapsed() < patience {
            thread::sleep(Duration::from_millis(10));
        }
        self.confirmed(producer.id.as_str()) == end
    }

    /// The files below `dead/<writer>/`, in order, with their content.
    pub(crate) fn dead(&self, writer: &str) -> Vec<(String, Value)> {
        let directory = self.share.layout.dead(&WriterId::new(writer).unwrap());
        let letter =
            |path: PathBuf| (name(&path), serde_json::from_slice(&fs::read(&path).unwrap()).unwrap());
        list(&directory).into_iter().map(letter).collect()
    }

    /// The segments of a writer, in order.
    pub(crate) fn segments(&self, writer: &str) -> Vec<PathBuf> {
        let is_segment = |path: &PathBuf| SegmentName::parse(&name(path)).is_some();
        list(&self.directory(writer)).into_iter().filter(is_segment).collect()
    }
}

/// The entries of a directory, sorted; none if it is not there.
pub(crate) fn list(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// A writer, and everything that it acknowledged.
pub(crate) struct Producer {
    writer: Option<Writer>,
    pub(crate) id: WriterId,
    root: PathBuf,
    options: Options,
    pub(crate) appended: Vec<(RecordId, Record)>,
}

impl Producer {
    /// Appends records and waits until all of them are acknowledged.
    pub(crate) fn append(&mut self, records: impl IntoIterator<Item = Record>) {
        let writer = self.writer.as_ref().unwrap();
        let tickets: Vec<_> =
            records.into_iter().map(|record| (writer.append(&record).unwrap(), record)).collect();
        self.appended.extend(tickets.into_iter().map(|(ticket, record)| (ticket.wait().unwrap(), record)));
    }

    /// Appends this many records more; each says which it is.
    pub(crate) fn append_many(&mut self, count: usize) {
        let next = self.appended.len();
        let topic = format!("{}.things", self.id);
        let record = |number| Record::new(&topic, format!("{topic} {number:06}"));
        self.append((next..next + count).map(record));
    }

    /// Ends the writer in good order: its last segment is sealed.
    pub(crate) fn close(&mut self) {
        self.writer.take().unwrap().close().unwrap();
    }

    /// Ends the writer and begins a new epoch.
    pub(crate) fn reopen(&mut self) {
        self.close();
        self.writer = Some(Writer::open(&self.root, self.id.as_str(), self.options.clone()).unwrap());
    }

    /// The sequence of the record that would come next.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.appended.last().map_or(1, |(id, _)| id.sequence.get() + 1)
    }
}
