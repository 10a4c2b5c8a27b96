//! What does not belong on a share costs nobody else anything.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use zoutbox_test_support::{Broker, Hits};

use crate::support::{Consumer, Queue, Relay, World, fault};

/// A name as a segment has it.
const SEGMENT: &str = "00000000000000000001-00000000000000000001.seg";

#[test]
fn garbage_names_symlinks_fifos_and_directories_stop_no_other_lane_and_no_stop() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "strangers", &["#"]));
    let (mut sound, mut among) = (world.writer("sound"), world.writer("among"));
    sound.append_many(100);
    among.append_many(50);
    among.reopen();
    among.append_many(50);
    for name in ["garbage", "1-1.seg", "next-00000000000000000009", "core.1234", ".nfs0001", "\u{1b}[2J"] {
        fs::write(world.directory("among").join(name), "garbage").unwrap();
    }
    for writer in ["has-fifo", "has-link", "has-directory", "has-garbage", "has-loop", "is-empty"] {
        fs::create_dir(world.directory(writer)).unwrap();
    }
    mkfifo(&world.directory("has-fifo").join(SEGMENT), Mode::S_IRWXU).unwrap();
    symlink(&world.segments("sound")[0], world.directory("has-link").join(SEGMENT)).unwrap();
    fs::create_dir(world.directory("has-directory").join(SEGMENT)).unwrap();
    fs::write(world.directory("has-garbage").join(SEGMENT), [0xEE; 5000]).unwrap();
    symlink(SEGMENT, world.directory("has-loop").join(SEGMENT)).unwrap();
    let writers = world.share.layout.writers();
    symlink(world.beside.join("elsewhere"), writers.join("link")).unwrap();
    mkfifo(&writers.join("fifo"), Mode::S_IRWXU).unwrap();
    fs::write(writers.join("file"), "garbage").unwrap();
    fs::create_dir(writers.join("UPPER CASE")).unwrap();

    let consumer = Consumer::start(&queue);
    let relay = Relay::start(world.root(), queue.with(&["--on-damage", "skip"]));
    consumer.wait_for_all_in_order(&[&sound, &among]);
    sound.append_many(100);
    consumer.wait_for_all_in_order(&[&sound, &among]);
    world.wait_until_confirmed(&sound);
    world.wait_until_confirmed(&among);
    let ended = relay.stop();
    assert_eq!(consumer.count(), 300, "something was published that nobody appended: {}", ended.log);
    assert!(!ended.log.contains('\u{1b}'), "a name from the share reached the log unescaped");
    for writer in ["has-fifo", "has-directory", "has-garbage", "has-loop", "has-link"] {
        assert!(ended.log.contains(writer), "nobody is told about {writer}: {}", ended.log);
    }
    fault(Hits::Hostile, "garbage, links and pipes among writers and segments", "laid by hand").held(
        16,
        format!("no other lane stopped; {} records delivered in order, and nothing else", consumer.count()),
    );
}
