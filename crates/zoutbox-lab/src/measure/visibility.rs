//! How soon another host sees an append: by the doorbell, by polling, by plain `stat`.

use crate::hosts::VERSIONS;
use crate::percentiles::Percentiles;
use crate::scenarios::visibility::compare;

const SAMPLES: u32 = 150;

pub(super) fn measure() {
    println!("| NFS | doorbell, p50 | p99 | polling alone, p50 | p99 | plain stat, p50 | p99 |");
    println!("|---|---|---|---|---|---|---|");
    for version in VERSIONS {
        let [rung, polled] = compare(version, SAMPLES);
        let columns = [rung.relay, polled.relay, polled.stat].map(|of| shown(&of)).join(" | ");
        println!("| {} | {columns} |", version.0);
    }
}

fn shown(percentiles: &Percentiles) -> String {
    format!("{:.0} ms | {:.0} ms", ms(percentiles.median), ms(percentiles.high))
}

fn ms(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
