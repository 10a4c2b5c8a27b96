//! What is appended arrives: in order, under its identity, as it was.

use zoutbox_format::Record;
use zoutbox_test_support::{Broker, test_roots};
use zoutbox_writer::Options;

use crate::support::{Consumer, Queue, Relay, World};

/// Every kind of field and payload; large ones span several AMQP frames, and many of them several segments.
fn various(number: usize) -> Record {
    let record = Record::new("orders.created", format!("{number}: Grüße, 価格"));
    match number % 6 {
        0 => record.content_type("text/plain").key(format!("customer-{number}")),
        1 => record.header("traceparent", "00-4bf9").header("empty", "").header("ünïcode", "✓"),
        2 => record.timestamp_ms(1_700_000_000_999).id(format!("application-{number}")),
        3 => Record::new("orders.blob", (0..=255).cycle().take(300_000).collect::<Vec<u8>>()),
        4 => Record::new("t".repeat(255), ""),
        _ => record.timestamp_ms(0).header("x".repeat(255), "y".repeat(10_000)),
    }
}

#[test]
fn every_record_of_several_writers_arrives_in_order_with_its_identity_headers_and_properties() {
    for root in test_roots() {
        let queue = Queue::new(Broker::shared(), &format!("delivery-{}", root.label()), &["#"]);
        let world = World::on(root);
        let small = Options { segment_size: 1 << 20, ..Options::default() };
        let mut orders = world.writer_with("orders", small);
        let mut payments = world.writer("payments");
        orders.append((0..60).map(various));
        payments.append_many(2000);

        let relay = Relay::start(world.root(), queue.arguments());
        let consumer = Consumer::start(&queue);
        orders.append((60..90).map(various));
        orders.reopen();
        orders.append((90..120).map(various));
        let mut late = world.writer("a.late-1_writer");
        late.append_many(10);
        payments.append_many(2000);
        consumer.wait_for_all_in_order(&[&orders, &payments, &late]);
        assert!(world.segments("orders").len() > 3, "rotation is part of this");
        assert!(orders.appended.iter().any(|(id, _)| id.epoch.get() == 2), "so is a second epoch");

        let ended = relay.stop();
        assert_eq!(consumer.count(), 4130, "without trouble there are no duplicates: {}", ended.log);
    }
}

#[test]
fn a_writer_that_appears_while_the_relay_runs_is_found() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "appears", &["#"]));
    let consumer = Consumer::start(&queue);
    let relay = Relay::start(world.root(), queue.arguments());
    relay.wait_for_log("connected to the broker");
    let mut first = world.writer("first");
    first.append_many(3);
    consumer.wait_for_all_in_order(&[&first]);
    let mut second = world.writer("second");
    second.append_many(3);
    first.append_many(3);
    consumer.wait_for_all_in_order(&[&first, &second]);
    relay.stop();
}

#[test]
fn the_relay_declares_exchange_queue_and_binding_when_told_to() {
    for kind in ["quorum", "classic"] {
        let world = World::new();
        let queue = Queue::only_named(Broker::shared(), &format!("declares-{kind}"), kind);
        let mut writer = world.writer("orders");
        writer.append_many(20);
        let declare = ["--declare-exchange", "topic", "--declare-queue", &queue.name, "--queue-type", kind];
        let relay = Relay::start(world.root(), queue.with(&declare));
        let consumer = Consumer::start(&queue);
        consumer.wait_for_all_in_order(&[&writer]);
        relay.stop();
        let types = Broker::shared().ctl(&["list_queues", "name", "type"]);
        assert!(types.lines().any(|line| line == format!("{}\t{kind}", queue.name)), "{types}");
    }
}

#[test]
fn a_declared_queue_gets_every_topic_when_nothing_else_is_named() {
    let world = World::new();
    let queue = Queue::only_named(Broker::shared(), "declared-alone", "quorum");
    let (mut orders, mut payments) = (world.writer("orders"), world.writer("payments"));
    orders.append_many(20);
    payments.append_many(20);
    let relay = Relay::start(world.root(), ["--amqp", &queue.url, "--declare-queue", &queue.name]);
    let consumer = Consumer::start(&queue);
    consumer.wait_for_all_in_order(&[&orders, &payments]);
    relay.stop();
}

#[test]
fn options_come_from_a_file_and_the_password_from_the_environment_or_a_file() {
    let world = World::new();
    let broker = Broker::shared();
    let queue = Queue::new(broker, "file", &["#"]);
    let mut writer = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let path = |name: &str| world.beside.join(name).display().to_string();
    let (config, password) = (path("relay.toml"), path("password"));
    let amqp = format!("amqp://guest@127.0.0.1:{}", broker.port());
    std::fs::write(&config, format!("amqp = \"{amqp}\"\nexchange = \"{}\"\nonce = true\n", queue.exchange))
        .unwrap();
    std::fs::write(&password, "guest\n").unwrap();

    writer.append_many(5);
    let relay = Relay::start_with(world.root(), ["--config", &config], &[("ZOUTBOX_AMQP_PASSWORD", "guest")]);
    assert_eq!(relay.wait().code, Some(0));
    consumer.wait_for_all_in_order(&[&writer]);
    writer.append_many(5);
    let relay = Relay::start(world.root(), ["--config", &config, "--password-file", &password]);
    assert_eq!(relay.wait().code, Some(0));
    consumer.wait_for_all_in_order(&[&writer]);
    writer.append_many(5);
    let arguments = ["--exchange", &queue.exchange, "--once"];
    let relay = Relay::start_with(world.root(), arguments, &[("ZOUTBOX_AMQP_URL", &queue.url)]);
    assert_eq!(relay.wait().code, Some(0));
    consumer.wait_for_all_in_order(&[&writer]);
}
