//! A consumer's process: takes messages from the queue, finds their records, and applies each once. Its database outlives it.

use std::convert::Infallible;
use std::time::Duration;

use zoutbox_consumer::{
    Applied, ErrorKind, Identity, Inbox, MemoryStore, Payload, Records, Resolved, Resolver, ResolverOptions,
};
use zoutbox_relay_core::Key;

use crate::checkers::Seen;
use crate::world::broker::Stored;
use crate::world::knobs::Broken;
use crate::world::{CONSUMER, ROOT, World};

/// A message that could not be read so often is set aside: its records were never durable.
const MOST_TRIES: u32 = 300;

/// The process, or its absence.
pub struct ConsumerActor {
    world: World,
    host: usize,
    process: Option<usize>,
    resolver: Option<Resolver>,
    /// Its database.
    inbox: Inbox<MemoryStore>,
    rests_until: Duration,
}

impl ConsumerActor {
    /// One that is not started yet; `None` if its name were none.
    #[must_use]
    pub fn new(world: World, host: usize) -> Option<Self> {
        let inbox = Inbox::open(MemoryStore::new(), "billing").ok()?;
        Some(Self { world, host, process: None, resolver: None, inbox, rests_until: Duration::ZERO })
    }

    /// Its process, if there is one.
    #[must_use]
    pub const fn process(&self) -> Option<usize> {
        self.process
    }

    /// Takes a message.
    pub fn step(&mut self) {
        let Some(mut resolver) = self.resolver.take() else { return self.start() };
        for _ in 0..4 {
            let Some(stored) = self.world.lock().broker.queue.pop_front() else { break };
            self.take(&mut resolver, stored);
        }
        self.resolver = Some(resolver);
    }

    fn start(&mut self) {
        let now = self.world.lock().now;
        if now < self.rests_until {
            return;
        }
        let (process, system) = self.world.start(CONSUMER, self.host, false);
        self.process = Some(process);
        match Resolver::open_with(system, ROOT, ResolverOptions::default()) {
            Ok(resolver) => self.resolver = Some(resolver),
            Err(error) => {
                let mut state = self.world.lock();
                state.say("billing", format_args!("can't open the share: {error}"));
                state.exit(process);
                self.process = None;
                self.rests_until = now + Duration::from_millis(50);
            }
        }
    }

    fn take(&mut self, resolver: &mut Resolver, mut stored: Stored) {
        let found = resolver.resolve(stored.message.clone());
        // A process that died meanwhile has acknowledged nothing.
        let alive = super::is_alive(&self.world, self.process);
        let acknowledged = alive
            && match found {
                Ok(records) => self.apply(&records) && !self.world.lock().loses_ack(),
                Err(error) => {
                    let again = matches!(error.kind(), ErrorKind::Retry | ErrorKind::Fatal);
                    self.world.lock().say("billing", format_args!("{}: {error}", stored.id));
                    stored.tries += 1;
                    !again || stored.tries > MOST_TRIES
                }
            };
        if !acknowledged {
            self.world.lock().broker.queue.push_back(stored);
        }
    }

    /// Whether all of them are applied now.
    fn apply(&mut self, records: &Records) -> bool {
        records.iter().all(|record| self.apply_one(&record))
    }

    fn apply_one(&mut self, record: &Resolved<'_>) -> bool {
        let Identity { record: id, .. } = &record.identity;
        let Payload::Bytes(payload) = &record.payload else { return false };
        let world = &self.world;
        let effect = || {
            let mut state = world.lock();
            let key = Key { epoch: id.epoch, sequence: id.sequence };
            state.say("billing", format_args!("applies {id}"));
            state.see(&Seen::Applied { writer: id.writer.as_str(), key, topic: record.topic, payload });
        };
        if world.lock().broken == Broken::Inbox {
            effect();
            return true;
        }
        let applied = self.inbox.apply(&record.identity, |()| {
            effect();
            Ok::<_, Infallible>(())
        });
        match applied {
            Ok(Applied::Now(()) | Applied::Duplicate) => true,
            Err(error) => {
                world.lock().violate("inbox", format!("{id}: {error}"));
                false
            }
        }
    }

    /// Its process is gone.
    pub fn bury(&mut self) {
        self.resolver = None;
        self.process = None;
        let mut state = self.world.lock();
        self.rests_until = state.now + Duration::from_millis(state.random.between(1, 300));
    }
}
