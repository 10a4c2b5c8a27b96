//! The consumer's side of zoutbox. A relay delivers at least once, and often only a pointer to where records lie; with [`Resolver`] and [`Inbox`] every
//! record has its effect exactly once.
//!
//! ```
//! use zoutbox_consumer::{Applied, HeaderValue, Inbox, Message, Payload, Resolver, ResolverOptions, SqliteStore};
//! # let directory = tempfile::tempdir()?;
//! # let (root, path) = (directory.path().join("share"), directory.path().join("billing.db"));
//! # let (share, _) = zoutbox_storage::Share::init(&zoutbox_storage::System::real(), &root)?;
//!
//! let mut resolver = Resolver::open(&root, ResolverOptions::default())?;
//! let mut inbox = Inbox::open(SqliteStore::open(&path)?, "billing")?;
//! inbox.store().connection().execute_batch("CREATE TABLE IF NOT EXISTS paid (invoice BLOB) STRICT")?;
//!
//! // As any AMQP client got it: here the record itself, but it may as well be a pointer to a thousand of them.
//! let text = |text: &str| HeaderValue::Text(text.to_owned());
//! let headers = [
//!     ("zoutbox-share", text("000102030405060708090a0b0c0d0e0f")),
//!     ("zoutbox-writer", text("orders")),
//!     ("zoutbox-epoch", HeaderValue::Integer(3)),
//!     ("zoutbox-seq", HeaderValue::Integer(42)),
//! ];
//! let message = Message {
//!     topic: "invoices.paid".to_owned(),
//!     message_id: Some("orders/3/42".to_owned()),
//!     timestamp_s: Some(1_700_000_000),
//!     headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
//!     body: b"17".to_vec(),
//!     ..Message::default()
//! };
//! # let mut message = message;
//! # message.headers.insert("zoutbox-share".to_owned(), text(&share.id.to_string()));
//!
//! for delivery in 1..=2 {
//!     let records = resolver.resolve(message.clone())?;
//!     for record in records.iter() {
//!         let Payload::Bytes(invoice) = record.payload else { return Err("large payloads are read as a stream".into()) };
//!         let applied = inbox.apply(&record.identity, |tx| tx.execute("INSERT INTO paid VALUES (?1)", [invoice]))?;
//!         assert_eq!(applied, if delivery == 1 { Applied::Now(1) } else { Applied::Duplicate });
//!     }
//!     // Acknowledge the message to the broker here: not earlier.
//! }
//! # let paid: u32 = inbox.store().connection().query_row("SELECT count(*) FROM paid", [], |row| row.get(0))?;
//! # assert_eq!(paid, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What `resolve` promises
//!
//! It makes one API of whatever the relay did: the record in the message, a pointer to one or to many, a payload in a file of its own. What it
//! returns is what was appended, all of what the message leads to, with the identity of each; or it returns an error, and then nothing.
//!
//! Everything in a message may be forged. No file is opened but below the share's root, through no link, and of no other kind; sizes are
//! compared before anything is allocated; bytes are records only if they have the pointer's CRC and are exactly the records that it says.
//!
//! What to do with an error, by [`ResolveError::kind`]:
//!
//! | kind | what it means | what to do with the message |
//! |---|---|---|
//! | `Retry` | [this host does not show it yet](ResolveError::NotYet), or the share is away | resolve it again later; after a while, give it back to the broker |
//! | `Missing` | [it was removed](ResolveError::Expired): the consumer was too slow | set it aside |
//! | `Corrupt` | what lies on the share is not what it must be | set it aside |
//! | `Invalid` | the message is forged, damaged, of another share, or of a newer zoutbox | set it aside |
//! | any other | the share can't be read as things are | stop, and tell a person |
//!
//! It never waits for anything but the disk, and every call may be the last look or the first of many. Large payloads are not read by it:
//! [`Large::open`] gives a reader, with the same errors.
//!
//! # What `apply` promises
//!
//! The effect and the mark that the record was applied are **one transaction** of one database: both are there, durably, or neither is.
//!
//! ```text
//!   apply ──▶ begin, lock the writer's row ──▶ seen? ── yes ──▶ Ok(Duplicate): the effect does not run
//!                                               │ no
//!                                               ▼
//!                                             effect ── Err ──▶ rolled back, Err(Effect): not applied, not marked
//!                                               │ Ok
//!                                               ▼
//!                                             mark, commit ───▶ Ok(Now): applied, durably. Acknowledge the message
//!                                                       └─────▶ Err(Inbox), see its kind
//! ```
//!
//! What to do with an error, by [`InboxError::kind`]:
//!
//! | kind | the record | what to do |
//! |---|---|---|
//! | `Retry` | not applied; or the connection broke during the commit, then the next `apply` finds out | give it back to the broker; apply it again |
//! | `Full` | not applied | make room; then apply it again |
//! | `Unknown` | lies beyond what the inbox remembers, or the effect ended the transaction itself | set it aside: a person decides |
//! | `Corrupt`, `Missing`, `Fatal` | not applied | stop, and tell a person |
//! | `Invalid` | not applied | the caller has a bug |
//!
//! A message is acknowledged after `Ok` and never after `Err`.
//!
//! The effect runs at most once in a call: it is [`FnOnce`]. A transaction that failed (a deadlock, a lock that did not come free) is
//! never repeated in here, since an effect may have done more than write to the database; the message is given back and
//! delivered again, and whether that is safe the inbox knows. What an effect does outside the transaction can happen more than once.
//!
//! # What it remembers
//!
//! For each consumer name, share and writer one row, of about 20 bytes while records come in order, whatever their number. See
//! [`Options::most_runs`] for what gaps cost and what is forgotten beyond the bound: a record that is too far in the past to tell is
//! refused ([`InboxError::Forgotten`]), never dropped, and never applied twice.
//!
//! If the database is lost, so is what the inbox remembers. What the broker or the relay then delivers again is applied again: at least
//! once. [`Inbox::opened`] tells that it started empty; a consumer that is not new should say so loudly.
//!
//! # Stores
//!
//! - [`SqliteStore`], feature `sqlite`, the default: a file on a local disk (not on NFS: WAL needs shared memory).
//! - `PostgresStore`, feature `postgres`.
//! - [`MemoryStore`]: forgets everything at the end of the process. For tests, and for effects that may happen again.

#[cfg(feature = "amqp")]
pub mod consumer;
pub mod inbox;
pub mod message;
#[cfg(feature = "amqp")]
pub mod registration;
pub mod resolver;

#[cfg(feature = "amqp")]
pub use consumer::{
    Consumer, ConsumerAmqp, ConsumerError, ConsumerOptions, HandlerError, Look, Observer, Stop, Summary,
    UnparkOptions, unpark, unpark_blocking,
};
#[cfg(feature = "postgres")]
pub use inbox::PostgresStore;
#[cfg(feature = "sqlite")]
pub use inbox::SqliteStore;
pub use inbox::{
    Applied, ApplyError, Identity, Inbox, InboxError, MemoryStore, Opened, Options, OrderKey, Unkeyed,
    WindowError,
};
pub use message::{HeaderValue, Message};
#[cfg(feature = "amqp")]
pub use registration::{Registration, RegistrationError, RegistrationOptions};
pub use resolver::{Large, LargeReader, Payload, Records, ResolveError, Resolved, Resolver, ResolverOptions};
pub use zoutbox_format::{Pointer, RecordId, ShareId};
pub use zoutbox_storage::ErrorKind;
