//! `zoutbox status`: what is durable, what is confirmed, and the lag between them, for each writer.
//!
//! Bounded work, however long the backlog: a writer's newest segment is read from its start (or from the checkpoint, if that is in
//! it), the record behind the checkpoint is read for its time, and what lies between is counted by names and headers.

mod lane;
mod table;

use std::net::SocketAddr;
use std::path::Path;

use serde::Serialize;
use zoutbox_format::Holder;
use zoutbox_format::holder::HOLDER_LENGTH;
use zoutbox_reader::writers;
use zoutbox_storage::{Share, StorageError, System};

use crate::cli::StatusArguments;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use lane::Lane;

/// Everything that is shown; `--json` prints it as it is here.
#[derive(Debug, Serialize)]
struct Status {
    root: String,
    share: String,
    space: SpaceJson,
    relay: Option<RelayJson>,
    ignored: Vec<String>,
    writers: Vec<Lane>,
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

#[derive(Debug, Serialize)]
struct RelayJson {
    #[serde(flatten)]
    holder: HolderJson,
    doorbell: Option<SocketAddr>,
}

pub(crate) fn run(system: &System, arguments: &StatusArguments) -> Result<Exit, Failure> {
    let root = &arguments.root.path;
    let share = Share::open(system, root)?;
    let found = writers(system, &share)?;
    let space = system.disk.space(root)?;
    let lanes = found.writers.iter().map(|writer| lane::look(system, &share, writer));
    let status = Status {
        root: root.display().to_string(),
        share: share.id.to_string(),
        space: SpaceJson { total_bytes: space.total, available_bytes: space.available },
        relay: read_holder(system, &share.layout.lease())?
            .map(|holder| RelayJson { doorbell: holder.doorbell, holder: holder.into() }),
        ignored: found.ignored,
        writers: lanes.collect::<Result<_, Failure>>()?,
    };
    let mut output = Output::new();
    if arguments.json {
        let text = serde_json::to_string(&status)
            .map_err(|error| Failure::new(Exit::Io, format!("can't write JSON: {error}")))?;
        output.line(&text)?;
    } else {
        output.bytes(table::of(&status).as_bytes())?;
    }
    output.flush()?;
    Ok(Exit::Ok)
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
