//! Publishing to RabbitMQ.
//!
//! ```text
//!   Down ──▶ Connecting ──▶ Up: publish, confirms, returns ──▶ Down …      (fresh connection, fresh channel each time)
//!    ▲        └ the next address …
//!    └ backoff, once none of them answered: 0.1 s, doubling to 10 s
//! ```
//!
//! Of several addresses, the nodes of a cluster, the one that was lost is asked last.
//!
//! lapin's own recovery is off: it would reject what was pending, and only the watermark knows where to begin again.
//!
//! A publish is a future that is polled once at the call, which allots lapin's delivery tag and queues the frames; so tags are allotted
//! in the order of calls. It is then kept until it resolves or the connection is given up; while the broker blocks, it just stays
//! pending, and nobody waits for it. That no publish is ever abandoned on a channel that goes on being used is what
//! [`zoutbox_relay_core::Settlement`] needs.

mod link;
mod message;

use std::time::Duration;

use futures_util::future::BoxFuture;
use lapin::uri::AMQPUri;
use tokio::time::{Instant, sleep_until};

use crate::error::RelayError;
use crate::publisher::{Event, Outgoing, Publisher, Undeliverable};
use link::{Link, connect};

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_LAST: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Which kind of queue is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueType {
    /// Replicated, and synced before it confirms.
    #[default]
    Quorum,
    /// On one node.
    Classic,
}

/// Where and how to publish.
#[derive(Clone)]
pub struct AmqpSettings {
    /// The broker, with credentials; of a cluster several of its nodes. At least one.
    pub uris: Vec<AMQPUri>,
    /// PEM certificates to trust besides the system's, for `amqps`.
    pub ca: Option<String>,
    /// The exchange; empty is the default exchange, which routes to the queue named like the topic.
    pub exchange: String,
    /// Declare the exchange, of this type.
    pub declare_exchange: Option<String>,
    /// Declare this queue.
    pub declare_queue: Option<String>,
    /// Of this type.
    pub queue_type: QueueType,
    /// Bind the queue to the exchange with these keys.
    pub bind: Vec<String>,
    /// With no confirm for this long while messages are in flight, and no block, the connection is given up.
    pub confirm_timeout: Duration,
}

/// Where the broker is, without credentials.
impl std::fmt::Display for AmqpSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.uris.iter().map(place).collect::<Vec<_>>().join(", "))
    }
}

fn place(uri: &AMQPUri) -> String {
    let AMQPUri { scheme, authority, vhost, .. } = uri;
    format!("{scheme}://{}:{}/{}", authority.host, authority.port, vhost.trim_start_matches('/'))
}

impl std::fmt::Debug for AmqpSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AmqpSettings({self})")
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may come.
    Passing(String),
    /// The broker refuses, or the configuration does not fit it.
    Refused(String),
}

enum State {
    Down { until: Instant },
    Connecting(BoxFuture<'static, Result<Link, Failure>>),
    Up(Box<Link>),
}

/// Publishes to RabbitMQ with confirms and `mandatory`.
pub struct AmqpPublisher {
    settings: AmqpSettings,
    state: State,
    /// The address that is in use, or is tried next.
    address: usize,
    /// What became of those that were tried since the last wait.
    failures: Vec<String>,
    backoff: Duration,
    /// A refusal before that is the operator's mistake and ends the relay; later, somebody changed the broker.
    was_up: bool,
    /// Why there is no connection, as it was told.
    trouble: String,
}

impl AmqpPublisher {
    /// A publisher that connects once its events are asked for.
    ///
    /// # Panics
    /// Without an address.
    #[must_use]
    pub fn new(settings: AmqpSettings) -> Self {
        assert!(!settings.uris.is_empty(), "a broker has an address");
        Self {
            address: 0,
            failures: Vec::new(),
            settings,
            state: State::Down { until: Instant::now() },
            backoff: BACKOFF_FIRST,
            was_up: false,
            trouble: String::new(),
        }
    }

    fn place(&self) -> String {
        self.settings.uris.get(self.address).map(place).unwrap_or_default()
    }

    fn next_address(&mut self) {
        self.address = (self.address + 1) % self.settings.uris.len();
    }

    fn connect(&mut self) {
        let uri = self.settings.uris.get(self.address).cloned().unwrap_or_default();
        self.state = State::Connecting(Box::pin(connect(self.settings.clone(), uri)));
    }

    /// What to do about a connection that did not come up.
    fn failed(&mut self, failure: Failure) -> Option<Event> {
        let broker = self.place();
        let reason = match failure {
            Failure::Refused(reason) if !self.was_up => {
                return Some(Event::Failed(RelayError::Refused { broker, reason }));
            }
            Failure::Refused(reason) | Failure::Passing(reason) => reason,
        };
        self.failures.push(format!("{broker}: {reason}"));
        self.next_address();
        if self.failures.len() < self.settings.uris.len() {
            self.connect();
            return None;
        }
        let trouble = std::mem::take(&mut self.failures).join("; ");
        if trouble != self.trouble {
            tracing::warn!("waiting for the broker at {trouble}");
            self.trouble = trouble;
        }
        self.wait();
        None
    }

    fn up(&mut self, link: Link) {
        let others = std::mem::take(&mut self.failures).join("; ");
        if !others.is_empty() {
            tracing::warn!("can't connect to the broker at {others}");
        }
        tracing::info!("connected to the broker at {}", self.place());
        self.state = State::Up(Box::new(link));
        self.was_up = true;
        self.trouble.clear();
    }

    fn wait(&mut self) {
        self.state = State::Down { until: Instant::now() + self.backoff };
        self.backoff = (self.backoff * 2).min(BACKOFF_LAST);
    }

    fn lost(&mut self, lost: link::Lost) -> Event {
        self.trouble = format!("{}: {}", self.place(), lost.reason);
        tracing::warn!("lost the connection to the broker at {}", self.trouble);
        self.next_address();
        self.wait();
        Event::Down { blame: lost.blame }
    }
}

impl Publisher for AmqpPublisher {
    fn publish(&mut self, message: Outgoing) -> Result<u64, Undeliverable> {
        match &mut self.state {
            State::Up(link) => link.publish(&message),
            // Never called then; and if it were, a message that is not sent is tried again later.
            State::Down { .. } | State::Connecting(_) => {
                Err(Undeliverable::Forbidden("there is no connection".into()))
            }
        }
    }

    async fn events(&mut self, told: &mut Vec<Event>) {
        loop {
            match &mut self.state {
                State::Down { until } => {
                    sleep_until(*until).await;
                    self.connect();
                }
                State::Connecting(connecting) => match connecting.await {
                    Ok(link) => {
                        self.up(link);
                        told.push(Event::Up);
                        return;
                    }
                    Err(failure) => {
                        if let Some(event) = self.failed(failure) {
                            self.state = State::Down { until: Instant::now() + BACKOFF_LAST };
                            told.push(event);
                            return;
                        }
                    }
                },
                State::Up(link) => {
                    if let Err(lost) = link.events(told).await {
                        let event = self.lost(lost);
                        told.push(event);
                    } else if told.iter().any(|event| matches!(event, Event::Resolved { .. })) {
                        self.backoff = BACKOFF_FIRST;
                    }
                    return;
                }
            }
        }
    }

    fn trouble(&self) -> Option<String> {
        match self.state {
            State::Up(_) => None,
            State::Down { .. } | State::Connecting(_) if self.trouble.is_empty() => {
                Some(self.settings.to_string())
            }
            State::Down { .. } | State::Connecting(_) => Some(self.trouble.clone()),
        }
    }

    fn renew(&mut self) -> bool {
        if !matches!(self.state, State::Up(_)) {
            return false;
        }
        tracing::info!(
            "trying another connection, since the broker at {} keeps refusing a record",
            self.place()
        );
        // What is dropped here is closed in good order, behind our back.
        self.state = State::Down { until: Instant::now() };
        self.next_address();
        true
    }

    async fn close(&mut self) {
        let down = State::Down { until: Instant::now() + BACKOFF_LAST };
        if let State::Up(link) = std::mem::replace(&mut self.state, down)
            && tokio::time::timeout(CLOSE_TIMEOUT, link.close()).await.is_err()
        {
            tracing::info!("the broker did not close the connection in time");
        }
    }
}
