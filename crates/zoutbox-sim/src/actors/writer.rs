//! A producer's process: opens the writer, appends, commits, and notes what its tickets say.

use std::time::Duration;

use zoutbox_format::{Record, RecordId};
use zoutbox_relay_core::Key;
use zoutbox_writer::{ErrorKind, Options, Stepped, Ticket, WhenFull, WriterError, ZeroAhead};

use super::is_alive;
use crate::checkers::Seen;
use crate::world::broker::VOID;
use crate::world::knobs::Knobs;
use crate::world::ledger::Told;
use crate::world::{ROOT, World};

/// The process, or its absence.
pub struct WriterActor {
    world: World,
    name: String,
    writer: String,
    host: usize,
    process: Option<usize>,
    open: Option<Stepped>,
    tickets: Vec<(Ticket, usize)>,
    /// Not started again before.
    rests_until: Duration,
    /// The process before was not asked to end.
    crashed: bool,
    /// Appends nothing more.
    pub quiet: bool,
    /// Is not started again.
    pub retired: bool,
}

impl WriterActor {
    /// One that is not started yet. `rival`: the second one for this id.
    #[must_use]
    pub fn new(world: World, writer: &str, host: usize, rival: bool) -> Self {
        Self {
            world,
            name: format!("{writer}{}", if rival { "'" } else { "" }),
            writer: writer.to_owned(),
            host,
            process: None,
            open: None,
            tickets: Vec::new(),
            rests_until: Duration::ZERO,
            crashed: false,
            quiet: false,
            retired: false,
        }
    }

    /// Its process, if there is one.
    #[must_use]
    pub const fn process(&self) -> Option<usize> {
        self.process
    }

    /// The writer's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.writer
    }

    /// Whether it has nothing to tell any more.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Whether it has the writer open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Does something, at random.
    pub fn step(&mut self) {
        let Some(mut writer) = self.open.take() else { return self.start() };
        let choice = {
            let mut state = self.world.lock();
            let end = if self.quiet { 90 } else { 100 };
            let from = if self.quiet { 45 } else { 0 };
            state.random.between(from, end)
        };
        match choice {
            0..45 => self.append(&writer),
            45..80 => {
                writer.step();
            }
            80..88 => writer.tick(),
            88..98 => writer.prepare_ahead(),
            98 | 99 => {
                for _ in 0..3 {
                    self.append(&writer);
                    writer.step();
                }
            }
            _ => return self.close(writer),
        }
        self.open = Some(writer);
        self.hear(false);
    }

    fn start(&mut self) {
        let (now, knobs) = {
            let state = self.world.lock();
            (state.now, state.knobs.clone())
        };
        if now < self.rests_until || self.retired {
            return;
        }
        let (process, system) = self.world.start(&self.name, self.host, false);
        self.process = Some(process);
        let opened = Stepped::open(system, ROOT, &self.writer, options(&knobs));
        let mut state = self.world.lock();
        match opened {
            Ok(writer) => {
                if std::mem::take(&mut self.crashed) && state.is_alive(process) {
                    state.counts.recoveries += 1;
                }
                state.say(&self.name, format_args!("open"));
                self.open = Some(writer);
            }
            Err(error) => {
                state.say(&self.name, format_args!("can't be opened: {error}"));
                self.crashed |= !state.is_alive(process);
                state.exit(process);
                let rest = if matches!(error, WriterError::Locked { .. }) { 500 } else { 50 };
                self.rests_until = state.now + Duration::from_millis(state.random.between(1, rest));
                self.process = None;
            }
        }
    }

    fn append(&mut self, writer: &Stepped) {
        let Some(process) = self.process else { return };
        let many = self.world.lock().random.between(1, 6);
        for _ in 0..many {
            let mut state = self.world.lock();
            let number = state.ledger.writer(&self.writer).map_or(0, |of| of.appends.len());
            let longest = state.knobs.longest_payload;
            let drawn =
                if state.knobs.equal_payloads { longest.min(60) } else { state.random.below(longest) };
            let length = usize::try_from(drawn).unwrap_or(0);
            let topic = match (state.random.below(10), state.knobs.unroutable) {
                (0, true) => format!("{VOID}.{}", self.writer),
                (1..5, _) => format!("batch.{}", self.writer),
                (5, _) => format!("single.{}", self.writer),
                _ => format!("orders.{}", self.writer),
            };
            let mut payload = format!("{}#{number:06};", self.name).into_bytes();
            let filler = state.random.bits().to_le_bytes();
            payload.extend(filler.iter().cycle().take(length));
            let record = Record::new(topic.clone(), payload.clone());
            state.see(&Seen::Appended { writer: &self.writer, topic: &topic, payload: &payload, process });
            drop(state);
            match writer.append(&record) {
                Ok(ticket) => self.tickets.push((ticket, number)),
                Err(_) => self.tell(number, Told::Refused, "not taken"),
            }
        }
    }

    fn tell(&self, append: usize, told: Told, why: &str) {
        let mut state = self.world.lock();
        if let Told::Durable(_) = told {
            state.counts.acknowledged += 1;
        }
        state.say(&self.name, format_args!("append {append}: {told:?} {why}"));
        state.see(&Seen::Told { writer: &self.writer, append, told });
    }

    /// Takes in what tickets say. `over`: nobody says anything more.
    fn hear(&mut self, over: bool) {
        let mut fenced = false;
        let tickets = std::mem::take(&mut self.tickets);
        for (ticket, append) in tickets {
            match ticket.outcome() {
                Some(Ok(RecordId { epoch, sequence, .. })) => {
                    self.tell(append, Told::Durable(Key { epoch, sequence }), "");
                }
                // With its process, nobody is left to be told.
                _ if over => self.tell(append, Told::Unknown, "(gone)"),
                Some(Err(error)) => {
                    fenced |= error.kind() == ErrorKind::Fenced
                        || matches!(error, WriterError::Unknown { fenced: Some(_), .. });
                    let unknown = error.kind() == ErrorKind::Unknown;
                    let told = if unknown { Told::Unknown } else { Told::Refused };
                    self.tell(append, told, &error.to_string());
                }
                None => self.tickets.push((ticket, append)),
            }
        }
        if fenced && !over {
            self.end();
        }
    }

    /// It can't go on: its process ends, another one is started later.
    fn end(&mut self) {
        self.hear_queue();
        self.open = None;
        let mut state = self.world.lock();
        if let Some(process) = self.process.take() {
            state.say(&self.name, format_args!("ends: fenced"));
            state.exit(process);
        }
        self.rests_until = state.now + Duration::from_millis(state.random.between(1, 500));
        self.crashed = true;
    }

    /// What still waits in the queue of a process that ends was never written.
    fn hear_queue(&mut self) {
        self.open = None;
        for (ticket, append) in std::mem::take(&mut self.tickets) {
            let told = match ticket.outcome() {
                Some(Ok(RecordId { epoch, sequence, .. })) => Told::Durable(Key { epoch, sequence }),
                Some(Err(error)) if error.kind() != ErrorKind::Unknown => Told::Refused,
                _ => Told::Unknown,
            };
            self.tell(append, told, "(at its end)");
        }
    }

    fn close(&mut self, writer: Stepped) {
        let closed = writer.close();
        self.world.lock().say(&self.name, format_args!("closed: {closed:?}"));
        if is_alive(&self.world, self.process) {
            self.hear_queue();
            let mut state = self.world.lock();
            if let Some(process) = self.process.take() {
                state.exit(process);
            }
            self.rests_until = state.now + Duration::from_millis(state.random.between(1, 300));
        }
    }

    /// Its process is gone.
    pub fn bury(&mut self) {
        // What it could have been told before it died counts.
        self.hear(true);
        self.open = None;
        self.process = None;
        let mut state = self.world.lock();
        self.rests_until = state.now + Duration::from_millis(state.random.between(1, 300));
        self.crashed = true;
    }
}

fn options(knobs: &Knobs) -> Options {
    Options {
        segment_size: 64 * 1024,
        segment_age: knobs.segment_age,
        commit_bytes: 4 * 1024,
        memory_limit: 256 * 1024,
        min_free_space: 0,
        when_full: WhenFull::Fail,
        close_patience: Duration::ZERO,
        zero_ahead: if knobs.zero_ahead { ZeroAhead::Always } else { ZeroAhead::Never },
        doorbell: false,
        ..Options::default()
    }
}
