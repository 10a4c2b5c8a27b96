#![expect(clippy::disallowed_methods, reason = "tests lay and damage files directly")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use zoutbox_format::layout::SegmentName;
use zoutbox_relay_core::{Need, Needs};
use zoutbox_test_support::{Fault, Hits};

use super::Retention;
use crate::Removed;
use crate::ground::{AT_ONCE, DAY, Ground, HOUR, files, needs, set};

fn file(segment: zoutbox_format::SegmentId) -> String {
    SegmentName::sealed(segment).file_name()
}

fn mark(segment: zoutbox_format::SegmentId) -> String {
    zoutbox_format::layout::held_name(segment)
}

#[test]
fn what_was_published_goes_but_not_what_a_consumer_needs() {
    for mut ground in Ground::all() {
        let all = [(); 5].map(|()| ground.segment(&["", ""]));
        let mut upkeep = ground.upkeep();
        let behind = needs(&ground, &Need::from_on(all[2]));
        assert_eq!(ground.remove(&mut upkeep, &behind).segments, 2);
        assert_eq!(ground.segments(), all[2..]);
        assert_eq!(ground.remove(&mut upkeep, &behind), Removed::default());
        assert_eq!(ground.remove(&mut upkeep, &Needs::nothing()).segments, 2);
        assert_eq!((ground.segments(), ground.archive()), (all[4..].to_vec(), set(&[])));
    }
}

#[test]
fn with_pointers_the_longer_time_counts_and_without_only_the_one() {
    let retention = Retention { keep: HOUR, keep_pointed: DAY, ..AT_ONCE };
    assert_eq!(retention.longest(), HOUR);
    assert_eq!(Retention { pointers: true, ..retention }.longest(), DAY);
    assert_eq!(Retention { pointers: true, keep: 2 * DAY, ..retention }.longest(), 2 * DAY);
    for mut ground in Ground::all() {
        let all = [(); 3].map(|()| ground.segment(&[""]));
        let mut upkeep = ground.upkeep();
        let mut remove = |pointers, after| {
            ground.clock.advance(after);
            let retention = Retention { pointers, ..retention };
            let nothing = Needs::nothing();
            upkeep.remove(&ground.system, &ground.share, ground.end(), &nothing, retention).unwrap().segments
        };
        let removed =
            [remove(true, HOUR), remove(true, 23 * HOUR), remove(false, Duration::ZERO), remove(true, HOUR)];
        assert_eq!(removed, [0, 0, 2, 0], "both clocks count from the first look: {all:?}");
    }
}

#[test]
fn a_parked_segment_is_set_aside_until_nobody_needs_it_and_holds_nothing_up() {
    for mut ground in Ground::all() {
        let all = [(); 4].map(|()| ground.segment(&[""]));
        let mut parked = Need::from_on(all[3]);
        parked.hold(all[1]);
        let mut upkeep = ground.upkeep();
        let bytes = fs::read(ground.share.layout.writer(&ground.writer).join(file(all[1]))).unwrap();
        assert_eq!(ground.remove(&mut upkeep, &needs(&ground, &parked)).segments, 3);
        assert_eq!(ground.segments(), all[3..]);
        assert_eq!(ground.archive(), set(&[&file(all[1]), &mark(all[1])]));
        let kept = ground.share.layout.archive(&ground.writer).join(file(all[1]));
        assert_eq!(fs::read(kept).unwrap(), bytes);

        // Another relay takes over, and knows what to do by the mark.
        let mut upkeep = ground.upkeep();
        ground.remove(&mut upkeep, &needs(&ground, &parked));
        assert_eq!(ground.archive().len(), 2);
        ground.remove(&mut upkeep, &needs(&ground, &Need::everything()));
        assert_eq!(ground.archive().len(), 2, "a consumer that is new may need it too");
        ground.remove(&mut upkeep, &needs(&ground, &Need::from_on(all[3])));
        assert_eq!(ground.archive(), set(&[]));
    }
}

#[test]
fn what_is_archived_for_good_is_never_deleted_by_a_mark() {
    for mut ground in Ground::all() {
        let all = [(); 4].map(|()| ground.segment(&[""]));
        let mut parked = Need::from_on(all[3]);
        parked.hold(all[1]);
        let parked = needs(&ground, &parked);
        let mut upkeep = ground.upkeep();
        ground.remove(&mut upkeep, &parked);
        // Archiving is switched on: what was set aside stays, as an archived one.
        let archive = Retention { archive: true, ..AT_ONCE };
        let nothing = Needs::nothing();
        upkeep.remove(&ground.system, &ground.share, ground.end(), &nothing, archive).unwrap();
        assert_eq!(ground.archive(), set(&[&file(all[1])]));
        // And so does what was to be set aside when the relay was killed: the mark was there, the segment not yet.
        let more = [(); 2].map(|()| ground.segment(&[""]));
        let directory = ground.share.layout.archive(&ground.writer);
        fs::write(directory.join(mark(all[3])), "").unwrap();
        let mut held = Need::from_on(more[0]);
        held.hold(all[3]);
        let held = needs(&ground, &held);
        let mut upkeep = ground.upkeep();
        upkeep.remove(&ground.system, &ground.share, ground.end(), &held, archive).unwrap();
        ground.remove(&mut upkeep, &Needs::nothing());
        assert_eq!(ground.archive(), set(&[&file(all[1]), &file(all[3])]));
    }
}

#[test]
fn a_dead_letter_holds_the_segment_that_its_pointer_leads_into_until_it_is_taken_away() {
    for mut ground in Ground::all() {
        let all = [(); 4].map(|()| ground.segment(&[""]));
        let letter = ground.letter_into(all[1]);
        let mut upkeep = ground.upkeep();
        assert_eq!(ground.remove(&mut upkeep, &Needs::nothing()).segments, 3);
        assert_eq!((ground.segments(), ground.archive().contains(&file(all[1]))), (all[3..].to_vec(), true));
        ground.remove(&mut ground.upkeep(), &Needs::nothing());
        assert!(ground.archive().contains(&file(all[1])));
        fs::remove_file(letter).unwrap();
        ground.remove(&mut upkeep, &Needs::nothing());
        assert_eq!(ground.archive(), set(&[]));
    }
}

#[test]
fn a_letter_that_can_not_be_read_holds_everything_and_is_told_of() {
    for mut ground in Ground::all() {
        let all = [(); 3].map(|()| ground.segment(&[""]));
        let letter = ground.letter(7, &serde_json::json!({}));
        let mut upkeep = ground.upkeep();
        assert_eq!(ground.remove(&mut upkeep, &Needs::nothing()), Removed::default());
        let remarks: Vec<_> = upkeep.remarks().collect();
        assert!(remarks.len() == 1 && remarks[0].contains(letter.to_str().unwrap()), "{remarks:?}");
        assert_eq!(ground.segments(), all);
        fs::remove_file(letter).unwrap();
        assert_eq!(ground.remove(&mut upkeep, &Needs::nothing()).segments, 2);
        assert_eq!(upkeep.remarks().count(), 0);
    }
}

#[test]
fn the_payloads_of_a_segment_go_with_it_except_those_that_somebody_else_names() {
    for mut ground in Ground::all() {
        ground.segment(&["a", "", "again", "letter", "a", "gone"]);
        ground.segment(&["b", "again"]);
        for id in ["a", "again", "letter", "b", "nobody's"] {
            ground.put(&id.replace('\'', "-"));
        }
        let reference = zoutbox_format::PayloadReference { name: ground.name("letter"), size: 1, crc: 1 };
        let headers: serde_json::Map<_, _> =
            reference.headers().into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        ground.letter(4, &serde_json::json!({ "reason": "x", "record": { "headers": headers } }));
        let mut upkeep = ground.upkeep();
        let removed = ground.remove(&mut upkeep, &Needs::nothing());
        assert_eq!(removed, Removed { segments: 1, payloads: 1, temporary: 0 });
        assert_eq!(ground.payloads(), set(&["again", "b", "letter", "nobody-s"]));
        ground.segment(&[""]);
        assert_eq!(ground.remove(&mut upkeep, &Needs::nothing()).payloads, 2);
        assert_eq!(ground.payloads(), set(&["letter", "nobody-s"]));
    }
}

/// A consumer may be reading it.
#[test]
fn what_somebody_else_names_is_not_moved_for_a_moment() {
    for damaged in [false, true] {
        for mut ground in Ground::all() {
            ground.segment(&["again", "letter"]);
            let second = ground.segment(&["again", "x"]);
            ground.segment(&[""]);
            ground.put_all(&["again", "letter", "x"]);
            let mut need = Need::from_on(second);
            if damaged {
                // Then nobody knows what it names.
                let path = ground.share.layout.writer(&ground.writer).join(file(second));
                let mut bytes = fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&path, bytes).unwrap();
                ground.watch(&["again", "letter", "x"]);
            } else {
                need.hold(second);
                ground.watch(&["again", "x"]);
            }
            let removed = ground.remove(&mut ground.upkeep(), &needs(&ground, &need));
            ground.disk.hook(None);
            assert_eq!((removed.segments, removed.payloads), (1, usize::from(!damaged)));
        }
    }
}

#[test]
fn the_payloads_of_an_archived_segment_stay() {
    for mut ground in Ground::all() {
        ground.segment(&["a"]);
        ground.segment(&[""]);
        ground.put("a");
        let archive = Retention { archive: true, ..AT_ONCE };
        let mut upkeep = ground.upkeep();
        let nothing = Needs::nothing();
        let removed = upkeep.remove(&ground.system, &ground.share, ground.end(), &nothing, archive).unwrap();
        assert_eq!(removed, Removed { segments: 1, ..Removed::default() });
        ground.clock.advance(2 * DAY);
        ground.sweep(&mut upkeep);
        ground.sweep(&mut ground.upkeep());
        assert_eq!(ground.payloads(), set(&["a"]));
    }
}

#[test]
fn the_payloads_of_a_segment_that_was_set_aside_stay_as_long_as_it_does() {
    for mut ground in Ground::all() {
        let first = ground.segment(&["a"]);
        let second = ground.segment(&[""]);
        ground.put("a");
        let mut need = Need::from_on(second);
        need.hold(first);
        let mut upkeep = ground.upkeep();
        ground.remove(&mut upkeep, &needs(&ground, &need));
        assert_eq!((ground.segments(), ground.payloads()), (vec![second], set(&["a"])));
        ground.clock.advance(2 * DAY);
        ground.sweep(&mut upkeep);
        assert_eq!(ground.payloads(), set(&["a"]));
        assert_eq!(ground.remove(&mut upkeep, &Needs::nothing()).payloads, 1);
        assert_eq!((ground.archive(), ground.payloads()), (set(&[]), set(&[])));
    }
}

#[test]
fn a_segment_that_is_damaged_leaves_its_payloads_to_the_sweep() {
    for mut ground in Ground::all() {
        let first = ground.segment(&["a", "b", "c"]);
        ground.segment(&[""]);
        ground.put_all(&["a", "b", "c"]);
        let path = ground.share.layout.writer(&ground.writer).join(file(first));
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        let mut upkeep = ground.upkeep();
        let removed = ground.remove(&mut upkeep, &Needs::nothing());
        assert_eq!(removed, Removed { segments: 1, ..Removed::default() });
        assert_eq!(ground.payloads(), set(&["a", "b", "c"]));
        assert!(upkeep.remarks().any(|remark| remark.contains("damaged")));
        ground.clock.advance(DAY);
        assert_eq!(ground.sweep(&mut upkeep).payloads, 3);
        assert_eq!(upkeep.remarks().count(), 0);
    }
}

#[test]
fn a_record_that_names_what_is_not_its_writers_removes_nothing() {
    for mut ground in Ground::all() {
        let other = zoutbox_format::WriterId::new("payments").unwrap();
        let hour = ground.name("a").hour();
        let name = zoutbox_format::PayloadName::new(other, hour, "a").unwrap();
        let path = ground.share.layout.payload(&name);
        ground.put_file(&path);
        ground.put("b");
        ground.open_segment(&["b"]);
        ground.append_named(Some(name));
        ground.segment(&[""]);
        let removed = ground.remove(&mut ground.upkeep(), &Needs::nothing());
        assert_eq!((removed.payloads, path.exists()), (1, true));
    }
}

#[test]
fn payloads_behind_links_and_in_the_place_of_files_are_left_alone() {
    for mut ground in Ground::all() {
        let path = ground.put("a");
        ground.segment(&["a", "link", "directory"]);
        ground.segment(&[""]);
        let hour = path.parent().unwrap();
        let elsewhere = ground.share.layout.root().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("target"), "precious").unwrap();
        std::os::unix::fs::symlink(elsewhere.join("target"), hour.join("link")).unwrap();
        fs::create_dir(hour.join("directory")).unwrap();
        assert_eq!(ground.remove(&mut ground.upkeep(), &Needs::nothing()).payloads, 1);
        assert!(hour.join("link").is_symlink() && hour.join("directory").is_dir());

        // The same, with a link on the way.
        ground.segment(&["target", ""]);
        ground.segment(&[""]);
        let day = hour.parent().unwrap();
        fs::remove_dir_all(day).unwrap();
        fs::create_dir(elsewhere.join(hour.file_name().unwrap())).unwrap();
        let behind = elsewhere.join(hour.file_name().unwrap()).join("target");
        fs::write(&behind, "precious").unwrap();
        std::os::unix::fs::symlink(&elsewhere, day).unwrap();
        assert!(ground.path("target").exists());
        assert_eq!(ground.remove(&mut ground.upkeep(), &Needs::nothing()).payloads, 0);
        ground.clock.advance(2 * DAY);
        ground.sweep(&mut ground.upkeep());
        assert!(behind.exists() && Path::new(day).is_symlink());
    }
}

/// Everything that can be interrupted at once: a segment with payloads of its own and one that is named again, one that is set aside, and
/// one that is released.
fn busy() -> (Ground, Needs) {
    let mut ground = Ground::quick();
    let all = [
        ground.segment(&["s0"]),
        ground.segment(&["a", "b", "again"]),
        ground.segment(&["parked"]),
        ground.segment(&["c"]),
        ground.segment(&["again", "stays"]),
    ];
    ground.put_all(&["s0", "a", "b", "again", "parked", "c", "stays"]);
    let mut need = Need::from_on(all[1]);
    need.hold(all[0]);
    ground.remove(&mut ground.upkeep(), &needs(&ground, &need));
    assert_eq!((ground.segments().len(), ground.archive().len()), (4, 2));
    let mut need = Need::from_on(all[4]);
    need.hold(all[2]);
    let needs = needs(&ground, &need);
    ground.disk.restart(0);
    (ground, needs)
}

/// Killed after every single change, and with every number of changes lost that were not synced: what is needed is there at every
/// moment, and doing it again ends as if nothing had happened.
#[test]
fn a_removal_that_is_interrupted_anywhere_loses_nothing_and_is_done_again() {
    let (ground, needs) = busy();
    ground.remove(&mut ground.upkeep(), &needs);
    let expected = (ground.segments(), ground.archive(), ground.payloads());
    assert_eq!(expected.2, set(&["again", "parked", "stays"]));
    let mut tried = 0;
    for life in 1.. {
        let (ground, needs) = busy();
        ground.disk.die_after(life);
        let died =
            ground.upkeep().remove(&ground.system, &ground.share, ground.end(), &needs, AT_ONCE).is_err();
        if !died {
            break;
        }
        for lost in 0..=ground.disk.unsynced() {
            let (ground, needs) = busy();
            ground.disk.die_after(life);
            let removal =
                ground.upkeep().remove(&ground.system, &ground.share, ground.end(), &needs, AT_ONCE);
            assert!(removal.is_err() && ground.disk.is_dead());
            ground.disk.restart(lost);
            tried += 1;
            // Either under its name, or about to be given back.
            let there = ground.payloads();
            for id in ["again", "parked", "stays"] {
                let aside = format!("{id}.swept");
                assert!(there.contains(id) || there.contains(&aside), "{life} {lost}: {id} of {there:?}");
            }
            let mut kept = files(&ground.share.layout.writer(&ground.writer));
            kept.append(&mut ground.archive());
            for segment in &expected.0 {
                assert!(kept.contains(&file(*segment)), "{life} {lost}: {kept:?}");
            }
            let mut upkeep = ground.upkeep();
            ground.remove(&mut upkeep, &needs);
            ground.clock.advance(DAY);
            ground.sweep(&mut upkeep);
            assert_eq!((ground.segments(), ground.archive(), ground.payloads()), expected, "{life} {lost}");
        }
    }
    assert!(tried > 30, "{tried}");
    Fault::new(
        "relay",
        Hits::Relay,
        "killed, or its power cut, while it removes",
        "at each call in turn, with each number of unsynced steps lost",
    )
    .held(tried, "nothing that is needed was lost, and it was done again");
}
