//! What can't be: one line that names it, an exit code that says whose turn it is, and nothing lost or made.

use std::fs;
use std::path::PathBuf;

use zoutbox_test_support::{Broker, Hits};

use crate::support::{Consumer, Ended, Queue, Relay, World, fault, list};

const SECRET: &str = "s3cret-passw0rd";

/// Runs a relay that is to end by itself, with this code and a line that names all of these.
fn refused<A: AsRef<std::ffi::OsStr>>(
    root: &std::path::Path,
    arguments: impl IntoIterator<Item = A>,
    environment: &[(&str, &str)],
    code: i32,
    named: &[&str],
) -> Ended {
    let ended = Relay::start_with(root, arguments, environment).wait();
    assert_eq!(ended.code, Some(code), "{ended:#?}");
    for named in named {
        assert!(ended.message().contains(named), "'{named}' is not named: {ended:#?}");
    }
    assert!(!ended.log.contains(SECRET), "the password shows: {ended:#?}");
    assert_eq!(ended.output, Vec::<String>::new());
    ended
}

#[test]
fn a_wrong_password_names_the_broker_and_never_the_password() {
    let world = World::new();
    world.writer("orders").append_many(1);
    let port = Broker::shared().port();
    let place = format!("127.0.0.1:{port}");
    let url = format!("amqp://guest:{SECRET}@{place}");
    refused(world.root(), ["--amqp", &url], &[], 69, &[&place]);
    refused(world.root(), [""; 0], &[("ZOUTBOX_AMQP_URL", &url)], 69, &[&place]);
    let bare = format!("amqp://guest@{place}");
    refused(world.root(), ["--amqp", &bare], &[("ZOUTBOX_AMQP_PASSWORD", SECRET)], 69, &[&place]);
    let file = world.beside.join("password").display().to_string();
    fs::write(&file, SECRET).unwrap();
    refused(world.root(), ["--amqp", &bare, "--password-file", &file], &[], 69, &[&place]);
    refused(world.root(), ["--amqp", &url, "--log", "trace,lapin=off"], &[], 69, &[&place]);
    assert_eq!(world.confirmed("orders"), 1);
}

#[test]
fn an_unknown_exchange_and_an_unknown_virtual_host_end_the_relay() {
    let world = World::new();
    let url = Broker::shared().url();
    refused(world.root(), ["--amqp", url, "--exchange", "nobody-made-this"], &[], 69, &["nobody-made-this"]);
    let nowhere = format!("{url}/no-such-host");
    refused(world.root(), ["--amqp", &nowhere, "--exchange", "e"], &[], 69, &["no-such-host"]);
}

#[test]
fn a_queue_of_another_kind_ends_the_relay_and_is_left_as_it_is() {
    let world = World::new();
    let queue = Queue::of_kind(Broker::shared(), "another-kind", "classic", &["#"]);
    refused(world.root(), queue.with(&["--declare-queue", &queue.name]), &[], 69, &[&queue.name]);
}

#[test]
fn an_exchange_that_goes_away_later_stops_nothing_for_good() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "goes-away", &["#"]));
    let mut orders = world.writer("orders");
    orders.append_many(10);
    let consumer = Consumer::start(&queue);
    let relay = Relay::start(world.root(), queue.arguments());
    world.wait_until_confirmed(&orders);
    queue.delete_exchange();
    orders.append_many(10);
    relay.wait_for_log("waiting for the broker");
    assert!(relay.log().contains(&queue.exchange), "{}", relay.log());
    queue.declare(&["#"]);
    consumer.wait_for_all_in_order(&[&orders]);
    relay.stop();
}

#[test]
fn a_root_that_is_no_share_is_refused_and_left_empty() {
    let world = World::new();
    let empty = world.beside.join("not-mounted");
    fs::create_dir(&empty).unwrap();
    refused(&empty, ["--stdout"], &[], 66, &[empty.to_str().unwrap()]);
    assert_eq!(list(&empty), Vec::<PathBuf>::new(), "something was made there");
    let missing = world.beside.join("missing");
    refused(&missing, ["--stdout"], &[], 66, &[missing.to_str().unwrap()]);
    assert!(!missing.exists());
}

#[test]
fn an_idle_relay_ends_when_its_share_goes_away_and_stays_when_it_is_still_one() {
    let world = World::new();
    let mut orders = world.writer("orders");
    orders.append_many(3);
    orders.close();
    let relay = Relay::start(world.root(), ["--stdout", "--poll-max", "50ms"]);
    world.wait_until_confirmed(&orders);
    // The marker still says that it is a share, so this may pass.
    let (writers, aside) = (world.share.layout.writers(), world.beside.join("aside"));
    fs::rename(&writers, &aside).unwrap();
    relay.wait_for_log("can't look for writers");
    fs::rename(&aside, &writers).unwrap();
    let mut more = world.writer("more");
    more.append_many(3);
    world.wait_until_confirmed(&more);
    more.close();
    // On Linux a directory that is in use can be removed; over NFS so can one that another host uses.
    fs::remove_dir_all(world.root()).unwrap();
    let ended = relay.wait();
    assert_eq!(ended.code, Some(66), "{ended:#?}");
    assert!(ended.message().contains(world.root().to_str().unwrap()), "{ended:#?}");
    assert!(ended.message().contains("zoutbox.json"), "{ended:#?}");
    fault(Hits::Share, "it goes away beneath the relay", "its directories renamed, then all of it removed")
        .held(2, "waited while it was still a share; ended with its path once it was none");
}

#[test]
fn a_marker_of_a_newer_format_asks_for_an_update_and_a_damaged_one_is_named() {
    let world = World::new();
    let marker = world.share.layout.marker();
    let text = fs::read_to_string(&marker).unwrap();
    let newer = text.replacen('1', "2", 1);
    fs::write(&marker, &newer).unwrap();
    let version = serde_json::from_str::<serde_json::Value>(&newer).unwrap();
    assert!(version.as_object().unwrap().values().any(|value| value == 2), "{newer}");
    refused(world.root(), ["--stdout"], &[], 76, &[marker.to_str().unwrap()]);
    fs::write(&marker, "{").unwrap();
    refused(world.root(), ["--stdout"], &[], 74, &[marker.to_str().unwrap()]);
}

#[test]
fn wrong_usage_names_the_option_the_key_or_the_file() {
    let world = World::new();
    let path = |name: &str| world.beside.join(name).display().to_string();
    let (config, missing) = (path("relay.toml"), path("missing"));
    fs::write(&config, "stdout = true\nwindwo = 5\n").unwrap();
    refused(world.root(), ["--config", &config], &[], 64, &[&config, "windwo", "line 2"]);
    fs::write(&config, "stdout = true\nretention = 5\n").unwrap();
    refused(world.root(), ["--config", &config], &[], 64, &[&config, "line 2"]);
    refused(world.root(), ["--config", &missing], &[], 66, &[&missing]);
    refused(world.root(), [""; 0], &[], 64, &["--amqp", "--stdout"]);
    refused(world.root(), ["--stdout", "--retention", "5"], &[], 64, &["--retention"]);
    refused(world.root(), ["--stdout", "--window", "0"], &[], 64, &["--window"]);
    refused(world.root(), ["--stdout", "--amqp", "amqp://h"], &[], 64, &["--amqp", "--stdout"]);
    refused(world.root(), ["--sdtout"], &[], 64, &["--sdtout"]);
    let url = format!("http://guest:{SECRET}@host");
    refused(world.root(), ["--amqp", &url], &[], 64, &["--amqp"]);
    refused(world.root(), ["--amqp", "amqp://h", "--password-file", &missing], &[], 66, &[&missing]);
    let directory = world.beside.to_str().unwrap();
    refused(
        world.root(),
        ["--amqp", "amqp://h", "--password-file", directory],
        &[],
        64,
        &["--password-file", directory],
    );
    let long = "x".repeat(256);
    refused(world.root(), ["--amqp", Broker::shared().url(), "--exchange", &long], &[], 69, &["--exchange"]);
}

#[test]
fn a_directory_where_the_lease_should_be_is_named() {
    let world = World::new();
    let lease = world.share.layout.lease();
    fs::create_dir(&lease).unwrap();
    refused(world.root(), ["--stdout"], &[], 74, &[lease.to_str().unwrap()]);
    fs::remove_dir(&lease).unwrap();
    fs::write(&lease, "garbage").unwrap();
    let mut orders = world.writer("orders");
    orders.append_many(3);
    let ended = Relay::start(world.root(), ["--stdout", "--once"]).wait();
    assert_eq!((ended.code, ended.output.len()), (Some(0), 3), "garbage in the lease: {ended:#?}");
}

#[test]
fn help_lists_every_exit_code() {
    let world = World::new();
    let ended = Relay::start(world.root(), ["--help"]).wait();
    assert_eq!((ended.code, ended.log.as_str()), (Some(0), ""));
    let help = ended.output.join("\n");
    for code in ["0", "1", "64", "66", "69", "73", "74", "75", "76"] {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(&format!("{code} "))),
            "{code}: {help}"
        );
    }
}

/// Runs a relay on a share over which a file system lies that ignores every sync.
fn on_volatile(world: &World, arguments: &[&str]) -> std::process::Output {
    let beside = |name: &str| {
        let path = world.beside.join(name);
        if path.exists() {
            // A layer that was mounted like this can't be mounted again.
            fs::remove_dir_all(&path).unwrap();
        }
        fs::create_dir_all(&path).unwrap();
        path
    };
    let script =
        r#"mount -t overlay v -o "lowerdir=$1,upperdir=$2,workdir=$3,volatile" "$1" && shift 3 && exec "$@""#;
    let mut command = std::process::Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(world.root());
    command.args([beside("upper"), beside("work")]).arg(env!("CARGO_BIN_EXE_zoutbox-relay"));
    command.arg("--root").arg(world.root()).args(["--stdout", "--once"]).args(arguments).output().unwrap()
}

#[test]
fn a_mount_that_breaks_a_promise_ends_the_relay_unless_it_is_accepted() {
    let world = World::new();
    world.writer("orders").append_many(3);
    let named =
        format!("{} is mounted as overlay with volatile, which breaks promise 1", world.root().display());
    let output = on_volatile(&world, &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(66), 0), "{said}");
    assert!(
        said.starts_with(&format!("zoutbox-relay: {named}")) && said.contains("--accept-unsafe-mount"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");

    let config = world.beside.join("relay.toml");
    fs::write(&config, "accept-unsafe-mount = true\n").unwrap();
    let config = config.display().to_string();
    for accepted in [&["--accept-unsafe-mount"][..], &["--config", &config]] {
        let output = on_volatile(&world, accepted);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 3, "{said}");
        assert_eq!(said.matches(&named).count(), 1, "one warning: {said}");
        assert!(said.contains("WARN"), "{said}");
    }
    fault(Hits::Share, "a mount that ignores syncs", "overlay with volatile")
        .held(3, "refused, naming mount and promise; with --accept-unsafe-mount one warning");
}
