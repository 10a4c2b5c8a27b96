//! The relays and the consumers: which processes there are, and how they are told what to do.

use std::process::Command;
use std::sync::Arc;

use zoutbox_format::holder::Holder;
use zoutbox_test_support::{binary, wait_until};

use crate::LONG;
use crate::child;
use crate::effects::Store;
use crate::ground::{EXCHANGE, Ground};
use crate::process::Program;

/// Topics and how they are published; what is not named is published inline.
const RULES: &[&str] = &["*.pointer=pointer", "*.batch=pointer-batch"];

/// How the relays run: small batches that wait for each other, and everything removed as soon as nobody needs it.
const RELAY: &[&str] = &[
    "--batch-records",
    "40",
    "--batch-linger",
    "15ms",
    "--window",
    "300",
    "--checkpoint-interval",
    "1s",
    "--retention",
    "1s",
    "--pointer-retention",
    "1s",
    "--poll-max",
    "200ms",
    "--report-interval",
    "5s",
];

pub(crate) struct Crew {
    relays: [Arc<Program>; 2],
    consumers: [Arc<Program>; 2],
}

impl Crew {
    pub(crate) fn new(ground: &Ground) -> Self {
        let relay = |name: &str| {
            let (root, url) = (ground.root.clone(), ground.broker.url().to_owned());
            let program = Program::new(name, &ground.beside, move || {
                let mut command = Command::new(binary("zoutbox-relay"));
                command.arg("--root").arg(&root).args(["--amqp", &url, "--exchange", EXCHANGE]).args(RELAY);
                for rule in RULES {
                    command.args(["--publish", rule]);
                }
                command
            });
            Arc::new(program)
        };
        let consumer = |store: Store| {
            let told = child::Told {
                root: ground.root.clone(),
                amqp: ground.broker.url().to_owned(),
                database: ground.database(store),
            };
            let name = format!("consumer-{store}");
            Arc::new(Program::new(&name, &ground.beside, move || child::command(&told)))
        };
        Self { relays: [relay("relay-1"), relay("relay-2")], consumers: Store::ALL.map(consumer) }
    }

    pub(crate) fn relays(&self) -> &[Arc<Program>] {
        &self.relays
    }

    pub(crate) fn consumer(&self, store: Store) -> &Arc<Program> {
        match store {
            Store::Sqlite => &self.consumers[0],
            Store::Postgres => &self.consumers[1],
        }
    }

    pub(crate) fn consumers(&self) -> &[Arc<Program>] {
        &self.consumers
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Program>> {
        self.relays.iter().chain(&self.consumers)
    }

    /// The relay that holds the lease. There may be none for a moment: it died, and the other one has not taken over yet.
    pub(crate) fn active(&self, ground: &Ground) -> &Arc<Program> {
        let mut found = None;
        wait_until("a relay of ours holds the lease", LONG, || {
            let lease = std::fs::read(ground.root.join("relay/lease")).unwrap_or_default();
            let holder = Holder::decode(&lease).map(|holder| holder.pid);
            found = self.relays.iter().find(|relay| relay.pid().is_some() && relay.pid() == holder);
            found.is_some()
        });
        found.unwrap()
    }
}
