use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::script::{Script, Watchdog};

/// Names the directory below which nodes keep their data, if not the system's for temporary files.
const PARENT: &str = "ZOUTBOX_BROKER_PARENT";

const SCRIPT: Script = Script("broker.sh");

/// A private RabbitMQ node with data, ports and a name of its own (`scripts/broker.sh`).
///
/// It ends and its directory goes when this is dropped, or when the test process ends in whatever way.
/// All methods block; an `async` test calls those that take seconds through `spawn_blocking` or before it connects.
#[derive(Debug)]
pub struct Broker {
    directory: PathBuf,
    url: String,
    port: u16,
    watchdog: Mutex<Option<Watchdog>>,
}

impl Broker {
    /// Starts a node and returns when it is fully booted: 4 s on an idle machine, longer on a busy one.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts a node with these lines appended to its `rabbitmq.conf`.
    #[must_use]
    pub fn start_with(configuration: &str) -> Self {
        Self::make(configuration, None)
    }

    /// Starts three nodes that form a cluster: on an idle machine in 20 s. Kill them as you like; `stop` and `start_again` only while the
    /// first one is there, whose epmd they share.
    #[must_use]
    pub fn start_cluster() -> [Self; 3] {
        let first = Self::start();
        let [second, third] = [(); 2].map(|()| Self::make("", Some(&first)));
        [first, second, third]
    }

    fn make(configuration: &str, cluster: Option<&Self>) -> Self {
        let parent = env::var_os(PARENT).map_or_else(env::temp_dir, PathBuf::from);
        let directory = tempfile::Builder::new()
            .prefix("zoutbox-broker-")
            .tempdir_in(&parent)
            .unwrap_or_else(|error| panic!("no directory for a broker below {}: {error}", parent.display()))
            .keep();
        // Before there is anything to end, so that there is no moment in which a dying test leaves something behind.
        let watchdog = Watchdog::start(SCRIPT, &directory);
        fs::write(directory.join("extra.conf"), configuration)
            .unwrap_or_else(|error| panic!("cannot write to {}: {error}", directory.display()));
        let url = match cluster.and_then(|node| node.directory.to_str()) {
            Some(other) => SCRIPT.call(&directory, "join", &[other]),
            None => SCRIPT.call(&directory, "start", &[]),
        };
        let url = url.trim().to_owned();
        let port = url
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .unwrap_or_else(|| panic!("broker.sh start printed no URL but {url:?}"));
        Self { directory, url, port, watchdog: Mutex::new(Some(watchdog)) }
    }

    /// The node that all tests of this process share, started by the first that asks. Tests that use it name their
    /// queues so that they don't meet, and never disturb the node.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// `amqp://guest:guest@127.0.0.1:PORT`; it stays the same when the node starts again.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The AMQP port; it stays the same when the node starts again.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the node's Erlang virtual machine, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let output = SCRIPT.run(&self.directory, "pid", &[]);
        if output.status.success() {
            String::from_utf8_lossy(&output.stdout).trim().parse().ok()
        } else {
            None
        }
    }

    /// Everything that the node keeps; its log is `node.log`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Kills the node as a crash would, with SIGKILL, and returns when it is gone.
    pub fn kill(&self) {
        SCRIPT.call(&self.directory, "kill", &[]);
    }

    /// Shuts the node down in good order, and returns when it and its epmd are gone.
    pub fn stop(&self) {
        SCRIPT.call(&self.directory, "stop", &[]);
    }

    /// Starts the node again after [`kill`](Self::kill) or [`stop`](Self::stop): same port, same data.
    pub fn start_again(&self) {
        SCRIPT.call(&self.directory, "start", &[]);
    }

    /// Runs `rabbitmqctl --silent` with these arguments against the node and returns what it prints, one line a row, with
    /// tabs between columns. Each call boots an Erlang virtual machine: about a second. Panics when it fails.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        SCRIPT.call(&self.directory, "ctl", &[&["--silent"], arguments].concat())
    }

    /// Raises the memory alarm: the node tells publishers `connection.blocked` and reads nothing more from them.
    pub fn block(&self) {
        self.ctl(&["set_vm_memory_high_watermark", "0"]);
    }

    /// Ends the memory alarm.
    pub fn unblock(&self) {
        self.ctl(&["set_vm_memory_high_watermark", "0.4"]);
    }
}

impl Broker {
    /// Raises the disk alarm: as [`block`](Self::block), for another reason.
    pub fn block_by_disk(&self) {
        self.ctl(&["set_disk_free_limit", "1000000GB"]);
    }

    /// Ends the disk alarm.
    pub fn unblock_by_disk(&self) {
        self.ctl(&["set_disk_free_limit", "50MB"]);
    }

    /// Whether the node would find this quorum queue again if it were killed now. It writes that down some seconds after the declaration;
    /// killed before, RabbitMQ 3.10.8 comes back with a queue that has no leader and never confirms anything again.
    #[must_use]
    pub fn has_written_down(&self, queue: &str) -> bool {
        let entries = |path: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            entries.flatten().map(|entry| entry.path()).collect()
        };
        let nodes = entries(&self.directory.join("data")).into_iter().map(|node| node.join("quorum"));
        nodes.filter(|path| path.is_dir()).flat_map(|path| entries(&path)).any(|path| {
            let bytes = fs::read(path.join("names.dets")).unwrap_or_default();
            bytes.windows(queue.len()).any(|window| window == queue.as_bytes())
        })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The watchdog would do it anyway; waiting for it means that nothing is left when a test has ended.
        let watchdog = self.watchdog.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watchdog) = watchdog {
            watchdog.finish();
        }
    }
}
