//! The lives of the coordinator: it dies at a call, and goes on from its disk.

use roundelay_protocol::transcript::NO_TRANSCRIPT;

use super::super::super::rounds::Interrupted;
use super::*;

/// Where the coordinator dies: at its call number `call`, before or after that is durable.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine::tests) struct Crash {
    pub(in crate::engine::tests) call: usize,
    pub(in crate::engine::tests) durable: bool,
}

impl World {
    pub(super) fn revive(&mut self) {
        let newest = self.setup.clone();
        let first =
            || Progress::new(newest.terms.hash(), self.clients[0].standing().state, NO_TRANSCRIPT);
        let progress = self.disk.progress.clone().unwrap_or_else(first);
        let is_driven = |setup: &&Setup| setup.terms.hash() == progress.manifest;
        let setup = self.superseded.iter().find(is_driven).unwrap_or(&newest).clone();
        let is_amended = setup.terms.hash() != newest.terms.hash();
        let running = self.disk.rounds.values().filter(|round| round.state == RoundState::Running);
        let interrupted = running
            .map(|round| Interrupted {
                round: round.round,
                began: Time(round.began_ms),
                cohort: round.cohort,
                records: self.disk.records.get(&round.round).cloned().unwrap_or_default(),
            })
            .collect();
        let mut effects = Vec::new();
        let state = self.disk.state.unwrap();
        let engine = Engine::resume(setup, state, progress, interrupted, self.now, &mut effects);
        self.engine = Some(engine);
        self.carry_out(effects);
        if is_amended {
            self.tell(Event::Amended(Box::new(newest)));
        }
    }

    /// The coordinator dies; clients notice and come back when it does.
    pub(in crate::engine::tests) fn kill(&mut self, away: Millis) {
        self.engine = None;
        self.life += 1;
        self.accumulators.clear();
        self.aggregates.clear();
        let connected: Vec<_> =
            (0..self.clients.len()).filter(|client| self.connections[*client].is_some()).collect();
        self.connections.fill(None);
        self.post(away, Delivery::Revive);
        for client in connected {
            let delay = Millis(away.0 + self.latency().0);
            self.post(delay, Delivery::Join { client });
        }
    }
}
