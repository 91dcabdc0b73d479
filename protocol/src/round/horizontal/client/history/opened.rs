//! What a client remembers of one release: for whom it has uploaded, which set it has signed, and so
//! what else it may do (horizontal.md, Set rule).
//!
//! ```text
//! uploaded    a retry with the same cohort and the same contribution, or with another cohort that
//!             shows the first to be dead
//! signed      a retry with the same cohort and the same contribution, and in the end the same set
//! published   nothing
//! ```
//! Why a set may be signed again: of an honest client's signatures over one release, all are over one
//! set. Two sets take 2q signatures, of at most n clients of which c sign both: 2q > n + c.

use roundelay_crypto::digest::Digest;
use serde::{Deserialize, Serialize};

use super::Event;
use crate::ids::{ClientId, RoundNumber};
use crate::plan::PlanKind;

/// A planned cohort as the clients that upload for it remember it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cohort {
    /// Hash of the manifest that it was planned under.
    pub manifest: Digest,
    /// Its clients, sorted.
    pub members: Vec<ClientId>,
    /// So many of them in a later set over the same model show that no set of this cohort was
    /// opened or ever will be ([`Floors::witnesses`]).
    ///
    /// [`Floors::witnesses`]: crate::manifest::Floors::witnesses
    pub witnesses: u16,
}

impl Cohort {
    /// Whether a set that these clients are in, over the same kind and model, shows that no set of
    /// this cohort is opened. A client uploads for it only if it signed none before, and signs none
    /// of an earlier round after it; so with enough of them a quorum is out of reach.
    fn is_dead_with(&self, clients: &[ClientId]) -> bool {
        let own = clients.iter().filter(|client| self.members.binary_search(client).is_ok());
        own.count() >= usize::from(self.witnesses)
    }
}

/// What a plan asks a client to release.
#[derive(Debug, Clone)]
pub(in super::super) struct Intent {
    /// The kind of the plan.
    pub(in super::super) kind: PlanKind,
    /// Its model, or data version.
    pub(in super::super) model: Digest,
    /// The planned cohort.
    pub(in super::super) cohort: Cohort,
}

/// What may be released once: the statistics of a data version, or what a round says about a
/// model. A train round carries the evaluation of the model that it starts from, so to train from
/// a model and to evaluate it are one release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Release {
    pub(super) is_statistics: bool,
    pub(super) model: Digest,
}

impl Release {
    pub(super) fn of(kind: PlanKind, model: Digest) -> Self {
        Self { is_statistics: kind == PlanKind::Statistics, model }
    }
}

/// What may have been opened over one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opened {
    kind: PlanKind,
    /// The last round in which this client uploaded for it.
    pub(super) round: RoundNumber,
    cohort: Cohort,
    contribution: Digest,
    /// The one set that this client signs for this release.
    signed: Option<Signed>,
    /// Cohorts of earlier manifests, with the last round of each: whatever is signed now has to
    /// show that no set of theirs is opened.
    earlier: Vec<(RoundNumber, Cohort)>,
}

/// A set that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signed {
    /// The first round in which it was.
    first: RoundNumber,
    /// The last one.
    last: RoundNumber,
    /// Digest of its clients.
    pub(super) set: Digest,
    /// Digest of what this client contributed to the sum over it.
    contribution: Digest,
}

/// Names a set of clients, in whatever round they survive.
pub(in super::super) fn set_digest(survivors: &[ClientId]) -> Digest {
    let mut sorted: Vec<&[u8]> = survivors.iter().map(|client| client.0.0.as_slice()).collect();
    sorted.sort_unstable();
    Digest::of("roundelay/history/set", &sorted)
}

impl Opened {
    /// After another upload for the same release, or the first one.
    pub(super) fn after(
        before: Option<Self>,
        kind: PlanKind,
        round: RoundNumber,
        cohort: Cohort,
        contribution: Digest,
    ) -> Self {
        let (mut earlier, mut signed) = (Vec::new(), None);
        if let Some(before) = before {
            signed = before.signed;
            earlier = before.earlier;
            earlier.retain(|(_, known)| *known != before.cohort);
            earlier.push((before.round, before.cohort));
            earlier.retain(|(_, known)| *known != cohort);
        }
        Self { kind, round, cohort, contribution, signed, earlier }
    }

    pub(super) fn signed(&self) -> Option<&Signed> {
        self.signed.as_ref()
    }

    pub(super) fn sign(&mut self, set: Digest) {
        let (round, contribution) = (self.round, self.contribution);
        let signed = Signed { first: round, last: round, set, contribution };
        self.signed.get_or_insert(signed).last = round;
    }

    /// Whether this client may go on with a plan. `stands` is the round of the last result that it
    /// has seen.
    pub(super) fn allows(&self, intent: &Intent, stands: RoundNumber) -> bool {
        let amended = self.cohort.manifest != intent.cohort.manifest;
        let same = self.cohort == intent.cohort;
        if let Some(signed) = &self.signed {
            return same && self.kind == intent.kind && stands < signed.first;
        }
        let before = std::iter::once(&self.cohort).filter(|_| amended);
        let mut before = before.chain(self.earlier.iter().map(|(_, earlier)| earlier));
        (amended || same) && before.all(|earlier| earlier.is_dead_with(&intent.cohort.members))
    }

    /// Whether this client may give a contribution to a cohort that it [may go on](Self::allows) with.
    /// No set of another cohort's is opened; of its own one may have been, without this client.
    pub(super) fn takes(&self, cohort: &Cohort, contribution: Digest) -> bool {
        self.cohort != *cohort || self.contribution == contribution
    }

    /// Whether this client may sign a set in a round.
    pub(super) fn allows_set(&self, round: RoundNumber, survivors: &[ClientId]) -> bool {
        let mut earlier = self.earlier.iter();
        let once = self.signed.is_none_or(|signed| signed.last < round);
        let same = self.signed.is_none_or(|signed| signed.set == set_digest(survivors));
        self.round == round
            && once
            && same
            && earlier.all(|(_, cohort)| cohort.is_dead_with(survivors))
    }

    /// The fewest events, with their rounds, that lead here.
    pub(super) fn export(&self, model: Digest) -> Vec<(RoundNumber, Event)> {
        let kind = self.kind;
        let uploading = |round, cohort: &Cohort, contribution| {
            (round, Event::Uploading { kind, model, cohort: cohort.clone(), contribution })
        };
        let earlier = self.earlier.iter();
        let mut events: Vec<_> =
            earlier.map(|(round, cohort)| uploading(*round, cohort, self.contribution)).collect();
        let mut current = true;
        if let Some(Signed { first, last, set, contribution }) = self.signed {
            current = last != self.round;
            let again = (last != first).then_some((last, self.contribution));
            for (round, contribution) in std::iter::once((first, contribution)).chain(again) {
                events.push(uploading(round, &self.cohort, contribution));
                events.push((round, Event::Signed { set }));
            }
        }
        if current {
            events.push(uploading(self.round, &self.cohort, self.contribution));
        }
        events
    }
}
