//! A writer's log, read as a lane would.

use zoutbox_format::Sequence;
use zoutbox_relay_core::{Mode, Pattern, Rules};
use zoutbox_test_support::{TestRoot, test_roots};
use zoutbox_writer::{Options, Record, Writer, ZeroAhead};

use super::*;

const ON: ReadOrder =
    ReadOrder { generation: 0, from: ReadFrom::There, skip_damage: false, budget: 256 * 1024, single: false };
const NOW: Duration = Duration::from_secs(1);
const LINGER: Duration = Duration::from_millis(5);

struct World {
    system: System,
    share: Share,
    writer: Writer,
    _root: TestRoot,
}

impl World {
    fn new() -> Self {
        let root = test_roots().pop().unwrap();
        let system = System::real();
        let (share, _) = Share::init(&system, &root.join("share")).unwrap();
        // Else a segment ends where its zeros do.
        let options = Options { zero_ahead: ZeroAhead::Never, ..Options::default() };
        let writer = Writer::open(share.layout.root(), "orders", options).unwrap();
        Self { system, share, writer, _root: root }
    }

    /// Appends this many records and waits until all are durable.
    fn append(&self, topic: &str, count: usize, bytes: usize) {
        let record = Record::new(topic, vec![b'x'; bytes]);
        let tickets: Vec<_> = (0..count).map(|_| self.writer.append(&record).unwrap()).collect();
        for ticket in tickets {
            ticket.wait().unwrap();
        }
    }

    fn source(&self, options: &RunOptions) -> Source {
        Source::new(&self.system, &self.share, &WriterId::new("orders").unwrap(), None, options)
    }
}

fn batches(records: u32) -> RunOptions {
    let rule = |text: &str, mode| (Pattern::new(text).unwrap(), mode);
    let rules = Rules::new(vec![rule("batch", Mode::PointerBatch), rule("pointer", Mode::Pointer)]);
    RunOptions { rules: Arc::new(rules), records, bytes: u32::MAX, linger: LINGER }
}

fn records(items: &[Item<Content>]) -> Vec<u32> {
    items.iter().map(|item| item.body.records()).collect()
}

#[test]
fn a_run_goes_on_over_as_many_reads_as_it_takes() {
    let world = World::new();
    world.append("batch", 1, 0);
    // More than two reads go over.
    world.append("batch", 3 * SPAN / 1_000_000, 1_000_000);
    world.append("batch", 1, 0);
    let mut source = world.source(&batches(1000));
    let (mut ends, mut items) = (Vec::new(), Vec::new());
    loop {
        let gathered = source.read(&ON, NOW).unwrap();
        ends.push(gathered.end);
        items.extend(gathered.items);
        if gathered.end != ReadEnd::Budget {
            break;
        }
    }
    assert!(ends.len() > 2 && items.is_empty(), "{ends:?} {:?}", records(&items));
    assert_eq!(ends.last(), Some(&ReadEnd::Held { until: NOW + LINGER }));
    let gathered = source.read(&ON, NOW + LINGER).unwrap();
    assert_eq!((gathered.end, records(&gathered.items)), (ReadEnd::CaughtUp, vec![13, 1]));
}

#[test]
fn what_is_pointed_to_is_not_held_and_what_is_carried_is_bounded() {
    let world = World::new();
    for topic in ["batch", "pointer", "inline"] {
        world.append(topic, 8, 500_000);
    }
    let mut source = world.source(&batches(1000));
    let mut read = || source.read(&ON, NOW).unwrap();
    let pointed = read();
    let held: usize = pointed.items.iter().map(|item| item.size).sum();
    let span: usize = pointed.items.iter().map(|item| item.span).sum();
    assert!(held < 4000 && span > SPAN - 600_000, "{held} bytes held for {span}");
    assert_eq!(pointed.end, ReadEnd::Budget);
    let mut inline = Vec::new();
    while inline.len() < 8 {
        let gathered = read();
        assert!(
            gathered.items.iter().map(|item| item.size).sum::<usize>() < ON.budget + 500_100,
            "one more at most"
        );
        inline.extend(gathered.items.into_iter().filter(|item| matches!(item.body, Content::Record(_))));
    }
    assert!(inline.iter().all(|item| item.size > 500_000));
}

#[test]
fn a_read_for_one_gives_one() {
    let world = World::new();
    world.append("batch", 20, 10);
    let mut source = world.source(&batches(1000));
    let gathered = source.read(&ReadOrder { single: true, ..ON }, NOW).unwrap();
    assert_eq!((gathered.end, records(&gathered.items)), (ReadEnd::Budget, vec![1]));
    let rest = source.read(&ON, NOW).unwrap();
    assert!(rest.items.is_empty(), "the rest lingers: {:?}", records(&rest.items));
}

#[test]
fn without_rules_every_record_is_an_item_with_its_body() {
    let world = World::new();
    world.append("batch", 3, 10);
    let gathered = world.source(&RunOptions::default()).read(&ON, NOW).unwrap();
    let keys: Vec<_> = gathered.items.iter().map(|item| item.key.sequence).collect();
    assert_eq!(keys, [1, 2, 3].map(Sequence::new));
    assert!(
        gathered
            .items
            .iter()
            .all(|item| matches!(item.body, Content::Record(_)) && item.span == item.size + 28)
    );
    assert_eq!(gathered.end, ReadEnd::CaughtUp);
}
