//! What the engine asks for, carried out as the driver does: first what is to be durable, as a whole,
//! then the rest in its order.

use roundelay_protocol::round::horizontal::coordinator::stored_boxes;

use super::*;

impl World {
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        self.calls += 1;
        let crash = self.crash.filter(|crash| crash.call == self.calls);
        if crash.is_some_and(|crash| !crash.durable) {
            return self.kill(Millis(100));
        }
        let mut rest = Vec::new();
        for effect in effects {
            match effect {
                Effect::Persist(fact) | Effect::Keep(fact) => self.disk.keep(fact),
                Effect::Audit(entry) => self.disk.audit.push(entry),
                effect => rest.push(effect),
            }
        }
        if crash.is_some() {
            return self.kill(Millis(100));
        }
        let life = self.life;
        for effect in rest {
            if self.life == life {
                self.effect(effect);
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Admit { client, standing } => self.admitted(client, standing),
            Effect::Attested { to, attested } => {
                to.iter().for_each(|client| self.take_over(*client, &attested));
                self.attested.push((to, attested));
            }
            Effect::AskState { client, standing } => {
                let who = self.who(client);
                self.asked.push((who, standing));
                let state = &self.clients[who].state;
                let standardised = (state.hash() == standing.state && !self.forged.contains(&who))
                    .then_some(state.standardisation().is_some());
                self.disk.states.insert(state.hash(), state.to_bytes());
                self.tell(Event::StateGiven { client, standardised });
            }
            Effect::Refuse { client, refused } => {
                let who = self.who(client);
                self.refused.push((who, refused.code.to_string()));
                self.connections[who] = None;
            }
            Effect::End { client, .. } => {
                let who = self.who(client);
                self.ended.insert(who);
            }
            Effect::Disconnect(client) => {
                let who = self.who(client);
                self.connections[who] = None;
                self.lose(who, Some(10));
            }
            Effect::Send { to, round, message } => {
                for client in to {
                    self.send(client, ToCl::Round(round, message.clone()));
                }
            }
            Effect::ResendBoxes { to, round } => {
                let boxes = stored_boxes(&self.disk.records[&round], to).unwrap();
                self.send(to, ToCl::Round(round, ToClient::Boxes(Arc::new(boxes))));
            }
            Effect::Push { to, round } => {
                let stored = || self.disk.aggregates.get(&round);
                let Some(bytes) = self.aggregates.get(&round).or_else(stored).cloned() else {
                    return;
                };
                for client in to {
                    self.send(client, ToCl::Aggregate(round, Arc::clone(&bytes)));
                }
            }
            Effect::StageBegan { round, stage, .. } => self.began.push((round.0, stage)),
            Effect::Expelled { client, fault, .. } => {
                let who = self.who(client);
                self.expelled.push((who, fault));
            }
            Effect::WakeAt(Some(at)) => {
                let (life, delay) = (self.life, at - self.now);
                self.post(delay, Delivery::Alarm { life, at });
            }
            Effect::Amended => {
                for client in 0..self.clients.len() {
                    self.clients[client].repin(&self.setup.terms);
                    self.post(Millis(20), Delivery::Join { client });
                }
            }
            Effect::Lost { round, .. } => self.lost.push(round),
            effect => self.work(effect),
        }
    }

    /// A client that is behind asks for signatures, as the session does.
    fn admitted(&mut self, client: ClientId, offered: Standing) {
        let who = self.who(client);
        if offered.round > self.clients[who].standing().round {
            self.tell(Event::AsksAttested(client));
        }
    }

    /// A client that is behind takes over the state that enough others have signed.
    fn take_over(&mut self, client: ClientId, attested: &Attested) {
        let (who, offered) = (self.who(client), attested.standing);
        let client = &mut self.clients[who];
        if offered.round > client.standing().round {
            attested.verify(client.terms(), client.id).unwrap();
            let bytes = self.disk.states[&offered.state].clone();
            client.adopt(offered, &bytes);
        }
    }

    fn send(&mut self, client: ClientId, message: ToCl) {
        let client = self.who(client);
        if let Some(connection) = self.connections[client] {
            // One link keeps its order: the same latency for all that leaves at one moment.
            self.post(Millis(5), Delivery::ToClient { client, connection, message });
        }
    }
}
