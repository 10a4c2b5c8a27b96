//! A broker that has no room, no queue, or no right for this relay; and has again.

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};
use zoutbox_test_support::{Broker, Hits, wait_until};

use crate::support::{Consumer, LONG, Proxy, Queue, Relay, TroubledBroker, Way, World, fault, first_unequal};
use crate::waits::{of_lane, of_relay};

#[test]
fn alarms_of_disk_and_memory_block_until_the_last_of_them_ends() {
    let broker = TroubledBroker::get();
    let (world, queue) = (World::new(), Queue::new(&broker, "alarms", &["#"]));
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let relay = Relay::start(world.root(), queue.with(&["--confirm-timeout", "10s"]));
    orders.append_many(500);
    world.wait_until_confirmed(&orders);

    broker.block_by_disk();
    orders.append_many(500);
    let blocks = |by: &str| {
        let what = format!("the broker blocks publishers: {by}");
        wait_until(&what, LONG, || of_relay(&world).iter().any(|wait| wait.starts_with(&what)));
    };
    blocks("low on disk");
    broker.block();
    broker.unblock_by_disk();
    // Longer than it would wait for a confirm: what is blocked is no broken connection.
    std::thread::sleep(Duration::from_secs(12));
    assert!(world.confirmed("orders") < orders.next_sequence(), "one of two alarms is over");
    assert_eq!(of_relay(&world).len(), 1);
    broker.unblock();
    consumer.wait_for_all_in_order(&[&orders]);
    world.wait_until_confirmed(&orders);
    wait_until("status tells nothing any more", LONG, || of_relay(&world).is_empty());
    let log = relay.stop().log;
    assert_eq!(consumer.count(), 1000, "something came again");
    assert!(!log.contains("lost the connection"), "{log}");
    fault(
        Hits::Broker,
        "a disk alarm, and a memory alarm before it ends",
        "limits set so that they are exceeded",
    )
    .held(
        2,
        format!(
            "told in one line, and by which; waited for the last; {} records delivered, none came again",
            consumer.count()
        ),
    );
}

#[test]
fn a_queue_that_is_deleted_holds_its_lane_until_it_is_made_again() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "deleted-queue", &["#"]));
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let relay = Relay::start(world.root(), queue.arguments());
    for round in 1..=2 {
        orders.append_many(500);
        consumer.wait_for_all_in_order(&[&orders]);
        world.wait_until_confirmed(&orders);
        queue.delete();
        let confirmed = world.confirmed("orders");
        orders.append_many(500);
        relay.wait_for_log_times("no queue takes it", round);
        wait_until("status tells it", LONG, || of_lane(&world, "orders").len() == 1);
        let waits = of_lane(&world, "orders");
        assert!(waits[0].contains("no queue takes it: NO_ROUTE"), "{waits:?}");
        assert_eq!(world.confirmed("orders"), confirmed, "the checkpoint passed what went nowhere");
        queue.declare(&["#"]);
        consumer.wait_for_all_in_order(&[&orders]);
        world.wait_until_confirmed(&orders);
        wait_until("status tells nothing any more", LONG, || of_lane(&world, "orders").is_empty());
    }
    relay.stop();
    assert_eq!(consumer.count(), 2000, "something came again");
    fault(Hits::Broker, "the queue is deleted and made again", "while the relay has a connection").held(
        2,
        format!(
            "the lane waited in front of the next record, and said so; {} records delivered in order, none came again",
            consumer.count()
        ),
    );
}

#[test]
fn a_queue_that_is_full_and_rejects_is_told_once_and_gets_everything_in_the_end() {
    const HOLDS: usize = 400;
    let (world, queue) = (World::new(), Queue::only_named(Broker::shared(), "full", "quorum"));
    let mut limit = FieldTable::default();
    limit.insert("x-max-length".into(), AMQPValue::LongInt(i32::try_from(HOLDS).unwrap()));
    limit.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    queue.declare_with(&["#"], limit);
    let (mut orders, mut quiet) = (world.writer("orders"), world.writer("quiet"));
    quiet.append_many(1);
    let relay = Relay::start(world.root(), queue.with(&["--window", "300"]));
    world.wait_until_confirmed(&quiet);
    orders.append_many(1500);
    relay.wait_for_log("writer orders waits at orders/1/");
    let full = "the broker does not take its records now: a queue is full, or can't store them";
    wait_until("status tells it", LONG, || of_lane(&world, "orders") == [full]);
    assert_eq!(of_lane(&world, "quiet"), Vec::<String>::new());
    // Tries again, and tells nothing new.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(relay.log().matches(full).count(), 1, "{}", relay.log());
    assert!(world.confirmed("orders") < orders.next_sequence());
    let consumer = Consumer::start(&queue);
    world.wait_until_confirmed(&orders);
    let everything: Vec<_> = orders.appended.iter().chain(&quiet.appended).collect();
    consumer.wait_for(&everything);
    // Of what was in flight behind a record that was not taken, some may have been: those come again behind it.
    let own: Vec<_> = orders.appended.iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(first_unequal(&consumer.last_deliveries("orders"), &own), None, "order");
    wait_until("status tells nothing any more", LONG, || of_lane(&world, "orders").is_empty());
    let again = consumer.count() - everything.len();
    println!("full: {again} of {} came again; {} lines", everything.len(), relay.log().lines().count());
    relay.stop();
    fault(
        Hits::Broker,
        "the queue is full and rejects",
        "x-max-length of 400 with reject-publish, 1,500 records",
    )
    .held(
        1,
        format!(
            "told once; the other writer's lane went on; {} records delivered, {again} came again",
            everything.len()
        ),
    );
}

#[test]
fn a_queue_that_stays_full_has_other_connections_tried_and_costs_other_queues_nothing() {
    const TRIES: usize = 2;
    let (world, full) = (World::new(), Queue::only_named(Broker::shared(), "stays-full", "quorum"));
    let mut limit = FieldTable::default();
    limit.insert("x-max-length".into(), AMQPValue::LongInt(10));
    limit.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    full.declare_with(&["full.#"], limit);
    let flows =
        Queue { name: "queue-flows".into(), url: full.url.clone(), exchange: full.exchange.clone(), ..full };
    flows.declare(&["flowing.#"]);
    let proxy = Proxy::to(Broker::shared().port());
    // So that there is always something in flight.
    proxy.set_both(Way::Long(Duration::from_millis(50)));
    let led = proxy.leads_to(&flows, "");
    let (mut stuck, mut flowing) = (world.writer("full"), world.writer("flowing"));
    let consumer = Consumer::start(&flows);
    let relay = Relay::start(world.root(), led.with(&["--window", "300"]));
    stuck.append_many(400);
    while relay.log().matches("trying another connection").count() < TRIES {
        flowing.append_many(10);
        assert!(flowing.appended.len() < 100_000, "no other connection was tried: {}", relay.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    consumer.wait_for_all_in_order(&[&flowing]);
    world.wait_until_confirmed(&flowing);
    assert!(world.confirmed("full") < stuck.next_sequence());
    assert_eq!(of_relay(&world), Vec::<String>::new());
    let log = relay.stop().log;
    assert_eq!(log.matches("waits at full/1/").count(), 1, "{log}");
    assert!(!log.contains("lost the connection"), "{log}");
    flows.mark();
    assert_eq!(consumer.ids_before_the_mark().len(), flowing.appended.len(), "something came again: {log}");
    fault(Hits::Broker, "a queue stays full", "x-max-length of 10 with reject-publish, until other connections were tried").held(
        1,
        format!(
            "told once; {TRIES} other connections were tried, {} records of another queue delivered meanwhile, none came again",
            flowing.appended.len()
        ),
    );
}

/// A user of the shared broker's, and a relay that goes its own way to it, so that its connection can be cut and no other's.
struct Account {
    name: &'static str,
}

impl Account {
    fn ctl(arguments: &[&str]) {
        Broker::shared().ctl(arguments);
    }

    fn make(name: &'static str) -> Self {
        let account = Self { name };
        account.add();
        account
    }

    fn add(&self) {
        Self::ctl(&["add_user", self.name, "right"]);
        self.allow(".*");
    }

    fn allow(&self, write: &str) {
        Self::ctl(&["set_permissions", self.name, ".*", write, ".*"]);
    }
}

/// What the relay says, what does it, and what makes it good.
type Harm<'a> = (&'a str, Box<dyn Fn(&Account)>, Box<dyn Fn(&Account)>);

#[test]
fn rights_that_are_taken_away_are_waited_for_and_told_in_a_line_without_the_password() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "rights", &["#"]));
    let proxy = Proxy::to(Broker::shared().port());
    let account = Account::make("outbox-user");
    let url = format!("amqp://outbox-user@127.0.0.1:{}", proxy.port());
    let password = world.beside.join("password").display().to_string();
    std::fs::write(&password, "right").unwrap();
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let arguments = ["--amqp", &url, "--password-file", &password, "--exchange", &queue.exchange];
    let relay = Relay::start(world.root(), arguments);
    orders.append_many(100);
    world.wait_until_confirmed(&orders);

    let harms: [Harm<'_>; 3] = [
        (
            "ACCESS_REFUSED - Login was refused",
            Box::new(|user| Account::ctl(&["change_password", user.name, "another"])),
            Box::new(|user| Account::ctl(&["change_password", user.name, "right"])),
        ),
        (
            "access to vhost '/' refused for user 'outbox-user'",
            Box::new(|user| Account::ctl(&["clear_permissions", user.name])),
            Box::new(|user| user.allow(".*")),
        ),
        (
            "ACCESS_REFUSED - Login was refused",
            Box::new(|user| Account::ctl(&["delete_user", user.name])),
            Box::new(Account::add),
        ),
    ];
    for (reason, harm, heal) in harms {
        harm(&account);
        // A connection that is there may go on with the rights that it had.
        proxy.cut();
        orders.append_many(100);
        let told = |wait: &String| wait.starts_with("the broker is not connected") && wait.contains(reason);
        wait_until(&format!("status tells '{reason}'"), LONG, || of_relay(&world).iter().any(told));
        assert!(of_relay(&world).len() == 1 && relay.log().contains(reason), "{}", relay.log());
        assert!(world.confirmed("orders") < orders.next_sequence());
        heal(&account);
        consumer.wait_for_all_in_order(&[&orders]);
        world.wait_until_confirmed(&orders);
    }

    // It may connect, and not publish.
    account.allow("^$");
    proxy.cut();
    orders.append_many(100);
    let forbids = "the broker forbids it: ACCESS_REFUSED";
    let told = || of_lane(&world, "orders").iter().any(|wait| wait.contains(forbids));
    wait_until("status tells that it is forbidden", LONG, told);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(relay.log().matches(forbids).count(), 1, "{}", relay.log());
    account.allow(".*");
    consumer.wait_for_all_in_order(&[&orders]);
    world.wait_until_confirmed(&orders);
    let log = relay.stop().log;
    assert!(!log.contains("right\n") && !log.contains(":right"), "the password shows: {log}");
    queue.mark();
    let again = consumer.ids_before_the_mark().len() - orders.appended.len();
    println!("rights: {again} of {} came again", orders.appended.len());
    fault(
        Hits::Broker,
        "the relay's user loses its password, its rights, or is deleted",
        "by rabbitmqctl, and the connection cut",
    )
    .held(
        4,
        format!(
            "waited for, told in a line without the password; {} records delivered in order, {again} came again",
            orders.appended.len()
        ),
    );
}
