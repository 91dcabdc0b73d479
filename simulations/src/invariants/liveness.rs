//! Once nothing goes wrong any more, the federation comes to its end: every round of its task is
//! done, and everybody holds the newest model that it was told of. It may also stand still where the set rule leaves
//! nobody to go on with, and only after a survivor set was really shown in a round that failed
//! (horizontal.md, "Set rule"; the second phase of openraft's simulations: heal, then finish).

use std::collections::BTreeMap;

use roundelay_coordinator::engine::Fact;
use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{ModelVersion, RoundNumber};
use roundelay_protocol::message::ToClient;
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::coordinator::{Outcome, Record};
use roundelay_protocol::session;

use super::{End, Ending, Held, Invariant, Scene, ensure};
use crate::network::ClientNumber;
use crate::packet::Packet;
use crate::watch::Observed;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    aborted: Vec<RoundNumber>,
    /// The newest version that each client was told of.
    told: BTreeMap<ClientNumber, ModelVersion>,
}

impl Invariant for Liveness {
    fn name(&self) -> &'static str {
        "liveness"
    }

    fn observe(&mut self, _: &Scene<'_>, seen: &Observed<'_>) -> Result<(), String> {
        match seen {
            Observed::Durable(Fact::Record(round, record)) => {
                if let Record::Finished(Outcome::Aborted(_)) = &**record {
                    self.aborted.push(*round);
                }
            }
            Observed::Heard(client, packet) => {
                let version = announced(packet).unwrap_or_default();
                let newest = self.told.entry(*client).or_default();
                *newest = version.max(*newest);
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, scene: &Scene<'_>, end: &End) -> Result<(), String> {
        match &end.ending {
            Ending::Finished => {
                let behind = (0..).zip(&end.held).find(|(client, held)| {
                    let held =
                        held.filter(|held| end.newest.is_none_or(|newest| agrees(held, newest)));
                    self.is_behind(*client, held)
                });
                let behind = behind.map(|(client, held)| format!("c{client} holds {held:?}"));
                ensure(behind.is_none(), || format!("{} at the end", behind.unwrap_or_default()))?;
            }
            Ending::Stalled(reason) => {
                let set = |round: &RoundNumber| scene.shown.round(*round)?.set.as_ref();
                let excused = self.aborted.iter().any(|round| set(round).is_some());
                ensure(excused && reason.contains("set rule"), || format!("it stalled: {reason}"))?;
            }
            Ending::Unfinished(status) => return Err(format!("it never ended: {status}")),
        }
        ensure(!end.is_calm || self.aborted.is_empty(), || {
            format!("nothing went wrong, and yet rounds {:?} failed", self.aborted)
        })
    }
}

impl Liveness {
    fn is_behind(&self, client: ClientNumber, held: Option<Held>) -> bool {
        let told = self.told.get(&client).copied().unwrap_or_default();
        held.is_none_or(|held| held.version < told)
    }
}

/// Whoever holds the newest version holds the coordinator's state of it.
fn agrees(held: &Held, (version, state): (ModelVersion, Digest)) -> bool {
    held.version != version || held.state == state
}

/// The version that a client is told of.
fn announced(packet: &Packet) -> Option<ModelVersion> {
    match packet {
        Packet::Down(session::ToClient::Joined { standing, .. }) => Some(standing.model_version),
        Packet::Down(session::ToClient::Round { message, .. }) => match message {
            ToClient::TrainingPlan(plan) => Some(plan.model_version),
            ToClient::Published(published) if published.kind == PlanKind::Train => {
                Some(published.model_version.next())
            }
            ToClient::Published(published) => Some(published.model_version),
            _ => None,
        },
        _ => None,
    }
}
