//! The promises, a test each. Each works on a share of its own and leaves hosts and server as it found them.

mod delegation;
mod delivery;
mod doctor;
mod limits;
mod refusal;
mod server;
mod setup;
mod silence;
mod stale;
mod standby;
mod takeover;
pub(crate) mod visibility;
mod workspace;
mod zeros;

use std::time::Instant;

use libtest_mimic::Trial;
use zoutbox_test_support::{Fault, Hits};

use crate::hosts::{VERSIONS, Version};

/// Those that do nothing to the server, to a host, or to the dataset.
pub(crate) fn side_by_side() -> Vec<Trial> {
    // The longest first, so that no thread is left alone with one at the end.
    [visibility::trials(), delivery::trials(), workspace::trials()].into_iter().flatten().collect()
}

/// The others, in the order in which they run.
pub(crate) fn one_by_one() -> Vec<Trial> {
    let groups = [
        zeros::trials(),
        limits::trials(),
        doctor::trials(),
        refusal::trials(),
        silence::trials(),
        standby::trials(),
        server::trials(),
        stale::trials(),
        setup::trials(),
        takeover::trials(),
        delegation::trials(),
    ];
    groups.into_iter().flatten().collect()
}

fn trial(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    let shown = name.to_owned();
    Trial::test(name, move || {
        let start = Instant::now();
        test();
        println!("took {:.1} s: {shown}", start.elapsed().as_secs_f64());
        Ok(())
    })
}

/// A fault that this suite injects.
const fn fault(hits: Hits, fault: &'static str, how: &'static str) -> Fault {
    Fault::new("lab", hits, fault, how)
}

/// One for each NFS version.
fn on_every_version(name: &str, test: fn(Version)) -> Vec<Trial> {
    VERSIONS.map(|version| trial(&format!("{name} (NFS {})", version.0), move || test(version))).into()
}
