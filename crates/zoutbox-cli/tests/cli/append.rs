//! `zoutbox append` and `zoutbox init`.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use nix::sys::signal::Signal;
use zoutbox_test_support::{test_roots, wait_until};

use crate::support::{LONG, Ran, Running, Share, json, run_with};

#[test]
fn every_line_becomes_a_record_and_is_acknowledged_in_order() {
    for share in Share::all() {
        assert_eq!(share.append("orders", "one\n\ntwo"), "orders/1/1\norders/1/2\norders/1/3\n");
        assert_eq!(share.append("orders", b"\xFF\r\n"), "orders/2/4\n");
        let lines = share.run("cat", &[]).good();
        let payloads: Vec<_> = lines.lines().map(|line| json(line)["payload"].clone()).collect();
        assert_eq!(payloads, ["one", "", "two", "/w0="]);
    }
}

#[test]
fn options_end_up_in_the_record() {
    for share in Share::all() {
        let options = ["--writer", "w", "--topic", "t", "--key", "k", "--content-type", "c"];
        let headers = ["--header", "a=b=c", "--header", "empty="];
        share.append_with(&[&options[..], &headers].concat(), "x");
        share.append("w", "y");
        let lines = share.run("cat", &["--json"]).good();
        let records: Vec<_> = lines.lines().map(json).collect();
        assert_eq!(records[0]["topic"], "t");
        assert_eq!(records[0]["key"], "k");
        assert_eq!(records[0]["content_type"], "c");
        assert_eq!(records[0]["headers"].to_string(), r#"{"a":"b=c","empty":""}"#);
        assert_eq!(records[1]["topic"], "w", "the topic is the writer's id unless it is given");
        assert_eq!(records[1]["key"], serde_json::Value::Null);
    }
}

#[test]
fn no_input_makes_no_record_and_is_no_error() {
    for share in Share::all() {
        assert_eq!(share.append("w", ""), "");
        assert_eq!(share.run("cat", &[]).good(), "");
        assert_eq!(share.run("verify", &[]).code, Some(0));
    }
}

#[test]
fn acknowledgements_come_while_the_input_is_still_open() {
    for share in Share::all() {
        let mut running = Running::start(&share, &["--writer", "w"]);
        for number in 1..=20 {
            running.send("a line\n");
            assert_eq!(running.ack(), format!("w/1/{number}"));
        }
        running.send("without a newline");
        let ended = running.end();
        assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (Some(0), "w/1/21\n", ""));
    }
}

#[test]
fn many_lines_keep_their_order_across_segments() {
    for share in Share::all() {
        let lines = (1..=20_000).map(|n| format!("line {n}\n")).collect::<Vec<_>>().concat();
        let acks = share.append_with(&["--writer", "w", "--acks", "--segment-size", "64KiB"], &lines);
        assert!(acks.lines().eq((1..=20_000).map(|n| format!("w/1/{n}"))), "acks out of order");
        assert!(share.segments("w").len() > 1);
        let read = share.run("cat", &[]).good();
        let payloads: Vec<_> =
            read.lines().map(|line| json(line)["payload"].as_str().unwrap().to_owned()).collect();
        assert!(payloads.iter().map(String::as_str).eq(lines.lines()), "other records than were appended");
    }
}

#[test]
fn a_signal_stops_the_reading_and_loses_nothing_that_was_read() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        for share in Share::all() {
            let mut running = Running::start(&share, &["--writer", "w"]);
            running.send("one\ntwo\nunfinished");
            assert_eq!((running.ack(), running.ack()), ("w/1/1".into(), "w/1/2".into()));
            running.signal(signal);
            let ended = running.wait();
            assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (Some(code), "", ""));
            assert_eq!(share.run("cat", &[]).good().lines().count(), 2);
            let last = share.segments("w").pop().expect("a segment");
            assert_eq!(last.extension().unwrap(), "seg", "an orderly end seals");
        }
    }
}

#[test]
fn a_signal_ends_the_wait_for_room() {
    for share in Share::all() {
        let mut running = Running::start(&share, &["--writer", "w", "--max-unconfirmed", "4KiB"]);
        let line = format!("{}\n", "x".repeat(999));
        running.send(&line.repeat(50));
        assert_eq!(running.ack(), "w/1/1");
        running.signal(Signal::SIGTERM);
        let ended = running.wait();
        assert_eq!((ended.code, ended.err.as_str()), (Some(143), ""));
        let records = share.run("cat", &[]).good().lines().count();
        assert_eq!(records, 1 + ended.out.lines().count(), "what is on the share was acknowledged");
        assert!(records < 50, "there was no limit");
    }
}

#[test]
fn a_full_share_blocks_until_there_is_room_or_fails_as_chosen() {
    for share in Share::all() {
        let full = ["--writer", "w", "--max-unconfirmed", "4KiB"];
        let lines = format!("{}\n", "x".repeat(999)).repeat(8);
        let failing = [&full[..], &["--when-full", "fail", "--acks"]].concat();
        let failed = run_with(share.command("append", &failing), lines.as_bytes());
        let acked = failed.out.lines().count();
        let complaint = failed.complaint(75);
        assert!(complaint.contains(&format!("line {} was not appended", acked + 1)), "{complaint}");
        assert_eq!(share.run("cat", &[]).good().lines().count(), acked);

        let mut running = Running::start(&share, &full);
        running.send("more\n");
        let sealed = share.segments("w").remove(0);
        let end = std::fs::metadata(&sealed).expect("a segment").len() - zoutbox_format::frame::SEAL_LENGTH;
        share.confirm("w", &sealed, end, acked as u64 + 1);
        assert_eq!(running.ack(), format!("w/2/{}", acked + 1));
        assert_eq!(running.end().code, Some(0));
    }
}

#[test]
fn a_closed_output_ends_it_with_everything_read_durable() {
    for share in Share::all() {
        let mut command = share.command("append", &["--writer", "w", "--acks"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        drop(child.stdout.take());
        let mut stdin = child.stdin.take().expect("piped");
        // The input stays open: it must end by itself.
        stdin.write_all(b"one\n").expect("the program reads");
        wait_until("it ends", LONG, || child.try_wait().expect("a child").is_some());
        drop(stdin);
        let ended: crate::support::Ran = child.wait_with_output().expect("it ended").into();
        assert!(ended.complaint(74).contains("standard output was closed"));
        assert_eq!(share.run("cat", &[]).good().lines().count(), 1);
    }
}

#[test]
fn init_says_what_it_made_and_changes_nothing_the_second_time() {
    for share in Share::all() {
        let before = share.tree();
        let mut init = crate::support::command(["init"]);
        init.arg(&share.root);
        let said = run_with(init, b"").good();
        assert_eq!(said, format!("{} is a share already: {}\n", share.root.display(), share.id()));
        assert_eq!(share.tree(), before);
    }
}

/// On a tiny tmpfs in a mount namespace of its own. `$1` is where, `$2` the program, `$3` what happens to the one that waits.
const ON_A_FULL_DISK: &str = r#"
mount -t tmpfs -o size=1m tiny "$1"
"$2" init "$1/share" >"$1/init"
echo first | "$2" append --root "$1/share" --writer w --min-free-space 0
printf 'second\nthird\n' >"$1/lines"
head -c 2097152 /dev/zero >"$1/filler" 2>/dev/null || true
timeout 300 "$2" append --root "$1/share" --writer w --min-free-space 0 --acks <"$1/lines" &
# When it has the writer's lock, it has started; then it soon finds no room.
tries=0
until [ "$1/share/writers/w/writer.lock" -nt "$1/filler" ] || [ $tries -ge 600 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
sleep 3
kill -0 $!
eval "$3"
wait $!
"#;

fn on_a_full_disk(meanwhile: &str) -> Ran {
    let place = test_roots().into_iter().next().expect("at least one root");
    let mut namespace = std::process::Command::new("unshare");
    if std::fs::metadata("/proc/self").expect("/proc must be mounted").uid() != 0 {
        namespace.args(["--user", "--map-root-user"]);
    }
    namespace.args(["--mount", "sh", "-ec", ON_A_FULL_DISK, "sh"]).arg(&*place);
    namespace.arg(env!("CARGO_BIN_EXE_zoutbox")).arg(meanwhile);
    namespace.output().expect("unshare (util-linux) must be installed").into()
}

#[test]
fn what_is_queued_waits_when_the_disk_itself_is_full_until_there_is_room() {
    let ran = on_a_full_disk("rm \"$1/filler\"");
    assert_eq!((ran.clone().good(), ran.code), ("w/2/2\nw/2/3\n".to_owned(), Some(0)));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let ran = on_a_full_disk("kill -TERM $!; sleep 1; kill -INT $!");
    assert_eq!((ran.code, ran.err.as_str()), (Some(130), ""), "it waits for room after the first one");
}

#[test]
fn a_signal_ends_the_wait_for_room_on_a_full_disk() {
    let ran = on_a_full_disk("kill -TERM $!");
    let complaint = ran.complaint(75);
    assert!(
        complaint.contains("line 1 is not on the share") && complaint.contains("No space left"),
        "{complaint}"
    );
}
