//! Random logs with random damage: what is read is always in order, unaltered, and complete but for what was reported.

use proptest::prelude::*;
use zoutbox_format::Sequence;
use zoutbox_test_support::{Fault, Hits};

use crate::support::{Draft, Log, drain};

/// One segment of a random log: the records of each commit, whether it is sealed, whether it starts a new epoch, and how many records of
/// its tail are no longer part of the log because their sync failed.
#[derive(Debug, Clone)]
struct Shape {
    commits: Vec<u32>,
    sealed: bool,
    new_epoch: bool,
    poisoned: usize,
}

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let shape = (proptest::collection::vec(1u32..4, 1..4), any::<bool>(), any::<bool>(), 0usize..3)
        .prop_map(|(commits, sealed, new_epoch, poisoned)| Shape { commits, sealed, new_epoch, poisoned });
    proptest::collection::vec(shape, 1..5)
}

/// Lays the log; returns its segments, what is acknowledged of it, and what else may be seen.
fn lay(log: &Log, shapes: &[Shape]) -> (Vec<Draft>, Vec<String>, Vec<String>) {
    let (mut drafts, mut acknowledged, mut possible) = (Vec::<Draft>::new(), Vec::new(), Vec::new());
    let (mut epoch, mut next, mut previous) = (1, 1, None);
    for (index, shape) in shapes.iter().enumerate() {
        epoch += u64::from(shape.new_epoch && index > 0);
        let last = index + 1 == shapes.len();
        let draft = log.segment(epoch, next, previous).commits(&shape.commits);
        let records = draft.offsets.len() - 1;
        // Only the last commit can have failed, and a segment with such a tail is never sealed.
        let tail = shape.commits.last().map_or(0, |commit| *commit as usize);
        let failed = if last || shape.poisoned == 0 { 0 } else { tail.min(records - 1) };
        let kept = records - failed;
        let ids: Vec<_> = (0..records as u64).map(|i| format!("{epoch}/{}", next + i)).collect();
        acknowledged.extend_from_slice(&ids[..kept]);
        possible.extend_from_slice(&ids);
        previous = Some(draft.ending_after(kept));
        next += kept as u64;
        let sealed = shape.sealed && failed == 0;
        let draft = if sealed { draft.sealed() } else { draft };
        log.put(&draft, sealed);
        drafts.push(draft);
    }
    (drafts, acknowledged, possible)
}

const CASES: u32 = 200;

#[test]
fn what_a_flipped_byte_hides_is_reported_and_nothing_is_altered() {
    flipped_bytes();
    Fault::new(
        "reader",
        Hits::Disk,
        "a changed byte in a log",
        "at random, one in each of that many random logs",
    )
    .held(CASES, "every record is read or reported as lost, in order, none altered");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn every_acknowledged_record_is_read_once_and_in_order(shapes in shapes()) {
        let log = Log::all().next().expect("tmpfs is there");
        let (_, acknowledged, _) = lay(&log, &shapes);
        let (records, damages) = drain(&mut log.tail(None));
        prop_assert_eq!(&damages, &vec![]);
        prop_assert_eq!(records, acknowledged);
    }

    fn flipped_bytes(
        shapes in shapes(), which: prop::sample::Index, at: prop::sample::Index, flip in 1u8..,
    ) {
        let log = Log::all().next().expect("tmpfs is there");
        let (mut drafts, acknowledged, possible) = lay(&log, &shapes);
        let index = which.index(drafts.len());
        let draft = &mut drafts[index];
        let position = at.index(draft.bytes.len());
        draft.bytes[position] ^= flip;
        let sealed = log.path(draft.id(), true).exists();
        log.put(draft, sealed);
        let (records, damages) = drain(&mut log.tail(None));
        prop_assert!(records.iter().all(|id| possible.contains(id)), "{:?}", records);
        let reported = |sequence: u64| damages.iter().any(|damage| {
            damage.lost_from.get() <= sequence
                && damage.lost_until.is_none_or(|until| Sequence::new(sequence) < until)
        });
        let live_tail = |id: &str| index + 1 == drafts.len() && id.starts_with(&format!("{}/", drafts[index].id().epoch));
        for id in &acknowledged {
            let sequence = id.split_once('/').and_then(|(_, s)| s.parse().ok()).expect("an id");
            // The last segment is live: damage in its last commit can't be told from a commit that is being written.
            prop_assert!(
                records.contains(id) || reported(sequence) || live_tail(id),
                "{} is neither read nor reported: {:?}", id, damages
            );
        }
        let sequences = |ids: &[String]| -> Vec<(u64, u64)> {
            let number = |s: &str| s.parse().expect("a number");
            ids.iter().map(|id| id.split_once('/').expect("an id")).map(|(e, s)| (number(e), number(s))).collect()
        };
        prop_assert!(sequences(&records).is_sorted_by(|a, b| a < b), "{:?}", records);
    }
}
