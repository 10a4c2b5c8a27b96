//! What happens to a world besides single calls that fail.

use std::time::Duration;

use super::{Simulation, locked};
use crate::actors::Actor;
use crate::world::harm::Harm;

const POWER_CUT: u64 = 5;
const SERVER_CRASH: u64 = 6;

impl Simulation {
    /// Something bad happens, or ends.
    pub(super) fn strike(&self) {
        let (kind, local) = {
            let mut state = self.world.lock();
            let kind = state.random.below(16);
            let kind = match (state.is_unlucky(), state.random.below(4)) {
                (true, 0) => POWER_CUT,
                (true, 1 | 2) => SERVER_CRASH,
                _ => kind,
            };
            (kind, state.knobs.local)
        };
        match kind {
            0..4 => self.kill_one(),
            4 => self.end_host(),
            POWER_CUT => self.world.lock().cut_power(),
            SERVER_CRASH if local => self.world.lock().cut_power(),
            SERVER_CRASH => self.world.lock().crash_server(),
            7 | 8 if !local => self.partition(),
            7..10 => self.pause_one(),
            10 => self.jump(),
            11 => self.world.lock().disconnect_any(),
            12 => self.toggle_broker(),
            13 => self.toggle_space(),
            14 => self.stop_relay(),
            _ => {
                let mut state = self.world.lock();
                let pause = state.random.between(1_000, 40_000);
                state.now += Duration::from_millis(pause);
                state.counts.harms.note(Harm::Standstill);
                state.say("world", format_args!("nobody runs for {pause} ms"));
            }
        }
        self.bury_all();
    }

    fn kill_one(&self) {
        let slot = self.world.lock().random.index(self.slots.len());
        let process =
            self.slots.get(slot).and_then(|slot| locked(&slot.actor).as_ref().and_then(Actor::process));
        if let Some(process) = process {
            self.world.lock().strike_down(process);
        }
    }

    fn end_host(&self) {
        let mut state = self.world.lock();
        let hosts = state.hosts.len();
        let host = state.random.index(hosts);
        if state.knobs.local {
            state.cut_power();
        } else {
            state.counts.harms.note(Harm::HostLost);
            state.end_host(host);
        }
    }

    fn partition(&self) {
        let mut state = self.world.lock();
        let hosts = state.hosts.len();
        let host = state.random.index(hosts);
        let longest = state.knobs.lease.as_millis().saturating_mul(2);
        let long = state.random.between(100, u64::try_from(longest).unwrap_or(u64::MAX));
        if !state.is_frozen(host) {
            state.freeze(host, Duration::from_millis(long));
        }
    }

    /// As SIGSTOP does: its host goes on, and keeps its locks.
    fn pause_one(&self) {
        let slot = self.world.lock().random.index(self.slots.len());
        let Some(slot) = self.slots.get(slot) else { return };
        let mut state = self.world.lock();
        let long = Duration::from_millis(state.random.between(100, 30_000));
        *locked(&slot.paused) = Some(state.now + long);
        state.counts.harms.note(Harm::Stopped);
        state.say("world", format_args!("somebody is stopped for {long:?}"));
    }

    /// A host's time of day jumps.
    fn jump(&self) {
        let mut state = self.world.lock();
        let hosts = state.hosts.len();
        let host = state.random.index(hosts);
        let skew = i64::try_from(state.random.below(7_200_000)).unwrap_or(0) - 3_600_000;
        state.counts.harms.note(Harm::ClockJump);
        state.say("world", format_args!("the clock of host {host} is {skew} ms off"));
        if let Some(host) = state.hosts.get_mut(host) {
            host.skew_ms = skew;
        }
    }

    fn toggle_broker(&self) {
        let mut state = self.world.lock();
        match state.random.below(3) {
            0 => {
                let blocked = !state.broker.blocked;
                state.block(blocked);
            }
            1 => {
                state.broker.away = !state.broker.away;
                let away = state.broker.away;
                state.say(
                    "broker",
                    format_args!("{}", if away { "can't be reached" } else { "can be reached" }),
                );
                if away {
                    state.counts.harms.note(Harm::Away);
                    state.disconnect_any();
                    state.disconnect_any();
                }
            }
            _ => {
                state.broker.routes_void = !state.broker.routes_void;
                let routes = state.broker.routes_void;
                state
                    .say("broker", format_args!("{} void", if routes { "routes" } else { "does not route" }));
            }
        }
    }

    fn toggle_space(&self) {
        let mut state = self.world.lock();
        let capacity = state.disk.used() + state.knobs.capacity / 10;
        state.disk.capacity = if state.disk.capacity.is_some() { None } else { Some(capacity) };
        let capacity = state.disk.capacity;
        if capacity.is_some() {
            state.counts.harms.note(Harm::ShareFull);
        }
        state.say("share", format_args!("holds {capacity:?} bytes"));
    }

    fn stop_relay(&self) {
        for slot in &self.slots {
            if let Some(Actor::Relay(relay)) = locked(&slot.actor).as_mut() {
                relay.stop();
            }
        }
    }
}
