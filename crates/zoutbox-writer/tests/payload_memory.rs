//! How much memory a large payload takes. Alone in its process, so that the peak is its own.

#![expect(clippy::expect_used, reason = "a test that can't do its work fails")]
#![expect(clippy::disallowed_methods, reason = "the kernel tells in /proc")]

mod support;

use support::{Generated, WRITER, record};
use zoutbox_storage::{Share, System};
use zoutbox_test_support::test_roots;
use zoutbox_writer::{Options, Writer};

const MIB: u64 = 1024 * 1024;
const PAYLOAD: u64 = 512 * MIB;
const ALLOWED: u64 = 16 * MIB;

/// The most memory that this process has ever had, or has now, in bytes.
fn resident(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc must be mounted");
    let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("told by the kernel");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

#[test]
fn a_payload_of_half_a_gibibyte_takes_a_few_mebibytes_of_memory() {
    let root = test_roots().into_iter().find(|root| root.label() == "disk").expect("a disk");
    Share::init(&System::real(), &root).expect("made");
    let options = Options { min_free_space: 0, ..Options::default() };
    let writer = Writer::open(&root, WRITER, options).expect("opened");
    for round in ["new", "again"] {
        let before = resident("VmRSS:");
        let ticket = writer.append_payload(&record("").id("a"), Generated::new(PAYLOAD)).expect("appended");
        ticket.wait().expect("durable");
        let more = resident("VmHWM:").saturating_sub(before);
        println!("{round}: {PAYLOAD} bytes took {more} bytes of memory");
        assert!(more < ALLOWED, "{round}: {more} bytes of memory");
    }
    writer.close().expect("closed");
}
