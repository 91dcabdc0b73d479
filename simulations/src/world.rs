//! The run itself: what is due next, on the network or in somebody's agenda, until the federation
//! has come to its end.

use std::sync::Arc;

use roundelay_coordinator::engine::audit::State;
use roundelay_protocol::time::{Millis, Time};

use crate::agenda::Agenda;
use crate::driver::client::Client;
use crate::driver::coordinator::Coordinator;
use crate::driver::{Due, Turn, Wire};
use crate::faults::{Faults, Incident};
use crate::invariants::{End, Ending, Held};
use crate::network::{Arrival, Network, Side};
use crate::packet::Packet;
use crate::population::{Population, PopulationError};
use crate::report::Report;
use crate::scenario::{RECOVERY, Scenario};
use crate::watch::{Observed, OnLine, Watch};

/// How often the operator looks after the federation.
const ROUND_OF_INSPECTION: Millis = Millis(5_000);
/// A federation that stalls again after so many starts is left alone.
const RESTARTS_MAX: u32 = 5;
/// Once everything is done, what is under way may still arrive.
const AFTERMATH: Millis = Millis(120_000);

/// One federation in virtual time.
pub struct World {
    scenario: Scenario,
    now: Time,
    agenda: Agenda<Due>,
    network: Network<Packet>,
    faults: Faults,
    watch: Watch,
    wire: Wire,
    coordinator: Coordinator,
    clients: Vec<Client>,
    healed: bool,
    /// Starts by the operator since the last model version.
    restarts: u32,
    over_at: Option<Time>,
}

impl World {
    /// The world of a scenario, before anything has happened; `on_line` reads its log.
    ///
    /// # Errors
    /// The scenario has no federation.
    pub fn new(scenario: Scenario, on_line: Option<OnLine>) -> Result<Self, PopulationError> {
        let population = Arc::new(Population::new(&scenario)?);
        let mut faults = Faults::new(scenario.rates, scenario.rng("faults"));
        let mut agenda = Agenda::default();
        agenda.put(Time(0), Due::StartCoordinator);
        agenda.put(Time(0), Due::Operator);
        for (client, starts_ms) in (0..).zip(&scenario.starts_ms) {
            agenda.put(Time(*starts_ms), Due::StartClient(client));
        }
        for (at, incident) in faults.incidents(scenario.clients) {
            agenda.put(at, Due::Incident(incident));
        }
        let new_client = |number| Client::new(number, Arc::clone(&population), &scenario);
        Ok(Self {
            now: Time(0),
            agenda,
            network: Network::new(scenario.lines.clone(), scenario.rng("network")),
            faults,
            watch: Watch::new(Arc::clone(&population), on_line),
            wire: Wire::new(scenario.encodes),
            coordinator: Coordinator::new(Arc::clone(&population), &scenario),
            clients: (0..scenario.clients).map(new_client).collect(),
            healed: false,
            restarts: 0,
            over_at: None,
            scenario,
        })
    }

    /// Runs to the end; a violation ends it early.
    #[must_use]
    pub fn run(mut self) -> Report {
        let deadline = self.scenario.heals_at() + RECOVERY;
        while self.watch.violation().is_none() && !self.is_over(deadline) && self.step() {}
        let end = self.end();
        self.watch.end(self.now, &end);
        Report::new(&self.scenario, self.now, &end, &self.watch)
    }

    fn is_over(&mut self, deadline: Time) -> bool {
        if self.now > deadline {
            return true;
        }
        let finished = self.coordinator.is_finished() && self.healed;
        let agreed = finished && self.clients.iter().all(Client::has_stopped);
        if agreed && self.over_at.is_none() {
            self.over_at = Some(self.now + AFTERMATH);
        }
        let settled = self.is_stalled_for_good() || (agreed && self.all_hold_the_newest());
        settled || self.over_at.is_some_and(|at| self.now > at)
    }

    fn is_stalled_for_good(&self) -> bool {
        let state = self.coordinator.status().map(|status| status.state);
        self.restarts > RESTARTS_MAX && state == Some(State::Stalled)
    }

    fn all_hold_the_newest(&self) -> bool {
        let newest = self.coordinator.progress().map(|progress| progress.state);
        self.clients.iter().all(|client| client.holds().map(|state| state.hash()) == newest)
    }

    /// The next event; whether there was one.
    fn step(&mut self) -> bool {
        let (due, arrives) = (self.agenda.next_at(), self.network.next_at());
        let arrives_first = match (due, arrives) {
            (None, None) => return false,
            (Some(due), Some(arrives)) => arrives < due,
            (due, _) => due.is_none(),
        };
        let next = if arrives_first { arrives } else { due };
        let next = next.unwrap_or(self.now);
        if !self.healed && next >= self.scenario.heals_at() {
            self.healed = true;
            self.watch.see(self.scenario.heals_at().max(self.now), &Observed::Healed);
        }
        self.now = next;
        if self.coordinator.is_to_be_restored() && self.all_hold_the_newest() {
            self.with(|coordinator, _, turn| coordinator.restore(turn));
        }
        if arrives_first {
            if let Some((_, Some(arrival))) = self.network.poll() {
                self.arrive(arrival);
            }
        } else if let Some((_, due)) = self.agenda.pop() {
            self.due(due);
        }
        true
    }

    fn with<R>(
        &mut self,
        work: impl FnOnce(&mut Coordinator, &mut Vec<Client>, &mut Turn<'_>) -> R,
    ) -> R {
        let mut turn = Turn::new(
            self.now,
            &mut self.agenda,
            &mut self.network,
            &mut self.faults,
            &mut self.watch,
            &mut self.wire,
        );
        work(&mut self.coordinator, &mut self.clients, &mut turn)
    }

    fn arrive(&mut self, arrival: Arrival<Packet>) {
        self.with(|coordinator, clients, turn| match arrival {
            Arrival::Connected(client, connection) => clients[client].connected(connection, turn),
            Arrival::Unreachable(client) => clients[client].unreachable(turn),
            Arrival::Delivered { client, connection, to, payload } => {
                let Some(packet) = turn.read(payload) else { return };
                match to {
                    Side::Coordinator => coordinator.receive((client, connection), packet, turn),
                    Side::Client => clients[client].receive(connection, packet, turn),
                }
            }
            Arrival::Lost { client, connection, at: Side::Coordinator } => {
                coordinator.lose((client, connection), turn);
            }
            Arrival::Lost { client, connection, at: Side::Client } => {
                clients[client].lost(connection, turn);
            }
        });
    }

    fn due(&mut self, due: Due) {
        match due {
            Due::Operator => self.inspect(),
            due => self.with(|coordinator, clients, turn| match due {
                Due::Coordinator(life, due) if coordinator.life() == Some(life) => {
                    coordinator.due(due, turn);
                }
                Due::Client(client, life, due) if clients[client].life() == Some(life) => {
                    clients[client].due(due, turn);
                }
                Due::StartCoordinator => {
                    coordinator.start(turn);
                    coordinator.operate(turn);
                }
                Due::StartClient(client) => clients[client].start(turn),
                Due::Incident(Incident::Cut(client)) => turn.network.cut(turn.now, client),
                Due::Incident(Incident::CrashClient(client)) => clients[client].die(turn),
                Due::Incident(Incident::CrashCoordinator) => coordinator.die(turn),
                Due::Incident(Incident::Away(client, length)) => {
                    clients[client].stay_away(length, turn);
                }
                Due::Coordinator(..) | Due::Client(..) | Due::Operator => {}
            }),
        }
    }

    /// The operator starts a federation again that stalled.
    fn inspect(&mut self) {
        let state = self.coordinator.status().map(|status| status.state);
        let stalled = state == Some(State::Stalled);
        if stalled && self.healed {
            self.restarts += 1;
        }
        let gives_up = stalled && self.restarts > RESTARTS_MAX;
        if stalled && !gives_up {
            self.with(|coordinator, _, turn| coordinator.operate(turn));
        }
        self.agenda.put(self.now + ROUND_OF_INSPECTION, Due::Operator);
    }

    fn end(&self) -> End {
        let status = self.coordinator.status();
        let stalled = status.as_ref().filter(|status| status.state == State::Stalled);
        let ending = if self.coordinator.is_finished() {
            Ending::Finished
        } else if let Some(status) = stalled {
            Ending::Stalled(status.reason.clone().unwrap_or_default())
        } else {
            Ending::Unfinished(format!("{status:?}"))
        };
        let held = |client: &Client| client.holds().map(|state| Held::of(&state));
        let newest = self.coordinator.progress().map(|progress| (progress.version, progress.state));
        let held = self.clients.iter().map(held).collect();
        End { ending, newest, held, is_calm: self.scenario.is_calm() }
    }
}
