//! Publishing to RabbitMQ.
//!
//! ```text
//!   Down ──▶ Connecting ──▶ Up: publish, confirms, returns ──▶ Down …      (fresh connection, fresh channel each time)
//!    └ backoff: 0.1 s, doubling to 10 s
//! ```
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
    /// The broker, with credentials.
    pub uri: AMQPUri,
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
        let AMQPUri { scheme, authority, vhost, .. } = &self.uri;
        write!(f, "{scheme}://{}:{}/{}", authority.host, authority.port, vhost.trim_start_matches('/'))
    }
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
    backoff: Duration,
    /// A refusal before that is the operator's mistake and ends the relay; later, somebody changed the broker.
    was_up: bool,
    last_complaint: String,
}

impl AmqpPublisher {
    /// A publisher that connects once its events are asked for.
    #[must_use]
    pub fn new(settings: AmqpSettings) -> Self {
        Self {
            settings,
            state: State::Down { until: Instant::now() },
            backoff: BACKOFF_FIRST,
            was_up: false,
            last_complaint: String::new(),
        }
    }

    /// What to do about a connection that did not come up.
    fn failed(&mut self, failure: Failure) -> Option<Event> {
        let reason = match failure {
            Failure::Refused(reason) if !self.was_up => {
                let broker = self.settings.to_string();
                return Some(Event::Failed(RelayError::Refused { broker, reason }));
            }
            Failure::Refused(reason) | Failure::Passing(reason) => reason,
        };
        if reason != self.last_complaint {
            tracing::warn!("waiting for the broker at {}: {reason}", self.settings);
            self.last_complaint = reason;
        }
        self.wait();
        None
    }

    fn wait(&mut self) {
        self.state = State::Down { until: Instant::now() + self.backoff };
        self.backoff = (self.backoff * 2).min(BACKOFF_LAST);
    }

    fn lost(&mut self, lost: link::Lost) -> Event {
        tracing::warn!("lost the connection to the broker at {}: {}", self.settings, lost.reason);
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
                    self.state = State::Connecting(Box::pin(connect(self.settings.clone())));
                }
                State::Connecting(connecting) => match connecting.await {
                    Ok(link) => {
                        tracing::info!("connected to the broker at {}", self.settings);
                        self.state = State::Up(Box::new(link));
                        self.was_up = true;
                        self.last_complaint.clear();
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
        let why = Some(&self.last_complaint).filter(|complaint| !complaint.is_empty());
        match self.state {
            State::Up(_) => None,
            State::Down { .. } | State::Connecting(_) => Some(match why {
                Some(why) => format!("{}: {why}", self.settings),
                None => self.settings.to_string(),
            }),
        }
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
