//! The command line: options, and the help that people read.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use zoutbox_format::{Sequence, WriterId};

use crate::exit::EXIT_CODES;

/// Durable outbox on a shared file system: append records, see what became of them, check what lies on the share
#[derive(Debug, Parser)]
#[command(name = "zoutbox", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a share: the directories and the marker without which no tool works on a root
    #[command(after_help = EXIT_CODES)]
    Init(InitArguments),
    /// Append records durably, one a line of standard input, or one with a file's bytes
    #[command(after_help = EXIT_CODES, after_long_help = APPEND_HELP)]
    Append(Box<AppendArguments>),
    /// Show per writer what is durable, what is confirmed, and the lag between them
    #[command(after_help = EXIT_CODES, after_long_help = STATUS_HELP)]
    Status(StatusArguments),
    /// Print records, one JSON object a line
    #[command(after_help = EXIT_CODES, after_long_help = CAT_HELP)]
    Cat(CatArguments),
    /// Check every segment of a share, archived ones too: 0 sound, 2 damaged
    #[command(after_help = EXIT_CODES, after_long_help = VERIFY_HELP)]
    Verify(VerifyArguments),
    /// Show the headers and frames of one segment with their offsets (or a checkpoint, marker, lock file or pointer)
    #[command(after_help = EXIT_CODES, after_long_help = DUMP_HELP)]
    Dump(DumpArguments),
    /// Print what a queue delivers, each record once, as JSON lines; or bring back what was set aside
    #[command(after_help = EXIT_CODES, after_long_help = CONSUME_HELP)]
    Consume(Box<ConsumeArguments>),
    /// Try out a mount before trusting it, alone or together with another host: 0 sound, 2 a promise does not hold
    #[command(after_help = EXIT_CODES, after_long_help = DOCTOR_HELP)]
    Doctor(DoctorArguments),
    /// Forget a consumer that has vanished: what was kept for it may go
    #[command(after_help = EXIT_CODES, after_long_help = FORGET_HELP)]
    Forget(ForgetArguments),
    /// For doctor itself: another process to hold a lock
    #[command(hide = true)]
    HoldLock(HoldLockArguments),
}

#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    /// The directory to make a share of. Made if it is not there; the one above it must be
    #[arg(value_name = "ROOT")]
    pub(crate) root: PathBuf,
    /// For several users: only members of this group may use the share. Each may make writers, and nobody may change another's. Sets owner,
    /// group and mode of the root and of the directories below it, also on a share that is one already. A name or a gid
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// The user that the relay runs as, and that owns the share; its own group is that of the consumers, too, and no producer's. Another
    /// one than the present user takes root to set. A name or a uid [default: the present user]
    #[arg(long, value_name = "USER", requires = "group")]
    pub(crate) relay: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AppendArguments {
    #[command(flatten)]
    pub(crate) root: RootArgument,
    /// Who appends: 1 to 64 characters of a-z 0-9 . _ - and a letter or digit first. One live process per id
    #[arg(long, value_name = "ID")]
    pub(crate) writer: WriterId,
    /// Where the records go: the AMQP routing key, at most 255 bytes [default: the writer's id]
    #[arg(long, value_name = "T")]
    pub(crate) topic: Option<String>,
    /// What the records are about, for consumers that keep order per key: at most 255 bytes
    #[arg(long, value_name = "K")]
    pub(crate) key: Option<String>,
    /// A header for the consumer; may stand several times
    #[arg(long = "header", value_name = "K=V")]
    pub(crate) headers: Vec<String>,
    /// The payloads' media type
    #[arg(long, value_name = "C")]
    pub(crate) content_type: Option<String>,
    /// Append one record with this file's bytes, however many, instead of one a line; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) payload: Option<PathBuf>,
    /// With --payload: the record's id, by which a second try finds what the first one wrote. At most 200 characters of A-Z a-z 0-9 . _ -
    /// and a letter or digit first
    #[arg(long, value_name = "ID", requires = "payload")]
    pub(crate) id: Option<String>,
    /// With --payload: the most bytes that are put into the record itself, up to 16 MiB; more get a file of their own on the share
    /// [default: 1MiB]
    #[arg(long, value_name = "BYTES", value_parser = bytes, requires = "payload")]
    pub(crate) payload_threshold: Option<u64>,
    /// Print each record's writer/epoch/sequence once it is durable, in the order of the input
    #[arg(long)]
    pub(crate) acks: bool,
    /// What to do when memory, the share (its space or a quota) or --max-unconfirmed is at its limit
    #[arg(long, value_enum, default_value_t = WhenFullArgument::Block)]
    pub(crate) when_full: WhenFullArgument,
    /// Start a new segment at this size
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) segment_size: Option<u64>,
    /// Start a new segment when the current one is this old
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) segment_age: Option<Duration>,
    /// Let at most this much lie on the share unconfirmed
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) max_unconfirmed: Option<u64>,
    /// Leave at least this much free on the share
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) min_free_space: Option<u64>,
    /// Do not ring the relay's doorbell: it then finds the records at its next look
    #[arg(long)]
    pub(crate) no_doorbell: bool,
    /// Append although the share is mounted so that a promise does not hold, soft or nolock on NFS, say; says so on standard
    /// error. `zoutbox doctor` tells what is wrong
    #[arg(long)]
    pub(crate) accept_unsafe_mount: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhenFullArgument {
    /// Wait until there is room, or for a signal
    Block,
    /// End with exit code 75
    Fail,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) root: RootArgument,
    /// One JSON object on one line instead of a table (fields: zoutbox status --help)
    #[arg(long)]
    pub(crate) json: bool,
    /// How long to wait while nothing answers; what has not answered by then is shown with ?, and the exit code is 75
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5")]
    pub(crate) patience: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct CatArguments {
    #[command(flatten)]
    pub(crate) root: RootArgument,
    /// Only this writer's records
    #[arg(long, value_name = "ID")]
    pub(crate) writer: Option<WriterId>,
    /// Only records from this sequence on
    #[arg(long, value_name = "SEQ", value_parser = sequence)]
    pub(crate) from: Option<Sequence>,
    /// JSON, which is what comes anyway
    #[arg(long)]
    pub(crate) json: bool,
    /// Also the segments that the relay has archived
    #[arg(long)]
    pub(crate) archive: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    pub(crate) root: RootArgument,
    /// One JSON object on one line instead of text (fields: zoutbox verify --help)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DumpArguments {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// The directory to try out, which may be a share already
    #[arg(long, value_name = "ROOT", env = "ZOUTBOX_ROOT")]
    pub(crate) root: PathBuf,
    /// Measure together with another host that runs the same at about the same time
    #[arg(long)]
    pub(crate) pair: bool,
    /// How long to wait for the other host
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "120", requires = "pair")]
    pub(crate) timeout: Duration,
    /// One JSON object on one line instead of a table (fields: zoutbox doctor --help)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetArguments {
    #[command(flatten)]
    pub(crate) root: RootArgument,
    /// The consumer's name: that of its file below consumers/
    #[arg(value_name = "NAME")]
    pub(crate) consumer: WriterId,
    /// Also if it has not vanished, or its file can't be understood. One that lives registers again
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct ConsumeArguments {
    /// The share's root: where pointers and large payloads lead to
    #[arg(long, value_name = "ROOT", env = "ZOUTBOX_ROOT", required_unless_present = "unpark")]
    pub(crate) root: Option<PathBuf>,
    /// The queue, which is waited for if it is not there
    #[arg(long, value_name = "Q")]
    pub(crate) queue: String,
    /// The broker: amqp://user@host:port/vhost, or amqps:// for TLS. Of a cluster, several of its nodes with commas between them (a comma
    /// in a password is %2C): they are asked in that order until one is of use. A password on the command line is visible to everybody on
    /// this host: use `ZOUTBOX_AMQP_PASSWORD` or --password-file
    #[arg(long, value_name = "URL", env = "ZOUTBOX_AMQP_URL", hide_env_values = true)]
    pub(crate) amqp: String,
    /// A file that holds the broker's password. Also from the environment: `ZOUTBOX_AMQP_PASSWORD`
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// A PEM file of certificates to trust for amqps://, besides the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// The SQLite database that remembers what was printed: on a local disk, made if it is not there
    #[arg(long, value_name = "FILE", required_unless_present = "unpark")]
    pub(crate) inbox: Option<PathBuf>,
    /// Whose memory it is, of those in the database; with --register also the name on the share
    #[arg(long, value_name = "NAME", default_value = "consume")]
    pub(crate) name: String,
    /// End when so many lines are printed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End when the queue is empty
    #[arg(long)]
    pub(crate) once: bool,
    /// Read every large payload through before its line is printed, and set the record aside if it is not what was appended
    #[arg(long)]
    pub(crate) verify_payloads: bool,
    /// Say on the share, in consumers/NAME, what this consumer still needs, so that the relay keeps it
    #[arg(long)]
    pub(crate) register: bool,
    /// The group of all that consume this queue [default: the consumer's name]
    #[arg(long, value_name = "NAME", requires = "register")]
    pub(crate) group: Option<String>,
    /// Print nothing: move all messages from Q.parked back to Q, in order, and say how many
    #[arg(long, conflicts_with_all = ["count", "once", "register", "verify_payloads", "inbox"])]
    pub(crate) unpark: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HoldLockArguments {
    /// The lock file
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RootArgument {
    /// The share's root: the directory with zoutbox.json in it
    #[arg(long = "root", value_name = "ROOT", env = "ZOUTBOX_ROOT")]
    pub(crate) path: PathBuf,
}

fn sequence(text: &str) -> Result<Sequence, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.map(Sequence::new).ok_or_else(|| "a sequence is a whole number from 1 on".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(|| "seconds are a whole number from 1 on".into())
}

/// A number of bytes, with or without KiB, MiB or GiB.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let parse = || {
        let (number, factor) = units.iter().find_map(|(unit, f)| Some((text.strip_suffix(unit)?, *f)))?;
        number.trim_end().parse::<u64>().ok()?.checked_mul(factor)
    };
    parse().ok_or_else(|| "bytes are a whole number, with or without KiB, MiB or GiB behind it".into())
}

const APPEND_HELP: &str = "\
Each line is one record: its bytes are the payload, whatever they are, without the newline. An empty line is an empty
record; a last line without newline counts. Records are appended with many in flight, and each is durable on the share
before it is acknowledged. When a line can't be appended (over 16 MiB, say) reading stops there; all lines before it are
durable and acknowledged, and the error names the line. SIGTERM and SIGINT stop the reading, not what was read.

With --payload, the whole of a file is one record's payload. Above --payload-threshold it is written to a file of its own on the
share first, whatever its size, and the record names that. With --id, a try that failed or was killed can be repeated: a file of that
id that is complete is not written again (it is looked for in this hour and the 24 before). A signal while FILE is read ends it with
nothing appended; one after that ends it at once, and then the record may or may not be durable. A share without room for the payload
ends it with 75, whatever --when-full says.

Examples:
  zoutbox append --root /mnt/outbox --writer orders < orders.jsonl
  tail -F app.log | zoutbox append --root /mnt/outbox --writer app-1 --topic logs --acks
  jq -c . event.json | zoutbox append --root /mnt/outbox --writer billing --topic billing.paid \\
      --key customer-4 --header source=shop --content-type application/json
  zoutbox append --root /mnt/outbox --writer scans --payload scan-17.tiff --id scan-17 --content-type image/tiff --acks

Exit codes: 0 every line, or the payload, is durable; 65 a line or option no record can hold; 66 not a share; 75 another live writer has
this id, or the share is full; 130 and 143 stopped by a signal before the end of the input; more: zoutbox --help";

const STATUS_HELP: &str = "\
Reads each writer's newest segment and its checkpoint; what lies between is counted by the segments' names, so it costs
the same on a long backlog. Damage is shown where it was met; `zoutbox verify` looks everywhere. Whether a writer or
relay runs is not probed: shown is who took its lock last.

Below the table, a line for each thing that is waited for. Those with a relay epoch are what the relay that took the
lease last said; one that was killed can't take it back, and it goes when the next relay takes over. How long is by the
relay's clock and this host's. Those without are what does not answer this program: over NFS, a file that a host has
open that is cut off can take as long as that host's lease, and a silent server for ever.

Fields of --json, one object:
  root, share                  where, and the share's id
  space                        {total_bytes, available_bytes} of the file system
  relay                        {epoch, host, pid, doorbell, answers, waits} of who took the relay's lease last, or null;
                               doorbell is the address that it announces to writers, or null; answers is false if its files
                               do not answer, and all but waits null then; waits is what holds up all lanes, as below
  ignored                      names below writers/ that are no writer's directory
  writers                      in the order of their ids, each:
    writer                     its id
    durable                    the highest sequence that can be read, 0 if none
    epoch                      the epoch of the newest segment, 0 if none
    confirmed                  the watermark: all records up to this sequence are confirmed, 0 if none
    lag_records                durable minus confirmed
    lag_bytes                  bytes of the frames of those records
    lag_seconds                age of the oldest of them, by its timestamp and this host's clock
    segments, segment_bytes    how many segment files there are, and their sizes together
    holder                     {epoch, host, pid} that took the writer's lock last, or null
    damages                    as in zoutbox verify --json
    answers                    false if its files do not answer; all above but writer and damages is null then
    waits                      what it waits for, each {what, since_ms, relay_epoch}: a text, milliseconds since 1970-01-01
                               UTC, and the epoch of the relay that says so, or null: status itself met it
    needed                     what consumers need of it, {from, parked}: from which segment on (null: everything), and which
                               ones in front of that; null if no consumer counts
  consumers                    those that registered, in the order of their names, null if their files do not answer; each:
    name, group                its name, and that of those who share its queue
    updated_ms, silent_ms      when it wrote that, by its clock; how long ago that is, by this host's
    limit_ms, vanished         how long it may be silent, and whether it is silent for longer: then it holds nothing
    problem                    why its file can't be understood, or null; the relay removes nothing then, and group,
                               updated_ms, silent_ms and limit_ms are null
    holds                      what it needs by itself, {writer, from, parked} for each writer that it names, as in needed
  notes                        strings: what else is worth knowing, such as a file that could not be understood

Exit codes: 0 also if damages or waits are listed; 66 not a share; 75 not everything answered; more: zoutbox --help";

const FORGET_HELP: &str = "\
A consumer that registers on a share (consumers/NAME) has segments and large payloads kept for it. The relay gives up one
that is silent beyond its own limit, and says so; this removes its registration. It does so only if it is silent beyond its
limit by this host's clock, and its file stands still for two of the intervals at which it is to be written, which takes that long.

Example:
  zoutbox forget --root /mnt/outbox billing-3

Exit codes: 0 forgotten; 66 not a share, or no such consumer; 75 it has not vanished; more: zoutbox --help";

const CAT_HELP: &str = "\
Writers come in the order of their ids, each writer's records in their order. Damage is told on standard error with its
file, offset and lost sequences, and printing goes on behind it; the exit code is then 2.

Fields of each line:
  id                           the record's identity, writer/epoch/sequence
  writer, epoch, sequence      the same in parts
  topic                        the routing key
  key, application_id          string or null
  timestamp_ms                 milliseconds since 1970-01-01 UTC
  content_type                 string or null
  headers                      object of strings. zoutbox-payload-path, -size and -crc are there if the payload is a file of its own,
                               below the share's root; payload is empty then
  payload                      the payload, as payload_encoding says
  payload_encoding             utf8, or base64 if the payload is not UTF-8

Examples:
  zoutbox cat --root /mnt/outbox --writer orders --from 1000 | head
  zoutbox cat --root /mnt/outbox | jq -r 'select(.topic == \"logs\") | .payload'

Exit codes: 0 done; 2 damage found; 66 not a share, or no such writer; more: zoutbox --help";

const VERIFY_HELP: &str = "\
Reads everything: every segment's header, frames, records and seal, the chain from segment to segment, the large payloads
that records name (size and CRC), checkpoints, and lock files. A torn tail (a commit that never finished) was never acknowledged and is sound.

A line of text for each damage: FILE: offset N: what is wrong: lost sequences A to B of writer W

Fields of --json, one object:
  root, share                  where, and the share's id
  sound                        true or false
  writers, segments, records   how many were read
  bytes                        of payload and fields together
  payloads, payload_bytes      how many large payloads were read, once for each record that names them, and their bytes
  damages                      each:
    writer                     whose, or null
    file                       the path
    offset                     in bytes
    reason                     what is wrong there
    lost_from, lost_to         the first and last lost sequence; null both if no record is lost, lost_to null if the
                               end can't be known
    lost_records               how many, null if that can't be known
  notes                        strings: what lies there and is no damage

Exit codes: 0 sound; 2 damaged; 66 not a share; more: zoutbox --help";

const DUMP_HELP: &str = "\
Works on one file alone, whatever state it is in, also a copy elsewhere. Texts and payloads are cut after 48 bytes.

Example:
  zoutbox dump /mnt/outbox/writers/orders/00000000000000000001-00000000000000000001.seg

Exit codes: 0 sound; 2 damaged; 66 no such file; 76 made by a newer zoutbox; more: zoutbox --help";

const CONSUME_HELP: &str = "\
Subscribes to the queue, follows pointers on the share, and prints each record once, in the shape of `zoutbox cat`. A line is
written and flushed before the record is marked in the database, and its message is acknowledged after that: a crash in
between prints the line, or those of the message it came in, once more and loses none. If nobody reads the lines any more, it ends.

A record with a large payload has an empty payload and three headers, zoutbox-payload-path (below the root), -size (bytes) and
-crc (CRC-32 as of zlib, 8 hexadecimal digits); --verify-payloads compares.

What can never be printed (forged, damaged, removed) is moved to the queue Q.parked, which is made, with the reason in its header
zoutbox-parked-reason; other records go on, later ones with the same key wait there too. When the cause is gone, --unpark brings
all of them back.

A registered consumer holds back what it needs for 7 days after it was last seen. If it is gone for good, see zoutbox forget.

Examples:
  zoutbox consume --root /mnt/outbox --queue orders --inbox /var/lib/orders/inbox.db --register | ./book
  zoutbox consume --root /mnt/outbox --queue orders --inbox inbox.db --once | jq -r .payload
  zoutbox consume --queue orders --unpark

Exit codes: 0 stopped by a signal, by --count or --once, or nobody reads any more; 66 not a share; 69 the broker refuses; 75 the
inbox is locked, or 100,000 records are parked; 76 the inbox or the share is of a newer zoutbox; 130 and 143 ended by a signal
before --count or --once was reached; more: zoutbox --help";

const DOCTOR_HELP: &str = "\
Looks how ROOT is mounted, and tries out what zoutbox needs in a directory of its own below ROOT/.doctor, which it
removes again: exclusive creation, locks, rename, hard links, syncs, free space. ROOT need not be a share yet; nothing
else below it is touched. Each finding is fine, costs something (slower, or later), or breaks a promise, and then says
which. On ZFS it asks the zfs command for the dataset's properties. What can't be seen from here is listed below the
table: an NFS client can't see an export's async, nor the dataset's sync=disabled.

With --pair, run it on two hosts (or twice on one) within --timeout of each other. They find each other below
ROOT/.doctor and measure how soon one sees what the other wrote, with asking the server as zoutbox does, and with plain
stat as other programs do; and whether locks exclude each other and are let go when their holder is killed. Takes up to
some minutes on NFS with default caching, since that is how long plain stat shows old news. All times are taken by one
host's clock, from its write being durable to its seeing the other's answer: the answer's way back, about half of
'question and answer', is in them.

Fields of --json, one object:
  root, host                   where, and who looked
  mount                        {kind, source, point, options} or null if it can't be told
  partner                      {host, pid} with --pair, or null
  sound                        true if no promise is broken
  findings                     each:
    level                      fine, costs or breaks
    promise, breaks            number and name of the promise that does not hold, or null
    what, value                the property, and what it is
    why                        one sentence
    advice                     what to do about it, or empty
  unseen                       strings: what can't be seen from here

Examples:
  zoutbox doctor --root /mnt/outbox
  zoutbox doctor --root /mnt/outbox --pair        # and the same on another host

Exit codes: 0 no promise is broken; 2 a promise does not hold here; 66 no such directory; 75 no partner came; more:
zoutbox --help";
