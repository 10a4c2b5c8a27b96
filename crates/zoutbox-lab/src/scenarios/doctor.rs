//! `zoutbox doctor` on the lab's mounts: it tells a sound mount from one that breaks a promise, and which.

use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;
use serde_json::Value;

use super::trial;
use crate::hosts::{ALPHA, BETA, Exported, Host, NFS_4_2, PROGRAMS, Property, Share, Version};
use crate::process::{Ended, LONG, Running, finish};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials: Vec<_> = ["4.2", "4.1"]
        .map(|version| {
            trial(&format!("doctor: default mounts are sound (NFS {version})"), move || {
                sound(Version(version));
            })
        })
        .into();
    trials.extend([
        trial("doctor: its table tells what no client can see", table),
        trial("doctor: on the server it reads the dataset, and sync=disabled breaks a promise", dataset),
        trial("doctor: two hosts measure together what one sees of the other", pair),
        trial("doctor: a soft mount, and one without locks, breaks the promise that it names", || {
            breaks("4.2", "soft", "soft", 1);
            breaks("3", "", "nolock", 2);
        }),
        trial("doctor: other attribute caching than the default costs, and breaks nothing", || {
            costs("noac", "noac");
            costs("actimeo=3600", "attribute caching");
        }),
        trial("doctor: an export that can't be written breaks a promise", || {
            unwritable("ro", "Read-only file system");
            unwritable("root_squash", "this process is uid 0");
        }),
    ]);
    trials
}

fn examine(mut command: Command, root: &Path, arguments: &[&str]) -> Ended {
    finish(command.arg("doctor").arg("--root").arg(root).args(arguments))
}

/// A doctor's findings, and how it ended.
pub(super) struct Findings {
    document: Value,
    code: Option<i32>,
}

impl Findings {
    #[track_caller]
    fn of(ended: &Ended) -> Self {
        let text = &ended.lines.first().unwrap_or_else(|| panic!("it said: {}", ended.errors)).1;
        Self { document: serde_json::from_str(text).unwrap(), code: ended.status.code() }
    }

    #[track_caller]
    pub(super) fn on(host: Host, root: &Path) -> Self {
        Self::of(&examine(host.command("zoutbox"), root, &["--json"]))
    }

    fn all(&self) -> &[Value] {
        self.document["findings"].as_array().unwrap()
    }

    #[track_caller]
    fn find(&self, what: &str) -> &Value {
        let found = self.all().iter().find(|finding| finding["what"] == what);
        found.unwrap_or_else(|| panic!("nothing about {what}: {}", self.document))
    }

    /// Nothing is broken, and it says so.
    #[track_caller]
    pub(super) fn is_sound(&self) {
        let broken: Vec<_> = self.all().iter().filter(|finding| finding["level"] == "breaks").collect();
        assert!(broken.is_empty(), "{broken:#?}");
        assert_eq!((self.code, &self.document["sound"]), (Some(0), &Value::Bool(true)));
    }

    #[track_caller]
    fn breaks(&self, what: &str, promise: u64) {
        let finding = self.find(what);
        assert_eq!((&finding["level"], finding["promise"].as_u64()), (&"breaks".into(), Some(promise)));
        assert_eq!((self.code, &self.document["sound"]), (Some(2), &Value::Bool(false)));
    }

    #[track_caller]
    fn value(&self, what: &str) -> &str {
        self.find(what)["value"].as_str().unwrap()
    }
}

fn sound(version: Version) {
    let share = Share::new("doctor", version);
    let found = Findings::on(ALPHA, &share.on(ALPHA));
    found.is_sound();
    assert_eq!(found.value("NFS version"), version.0);
    for what in [
        "share",
        "file system",
        "hard",
        "locks",
        "attribute caching",
        "wsize",
        "exclusive creation",
        "hard link",
        "rename",
        "locks tried",
        "forced refresh",
        "free space",
    ] {
        assert_eq!(found.find(what)["level"], "fine", "{:#}", found.find(what));
    }
    let options = found.document["mount"]["options"].as_str().unwrap();
    assert!(options.contains(&format!("vers={}", version.0)) && options.contains("hard"), "{options}");
    share.remove();
}

/// What people read.
fn table() {
    let share = Share::new("doctor-table", NFS_4_2);
    let table = examine(ALPHA.command("zoutbox"), &share.on(ALPHA), &[]);
    table.succeeded();
    let lines: Vec<_> = table.lines.into_iter().map(|(_, line)| line).collect();
    println!("{}", lines.join("\n"));
    let told =
        |start: &str, named: &str| lines.iter().any(|line| line.starts_with(start) && line.contains(named));
    assert!(told("fine", "NFS version") && told("fine", "server:/tank/outbox at /mnt/alpha"));
    assert!(told("can't be seen from here: ", "async") && told("no promise is broken", ""));
    share.remove();
}

fn dataset() {
    let share = Share::new("doctor-dataset", NFS_4_2);
    let on_server = || {
        let doctor = Command::new(Path::new(PROGRAMS).join("zoutbox"));
        Findings::of(&examine(doctor, &share.on_server(), &["--json"]))
    };
    let found = on_server();
    found.is_sound();
    assert_eq!((found.value("zfs sync"), found.value("zfs compression")), ("standard", "lz4"));
    let disabled = Property::set("sync=disabled", "sync=standard");
    let found = on_server();
    found.breaks("zfs sync", 1);
    assert_eq!(found.value("zfs sync"), "disabled");
    // From a host nobody can see it, and it says that.
    let from_host = Findings::on(ALPHA, &share.on(ALPHA));
    from_host.is_sound();
    assert!(from_host.document["unseen"].to_string().contains("sync=disabled"), "{}", from_host.document);
    drop(disabled);
    share.remove();
}

fn pair() {
    let share = Share::new("doctor-pair", NFS_4_2);
    let start = |host: Host| {
        let mut command = host.command("zoutbox");
        Running::start(command.arg("doctor").arg("--root").arg(share.on(host)).args(["--pair", "--json"]))
    };
    let both = [start(ALPHA), start(BETA)].map(|running| Findings::of(&running.end(LONG * 2)));
    let measured = [
        "question and answer",
        "growth, asking",
        "growth, plain stat",
        "new file, asking",
        "new file, plain stat",
        "locks, across",
        "lock of a killed process",
    ];
    for found in &both {
        found.is_sound();
        for what in measured {
            println!("{} {what}: {}", found.document["host"], found.value(what));
            assert_eq!(found.find(what)["level"], "fine");
        }
    }
    let [alpha, beta] = &both;
    for what in measured {
        assert_eq!(alpha.find(what), beta.find(what), "they say different things");
    }
    assert_eq!(
        (&alpha.document["partner"]["host"], &beta.document["partner"]["host"]),
        (&"beta".into(), &"alpha".into())
    );
    share.remove();
}

fn breaks(version: &str, options: &str, what: &str, promise: u64) {
    let share = Share::new("doctor-breaks", NFS_4_2);
    let mounted = ALPHA.mount(version, options);
    let found = Findings::on(ALPHA, &mounted.path.join("doctor-breaks-4.2"));
    found.breaks(what, promise);
    drop(mounted);
    share.remove();
}

fn costs(options: &str, what: &str) {
    let share = Share::new("doctor-costs", NFS_4_2);
    let mounted = ALPHA.mount("4.2", options);
    let found = Findings::on(ALPHA, &mounted.path.join("doctor-costs-4.2"));
    found.is_sound();
    assert_eq!(found.find(what)["level"], "costs", "{:#}", found.find(what));
    drop(mounted);
    share.remove();
}

fn unwritable(options: &str, named: &str) {
    let share = Share::new("doctor-unwritable", NFS_4_2);
    let exported = Exported::with(options);
    let found = Findings::on(ALPHA, &share.on(ALPHA));
    found.breaks("writing", 1);
    let why = found.find("writing")["why"].as_str().unwrap();
    println!("{options}: {why}");
    assert!(why.contains(named) && why.contains("doctor-unwritable-4.2"), "{why}");
    drop(exported);
    share.remove();
}
