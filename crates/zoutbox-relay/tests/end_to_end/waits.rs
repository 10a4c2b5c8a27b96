//! What `zoutbox status` tells of what a relay waits for.

use std::process::Command;

use serde_json::Value;
use zoutbox_format::Record;
use zoutbox_test_support::{Broker, binary, wait_until};

use crate::support::{LONG, Queue, Relay, TroubledBroker, World};

/// Nobody listens there.
const NO_BROKER: [&str; 2] = ["--amqp", "amqp://guest:guest@127.0.0.1:1"];

fn status(world: &World) -> Value {
    // A machine that is busy for some seconds is no share that does not answer.
    let arguments = ["status", "--json", "--patience", "60", "--root"];
    let output = Command::new(binary("zoutbox")).args(arguments).arg(world.root()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn whats(of: &Value) -> Vec<String> {
    let waits = of["waits"].as_array().into_iter().flatten();
    waits.map(|wait| wait["what"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn of_lane(world: &World, writer: &str) -> Vec<String> {
    let status = status(world);
    whats(status["writers"].as_array().unwrap().iter().find(|lane| lane["writer"] == writer).unwrap())
}

pub(crate) fn of_relay(world: &World) -> Vec<String> {
    whats(&status(world)["relay"])
}

#[test]
fn status_shows_a_lane_that_halted_at_a_record_until_a_queue_takes_it() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "status-halt", &["kept.#"]));
    let (mut orders, mut sound) = (world.writer("orders"), world.writer("sound"));
    orders.append([Record::new("kept.x", "1"), Record::new("lost.x", "2"), Record::new("kept.x", "3")]);
    sound.append([Record::new("kept.y", "1")]);
    let relay = Relay::start(world.root(), queue.arguments());
    wait_until("status shows the halt", LONG, || !of_lane(&world, "orders").is_empty());
    let waits = of_lane(&world, "orders");
    assert!(waits.len() == 1 && waits[0].starts_with("halted at orders/1/2: no queue takes it"), "{waits:?}");
    assert_eq!((of_lane(&world, "sound"), of_relay(&world)), (vec![], vec![]));
    queue.bind(&["lost.#"]);
    world.wait_until_confirmed(&orders);
    wait_until("status shows no wait any more", LONG, || of_lane(&world, "orders").is_empty());
    assert!(!world.share.layout.waits().exists());
    relay.stop();
}

#[test]
fn status_shows_a_lane_that_halted_at_damage_and_an_orderly_stop_takes_that_back() {
    let world = World::new();
    let mut orders = world.writer("orders");
    orders.append_many(1);
    orders.append_many(1);
    orders.close();
    let segment = world.segments("orders").remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let relay = Relay::start(world.root(), ["--stdout"]);
    wait_until("status shows the damage", LONG, || !of_lane(&world, "orders").is_empty());
    let waits = of_lane(&world, "orders");
    let what = format!("halted at damage: {} is damaged at offset", segment.display());
    assert!(waits.len() == 1 && waits[0].starts_with(&what), "{waits:?}");
    relay.stop();
    assert_eq!(of_lane(&world, "orders"), Vec::<String>::new());
    assert!(!world.share.layout.waits().exists());
}

#[test]
fn status_shows_a_broker_that_is_away_and_nothing_of_a_relay_that_was_killed_once_there_is_another() {
    let world = World::new();
    world.writer("orders").append_many(1);
    let relay = Relay::start(world.root(), NO_BROKER);
    let away = "the broker is not connected: amqp://127.0.0.1:1/: ";
    wait_until("status shows it", LONG, || of_relay(&world).iter().any(|what| what.starts_with(away)));
    let waits = of_relay(&world);
    assert!(waits.len() == 1 && !waits[0].contains("guest"), "{waits:?}");
    relay.kill();
    assert_eq!(of_relay(&world), waits, "a killed one can't take it back");
    let relay = Relay::start(world.root(), ["--stdout"]);
    relay.wait_for_log("found writer");
    assert_eq!(of_relay(&world), Vec::<String>::new());
    relay.stop();
}

#[test]
fn status_shows_a_broker_that_blocks() {
    let broker = TroubledBroker::get();
    let (world, queue) = (World::new(), Queue::new(&broker, "status-blocked", &["#"]));
    let mut orders = world.writer("orders");
    let relay = Relay::start(world.root(), queue.arguments());
    relay.wait_for_log("connected to the broker");
    broker.block();
    orders.append_many(100);
    let blocks = "the broker blocks publishers: ";
    wait_until("status shows it", LONG, || of_relay(&world).iter().any(|what| what.starts_with(blocks)));
    broker.unblock();
    wait_until("status shows nothing", LONG, || of_relay(&world).is_empty());
    relay.stop();
}
