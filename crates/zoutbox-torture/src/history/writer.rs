//! Histories of a writer.

use std::process::Command;

use anyhow::Result;
use zoutbox_sim::world::random::Random;

use super::{Broken, Grounds, Outcome, Stage, broken, must_work, orders, was_killed};
use crate::disk::Disk;
use crate::ledger::{Ledger, Said};
use crate::mount::{Orders, Watched};
use crate::plan::{Crash, Plan, Who};
use crate::process::{Ended, Running};
use crate::readback::Reader;
use crate::request::Kind;
use crate::victim::{RUN, Scenario};

impl Stage {
    pub(super) fn play_writer(
        &self,
        plan: &Plan,
        scenario: Scenario,
        share: &Disk,
        outcome: &mut Outcome,
    ) -> Result<()> {
        self.mount.lay(share.clone());
        let mut random = Random::new(plan.seed);
        let mut ledger = Ledger::default();
        let mut run = 0;
        for kill in &plan.kills {
            outcome.trace.push(format!("victim {run}"));
            let orders = orders(Some(kill), random.bits());
            let (ended, watched) = self.run_writer(scenario, run, false, orders)?;
            let said = hear(&mut ledger, &ended, outcome)?;
            if was_killed(&ended, &watched)?
                && let Some((_, kind)) = watched.killed
            {
                outcome.counts.killed("writer", kind, kill.when);
                outcome.counts.in_recovery += u64::from(run > 0 && !said.opened);
            } else if !ended.status.success() && watched.faults.is_empty() {
                broken!("the victim failed without a fault:\n{}", ended.errors);
            }
            self.crash(kill, &watched, &mut random, outcome);
            if kill.crash == Crash::Power {
                ledger.power_cut();
            }
            self.compare(&mut ledger, kill.crash == Crash::Power)?;
            run += 1;
        }
        outcome.trace.push(format!("victim {run}, undisturbed"));
        let orders = orders(None, 0);
        let (ended, watched) = self.run_writer(scenario, run, !plan.kills.is_empty(), orders)?;
        self.note(outcome, &watched);
        let said = hear(&mut ledger, &ended, outcome)?;
        if !ended.status.success() || !said.closed || !ledger.all_acknowledged_from(run * RUN) {
            broken!("an undisturbed writer on what was left ended with {}:\n{}", ended.status, ended.errors);
        }
        self.compare(&mut ledger, true)?;
        outcome.counts.acknowledged += u64::try_from(ledger.acknowledged())?;
        Ok(())
    }

    fn compare(&self, ledger: &mut Ledger, durable: bool) -> Result<()> {
        let log = must_work(Reader::open(self.root()).and_then(|reader| reader.log()))?;
        ledger.check(&log, durable).map_err(|what| Broken(what).into())
    }

    pub(super) fn run_writer(
        &self,
        scenario: Scenario,
        run: u64,
        short: bool,
        orders: Orders,
    ) -> Result<(Ended, Watched)> {
        let mut command = Command::new(&self.program);
        command.arg("victim").arg(self.root()).arg(scenario.name()).arg(run.to_string());
        if short {
            command.arg("--short");
        }
        self.mount.watch(orders);
        let ended = Running::start(&mut command, &self.errors()).and_then(Running::end);
        let watched = self.mount.unwatch();
        Ok((ended?, watched))
    }

    /// Every request of a scenario, undisturbed.
    pub(super) fn whole_run(&self, who: Who, grounds: &Grounds) -> Result<Vec<Kind>> {
        match who {
            Who::Writer(scenario) => {
                self.mount.lay(grounds.share.clone());
                let (ended, watched) = self.run_writer(scenario, 0, false, orders(None, 0))?;
                anyhow::ensure!(ended.status.success(), "{}", ended.errors);
                Ok(watched.requests)
            }
            Who::Relay => self.whole_relay_run(grounds),
        }
    }
}

/// Takes what a victim said.
fn hear(ledger: &mut Ledger, ended: &Ended, outcome: &mut Outcome) -> Result<Said> {
    outcome.trace.extend(ended.output.lines().map(|line| format!("    {line}")));
    outcome.trace.extend(ended.errors.lines().map(|line| format!("    ! {line}")));
    // The last line of a victim that was killed may be cut.
    let whole = ended.output.rfind('\n').map_or("", |end| ended.output.get(..=end).unwrap_or_default());
    ledger.take(whole).map_err(|what| Broken(what).into())
}
