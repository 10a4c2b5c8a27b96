use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::script::{Script, Watchdog};

const SCRIPT: Script = Script("postgres.sh");

/// A private PostgreSQL server with data and port of its own (`scripts/postgres.sh`).
///
/// It ends and its directory goes when this is dropped, or when the test process ends in whatever way. Panics when PostgreSQL is missing:
/// `scripts/postgres.sh install` brings it.
#[derive(Debug)]
pub struct Postgres {
    directory: PathBuf,
    url: String,
    watchdog: Mutex<Option<Watchdog>>,
}

impl Postgres {
    /// Starts a server with an empty database `postgres`, and returns when it accepts connections: a second or two.
    #[must_use]
    pub fn start() -> Self {
        let parent = env::temp_dir();
        let directory = tempfile::Builder::new()
            .prefix("zoutbox-postgres-")
            .tempdir_in(&parent)
            .unwrap_or_else(|error| panic!("no directory for a server below {}: {error}", parent.display()))
            .keep();
        // Before there is anything to end, so that there is no moment in which a dying test leaves something behind.
        let watchdog = Watchdog::start(SCRIPT, &directory);
        let url = SCRIPT.call(&directory, "start", &[]).trim().to_owned();
        assert!(url.starts_with("postgres://"), "postgres.sh start printed no URL but {url:?}");
        Self { directory, url, watchdog: Mutex::new(Some(watchdog)) }
    }

    /// The server that all tests of this process share, started by the first that asks. Tests that use it make a database each, and never
    /// disturb the server.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// The URL of the database `postgres`; it stays the same when the server starts again.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of another database of this server.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        let (server, _) = self.url.rsplit_once('/').unwrap_or_else(|| panic!("no URL: {}", self.url));
        format!("{server}/{database}")
    }

    /// Everything that the server keeps; its log is `server.log`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Kills the server with SIGKILL, all its processes, as a crash would.
    pub fn kill(&self) {
        SCRIPT.call(&self.directory, "kill", &[]);
    }

    /// Starts the server again after [`kill`](Self::kill): same port, same data.
    pub fn start_again(&self) {
        SCRIPT.call(&self.directory, "start", &[]);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let watchdog = self.watchdog.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watchdog) = watchdog {
            watchdog.finish();
        }
    }
}
