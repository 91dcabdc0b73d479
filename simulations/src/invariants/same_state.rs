//! Whoever stands at a transcript stands at the same version and state, and each version has one
//! state (horizontal.md: "every client recomputes it"). Statistics make version 0 anew, once.

use std::collections::{BTreeMap, BTreeSet};

use roundelay_coordinator::engine::Fact;
use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::round::horizontal::client::Event;

use super::{Invariant, Scene, ensure};
use crate::watch::Observed;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SameState {
    at: BTreeMap<Digest, (ModelVersion, Digest)>,
    of: BTreeMap<ModelVersion, BTreeSet<Digest>>,
}

impl Invariant for SameState {
    fn name(&self) -> &'static str {
        "same_state"
    }

    fn observe(&mut self, scene: &Scene<'_>, seen: &Observed<'_>) -> Result<(), String> {
        let (who, transcript, version, state) = match seen {
            Observed::Remembered(client, record) => match record.event {
                Event::Stands(standing) | Event::Adopted(standing) => {
                    let who = format!("c{client}");
                    (who, standing.transcript, standing.model_version, standing.state)
                }
                _ => return Ok(()),
            },
            Observed::Durable(Fact::Progress(progress)) => {
                let who = "the coordinator".to_owned();
                (who, progress.transcript, progress.version, progress.state)
            }
            _ => return Ok(()),
        };
        let first = *self.at.entry(transcript).or_insert((version, state));
        ensure(first == (version, state), || {
            format!("{who} stands at another state of version {version} than the others")
        })?;
        let states = self.of.entry(version).or_default();
        states.insert(state);
        let remade = scene.population.task().takes_statistics() && version == ModelVersion(0);
        ensure(states.len() <= 1 + usize::from(remade), || {
            format!("{who} has another state of version {version}")
        })
    }
}
