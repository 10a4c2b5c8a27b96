#![expect(clippy::disallowed_methods, reason = "tests lay and damage files directly")]

use std::fs;

use zoutbox_relay_core::Needs;
use zoutbox_storage::OpenMode;
use zoutbox_test_support::{Fault, Hits};

use super::sweep_registrations;
use crate::Removed;
use crate::ground::{AT_ONCE, DAY, Ground, HOUR, files, set};

#[test]
fn what_no_record_names_is_swept_once_it_is_old_and_what_one_names_never() {
    for mut ground in Ground::all() {
        ground.segment(&["archived"]);
        ground.segment(&["sealed", ""]);
        ground.open_segment(&["live"]);
        ground.put_all(&["archived", "sealed", "live", "orphan"]);
        let name = zoutbox_format::layout::SegmentName::sealed(ground.segments()[0]).file_name();
        fs::create_dir(ground.share.layout.archive(&ground.writer)).unwrap();
        fs::rename(
            ground.share.layout.writer(&ground.writer).join(&name),
            ground.share.layout.archive(&ground.writer).join(&name),
        )
        .unwrap();
        let mut upkeep = ground.upkeep();
        assert_eq!(ground.sweep(&mut upkeep), Removed::default(), "nothing is old");
        ground.clock.advance(HOUR);
        ground.put("young");
        assert_eq!(ground.sweep(&mut upkeep), Removed { payloads: 1, ..Removed::default() });
        assert_eq!(ground.payloads(), set(&["archived", "live", "sealed", "young"]));
        ground.clock.advance(HOUR);
        assert_eq!(ground.sweep(&mut upkeep).payloads, 1);
        ground.clock.advance(100 * DAY);
        assert_eq!(ground.sweep(&mut upkeep), Removed::default());
        assert_eq!(ground.sweep(&mut ground.upkeep()), Removed::default());
        assert_eq!(ground.payloads(), set(&["archived", "live", "sealed"]));
    }
}

/// A consumer may be reading it.
#[test]
fn what_a_record_names_is_not_moved_for_a_moment_and_neither_is_what_one_may_name() {
    for damaged in [false, true] {
        for mut ground in Ground::all() {
            let first = ground.segment(&["sealed"]);
            ground.open_segment(&["live"]);
            ground.put_all(&["sealed", "live", "orphan"]);
            ground.clock.advance(DAY);
            if damaged {
                let name = zoutbox_format::layout::SegmentName::sealed(first).file_name();
                fs::write(ground.share.layout.writer(&ground.writer).join(name), "?").unwrap();
                ground.watch(&["sealed", "live", "orphan"]);
            } else {
                ground.watch(&["sealed", "live"]);
            }
            let swept = ground.sweep(&mut ground.upkeep());
            ground.disk.hook(None);
            assert_eq!(swept.payloads, usize::from(!damaged));
        }
    }
}

#[test]
fn a_letter_keeps_the_payload_that_its_record_names_until_it_is_taken_away() {
    for mut ground in Ground::all() {
        ground.segment(&[""]);
        ground.put("a");
        let reference = zoutbox_format::PayloadReference { name: ground.name("a"), size: 1, crc: 1 };
        let headers: serde_json::Map<_, _> =
            reference.headers().into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let letter = ground.letter(1, &serde_json::json!({ "record": { "headers": headers } }));
        ground.clock.advance(DAY);
        let mut upkeep = ground.upkeep();
        assert_eq!(ground.sweep(&mut upkeep), Removed::default());
        fs::remove_file(letter).unwrap();
        assert_eq!(ground.sweep(&mut upkeep).payloads, 1);
    }
}

#[test]
fn what_a_writer_has_locked_stays_under_its_name_however_old() {
    for mut ground in Ground::all() {
        ground.segment(&[""]);
        let path = ground.put("a");
        let other = path.with_file_name("a.0123.tmp");
        fs::hard_link(&path, &other).unwrap();
        let file = ground.system.disk.open(&other, OpenMode::Write).unwrap();
        assert!(file.try_lock().unwrap());
        ground.clock.advance(DAY);
        let mut upkeep = ground.upkeep();
        assert_eq!(ground.sweep(&mut upkeep), Removed::default());
        assert_eq!(ground.payloads(), set(&["a", "a.0123.tmp"]));
        drop(file);
        let swept = ground.sweep(&mut upkeep);
        assert_eq!((swept.payloads, swept.temporary), (1, 1));
        assert_eq!(ground.payloads(), set(&[]));
    }
}

#[test]
fn what_a_crash_left_is_finished_whatever_its_age() {
    for mut ground in Ground::all() {
        ground.open_segment(&["named", "both"]);
        for id in ["named.swept", "both.swept", "orphan.swept"] {
            let path = ground.path("x").with_file_name(id);
            ground.put_file(&path);
        }
        ground.put("both");
        assert_eq!(ground.sweep(&mut ground.upkeep()).payloads, 1);
        assert_eq!(ground.payloads(), set(&["both", "named"]));
    }
}

#[test]
fn what_was_never_finished_goes_when_it_is_old_and_what_is_not_ours_stays() {
    for mut ground in Ground::all() {
        ground.open_segment(&[""]);
        let hour = ground.path("x").parent().unwrap().to_owned();
        let day = hour.parent().unwrap().to_owned();
        for name in ["a.0123.tmp", ".hidden", "b c", "-x", "x.swept.swept", "é"] {
            ground.put_file(&hour.join(name));
        }
        ground.put_file(&day.join("99/a"));
        ground.put_file(&day.join("README"));
        ground.put_file(&ground.share.layout.payloads(&ground.writer).join("12/01/01/01/a"));
        std::os::unix::fs::symlink("/", hour.join("link")).unwrap();
        std::os::unix::fs::symlink("/", hour.join("link.tmp")).unwrap();
        nix::unistd::mkfifo(&hour.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(ground.sweep(&mut ground.upkeep()), Removed::default());
        ground.clock.advance(DAY);
        let swept = ground.sweep(&mut ground.upkeep());
        assert_eq!(swept, Removed { temporary: 1, ..Removed::default() });
        let left =
            [".hidden", "-x", "README", "a", "a", "b c", "fifo", "link", "link.tmp", "x.swept.swept", "é"];
        assert_eq!(ground.payloads(), set(&left));
    }
}

#[test]
fn empty_directories_of_days_that_are_over_go() {
    for mut ground in Ground::all() {
        ground.open_segment(&["stays"]);
        let stays = ground.put("stays");
        let payloads = ground.share.layout.payloads(&ground.writer);
        for empty in ["2001/02/03/04", "2001/02/03/05", "2001/03", "2002"] {
            fs::create_dir_all(payloads.join(empty)).unwrap();
        }
        let orphan = payloads.join("2003/04/05/06/orphan");
        ground.put_file(&orphan);
        let today = zoutbox_format::Hour::of(ground.system.clock.now_ms() + 2 * 3_600_000).to_string();
        fs::create_dir_all(payloads.join(&today)).unwrap();
        ground.clock.advance(2 * HOUR);
        ground.sweep(&mut ground.upkeep());
        let years: Vec<_> =
            fs::read_dir(&payloads).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(years.iter().all(|year| !year.to_str().unwrap().starts_with("200")), "{years:?}");
        assert!(stays.exists() && payloads.join(today).is_dir());
    }
}

#[test]
fn as_long_as_a_segment_of_the_log_is_damaged_nothing_is_swept_and_that_is_told() {
    for mut ground in Ground::all() {
        let damaged = ground.segment(&["hidden"]);
        ground.segment(&[""]);
        ground.put_all(&["hidden", "orphan"]);
        fs::write(ground.path("x").with_file_name("aside.swept"), "x").unwrap();
        let name = zoutbox_format::layout::SegmentName::sealed(damaged).file_name();
        let path = ground.share.layout.writer(&ground.writer).join(&name);
        let sound = fs::read(&path).unwrap();
        for at in [20, 200] {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            ground.clock.advance(DAY);
            let mut upkeep = ground.upkeep();
            assert_eq!(ground.sweep(&mut upkeep), Removed::default(), "{at}");
            assert!(upkeep.remarks().any(|remark| remark.contains("damaged")), "{at}");
            assert_eq!(ground.payloads(), set(&["aside", "hidden", "orphan"]));
        }
        // It is restored.
        fs::write(&path, sound).unwrap();
        assert_eq!(ground.sweep(&mut ground.upkeep()).payloads, 2);
        assert_eq!(ground.payloads(), set(&["hidden"]));
    }
}

#[test]
fn a_sweep_with_the_same_upkeep_sees_what_was_appended_and_what_was_removed_meanwhile() {
    for mut ground in Ground::all() {
        ground.segment(&["early"]);
        ground.open_segment(&["a"]);
        ground.put_all(&["early", "a", "b", "c"]);
        let mut upkeep = ground.upkeep();
        ground.clock.advance(DAY);
        ground.append("b");
        assert_eq!(ground.sweep(&mut upkeep).payloads, 1);
        ground.append("c");
        ground.put("c");
        ground.clock.advance(DAY);
        assert_eq!(ground.sweep(&mut upkeep).payloads, 0);
        assert_eq!(ground.payloads(), set(&["a", "b", "c", "early"]));
        // A person removes a segment by hand: nothing else says that its payloads may go.
        let first = zoutbox_format::layout::SegmentName::sealed(ground.segments()[0]).file_name();
        fs::remove_file(ground.share.layout.writer(&ground.writer).join(first)).unwrap();
        assert_eq!(ground.sweep(&mut upkeep).payloads, 1);
        assert_eq!(ground.payloads(), set(&["a", "b", "c"]));
    }
}

#[test]
fn a_writer_without_payloads_is_not_read_for_a_sweep() {
    for mut ground in Ground::all() {
        ground.segment(&["", ""]);
        ground.open_segment(&[""]);
        let mut upkeep = ground.upkeep();
        ground.disk.calls();
        ground.sweep(&mut upkeep);
        ground.remove(&mut upkeep, &Needs::nothing());
        let without = ground.disk.calls();
        assert!(without < 20, "{without} calls");
    }
}

#[test]
fn what_consumers_left_of_replacing_their_files_goes_when_it_is_old() {
    for ground in Ground::all() {
        assert_eq!(sweep_registrations(&ground.system, &ground.share, AT_ONCE.sweep_after).unwrap(), 0);
        let directory = ground.share.layout.consumers();
        for name in ["billing", "billing.0123456789abcdef.tmp"] {
            ground.put_file(&directory.join(name));
        }
        assert_eq!(sweep_registrations(&ground.system, &ground.share, AT_ONCE.sweep_after).unwrap(), 0);
        ground.clock.advance(DAY);
        assert_eq!(sweep_registrations(&ground.system, &ground.share, AT_ONCE.sweep_after).unwrap(), 1);
        assert_eq!(files(&directory), set(&["billing"]));
    }
}

/// Two that nobody names, one that somebody does, and what an earlier sweep left.
fn littered() -> Ground {
    let mut ground = Ground::quick();
    ground.segment(&["named", "back"]);
    ground.open_segment(&[""]);
    ground.put_all(&["orphan-1", "orphan-2", "named"]);
    ground.put_file(&ground.path("x").with_file_name("back.swept"));
    ground.put_file(&ground.path("x").with_file_name("orphan-3.swept"));
    ground.clock.advance(DAY);
    ground
}

/// Killed after every single change, and with every number of changes lost that were not synced.
#[test]
fn a_sweep_that_is_interrupted_anywhere_takes_nothing_that_is_named_and_is_finished_later() {
    let mut tried = 0;
    for life in 1.. {
        let ground = littered();
        ground.disk.die_after(life);
        if ground.upkeep().sweep(&ground.system, &ground.share, AT_ONCE.sweep_after).is_ok() {
            break;
        }
        for lost in 0..=ground.disk.unsynced() {
            let ground = littered();
            ground.disk.die_after(life);
            assert!(ground.upkeep().sweep(&ground.system, &ground.share, AT_ONCE.sweep_after).is_err());
            ground.disk.restart(lost);
            tried += 1;
            let there = ground.payloads();
            assert!(there.contains("named"), "{life} {lost}: {there:?}");
            assert!(there.contains("back") || there.contains("back.swept"), "{life} {lost}: {there:?}");
            ground.sweep(&mut ground.upkeep());
            assert_eq!(ground.payloads(), set(&["back", "named"]), "{life} {lost}");
        }
    }
    assert!(tried > 8, "{tried}");
    Fault::new(
        "relay",
        Hits::Relay,
        "killed, or its power cut, while it sweeps",
        "at each call in turn, with each number of unsynced steps lost",
    )
    .held(tried, "nothing that a record names was taken, and it was finished later");
}

/// A look that fails when files are aside already gives them back: a consumer may be waiting for one.
#[test]
fn what_is_aside_when_the_share_fails_gets_its_name_back() {
    for mut ground in Ground::all() {
        ground.open_segment(&[""]);
        ground.put("orphan");
        ground.clock.advance(DAY);
        let (disk, live) = (ground.disk.clone(), ground.segments()[0]);
        let name = zoutbox_format::layout::SegmentName::open(live).file_name();
        let aside = ground.path("orphan").with_file_name("orphan.swept");
        let seen = aside.clone();
        ground.disk.hook(Some(Box::new(move |_| {
            if seen.exists() {
                disk.fail(zoutbox_storage::Operation::Read, &name);
            }
        })));
        let swept = ground.upkeep().sweep(&ground.system, &ground.share, AT_ONCE.sweep_after);
        ground.disk.hook(None);
        assert!(swept.is_err() && !aside.exists() && ground.path("orphan").exists());
    }
}
