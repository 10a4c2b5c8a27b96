//! What a writer tells the relay's doorbell, when, and what it costs.

#![expect(clippy::unwrap_used, reason = "a test that can't do its work fails")]

mod support;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use zoutbox_format::{Epoch, Holder, doorbell};
use zoutbox_storage::{Line, Network, OpenMode, Operation, Share, System};
use zoutbox_writer::{Options, Stepped, Writer};

use support::{ROOT, WRITER, World, put, record, small};

const OTHER: &str = "10.0.0.2:7";
const RELAY: &str = "10.0.0.1:7";

/// A network that delivers to nobody and keeps what it was given.
#[derive(Debug, Default, Clone)]
struct Wire(Arc<Mutex<Vec<Sent>>>, Arc<Mutex<Option<ErrorKind>>>);

type Sent = (SocketAddr, Vec<u8>);

#[derive(Debug)]
struct Out(Wire, SocketAddr);

impl Wire {
    /// Where datagrams went since the last time this was asked.
    fn sent(&self) -> Vec<String> {
        let sent = std::mem::take(&mut *self.0.lock().unwrap());
        sent.iter().map(|(to, _)| to.to_string()).collect()
    }

    fn fail(&self, error: Option<ErrorKind>) {
        *self.1.lock().unwrap() = error;
    }
}

impl Network for Wire {
    fn line_to(&self, address: SocketAddr) -> io::Result<Box<dyn Line>> {
        Ok(Box::new(Out(self.clone(), address)))
    }
}

impl Line for Out {
    fn local_address(&self) -> io::Result<SocketAddr> {
        Err(ErrorKind::Unsupported.into())
    }

    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.0.0.lock().unwrap().push((self.1, datagram.to_vec()));
        self.0.1.lock().unwrap().map_or(Ok(()), |error| Err(error.into()))
    }
}

struct Test {
    world: World,
    wire: Wire,
    system: System,
}

impl Test {
    fn new() -> Self {
        let (world, wire) = (World::new(), Wire::default());
        let system = System { network: Arc::new(wire.clone()), ..world.system.clone() };
        Self { world, wire, system }
    }

    fn share(&self) -> Share {
        Share::open(&self.system, Path::new(ROOT)).unwrap()
    }

    /// What a relay does when it takes the lease.
    fn announce(&self, doorbell: Option<&str>) {
        let doorbell = doorbell.map(|address| address.parse().unwrap());
        let holder = Holder { epoch: Epoch::new(3), next_sequence: None, host: "r".into(), pid: 1, doorbell };
        let lease = self.share().layout.lease();
        let file = self.system.disk.open(&lease, OpenMode::ReadWriteCreate).unwrap();
        file.write_at(&holder.encode(), 0).unwrap();
    }

    fn open(&self) -> Stepped {
        Stepped::open(self.system.clone(), ROOT, WRITER, small()).unwrap()
    }

    fn pass(&self, milliseconds: u64) {
        self.world.clock.advance(Duration::from_millis(milliseconds));
    }

    fn looks(&self) -> usize {
        let calls = self.world.disk.calls();
        calls
            .iter()
            .filter(|(operation, name)| *operation == Operation::Open && name.ends_with("/lease"))
            .count()
    }
}

#[test]
fn the_first_commit_rings_at_once_and_the_last_of_a_burst_a_moment_later() {
    let test = Test::new();
    test.announce(Some(RELAY));
    let mut writer = test.open();
    writer.tick();
    assert_eq!(test.wire.sent(), [RELAY], "a doorbell that is new is rung");
    put(&mut writer, "1").unwrap();
    let sent = test.wire.0.lock().unwrap().clone();
    assert_eq!(test.wire.sent(), [RELAY], "at once");
    let ring = doorbell::decode(&sent[0].1).unwrap();
    assert_eq!((ring.share, ring.writer), (test.share().id, WRITER));

    for number in 0..20 {
        put(&mut writer, &number.to_string()).unwrap();
    }
    writer.tick();
    assert_eq!(test.wire.sent(), [""; 0], "within the pause");
    test.pass(5);
    writer.tick();
    assert_eq!(test.wire.sent(), [RELAY], "for all of them");
    test.pass(5000);
    writer.tick();
    assert_eq!(test.wire.sent(), [""; 0], "nothing more to tell");
}

#[test]
fn an_append_that_is_not_durable_rings_nobody() {
    let test = Test::new();
    test.announce(Some(RELAY));
    let mut writer = test.open();
    writer.tick();
    test.wire.sent();
    test.world.disk.fail(Operation::Write, "next-", 0, 9, ErrorKind::StorageFull);
    put(&mut writer, "1").unwrap_err();
    test.pass(10);
    writer.tick();
    assert_eq!(test.wire.sent(), [""; 0]);
}

#[test]
fn another_doorbell_is_found_while_records_are_appended_and_the_lease_is_left_alone_while_not() {
    let test = Test::new();
    let mut writer = test.open();
    writer.tick();
    put(&mut writer, "1").unwrap();
    assert_eq!(test.wire.sent(), [""; 0], "there is no relay yet");
    test.announce(Some(RELAY));
    let before = test.looks();
    test.pass(4999);
    writer.tick();
    assert_eq!(test.looks(), before, "not yet");
    test.pass(1);
    writer.tick();
    assert_eq!(test.wire.sent(), [RELAY], "it is rung for what was committed before it was known");

    test.announce(Some(OTHER));
    let before = test.looks();
    for _ in 0..10 {
        test.pass(60_000);
        writer.tick();
    }
    assert_eq!(test.looks(), before, "nothing is appended");
    put(&mut writer, "2").unwrap();
    writer.tick();
    assert_eq!((test.wire.sent(), test.looks()), (vec![RELAY.to_owned(), OTHER.to_owned()], before + 1));

    test.announce(None);
    test.pass(5000);
    put(&mut writer, "3").unwrap();
    writer.tick();
    assert_eq!(test.wire.sent(), [OTHER]);
    put(&mut writer, "4").unwrap();
    test.pass(10);
    writer.tick();
    assert_eq!(test.wire.sent(), [""; 0], "the relay listens no more");
}

#[test]
fn a_doorbell_that_nobody_listens_at_fails_no_append_and_is_looked_for_again_soon() {
    let test = Test::new();
    test.announce(Some(RELAY));
    let mut writer = test.open();
    writer.tick();
    test.pass(10);
    put(&mut writer, "1").unwrap();
    test.wire.sent();
    for error in [ErrorKind::ConnectionRefused, ErrorKind::NetworkUnreachable, ErrorKind::PermissionDenied] {
        test.wire.fail(Some(error));
        test.pass(999);
        writer.tick();
        let before = test.looks();
        put(&mut writer, "2").unwrap();
        test.pass(1);
        writer.tick();
        assert_eq!(test.looks(), before + 1, "{error}");
        test.pass(5);
        writer.tick();
    }
}

#[test]
fn a_lease_that_cannot_be_read_or_makes_no_sense_fails_no_append() {
    let test = Test::new();
    test.announce(Some(RELAY));
    let mut writer = test.open();
    writer.tick();
    test.wire.sent();
    test.world.disk.fail(Operation::Open, "lease", 0, 1, ErrorKind::PermissionDenied);
    put(&mut writer, "1").unwrap();
    test.pass(5000);
    writer.tick();
    put(&mut writer, "2").unwrap();
    assert_eq!(test.wire.sent(), [RELAY, RELAY], "what was known stays known");

    let lease = test.system.disk.open(&test.share().layout.lease(), OpenMode::ReadWriteCreate).unwrap();
    lease.write_at(b"nonsense", 0).unwrap();
    test.pass(5000);
    writer.tick();
    put(&mut writer, "3").unwrap();
    assert_eq!(test.wire.sent(), [""; 0]);
}

#[test]
fn without_a_doorbell_neither_the_lease_nor_the_network_is_touched() {
    let test = Test::new();
    test.announce(Some(RELAY));
    let options = Options { doorbell: false, ..small() };
    let mut writer = Stepped::open(test.system.clone(), ROOT, WRITER, options).unwrap();
    let before = test.looks();
    for _ in 0..5 {
        put(&mut writer, "1").unwrap();
        test.pass(60_000);
        writer.tick();
    }
    writer.close().unwrap();
    assert_eq!((test.wire.sent(), test.looks()), (vec![], before));
}

#[test]
fn a_writer_that_ends_within_the_pause_rings_before_it_goes() {
    let test = Test::new();
    test.announce(Some(RELAY));
    let mut writer = test.open();
    writer.tick();
    put(&mut writer, "1").unwrap();
    put(&mut writer, "2").unwrap();
    test.wire.sent();
    writer.close().unwrap();
    assert_eq!(test.wire.sent(), [RELAY]);
}

/// With the real threads, the real network and the real clock: what they do at what time is not under test here.
#[test]
fn a_writer_with_threads_rings_for_its_first_commit_and_for_its_last() {
    let test = Test::new();
    let ear = ear();
    test.announce(Some(&ear.local_addr().unwrap().to_string()));
    let real = System::real();
    let system = System { network: real.network, clock: real.clock, ..test.system.clone() };
    let writer = Writer::open_with(system, ROOT, WRITER, small()).unwrap();
    let mut buffer = [0; 200];
    // The doorbell becomes known. From here on, only commits ring.
    ear.recv(&mut buffer).unwrap();
    for _ in 0..3 {
        writer.append(&record("first")).unwrap().wait().unwrap();
        let length = ear.recv(&mut buffer).unwrap();
        assert_eq!(doorbell::decode(&buffer[..length]).unwrap().writer, WRITER);
    }
    // Two commits in a row, the second within the pause, most likely: each has a ring behind it, or they share one.
    for _ in 0..100 {
        writer.append(&record("second")).unwrap().wait().unwrap();
    }
    ear.recv(&mut buffer).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_lease_that_hangs_holds_up_nothing() {
    let test = Test::new();
    test.announce(Some(RELAY));
    test.world.disk.hold(Some((Operation::Open, "lease")));
    let (ended, has_ended) = std::sync::mpsc::channel();
    let system = test.system.clone();
    std::thread::spawn(move || {
        // Small segments: rotation needs the thread that prepares them.
        let writer = Writer::open_with(system, ROOT, WRITER, small()).unwrap();
        for _ in 0..40 {
            writer.append(&record(vec![1; 4000])).unwrap().wait().unwrap();
        }
        writer.close().unwrap();
        ended.send(()).unwrap();
    });
    has_ended.recv_timeout(Duration::from_mins(1)).expect("a writer that does not wait for the lease");
    assert!(test.world.names(".seg").len() > 1, "rotation is part of this");
    assert_eq!(test.wire.sent(), [""; 0]);
    test.world.disk.hold(None);
}

#[expect(clippy::disallowed_methods, reason = "the other end of the line")]
fn ear() -> std::net::UdpSocket {
    let ear = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // So that a ring that never comes fails the test; nothing is expected to come near it.
    ear.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
    ear
}
