//! The clients: they join, take part, and meet with the incidents of a script.

use std::collections::VecDeque;

use roundelay_protocol::pair::Point;

use super::*;
use crate::accumulator::{Chunks, Undo, UploadError};

/// Something that happens to a client when it is about to send something in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::tests) struct Incident {
    pub(in crate::engine::tests) client: usize,
    pub(in crate::engine::tests) round: RoundNumber,
    pub(in crate::engine::tests) at: Point,
    pub(in crate::engine::tests) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::tests) enum What {
    /// The connection breaks and is back after so many milliseconds; keys are kept.
    Disconnect(u64),
    /// The process dies and is back after so many milliseconds; keys are lost.
    Restart(u64),
    /// The process dies for good.
    Die,
    /// The upload is cut short by so many bytes and said to be whole.
    Short(usize),
}

impl World {
    pub(super) fn join(&mut self, client: usize) {
        if self.engine.is_none() {
            return self.post(Millis(50), Delivery::Join { client });
        }
        if self.connections[client].is_some() {
            return;
        }
        self.next_connection += 1;
        self.connections[client] = Some(self.next_connection);
        let who = &self.clients[client];
        let (id, tenant, join) = (who.id, who.tenant.clone(), Box::new(who.join()));
        self.tell(Event::Joined { client: id, tenant, join });
    }

    pub(super) fn client_hears(&mut self, client: usize, connection: u64, message: ToCl) {
        if let ToCl::Round(_, ToClient::Expelled(fault)) = &message {
            // Its daemon ends.
            self.connections[client] = None;
            return self.heard.push((client, fault.clone()));
        }
        let (now, who) = (self.now, &mut self.clients[client]);
        let derived = who.derived();
        let outs = match message {
            ToCl::Round(round, message) => who.take(now, round, message),
            ToCl::Aggregate(round, bytes) => who.aggregate(now, round, &bytes),
        };
        if who.derived() != derived && !self.silent {
            let delay = self.latency();
            self.post(delay, Delivery::Attests { client, connection });
        }
        self.client_acts(client, outs);
    }

    /// A client says that it has derived the state at which it stands.
    pub(in crate::engine::tests) fn client_attests(&mut self, client: usize) {
        let who = &self.clients[client];
        let (client, standing) = (who.id, who.derived().unwrap());
        let signature = who.attestation().unwrap();
        self.tell(Event::Attests { client, standing, signature });
    }

    fn client_acts(&mut self, client: usize, outs: Vec<Out>) {
        let mut outs = VecDeque::from(outs);
        while let Some(out) = outs.pop_front() {
            let out = match self.incident(client, &out) {
                Some(What::Short(by)) => match out {
                    Out::Upload(round, mut bytes) => {
                        bytes.truncate(bytes.len() - by);
                        Out::Upload(round, bytes)
                    }
                    out => out,
                },
                Some(What::Disconnect(away)) => {
                    self.lose(client, Some(away));
                    return;
                }
                Some(What::Restart(away)) => {
                    self.clients[client].restart();
                    self.lose(client, Some(away));
                    return;
                }
                Some(What::Die) => {
                    self.lose(client, None);
                    return;
                }
                None => out,
            };
            if let Some(connection) = self.connections[client] {
                let trains = if matches!(out, Out::Upload(..)) { self.training } else { Millis(0) };
                let delay = Millis(self.latency().0 + trains.0);
                self.post(delay, Delivery::FromClient { client, connection, out });
            }
        }
    }

    fn incident(&mut self, client: usize, out: &Out) -> Option<What> {
        let (round, at) = match out {
            Out::Upload(round, _) => (*round, Point::Upload),
            Out::Send(round, message) => (*round, Point::of(message)?),
        };
        let planned = self.script.iter().position(|incident| {
            incident.client == client && incident.round == round && incident.at == at
        })?;
        Some(self.script.swap_remove(planned).what)
    }

    /// A client's connection goes; it is back after a while, or never.
    pub(in crate::engine::tests) fn lose(&mut self, client: usize, away: Option<u64>) {
        if self.connections[client].take().is_some() {
            self.tell(Event::Left(self.clients[client].id));
        }
        if let Some(away) = away {
            self.post(Millis(away), Delivery::Join { client });
        }
    }

    pub(in crate::engine::tests) fn return_now(&mut self, client: usize) {
        self.post(Millis(1), Delivery::Join { client });
    }

    pub(super) fn client_said(&mut self, client: usize, out: Out) {
        let id = self.clients[client].id;
        match out {
            Out::Send(round, message) => self.tell(Event::Message { client: id, round, message }),
            Out::Upload(round, bytes) => {
                let Some(accumulator) = self.accumulators.get(&round) else { return };
                let expected = accumulator.bytes();
                let uploaded = accumulator
                    .begin(id, expected, Undo::in_memory(&Chunks::default(), ()))
                    .and_then(|mut upload| upload.write(&bytes).and_then(|()| upload.finish()));
                match uploaded {
                    Ok(root) => self.tell(Event::Uploaded { client: id, round, root }),
                    Err(UploadError::Fault(fault)) => {
                        self.tell(Event::UploadRefused { client: id, round, fault });
                    }
                    Err(_) => {}
                }
            }
        }
    }
}
