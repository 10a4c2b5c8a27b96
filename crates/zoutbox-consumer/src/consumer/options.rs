//! How a consumer works.

use std::time::Duration;

use crate::inbox::Unkeyed;

/// Where the broker is. Its `Debug` shows no credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct ConsumerAmqp {
    /// `amqp://` or `amqps://`, with credentials. Of a cluster, several of its nodes with commas between them (a comma in a password is
    /// `%2C`): they are asked in that order until one is of use, the one that was lost last.
    pub url: String,
    /// A password in place of the URLs'.
    pub password: Option<String>,
    /// PEM certificates to trust besides the system's, for `amqps`: the text, not a path.
    pub ca: Option<String>,
}

impl ConsumerAmqp {
    /// A broker, with the system's certificates.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), password: None, ca: None }
    }
}

impl std::fmt::Debug for ConsumerAmqp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerAmqp").field("own_ca", &self.ca.is_some()).finish_non_exhaustive()
    }
}

/// How a consumer works.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerOptions {
    /// The broker.
    pub amqp: ConsumerAmqp,
    /// The queue, which must be there: it is waited for. Beside it the consumer declares `<queue>.parked`.
    pub queue: String,
    /// How many messages are held at most that are not acknowledged, 1 to 65535; 64 by default.
    pub prefetch: u16,
    /// How often a record is handed to the handler before it is parked, if that says [`HandlerError::Retry`](super::HandlerError::Retry)
    /// each time: 10 by default; 0 is for ever.
    pub tries: u32,
    /// How long to wait before something is tried again, doubling each time: 100 ms by default.
    pub retry_min: Duration,
    /// And at most this long: 30 s by default.
    pub retry_max: Duration,
    /// How long a message is held that leads to what this host does not show yet, before it is given back to the broker: 60 s by default.
    pub not_yet_limit: Duration,
    /// With this many records parked the consumer ends with an error instead of parking one more: 100,000 by default.
    pub most_parked: usize,
    /// What records without a key wait for.
    pub unkeyed: Unkeyed,
    /// Whether the records of one message are applied in one transaction, as long as none of them fails: `true` by default. If one does, the
    /// handler is called again for those before it. `false` for effects that are not only in the transaction, and should seldom happen twice.
    pub together: bool,
}

impl ConsumerOptions {
    /// A consumer of this queue, with the defaults.
    #[must_use]
    pub fn new(amqp: ConsumerAmqp, queue: impl Into<String>) -> Self {
        Self {
            amqp,
            queue: queue.into(),
            prefetch: 64,
            tries: 10,
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(30),
            not_yet_limit: Duration::from_mins(1),
            most_parked: 100_000,
            unkeyed: Unkeyed::Independent,
            together: true,
        }
    }

    /// Where what can't be applied is set aside.
    #[must_use]
    pub fn parked_queue(&self) -> String {
        parked_queue(&self.queue)
    }
}

/// What to bring back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnparkOptions {
    /// The broker.
    pub amqp: ConsumerAmqp,
    /// The consumer's queue: messages move from `<queue>.parked` to it.
    pub queue: String,
}

pub(super) fn parked_queue(queue: &str) -> String {
    format!("{queue}.parked")
}
