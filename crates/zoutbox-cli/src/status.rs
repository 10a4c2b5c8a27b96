//! `zoutbox status`: what is durable, what is confirmed, and the lag between them, for each writer.
//!
//! Bounded work, however long the backlog: a writer's newest segment is read from its start (or from the checkpoint, if that is in
//! it), the record behind the checkpoint is read for its time, and what lies between is counted by names and headers. And bounded time,
//! however silent the share: what does not answer is shown as that.

mod consumers;
mod crew;
mod lane;
mod relay;
mod table;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use zoutbox_format::holder::HOLDER_LENGTH;
use zoutbox_format::{Holder, Waits, WriterId};
use zoutbox_reader::{Writers, writers};
use zoutbox_storage::{Share, Space, StorageError, System};

use crate::cli::StatusArguments;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use consumers::ConsumerJson;
use crew::{Ended, attempt};
use lane::Lane;
use relay::{RelayJson, WaitJson};

/// Everything that is shown; `--json` prints it as it is here.
#[derive(Debug, Serialize)]
struct Status {
    root: String,
    share: String,
    space: SpaceJson,
    relay: Option<RelayJson>,
    ignored: Vec<String>,
    writers: Vec<Lane>,
    /// `None` if their files do not answer.
    consumers: Option<Vec<ConsumerJson>>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SpaceJson {
    total_bytes: u64,
    available_bytes: u64,
}

/// Who took a lock last. Whether it is still held is not probed: a probe could keep a starting writer from its lock.
#[derive(Debug, Serialize)]
struct HolderJson {
    epoch: u64,
    host: String,
    pid: u32,
}

/// What is looked at on a thread of its own.
enum Task {
    Relay,
    Consumers,
    Lane(WriterId),
}

enum Answer {
    Relay(Box<relay::Seen>),
    Consumers(Box<consumers::Seen>),
    Lane(Box<Lane>),
}

pub(crate) fn run(system: &System, arguments: &StatusArguments) -> Result<Exit, Failure> {
    let status = look(system, &arguments.root.path, arguments.patience)?;
    let mut output = Output::new();
    if arguments.json {
        let text = serde_json::to_string(&status)
            .map_err(|error| Failure::new(Exit::Io, format!("can't write JSON: {error}")))?;
        output.line(&text)?;
    } else {
        output.bytes(table::of(&status, system.clock.now_ms()).as_bytes())?;
    }
    output.flush()?;
    // Threads that hang end with the process.
    Ok(if status.is_complete() { Exit::Ok } else { Exit::Temporary })
}

fn look(system: &System, root: &Path, patience: Duration) -> Result<Status, Failure> {
    let (share, found, space) = open(system, root, patience)?;
    let since_ms = system.clock.now_ms();
    let mut ignored = found.ignored;
    if found.omitted > 0 {
        ignored.push(format!("… and {} more", found.omitted));
    }
    let mut status = Status {
        root: root.display().to_string(),
        share: share.id.to_string(),
        space: SpaceJson { total_bytes: space.total, available_bytes: space.available },
        relay: None,
        ignored,
        writers: Vec::new(),
        consumers: None,
        notes: Vec::new(),
    };
    let lanes = || found.writers.iter().cloned().map(Task::Lane);
    let tasks = || [Task::Relay, Task::Consumers].into_iter().chain(lanes());
    let system = system.clone();
    let ended = attempt(tasks().collect(), patience, move |task| {
        Ok::<_, Failure>(match task {
            Task::Relay => Answer::Relay(Box::new(relay::look(&system, &share)?)),
            Task::Consumers => Answer::Consumers(Box::new(consumers::look(&system, &share)?)),
            Task::Lane(writer) => Answer::Lane(Box::new(lane::look(&system, &share, &writer)?)),
        })
    });
    let (mut waits, mut needed) = (None, None);
    for (task, ended) in tasks().zip(ended) {
        match (task, ended) {
            (_, Ended::Done(answer)) => match answer? {
                Answer::Relay(seen) => {
                    status.notes.extend(seen.notes);
                    (status.relay, waits) = (seen.relay, seen.waits);
                }
                Answer::Consumers(seen) => needed = Some(seen),
                Answer::Lane(lane) => status.writers.push(*lane),
            },
            (Task::Relay, ended) => {
                let waits = vec![silence(&ended, "the relay's files", since_ms)];
                status.relay = Some(RelayJson { waits, ..RelayJson::default() });
            }
            (Task::Consumers, ended) => status.notes.push(silence(&ended, "the consumers", since_ms).what),
            (Task::Lane(writer), ended) => {
                let waits = vec![silence(&ended, &format!("writer {writer}"), since_ms)];
                status.writers.push(Lane { waits, ..Lane::silent(&writer) });
            }
        }
    }
    if let Some(waits) = waits {
        status.add(waits);
    }
    if let Some(seen) = needed {
        status.writers.iter_mut().for_each(|lane| seen.fill(lane));
        status.notes.extend(seen.notes);
        status.consumers = Some(seen.consumers);
    }
    Ok(status)
}

/// Without these there is nothing to show.
fn open(system: &System, root: &Path, patience: Duration) -> Result<(Share, Writers, Space), Failure> {
    let (system, shown) = (system.clone(), root.display());
    let mut ended = attempt(vec![root.to_owned()], patience, move |root| {
        let share = Share::open(&system, &root)?;
        let found = writers(&system, &share)?;
        Ok((share, found, system.disk.space(&root)?))
    });
    let silent = format!("the share does not answer this host: looking at {shown}");
    match ended.pop() {
        Some(Ended::Done(opened)) => opened,
        _ => Err(Failure::new(Exit::Temporary, silent)),
    }
}

fn silence<A>(ended: &Ended<A>, at: &str, since_ms: u64) -> WaitJson {
    let what = match ended {
        Ended::NotBegun => format!("not looked at, since others do not answer: {at}"),
        _ => format!("the share does not answer this host: looking at {at}"),
    };
    WaitJson { what, since_ms, relay_epoch: None }
}

impl Status {
    /// Whether everything answered.
    fn is_complete(&self) -> bool {
        let relay = self.relay.as_ref().is_none_or(|relay| relay.answers);
        relay && self.consumers.is_some() && self.writers.iter().all(|lane| lane.answers)
    }

    /// Adds what the relay says that it waits for.
    fn add(&mut self, waits: Waits) {
        let relay_epoch = Some(waits.relay_epoch.get());
        for wait in waits.waits {
            let mut json = WaitJson { what: wait.what, since_ms: wait.since_ms, relay_epoch };
            let Some(writer) = wait.writer.map(|writer| writer.to_string()) else {
                self.relay.iter_mut().for_each(|relay| relay.waits.push(json.clone()));
                continue;
            };
            if let Some(lane) = self.writers.iter_mut().find(|lane| lane.writer == writer) {
                lane.waits.push(json);
            } else if let Some(relay) = &mut self.relay {
                json.what = format!("{writer}: {}", json.what);
                relay.waits.push(json);
            }
        }
        if waits.omitted > 0 {
            self.notes.push(format!("the relay waits for {} things more", waits.omitted));
        }
    }
}

impl From<Holder> for HolderJson {
    fn from(holder: Holder) -> Self {
        Self { epoch: holder.epoch.get(), host: holder.host, pid: holder.pid }
    }
}

fn holder(system: &System, path: &Path) -> Result<Option<HolderJson>, Failure> {
    Ok(read_holder(system, path)?.map(HolderJson::from))
}

/// What a lock file says; `None` if nobody ever took it, or it is damaged (`zoutbox verify` tells).
fn read_holder(system: &System, path: &Path) -> Result<Option<Holder>, Failure> {
    match system.read_small(path, HOLDER_LENGTH) {
        Ok(bytes) => Ok(Holder::decode(&bytes)),
        Err(error) if error.is_missing() || matches!(error, StorageError::NotAFile { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
