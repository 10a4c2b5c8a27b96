//! `--stdout`: a line of JSON a record, with the same promises and no broker.

use serde_json::Value;
use zoutbox_format::Record;

use crate::support::{Relay, World};

fn ids(lines: &[String]) -> Vec<String> {
    let id = |line: &String| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    lines.iter().map(id).collect()
}

#[test]
fn every_record_is_one_line_of_json_in_order_and_none_is_printed_again() {
    let world = World::new();
    let mut orders = world.writer("orders");
    orders.append_many(3000);
    orders.append([Record::new("t", "two\nlines").header("h", "v"), Record::new("t", vec![0xFF, 0])]);
    let ended = Relay::start(world.root(), ["--stdout", "--once"]).wait();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let all: Vec<_> = orders.appended.iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(ids(&ended.output), all);
    let line: Value = serde_json::from_str(&ended.output[3000]).unwrap();
    assert_eq!((&line["payload"], &line["payload_encoding"]), (&"two\nlines".into(), &"utf8".into()));
    assert_eq!(
        (&line["topic"], &line["headers"]["h"], &line["sequence"]),
        (&"t".into(), &"v".into(), &3001.into())
    );
    let line: Value = serde_json::from_str(&ended.output[3001]).unwrap();
    assert_eq!((&line["payload"], &line["payload_encoding"]), (&"/wA=".into(), &"base64".into()));
    assert_eq!(world.confirmed("orders"), 3003);

    let again = Relay::start(world.root(), ["--stdout", "--once"]).wait();
    assert_eq!((again.code, again.output.len()), (Some(0), 0), "{again:#?}");
    orders.append_many(1);
    let relay = Relay::start(world.root(), ["--stdout"]);
    world.wait_until_confirmed(&orders);
    assert_eq!(ids(&relay.stop().output), ["orders/1/3003"]);
}

#[test]
fn records_that_nobody_reads_are_not_confirmed() {
    let world = World::new();
    let mut orders = world.writer("orders");
    orders.append_many(10);
    let relay = Relay::start_unread(world.root(), ["--stdout"]);
    let ended = relay.wait();
    assert_eq!(ended.code, Some(74), "{ended:#?}");
    assert!(ended.message().contains("standard output"), "{ended:#?}");
    assert_eq!(world.confirmed("orders"), 1);
    let ended = Relay::start(world.root(), ["--stdout", "--once"]).wait();
    assert_eq!(ended.output.len(), 10, "{ended:#?}");
}
