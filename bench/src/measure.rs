//! The ways of measuring, and what those of appends share: opening sides so that one that cannot run is reported, not
//! dropped.

pub(crate) mod end_to_end;
pub(crate) mod inbox_size;
pub(crate) mod large;
pub(crate) mod latency;
pub(crate) mod relay_backlog;
pub(crate) mod relay_start;
pub(crate) mod throughput;

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::side::AppendSide;

/// A side and what was seen of it so far. The first failure ends its measurement and takes its place in the table.
pub(crate) struct Measured<T> {
    side: Box<dyn AppendSide>,
    seen: Result<Vec<T>>,
}

impl<T> Measured<T> {
    fn open(mut side: Box<dyn AppendSide>, work: &Path, callers: usize) -> Self {
        let dir = work.join(side.name());
        let opened = std::fs::create_dir(&dir)
            .with_context(|| format!("creating {}", dir.display()))
            .and_then(|()| side.open(&dir, callers));
        Self { side, seen: opened.map(|()| Vec::new()) }
    }

    /// Gives the side one turn, unless it has failed already.
    fn turn(&mut self, take: impl FnOnce(&mut dyn AppendSide) -> Result<Vec<T>>) {
        if let Ok(seen) = &mut self.seen {
            match take(self.side.as_mut()) {
                Ok(values) => seen.extend(values),
                Err(error) => self.seen = Err(error),
            }
        }
    }

    fn close(&mut self) {
        if let Err(error) = self.side.close()
            && self.seen.is_ok()
        {
            self.seen = Err(error.context("closing"));
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.side.name()
    }

    pub(crate) fn seen(&self) -> &Result<Vec<T>> {
        &self.seen
    }
}

/// Opens all sides, gives them turns in order, round after round, and closes them.
fn alternate<T>(
    sides: Vec<Box<dyn AppendSide>>,
    work: &Path,
    callers: usize,
    rounds: u32,
    mut turn: impl FnMut(&mut dyn AppendSide) -> Result<Vec<T>>,
) -> Vec<Measured<T>> {
    let mut all: Vec<_> = sides.into_iter().map(|side| Measured::open(side, work, callers)).collect();
    for _ in 0..rounds {
        for measured in &mut all {
            measured.turn(|side| {
                side.begin_round().context("preparing a round")?;
                turn(side)
            });
        }
    }
    all.iter_mut().for_each(Measured::close);
    all
}
