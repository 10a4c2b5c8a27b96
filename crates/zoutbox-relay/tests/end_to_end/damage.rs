//! Damaged segments: the exact loss is told, nothing is skipped unasked, and the other writers flow.

use std::fs;
use std::path::{Path, PathBuf};

use zoutbox_format::frame::FRAME_HEADER_LENGTH;
use zoutbox_test_support::{Broker, Hits};
use zoutbox_writer::Options;

use crate::support::{Consumer, Ended, Producer, Queue, Relay, World, fault, list, name};

const SKIP: &[&str] = &["--once", "--on-damage", "skip"];

/// A share with 200 records of `orders`, of which something is then damaged, and 200 of `sound`.
struct Case {
    world: World,
    queue: Queue,
    orders: Producer,
    sound: Producer,
    consumer: Consumer,
}

impl Case {
    fn new(test: &str) -> Self {
        let (world, queue) = (World::new(), Queue::new(Broker::shared(), test, &["#"]));
        let small = Options { segment_size: 64 * 1024, ..Options::default() };
        let (mut orders, mut sound) = (world.writer_with("orders", small), world.writer("sound"));
        // One at a time, so that each is durable before the next: what is lost is then exactly what was damaged.
        for _ in 0..200 {
            orders.append_many(1);
        }
        orders.close();
        sound.append_many(200);
        let consumer = Consumer::start(&queue);
        Self { world, queue, orders, sound, consumer }
    }

    /// The segment that holds the record with this sequence, and the offset of the record's frame.
    fn frame_of(&self, sequence: u64) -> (PathBuf, usize) {
        let (id, record) = &self.orders.appended[usize::try_from(sequence).unwrap() - 1];
        assert_eq!(id.sequence.get(), sequence);
        for path in self.world.segments("orders") {
            let bytes = fs::read(&path).unwrap();
            let payload = bytes.windows(record.payload.len()).position(|window| window == record.payload);
            let Some(payload) = payload else { continue };
            let magic = bytes[..payload].windows(4).rposition(|window| window == b"ZFRM").unwrap();
            return (path, magic);
        }
        panic!("no segment holds {id}");
    }

    fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    /// Publishes what is there, then ends.
    fn run(&self, more: &[&str]) -> Ended {
        let ended = Relay::start(self.world.root(), self.queue.with(more)).wait();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        ended
    }

    /// Checks what came by now: all of `sound`, and of `orders` these sequences, each once or more, in order.
    fn came(&self, sequences: impl IntoIterator<Item = u64>, log: &str) {
        self.queue.mark();
        self.consumer.ids_before_the_mark();
        let expected: Vec<_> = sequences.into_iter().map(|sequence| format!("orders/1/{sequence}")).collect();
        assert_eq!(self.consumer.first_deliveries("orders"), expected, "{log}");
        let sound: Vec<_> = self.sound.appended.iter().map(|(id, _)| id.to_string()).collect();
        assert_eq!(self.consumer.first_deliveries("sound"), sound, "{log}");
    }
}

#[test]
fn a_lane_halts_in_front_of_a_damaged_record_names_the_exact_loss_and_the_others_flow() {
    let case = Case::new("damage-halt");
    let (path, offset) = case.frame_of(101);
    Case::change(&path, |bytes| bytes[offset + FRAME_HEADER_LENGTH + 3] ^= 1);
    let ended = case.run(&["--once"]);
    let told = format!("{} is damaged at offset {offset}", path.display());
    assert!(ended.log.contains(&told), "not told: {told}\n{}", ended.log);
    assert!(ended.log.contains("lost sequence 101"), "{}", ended.log);
    case.came(1..=100, &ended.log);
    assert_eq!((case.world.confirmed("orders"), case.world.confirmed("sound")), (101, 201));
    assert_eq!(case.world.dead("orders"), []);
    fault(Hits::Disk, "bytes of durable records are damaged", "a flipped bit; the lane halts")
        .held(1, "file, offset and the lost sequence told; the others flowed");
}

#[test]
fn told_to_skip_the_relay_reports_the_loss_and_publishes_the_rest() {
    let case = Case::new("damage-skip");
    let (path, from) = case.frame_of(101);
    let (same, to) = case.frame_of(104);
    assert_eq!(path, same);
    Case::change(&path, |bytes| bytes[from..to].fill(0xEE));
    let ended = case.run(SKIP);
    case.came((1..=100).chain(104..=200), &ended.log);
    assert_eq!(case.world.confirmed("orders"), 201);
    let reports = case.world.dead("orders");
    let [(_, report)] = reports.as_slice() else { panic!("not one report: {reports:?}") };
    assert_eq!(report["file"].as_str(), path.to_str());
    assert_eq!(report["offset"], from);
    assert_eq!((&report["lost_from"], &report["lost_until"]), (&101.into(), &104.into()));
    assert_eq!(report["lost"], "sequences 101 to 103");
    assert!(ended.log.contains("sequences 101 to 103"), "{}", ended.log);
    fault(Hits::Disk, "bytes of durable records are damaged", "three records overwritten; told to skip")
        .held(3, "those three reported with file, offset and sequences, all others delivered in order");
}

#[test]
fn a_relay_that_halted_at_damage_goes_on_when_it_is_told_to_skip() {
    let case = Case::new("damage-then-skip");
    let (path, offset) = case.frame_of(150);
    Case::change(&path, |bytes| bytes[offset] = 0);
    case.run(&["--once"]);
    assert_eq!(case.world.confirmed("orders"), 150);
    let ended = case.run(SKIP);
    case.came((1..=149).chain(151..=200), &ended.log);
    let all = 199 + 200;
    assert_eq!(case.consumer.count(), all + 1, "something was published again, besides the mark");
}

#[test]
fn a_segment_that_vanished_is_damage_with_its_exact_range() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "vanished", &["#"]));
    let mut orders = world.writer("orders");
    for _ in 0..3 {
        orders.append_many(10);
        orders.reopen();
    }
    orders.append_many(10);
    let middle = world.segments("orders")[1].clone();
    fs::remove_file(&middle).unwrap();
    let consumer = Consumer::start(&queue);
    let ended = Relay::start(world.root(), queue.with(&["--once"])).wait();
    assert_eq!((ended.code, world.confirmed("orders")), (Some(0), 11), "{ended:#?}");
    assert!(ended.log.contains("lost sequences 11 to 20"), "{}", ended.log);
    let ended = Relay::start(world.root(), queue.with(SKIP)).wait();
    assert_eq!((ended.code, world.confirmed("orders")), (Some(0), 41), "{ended:#?}");
    queue.mark();
    assert_eq!(consumer.ids_before_the_mark().len(), 30);
    assert_eq!(world.dead("orders")[0].1["lost"], "sequences 11 to 20");
    fault(Hits::Disk, "a segment vanishes", "removed by hand, out of the middle")
        .held(1, "the exact range reported, all else delivered");
}

/// Gives a segment's header, or one of its frames, back its CRC.
fn seal(
    bytes: &mut [u8],
    covered: std::ops::Range<usize>,
    crc_at: usize,
    seed: u32,
    body: std::ops::Range<usize>,
) {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&bytes[covered]);
    hasher.update(&bytes[body]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&hasher.finalize().to_le_bytes());
}

#[test]
fn a_frame_of_a_newer_format_is_never_skipped() {
    let case = Case::new("newer-frame");
    let (path, at) = case.frame_of(101);
    Case::change(&path, |bytes| {
        let seed = u32::from_le_bytes(bytes[156..160].try_into().unwrap());
        let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap());
        let body = at + FRAME_HEADER_LENGTH..at + FRAME_HEADER_LENGTH + usize::try_from(length).unwrap();
        seal(&mut bytes[..], at..at + 24, at + 24, seed, body.clone());
        let sound = bytes.clone();
        bytes[at + 4] = 3;
        seal(&mut bytes[..], at..at + 24, at + 24, seed, body);
        let same = sound.iter().zip(bytes.iter()).filter(|(a, b)| a == b).count();
        assert!(same >= bytes.len() - 5, "only the kind and the CRC differ");
    });
    never_skipped(&case, 101);
}

#[test]
fn a_segment_of_a_newer_format_is_never_skipped() {
    let case = Case::new("newer-segment");
    let first = case.world.segments("orders")[0].clone();
    Case::change(&first, |bytes| {
        bytes[8] = 2;
        seal(&mut bytes[..], 0..156, 156, 0, 0..0);
    });
    never_skipped(&case, 1);
}

/// Not even when told to skip: an update can read it.
fn never_skipped(case: &Case, sequence: u64) {
    let ended = case.run(SKIP);
    case.came(1..sequence, &ended.log);
    assert_eq!(case.world.confirmed("orders"), sequence, "{}", ended.log);
    assert_eq!(case.world.confirmed("sound"), 201);
    assert_eq!(case.world.dead("orders"), [], "a report says that it was passed");
    let waits = ended.log.lines().find(|line| line.contains("orders") && line.contains("waits"));
    assert!(waits.is_some(), "nobody is told: {}", ended.log);
    fault(Hits::Disk, "a segment or a frame of a newer format", "its version raised, its CRC made right")
        .held(1, "never skipped: the lane waited, the others flowed");
}

#[test]
fn a_damaged_segment_is_kept_when_it_could_be_removed() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "evidence", &["#"]));
    let mut orders = world.writer("orders");
    for _ in 0..10 {
        orders.append_many(1);
    }
    orders.reopen();
    orders.append_many(10);
    let damaged = world.segments("orders")[0].clone();
    Case::change(&damaged, |bytes| {
        let end = bytes.windows(6).position(|window| window == b"000004").unwrap();
        bytes[end] = b'X';
    });
    let relay = Relay::start(world.root(), queue.with(&["--on-damage", "skip", "--retention", "0s"]));
    world.wait_until_confirmed(&orders);
    let archive = world.share.layout.archive(&orders.id);
    zoutbox_test_support::wait_until("it is archived", crate::support::LONG, || !list(&archive).is_empty());
    relay.stop();
    assert_eq!(list(&archive).iter().map(|path| name(path)).collect::<Vec<_>>(), [name(&damaged)]);
    assert!(!damaged.exists());
}
