//! A way to the broker that can be harmed.
//!
//! ```text
//!   relay ──▶ ToBroker ──▶ broker        each direction: open, silent, slow, long
//!         ◀── ToRelay  ◀──               each connection: cut (reset at both ends), or closed in one direction
//! ```
//!
//! Silent is what a network does that drops everything: no end hears anything, the connection stays, and what was sent comes later if the
//! way opens again before anybody gives up.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::Queue;
use super::queue::runtime;

const TICK: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToBroker,
    ToRelay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    Silent,
    /// This many bytes a second.
    Slow(usize),
    /// Every piece takes this long.
    Long(Duration),
}

/// Listens, and passes every connection on to one server, as long as it lives.
pub(crate) struct Proxy {
    port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    server: u16,
    to_broker: Mutex<Way>,
    to_relay: Mutex<Way>,
    lines: Mutex<Vec<Arc<Line>>>,
    over: AtomicBool,
}

/// One connection, from end to end.
struct Line {
    relay: TcpStream,
    broker: TcpStream,
    cut: AtomicBool,
    closed_to_broker: AtomicBool,
    closed_to_relay: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    pub(crate) fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = || Mutex::new(Way::Open);
        let inner = Inner {
            server,
            to_broker: open(),
            to_relay: open(),
            lines: Mutex::default(),
            over: AtomicBool::new(false),
        };
        let inner = Arc::new(inner);
        let its = Arc::clone(&inner);
        thread::spawn(move || its.listen(&listener));
        Self { port, inner }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The same queue, for a relay that is to go this way. `query` is that of its URL.
    pub(crate) fn leads_to(&self, queue: &Queue, query: &str) -> Queue {
        let (before, _) = queue.url.rsplit_once(':').unwrap();
        Queue {
            url: format!("{before}:{}/%2f{query}", self.port),
            exchange: queue.exchange.clone(),
            name: queue.name.clone(),
            kind: queue.kind,
        }
    }

    /// From now on, for connections that are there and for new ones.
    pub(crate) fn set(&self, direction: Direction, way: Way) {
        *lock(self.inner.way(direction)) = way;
    }

    /// In both directions.
    pub(crate) fn set_both(&self, way: Way) {
        self.set(Direction::ToBroker, way);
        self.set(Direction::ToRelay, way);
    }

    /// Resets all connections that are there.
    pub(crate) fn cut(&self) {
        for line in lock(&self.inner.lines).drain(..) {
            line.cut.store(true, Ordering::Release);
        }
    }

    /// Ends one direction of all connections that are there: who reads finds the end, who writes is not told.
    pub(crate) fn close(&self, direction: Direction) {
        for line in lock(&self.inner.lines).iter() {
            let (closed, to) = match direction {
                Direction::ToBroker => (&line.closed_to_broker, &line.broker),
                Direction::ToRelay => (&line.closed_to_relay, &line.relay),
            };
            closed.store(true, Ordering::Release);
            drop(to.shutdown(Shutdown::Write));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.inner.over.store(true, Ordering::Release);
        self.cut();
        // Wakes who listens.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl Inner {
    fn way(&self, direction: Direction) -> &Mutex<Way> {
        match direction {
            Direction::ToBroker => &self.to_broker,
            Direction::ToRelay => &self.to_relay,
        }
    }

    fn listen(self: &Arc<Self>, listener: &TcpListener) {
        for relay in listener.incoming() {
            if self.over.load(Ordering::Acquire) {
                return;
            }
            // With the broker away, who comes finds the end at once.
            let (Ok(relay), Ok(broker)) = (relay, TcpStream::connect(("127.0.0.1", self.server))) else {
                continue;
            };
            let line = Line {
                relay: prepared(relay),
                broker: prepared(broker),
                cut: AtomicBool::new(false),
                closed_to_broker: AtomicBool::new(false),
                closed_to_relay: AtomicBool::new(false),
            };
            let line = Arc::new(line);
            lock(&self.lines).push(Arc::clone(&line));
            for direction in [Direction::ToBroker, Direction::ToRelay] {
                let (inner, line) = (Arc::clone(self), Arc::clone(&line));
                thread::spawn(move || inner.pass(&line, direction));
            }
        }
    }

    /// Passes on what comes, until one end has closed or the line is cut.
    fn pass(&self, line: &Line, direction: Direction) {
        let (mut from, mut to, closed) = match direction {
            Direction::ToBroker => (&line.relay, &line.broker, &line.closed_to_broker),
            Direction::ToRelay => (&line.broker, &line.relay, &line.closed_to_relay),
        };
        let mut buffer = [0; 16 * 1024];
        while !line.cut.load(Ordering::Acquire) {
            let way = *lock(self.way(direction));
            let most = match way {
                Way::Open | Way::Long(_) => buffer.len(),
                Way::Slow(rate) => (rate / 20).max(1),
                Way::Silent => {
                    thread::sleep(TICK);
                    continue;
                }
            };
            let length = match from.read(&mut buffer[..most]) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => break,
            };
            match way {
                Way::Slow(_) => thread::sleep(Duration::from_millis(50)),
                Way::Long(delay) => thread::sleep(delay),
                Way::Open | Way::Silent => {}
            }
            // What was on its way when the network fell silent is lost with the rest, until it speaks again.
            while *lock(self.way(direction)) == Way::Silent && !line.cut.load(Ordering::Acquire) {
                thread::sleep(TICK);
            }
            if closed.load(Ordering::Acquire) {
                continue;
            }
            if line.cut.load(Ordering::Acquire) || to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        if !line.cut.load(Ordering::Acquire) {
            drop(to.shutdown(Shutdown::Write));
        }
    }
}

/// A connection that is reset when it is closed without a shutdown, and whose reads don't wait for long.
fn prepared(stream: TcpStream) -> TcpStream {
    let _inside = runtime().enter();
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    stream.set_zero_linger().unwrap();
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(TICK)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}
