//! Several addresses of a broker, of which some are of no use. Most lead to one node here, as users with other rights: what a node of a cluster
//! that is cut off does not do, these may not do.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use zoutbox_consumer::{ConsumerError, ConsumerOptions};
use zoutbox_test_support::{Broker, Fault, Hits};

use crate::queue::Queue;
use crate::running::{Order, Running, Script, inline, inline_resolver, keyed, names};
use crate::stores::{Ground, Sqlite};

fn ctl(arguments: &[&str]) {
    Broker::shared().ctl(arguments);
}

/// The shared node's address for a new user with these rights.
fn user(name: &str, write: &str, read: &str) -> String {
    ctl(&["add_user", name, "right"]);
    ctl(&["set_permissions", name, ".*", write, read]);
    address(&format!("{name}:right"))
}

fn address(credentials: &str) -> String {
    format!("amqp://{credentials}@127.0.0.1:{}", Broker::shared().port())
}

fn options(queue: &Queue, addresses: &[&str]) -> ConsumerOptions {
    let mut options = queue.options();
    options.amqp.url = addresses.join(",");
    options
}

#[test]
fn an_address_that_refuses_or_gives_no_messages_does_not_keep_it_from_the_next() {
    let (ground, queue, script) = (Arc::new(Sqlite::new()), Queue::new("next-address"), Script::default());
    let (wrong, blind) = (address("guest:wrong"), user("blind", ".*", "^$"));
    // Here the queue is not there, and may come.
    ctl(&["add_vhost", "elsewhere"]);
    ctl(&["set_permissions", "-p", "elsewhere", "guest", ".*", ".*", ".*"]);
    let elsewhere = format!("{}/elsewhere", queue.url);
    queue.publish(&keyed(&["a", "b"]));
    let addresses = options(&queue, &[&wrong, &blind, &elsewhere, &queue.url]);
    let running = Running::start(&ground, addresses, inline_resolver(), &script);
    script.wait_for_applied(2);
    queue.settles_at(0, 0);
    running.stop();
    assert_eq!(script.applied(), names([1, 2]));

    let error = Running::start(&ground, options(&queue, &[&wrong, &blind]), inline_resolver(), &script);
    let error = error.end().unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, ConsumerError::Refused { .. }), "{told}");
    assert!(told.contains("Login was refused") && told.contains("consuming from queue"), "{told}");
    assert!(!told.contains("wrong") && !told.contains("right"), "{told}");
    Fault::new(
        "consumer",
        Hits::Broker,
        "addresses of no use in front of a good one",
        "a wrong password, no right to consume, no such queue",
    )
    .held(3, "the next one was asked at once; a refusal only where all refused");
}

#[test]
fn what_one_address_does_not_take_is_parked_over_the_next() {
    let (ground, queue, script) = (Arc::new(Sqlite::new()), Queue::new("next-parking"), Script::default());
    script.order("orders/1/1", Order::Poison);
    queue.publish(&keyed(&["a", "b"]));
    let mute = user("mute", "^$", ".*");
    let addresses = options(&queue, &[&mute, &queue.url]);
    let running = Running::start(&ground, addresses, inline_resolver(), &script);
    script.wait_for_applied(1);
    queue.settles_at(0, 1);
    running.stop();
    assert_eq!(script.applied(), names([2]));
    Fault::new(
        "consumer",
        Hits::Broker,
        "an address gives messages and lets none be parked",
        "no right to write",
    )
    .held(1, "parked over the next one");
}

/// Ways to the shared node, whose connections can be cut.
#[derive(Clone, Default)]
struct Ways {
    connections: Arc<Mutex<Vec<TcpStream>>>,
    /// The number of each that was taken, one after the other.
    taken: Arc<Mutex<Vec<usize>>>,
}

impl Ways {
    /// The address of one more.
    fn open(&self, number: usize) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let all = self.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let node = TcpStream::connect(("127.0.0.1", Broker::shared().port())).unwrap();
                all.taken.lock().unwrap().push(number);
                all.connections.lock().unwrap().push(client.try_clone().unwrap());
                pass(client.try_clone().unwrap(), node.try_clone().unwrap());
                pass(node, client);
            }
        });
        format!("amqp://guest:guest@127.0.0.1:{port}")
    }

    fn cut(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Both));
    });
}

#[test]
fn the_address_that_was_lost_is_asked_last() {
    let (ground, queue, script) = (Arc::new(Sqlite::new()), Queue::new("lost-address"), Script::default());
    let ways = Ways::default();
    let addresses = [0, 1, 2].map(|number| ways.open(number));
    let options = options(&queue, &addresses.each_ref().map(String::as_str));
    let running = Running::start(&ground, options, inline_resolver(), &script);
    for number in 1..=5 {
        queue.publish(&[inline(&format!("orders/1/{number}"), None)]);
        script.wait_for_applied(number);
        ways.cut();
    }
    running.stop();
    assert_eq!(ground.effects(), names(1..=5));
    // A busy machine may have lost one by itself.
    let taken = ways.taken.lock().unwrap().clone();
    assert!(taken.len() >= 5 && taken.iter().enumerate().all(|(place, way)| *way == place % 3), "{taken:?}");
}
