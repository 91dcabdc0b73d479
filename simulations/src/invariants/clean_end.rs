//! Every round that is planned ends once: published, or aborted with nothing published, and whoever
//! hears of its end hears the same, whatever crashes in between (horizontal.md, "Failure").

use std::collections::{BTreeMap, BTreeSet};

use roundelay_coordinator::engine::Fact;
use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::message::ToClient;
use roundelay_protocol::round::horizontal::coordinator::{Outcome, Record};

use super::{End, Invariant, Scene, ensure};
use crate::watch::Observed;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct CleanEnd {
    planned: BTreeSet<RoundNumber>,
    ended: BTreeMap<RoundNumber, Outcome>,
}

impl Invariant for CleanEnd {
    fn name(&self) -> &'static str {
        "clean_end"
    }

    fn observe(&mut self, _: &Scene<'_>, seen: &Observed<'_>) -> Result<(), String> {
        match seen {
            Observed::Durable(Fact::Record(round, record)) => match &**record {
                Record::Planned(_) => {
                    let fresh = self.planned.insert(*round);
                    ensure(fresh, || format!("round {round} is planned twice"))
                }
                Record::Finished(outcome) => {
                    let first = self.ended.entry(*round).or_insert_with(|| outcome.clone());
                    ensure(first == outcome, || format!("round {round} ends a second time"))
                }
                _ => Ok(()),
            },
            Observed::Told { round, message, .. } => {
                let said = match message {
                    ToClient::Published(published) => {
                        Outcome::Published(Box::new(published.clone()))
                    }
                    ToClient::Aborted(reason) => Outcome::Aborted(reason.clone()),
                    _ => return Ok(()),
                };
                ensure(self.ended.get(round) == Some(&said), || {
                    format!("round {round} is announced to have ended otherwise than it did")
                })
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, _: &Scene<'_>, _: &End) -> Result<(), String> {
        let open = self.planned.iter().find(|round| !self.ended.contains_key(round));
        ensure(open.is_none(), || format!("round {} never ended", open.map_or(0, |one| one.0)))
    }
}
