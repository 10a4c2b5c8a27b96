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
mod visibility;
mod workspace;
mod zeros;

use libtest_mimic::Trial;

use crate::hosts::{VERSIONS, Version};

/// All of them, in the order in which they run.
pub(crate) fn all() -> Vec<Trial> {
    let groups = [
        workspace::trials(),
        delivery::trials(),
        visibility::trials(),
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
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

/// One for each NFS version.
fn on_every_version(name: &str, test: fn(Version)) -> Vec<Trial> {
    VERSIONS.map(|version| trial(&format!("{name} (NFS {})", version.0), move || test(version))).into()
}
