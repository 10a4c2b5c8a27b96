//! The relay's doorbell, as `zoutbox append` rings it and `zoutbox status` shows it. A socket of the test's own stands for the relay.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::Value;
use zoutbox_format::{Epoch, Holder, doorbell};

use crate::support::{Running, Share, json};

/// A relay's lease on the share, and where that relay listens.
fn relay(share: &Share) -> UdpSocket {
    let ear = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    // Only a safety net.
    ear.set_read_timeout(Some(Duration::from_mins(1))).expect("set");
    let doorbell = ear.local_addr().ok();
    lease(share, doorbell);
    ear
}

fn lease(share: &Share, doorbell: Option<std::net::SocketAddr>) {
    let holder = Holder { epoch: Epoch::new(4), next_sequence: None, host: "r".into(), pid: 7, doorbell };
    std::fs::write(share.path("relay/lease"), holder.encode()).expect("a share");
}

/// Who rings next.
fn heard(ear: &UdpSocket, share: &Share) -> String {
    let mut buffer = [0; 200];
    let length = ear.recv(&mut buffer).expect("a ring");
    let ring = doorbell::decode(&buffer[..length]).expect("a ring");
    assert_eq!(ring.share, share.id());
    ring.writer.to_owned()
}

#[test]
fn append_rings_for_what_it_commits_unless_told_not_to() {
    for share in Share::all() {
        let ear = relay(&share);
        let mut silent = Running::start(&share, &["--writer", "silent", "--no-doorbell"]);
        let mut loud = Running::start(&share, &["--writer", "loud"]);
        assert_eq!(heard(&ear, &share), "loud", "the doorbell was found");
        for number in 1..=5 {
            silent.send("x\n");
            assert_eq!(silent.ack(), format!("silent/1/{number}"));
            loud.send("x\n");
            assert_eq!(loud.ack(), format!("loud/1/{number}"));
            assert_eq!(heard(&ear, &share), "loud");
        }
        silent.end().good();
        loud.end().good();
    }
}

#[test]
fn append_works_when_nobody_listens() {
    for share in Share::all() {
        drop(relay(&share));
        let mut running = Running::start(&share, &["--writer", "w"]);
        for number in 1..=50 {
            running.send("x\n");
            assert_eq!(running.ack(), format!("w/1/{number}"));
        }
        running.end().good();
    }
}

#[test]
fn status_tells_where_the_doorbell_is() {
    for share in Share::all() {
        let status = || (json(&share.run("status", &["--json"]).good()), share.run("status", &[]).good());
        lease(&share, Some("10.0.0.1:4711".parse().expect("an address")));
        let (object, table) = status();
        assert_eq!(
            object["relay"].to_string(),
            r#"{"answers":true,"doorbell":"10.0.0.1:4711","epoch":4,"host":"r","pid":7,"waits":[]}"#
        );
        assert!(table.contains("relay epoch 4 last held by r pid 7, doorbell 10.0.0.1:4711\n"), "{table}");
        lease(&share, None);
        let (object, table) = status();
        assert_eq!(object["relay"]["doorbell"], Value::Null);
        assert!(table.contains("relay epoch 4 last held by r pid 7\n"), "{table}");
    }
}
