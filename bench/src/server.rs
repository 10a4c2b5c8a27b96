//! A private `PostgreSQL` server with its own data directory, on a unix socket only: it can neither meet nor disturb one that runs on
//! the machine. It is ended by its own process id.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};
use postgres::{Client, Config, NoTls};

/// Where Debian and its kin keep the server's programs, by major version.
const VERSIONS_DIR: &str = "/usr/lib/postgresql";
/// The superuser inside the private server.
const ROLE: &str = "bench";
/// For starting and for stopping. Seconds are usual.
const PATIENCE: Duration = Duration::from_mins(1);

/// A private server; ended when dropped, if not before.
pub(crate) struct Server {
    process: Child,
    /// The socket's directory. Not below the data: a socket's path has to fit in 107 bytes.
    socket: tempfile::TempDir,
    log: PathBuf,
}

impl Server {
    /// Starts one whose files lie in `dir`, for that many callers, as `user` if this process is root.
    pub(crate) fn start(dir: &Path, callers: usize, user: &str) -> Result<Self> {
        let programs = programs()?;
        let user = if geteuid().is_root() {
            let found = User::from_name(user).with_context(|| format!("looking up the user {user}"))?;
            Some(found.with_context(|| format!("--postgres-user: there is no user {user}"))?)
        } else {
            None
        };
        let (data, log) = (dir.join("data"), dir.join("server.log"));
        let socket = tempfile::Builder::new().prefix("zoutbox-bench-").tempdir()?;
        DirBuilder::new().mode(0o700).create(&data)?;
        if let Some(user) = &user {
            // Our own directory is private; the server's user has to pass through it.
            if let Some(work) = dir.parent() {
                std::fs::set_permissions(work, std::fs::Permissions::from_mode(0o711))?;
            }
            for path in [data.as_path(), socket.path()] {
                chown(path, Some(user.uid), Some(user.gid))
                    .with_context(|| format!("giving {} to {}", path.display(), user.name))?;
            }
        }
        let run = |program: &str| {
            let mut command = match &user {
                // setpriv, and not the standard library's uid(), because it can also end the server with us.
                Some(user) => {
                    let mut command = Command::new("setpriv");
                    command.args(["--reuid", &user.uid.to_string(), "--regid", &user.gid.to_string()]);
                    command.args(["--clear-groups", "--pdeathsig", "INT", "--"]).arg(programs.join(program));
                    command
                }
                None => Command::new(programs.join(program)),
            };
            command.current_dir(if user.is_some() { Path::new("/") } else { dir }).stdin(Stdio::null());
            command
        };
        let made = run("initdb")
            .args(["--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--username", ROLE, "--pgdata"])
            .arg(&data)
            .output()
            .context("running initdb")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr).trim());

        let output = File::create(&log)?;
        let process = run("postgres")
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(socket.path())
            .args(["-c", "listen_addresses=", "-c", &format!("max_connections={}", callers + 10)])
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("starting postgres")?;
        let mut server = Self { process, socket, log };
        server.await_start()?;
        server.ensure_durable()?;
        Ok(server)
    }

    fn await_start(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            let Err(error) = self.connect() else { return Ok(()) };
            let ended = self.process.try_wait()?;
            if ended.is_some() || start.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let last = log.lines().last().unwrap_or("nothing in its log").to_owned();
                return Err(error.context(format!("the server does not start: {last}")));
            }
            sleep(Duration::from_millis(100));
        }
    }

    fn ensure_durable(&self) -> Result<()> {
        let mut client = self.connect()?;
        for setting in ["fsync", "synchronous_commit"] {
            let value: String = client.query_one(&format!("SHOW {setting}"), &[])?.get(0);
            ensure!(value == "on", "{setting} is {value} in place of on");
        }
        Ok(())
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Result<Client> {
        self.config().connect(NoTls).context("connecting")
    }

    /// How to connect.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new();
        config.host_path(self.socket.path()).user(ROLE).dbname("postgres");
        config
    }

    /// Ends it.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    /// Asks for a fast shutdown, waits, and insists if that takes too long.
    fn end(&mut self) -> Result<()> {
        if self.process.try_wait()?.is_some() {
            return Ok(());
        }
        kill(Pid::from_raw(self.process.id().try_into()?), Signal::SIGINT).context("stopping postgres")?;
        let start = Instant::now();
        while self.process.try_wait()?.is_none() {
            if start.elapsed() > PATIENCE {
                self.process.kill()?;
                self.process.wait()?;
                bail!("postgres had to be killed");
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("zoutbox-bench: {error:#}");
        }
    }
}

/// The directory of the newest installed server's programs.
fn programs() -> Result<PathBuf> {
    let newest = std::fs::read_dir(VERSIONS_DIR)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
            let bin = path.join("bin");
            (bin.join("initdb").is_file() && bin.join("postgres").is_file()).then_some((version, bin))
        })
        .max();
    newest.map(|(_, bin)| bin).with_context(|| {
        format!(
            "no initdb and postgres in {VERSIONS_DIR}/*/bin; install them with: apt-get install postgresql"
        )
    })
}
