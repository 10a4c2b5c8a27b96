//! The harness itself: a node starts, dies, comes back and leaves nothing behind.
#![expect(clippy::disallowed_methods, reason = "looks at the real processes and ports")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, outside the test functions")]

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use zoutbox_test_support::{Broker, wait_until};

/// Set for a copy of this test program that shall be killed while it holds a broker.
const VICTIM: &str = "ZOUTBOX_TEST_VICTIM";

/// Whether a server speaks AMQP there: it answers the protocol header with `Connection.Start`, a frame of type 1.
fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"AMQP\x00\x00\x09\x01").unwrap();
    let mut first = [0];
    stream.read_exact(&mut first).is_ok() && first == [1]
}

/// The processes, by name, that carry the node's mark in their environment: the VM, its helpers, its epmd.
fn processes_of(directory: &Path) -> Vec<String> {
    let mark =
        format!("ZOUTBOX_BROKER_DIR={}", directory.canonicalize().unwrap_or(directory.into()).display());
    let mut names = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        // A process may end between being listed and being read.
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        if environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes()) {
            names.push(fs::read_to_string(entry.path().join("comm")).unwrap_or_default().trim().to_owned());
        }
    }
    names.sort();
    names
}

/// A process that was killed is there a moment longer.
fn nothing_is_left(directory: &Path) {
    wait_until("all processes are gone", Duration::from_mins(1), || processes_of(directory).is_empty());
}

#[test]
fn dies_comes_back_and_leaves_nothing() {
    let broker = Broker::start();
    let directory = broker.directory().to_path_buf();
    let running = processes_of(&directory);
    assert!(running.iter().any(|name| name == "beam.smp"), "{running:?}");
    assert!(running.iter().any(|name| name == "epmd"), "{running:?}");
    assert!(greets(broker.port()));
    assert!(broker.url().ends_with(&format!("@127.0.0.1:{}", broker.port())));
    broker.ctl(&["add_user", "kept", "secret"]);

    broker.kill();
    assert!(TcpStream::connect(("127.0.0.1", broker.port())).is_err(), "the port is still open");
    assert_eq!(broker.pid(), None);

    broker.start_again();
    assert!(greets(broker.port()));
    let users = broker.ctl(&["list_users"]);
    assert!(users.lines().any(|line| line.starts_with("kept\t")), "its data is gone: {users}");

    broker.block();
    assert!(broker.ctl(&["eval", "rabbit_alarm:get_alarms()."]).contains("memory"));
    broker.unblock();
    assert!(!broker.ctl(&["eval", "rabbit_alarm:get_alarms()."]).contains("memory"));

    broker.stop();
    nothing_is_left(&directory);

    broker.start_again();
    assert!(greets(broker.port()));
    drop(broker);
    nothing_is_left(&directory);
    assert!(!directory.exists());
}

#[test]
fn a_killed_test_process_leaves_nothing() {
    if env::var_os(VICTIM).is_some() {
        let broker = Broker::shared();
        println!("\nbroker {}", broker.directory().display());
        std::thread::sleep(Duration::from_mins(10));
        return;
    }
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_killed_test_process_leaves_nothing", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let directory = read_directory(victim.stdout.take().unwrap());
    assert!(processes_of(&directory).iter().any(|name| name == "beam.smp"));

    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_until("the watchdog has cleaned up", Duration::from_mins(1), || {
        !directory.exists() && processes_of(&directory).is_empty()
    });
}

fn read_directory(output: impl Read) -> PathBuf {
    let lines = std::io::BufRead::lines(std::io::BufReader::new(output));
    let line = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("broker ").map(PathBuf::from));
    line.expect("the victim says where its broker is")
}
