//! Names the machine above the figures, since a ratio is only worth something together with what it was seen on.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The command line, the processor, the kernel and the file system that holds `dir`.
pub(crate) fn describe(dir: &Path) -> Result<String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let cores = std::thread::available_parallelism().context("counting cores")?;
    let mut text = String::new();
    writeln!(text, "command:     zoutbox-bench {}", args.join(" "))?;
    writeln!(text, "processor:   {}, {cores} cores", field("/proc/cpuinfo", "model name"))?;
    writeln!(text, "memory:      {}", field("/proc/meminfo", "MemTotal"))?;
    writeln!(text, "kernel:      {}", read("/proc/sys/kernel/osrelease").trim())?;
    writeln!(text, "file system: {}", file_system(dir))?;
    writeln!(text)?;
    Ok(text)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|_| "unknown".to_owned())
}

/// The value of the first `name : value` line.
fn field(path: &str, name: &str) -> String {
    read(path)
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

/// Type and options of the innermost mount that holds `dir`.
fn file_system(dir: &Path) -> String {
    let mounts = read("/proc/self/mounts");
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (_device, point, kind, options) =
                (words.next()?, words.next()?, words.next()?, words.next()?);
            // Later lines are mounted over earlier ones, so of equally deep mount points the last one counts.
            dir.starts_with(point)
                .then(|| (Path::new(point).components().count(), format!("{kind} ({options})")))
        })
        .max_by_key(|(depth, _)| *depth)
        .map_or_else(|| "unknown".to_owned(), |(_, text)| text)
}
