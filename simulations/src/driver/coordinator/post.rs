//! What leaves for clients.

use super::*;

impl Coordinator {
    pub(super) fn say(&self, client: ClientId, message: ToClient, turn: &mut Turn<'_>) {
        let seat = self.life.as_ref().and_then(|life| life.seats.get(&client));
        if let (Some(connection), Some(number)) = (seat, self.population.number(client)) {
            turn.send((number, *connection, Side::Client), Packet::Down(message));
        }
    }

    pub(super) fn send(
        &self,
        to: &[ClientId],
        round: RoundNumber,
        message: &message::ToClient,
        turn: &mut Turn<'_>,
    ) {
        let federation = self.population.terms().federation();
        for client in to {
            turn.watch.see(turn.now, &Observed::Told { client: *client, round, message });
            let message = message.clone();
            self.say(*client, ToClient::Round { federation, round, message }, turn);
        }
    }

    pub(super) fn push(&self, to: &[ClientId], round: RoundNumber, turn: &mut Turn<'_>) {
        let Some(life) = &self.life else { return };
        let aggregate = life.works.get(&round).and_then(|work| work.aggregate.as_ref());
        let Some(aggregate) = aggregate else { return };
        for client in to {
            let (seat, number) = (life.seats.get(client), self.population.number(*client));
            if let (Some(connection), Some(number)) = (seat, number) {
                let packet = Packet::Vector(VectorKind::Aggregate(round), Arc::clone(aggregate));
                turn.send((number, *connection, Side::Client), packet);
            }
        }
    }

    pub(super) fn fetch(
        &mut self,
        client: ClientId,
        connection: ConnectionId,
        kind: VectorKind,
        turn: &mut Turn<'_>,
    ) {
        let seated = self.life.as_ref().and_then(|life| life.seats.get(&client));
        let Some(number) = self.population.number(client) else { return };
        let vector = match kind {
            VectorKind::State(version) => {
                let model = self.rows.models.get(&version);
                model.and_then(|(_, blob)| self.rows.blob(blob))
            }
            VectorKind::Aggregate(round) => self.rows.aggregate(round),
            VectorKind::MaskedInput(_) | VectorKind::Manifest(_) => None,
        };
        let packet = match vector.filter(|_| seated == Some(&connection)) {
            Some(words) => Packet::Vector(kind, words),
            None => Packet::Down(ToClient::Refused(Refused::new("no_such_vector", ""))),
        };
        turn.send((number, connection, Side::Client), packet);
    }
}
