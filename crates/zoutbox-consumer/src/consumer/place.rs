//! Where the broker is, and which of its addresses is asked next.
//!
//! A node of a cluster that can be connected to may still be of no use: cut off from the others it gives no messages, or takes none. So what
//! counts is what was wanted of it. Which address is asked first is remembered from one connection to the next:
//!
//! ```text
//!   first ──▶ the next ──▶ … each once ──▶ none does it: the caller waits, and asks the same again
//!     ▲           │ does it
//!     │           ▼
//!     └── lost: the one behind it is the first, so it is asked last
//! ```

use lapin::types::ShortString;
use lapin::uri::AMQPUri;

use zoutbox_storage::misplaces_password;

use super::ConsumerError;
use super::options::{ConsumerAmqp, parked_queue};

/// Seconds between heartbeats, unless the URL says otherwise: a peer that is gone is noticed in twice that.
const HEARTBEAT: u16 = 10;

/// Where to connect to, and what is there.
#[derive(Clone)]
pub(super) struct Place {
    /// Of a cluster, several of its nodes. At least one.
    addresses: Vec<Address>,
    /// The one that is asked first.
    first: usize,
    pub(super) ca: Option<String>,
    pub(super) queue: ShortString,
    pub(super) parked: ShortString,
}

/// One of them.
#[derive(Clone)]
pub(super) struct Address {
    number: usize,
    pub(super) uri: AMQPUri,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// It will not pass by itself.
    pub(super) refused: bool,
}

/// Without credentials.
impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let AMQPUri { scheme, authority, vhost, .. } = &self.uri;
        write!(f, "{scheme}://{}:{}/{}", authority.host, authority.port, vhost.trim_start_matches('/'))
    }
}

/// Where the broker is, without credentials.
impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.addresses.iter().map(Address::to_string).collect::<Vec<_>>().join(", "))
    }
}

impl Place {
    pub(super) fn new(amqp: &ConsumerAmqp, queue: &str) -> Result<Self, ConsumerError> {
        let address = |(number, url): (usize, &str)| {
            if misplaces_password(url) {
                return Err(ConsumerError::Option(
                    "an '@' behind the broker's host: a password with / ? or # in it has them as %2F %3F %23"
                        .into(),
                ));
            }
            let mut uri: AMQPUri = url.trim().parse().map_err(|_| {
                ConsumerError::Option("not a broker's URL: amqp://user@host:port/vhost, or amqps://…".into())
            })?;
            if let Some(password) = &amqp.password {
                uri.authority.userinfo.password.clone_from(password);
            }
            uri.query.heartbeat.get_or_insert(HEARTBEAT);
            Ok::<_, ConsumerError>(Address { number, uri })
        };
        let addresses = amqp.url.split(',').enumerate().map(address).collect::<Result<_, _>>()?;
        let short = |text: String| {
            let name = ShortString::try_new(text);
            name.map_err(|error| ConsumerError::Option(format!("the queue's name with .parked: {error}")))
        };
        if queue.is_empty() {
            return Err(ConsumerError::Option("the queue has no name".into()));
        }
        let (queue, parked) = (short(queue.to_owned())?, short(parked_queue(queue))?);
        Ok(Self { addresses, first: 0, ca: amqp.ca.clone(), queue, parked })
    }

    /// What the first address gives that does what is asked. Each is asked at most once; it is a refusal only if all of them refuse.
    pub(super) async fn ask<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        asking: impl Fn(Address) -> F,
    ) -> Result<T, Failure> {
        let mut failures = Vec::new();
        let (later, sooner) = self.addresses.split_at_checked(self.first).unwrap_or_default();
        for address in sooner.iter().chain(later) {
            match asking(address.clone()).await {
                Ok(done) => {
                    if !failures.is_empty() {
                        // It may be a refusal, which does not pass by itself.
                        tracing::warn!("passed over the broker at {}", joined(failures).reason);
                    }
                    return Ok(done);
                }
                Err(failure) if self.addresses.len() == 1 => return Err(failure),
                Err(Failure { reason, refused }) => {
                    failures.push(Failure { reason: format!("{address}: {reason}"), refused });
                }
            }
        }
        Err(joined(failures))
    }

    /// This one did not go on doing what it was asked for: next time it is asked last.
    pub(super) fn lost(&mut self, address: &Address) {
        self.first = (address.number + 1) % self.addresses.len();
    }
}

fn joined(failures: Vec<Failure>) -> Failure {
    let refused = failures.iter().all(|failure| failure.refused);
    let reasons: Vec<_> = failures.into_iter().map(|failure| failure.reason).collect();
    Failure { reason: reasons.join("; "), refused }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::ready;

    use futures_util::FutureExt;

    use super::*;

    fn place(hosts: &str) -> Place {
        let urls: Vec<_> = hosts.chars().map(|host| format!("amqp://me:secret@{host}/v")).collect();
        Place::new(&ConsumerAmqp::new(urls.join(",")), "orders").unwrap()
    }

    /// Which hosts are asked, and what comes of it, if these can't be used and these refuse.
    fn asked(place: &Place, away: &str, refusing: &str) -> (String, Result<Address, Failure>) {
        let asked = RefCell::new(String::new());
        let asking = |address: Address| {
            let host = address.uri.authority.host.clone();
            asked.borrow_mut().push_str(&host);
            let refused = refusing.contains(&host);
            let fails = refused || away.contains(&host);
            ready(if fails { Err(Failure { reason: format!("no {host}"), refused }) } else { Ok(address) })
        };
        let outcome = place.ask(asking).now_or_never().expect("nothing waits");
        (asked.into_inner(), outcome)
    }

    #[test]
    fn addresses_are_asked_in_their_order_until_one_does_it() {
        for (away, refusing, expected) in [("", "", "a"), ("a", "", "ab"), ("", "a", "ab"), ("a", "b", "abc")]
        {
            let (hosts, outcome) = asked(&place("abc"), away, refusing);
            assert_eq!(hosts, expected);
            assert_eq!(outcome.unwrap().uri.authority.host, expected[expected.len() - 1..]);
        }
    }

    #[test]
    fn the_one_that_was_lost_is_asked_last() {
        let mut place = place("abc");
        let mut lose = |expected: &str, away: &str| {
            let (hosts, outcome) = asked(&place, away, "");
            assert_eq!(hosts, expected);
            place.lost(&outcome.unwrap());
        };
        lose("a", "");
        lose("b", "");
        lose("ca", "c");
        lose("bca", "bc");
        lose("b", "");
        lose("c", "");
        lose("a", "");
    }

    #[test]
    fn where_none_does_it_the_same_is_asked_first_again() {
        let mut place = place("abc");
        let (_, first) = asked(&place, "", "");
        place.lost(&first.unwrap());
        for _ in 0..2 {
            let (hosts, outcome) = asked(&place, "abc", "");
            assert_eq!((hosts.as_str(), outcome.is_err()), ("bca", true));
        }
    }

    #[test]
    fn it_is_a_refusal_only_if_all_refuse() {
        for (away, refusing, refused) in
            [("abc", "", false), ("ab", "c", false), ("c", "ab", false), ("", "abc", true)]
        {
            let failure = asked(&place("abc"), away, refusing).1.err().unwrap();
            assert_eq!(failure.refused, refused, "{away} {refusing}");
            assert_eq!(failure.reason, "amqp://a:5672/v: no a; amqp://b:5672/v: no b; amqp://c:5672/v: no c");
        }
    }

    #[test]
    fn of_a_single_address_the_reason_comes_as_it_is() {
        let mut place = place("a");
        for refusing in ["", "a"] {
            let (hosts, outcome) = asked(&place, "a", refusing);
            let failure = outcome.err().unwrap();
            assert_eq!((hosts.as_str(), failure.reason.as_str()), ("a", "no a"));
            assert_eq!(failure.refused, !refusing.is_empty());
        }
        let (_, address) = asked(&place, "", "");
        place.lost(&address.unwrap());
        assert_eq!(asked(&place, "", "").0, "a");
    }
}
