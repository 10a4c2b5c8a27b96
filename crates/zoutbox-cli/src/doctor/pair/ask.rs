//! The first one: asks, acts, and measures by its own clock.

use std::time::Duration;

use zoutbox_storage::mount::{Finding, Promise};
use zoutbox_storage::{DiskFile, Lock, OpenMode, System};

use super::super::locks::{PATIENCE, when_free};
use super::super::quantiles::{Times, time};
use super::channel::{Channel, Message};
use crate::exit::{Exit, Failure};

const LOCK: &str = "lock";
const GROWTH: &str = "growth";
/// After this long a measurement takes no more samples: those of plain stat last up to a minute each.
const LONG: Duration = Duration::from_secs(30);
const ADVICE: &str = "use NFS 4.1 or later";

pub(super) fn ask(system: &System, channel: &mut Channel) -> Result<Vec<Finding>, Failure> {
    let mut asking = Asking { system, channel, names: 0, length: 0 };
    let pings = asking.pings()?;
    let growth = system.disk.open(&asking.channel.place.join(GROWTH), OpenMode::CreateNew)?;
    let mut findings = vec![Finding::fine(
        "question and answer",
        pings.words(),
        "a write and sync here, and one there, each seen by asking; half of it is in each of the times below",
    )];
    for (what, samples, asks) in [("growth, asking", 50, true), ("growth, plain stat", 5, false)] {
        let seen = asking.samples(samples, |asking| asking.growth(&*growth, asks))?;
        findings.push(visible(what, &seen, asks));
    }
    for (what, samples, asks) in [("new file, asking", 30, true), ("new file, plain stat", 3, false)] {
        let seen = asking.samples(samples, |asking| asking.new_file(asks))?;
        findings.push(visible(what, &seen, asks));
    }
    let exclusion = asking.exclusion()?;
    let locks = exclusion.broken().is_none();
    findings.push(exclusion);
    if locks {
        findings.push(asking.release()?);
    }
    Ok(findings)
}

/// How long it took to be seen; and how often it never was.
#[derive(Default)]
struct Seen {
    times: Times,
    never: usize,
}

fn visible(what: &str, seen: &Seen, asks: bool) -> Finding {
    let value = seen.times.words();
    match (asks, seen.never) {
        (true, 0) => {
            Finding::fine(what, value, "what a relay on the other host waits for, besides its poll interval")
        }
        (true, never) => {
            let why = format!(
                "{never} times nothing was seen within 90 s though the server was asked: a relay would miss it"
            );
            Finding::breaks(Promise::InOrder, what, value, &why, ADVICE)
        }
        (false, 0) => {
            Finding::fine(what, value, "what a program sees that does not ask; zoutbox does not rely on it")
        }
        (false, never) => {
            let value = format!("{value}; {never} times not within 90 s");
            Finding::fine(what, value, "what a program sees that does not ask; zoutbox does not rely on it")
        }
    }
}

struct Asking<'a, 'c> {
    system: &'a System,
    channel: &'a mut Channel<'c>,
    names: usize,
    length: u64,
}

impl Asking<'_, '_> {
    fn now(&self) -> Duration {
        self.system.clock.monotonic()
    }

    fn question(&mut self, message: &Message) -> Result<Message, Failure> {
        self.channel.send(message)?;
        self.channel.receive()
    }

    fn pings(&mut self) -> Result<Times, Failure> {
        let mut times = Times::default();
        for _ in 0..30 {
            let start = self.now();
            match self.question(&Message::Ping)? {
                Message::Pong => times.push(self.now().saturating_sub(start)),
                other => return Err(strange(&other)),
            }
        }
        Ok(times)
    }

    fn samples(
        &mut self,
        most: usize,
        mut one: impl FnMut(&mut Self) -> Result<Option<Duration>, Failure>,
    ) -> Result<Seen, Failure> {
        let (mut seen, start) = (Seen::default(), self.now());
        for _ in 0..most {
            match one(self)? {
                Some(time) => seen.times.push(time),
                None => seen.never += 1,
            }
            if self.now().saturating_sub(start) > LONG {
                break;
            }
        }
        Ok(seen)
    }

    /// From here having synced more to seeing that the partner has seen it.
    fn growth(&mut self, file: &dyn DiskFile, asks: bool) -> Result<Option<Duration>, Failure> {
        let at = self.length;
        self.length += 64;
        let length = self.length;
        self.watched(GROWTH, length, asks, |_| {
            file.write_at(&[b'x'; 64], at)?;
            Ok(file.sync()?)
        })
    }

    /// From here having made a file to seeing that the partner has seen it.
    fn new_file(&mut self, asks: bool) -> Result<Option<Duration>, Failure> {
        self.names += 1;
        let name = format!("new-{}", self.names);
        self.watched(&name, 0, asks, |asking| {
            let path = asking.channel.place.join(&name);
            asking.system.disk.open(&path, OpenMode::CreateNew)?;
            Ok(asking.system.disk.sync_dir(&asking.channel.place)?)
        })
    }

    fn watched(
        &mut self,
        name: &str,
        length: u64,
        asking: bool,
        act: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<Option<Duration>, Failure> {
        match self.question(&Message::Watch { name: name.to_owned(), length, asking })? {
            Message::Watching => {}
            other => return Err(strange(&other)),
        }
        act(self)?;
        let start = self.now();
        match self.channel.receive()? {
            Message::Seen => Ok(Some(self.now().saturating_sub(start))),
            Message::Unseen => Ok(None),
            other => Err(strange(&other)),
        }
    }

    fn locked(&mut self, question: &Message) -> Result<bool, Failure> {
        match self.question(question)? {
            Message::Locked { got } => Ok(got),
            other => Err(strange(&other)),
        }
    }

    fn try_lock(&self) -> Result<Option<Lock>, Failure> {
        Ok(Lock::try_path(&*self.system.disk, &self.channel.place.join(LOCK))?)
    }

    /// Each side tries for a lock that the other one holds. In the end the partner's helper holds it.
    fn exclusion(&mut self) -> Result<Finding, Failure> {
        const WHAT: &str = "locks, across";
        let name = || LOCK.to_owned();
        let breaks = |value: &str, why: &str| Ok(Finding::breaks(Promise::InOrder, WHAT, value, why, ADVICE));
        let Some(own) = self.try_lock()? else {
            return breaks("refused", "a lock that nobody has was not given");
        };
        if self.locked(&Message::TryLock { name: name() })? {
            return breaks(
                "none",
                "the other host got a lock that this one holds: two writers of one id both go on",
            );
        }
        drop(own);
        if !self.locked(&Message::Hold { name: name() })? {
            return breaks("kept", "a lock that was let go here was not given to the other host");
        }
        if self.try_lock()?.is_some() {
            return breaks(
                "none",
                "this host got a lock that the other one holds: two writers of one id both go on",
            );
        }
        Ok(Finding::fine(
            WHAT,
            "exclusive",
            "no second writer of an id on another host, and one relay publishes",
        ))
    }

    /// The partner kills who holds the lock.
    fn release(&mut self) -> Result<Finding, Failure> {
        const WHAT: &str = "lock of a killed process";
        if !self.locked(&Message::Hold { name: "killed".into() })? {
            let why = "a lock that nobody has was not given";
            return Ok(Finding::breaks(Promise::InOrder, WHAT, "refused", why, ADVICE));
        }
        self.channel.send(&Message::Kill)?;
        let path = self.channel.place.join("killed");
        let free = when_free(self.system, || Lock::try_path(&*self.system.disk, &path))?;
        match self.channel.receive()? {
            Message::Locked { .. } => {}
            other => return Err(strange(&other)),
        }
        let Some((_, waited)) = free else {
            let value = format!("not free after {} s", PATIENCE.as_secs());
            let why = "nobody could take over the writer of a killed process";
            return Ok(Finding::breaks(Promise::InOrder, WHAT, value, why, ADVICE));
        };
        let why = "from asking for kill -9 on the other host to having the lock here: how soon a writer is taken over";
        Ok(Finding::fine(WHAT, format!("free after {}", time(waited)), why))
    }
}

fn strange(message: &Message) -> Failure {
    let text = format!("the partner said {message:?}, which is no answer: is it another version?");
    Failure::new(Exit::Io, text)
}
