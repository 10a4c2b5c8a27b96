//! The doorbell, with everything else that could tell a relay of new records switched off or made too slow to explain anything.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use zoutbox_format::holder::Holder;
use zoutbox_format::{ShareId, WriterId, doorbell};
use zoutbox_test_support::{Hits, wait_until};
use zoutbox_writer::Options;

use crate::support::{LONG, Relay, World, fault};

/// No hints but the doorbell's, and a poll that no test waits for.
const DEAF: [&str; 6] = ["--stdout", "--no-inotify", "--poll-min", "10m", "--poll-max", "10m"];
const LISTENING: [&str; 2] = ["--doorbell", "127.0.0.1:0"];

fn start(world: &World, doorbell: &[&str]) -> Relay {
    let relay = Relay::start(world.root(), DEAF.iter().chain(doorbell));
    relay.wait_for_log("relaying");
    relay
}

fn announced(world: &World) -> Option<SocketAddr> {
    Holder::decode(&fs::read(world.share.layout.lease()).unwrap()).unwrap().doorbell
}

fn ids(lines: &[String], writer: &str) -> Vec<u64> {
    let values = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    values
        .filter(|value| value["writer"] == writer)
        .map(|value| value["sequence"].as_u64().unwrap())
        .collect()
}

#[test]
fn the_doorbell_alone_brings_a_new_writer_and_each_of_its_records_to_the_relay() {
    let world = World::new();
    let relay = start(&world, &LISTENING);
    let mut orders = world.writer("orders");
    for _ in 0..20 {
        orders.append_many(1);
        world.wait_until_confirmed(&orders);
    }
    let mut late = world.writer("late");
    late.append_many(1);
    world.wait_until_confirmed(&late);
    let ended = relay.stop();
    assert_eq!((ids(&ended.output, "orders"), ids(&ended.output, "late")), ((1..=20).collect(), vec![1]));
}

#[test]
fn a_writer_that_does_not_ring_is_not_heard_and_is_published_all_the_same_by_a_relay_that_looks() {
    let world = World::new();
    let mut silent = world.writer_with("silent", Options { doorbell: false, ..Options::default() });
    silent.append_many(1);
    let relay = start(&world, &LISTENING);
    world.wait_until_confirmed(&silent);
    silent.append_many(1);
    let mut orders = world.writer("orders");
    for _ in 0..5 {
        orders.append_many(1);
        world.wait_until_confirmed(&orders);
    }
    assert_eq!(ids(&relay.stop().output, "silent"), [1], "something else than the doorbell was at work");
    let ended = Relay::start(world.root(), ["--stdout", "--doorbell", "off", "--once"]).wait();
    assert_eq!(ids(&ended.output, "silent"), [2]);
}

#[test]
fn only_a_relay_that_listens_announces_it_and_only_while_it_does() {
    let world = World::new();
    let relay = start(&world, &LISTENING);
    let address = announced(&world).expect("announced");
    relay.wait_for_log(&format!("announced as {address}"));
    relay.stop();
    assert_eq!(announced(&world), None, "a relay that stops takes it back");

    // On a local disk there are no other hosts.
    for doorbell in [&["--doorbell", "off"][..], &["--doorbell", "auto"], &[]] {
        let relay = start(&world, doorbell);
        assert_eq!(announced(&world), None, "{doorbell:?}");
        relay.stop();
    }
    let behind = start(&world, &["--doorbell", "0.0.0.0:0", "--doorbell-announce", "192.0.2.1:4711"]);
    assert_eq!(announced(&world), "192.0.2.1:4711".parse().ok());
    behind.stop();
}

#[test]
fn an_address_that_cannot_be_had_is_told_and_the_relay_polls() {
    let world = World::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let relay = Relay::start(world.root(), ["--stdout", "--doorbell", &address]);
    relay.wait_for_log(&format!("no doorbell: can't listen at {address}"));
    let mut orders = world.writer("orders");
    orders.append_many(5);
    world.wait_until_confirmed(&orders);
    assert_eq!(announced(&world), None);
    relay.stop();
}

#[test]
fn a_doorbell_that_can_never_work_is_refused_by_its_option() {
    let world = World::new();
    for (arguments, named) in [
        (&["--doorbell", "0.0.0.0:0"][..], "--doorbell: 0.0.0.0:0 is no address"),
        (&["--doorbell", "relay"], "not off, auto or an address"),
        (&["--doorbell-announce", "192.0.2.1:1"], "--doorbell-announce: needs --doorbell"),
        (&["--poll-min", "1s"], "--poll-min"),
        (&["--poll-rate", "0"], "--poll-rate"),
    ] {
        let ended = Relay::start(world.root(), ["--stdout"].iter().chain(arguments)).wait();
        assert_eq!(ended.code, Some(64), "{ended:#?}");
        assert!(ended.message().contains(named), "{ended:#?}");
    }
}

#[test]
fn a_standby_that_takes_over_is_rung_instead() {
    let world = World::new();
    let first = start(&world, &LISTENING);
    let mut orders = world.writer("orders");
    orders.append_many(1);
    world.wait_until_confirmed(&orders);
    let before = announced(&world);
    let second = Relay::start(world.root(), DEAF.iter().chain(&LISTENING));
    second.wait_for_log("standby");
    assert_eq!(announced(&world), before, "a standby announces nothing");
    first.kill();
    second.wait_for_log("as epoch 2");
    assert!(announced(&world).is_some_and(|after| Some(after) != before), "its own");
    // The first ring goes to where nobody listens; then the writer looks at the lease again. The new relay's first look at the share
    // explains one confirmed record; only a ring explains the second.
    let mut heard = 0;
    wait_until("the standby is rung", LONG, || {
        orders.append_many(1);
        heard += usize::from(world.is_confirmed_within(&orders, Duration::from_secs(5)));
        heard == 2
    });
    second.stop();
}

/// User and system time that a process took so far, in clock ticks.
fn ticks(relay: &Relay) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", relay.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A cheap stream of bytes that nobody chose.
fn noise(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// What somebody may throw at it.
#[derive(Debug, Clone, Copy)]
enum Flood {
    /// Anything of any size, whole rings of other shares, and cut ones.
    Nonsense,
    /// Rings of writers that are not there, by whoever has read the share's marker.
    Strangers,
    /// Rings of the writer that is there.
    Known,
}

impl Flood {
    /// Sends as fast as it can; returns how many.
    fn run(self, to: SocketAddr, share: ShareId, over: &AtomicBool) -> u64 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (mut sent, mut seed) = (0, 1);
        while !over.load(Ordering::Relaxed) {
            let datagram = self.datagram(share, &mut seed);
            // A full buffer is the kernel's way to drop it.
            sent += u64::from(socket.send_to(&datagram, to).is_ok());
        }
        sent
    }

    fn datagram(self, share: ShareId, seed: &mut u64) -> Vec<u8> {
        let ring = |share, writer: &str| doorbell::encode(share, &WriterId::new(writer).unwrap()).to_vec();
        let number = noise(seed);
        match (self, number % 100) {
            (Self::Nonsense, 0) => vec![0x5A; 60_000],
            (Self::Nonsense, 1..40) => (0..number % 200).map(|_| noise(seed).to_le_bytes()[0]).collect(),
            (Self::Nonsense, 40..70) => ring(ShareId::from_bytes([9; 16]), "orders"),
            (Self::Nonsense, _) => ring(share, "orders")[..103].to_vec(),
            (Self::Strangers, _) => ring(share, &format!("w-{number}")),
            (Self::Known, _) => ring(share, "orders"),
        }
    }
}

#[test]
fn a_flood_of_hostile_datagrams_starves_nobody() {
    let floods = [None, Some(Flood::Nonsense), Some(Flood::Strangers), Some(Flood::Known)];
    for flood in floods {
        let world = World::new();
        let relay = start(&world, &LISTENING);
        let (mut orders, mut payments) = (world.writer("orders"), world.writer("payments"));
        for producer in [&mut orders, &mut payments] {
            producer.append_many(1);
            world.wait_until_confirmed(producer);
        }
        let (to, share) = (announced(&world).unwrap(), world.share.id);
        let over = Arc::new(AtomicBool::new(false));
        let flooding = Arc::clone(&over);
        let flooder = flood.map(|flood| thread::spawn(move || flood.run(to, share, &flooding)));
        let (start, before) = (Instant::now(), ticks(&relay));
        for _ in 0..100 {
            orders.append_many(10);
            payments.append_many(10);
            thread::sleep(Duration::from_millis(10));
        }
        let (took, used) = (start.elapsed(), ticks(&relay) - before);
        over.store(true, Ordering::Relaxed);
        let sent = flooder.map_or(0, |flooder| flooder.join().unwrap());
        // The flood may have drowned the last ring; one that follows it arrives.
        wait_until("the rest is published", LONG, || {
            orders.append_many(1);
            payments.append_many(1);
            world.confirmed("orders") > 1000 && world.confirmed("payments") > 1000
        });
        let ended = relay.stop();
        for producer in [&orders, &payments] {
            let published = ids(&ended.output, producer.id.as_str());
            let in_order: Vec<u64> = (1..=published.len() as u64).collect();
            assert!(published.len() > 1000 && published == in_order, "lost, repeated or out of order");
        }
        assert!(flood.is_none() || sent > 1000, "only {sent} datagrams: this shows nothing");
        if flood.is_some() {
            fault(
                Hits::Network,
                "a flood of datagrams at the doorbell",
                "nonsense, strangers' rings, and known writers' rings, each as fast as a core sends",
            )
            .held(sent, "two writers' records published meanwhile, in order, none twice");
        }
        println!("{flood:?}: {sent} datagrams; the relay used {used} ticks of CPU time in {took:?}");
    }
}
