use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const OWNED: Owned = Owned { mode: 0o644, user: 0, group: 0 };

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

fn content(disk: &Disk, directory: Ino, text: &str) -> Option<Vec<u8>> {
    let number = disk.look_up(directory, name(text)).ok()?.number;
    Some(disk.read(number, 0, usize::MAX).unwrap().to_vec())
}

/// What a power cut may leave, over many chances.
fn cuts(disk: &Disk) -> impl Iterator<Item = Disk> {
    (0..300).map(|seed| {
        let mut left = disk.clone();
        left.cut_power(&mut Random::new(seed));
        left
    })
}

#[test]
fn what_was_synced_with_its_name_survives_every_power_cut() {
    let mut disk = Disk::new();
    let file = disk.create(ROOT, name("a"), OWNED).unwrap().number;
    disk.write(file, 0, b"durable").unwrap();
    disk.sync(file).unwrap();
    disk.sync_directory(ROOT).unwrap();
    disk.write(file, 7, b", and not").unwrap();
    disk.create(ROOT, name("b"), OWNED).unwrap();
    assert_eq!(content(&disk, ROOT, "a").unwrap(), b"durable, and not");
    let mut seen = BTreeSet::new();
    for left in cuts(&disk) {
        let found = content(&left, ROOT, "a").unwrap();
        assert!(found.starts_with(b"durable"), "{found:?}");
        seen.insert((found.len() > 7, content(&left, ROOT, "b").is_some()));
        assert_eq!(left.at_risk(), (0, 0), "what is left is durable");
    }
    assert_eq!(seen.len(), 4, "what was not synced goes either way, each for itself: {seen:?}");
}

#[test]
fn nothing_is_at_risk_once_everything_is_synced() {
    let mut disk = Disk::new();
    let file = disk.create(ROOT, name("a"), OWNED).unwrap().number;
    disk.write(file, 0, b"content").unwrap();
    assert_eq!(disk.at_risk(), (1, 1));
    disk.sync_all();
    assert_eq!(disk.at_risk(), (0, 0));
    let left: BTreeSet<_> = cuts(&disk).map(|left| content(&left, ROOT, "a")).collect();
    assert_eq!(left, BTreeSet::from([Some(b"content".to_vec())]));
}

#[test]
fn a_synced_file_without_a_synced_name_can_be_gone_and_is_never_half() {
    let mut disk = Disk::new();
    let file = disk.create(ROOT, name("a"), OWNED).unwrap().number;
    disk.write(file, 0, b"content").unwrap();
    disk.sync(file).unwrap();
    let left: BTreeSet<_> = cuts(&disk).map(|left| content(&left, ROOT, "a")).collect();
    assert_eq!(left, BTreeSet::from([None, Some(b"content".to_vec())]));
}

#[test]
fn an_unsynced_write_is_torn_at_sectors_and_nowhere_else() {
    let mut disk = Disk::new();
    let file = disk.create(ROOT, name("a"), OWNED).unwrap().number;
    disk.sync_directory(ROOT).unwrap();
    disk.write(file, 100, &[7; 2000]).unwrap();
    let mut holes = 0;
    for left in cuts(&disk) {
        let found = content(&left, ROOT, "a").unwrap();
        for (at, pair) in found.windows(2).enumerate() {
            let at = at + 1;
            assert!(pair[0] == pair[1] || at == 100 || at.is_multiple_of(SECTOR), "torn at {at}");
        }
        let behind =
            found.iter().position(|byte| *byte == 7).is_some_and(|first| found[first..].contains(&0));
        holes += usize::from(behind);
    }
    assert!(holes > 10, "only {holes} holes in front of what survived");
}

#[test]
fn a_rename_happens_as_a_whole() {
    let mut disk = Disk::new();
    for (text, byte) in [("old", b'o'), ("new", b'n')] {
        let file = disk.create(ROOT, name(text), OWNED).unwrap().number;
        disk.write(file, 0, &[byte]).unwrap();
        disk.sync(file).unwrap();
    }
    disk.sync_directory(ROOT).unwrap();
    disk.rename((ROOT, name("new")), (ROOT, name("old"))).unwrap();
    let left: BTreeSet<_> =
        cuts(&disk).map(|left| ["old", "new"].map(|text| content(&left, ROOT, text))).collect();
    let before = [Some(b"o".to_vec()), Some(b"n".to_vec())];
    assert_eq!(left, BTreeSet::from([before, [Some(b"n".to_vec()), None]]));
}

#[test]
fn after_a_sync_that_failed_the_next_one_succeeds_and_what_was_written_is_gone() {
    let mut disk = Disk::new();
    let file = disk.create(ROOT, name("a"), OWNED).unwrap().number;
    disk.write(file, 0, &[1; 512]).unwrap();
    disk.sync(file).unwrap();
    let mut shorter = 0;
    for seed in 0..100 {
        let mut disk = disk.clone();
        disk.write(file, 512, &[2; 1024]).unwrap();
        disk.lose_unsynced(file, &mut Random::new(seed));
        disk.sync(file).unwrap();
        let found = disk.read(file, 0, usize::MAX).unwrap();
        assert_eq!(found[..512], [1; 512]);
        shorter += usize::from(found != [[1; 512], [2; 512], [2; 512]].concat());
    }
    assert!(shorter > 30, "{shorter} of 100 lost something");
}

#[test]
fn what_is_in_a_directory_without_a_durable_name_is_gone_with_it() {
    let mut disk = Disk::new();
    let inner = disk.make_directory(ROOT, name("d"), OWNED).unwrap().number;
    let file = disk.create(inner, name("a"), OWNED).unwrap().number;
    disk.sync(file).unwrap();
    disk.sync_directory(inner).unwrap();
    let kept = cuts(&disk).filter(|left| left.look_up(ROOT, name("d")).is_ok()).count();
    assert!((1..300).contains(&kept), "{kept} of 300");
    for left in cuts(&disk) {
        let there = left.look_up(ROOT, name("d")).ok();
        assert_eq!(left.attributes(file).is_ok(), there.is_some());
        assert!(there.is_none_or(|there| left.look_up(there.number, name("a")).is_ok()));
    }
}

#[test]
fn a_file_without_a_name_lives_as_long_as_the_power() {
    let mut disk = Disk::new();
    let file = disk.create(ROOT, name("a"), OWNED).unwrap().number;
    disk.unlink(ROOT, name("a")).unwrap();
    disk.sync_directory(ROOT).unwrap();
    disk.write(file, 0, b"x").unwrap();
    assert_eq!(disk.read(file, 0, 10).unwrap(), b"x");
    assert_eq!(disk.attributes(file).unwrap().links, 0);
    disk.cut_power(&mut Random::new(1));
    assert_eq!(disk.attributes(file), Err(Errno::ESTALE));
}

#[derive(Debug, Clone)]
enum Step {
    Create(usize),
    Write(usize, u16, u8, u16),
    Length(usize, u16),
    Rename(usize, usize),
    Link(usize, usize),
    Unlink(usize),
    Sync(usize),
    SyncDirectory,
}

fn step() -> impl Strategy<Value = Step> {
    let file = 0_usize..4;
    prop_oneof![
        file.clone().prop_map(Step::Create),
        (file.clone(), 0_u16..2000, 1_u8..255, 1_u16..2000)
            .prop_map(|(f, at, byte, n)| Step::Write(f, at, byte, n)),
        (file.clone(), 0_u16..3000).prop_map(|(f, n)| Step::Length(f, n)),
        (file.clone(), file.clone()).prop_map(|(a, b)| Step::Rename(a, b)),
        (file.clone(), file.clone()).prop_map(|(a, b)| Step::Link(a, b)),
        file.clone().prop_map(Step::Unlink),
        file.prop_map(Step::Sync),
        Just(Step::SyncDirectory),
    ]
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A call that can't be carried out changes nothing.
fn take(disk: &mut Disk, step: &Step) {
    let named = |disk: &Disk, at: usize| disk.look_up(ROOT, name(NAMES[at])).map(|it| it.number);
    let result = match *step {
        Step::Create(at) => disk.create(ROOT, name(NAMES[at]), OWNED).map(drop),
        Step::Write(at, offset, byte, count) => named(disk, at)
            .and_then(|number| disk.write(number, usize::from(offset), &vec![byte; usize::from(count)])),
        Step::Length(at, length) => {
            named(disk, at).and_then(|number| disk.set_length(number, usize::from(length)))
        }
        Step::Rename(from, to) => disk.rename((ROOT, name(NAMES[from])), (ROOT, name(NAMES[to]))),
        Step::Link(from, to) => {
            named(disk, from).and_then(|number| disk.link(number, ROOT, name(NAMES[to])).map(drop))
        }
        Step::Unlink(at) => disk.unlink(ROOT, name(NAMES[at])),
        Step::Sync(at) => named(disk, at).and_then(|number| disk.sync(number)),
        Step::SyncDirectory => disk.sync_directory(ROOT),
    };
    assert!(matches!(result, Ok(()) | Err(Errno::ENOENT | Errno::EEXIST)), "{step:?}: {result:?}");
}

fn all(disk: &Disk) -> Vec<(OsString, u32, Vec<u8>)> {
    let entries = disk.list(ROOT).unwrap();
    let each = entries
        .into_iter()
        .map(|(name, it)| (name, it.links, disk.read(it.number, 0, usize::MAX).unwrap().to_vec()));
    each.collect()
}

proptest! {
    #[test]
    fn after_everything_was_synced_a_power_cut_takes_nothing(steps in vec(step(), 0..60), seed: u64) {
        let mut disk = Disk::new();
        for step in &steps {
            take(&mut disk, step);
        }
        for at in 0..NAMES.len() {
            take(&mut disk, &Step::Sync(at));
        }
        disk.sync_directory(ROOT).unwrap();
        let before = all(&disk);
        disk.cut_power(&mut Random::new(seed));
        prop_assert_eq!(before, all(&disk));
    }

    #[test]
    fn what_a_power_cut_left_is_left_by_the_next_one(steps in vec(step(), 0..60), seeds: [u64; 2]) {
        let mut disk = Disk::new();
        for step in &steps {
            take(&mut disk, step);
        }
        disk.cut_power(&mut Random::new(seeds[0]));
        let before = all(&disk);
        disk.cut_power(&mut Random::new(seeds[1]));
        prop_assert_eq!(before, all(&disk));
    }

    #[test]
    fn no_power_cut_shows_bytes_that_nobody_wrote_there(steps in vec(step(), 0..60), seed: u64) {
        let mut disk = Disk::new();
        // Of every place in every file, all that was ever written there.
        let mut written = BTreeSet::new();
        for step in &steps {
            if let Step::Write(at, offset, byte, count) = step
                && let Ok(it) = disk.look_up(ROOT, name(NAMES[*at]))
            {
                let start = usize::from(*offset);
                written.extend((start..start + usize::from(*count)).map(|place| (it.number, place, *byte)));
            }
            take(&mut disk, step);
        }
        disk.cut_power(&mut Random::new(seed));
        for (_, it) in disk.list(ROOT).unwrap() {
            let bytes = disk.read(it.number, 0, usize::MAX).unwrap();
            let strange = bytes.iter().enumerate().find(|(place, byte)| {
                **byte != 0 && !written.contains(&(it.number, *place, **byte))
            });
            prop_assert_eq!(strange, None);
        }
    }
}
