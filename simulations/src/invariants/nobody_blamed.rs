//! Everybody here is honest, so nobody is found guilty: no client is expelled, no coordinator is
//! called a liar, and no round ends for a reason that only a fault of somebody's own can have
//! (house.md: errors name who is at fault).

use std::collections::BTreeSet;

use roundelay_client::engine::Event;
use roundelay_coordinator::engine::Fact;
use roundelay_protocol::error::{AbortReason, Refusal};
use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::message::FromClient;
use roundelay_protocol::round::horizontal::coordinator::{Outcome, Record};

use super::{Invariant, Scene, ensure};
use crate::watch::Observed;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NobodyBlamed {
    ended: BTreeSet<RoundNumber>,
    /// The coordinator came back with an older store: that it is behind is no blame then.
    restored: bool,
}

impl Invariant for NobodyBlamed {
    fn name(&self) -> &'static str {
        "nobody_blamed"
    }

    fn observe(&mut self, scene: &Scene<'_>, seen: &Observed<'_>) -> Result<(), String> {
        match seen {
            Observed::Restored => {
                self.restored = true;
                Ok(())
            }
            Observed::Expelled { round, client, fault } => {
                let number = scene.population.number(*client).unwrap_or(usize::MAX);
                Err(format!("round {round}: c{number} is honest and expelled: {fault}"))
            }
            Observed::Unreadable { round, error } => {
                Err(format!("the coordinator can't go on with round {round}: {error}"))
            }
            Observed::Durable(Fact::Record(round, record)) => match &**record {
                Record::Finished(outcome) => {
                    self.ended.insert(*round);
                    ensure(is_nobodys(outcome), || {
                        format!("round {round} ended by somebody's fault: {outcome:?}")
                    })
                }
                _ => Ok(()),
            },
            Observed::Said { client, round, message: FromClient::Declined(refusal) } => {
                // In a round whose end a client has missed, everything may look strange to it.
                // And a restored coordinator asks for what was done already.
                let excused = self.restored || self.ended.contains(round);
                ensure(is_humble(refusal) || excused, || {
                    format!("c{client} calls the coordinator a liar in round {round}: {refusal}")
                })
            }
            Observed::Tells(client, event) => match event {
                Event::CoordinatorBehind { .. } if self.restored => Ok(()),
                Event::LineageBroken(_)
                | Event::CoordinatorBehind { .. }
                | Event::WorkFailed { .. } => Err(format!("c{client} tells its tenant: {event:?}")),
                _ => Ok(()),
            },
            Observed::TurnedAway(client, code) => {
                Err(format!("the coordinator turns c{client} away: {code}"))
            }
            Observed::Garbled(error) => Err(format!("a message does not survive: {error}")),
            _ => Ok(()),
        }
    }
}

/// Ends that crashes and lost connections explain.
fn is_nobodys(outcome: &Outcome) -> bool {
    let Outcome::Aborted(reason) = outcome else { return true };
    match reason {
        AbortReason::TooFewClients { .. }
        | AbortReason::PreparationBurned
        | AbortReason::Stopped
        | AbortReason::Restarted => true,
        AbortReason::MasksDidNotCancel
        | AbortReason::SeedNotRebuilt
        | AbortReason::NothingFollows
        | AbortReason::Internal => false,
    }
}

/// Refusals that accuse nobody.
fn is_humble(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Restarted | Refusal::WaitedTooLong)
}
