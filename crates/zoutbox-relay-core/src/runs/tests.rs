//! Runs of logs that are made up, record by record.

use proptest::collection::vec;
use proptest::prelude::*;
use zoutbox_format::frame::encode_data;
use zoutbox_format::{Epoch, Record, SegmentHeader, pointer};

use super::*;
use crate::topics::Pattern;

const MS: Duration = Duration::from_millis(1);

/// A log: its segments' bytes, and its records with the commit each is of.
#[derive(Default)]
struct Log {
    segments: Vec<Vec<u8>>,
    records: Vec<Laid>,
    commits: usize,
}

#[derive(Clone)]
struct Laid {
    key: Key,
    segment: usize,
    commit: usize,
    commit_index: u32,
    from: usize,
    to: usize,
    after: Position,
    topic: String,
}

fn header(segment: usize, first: u64) -> SegmentHeader {
    SegmentHeader {
        share: ShareId::from_bytes([7; 16]),
        writer: WriterId::new("orders").expect("valid"),
        id: SegmentId { epoch: Epoch::new(1 + segment as u64 / 2), first_sequence: Sequence::new(first) },
        created_ms: 0,
        previous: None,
    }
}

impl Log {
    fn next_sequence(&self) -> u64 {
        self.records.last().map_or(1, |record| record.key.sequence.get() + 1)
    }

    fn segment(&mut self) -> &mut Self {
        let header = header(self.segments.len(), self.next_sequence());
        self.segments.push(header.encode().to_vec());
        self
    }

    /// One commit of records of these topics, with payloads of so many bytes. The topic "bad" is of what is no record.
    fn commit(&mut self, records: &[(&str, usize)]) -> &mut Self {
        if self.segments.is_empty() {
            self.segment();
        }
        self.commits += 1;
        for (commit_index, (topic, bytes)) in (0..).zip(records) {
            let mut body = Vec::new();
            let record = Record::new(*topic, vec![b'p'; *bytes]).key("k").header("h", "v");
            match *topic {
                "bad" => body.extend_from_slice(b"no record"),
                _ => record.borrowed(self.next_sequence()).encode(&mut body).expect("valid"),
            }
            self.lay(topic, commit_index, &body);
        }
        self
    }

    fn lay(&mut self, topic: &str, commit_index: u32, body: &[u8]) {
        let (segment, sequence) = (self.segments.len() - 1, Sequence::new(self.next_sequence()));
        let header = SegmentHeader::decode(&self.segments[segment]).expect("a header");
        let bytes = &mut self.segments[segment];
        let from = bytes.len();
        encode_data(bytes, header.crc_seed(), sequence, commit_index, body);
        let (to, next_sequence) = (bytes.len(), sequence.next());
        self.records.push(Laid {
            key: Key { epoch: header.id.epoch, sequence },
            segment,
            commit: self.commits,
            commit_index,
            from,
            to,
            after: Position { segment: header.id, offset: to as u64, next_sequence },
            topic: topic.to_owned(),
        });
    }

    fn lying(&self, index: usize) -> Lying<'_> {
        let laid = &self.records[index];
        let frame = &self.segments[laid.segment][laid.from..laid.to];
        let Laid { key, commit_index, after, .. } = *laid;
        Lying {
            key,
            commit_index,
            offset: laid.from as u64,
            after,
            frame,
            body: &frame[FRAME_HEADER_LENGTH..],
        }
    }
}

fn options(records: u32, bytes: u32, linger: Duration) -> RunOptions {
    let rule = |text: &str, mode| (Pattern::new(text).expect("a pattern"), mode);
    let rules = Rules::new(vec![
        rule("one.#", Mode::Pointer),
        rule("many.#", Mode::PointerBatch),
        rule("bad", Mode::PointerBatch),
    ]);
    RunOptions { rules: Arc::new(rules), records, bytes, linger }
}

/// What came out, and how many records had been pushed by then.
struct Out {
    log: Log,
    runs: Runs,
    pushed: usize,
    came: Vec<(Came, usize)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Came {
    Record(Key),
    Run(Run),
}

impl Out {
    fn new(log: Log, options: RunOptions) -> Self {
        Self { log, runs: Runs::new(options), pushed: 0, came: Vec::new() }
    }

    fn push(&mut self, count: usize, now: Duration) {
        for _ in 0..count.min(self.log.records.len() - self.pushed) {
            self.pushed += 1;
            let (came, pushed) = (&mut self.came, self.pushed);
            self.runs
                .push(self.log.lying(pushed - 1), now, &mut |grouped| came.push((Came::of(grouped), pushed)));
        }
    }

    fn caught_up(&mut self, now: Duration) -> Option<Duration> {
        let (came, pushed) = (&mut self.came, self.pushed);
        self.runs.caught_up(now, &mut |grouped| came.push((Came::of(grouped), pushed)))
    }

    fn finish(&mut self) {
        let (came, pushed) = (&mut self.came, self.pushed);
        self.runs.finish(&mut |grouped| came.push((Came::of(grouped), pushed)));
    }

    /// How many records each run has, 0 for a record by itself.
    fn counts(&self) -> Vec<u32> {
        let count = |(came, _): &(Came, usize)| match came {
            Came::Record(_) => 0,
            Came::Run(run) => run.count,
        };
        self.came.iter().map(count).collect()
    }

    /// That what came is all that was pushed but for what is still open, each record once, in order, and every run as it must be.
    fn check(&self) {
        let RunOptions { records, bytes, rules, .. } = &self.runs.options;
        let mut next = 0;
        for (came, pushed) in &self.came {
            let first = &self.log.records[next];
            match came {
                Came::Record(key) => {
                    assert_eq!(
                        (key, rules.mode(&first.topic) == Mode::Inline || first.topic == "bad"),
                        (&first.key, true)
                    );
                    next += 1;
                }
                Came::Run(run) => {
                    let all = &self.log.records[next..next + run.count as usize];
                    let last = all.last().expect("at least one");
                    assert_eq!((run.first, run.after), (first.key, last.after));
                    assert_eq!((run.offset, run.length as usize), (first.from as u64, last.to - first.from));
                    let frames = &self.log.segments[first.segment][first.from..last.to];
                    let pointer =
                        run.pointer(ShareId::from_bytes([7; 16]), WriterId::new("orders").expect("valid"));
                    assert!(pointer.matches(frames), "CRC of {run:?}");
                    assert_eq!(Pointer::decode(&pointer.encode()), Ok(pointer));
                    assert!(
                        all.iter().all(|laid| *laid.topic == *run.topic && laid.segment == first.segment)
                    );
                    assert_eq!(run.timestamp_ms, first.key.sequence.get());
                    let alone = rules.mode(&run.topic) == Mode::Pointer;
                    assert_eq!((run.head.is_some(), run.count == 1 || !alone), (alone, true));
                    assert!(run.count == 1 || (run.count <= *records && run.length <= *bytes), "{run:?}");
                    self.check_fate(all, *pushed);
                    next += run.count as usize;
                }
            }
        }
        let open = self.runs.open.size().0 as usize;
        assert_eq!(next + open, self.pushed, "something is missing");
    }

    /// Known to be durable, all of them, or all of one commit.
    fn check_fate(&self, run: &[Laid], pushed: usize) {
        let (first, last) = (&run[0], &run[run.len() - 1]);
        let later = |laid: &Laid| laid.segment == last.segment && laid.commit > last.commit;
        let proven = self.log.records[..pushed].iter().any(later);
        assert!(
            proven || first.commit == last.commit,
            "commits {} to {} in one run",
            first.commit,
            last.commit
        );
    }
}

impl Came {
    fn of(grouped: Grouped<'_>) -> Self {
        match grouped {
            Grouped::Record(record) => Self::Record(record.key),
            Grouped::Run(run) => Self::Run(run),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Segment,
    Commit(Vec<(&'static str, usize)>),
}

fn logs() -> impl Strategy<Value = Vec<Step>> {
    let topic = prop_oneof![4 => Just("many.a"), 2 => Just("many.b"), 1 => Just("one.a"), 1 => Just("other"), 1 => Just("bad")];
    let commit = vec((topic, 0..200_usize), 1..8).prop_map(Step::Commit);
    let same = vec((Just("many.a"), 0..100_usize), 1..20).prop_map(Step::Commit);
    vec(prop_oneof![1 => Just(Step::Segment), 4 => commit, 4 => same], 1..12)
}

fn laid(steps: &[Step]) -> Log {
    let mut log = Log::default();
    for step in steps {
        match step {
            Step::Segment => log.segment(),
            Step::Commit(records) => log.commit(records),
        };
    }
    log
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_record_comes_once_in_order_and_every_run_is_as_it_must_be(
        steps in logs(), records in 1..12_u32, bytes in 1..2000_u32, linger in 0..6_u32,
        reads in vec((0..15_usize, any::<bool>(), 0..4_u32), 0..20),
    ) {
        let mut out = Out::new(laid(&steps), options(records, bytes, linger * MS));
        let mut now = Duration::ZERO;
        for (count, ends, passes) in reads {
            out.push(count, now);
            now += passes * MS;
            if ends {
                let held = out.caught_up(now);
                prop_assert_eq!(held.is_some(), out.runs.open.first().is_some());
                prop_assert!(held.is_none_or(|until| until > now && until <= now + linger * MS));
            }
            out.check();
        }
        out.push(usize::MAX, now);
        out.finish();
        out.check();
        prop_assert_eq!(out.runs.open.size().0, 0);
    }
}

#[test]
fn a_run_ends_at_another_topic_at_another_segment_and_at_a_gap() {
    let mut log = Log::default();
    log.commit(&[("many.a", 1); 3]).commit(&[("many.b", 1); 2]).commit(&[("other", 1), ("many.b", 1)]);
    log.segment().commit(&[("many.b", 1); 4]);
    log.records.remove(9);
    let mut out = Out::new(log, options(100, 10_000, MS));
    out.push(usize::MAX, MS);
    out.finish();
    assert_eq!(out.counts(), [3, 2, 0, 1, 2, 1]);
}

#[test]
fn a_run_is_full_at_its_bounds_and_one_record_is_never_too_large() {
    let mut log = Log::default();
    log.commit(&[("many.a", 10); 7]).commit(&[("many.a", 500)]).commit(&[("many.a", 10); 2]);
    let mut by_records = Out::new(log, options(3, u32::MAX, MS));
    by_records.push(usize::MAX, MS);
    by_records.finish();
    // The seventh was alone in its run when the next commit began, so that both could share one.
    assert_eq!(by_records.counts(), [3, 3, 2, 2]);
    let mut by_bytes = Out::new(by_records.log, options(100, 200, MS));
    by_bytes.push(usize::MAX, MS);
    by_bytes.finish();
    assert_eq!(by_bytes.counts(), [3, 3, 1, 1, 2]);
    by_bytes.check();
}

#[test]
fn what_is_full_does_not_linger() {
    let mut log = Log::default();
    log.commit(&[("many.a", 10); 5]);
    let mut out = Out::new(log, options(5, u32::MAX, 100 * MS));
    out.push(4, MS);
    assert_eq!(out.caught_up(MS), Some(101 * MS));
    out.push(1, 2 * MS);
    assert_eq!((out.caught_up(2 * MS), out.counts()), (None, vec![5]));
}

#[test]
fn a_trickle_is_collected_until_its_first_record_has_waited() {
    let mut log = Log::default();
    for _ in 0..12 {
        log.commit(&[("many.a", 1)]);
    }
    let mut out = Out::new(log, options(100, 10_000, 5 * MS));
    for ms in 0..12 {
        out.push(1, ms * MS);
        out.caught_up(ms * MS);
    }
    // The latest one waits by itself: that it is durable, the next one tells.
    assert_eq!(out.counts(), [5, 5]);
    assert_eq!(out.caught_up(14 * MS), Some(15 * MS));
    assert_eq!(
        (out.caught_up(15 * MS), out.caught_up(16 * MS), out.counts()),
        (Some(16 * MS), None, vec![5, 5, 1, 1])
    );
}

#[test]
fn a_full_run_does_not_mix_what_is_durable_with_a_commit_that_may_not_be() {
    let mut log = Log::default();
    log.commit(&[("many.a", 1); 3]).commit(&[("many.a", 1); 5]).commit(&[("many.a", 1)]);
    let mut out = Out::new(log, options(5, 10_000, MS));
    out.push(8, MS);
    assert_eq!(out.counts(), [3], "two of the next commit could follow, and one power cut could take them");
    out.push(1, MS);
    out.finish();
    assert_eq!(out.counts(), [3, 5, 1]);
}

#[test]
fn what_comes_again_elsewhere_is_forgotten_and_nothing_else() {
    let mut log = Log::default();
    log.commit(&[("many.a", 1); 3]).commit(&[("many.a", 1); 2]);
    let mut out = Out::new(log, options(100, 10_000, MS));
    out.push(5, MS);
    let came = &mut out.came;
    out.runs.finish_before(Sequence::new(4), &mut |grouped| came.push((Came::of(grouped), 5)));
    assert_eq!(out.counts(), [3]);
    assert!(out.runs.open.first().is_none());
}

#[test]
fn without_rules_nothing_is_looked_at() {
    let mut log = Log::default();
    log.commit(&[("many.a", 1), ("bad", 1)]);
    let mut out = Out::new(log, RunOptions { rules: Arc::default(), ..options(5, 100, MS) });
    out.push(2, MS);
    assert_eq!((out.counts(), out.caught_up(MS)), (vec![0, 0], None));
}

#[test]
fn a_record_with_a_message_to_itself_brings_its_head() {
    let mut log = Log::default();
    log.commit(&[("one.a", 5000)]);
    let mut out = Out::new(log, options(5, 100, MS));
    out.push(1, MS);
    let Some((Came::Run(run), _)) = out.came.first() else { panic!("a run") };
    let head = Head { key: Some("k".into()), id: None, headers: vec![("h".into(), "v".into())] };
    assert_eq!((run.head.as_ref(), run.count), (Some(&head), 1));
    assert!(run.held() < 1000, "its payload is not kept: {}", run.held());
    assert_eq!(run.crc, pointer::crc(out.log.lying(0).frame));
}
