//! What a message rests on is durable before the message leaves, on both sides (horizontal.md,
//! "Durability"; house.md: Persist comes before Send).

use std::collections::BTreeSet;

use roundelay_coordinator::engine::Fact;
use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::message::{FromClient, ToClient};
use roundelay_protocol::round::horizontal::client::Event;
use roundelay_protocol::round::horizontal::coordinator::Record;

use super::{Invariant, Scene, ensure};
use crate::network::ClientNumber;
use crate::watch::Observed;

/// Steps of a round that have to be durable before somebody hears of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Plan,
    Adverts,
    Graph,
    Boxes,
    Training,
    Set,
    Quorum,
    Outcome,
    Advert,
    Input,
    Signature,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct DurableFirst {
    coordinator: BTreeSet<(RoundNumber, Step)>,
    clients: BTreeSet<(ClientNumber, RoundNumber, Step)>,
}

impl Invariant for DurableFirst {
    fn name(&self) -> &'static str {
        "durable_first"
    }

    fn observe(&mut self, _: &Scene<'_>, seen: &Observed<'_>) -> Result<(), String> {
        match seen {
            Observed::Durable(Fact::Record(round, record)) => {
                self.coordinator.extend(kept(record).map(|step| (*round, step)));
                Ok(())
            }
            Observed::Remembered(client, record) => {
                let step = remembered(&record.event);
                self.clients.extend(step.map(|step| (*client, record.round, step)));
                Ok(())
            }
            Observed::Told { round, message, .. } => {
                let missing = told(message).filter(|s| !self.coordinator.contains(&(*round, *s)));
                ensure(missing.is_none(), || {
                    format!(
                        "round {round}: the coordinator tells of {missing:?} before it is durable"
                    )
                })
            }
            Observed::Said { client, round, message } => {
                self.leaves(*client, *round, said(message))
            }
            Observed::Uploads { client, round, .. } => {
                self.leaves(*client, *round, Some(Step::Input))
            }
            _ => Ok(()),
        }
    }
}

impl DurableFirst {
    fn leaves(
        &self,
        client: ClientNumber,
        round: RoundNumber,
        step: Option<Step>,
    ) -> Result<(), String> {
        let missing = step.filter(|step| !self.clients.contains(&(client, round, *step)));
        ensure(missing.is_none(), || {
            format!("round {round}: c{client} sends its {missing:?} before it is durable")
        })
    }
}

fn kept(record: &Record) -> Option<Step> {
    Some(match record {
        Record::Planned(_) => Step::Plan,
        Record::AdvertsClosed => Step::Adverts,
        Record::Drawn(_) => Step::Graph,
        Record::SharesClosed => Step::Boxes,
        Record::Training(_) => Step::Training,
        Record::Survivors { .. } => Step::Set,
        Record::Quorum(_) => Step::Quorum,
        Record::Finished(_) => Step::Outcome,
        _ => return None,
    })
}

fn told(message: &ToClient) -> Option<Step> {
    Some(match message {
        ToClient::RosterPlan(_) => Step::Plan,
        ToClient::Listing(_) | ToClient::Adverts(_) => Step::Adverts,
        ToClient::Beacon(_) => Step::Graph,
        ToClient::Boxes(_) => Step::Boxes,
        ToClient::TrainingPlan(_) => Step::Training,
        ToClient::SurvivorSet(_) => Step::Set,
        ToClient::Quorum(_) => Step::Quorum,
        ToClient::Published(_) | ToClient::Aborted(_) => Step::Outcome,
        ToClient::ResendInput | ToClient::Expelled(_) => return None,
    })
}

fn remembered(event: &Event) -> Option<Step> {
    Some(match event {
        Event::Advertised => Step::Advert,
        Event::Uploading { .. } => Step::Input,
        Event::Signed { .. } => Step::Signature,
        _ => return None,
    })
}

fn said(message: &FromClient) -> Option<Step> {
    Some(match message {
        FromClient::Advert(_) => Step::Advert,
        FromClient::InputCommit(_) => Step::Input,
        FromClient::SurvivorSignature(_) => Step::Signature,
        _ => return None,
    })
}
