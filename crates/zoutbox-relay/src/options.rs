//! What an operator can say: on the command line, or under the same names in a TOML file. The command line wins.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use zoutbox_relay_core::{Mode, Pattern};
use zoutbox_storage::{StorageError, System, redacted};

use crate::amqp::QueueType;
use crate::doorbell::Doorbell;
use crate::error::{EXIT_CODES, RelayError};
use crate::units::{Size, Span};

/// The largest configuration or password file, in bytes.
const MAX_FILE: usize = 1024 * 1024;

/// What to do with a record that can never be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undelivered {
    /// Its writer's lane waits and tries again every 5 s; the other writers flow.
    Halt,
    /// It is written to `dead/<writer>/`, with the reason, and the lane goes on.
    DeadLetter,
}

/// What to do at damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Damaged {
    /// The writer's lane waits and looks again every 30 s; the other writers flow.
    Halt,
    /// The exact loss is written to `dead/<writer>/`, and the lane goes on behind it.
    Skip,
}

/// Which topics are published how: `TOPIC=MODE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishRule {
    /// Which topics.
    pub topics: Pattern,
    /// How.
    pub mode: Mode,
}

impl std::str::FromStr for PublishRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (topics, mode) =
            text.rsplit_once('=').ok_or("not TOPIC=MODE, such as 'orders.#=pointer-batch'")?;
        let mode = match mode {
            "inline" => Mode::Inline,
            "pointer" => Mode::Pointer,
            "pointer-batch" => Mode::PointerBatch,
            _ => return Err(format!("no mode '{mode}': inline, pointer or pointer-batch")),
        };
        let topics = Pattern::new(topics).ok_or_else(|| {
            format!(
                "no pattern of topics '{topics}': words with '.' between them, '*' for one word, '#' for any number of them"
            )
        })?;
        Ok(Self { topics, mode })
    }
}

impl<'de> Deserialize<'de> for PublishRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Publishes what writers appended to a share, in order, to RabbitMQ.
///
/// Several relays may be started on one share: one publishes, the others wait and take over.
#[derive(Debug, Clone, Default, Parser, Deserialize)]
#[command(name = "zoutbox-relay", version, after_help = EXIT_CODES)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Options {
    /// The share's root directory.
    #[arg(long, value_name = "ROOT")]
    pub root: Option<PathBuf>,
    /// The broker: amqp://user@host:port/vhost, or amqps:// for TLS. Of a cluster, several of its nodes with commas between them (a comma
    /// in a password is %2C): they are tried in turn. Also from the environment: `ZOUTBOX_AMQP_URL`. A password on the command line is
    /// visible to everybody on this host: use the environment or --password-file.
    #[arg(long, value_name = "URL", conflicts_with = "stdout")]
    pub amqp: Option<String>,
    /// Print records to standard output, a JSON line each, and use no broker.
    #[arg(long)]
    pub stdout: bool,
    /// A TOML file with the same options, under the same names without the dashes in front.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// A file that holds the broker's password. Also from the environment: `ZOUTBOX_AMQP_PASSWORD`.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// A PEM file of certificates to trust for amqps://, besides the system's.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The exchange to publish to, which must exist [default: with --declare-queue a topic exchange 'zoutbox', which is declared;
    /// else the default exchange, which routes to the queue named like the topic]
    #[arg(long, value_name = "E")]
    pub exchange: Option<String>,
    /// Declare the exchange (durable) with this type: topic, direct, fanout, headers.
    #[arg(long, value_name = "TYPE", requires = "exchange")]
    pub declare_exchange: Option<String>,
    /// Declare this queue (durable), and bind it to the exchange: alone, this is all that a new broker needs.
    #[arg(long, value_name = "Q")]
    pub declare_queue: Option<String>,
    /// The kind of queue to declare [default: quorum]
    #[arg(long, value_name = "KIND")]
    pub queue_type: Option<QueueType>,
    /// The binding key, may be given more than once [default: '#', every topic]
    #[arg(long, value_name = "KEY")]
    pub bind: Vec<String>,
    /// How to publish the records of these topics: TOPIC is a pattern as of a topic exchange ('*' stands for one word, '#' for any number of
    /// them), MODE is inline (the record is the message), pointer (a message a record, which says where it lies on the share) or
    /// pointer-batch (a message for many records). May be given more than once; the first that matches decides [default: inline]
    #[arg(long, value_name = "TOPIC=MODE")]
    pub publish: Vec<PublishRule>,
    /// pointer-batch: how many records one message points to at most [default: 1000]
    #[arg(long, value_name = "RECORDS")]
    pub batch_records: Option<u32>,
    /// pointer-batch: how many bytes of the log one message points to at most, unless it is one record; at most 16908316 [default: 1MiB]
    #[arg(long, value_name = "SIZE")]
    pub batch_bytes: Option<Size>,
    /// pointer-batch: how long a record waits for others to share its message while there is nothing else to read; 0ms: not at all
    /// [default: 5ms]
    #[arg(long, value_name = "DURATION")]
    pub batch_linger: Option<Span>,
    /// What to do with a record that no queue takes, or that the broker never takes [default: halt]
    #[arg(long, value_name = "WHAT")]
    pub on_undeliverable: Option<Undelivered>,
    /// What to do where acknowledged records can't be read [default: halt]
    #[arg(long, value_name = "WHAT")]
    pub on_damage: Option<Damaged>,
    /// How long to keep a segment after all of it was confirmed [default: 1h]
    #[arg(long, value_name = "DURATION")]
    pub retention: Option<Span>,
    /// How long to keep a segment at least, after all of it was confirmed, where topics are published as pointers, so that consumers
    /// come back for what they lead to. Longer, while a consumer that registered on the share needs it [default: 24h]
    #[arg(long, value_name = "DURATION")]
    pub pointer_retention: Option<Span>,
    /// Move such segments to archive/ instead of deleting them.
    #[arg(long)]
    pub archive: bool,
    /// How old a large payload must be that no record names, or one that was never finished, before it is swept [default: 24h]
    #[arg(long, value_name = "DURATION")]
    pub sweep_after: Option<Span>,
    /// How many messages may be in flight [default: 4096]
    #[arg(long, value_name = "MESSAGES")]
    pub window: Option<usize>,
    /// How many bytes of messages may be in flight; what a pointer leads to does not count [default: 8MiB]
    #[arg(long, value_name = "SIZE")]
    pub window_bytes: Option<Size>,
    /// Give a connection up when messages are in flight and none is confirmed for this long [default: 60s]
    #[arg(long, value_name = "DURATION")]
    pub confirm_timeout: Option<Span>,
    /// How often to save checkpoints; bounds what is published again after a crash [default: 200ms]
    #[arg(long, value_name = "DURATION")]
    pub checkpoint_interval: Option<Span>,
    /// The shortest pause between two looks at a writer that has nothing new; it doubles up to --poll-max [default: 2ms]
    #[arg(long, value_name = "DURATION")]
    pub poll_min: Option<Span>,
    /// The longest pause between two looks at a writer that has nothing new, unless a hint comes; also between two looks for new
    /// writers, if it is longer than 1s [default: 500ms]
    #[arg(long, value_name = "DURATION")]
    pub poll_max: Option<Span>,
    /// At most about this many looks a second at writers that have nothing new, over all of them, whatever --poll-max says: at
    /// 1000, of 10,000 idle writers each is looked at every 10 s [default: 1000]
    #[arg(long, value_name = "LOOKS")]
    pub poll_rate: Option<u32>,
    /// Where to listen for the UDP datagrams by which writers on other hosts say that there is something new: IP:PORT (port 0: any),
    /// 'auto' (on NFS, at this host's address on the way to the file server) or 'off' [default: auto]
    #[arg(long, value_name = "ADDRESS")]
    pub doorbell: Option<Doorbell>,
    /// What to tell writers instead of the address in --doorbell, if that is not the one they reach: IP:PORT (port 0: the same)
    #[arg(long, value_name = "ADDRESS")]
    pub doorbell_announce: Option<SocketAddr>,
    /// Take no hints from inotify.
    #[arg(long)]
    pub no_inotify: bool,
    /// How often to log the counters, when they changed [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub report_interval: Option<Span>,
    /// What to log, as `tracing` filters; also from the environment: `RUST_LOG` [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Publish what is there, then stop. Writers that wait (damage, undeliverable records) are left waiting.
    #[arg(long)]
    pub once: bool,
    /// Relay although the share is mounted so that a promise does not hold, `soft` or `nolock` on NFS, say; logs a warning.
    /// `zoutbox doctor` tells what is wrong.
    #[arg(long)]
    pub accept_unsafe_mount: bool,
}

impl Options {
    /// These, completed from the file that `--config` names.
    ///
    /// # Errors
    /// When the file can't be read, is no TOML, or says what can't be; the message names the key.
    pub fn with_file(self, system: &System) -> Result<Self, RelayError> {
        let Some(path) = self.config.clone() else { return Ok(self) };
        let text = read_text(system, "--config", &path)?;
        let file = Self::from_toml(&text).map_err(|(line, reason)| RelayError::Option {
            option: format!("{} line {line}", path.display()),
            reason,
        })?;
        Ok(self.or(file))
    }

    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// The number of a line, and what is wrong there, as one line.
    pub fn from_toml(text: &str) -> Result<Self, (usize, String)> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            (before.matches('\n').count() + 1, redacted(&error.message().replace('\n', " ")))
        })
    }

    fn or(self, file: Self) -> Self {
        // Which publisher: what the command line says decides over both.
        let (amqp, stdout) = match (self.amqp, self.stdout) {
            (None, false) => (file.amqp, file.stdout),
            said => said,
        };
        Self {
            root: self.root.or(file.root),
            amqp,
            stdout,
            config: self.config,
            password_file: self.password_file.or(file.password_file),
            ca_file: self.ca_file.or(file.ca_file),
            exchange: self.exchange.or(file.exchange),
            declare_exchange: self.declare_exchange.or(file.declare_exchange),
            declare_queue: self.declare_queue.or(file.declare_queue),
            queue_type: self.queue_type.or(file.queue_type),
            bind: if self.bind.is_empty() { file.bind } else { self.bind },
            publish: if self.publish.is_empty() { file.publish } else { self.publish },
            batch_records: self.batch_records.or(file.batch_records),
            batch_bytes: self.batch_bytes.or(file.batch_bytes),
            batch_linger: self.batch_linger.or(file.batch_linger),
            on_undeliverable: self.on_undeliverable.or(file.on_undeliverable),
            on_damage: self.on_damage.or(file.on_damage),
            retention: self.retention.or(file.retention),
            pointer_retention: self.pointer_retention.or(file.pointer_retention),
            archive: self.archive || file.archive,
            sweep_after: self.sweep_after.or(file.sweep_after),
            window: self.window.or(file.window),
            window_bytes: self.window_bytes.or(file.window_bytes),
            confirm_timeout: self.confirm_timeout.or(file.confirm_timeout),
            checkpoint_interval: self.checkpoint_interval.or(file.checkpoint_interval),
            poll_min: self.poll_min.or(file.poll_min),
            poll_max: self.poll_max.or(file.poll_max),
            poll_rate: self.poll_rate.or(file.poll_rate),
            doorbell: self.doorbell.or(file.doorbell),
            doorbell_announce: self.doorbell_announce.or(file.doorbell_announce),
            no_inotify: self.no_inotify || file.no_inotify,
            report_interval: self.report_interval.or(file.report_interval),
            log: self.log.or(file.log),
            once: self.once || file.once,
            accept_unsafe_mount: self.accept_unsafe_mount || file.accept_unsafe_mount,
        }
    }
}

/// Reads a small text file that an option names.
pub(crate) fn read_text(system: &System, option: &str, path: &Path) -> Result<String, RelayError> {
    let failed =
        |reason: String| RelayError::Option { option: format!("{option} {}", path.display()), reason };
    let bytes = match system.read_small(path, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(error @ StorageError::Io { .. }) => return Err(error.into()),
        Err(error) => return Err(failed(error.to_string())),
    };
    String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(arguments: &[&str], text: &str) -> Result<Options, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("relay.toml");
        #[expect(clippy::disallowed_methods, reason = "a test makes its own file")]
        std::fs::write(&path, text).expect("written");
        let path = path.display().to_string();
        let arguments = ["zoutbox-relay", "--config", &path].into_iter().chain(arguments.iter().copied());
        let options = Options::try_parse_from(arguments).map_err(|e| e.to_string())?;
        options.with_file(&System::real()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_file_has_the_same_options_and_the_command_line_wins() {
        let text = "root = \"/a\"\nstdout = true\nwindow = 7\nretention = \"2d\"\non-damage = \"skip\"\nbind = [\"a\"]\n";
        let options = with_file(&["--window", "9"], text).expect("valid");
        assert_eq!((options.root, options.stdout), (Some("/a".into()), true));
        assert_eq!((options.window, options.on_damage), (Some(9), Some(Damaged::Skip)));
        assert_eq!(options.bind, ["a"]);
        let options = with_file(&["--amqp", "amqp://h"], text).expect("valid");
        assert_eq!((options.amqp.as_deref(), options.stdout), (Some("amqp://h"), false));
    }

    #[test]
    fn rules_for_publishing_come_in_their_order_from_either_side_and_never_from_both() {
        let rule = |topics: &str, mode| PublishRule { topics: Pattern::new(topics).expect("valid"), mode };
        let text =
            "publish = [\"a.#=pointer-batch\", \"a=b=pointer\"]\nbatch-records = 9\nbatch-bytes = \"2MiB\"\n";
        let options = with_file(&["--batch-linger", "20ms", "--batch-records", "7"], text).expect("valid");
        assert_eq!(options.publish, [rule("a.#", Mode::PointerBatch), rule("a=b", Mode::Pointer)]);
        assert_eq!((options.batch_records, options.batch_bytes), (Some(7), Some(Size(2 << 20))));
        let options = with_file(&["--publish", "b=inline", "--publish", "#=pointer"], text).expect("valid");
        assert_eq!(options.publish, [rule("b", Mode::Inline), rule("#", Mode::Pointer)]);
        for (bad, named) in
            [("a", "TOPIC=MODE"), ("a=batch", "no mode 'batch'"), ("a*=inline", "no pattern of topics 'a*'")]
        {
            let error = with_file(&[], &format!("publish = [\"{bad}\"]\n")).expect_err(bad);
            assert!(error.contains(named) && error.contains("line 1") && !error.contains('\n'), "{error}");
            let error = with_file(&["--publish", bad], "").expect_err(bad);
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_and_a_bad_value_are_named_in_one_line() {
        for (text, named) in [
            ("window = 1\nwindwo = 1\n", "line 2: unknown field `windwo`"),
            ("window = \"x\"\n", "line 1: invalid type"),
            ("retention = \"5\"\n", "duration"),
            ("=", "line 1"),
        ] {
            let error = with_file(&[], text).expect_err(text);
            assert!(error.contains(named) && !error.contains('\n'), "{text:?}: {error}");
        }
    }
}
