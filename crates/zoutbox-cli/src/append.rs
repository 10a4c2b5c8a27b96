//! `zoutbox append`: one durable record a line of standard input, or with a whole file as its payload.
//!
//! ```text
//!   standard input ──▶ lines ──▶ feed ──▶ Writer::append ──ticket──▶ acks ──▶ standard output
//!                                 ▲                                    │
//!                    signals ─────┴──────────── stop ◀─────────────────┘ a record that is not durable
//! ```
//!
//! Two threads: this one reads and appends, the other waits for each ticket in turn, so that many records are in flight and each
//! is acknowledged as soon as it is durable, also while the input pauses.

mod acks;
mod feed;
mod lines;
mod payload;
mod signals;

use zoutbox_format::layout::Layout;
use zoutbox_format::limits::RESERVED_HEADER_PREFIX;
use zoutbox_format::{Record, RecordError};
use zoutbox_storage::System;
use zoutbox_storage::mount::trust;
use zoutbox_writer::{Options, WhenFull, Writer};

use crate::cli::{AppendArguments, WhenFullArgument};
use crate::complain;
use crate::exit::{Exit, Failure};
use acks::Acks;
use feed::Ended;
use signals::Interrupts;

pub(crate) fn run(system: &System, arguments: &AppendArguments) -> Result<Exit, Failure> {
    // Everything that can be wrong with the options, before anything is touched.
    let mut record = record(arguments)?;
    let options = options(arguments);
    if let Some(path) = &arguments.payload {
        return payload::run(system, arguments, path, &record, options);
    }
    // Before the first thread is made, so that all of them leave the signals to this one.
    let (interrupts, stop) = Interrupts::new()?;
    let root = &arguments.root.path;
    if arguments.accept_unsafe_mount {
        warn(system, arguments)?;
    }
    let writer = Writer::open_with(system.clone(), root, arguments.writer.as_str(), options)?;
    let acks = Acks::start(arguments.acks, stop)?;
    let wait = arguments.when_full == WhenFullArgument::Block;
    let ended = feed::feed(&writer, &mut record, &interrupts, &acks, wait);
    let (acked, closed) = acks.finish(system, &interrupts, writer)?;
    // What went wrong first is what to tell.
    if let Some(failure) = acked.failure {
        return Err(failure);
    }
    let ended = ended?;
    closed?;
    match ended {
        Ended::Input => Ok(Exit::Ok),
        Ended::Signal(number) => Ok(Exit::Signal(number)),
        Ended::Stopped => Err(Failure::new(
            Exit::Io,
            format!(
                "standard output was closed after {} acks: stopped before the end of the input, and all that was read is durable",
                acked.printed
            ),
        )),
    }
}

/// What is wrong with the mount and was accepted. The writer only logs it, and nothing here shows its log.
fn warn(system: &System, arguments: &AppendArguments) -> Result<(), Failure> {
    let directory = Layout::new(&arguments.root.path).writer(&arguments.writer);
    for warning in trust(&*system.disk, &directory, true)?.warnings {
        complain(&format!("warning: {warning}"));
    }
    Ok(())
}

/// The record that each line becomes the payload of.
fn record(arguments: &AppendArguments) -> Result<Record, Failure> {
    let topic = arguments.topic.clone().unwrap_or_else(|| arguments.writer.to_string());
    let mut record = Record::new(topic, Vec::new());
    record.key.clone_from(&arguments.key);
    record.id.clone_from(&arguments.id);
    record.content_type.clone_from(&arguments.content_type);
    for header in &arguments.headers {
        let (name, value) = header.split_once('=').ok_or_else(|| {
            Failure::new(Exit::BadInput, format!("--header '{}': not NAME=VALUE", header.escape_debug()))
        })?;
        record = record.header(name, value);
    }
    match record.borrowed(0).encode(&mut Vec::new()) {
        Ok(()) => Ok(record),
        Err(error) => Err(Failure::new(Exit::BadInput, option_error(&error))),
    }
}

/// A refused record, by the option that it is refused for.
fn option_error(error: &RecordError) -> String {
    match error {
        RecordError::TooLong { field: "topic", .. } => format!("--topic: {error}"),
        RecordError::TooLong { field: "key", .. } => format!("--key: {error}"),
        RecordError::TooLong { field: "id", .. } => format!("--id: {error}"),
        RecordError::TooLong { field: "content type", .. } => format!("--content-type: {error}"),
        RecordError::ReservedHeader(name) => format!(
            "--header {}: names that start with '{RESERVED_HEADER_PREFIX}' belong to zoutbox",
            name.escape_debug()
        ),
        _ => format!("--header: {error}"),
    }
}

fn options(arguments: &AppendArguments) -> Options {
    let defaults = Options::default();
    Options {
        segment_size: arguments.segment_size.unwrap_or(defaults.segment_size),
        segment_age: arguments.segment_age.unwrap_or(defaults.segment_age),
        unconfirmed_limit: arguments.max_unconfirmed.or(defaults.unconfirmed_limit),
        min_free_space: arguments.min_free_space.unwrap_or(defaults.min_free_space),
        payload_threshold: arguments.payload_threshold.unwrap_or(defaults.payload_threshold),
        when_full: match arguments.when_full {
            WhenFullArgument::Block => WhenFull::Block,
            WhenFullArgument::Fail => WhenFull::Fail,
        },
        close_patience: acks::PATIENCE,
        doorbell: !arguments.no_doorbell,
        accept_unsafe_mount: arguments.accept_unsafe_mount,
        ..defaults
    }
}
