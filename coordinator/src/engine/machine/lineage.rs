//! What members sign about the newest state. Those who have derived it say so, and their signatures
//! go to whoever can't derive it. A coordinator that was restored from an older backup learns in the
//! same way how far its clients are: it plans nothing, has the state that more members than may
//! collude have signed given back by one of them, and goes on from there.

use roundelay_crypto::identity::Signature;
use roundelay_protocol::bounded::List;
use roundelay_protocol::lineage::{Attested, Standing};
use roundelay_protocol::message::ToClient;

use super::*;

/// A client that was asked for a state has so long to send it.
const GIVE_MAX: Millis = Millis(10 * 60 * 1000);

/// What clients have said about the lineage since this coordinator started.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    /// They asked for the signatures under the newest state and have not got them.
    asked: BTreeSet<ClientId>,
    /// They stand further than this coordinator.
    ahead: BTreeMap<ClientId, Ahead>,
    /// The client that was asked for a state, for which one, and until when.
    giving: Option<(ClientId, Standing, Time)>,
    /// They were asked and did not give it.
    tried: BTreeSet<ClientId>,
    /// The newest result that they have signed to have derived.
    derived: BTreeMap<ClientId, RoundNumber>,
    /// They have signed the newest result, or a newer one, under the manifest that is to take force:
    /// this coordinator was restored from a backup of the time before it did.
    amended: BTreeSet<ClientId>,
}

/// Where a client stands that is ahead of this coordinator, and its signature under that. Without
/// one its word holds nothing up, and it takes no part.
#[derive(Debug)]
struct Ahead {
    standing: Standing,
    signature: Option<Signature>,
}

impl Lineage {
    /// A client is gone.
    pub(super) fn forget(&mut self, client: ClientId) {
        self.asked.remove(&client);
        self.ahead.remove(&client);
        self.tried.remove(&client);
        self.giving.take_if(|(giver, ..)| *giver == client);
    }

    /// When to ask another client.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.giving.map(|(.., until)| until)
    }

    /// Clients that have signed that they are ahead.
    pub(super) fn ahead(&self) -> u16 {
        count(self.ahead.values().filter(|ahead| ahead.signature.is_some()).count())
    }

    /// The newest standing that at least so many clients have signed, with their signatures.
    fn recoverable(&self, signers_min: usize) -> Option<(Standing, BTreeMap<ClientId, Signature>)> {
        let mut signed: Vec<(Standing, BTreeMap<ClientId, Signature>)> = Vec::new();
        for (client, Ahead { standing, signature }) in &self.ahead {
            let Some(signature) = *signature else { continue };
            match signed.iter_mut().find(|(other, _)| other == standing) {
                Some((_, signatures)) => drop(signatures.insert(*client, signature)),
                None => signed.push((*standing, BTreeMap::from([(*client, signature)]))),
            }
        }
        let enough = signed.into_iter().filter(|(_, by)| by.len() >= signers_min);
        enough.max_by_key(|(standing, _)| standing.round)
    }
}

impl Engine {
    /// Whether a client that joins is ahead of this coordinator: then it is no member of a cohort
    /// before the coordinator has caught up.
    pub(super) fn is_ahead(&mut self, client: ClientId, join: &Join) -> bool {
        let standing = join.standing;
        if standing.round <= self.progress.published {
            return false;
        }
        let attests =
            |signature: &Signature| self.setup.terms.attests(client, &standing, signature);
        let signature = join.attestation.filter(attests);
        self.lineage.ahead.insert(client, Ahead { standing, signature });
        true
    }

    /// A client has derived the newest state itself. One signature more than a client asks for is
    /// kept: it does not count its own.
    pub(super) fn attests(
        &mut self,
        client: ClientId,
        standing: &Standing,
        signature: &Signature,
        effects: &mut Vec<Effect>,
    ) {
        let (terms, progress) = (&self.setup.terms, &mut self.progress);
        let holds = progress.published > RoundNumber(0)
            && *standing == progress.standing()
            && terms.attests(client, standing, signature);
        if !holds {
            return;
        }
        self.lineage.derived.insert(client, standing.round);
        let needed = progress.attested.len() <= terms.attesters_min();
        if needed && !progress.attested.contains_key(&client) {
            progress.attested.insert(client, *signature);
            if progress.attested.len() > terms.attesters_min() {
                progress.unsigned = None;
            }
            effects.push(Effect::Keep(Fact::Progress(Box::new(progress.clone()))));
            self.tell_attested(effects);
        }
    }

    /// Whether everyone who is there has derived the newest result.
    pub(super) fn is_derived(&self) -> bool {
        let newest = self.progress.published;
        let has = |client: &ClientId| self.lineage.derived.get(client) == Some(&newest);
        newest == RoundNumber(0) || self.members.ready().iter().all(has)
    }

    /// How many clients of a newer manifest have signed to hold the newest result, and how many have
    /// to for the others to take it over.
    pub(super) fn holders(&self, newer: &Setup) -> (u16, u16) {
        let newest = self.progress.published;
        let required = if newest == RoundNumber(0) { 0 } else { newer.terms.attesters_min() };
        let derived = self.lineage.derived.iter().filter(|(_, round)| **round == newest);
        let holders: BTreeSet<_> = derived
            .map(|(client, _)| *client)
            .chain(self.lineage.amended.iter().copied())
            .collect();
        let stay = newer.terms.clients().filter(|client| holders.contains(client));
        (count(stay.count()), count(required))
    }

    /// A client that joins under the newer manifest is refused so long, but may show that it was in
    /// force before.
    pub(super) fn attests_amended(&mut self, client: ClientId, join: &Join) {
        let Some(newer) = &self.amended else { return };
        let (terms, standing) = (&newer.terms, &join.standing);
        let signs = |signature: &Signature| terms.attests(client, standing, signature);
        if join.manifest == terms.hash()
            && standing.round >= self.progress.published
            && join.attestation.as_ref().is_some_and(signs)
        {
            self.lineage.amended.insert(client);
        }
    }

    /// A client that stands where the newest result starts from may have missed it, as everyone has
    /// where this coordinator died before it told anybody.
    pub(super) fn tell_again(&self, client: ClientId, join: &Join, effects: &mut Vec<Effect>) {
        let Some((plan, published)) = self.progress.unsigned.as_deref() else { return };
        let round = plan.round;
        if join.standing.round >= round || !plan.cohort.contains(&client) {
            return;
        }
        let mut send = |message| effects.push(Effect::Send { to: vec![client], round, message });
        if !join.resumable.contains(&round) {
            // It has forgotten the round, and with it what the aggregate is laid out for.
            send(ToClient::RosterPlan(Box::new(plan.clone())));
        }
        send(ToClient::Published(published.clone()));
        effects.push(Effect::Push { to: vec![client], round });
    }

    /// A client can't derive the newest state.
    pub(super) fn asks_attested(&mut self, client: ClientId, effects: &mut Vec<Effect>) {
        if self.members.ready().contains(&client) {
            self.lineage.asked.insert(client);
            self.tell_attested(effects);
        }
    }

    /// Gives the signatures to those who asked and for whom they are enough.
    fn tell_attested(&mut self, effects: &mut Vec<Effect>) {
        let (signed, required) = (&self.progress.attested, self.setup.terms.attesters_min());
        let enough =
            |client: &ClientId| signed.len() - usize::from(signed.contains_key(client)) >= required;
        let to: Vec<ClientId> = self.lineage.asked.iter().copied().filter(enough).collect();
        if to.is_empty() {
            return;
        }
        self.lineage.asked.retain(|client| !to.contains(client));
        let signatures = signed.iter().map(|(client, by)| (*client, *by));
        let signatures = List::clipped(signatures);
        let attested = Attested { standing: self.progress.standing(), signatures };
        effects.push(Effect::Attested { to, attested });
    }

    /// Goes on to the newest state that enough clients have signed, or asks one of them for it.
    pub(super) fn recover(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.lineage.giving.is_some() {
            return;
        }
        let Some((standing, signatures)) =
            self.lineage.recoverable(self.setup.terms.attesters_min())
        else {
            return;
        };
        if standing.state == self.progress.state {
            // The round that is missing here changed nothing: it evaluated the state.
            return self.recovered(standing, None, now, effects);
        }
        let tried = &self.lineage.tried;
        if let Some(client) = signatures.into_keys().find(|client| !tried.contains(client)) {
            self.lineage.giving = Some((client, standing, now + GIVE_MAX));
            effects.push(Effect::AskState { client, standing });
        }
    }

    /// The client that was asked for a state has sent it, checked and stored, or something else.
    /// `standardised` says whether the state holds statistics.
    pub(super) fn given(
        &mut self,
        client: ClientId,
        standardised: Option<bool>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let Some((_, standing, _)) = self.lineage.giving.take_if(|(giver, ..)| *giver == client)
        else {
            return;
        };
        match standardised {
            Some(_) => self.recovered(standing, standardised, now, effects),
            None => self.lineage.tried.extend([client]),
        }
    }

    /// A client that was asked for a state has not sent it in time.
    pub(super) fn ask_another(&mut self, now: Time) {
        if let Some((client, ..)) = self.lineage.giving.take_if(|(.., until)| *until <= now) {
            self.lineage.tried.insert(client);
        }
    }

    /// This coordinator stands where its clients do: rounds of the time before are over.
    fn recovered(
        &mut self,
        standing: Standing,
        given: Option<bool>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        for slot in [Slot::Training, Slot::Ahead] {
            self.drive(slot, Input::Abort(AbortReason::Restarted), now, effects);
        }
        if let Some(standardised) = given {
            self.progress.standardised = standardised;
            self.progress.evaluated = false;
            effects.push(Effect::Persist(Fact::Recovered(standing)));
        } else {
            self.progress.evaluated = true;
        }
        self.progress.stand(&standing);
        self.progress.tries.forgotten = true;
        self.lineage.tried.clear();
        let caught_up: Vec<ClientId> = self
            .lineage
            .ahead
            .iter()
            .filter(|(_, ahead)| ahead.standing.round <= standing.round)
            .map(|(client, _)| *client)
            .collect();
        for client in caught_up {
            if let Some(Ahead { standing, signature: Some(signature) }) =
                self.lineage.ahead.remove(&client)
            {
                self.attests(client, &standing, &signature, effects);
            }
            self.arrive(client, now, effects);
        }
        self.keep_progress(effects);
        effects.push(Effect::Audit(Entry::Recovered(standing.model_version)));
    }
}
