//! Who hears what becomes of deliveries: the registration on the share, and whoever waits for the queue to be empty.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use zoutbox_consumer::{Look, Observer, Registration, Stop};
use zoutbox_format::{SegmentId, WriterId};

/// A broker that is in trouble may say of a queue that it is empty, and not know it: it is asked so often.
const LOOKS: u32 = 2;

/// How the printing went.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    printed: AtomicU64,
    reached: AtomicBool,
    failed: Mutex<Option<std::io::Error>>,
}

impl Outcome {
    /// One more line; returns how many it is.
    pub(super) fn printed(&self) -> u64 {
        self.0.printed.fetch_add(1, Ordering::SeqCst).saturating_add(1)
    }

    /// No more lines shall be printed.
    pub(super) fn reach(&self) {
        self.0.reached.store(true, Ordering::SeqCst);
    }

    pub(super) fn reached(&self) -> bool {
        self.0.reached.load(Ordering::SeqCst)
    }

    pub(super) fn fail(&self, error: std::io::Error) {
        *self.0.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(super) fn failed(&self) -> Option<std::io::Error> {
        self.0.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

pub(super) struct Watch {
    registration: Option<Registration>,
    /// Told when the queue is empty.
    once: Option<(Stop, Outcome)>,
    idle: u32,
}

impl Watch {
    pub(super) const fn new(registration: Option<Registration>, once: Option<(Stop, Outcome)>) -> Self {
        Self { registration, once, idle: 0 }
    }

    fn registration(&mut self, tell: impl FnOnce(&mut Registration)) {
        if let Some(registration) = &mut self.registration {
            tell(registration);
        }
    }
}

impl Observer for Watch {
    fn delivered(&mut self, delivery: u64, writer: &WriterId, segment: Option<SegmentId>) {
        self.registration(|it| it.delivered(delivery, writer, segment));
    }

    fn acked(&mut self, delivery: u64) {
        self.registration(|it| it.acked(delivery));
    }

    fn refused(&mut self, delivery: u64) {
        self.registration(|it| it.refused(delivery));
    }

    fn returned(&mut self, delivery: u64) {
        self.registration(|it| it.returned(delivery));
    }

    fn parked(&mut self, writer: &WriterId, segment: Option<SegmentId>) {
        self.registration(|it| it.parked(writer, segment));
    }

    fn unparked(&mut self, writer: &WriterId, segment: Option<SegmentId>) {
        self.registration(|it| it.unparked(writer, segment));
    }

    fn started(&mut self) {
        self.registration(Observer::started);
    }

    fn looked(&mut self, look: Look) {
        self.registration(|it| it.looked(look));
    }

    fn lost(&mut self) {
        self.registration(Observer::lost);
    }

    fn tick(&mut self, queue_empty: Option<bool>) {
        self.registration(|it| it.tick(queue_empty));
        self.idle = if queue_empty == Some(true) { self.idle.saturating_add(1) } else { 0 };
        if let Some((stop, outcome)) = &self.once
            && self.idle >= LOOKS
        {
            outcome.reach();
            stop.tell();
        }
    }

    fn stopped(&mut self) {
        self.registration(Observer::stopped);
    }
}
