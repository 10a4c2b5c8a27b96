//! The second one: does what it is asked.

use std::path::Path;
use std::time::Duration;

use zoutbox_storage::{Lock, StorageError, System};

use super::super::hold::Holder;
use super::super::locks::holder;
use super::super::report::Row;
use super::channel::{Channel, Message, POLL};
use crate::exit::{Exit, Failure};
use crate::view::absent_is_none;

/// Longer than any cache of attributes keeps anything.
const GIVE_UP: Duration = Duration::from_secs(90);

/// Answers until the first one is done; what it found out is the result.
pub(super) fn answer(system: &System, channel: &mut Channel) -> Result<Vec<Row>, Failure> {
    let mut held: Option<Holder> = None;
    loop {
        let reply = match channel.receive()? {
            Message::Ping => Message::Pong,
            Message::Watch { name, length, asking } => {
                let path = channel.place.join(name);
                watch(system, channel, &path, length, asking)?
            }
            Message::TryLock { name } => {
                let lock = Lock::try_path(&*system.disk, &channel.place.join(name))?;
                Message::Locked { got: lock.is_some() }
            }
            Message::Hold { name } => {
                let holder = holder(&channel.place.join(name))?;
                let got = holder.holds;
                held = Some(holder);
                Message::Locked { got }
            }
            Message::Kill => {
                drop(held.take());
                Message::Locked { got: true }
            }
            Message::Done { rows } => return Ok(rows),
            other => {
                let message =
                    format!("the partner said {other:?}, which is no question: is it another version?");
                return Err(Failure::new(Exit::Io, message));
            }
        };
        channel.send(&reply)?;
    }
}

fn watch(
    system: &System,
    channel: &mut Channel,
    path: &Path,
    length: u64,
    asking: bool,
) -> Result<Message, Failure> {
    let look = if asking { asked } else { plain };
    // What is cached from here on is what plain stat will go on to show.
    if look(system, path)? >= Some(length) {
        return Err(Failure::new(Exit::Io, format!("{} is there before it was made", path.display())));
    }
    channel.send(&Message::Watching)?;
    let start = system.clock.monotonic();
    while system.clock.monotonic().saturating_sub(start) < GIVE_UP {
        if look(system, path)? >= Some(length) {
            return Ok(Message::Seen);
        }
        channel.check()?;
        system.clock.sleep(POLL);
    }
    Ok(Message::Unseen)
}

/// The length as the server has it: its directory is asked first, since a name that is cached as absent does not show otherwise.
fn asked(system: &System, path: &Path) -> Result<Option<u64>, StorageError> {
    let listed = system.disk.list(path.parent().unwrap_or(path))?;
    if !listed.iter().any(|entry| path.ends_with(&entry.name)) {
        return Ok(None);
    }
    Ok(absent_is_none(system.disk.metadata(path))?.map(|metadata| metadata.length))
}

/// The length as a program sees it that does not know better. Not through the storage crate, which always asks.
#[expect(clippy::unnecessary_wraps, reason = "the same signature as the other way to look")]
fn plain(_: &System, path: &Path) -> Result<Option<u64>, StorageError> {
    Ok(std::fs::symlink_metadata(path).ok().map(|metadata| metadata.len()))
}
