//! Effects carried out: what has to be durable first, then everything else in its order.

use roundelay_protocol::message::ToClient;
use roundelay_protocol::session::{self, StreamHeader, VectorKind};

use super::super::boundary::VectorSource;
use super::super::desk::Wanted;
use super::super::jobs;
use super::*;
use crate::accumulator::Shape;
use crate::accumulator::budget::Charge;
use crate::engine::Fact;

impl Task<'_> {
    /// Carries out the effects of one batch of mail. One transaction holds all that they persist:
    /// that a fact is durable earlier than its place asks for harms nobody.
    pub(super) async fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut rest = Vec::with_capacity(effects.len());
        let mut linger = LINGER_LONG;
        for effect in effects {
            match effect {
                Effect::Persist(fact) => {
                    linger = LINGER;
                    self.persist(fact, now);
                }
                Effect::Audit(entry) => {
                    linger = LINGER;
                    self.batch.audit(entry, now);
                }
                Effect::Keep(fact) => self.batch.fact(fact, now),
                // What is told behind it, its members are told.
                Effect::Amended => {
                    linger = LINGER;
                    self.in_force();
                }
                effect => rest.push(effect),
            }
        }
        let leaves = rest.iter().any(|effect| effect.leaves()) || !self.verbs.is_empty();
        if leaves {
            self.flush().await?;
        } else {
            self.flush_within(linger);
        }
        for effect in rest {
            self.effect(effect).await;
        }
        // What rounds that are over leave behind goes when there is time.
        self.flush_within(LINGER_LONG);
        self.verbs.drain(..).for_each(|verb| drop(verb.send(Ok(()))));
        self.show();
        Ok(())
    }

    fn flush_within(&mut self, linger: Duration) {
        if !self.batch.is_empty() {
            let flush_at = Instant::now() + linger;
            self.flush_at = Some(self.flush_at.map_or(flush_at, |at| at.min(flush_at)));
        }
    }

    fn persist(&mut self, fact: Fact, now: Time) {
        if let Fact::Recovered(standing) = &fact
            && let Some((_, blob)) = self.given.take_if(|(hash, _)| *hash == standing.state)
        {
            self.model = blob;
        }
        self.batch.fact(fact, now);
    }

    /// Has a client give back a state that was lost here.
    fn ask_state(&mut self, client: ClientId, standing: Standing) {
        let Ok(bytes_max) = State::bytes_max(&self.learning) else { return };
        let (federation, task) = (self.place.federation, Arc::clone(&self.learning));
        let wanted = Wanted { run: self.run, client, standing, task, bytes_max };
        self.place.desk.want(Some(wanted));
        self.say(client, session::ToClient::GiveState { federation, standing });
    }

    /// The newer manifest takes force.
    fn in_force(&mut self) {
        if let Some(manifest) = self.amended.take() {
            self.batch.set_members(manifest.tenants().cloned().collect());
            self.learning = Arc::new(manifest.task);
        }
    }

    fn show(&self) {
        let engine = Some(self.engine.status());
        self.status.send_if_modified(|status| {
            let changed = status.engine != engine || status.trouble.is_some();
            (status.engine, status.trouble) = (engine, None);
            changed
        });
    }

    async fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(_) | Effect::Audit(_) | Effect::Keep(_) | Effect::Amended => {}
            Effect::Admit { client, standing } => {
                let federation = self.place.federation;
                self.say(client, session::ToClient::Joined { federation, standing });
                self.answer(client, Ok(()));
            }
            Effect::Refuse { client, refused } => self.answer(client, Err(refused)),
            Effect::Attested { to, attested } => {
                let federation = self.place.federation;
                for client in to {
                    let attested = attested.clone();
                    self.say(client, session::ToClient::Attested { federation, attested });
                }
            }
            Effect::AskState { client, standing } => self.ask_state(client, standing),
            Effect::End { client, end } => {
                let federation = self.place.federation;
                self.say(client, session::ToClient::FederationEnded { federation, end });
            }
            Effect::Disconnect(client) => {
                if let Some(seat) = self.seats.remove(&client) {
                    seat.close();
                }
            }
            Effect::Send { to, round, message } => self.send(&to, round, &message),
            Effect::ResendBoxes { to, round } => self.resend_boxes(to, round),
            Effect::Push { to, round } => self.push(&to, round),
            Effect::StageBegan { round, stage, clients } => {
                let (tenant, federation) = (&self.place.owner, self.place.federation);
                tracing::debug!(%tenant, %federation, %round, ?stage, clients, "stage began");
            }
            Effect::Expelled { round, client, fault } => {
                let (tenant, federation) = (&self.place.owner, self.place.federation);
                tracing::warn!(%tenant, %federation, %round, %client, %fault, "client expelled");
            }
            Effect::Lost { round, error } => {
                let (tenant, federation) = (&self.place.owner, self.place.federation);
                tracing::error!(%tenant, %federation, %round, %error, "a round was given up");
            }
            Effect::WakeAt(time) => self.wake_at = time,
            effect => self.work(effect).await,
        }
    }

    async fn work(&mut self, effect: Effect) {
        match effect {
            Effect::OpenUploads { round, layout, active } => {
                self.works.entry(round).or_default();
                let preparation = self.place.shared.budget.charge(prepared_bytes(active.len()));
                let accumulator = Accumulator::new(Shape::all(&layout), active);
                self.place.desk.open(round, accumulator, preparation);
            }
            Effect::Settle { round, client } => {
                if let Some(accumulator) = self.place.desk.find(round) {
                    accumulator.settle(client);
                }
            }
            Effect::Discard { round, client } => {
                if let Some(accumulator) = self.place.desk.find(round) {
                    // A spool may have to be read; nothing else of this federation goes on before.
                    let work = tokio::task::spawn_blocking(move || accumulator.discard(client));
                    let _ = work.await;
                }
            }
            Effect::StoreSum { round, clients } => {
                if let Some(accumulator) = self.place.desk.close(round) {
                    // Uploads under way see that the round goes on without them.
                    let charge = self.work_charge(accumulator.bytes());
                    let job = jobs::store_sum(self.place.shelf(), accumulator, clients);
                    self.spawn(round, async {
                        let _charge = charge;
                        job.await.map(Done::Stored)
                    });
                }
            }
            Effect::Unmask { round, plan } => {
                let shelf = self.place.shelf();
                let work = self.works.entry(round).or_default();
                work.blob = Some(plan.sum);
                let job = jobs::take_masks_off(shelf, work.sum.take(), plan);
                self.spawn(round, async { Ok(Done::Unmasked(Box::new(job.await?))) });
            }
            Effect::Apply { round, plan, survivors, .. } => {
                let work = self.works.entry(round).or_default();
                let aggregate = work.aggregate.clone();
                let (task, from) = (Arc::clone(&self.learning), self.model);
                let charge = self.work_charge(aggregate.len() as u64);
                let job = jobs::apply(self.place.shelf(), task, from, plan, aggregate, survivors);
                self.spawn(round, async {
                    let _charge = charge;
                    job.await.map(Done::Applied)
                });
            }
            Effect::Close(round) => self.close(round),
            _ => {}
        }
    }

    /// What work on a vector of so many bytes takes of the budget: its parts on their way into blobs.
    fn work_charge(&self, bytes: u64) -> Charge {
        const MOST: u64 = 40 << 20;
        self.place.shared.budget.charge(bytes.saturating_mul(2).min(MOST))
    }

    /// Runs a job beside the task; its result comes back as mail.
    fn spawn(
        &self,
        round: RoundNumber,
        job: impl Future<Output = Result<Done, JobError>> + Send + 'static,
    ) {
        let (mail, run) = (self.place.mail.clone(), self.run);
        tokio::spawn(async move {
            let done = job.await;
            // A task that has ended needs no result.
            let _ = mail.send(Mail::Job { run, round, done }).await;
        });
    }

    fn close(&mut self, round: RoundNumber) {
        self.place.desk.give_up(round);
        let Some(work) = self.works.remove(&round) else { return };
        if let Some(model) = work.next_model {
            self.model = model;
        }
        self.batch.close(round, work.blob);
        // The result is on its way: what it supersedes goes with the next transaction.
        self.batch.prune();
    }

    /// Deletes blobs that no row names. Nothing waits for it, and what stays behind is found by the
    /// next start.
    pub(super) fn delete(&self, blobs: Vec<Digest>) {
        if blobs.is_empty() {
            return;
        }
        let (shelf, owner) = (self.place.shelf(), self.place.owner.clone());
        let federation = self.place.federation;
        tokio::spawn(async move {
            for blob in blobs {
                if let Err(error) = shelf.delete(blob).await {
                    tracing::warn!(tenant = %owner, %federation, %error, "a blob was not deleted");
                }
            }
        });
    }

    fn answer(&mut self, client: ClientId, answer: Result<(), Refused>) {
        if let Some(waiting) = self.answers.remove(&client) {
            // A connection that is gone waits no more.
            let _ = waiting.send(answer);
        }
    }

    /// A full queue closes its connection, and the client comes back: nothing to do here.
    fn say(&self, client: ClientId, message: session::ToClient) {
        if let Some(seat) = self.seats.get(&client) {
            let _ = seat.outbox.send(message);
        }
    }

    fn send(&self, to: &[ClientId], round: RoundNumber, message: &ToClient) {
        let federation = self.place.federation;
        let is_roster = matches!(
            message,
            ToClient::Listing(_)
                | ToClient::Beacon(_)
                | ToClient::Adverts(_)
                | ToClient::Boxes(_)
                | ToClient::SurvivorSet(_)
                | ToClient::Quorum(_)
        );
        for seat in to.iter().filter_map(|client| self.seats.get(client)) {
            let message = message.clone();
            let _ = if is_roster {
                seat.outbox.roster(federation, round, message)
            } else {
                seat.outbox.send(session::ToClient::Round { federation, round, message })
            };
        }
    }

    /// The boxes of a round are its bulk: they are read back for the few that need them again.
    fn resend_boxes(&self, to: ClientId, round: RoundNumber) {
        let Some(seat) = self.seats.get(&to) else { return };
        let (outbox, rows) = (Arc::clone(&seat.outbox), Arc::clone(&self.rows));
        let turn = Arc::clone(&self.place.shared.resending);
        let federation = self.place.federation;
        tokio::spawn(async move {
            match jobs::boxes(rows, turn, federation, round, to).await {
                Ok(Some(boxes)) => {
                    let _ = outbox.roster(federation, round, ToClient::Boxes(Arc::new(boxes)));
                }
                // The round is over: its end was told to the client.
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%federation, %round, client = %to, %error, "boxes not read");
                    outbox.close();
                }
            }
        });
    }

    fn push(&self, to: &[ClientId], round: RoundNumber) {
        let Some(work) = self.works.get(&round) else { return };
        let (federation, kind) = (self.place.federation, VectorKind::Aggregate(round));
        for seat in to.iter().filter_map(|client| self.seats.get(client)) {
            let source = match work.sent_from {
                Some((blob, bytes)) => VectorSource::from_shelf(self.place.shelf(), blob, bytes),
                None => VectorSource::from_memory(work.aggregate.clone()),
            };
            let header = StreamHeader::Vector { federation, kind, bytes: source.bytes() };
            let _ = seat.outbox.vector(header, source);
        }
    }
}

/// What the preparations beside an upload take for so many clients. Of a round's leaves 0.75 kB is
/// kept for each edge, most of it an encapsulation at every second one: of this round and of the next.
/// And the boxes of the next are on their way meanwhile, each in a message, a row and a roster. Sparse
/// graphs have fewer edges than this counts.
fn prepared_bytes(clients: usize) -> u64 {
    const KEPT_BYTES: u64 = 768;
    const BOX_BYTES: u64 = 1536;
    let clients = clients as u64;
    (2 * KEPT_BYTES + 3 * BOX_BYTES) * clients * clients.saturating_sub(1)
}
