//! Checkpoints that can't be used: what they covered is published again, and never skipped.

use std::fs;

use zoutbox_format::{Checkpoint, Epoch, ShareId};
use zoutbox_test_support::{Broker, Hits};

use crate::support::{Consumer, Producer, Queue, Relay, World, fault};

/// A share whose 300 records were all published, and the checkpoint that says so.
fn published(test: &str) -> (World, Queue, Producer, Consumer) {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), test, &["#"]));
    let mut orders = world.writer("orders");
    orders.append_many(300);
    let consumer = Consumer::start(&queue);
    let ended = Relay::start(world.root(), queue.with(&["--once"])).wait();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(world.confirmed("orders"), 301);
    (world, queue, orders, consumer)
}

fn is_published_again(test: &str, harm: impl FnOnce(&[u8]) -> Vec<u8>) {
    let (world, queue, mut orders, consumer) = published(test);
    let path = world.checkpoint_path("orders");
    fs::write(&path, harm(&fs::read(&path).unwrap())).unwrap();
    orders.append_many(10);
    let ended = Relay::start(world.root(), queue.with(&["--once"])).wait();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.log.contains(&path.display().to_string()), "the log does not name it: {}", ended.log);
    consumer.wait_for_all_in_order(&[&orders]);
    queue.mark();
    assert_eq!(consumer.ids_before_the_mark().len(), 300 + 310, "{}", ended.log);
    assert_eq!(world.confirmed("orders"), 311, "no sound checkpoint was saved");
    fault(Hits::Disk, "a checkpoint is damaged", "a flipped bit, cut, emptied, or of another share")
        .held(1, "told by its path; everything published again, in order, and a sound one saved");
}

#[test]
fn behind_a_checkpoint_with_a_flipped_byte_everything_is_published_again() {
    is_published_again("flipped", |sound| {
        let mut bytes = sound.to_vec();
        bytes[40] ^= 1; // the next sequence
        bytes
    });
}

#[test]
fn behind_a_truncated_checkpoint_everything_is_published_again() {
    is_published_again("truncated", |sound| sound[..70].to_vec());
    is_published_again("emptied", |_| Vec::new());
}

#[test]
fn behind_a_checkpoint_of_another_share_everything_is_published_again() {
    is_published_again("foreign", |sound| {
        let mut checkpoint = Checkpoint::decode(sound).unwrap();
        checkpoint.share = ShareId::from_bytes([7; 16]);
        checkpoint.encode().to_vec()
    });
}

#[test]
fn with_a_directory_in_the_checkpoints_place_records_flow_and_the_log_names_it() {
    let (world, queue, mut orders, consumer) = published("directory");
    let path = world.checkpoint_path("orders");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let relay = Relay::start(world.root(), queue.arguments());
    relay.wait_for_log(&path.display().to_string());
    orders.append_many(10);
    consumer.wait_for_count(300 + 310);
    consumer.wait_for_all_in_order(&[&orders]);
    fs::remove_dir(&path).unwrap();
    world.wait_until_confirmed(&orders);
    relay.stop();
    fault(Hits::Disk, "a checkpoint can't be saved", "a directory in its place")
        .held(1, "told by its path; records flowed, and it was saved once there was room for it");
}

#[test]
fn a_relay_that_finds_the_checkpoint_of_a_newer_one_stops() {
    let (world, queue, mut orders, consumer) = published("fenced");
    let relay = Relay::start(world.root(), queue.arguments());
    relay.wait_for_log("connected to the broker");
    let path = world.checkpoint_path("orders");
    let mut checkpoint = Checkpoint::decode(&fs::read(&path).unwrap()).unwrap();
    checkpoint.relay_epoch = Epoch::new(99);
    fs::write(&path, checkpoint.encode()).unwrap();
    orders.append_many(10);
    let ended = relay.wait();
    assert_eq!(ended.code, Some(75), "{ended:#?}");
    assert!(ended.message().contains("another relay"), "{ended:#?}");
    assert_eq!(Checkpoint::decode(&fs::read(&path).unwrap()), Ok(checkpoint), "it was replaced");
    let ended = Relay::start(world.root(), queue.with(&["--once"])).wait();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.log.contains("as epoch 100"), "{}", ended.log);
    consumer.wait_for_all_in_order(&[&orders]);
    fault(
        Hits::Relay,
        "another relay has saved a checkpoint meanwhile",
        "one of a later epoch, laid beneath a relay",
    )
    .held(1, "it ended without replacing it");
}

#[test]
fn a_checkpoint_of_a_newer_format_ends_the_relay_before_it_publishes() {
    let (world, queue, mut orders, consumer) = published("newer");
    orders.append_many(10);
    let path = world.checkpoint_path("orders");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..148]);
    bytes[148..].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let ended = Relay::start(world.root(), queue.with(&["--once"])).wait();
    assert_eq!(ended.code, Some(76), "{ended:#?}");
    assert!(ended.message().contains(&path.display().to_string()), "{ended:#?}");
    assert_eq!(fs::read(&path).unwrap(), bytes, "it was replaced");
    queue.mark();
    assert_eq!(consumer.ids_before_the_mark().len(), 300, "something was published");
}
