//! Every target over random bytes and over fixtures that something happened to, with every test run; libFuzzer goes on from here
//! (`scripts/fuzz.sh`). Fixtures and what a fuzzer once found are tried first, as they are.
//!
//! Tests hold one lock: memory is counted for the whole process.

#![expect(clippy::disallowed_methods, reason = "tests read the checkout directly")]

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    use zoutbox_format::ReadAt;
    use zoutbox_fuzz::{Counted, Target, forge};
    use zoutbox_test_support::{Fault, Hits};

    /// How many inputs each test tries; `scripts/fuzz.sh` sets more.
    const CASES: &str = "ZOUTBOX_FUZZ_CASES";
    const USUAL_CASES: u32 = 500;

    static ALONE: Mutex<()> = Mutex::new(());

    fn alone() -> MutexGuard<'static, ()> {
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cases() -> u32 {
        std::env::var(CASES).map_or(USUAL_CASES, |cases| cases.parse().expect("a number of cases"))
    }

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
    }

    /// The bytes of all files right below a directory, in the order of their names.
    fn files(directory: &Path) -> Vec<Vec<u8>> {
        let entries =
            fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read(path).expect("a file")).collect()
    }

    /// What a target begins with: the golden files, and what lies there for it.
    fn seeds(target: Target) -> Vec<Vec<u8>> {
        let golden = files(&fixtures().join("v1"));
        let own = files(&fixtures().join("fuzz").join(target.name()));
        assert!(golden.len() > 60 && !own.is_empty(), "seeds of {target:?} are missing");
        // Its own as often as the others, which mostly are something else.
        let times = golden.len() / own.len();
        golden.into_iter().chain(own.iter().cycle().take(own.len() * times.max(1)).cloned()).collect()
    }

    /// What can happen to bytes.
    #[derive(Debug, Clone)]
    enum Change {
        Flip(Index, u8),
        Number(Index, u64, usize),
        Cut(Index),
        Remove(Index, usize),
        Repeat(Index, usize, usize),
        Insert(Index, Vec<u8>),
        Splice(Index, Vec<u8>, Index),
    }

    fn change(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Change> {
        let place = any::<Index>;
        let number = prop_oneof![
            any::<u64>(),
            select(vec![0, 1, 0x7F, 0xFF, 0xFFFF, 16_908_288, u64::from(u32::MAX), u64::MAX])
        ];
        prop_oneof![
            4 => (place(), 1_u8..).prop_map(|(at, bits)| Change::Flip(at, bits)),
            2 => (place(), number, select(vec![1_usize, 2, 4, 8])).prop_map(|(at, n, width)| Change::Number(at, n, width)),
            1 => place().prop_map(Change::Cut),
            1 => (place(), 1_usize..300).prop_map(|(at, n)| Change::Remove(at, n)),
            1 => (place(), 1_usize..300, 1_usize..40).prop_map(|(at, n, times)| Change::Repeat(at, n, times)),
            1 => (place(), vec(any::<u8>(), 1..60)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
            2 => (place(), select(seeds), place()).prop_map(|(at, other, from)| Change::Splice(at, other, from)),
        ]
    }

    fn changed(bytes: &mut Vec<u8>, change: &Change) {
        let place = |at: &Index| at.index(bytes.len() + 1);
        match change {
            Change::Flip(at, bits) => {
                let at = place(at);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bits);
            }
            Change::Number(at, number, width) => {
                let at = place(at);
                let number = &number.to_le_bytes()[..*width];
                bytes.iter_mut().skip(at).zip(number).for_each(|(byte, with)| *byte = *with);
            }
            Change::Cut(at) => bytes.truncate(place(at)),
            Change::Remove(at, n) => {
                let at = place(at);
                bytes.drain(at..(at + n).min(bytes.len()));
            }
            Change::Repeat(at, n, times) => {
                let at = place(at);
                let part = bytes[at..(at + n).min(bytes.len())].repeat(*times);
                bytes.splice(at..at, part);
            }
            Change::Insert(at, with) => {
                let at = place(at);
                bytes.splice(at..at, with.iter().copied());
            }
            Change::Splice(at, other, from) => {
                bytes.truncate(place(at));
                bytes.extend_from_slice(&other[from.index(other.len() + 1)..]);
            }
        }
    }

    fn runner() -> TestRunner {
        let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
        // The usual cases are the same each time, so that a change is judged by itself; who asks for a number of them searches.
        if std::env::var_os(CASES).is_some() {
            return TestRunner::new(config);
        }
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    }

    fn on_everything(target: Target) {
        let _alone = alone();
        let seeds = seeds(target);
        for bytes in &seeds {
            target.check(bytes);
        }
        let random = vec(any::<u8>(), 0..2000);
        runner()
            .run(&random, |bytes| {
                target.check(&bytes);
                Ok(())
            })
            .expect("random bytes");
        let harmed = (select(seeds.clone()), vec(change(seeds.clone()), 1..5));
        runner()
            .run(&harmed, |(mut bytes, changes)| {
                for change in &changes {
                    changed(&mut bytes, change);
                }
                target.check(&bytes);
                Ok(())
            })
            .expect("fixtures that something happened to");
        let (suite, how) =
            ("fuzz targets", "proptest, over seven kinds of input: at random, and fixtures that were harmed");
        Fault::new(suite, Hits::Bytes, "bytes that nobody wrote", how).held(
            seeds.len() as u64 + 2 * u64::from(cases()),
            "no panic, bounded memory and work, nothing taken for what it is not",
        );
    }

    #[test]
    fn whatever_lies_in_a_segment_only_what_was_written_is_read_in_bounded_memory_and_work() {
        on_everything(Target::Segment);
    }

    #[test]
    fn whatever_lies_in_a_checkpoint_it_is_one_or_refused() {
        on_everything(Target::Checkpoint);
    }

    #[test]
    fn whatever_a_pointer_says_it_leads_to_no_more_than_it_may() {
        on_everything(Target::Pointer);
    }

    #[test]
    fn whatever_lies_in_the_small_files_it_reads_back_or_is_refused() {
        on_everything(Target::Marker);
    }

    #[test]
    fn whatever_comes_to_the_doorbell_is_a_ring_or_nothing() {
        on_everything(Target::Doorbell);
    }

    #[test]
    fn whatever_a_name_is_it_leads_nowhere_else() {
        on_everything(Target::Names);
    }

    #[test]
    fn whatever_a_configuration_says_it_is_one_or_refused_without_a_secret() {
        on_everything(Target::Config);
    }

    /// What takes the most memory for its length, longer than a fuzzer makes it.
    #[test]
    fn files_that_are_all_structure_stay_within_the_bound() {
        const LENGTH: usize = 40_000;
        let _alone = alone();
        let repeated = |part: &str| part.repeat(LENGTH / part.len());
        let numbered = |line: &dyn Fn(usize) -> String| (0..LENGTH / 40).map(line).collect::<String>();
        let json =
            ["[],", "{},", "{\"\":0},", "[0],", "[[[[[[[[]]]]]]]],", "\"\",", "{\"\":{\"\":{\"\":0}}},"];
        for part in json {
            let list = repeated(part);
            let list = list.trim_end_matches(',');
            Target::Marker.check(format!("[{list}]").as_bytes());
            Target::Marker.check(format!("{{\"waits\":[{list}],\"x\":[{list}]}}").as_bytes());
        }
        Target::Marker
            .check(format!("{{{}\"x\":0}}", numbered(&|n| format!("\"{n}\":{{\"\":0}},"))).as_bytes());
        let lists = ["1,", "[],", "{},", "{a=1},", "{a.a.a.a.a.a.a.a=1},", "{a={a={a={a=1}}}},", "'',"];
        for part in lists {
            Target::Config.check(format!("bind=[{}]", repeated(part)).as_bytes());
        }
        for part in ["\n", "=\n", "]", "[[a]]\n", "[[a]]\na=1\n", "[[a.a]]\n", "#\n", "'"] {
            Target::Config.check(repeated(part).as_bytes());
        }
        for dots in [0, 1, 5, 20, 70] {
            let dots = "a.".repeat(dots);
            Target::Config.check(numbered(&|n| format!("{n:x}.{dots}b=1\n")).as_bytes());
            Target::Config.check(numbered(&|n| format!("[{n:x}.{dots}b]\n")).as_bytes());
        }
    }

    #[test]
    fn the_fixtures_reach_what_the_targets_are_for() {
        use zoutbox_format::{Checkpoint, Holder, Marker, Pointer, Progress, SegmentHeader, Waits, doorbell};
        let any = |target: Target, is: fn(&[u8]) -> bool| {
            assert!(seeds(target).iter().any(|bytes| is(bytes)), "no seed of {target:?} gets far");
        };
        any(Target::Segment, |bytes| SegmentHeader::decode(bytes).is_ok());
        any(Target::Checkpoint, |bytes| Checkpoint::decode(bytes).is_ok());
        any(Target::Pointer, |bytes| Pointer::decode(bytes).is_ok());
        any(Target::Marker, |bytes| Marker::decode(bytes).is_ok());
        any(Target::Marker, |bytes| Holder::decode(bytes).is_some());
        any(Target::Marker, |bytes| Progress::decode(bytes).is_ok());
        any(Target::Marker, |bytes| Waits::decode(bytes).is_some());
        any(Target::Doorbell, |bytes| doorbell::decode(bytes).is_some());
        any(Target::Names, |bytes| {
            std::str::from_utf8(bytes).is_ok_and(|t| zoutbox_format::PayloadName::parse(t).is_some())
        });
        any(Target::Config, |bytes| {
            std::str::from_utf8(bytes).is_ok_and(|t| zoutbox_relay::Options::from_toml(t).is_ok())
        });
    }

    #[test]
    fn mended_crcs_are_taken_for_sound_ones() {
        let segment = fs::read(fixtures().join("v1/sealed.seg")).expect("a fixture");
        let mut harmed = segment.clone();
        // A created-at that nobody wrote: the header's CRC, and with it every frame's, is another.
        harmed[48] ^= 1;
        assert!(zoutbox_format::SegmentHeader::decode(&harmed).is_err());
        let mended = forge::segment(&harmed);
        let header = zoutbox_format::SegmentHeader::decode(&mended).expect("sound again");
        let records = |bytes: &[u8], header| {
            let mut scanner = zoutbox_format::Scanner::from_start(header);
            let mut records = 0;
            while let Ok(zoutbox_format::Step::Record(_)) = scanner.step(bytes) {
                records += 1;
            }
            records
        };
        let original = zoutbox_format::SegmentHeader::decode(&segment).expect("sound");
        assert_eq!(records(&mended, &header), records(&segment, &original));
        assert!(forge::segment(&segment) == segment, "what is sound stays as it is");
    }

    #[test]
    fn what_holds_too_much_or_reads_too_often_is_seen() {
        let _alone = alone();
        let counted = Counted::new(&[1; 100]);
        let mut buffer = [0; 60];
        for offset in [0, 50, 90, 200] {
            let Ok(_) = counted.read_at(&mut buffer, offset);
        }
        assert_eq!(counted.read(), 60 + 50 + 10);
        // A datagram of which something was kept would be over its bound.
        let (each, fixed) = Target::Doorbell.memory();
        assert!(each == 0 && fixed < 64 * 1024, "the bound is no bound");
    }
}
