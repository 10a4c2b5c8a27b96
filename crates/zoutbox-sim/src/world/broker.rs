//! `RabbitMQ`, and the client in front of it.
//!
//! ```text
//!   SimPublisher ─▶ on the way in ─▶ broker ─▶ queue ─▶ consumer
//!        ▲          (lost from any      │ returns, then confirms: one, many, or none, in frames
//!        └─ events ◀── frames ◀─────────┘ (the connection may break between any two)
//! ```
//!
//! The client gives a return to whichever confirm completes next, and completes the tags of a confirm of many in no order: that is how lapin
//! does it, and why a confirm alone proves nothing.

use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use zoutbox_consumer::{HeaderValue, Message};
use zoutbox_format::pointer::POINTER_CONTENT_TYPE;
use zoutbox_format::{RecordId, RecordRef};
use zoutbox_relay::{Content, Event, Outgoing, Publisher, Returned, Undeliverable};
use zoutbox_relay_core::{Key, Resolution};

use super::harm::Harm;
use super::knobs::Broken;
use super::{State, World};
use crate::checkers::Seen;

/// Topics that begin like this are not always routed.
pub const VOID: &str = "void";

/// A message in the queue.
#[derive(Debug, Clone)]
pub struct Stored {
    /// As a consumer gets it.
    pub message: Message,
    /// Whose records.
    pub id: RecordId,
    /// How many.
    pub count: u32,
    /// How often a consumer gave it back.
    pub tries: u32,
}

/// Something that the broker says to a client.
#[derive(Debug, Clone)]
enum Frame {
    Return { id: String },
    Confirm { tag: u64, multiple: bool, resolution: Resolution },
    Blocked(bool),
}

/// A connection with its channel, from both ends.
#[derive(Debug, Default)]
pub struct Connection {
    /// Whether the client has it.
    pub up: bool,
    /// Whether the broker has it.
    open: bool,
    inbound: VecDeque<(u64, Stored)>,
    /// What the broker is done with and has not said.
    unsaid: Vec<(u64, Resolution)>,
    frames: VecDeque<Frame>,
    /// Of the client.
    next_tag: u64,
    pending: BTreeSet<u64>,
    returns: VecDeque<String>,
    relay: usize,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Broker {
    connections: Vec<Connection>,
    /// What consumers get.
    pub queue: VecDeque<Stored>,
    /// It takes nothing.
    pub blocked: bool,
    /// Nobody can connect.
    pub away: bool,
    /// Whether there is a queue for the topics that are not always routed.
    pub routes_void: bool,
}

/// The relay's end of its connections, one after the other. Clones share it.
#[derive(Debug, Clone)]
pub struct SimPublisher {
    world: World,
    connection: Arc<AtomicUsize>,
}

impl SimPublisher {
    /// One without a connection.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self { world, connection: Arc::new(AtomicUsize::new(usize::MAX)) }
    }

    /// Connects, if the broker lets it.
    #[must_use]
    pub fn connect(&self, relay: usize) -> bool {
        let mut state = self.world.lock();
        if state.broker.away {
            return false;
        }
        let number = state.broker.connections.len();
        self.connection.store(number, Ordering::Relaxed);
        let blocked = state.broker.blocked.then_some(Frame::Blocked(true));
        state.broker.connections.push(Connection {
            up: true,
            open: true,
            relay,
            next_tag: 1,
            frames: blocked.into_iter().collect(),
            ..Connection::default()
        });
        state.say("network", format_args!("connection {number} is up"));
        true
    }

    /// Which one it has.
    #[must_use]
    pub fn connection(&self) -> usize {
        self.connection.load(Ordering::Relaxed)
    }
}

impl Publisher for SimPublisher {
    fn publish(&mut self, message: Outgoing) -> Result<u64, Undeliverable> {
        let stored = stored(&message)?;
        let mut state = self.world.lock();
        let Some(connection) = state.broker.connections.get_mut(self.connection()) else {
            return Err(Undeliverable::Undecodable("published without a connection".into()));
        };
        let tag = connection.next_tag;
        connection.next_tag += 1;
        connection.pending.insert(tag);
        let relay = connection.relay;
        // What is written to a connection that broke goes nowhere, also before the client knows.
        if connection.up {
            connection.inbound.push_back((tag, stored.clone()));
        }
        state.counts.published += 1;
        let name = state.processes.get(relay).map(|process| process.name.clone()).unwrap_or_default();
        state.say(&name, format_args!("publishes {} ({} records), tag {tag}", stored.id, stored.count));
        let (first, count) = (key(&stored.id), stored.count);
        state.see(&Seen::Published { relay, writer: stored.id.writer.as_str(), first, count });
        Ok(tag)
    }

    fn events(&mut self, _told: &mut Vec<Event>) -> impl Future<Output = ()> + Send {
        pending()
    }

    fn renew(&mut self) -> bool {
        let mut state = self.world.lock();
        state.say("network", format_args!("connection {} is given up", self.connection()));
        state.disconnect(self.connection());
        true
    }

    fn close(&mut self) -> impl Future<Output = ()> + Send {
        pending()
    }
}

fn key(id: &RecordId) -> Key {
    Key { epoch: id.epoch, sequence: id.sequence }
}

/// The message as consumers get it: what FORMAT.md says under "Messages".
fn stored(outgoing: &Outgoing) -> Result<Stored, Undeliverable> {
    let integer = |number: u64| HeaderValue::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let text = |text: &str| HeaderValue::Text(text.to_owned());
    let id = outgoing.id.clone();
    let mut message = Message { message_id: Some(id.to_string()), ..Message::default() };
    let timestamp_ms = match &outgoing.content {
        Content::Record(body) => {
            let record =
                RecordRef::decode(body).map_err(|error| Undeliverable::Undecodable(error.to_string()))?;
            record.topic.clone_into(&mut message.topic);
            message.content_type = record.content_type.map(str::to_owned);
            message.body = record.payload().to_vec();
            record.timestamp_ms
        }
        Content::Run(run) => {
            message.topic = run.topic.to_string();
            message.content_type = Some(POINTER_CONTENT_TYPE.to_owned());
            message.headers.insert("zoutbox-pointer".into(), integer(run.count.into()));
            message.body = run.pointer(outgoing.share, id.writer.clone()).encode();
            run.timestamp_ms
        }
    };
    let headers = [
        ("zoutbox-share", text(&outgoing.share.to_string())),
        ("zoutbox-writer", text(id.writer.as_str())),
        ("zoutbox-epoch", integer(id.epoch.get())),
        ("zoutbox-seq", integer(id.sequence.get())),
        ("zoutbox-timestamp-ms", integer(timestamp_ms)),
    ];
    message.headers.extend(headers.map(|(name, value)| (name.to_owned(), value)));
    Ok(Stored { message, id, count: outgoing.content.records(), tries: 0 })
}

impl State {
    /// The broker does something for one of its connections.
    pub fn step_broker(&mut self) {
        let busy: Vec<usize> = (0..)
            .zip(&self.broker.connections)
            .filter(|(_, c)| c.open && !(c.inbound.is_empty() && c.unsaid.is_empty()))
            .map(|(number, _)| number)
            .collect();
        let Some(number) = busy.get(self.random.index(busy.len())).copied() else { return };
        if self.random.chance(600) && !self.broker.blocked {
            for _ in 0..self.random.between(1, 8) {
                self.take_in(number);
            }
        } else {
            self.say_confirm(number);
        }
    }

    fn is_queue_full(&self) -> bool {
        !self.calm && self.knobs.queue_limit.is_some_and(|limit| self.broker.queue.len() >= limit)
    }

    /// The broker takes one message in. False if there is none.
    fn take_in(&mut self, number: usize) -> bool {
        let Some(connection) = self.broker.connections.get_mut(number) else { return false };
        let Some((tag, stored)) = connection.inbound.pop_front() else { return false };
        let (writer, first, count) = (stored.id.writer.clone(), key(&stored.id), stored.count);
        let refused = Seen::Refused { writer: writer.as_str(), first, count };
        let resolution = if stored.message.topic.starts_with(VOID) && !self.broker.routes_void {
            self.counts.harms.note(Harm::Returned);
            self.say("broker", format_args!("returns {}", stored.id));
            self.see(&refused);
            if let Some(connection) = self.broker.connections.get_mut(number) {
                connection.frames.push_back(Frame::Return { id: stored.id.to_string() });
            }
            Resolution::Confirmed
        } else if self.is_queue_full() {
            self.counts.harms.note(Harm::QueueFull);
            self.say("broker", format_args!("nacks {}: the queue is full", stored.id));
            self.see(&refused);
            Resolution::Nacked
        } else if !self.calm && self.random.chance(self.knobs.nacks) {
            self.counts.harms.note(Harm::Nacked);
            self.say("broker", format_args!("nacks {}", stored.id));
            self.see(&refused);
            // Some of its queues, or of their members, may have it all the same.
            if self.random.chance(300) {
                self.accept(stored);
            }
            Resolution::Nacked
        } else {
            if !(self.broken == Broken::Confirms && self.random.chance(20)) {
                self.accept(stored);
            }
            Resolution::Confirmed
        };
        if let Some(connection) = self.broker.connections.get_mut(number) {
            connection.unsaid.push((tag, resolution));
        }
        true
    }

    fn accept(&mut self, stored: Stored) {
        self.say("broker", format_args!("has {} ({} records)", stored.id, stored.count));
        let message = &stored.message;
        let inline = message.content_type.as_deref() != Some(POINTER_CONTENT_TYPE);
        let content = inline.then_some((message.topic.as_str(), message.body.as_slice()));
        let (writer, first, count) = (stored.id.writer.as_str(), key(&stored.id), stored.count);
        self.see(&Seen::Accepted { writer, first, count, content });
        self.broker.queue.push_back(stored);
    }

    /// The broker confirms one message, or many at once.
    fn say_confirm(&mut self, number: usize) {
        let Some(connection) = self.broker.connections.get_mut(number) else { return };
        let at = self.random.index(connection.unsaid.len());
        let Some((tag, resolution)) = connection.unsaid.get(at).copied() else { return };
        let same = connection.unsaid.iter().filter(|(other, _)| *other <= tag).all(|(_, r)| *r == resolution);
        let multiple = same && self.random.chance(500);
        connection.unsaid.retain(|(other, _)| if multiple { *other > tag } else { *other != tag });
        connection.frames.push_back(Frame::Confirm { tag, multiple, resolution });
    }

    /// What the client makes of the next frame that arrives. Nothing if there is none.
    pub fn hear(&mut self, number: usize) -> Vec<Event> {
        let Some(connection) = self.broker.connections.get_mut(number) else { return Vec::new() };
        let mut events = Vec::new();
        match connection.frames.pop_front() {
            None => {}
            Some(Frame::Blocked(true)) => events.push(Event::Blocked("low on memory".into())),
            Some(Frame::Blocked(false)) => events.push(Event::Unblocked),
            Some(Frame::Return { id }) => connection.returns.push_back(id),
            Some(Frame::Confirm { tag, multiple, resolution }) => {
                let confirmed = |other: &u64| if multiple { *other <= tag } else { *other == tag };
                let mut tags: Vec<u64> = connection.pending.iter().copied().filter(confirmed).collect();
                while !tags.is_empty() {
                    let tag = tags.swap_remove(self.random.index(tags.len()));
                    connection.pending.remove(&tag);
                    let reason = Undeliverable::Unroutable("NO_ROUTE".into());
                    let returned = connection.returns.pop_front().map(|id| Returned { id, reason });
                    events.push(Event::Resolved { tag, resolution, returned });
                }
            }
        }
        events
    }

    /// Whether the client still has the connection.
    #[must_use]
    pub fn is_connected(&self, number: usize) -> bool {
        self.broker.connections.get(number).is_some_and(|connection| connection.up)
    }

    /// The connection breaks. What was on its way in may still get there, in part; what was said is not heard.
    pub fn disconnect(&mut self, number: usize) {
        let Some(connection) = self.broker.connections.get_mut(number).filter(|c| c.up) else { return };
        connection.up = false;
        connection.frames.clear();
        let arrives = self.random.index(connection.inbound.len() + 1);
        connection.inbound.truncate(arrives);
        self.say("network", format_args!("connection {number} breaks"));
    }

    /// All connections of a relay break: it is gone.
    pub fn disconnect_relay(&mut self, relay: usize) {
        let its: Vec<usize> = (0..)
            .zip(&self.broker.connections)
            .filter(|(_, c)| c.relay == relay && c.up)
            .map(|(n, _)| n)
            .collect();
        for number in its {
            self.disconnect(number);
        }
    }

    /// Some connection breaks, though both its ends live.
    pub fn disconnect_any(&mut self) {
        let up: Vec<usize> =
            (0..).zip(&self.broker.connections).filter(|(_, c)| c.up).map(|(n, _)| n).collect();
        if let Some(number) = up.get(self.random.index(up.len())).copied() {
            self.counts.harms.note(Harm::Disconnected);
            self.disconnect(number);
        }
    }

    /// The broker begins or ends to block.
    pub fn block(&mut self, blocked: bool) {
        if self.broker.blocked == blocked {
            return;
        }
        self.broker.blocked = blocked;
        if blocked {
            self.counts.harms.note(Harm::Blocked);
        }
        self.say("broker", format_args!("{}", if blocked { "blocks" } else { "takes records again" }));
        for connection in self.broker.connections.iter_mut().filter(|connection| connection.up) {
            connection.frames.push_back(Frame::Blocked(blocked));
        }
    }

    /// Whether an acknowledgement does not arrive: the message is delivered again.
    pub fn loses_ack(&mut self) -> bool {
        let lost = !self.calm && self.random.chance(50);
        if lost {
            self.counts.harms.note(Harm::AckLost);
        }
        lost
    }

    /// Whether nothing is on its way in or out.
    #[must_use]
    pub fn is_broker_idle(&self) -> bool {
        self.broker.queue.is_empty()
            && self
                .broker
                .connections
                .iter()
                .all(|c| !c.open || (c.inbound.is_empty() && c.unsaid.is_empty()))
    }
}
