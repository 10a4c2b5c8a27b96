//! Whoever may write below `writers/<its id>` can put anything there. It harms its own lane and nothing else: the others go on, the relay
//! stays small and stops in time, and people are told whose lane has what trouble.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use serde_json::Value;
use zoutbox_format::frame::{FRAME_MAGIC, encode_data};
use zoutbox_format::header::HEADER_LENGTH;
use zoutbox_format::layout::SegmentName;
use zoutbox_format::{
    Epoch, Hour, PayloadName, PayloadReference, Record, SegmentHeader, SegmentId, Sequence,
};
use zoutbox_test_support::{Hits, binary, wait_until};

use crate::support::{LONG, Relay, World, fault, list, name};

const OPEN: &str = "00000000000000000001-00000000000000000001.open";
const SEALED: &str = "00000000000000000001-00000000000000000001.seg";
const FOREIGN: &str = "belongs to another share, writer or epoch";
const GIANT: u64 = 1 << 40;
/// What the relay may hold in memory at most, in KiB: its windows, buffers for the longest frames, and its own code.
const MEMORY: u64 = 160 * 1024;

fn header(world: &World, writer: &str) -> SegmentHeader {
    SegmentHeader {
        share: world.share.id,
        writer: writer.parse().unwrap(),
        id: SegmentId { epoch: Epoch::FIRST, first_sequence: Sequence::FIRST },
        created_ms: u64::MAX,
        previous: None,
    }
}

fn lane(world: &World, writer: &str) -> std::path::PathBuf {
    let directory = world.directory(writer);
    fs::create_dir(&directory).unwrap();
    directory
}

/// A segment with a sound header, and `frames` behind it.
fn segment(world: &World, writer: &str, name: &str, frames: &[u8]) -> fs::File {
    let path = lane(world, writer).join(name);
    fs::write(&path, [&header(world, writer).encode()[..], frames].concat()).unwrap();
    fs::OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// A frame's header that announces `length` bytes.
fn announcing(length: u32) -> Vec<u8> {
    [&FRAME_MAGIC[..], &[1, 0, 0, 0], &length.to_le_bytes(), &[0; 4], &1_u64.to_le_bytes(), &[7; 4]].concat()
}

/// The most memory that a process has had, in KiB.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn status(world: &World) -> Value {
    let output = Command::new(binary("zoutbox"))
        .args(["status", "--json", "--patience", "60", "--root"])
        .arg(world.root())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// What the relay says that it waits for in this writer's lane.
fn waits(status: &Value, writer: &str) -> String {
    let lanes = status["writers"].as_array().unwrap();
    let lane = lanes.iter().find(|lane| lane["writer"] == writer);
    lane.unwrap_or_else(|| panic!("{writer} is not in {status:#}"))["waits"].to_string()
}

fn device(path: &Path) {
    // What /dev/zero is.
    let made = mknod(path, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 5));
    assert!(made.is_ok(), "this test makes a device node, which takes root (CAP_MKNOD): {made:?}");
}

fn junk(directory: &Path) {
    for number in 0..20_000 {
        fs::write(directory.join(format!("junk-{number}")), "").unwrap();
    }
    let long = "x".repeat(255);
    for name in
        [&b"new\nline"[..], b"..hidden", b"\xFF\xFE.seg", b"\x1b[2J", b"a;rm -rf $HOME", long.as_bytes()]
    {
        fs::write(directory.join(std::ffi::OsStr::from_bytes(name)), "junk").unwrap();
    }
}

/// Everything that is no file, under the names of segments.
fn no_files(world: &World, victim: &Path) {
    symlink("/etc/passwd", lane(world, "links-out").join(SEALED)).unwrap();
    symlink(victim, lane(world, "links-aside").join(SEALED)).unwrap();
    mkfifo(&lane(world, "fifo").join(OPEN), Mode::S_IRWXU).unwrap();
    device(&lane(world, "device").join(OPEN));
    drop(UnixListener::bind(lane(world, "socket").join("s")).unwrap());
    fs::rename(world.directory("socket").join("s"), world.directory("socket").join(SEALED)).unwrap();
    fs::create_dir(lane(world, "directory").join(SEALED)).unwrap();
}

#[test]
fn whatever_a_writer_puts_into_its_directory_harms_its_own_lane_only() {
    let world = World::new();
    let mut sound = world.writer("sound");
    sound.append_many(200);
    let victim = world.segments("sound")[0].clone();
    no_files(&world, &victim);
    segment(&world, "giant", OPEN, &[]).set_len(GIANT).unwrap();
    segment(&world, "giant-sealed", SEALED, &[]).set_len(GIANT).unwrap();
    segment(&world, "absurd", OPEN, &announcing(u32::MAX));
    segment(&world, "bomb", OPEN, &announcing(16_908_288).repeat(1000)).set_len(64 << 20).unwrap();
    let endless = segment(&world, "endless", OPEN, &[]);
    fs::copy(&victim, lane(&world, "forger").join(OPEN)).unwrap();
    let mut junky = world.writer("junky");
    junky.append_many(10);
    junk(&world.directory("junky"));
    for number in 0..1000 {
        fs::write(world.share.layout.writers().join(format!("Junk {number}")), "").unwrap();
    }

    let relay = Relay::start(world.root(), ["--stdout", "--on-damage", "halt", "--poll-max", "50ms"]);
    world.wait_until_confirmed(&sound);
    world.wait_until_confirmed(&junky);
    // Grows while it is read, and never becomes a frame.
    for part in 0..64 {
        endless.write_all_at(&vec![0xEE; 1 << 20], HEADER_LENGTH as u64 + (part << 20)).unwrap();
        sound.append_many(1);
    }
    world.wait_until_confirmed(&sound);
    for (writer, trouble) in [
        ("links-out", FOREIGN),
        ("links-aside", FOREIGN),
        ("fifo", FOREIGN),
        ("device", FOREIGN),
        ("socket", FOREIGN),
        ("directory", FOREIGN),
        ("forger", FOREIGN),
        ("giant-sealed", "damaged"),
    ] {
        let what = format!("status tells of {writer} that it is {trouble}");
        wait_until(&what, LONG, || waits(&status(&world), writer).contains(trouble));
        assert!(relay.log().contains(&format!("writers/{writer}/")), "{}", relay.log());
    }
    for quiet in ["sound", "junky"] {
        assert_eq!(waits(&status(&world), quiet), "[]", "what is sound waits for something");
    }
    let held = peak(relay.pid());
    println!("at most {held} KiB of memory");
    assert!(held < MEMORY, "{held} KiB of memory");
    let ended = relay.stop();
    assert_eq!(ended.output.len(), 200 + 64 + 10, "something was published that nobody appended");
    assert!(ended.log.contains("more entries that are no writer's directory"), "{}", ended.log);
    assert!(ended.log.lines().count() < 400, "a flood of {} lines", ended.log.lines().count());
    assert!(!ended.log.contains('\u{1b}') && !ended.log.contains("root:"), "{}", ended.log);
    let others =
        format!("the others went on; {held} KiB of memory at most; nothing published that nobody appended");
    let told = format!("its lane waits, and status and log say why; {others}");
    for (what, how, times, held) in [
        (
            "links, pipes, devices, sockets and directories as segments",
            "each under a segment's name",
            6,
            &told,
        ),
        ("a copy of another writer's segment", "under its own name", 1, &told),
        (
            "giant and endless segments",
            "holes of 1 TiB, open and sealed; 64 MiB that never become a frame",
            3,
            &others,
        ),
        ("frames that announce too much", "one of 4 GiB, and 1,000 of 16 MiB", 2, &others),
        (
            "files that are no segments",
            "20,000 with names of every kind, and 1,000 that are no writer's directory",
            21_006,
            &others,
        ),
    ] {
        fault(Hits::Hostile, what, how).held(times, held);
    }
}

#[test]
fn times_from_the_far_future_and_forged_records_are_delivered_as_what_they_are_and_stop_nothing() {
    let world = World::new();
    let mut sound = world.writer("sound");
    sound.append([u64::MAX, 0, 253_402_300_800_000].map(|at| Record::new("t", "x").timestamp_ms(at)));
    // Sound frames under a header of its own, which say that they are somebody else's; a body that is no record.
    let own = header(&world, "forger");
    let mut frames = Vec::new();
    let mut body = Vec::new();
    let claims = Record::new("sound.things", "x").id("sound/1/1").key("sound").timestamp_ms(u64::MAX);
    claims.borrowed(0).encode(&mut body).unwrap();
    encode_data(&mut frames, own.crc_seed(), Sequence::FIRST, 0, &body);
    encode_data(&mut frames, own.crc_seed(), Sequence::FIRST.next(), u32::MAX, b"no record");
    segment(&world, "forger", OPEN, &frames);
    let relay = Relay::start(world.root(), ["--stdout"]);
    world.wait_until_confirmed(&sound);
    sound.append_many(10);
    world.wait_until_confirmed(&sound);
    wait_until("the forged record is printed", LONG, || world.confirmed("forger") > 1);
    let shown = status(&world);
    assert!(shown["writers"].as_array().is_some_and(|lanes| lanes.len() == 2), "{shown:#}");
    let ended = relay.stop();
    let ids: Vec<Value> =
        ended.output.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(
        ids.iter().filter(|id| **id == "sound/1/1").count(),
        1,
        "somebody else's identity was taken: {ids:?}"
    );
    assert!(ids.contains(&"forger/1/1".into()), "{ids:?}");
    fault(
        Hits::Hostile,
        "times from the far future, forged identities, a body that is no record",
        "in sound frames of its own",
    )
    .held(5, "delivered as what they are; nobody else's identity was taken; nothing stopped");
}

#[test]
fn a_directory_that_becomes_a_link_to_another_writers_costs_that_writer_nothing() {
    let world = World::new();
    let (mut victim, mut thief) = (world.writer("victim"), world.writer("thief"));
    for _ in 0..3 {
        thief.append_many(5);
        thief.reopen();
    }
    thief.append_many(5);
    thief.close();
    let relay = Relay::start(world.root(), ["--stdout", "--retention", "1h"]);
    world.wait_until_confirmed(&thief);
    relay.stop();
    // Nobody has seen these yet; by their names they are older than what the thief had confirmed.
    for _ in 0..2 {
        victim.append_many(5);
        victim.reopen();
    }
    victim.append_many(5);
    victim.close();
    let before: Vec<_> = world.segments("victim").iter().map(|path| name(path)).collect();
    // Away, so that the relay does not come to know them as what they are.
    let (theirs, hidden) = (world.directory("thief"), world.beside.join("hidden"));
    fs::rename(world.directory("victim"), &hidden).unwrap();
    fs::remove_dir_all(&theirs).unwrap();
    fs::create_dir(&theirs).unwrap();
    let relay = Relay::start(world.root(), ["--stdout", "--retention", "0s", "--poll-max", "20ms"]);
    relay.wait_for_log("found writer thief");
    fs::remove_dir(&theirs).unwrap();
    symlink(&hidden, &theirs).unwrap();
    let left = || {
        let names = list(&hidden).into_iter().map(|path| name(&path));
        names.filter(|name| SegmentName::parse(name).is_some()).collect::<Vec<_>>()
    };
    // Removing is tried every second.
    wait_until("a removal was tried", LONG, || left() != before || relay.log().contains("can't be removed"));
    assert_eq!(left(), before, "{}", relay.log());
    assert!(relay.log().contains("writers/thief is a link"), "{}", relay.log());
    fs::rename(&hidden, world.directory("victim")).unwrap();
    world.wait_until_confirmed(&victim);
    let ended = relay.stop();
    assert_eq!(ended.output.len(), 15, "{}", ended.log);
    fault(
        Hits::Hostile,
        "its directory becomes a link to another writer's",
        "while the relay removes segments",
    )
    .held(1, "nothing of the other writer's was removed, and all of it was published");
}

#[test]
fn payloads_below_a_link_are_nobodys_to_remove() {
    let world = World::new();
    let payloads = world.share.layout.all_payloads();
    let theirs = payloads.join("victim/2023/11/14/22");
    fs::create_dir_all(&theirs).unwrap();
    fs::write(theirs.join("precious"), "bytes").unwrap();
    fs::create_dir(payloads.join("thief")).unwrap();
    symlink("../victim/2023", payloads.join("thief/2023")).unwrap();
    // A record that names it, in a segment that is confirmed and then removed.
    let hour = Hour::of(1_700_000_000_000);
    let name = PayloadName::new("thief".parse().unwrap(), hour, "precious").unwrap();
    let large = PayloadReference { name, size: 5, crc: crc32fast::hash(b"bytes") };
    let (mut body, mut frames) = (Vec::new(), Vec::new());
    Record::new("t", "").borrowed(1_700_000_000_000).encode_with(&large, &mut body).unwrap();
    encode_data(&mut frames, header(&world, "thief").crc_seed(), Sequence::FIRST, 0, &body);
    segment(&world, "thief", OPEN, &frames);
    let mut thief = world.writer("thief");
    thief.append_many(1);
    let relay = Relay::start(world.root(), ["--stdout", "--retention", "0s", "--sweep-after", "0s"]);
    world.wait_until_confirmed(&thief);
    wait_until("the first segment is removed", LONG, || world.segments("thief").len() == 1);
    let ended = relay.stop();
    assert!(ended.output.iter().any(|line| line.contains("precious")), "{ended:#?}");
    assert_eq!(fs::read(theirs.join("precious")).unwrap(), b"bytes");
    fault(
        Hits::Hostile,
        "a link leads to another writer's payloads",
        "named by a record whose segment is then removed",
    )
    .held(1, "the other writer's payload was not touched");
}
