//! The whole chain from a shell: append, relay, queue, `zoutbox consume`.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use zoutbox_test_support::{Broker, binary, wait_until};

use crate::support::{LONG, Ran, Share, json, run_with};

const PATIENCE: Duration = Duration::from_secs(10);

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
    })
}

/// A share, a queue, and an inbox beside the share.
struct Chain {
    share: Share,
    queue: &'static str,
    inbox: PathBuf,
}

impl Chain {
    fn new(queue: &'static str) -> Self {
        let share = Share::all().nth(1).expect("one on a disk");
        let inbox = share.root.with_file_name("inbox.db");
        let chain = Self { share, queue, inbox };
        chain.declare();
        chain
    }

    fn declare(&self) {
        self.on_channel(|channel, queue| async move {
            let mut quorum = FieldTable::default();
            quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
            let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(queue.into(), durable, quorum).await.expect("declared");
        });
    }

    fn on_channel<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        act: impl FnOnce(lapin::Channel, &'static str) -> F,
    ) -> T {
        // A broker that is just starting does not always answer.
        let connecting = async {
            loop {
                let connecting = async {
                    let properties = ConnectionProperties::default();
                    let connection = Connection::connect(Broker::shared().url(), properties).await?;
                    let channel = connection.create_channel().await?;
                    Ok::<_, lapin::Error>((connection, channel))
                };
                match timeout(PATIENCE, connecting).await {
                    Ok(connected) => return connected.expect("a broker"),
                    Err(_) => eprintln!("connecting hangs, trying again"),
                }
            }
        };
        runtime().block_on(async {
            let (connection, channel) = timeout(LONG, connecting).await.expect("the broker answers");
            let done = timeout(LONG, act(channel, self.queue)).await.expect("the broker answers");
            drop(timeout(PATIENCE, connection.close(200, "done".into())).await);
            done
        })
    }

    fn waiting(&self, suffix: &str) -> u32 {
        let suffix = suffix.to_owned();
        self.on_channel(|channel, queue| async move {
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let name = format!("{queue}{suffix}");
            let declared = channel.queue_declare(name.into(), passive, FieldTable::default()).await;
            declared.map_or(0, |queue| queue.message_count())
        })
    }

    fn publish(&self, properties: BasicProperties, body: Vec<u8>) {
        self.on_channel(|channel, queue| async move {
            channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let sent = channel.basic_publish("".into(), queue.into(), options, &body, properties).await;
            assert_eq!(sent.expect("sent").await.expect("confirmed"), Confirmation::Ack(None));
        });
    }

    /// Publishes with the real relay what is on the share.
    fn relay(&self) {
        self.relay_with(&[]);
    }

    fn relay_with(&self, more: &[&str]) {
        let exchange = format!("{}-exchange", self.queue);
        let relayed = Command::new(binary("zoutbox-relay"))
            .args([
                "--root",
                self.share.root.to_str().expect("text"),
                "--amqp",
                Broker::shared().url(),
                "--once",
            ])
            .args(["--exchange", &exchange, "--declare-exchange", "topic", "--declare-queue", self.queue])
            .args(more)
            .output()
            .expect("the relay");
        assert!(relayed.status.success(), "{}", String::from_utf8_lossy(&relayed.stderr));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.share.command("consume", &["--queue", self.queue]);
        command.arg("--inbox").arg(&self.inbox).args(arguments);
        command.env("ZOUTBOX_AMQP_URL", Broker::shared().url());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run_with(self.command(arguments), b"")
    }

    /// What it prints when it consumes until the queue is empty.
    #[track_caller]
    fn once(&self, more: &[&str]) -> Vec<String> {
        let ran = self.run(&[&["--once"], more].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran.out.lines().map(str::to_owned).collect()
    }

    fn start(&self, arguments: &[&str]) -> Consuming {
        let mut command = self.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Consuming { child, lines: Some(lines) }
    }

    /// Headers as a relay makes them for a record of writer `orders`.
    fn headers(&self, sequence: i64, more: &[(&str, &str)]) -> BasicProperties {
        let text = |text: &str| AMQPValue::LongString(text.into());
        let mut headers = FieldTable::default();
        headers.insert("zoutbox-share".into(), text(&self.share.id().to_string()));
        headers.insert("zoutbox-writer".into(), text("orders"));
        headers.insert("zoutbox-epoch".into(), AMQPValue::LongLongInt(1));
        headers.insert("zoutbox-seq".into(), AMQPValue::LongLongInt(sequence));
        headers.insert("zoutbox-timestamp-ms".into(), AMQPValue::LongLongInt(1_700_000_000_000));
        for (name, value) in more {
            headers.insert((*name).into(), text(value));
        }
        BasicProperties::default()
            .with_message_id(format!("orders/1/{sequence}").into())
            .with_delivery_mode(2)
            .with_headers(headers)
    }
}

/// One that runs.
struct Consuming {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Consuming {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.as_mut().expect("open").read_line(&mut line).expect("the program's output");
        line.trim_end().to_owned()
    }

    fn signal(&self, signal: Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("it runs");
    }

    fn end(mut self) -> Ran {
        let (mut out, mut err) = (String::new(), String::new());
        if let Some(lines) = &mut self.lines {
            lines.read_to_string(&mut out).expect("the program's output");
        }
        self.child.stderr.take().expect("piped").read_to_string(&mut err).expect("its complaints");
        Ran { code: self.child.wait().expect("the program").code(), out, err }
    }
}

fn ids(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| json(line)["id"].as_str().expect("an id").to_owned()).collect()
}

fn names(sequences: impl IntoIterator<Item = u32>) -> Vec<String> {
    sequences.into_iter().map(|sequence| format!("orders/1/{sequence}")).collect()
}

#[test]
fn what_is_appended_is_printed_once_and_as_cat_prints_it() {
    let chain = Chain::new("consume-chain");
    let share = &chain.share;
    share.append_with(
        &[
            "--writer",
            "orders",
            "--topic",
            "t",
            "--key",
            "k",
            "--header",
            "a=1",
            "--content-type",
            "text/plain",
        ],
        "one\n\ntwo\n",
    );
    share.append_with(&["--writer", "other"], [0xFF, 0x00, b'\n'].as_slice());
    chain.relay();
    let mut printed = chain.once(&[]);
    let mut cat: Vec<String> = share.run("cat", &[]).good().lines().map(str::to_owned).collect();
    printed.sort();
    cat.sort();
    assert_eq!(printed, cat);
    // All of it once more, as after a relay that lost its checkpoints.
    std::fs::remove_file(share.path("relay/checkpoints/orders")).expect("a checkpoint");
    chain.relay();
    assert!(chain.waiting("") > 0);
    assert_eq!(chain.once(&[]), [""; 0]);
    assert_eq!(chain.waiting(""), 0);
    // Another memory knows nothing.
    std::fs::remove_file(share.path("relay/checkpoints/orders")).expect("a checkpoint");
    chain.relay();
    let ran = chain.run(&["--once", "--name", "others"]);
    assert_eq!(ran.out.lines().count(), 3);
    assert!(ran.err.contains("the inbox of consumer 'others' is empty"), "{}", ran.err);
}

#[test]
fn a_count_ends_it_and_the_next_run_goes_on() {
    let chain = Chain::new("consume-count");
    chain.share.append("orders", "1\n2\n3\n4\n5\n");
    chain.relay();
    let ran = chain.run(&["--count", "2"]);
    assert_eq!((ran.code, ran.out.lines().count()), (Some(0), 2), "{}", ran.err);
    assert_eq!(ids(&chain.once(&[])), names(3..=5));
}

#[test]
fn signals_end_it_in_good_order() {
    let chain = Chain::new("consume-signals");
    chain.share.append("orders", "1\n");
    chain.relay();
    for (arguments, signal, code) in [
        (&[][..], Signal::SIGTERM, 0),
        (&["--count", "9"], Signal::SIGTERM, 143),
        (&["--count", "9"], Signal::SIGINT, 130),
    ] {
        let mut running = chain.start(arguments);
        if code == 0 {
            assert_eq!(ids(&[running.line()]), names([1]));
        } else {
            // Until it has taken the signals over it would just die of them.
            let mut log = BufReader::new(running.child.stderr.take().expect("piped"));
            let mut line = String::new();
            while !line.contains("connected") {
                line.clear();
                assert!(log.read_line(&mut line).expect("its log") > 0, "it has ended");
            }
            running.child.stderr = Some(log.into_inner());
        }
        running.signal(signal);
        let ran = running.end();
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{}", ran.err);
    }
    assert_eq!(chain.waiting(""), 0);
}

#[test]
fn lines_that_nobody_reads_are_not_acknowledged() {
    let chain = Chain::new("consume-closed");
    let mut running = chain.start(&[]);
    drop(running.lines.take());
    chain.share.append("orders", "1\n2\n");
    chain.relay();
    let ran = running.end();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(ids(&chain.once(&[])), names([1, 2]));
}

/// A crash between a line and its mark prints the line again, and never loses one.
#[test]
fn killed_at_any_moment_it_prints_every_record_and_what_was_marked_never_again() {
    let chain = Chain::new("consume-killed");
    let numbers: Vec<_> = (1..=300).map(|number: u32| number.to_string()).collect();
    let input = numbers.join("\n") + "\n";
    chain.share.append("orders", input);
    chain.relay();
    let mut printed: HashMap<String, usize> = HashMap::new();
    let mut rounds = 0;
    let note = |printed: &mut HashMap<String, usize>, line: &str| {
        *printed.entry(json(line)["id"].as_str().expect("an id").to_owned()).or_default() += 1;
    };
    while printed.len() < 300 {
        let mut running = chain.start(&[]);
        for _ in 0..20 + rounds % 7 {
            note(&mut printed, &running.line());
            if printed.len() == 300 {
                break;
            }
        }
        running.signal(Signal::SIGKILL);
        // The last line may be cut.
        running
            .end()
            .out
            .lines()
            .filter(|line| line.ends_with('}'))
            .for_each(|line| note(&mut printed, line));
        rounds += 1;
        wait_until("the broker takes back what was held", LONG, || {
            Broker::shared()
                .ctl(&["list_queues", "name", "messages_unacknowledged"])
                .contains("consume-killed\t0")
        });
    }
    chain.once(&[]).iter().for_each(|line| note(&mut printed, line));
    let all: BTreeSet<String> = printed.keys().cloned().collect();
    assert_eq!(all, names(1..=300).into_iter().collect());
    let twice = printed.values().filter(|times| **times > 1).count();
    assert!(rounds > 1 && twice <= rounds, "{twice} lines again in {rounds} lives: one each at most");
}

/// The whole chain: a relay that would remove segments at once keeps them for the consumer that needs them.
#[test]
fn pointers_are_followed_and_the_relay_keeps_what_they_lead_to_for_a_registered_consumer() {
    let chain = Chain::new("consume-pointers");
    let share = &chain.share;
    let relay = || {
        chain.relay_with(&["--publish", "#=pointer-batch", "--pointer-retention", "0s", "--retention", "0s"]);
    };
    // Registered before anything is published; and each relay runs long enough to see it.
    assert_eq!(chain.once(&["--register", "--group", "printers"]), [""; 0]);
    share.append_many("orders", 300);
    let before = share.segments("orders");
    assert!(before.len() > 3, "{before:?}");
    relay();
    assert_eq!(share.segments("orders"), before, "confirmed, and needed");
    let lines = chain.once(&["--register", "--group", "printers"]);
    assert_eq!(ids(&lines), names(1..=300));
    let mut cat: Vec<String> = share.run("cat", &[]).good().lines().map(str::to_owned).collect();
    let mut printed = lines;
    printed.sort();
    cat.sort();
    assert_eq!(printed, cat);
    let file: Value = json(&std::fs::read_to_string(share.path("consumers/consume")).expect("registered"));
    let last = before.last().expect("several").file_stem().expect("a name").to_str().expect("text");
    let (epoch, first) = last.split_once('-').expect("two numbers");
    let last = format!("{}-{}", epoch.trim_start_matches('0'), first.trim_start_matches('0'));
    assert_eq!(
        (&file["group"], &file["writers"]["orders"]["passed"]),
        (&"printers".into(), &last.into()),
        "{file}"
    );
}

#[test]
fn a_large_payload_is_printed_as_what_it_is_and_one_that_is_another_is_set_aside_until_it_is_mended() {
    let chain = Chain::new("consume-large");
    let directory = chain.share.path("payloads/orders/2023/11/14/22");
    std::fs::create_dir_all(&directory).expect("a share");
    let content = b"large, in its way".to_vec();
    for (name, bytes) in [("good", &content), ("bad", &b"large, in its wae".to_vec())] {
        std::fs::write(directory.join(name), bytes).expect("a share");
    }
    let crc = format!("{:08x}", zoutbox_format::pointer::crc(&content));
    for (sequence, name) in [(1, "good"), (2, "bad")] {
        let path = format!("payloads/orders/2023/11/14/22/{name}");
        let more = [
            ("zoutbox-payload-path", path.as_str()),
            ("zoutbox-payload-size", "17"),
            ("zoutbox-payload-crc", crc.as_str()),
            ("zoutbox-key", "k"),
        ];
        chain.publish(chain.headers(sequence, &more), Vec::new());
    }
    chain.publish(chain.headers(3, &[("zoutbox-key", "k")]), b"behind it".to_vec());
    let lines = chain.once(&["--verify-payloads"]);
    assert_eq!(ids(&lines), names([1]));
    let line = json(&lines[0]);
    assert_eq!((&line["payload"], &line["headers"]["zoutbox-payload-size"]), (&"".into(), &"17".into()));
    assert_eq!(line["headers"]["zoutbox-payload-crc"], crc.as_str());
    assert_eq!((chain.waiting(""), chain.waiting(".parked")), (0, 2));
    std::fs::write(directory.join("bad"), &content).expect("a share");
    let moved = chain.run(&["--unpark"]);
    assert_eq!(moved.code, Some(64), "--inbox and --unpark: {moved:?}");
    let mut unpark = crate::support::command(["consume", "--unpark", "--queue", chain.queue]);
    unpark.args(["--amqp", Broker::shared().url()]);
    let moved = run_with(unpark, b"").good();
    assert_eq!(moved, "2 moved from consume-large.parked to consume-large\n");
    assert_eq!(ids(&chain.once(&["--verify-payloads"])), names([2, 3]));
    assert_eq!(chain.waiting(".parked"), 0);
}

#[test]
fn what_can_not_be_consumed_is_said_in_a_line_with_a_code() {
    let chain = Chain::new("consume-refused");
    let mut nowhere =
        crate::support::command(["consume", "--root", "/nowhere", "--queue", "q", "--inbox", "x.db"]);
    nowhere.args(["--amqp", "amqp://127.0.0.1:1"]);
    assert!(run_with(nowhere, b"").complaint(66).contains("/nowhere"));
    let wrong = chain.run(&["--amqp", &Broker::shared().url().replace("guest:guest", "guest:s3cret")]);
    let said = wrong.err.lines().last().unwrap_or_default();
    assert!(wrong.code == Some(69) && said.contains("refuses") && !said.contains("s3cret"), "{wrong:?}");
    assert!(wrong.err.contains("everybody on this host can see"), "{}", wrong.err);
    assert_eq!(chain.run(&["--name", "No Name"]).code, Some(64));
    assert_eq!(chain.run(&["--amqp", "http://somewhere"]).code, Some(64));
    assert_eq!(chain.run(&["--count", "0"]).code, Some(64));
    assert_eq!(chain.run(&["--group", "g"]).code, Some(64));
    assert_eq!(chain.run(&["--register", "--group", "No Name"]).code, Some(64));

    // A password from a file, and one from the environment.
    let file = chain.share.root.with_file_name("password");
    std::fs::write(&file, "guest\n").expect("a disk");
    let url = Broker::shared().url().replace("guest:guest", "guest");
    let mut by_file = chain.command(&["--once", "--amqp", &url, "--password-file"]);
    by_file.arg(&file);
    assert_eq!(run_with(by_file, b"").code, Some(0));
    let mut by_environment = chain.command(&["--once", "--amqp", &url]);
    by_environment.env("ZOUTBOX_AMQP_PASSWORD", "guest");
    assert_eq!(run_with(by_environment, b"").code, Some(0));

    std::fs::write(&chain.inbox, b"this is no database, and long enough to be seen as none").expect("a disk");
    for side in ["-wal", "-shm"] {
        drop(std::fs::remove_file(format!("{}{side}", chain.inbox.display())));
    }
    assert_eq!(chain.run(&[]).code, Some(2), "damaged");
}
