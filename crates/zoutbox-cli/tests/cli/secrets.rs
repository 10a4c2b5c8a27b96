//! No password reaches what people read: errors, logs, `status`, and what the relay leaves on the share. Whatever is wrong with the URL it is
//! in, wherever it was put by mistake, and whatever the broker says.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zoutbox_storage::{Share, System};
use zoutbox_test_support::{TestRoot, binary, test_roots};

use crate::support::run;

const SECRET: &str = "s3cret-passw0rd";

/// URLs with the secret in them that are wrong in some way, or lead nowhere.
fn urls() -> Vec<String> {
    [
        "amqp://me:PW@127.0.0.1:1/v",
        "amqp://me:PW@no-such-host.invalid:5672/v",
        "amqps://me:PW@127.0.0.1:1/v",
        "amqp://me:PW@127.0.0.1:99999/v",
        "amqp://me:PW@127.0.0.1:port/v",
        "amqp://me:PW@[::1/v",
        "amqp://me:PW@",
        "amqp://me:a@b/PW@host",
        "amqp://me:PW@host/v?heartbeat=PW",
        "amqp://me:PW@host/v?frame_max=PW",
        "htp://me:PW@host",
        "amqp//me:PW@host",
        "me:PW@host",
        "amqp://me:%zzPW@host",
        "amqp://:PW@",
        "PW",
    ]
    .map(|url| url.replace("PW", SECRET))
    .into()
}

fn share() -> TestRoot {
    let root = test_roots().pop().expect("a root");
    Share::init(&System::real(), &root).expect("made");
    root
}

/// Runs a program for a moment: what it says by then, or until it ends by itself. One that has said nothing gets more time, to start.
fn said(mut command: Command) -> String {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let (tell, heard) = channel();
    hear(child.stderr.take().expect("piped"), tell.clone());
    hear(child.stdout.take().expect("piped"), tell);
    let (began, mut told_to_end, mut text) = (Instant::now(), false, Vec::new());
    loop {
        match heard.recv_timeout(Duration::from_millis(10)) {
            Ok(piece) => text.extend(piece),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let moment = Duration::from_secs(if text.is_empty() { 60 } else { 2 });
        if !told_to_end && began.elapsed() > moment {
            kill(Pid::from_raw(i32::try_from(child.id()).expect("small")), Signal::SIGTERM).expect("sent");
            told_to_end = true;
        }
    }
    child.wait().expect("ended");
    String::from_utf8_lossy(&text).into_owned()
}

/// Tells what comes, until nothing more does: without a reader a program would wait for one.
fn hear(mut from: impl Read + Send + 'static, tell: Sender<Vec<u8>>) {
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            tell.send(piece[..length].to_vec()).expect("somebody listens");
        }
    });
}

#[track_caller]
fn hides(what: &str, said: &str) {
    assert!(!said.is_empty(), "{what}: nothing was said at all");
    assert!(!said.contains(SECRET), "{what}: the password shows: {said}");
}

/// Whatever lies in the directory.
fn everything(directory: &Path) -> String {
    let entries = fs::read_dir(directory).expect("there").map(|entry| entry.expect("an entry").path());
    let text = |path: std::path::PathBuf| {
        if path.is_dir() {
            everything(&path)
        } else {
            String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned()
        }
    };
    entries.map(text).collect()
}

#[test]
fn no_url_however_wrong_shows_its_password_in_what_a_program_says_or_leaves_on_the_share() {
    let root = share();
    let inbox = root.join("inbox.db");
    for url in urls() {
        let consume = |more: &[&str], environment: Option<&str>| {
            let mut command = Command::new(binary("zoutbox"));
            command
                .env_clear()
                .args(["consume", "--queue", "q", "--root"])
                .arg(&*root)
                .arg("--inbox")
                .arg(&inbox);
            command.args(more).envs(environment.map(|url| ("ZOUTBOX_AMQP_URL", url)));
            command
        };
        let relay = |more: &[&str], environment: Option<&str>| {
            let mut command = Command::new(binary("zoutbox-relay"));
            command.env_clear().arg("--root").arg(&*root).args(more);
            command.envs(environment.map(|url| ("ZOUTBOX_AMQP_URL", url)));
            command
        };
        hides(&format!("consume --amqp {url}"), &said(consume(&["--amqp", &url], None)));
        hides(&format!("consume --unpark {url}"), &said(consume(&["--unpark", "--amqp", &url], None)));
        hides(&format!("consume, environment {url}"), &said(consume(&[], Some(&url))));
        hides(&format!("relay --amqp {url}"), &said(relay(&["--amqp", &url], None)));
        hides(&format!("relay, environment {url}"), &said(relay(&["--log", "debug,lapin=off"], Some(&url))));
        let file = root.join("relay.toml");
        fs::write(&file, format!("amqp = '{url}'\n")).expect("written");
        let file = file.display().to_string();
        hides(&format!("relay --config {url}"), &said(relay(&["--config", &file], None)));
        fs::remove_file(&file).expect("removed");
    }
    let status = run(["status", "--root", &root.display().to_string()]);
    hides("status", &format!("{}{}", status.out, status.err));
    hides("the share", &everything(&root));
}

#[test]
fn a_password_that_was_put_into_the_wrong_place_does_not_come_back() {
    let root = share();
    let url = format!("amqp://me:{SECRET}@host/v");
    let root_text = root.display().to_string();
    for command in ["init", "append", "status", "cat", "verify", "dump", "doctor", "consume", "forget"] {
        let ran = run([command, "--no-such-option", &url]);
        hides(command, &ran.err);
        let ran = run([command, &url, "one-too-many", &url]);
        hides(command, &format!("{}{}", ran.out, ran.err));
        let ran = run([command, "--root", &url]);
        hides(command, &format!("{}{}", ran.out, ran.err));
    }
    for arguments in [
        vec![url.as_str()],
        vec!["--root", &root_text, "--publish", &url],
        vec!["--root", &root_text, "--window", &url],
        vec!["--root", &root_text, "--retention", &url],
        vec!["--root", &root_text, "--doorbell", &url],
        vec!["--root", &root_text, "--log", &url],
        vec!["--root", &url, "--stdout"],
        vec!["--config", &url],
        vec!["--root", &root_text, "--amqp", "amqp://me@host", "--password-file", &url],
    ] {
        let mut command = Command::new(binary("zoutbox-relay"));
        command.env_clear().args(&arguments);
        hides(&format!("{arguments:?}"), &said(command));
    }
    for line in [
        "window = 'U'",
        "stdout = 'U'",
        "publish = ['U']",
        "retention = 'U'",
        "queue-type = 'U'",
        "amqp = ['U']",
        "'U' = 1",
        "amqp = 'U",
    ] {
        let file = root.join("relay.toml");
        fs::write(&file, line.replace('U', &url)).expect("written");
        let mut command = Command::new(binary("zoutbox-relay"));
        command.env_clear().arg("--config").arg(&file);
        hides(line, &said(command));
    }
}
