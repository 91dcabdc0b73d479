//! The drivers of the real machines in virtual time: one of the coordinator's engine, one of each
//! client's. They keep the contract that the server and the daemon keep, with the same borders
//! between what is durable and what is in memory, and they die where they are told to.
//!
//! | here | drives | modelled on |
//! |---|---|---|
//! | `coordinator` | `coordinator::engine`, `coordinator::accumulator` | the task of `coordinator::server::driver` |
//! | `client` | `client::engine` | the session of `roundelay-client` |

use roundelay_protocol::time::{Millis, Time};

use crate::agenda::Agenda;
use crate::faults::{Faults, Incident};
use crate::network::{ClientNumber, ConnectionId, Network, Side};
use crate::packet::Packet;
use crate::watch::{Observed, Watch};

pub mod client;
pub mod coordinator;

/// Something that the world brings back at its moment.
#[derive(Debug)]
pub enum Due {
    /// For a life of the coordinator; a later life knows nothing of it.
    Coordinator(u64, coordinator::Due),
    /// For a life of a client.
    Client(ClientNumber, u64, client::Due),
    /// The coordinator's process starts.
    StartCoordinator,
    /// A client's process starts.
    StartClient(ClientNumber),
    /// Something goes wrong.
    Incident(Incident),
    /// The operator looks after the federation.
    Operator,
}

/// What a driver may use while it is given something.
pub struct Turn<'a> {
    /// The moment.
    pub now: Time,
    /// Where things are written down for later.
    pub agenda: &'a mut Agenda<Due>,
    /// The links.
    pub network: &'a mut Network<Packet>,
    /// The dice.
    pub faults: &'a mut Faults,
    /// Who looks on.
    pub watch: &'a mut Watch,
    wire: &'a mut Wire,
}

/// How packets travel.
#[derive(Debug)]
pub struct Wire {
    /// Streams that were ever opened.
    streams: u64,
    /// Whether packets become bytes on the way.
    encodes: bool,
}

impl Wire {
    /// Packets become bytes where `encodes`.
    #[must_use]
    pub fn new(encodes: bool) -> Self {
        Self { streams: 0, encodes }
    }
}

impl<'a> Turn<'a> {
    /// A turn at a moment.
    pub fn new(
        now: Time,
        agenda: &'a mut Agenda<Due>,
        network: &'a mut Network<Packet>,
        faults: &'a mut Faults,
        watch: &'a mut Watch,
        wire: &'a mut Wire,
    ) -> Self {
        Self { now, agenda, network, faults, watch, wire }
    }

    /// Writes something down for later.
    pub fn after(&mut self, delay: Millis, due: Due) {
        self.agenda.put(self.now + delay, due);
    }

    /// A stream that was never used.
    pub fn open_stream(&mut self) -> u64 {
        self.wire.streams += 1;
        self.wire.streams
    }

    /// A packet as its receiver reads it.
    pub fn read(&mut self, packet: Packet) -> Option<Packet> {
        if !self.wire.encodes {
            return Some(packet);
        }
        let read = packet.over_the_wire();
        if let Err(error) = &read {
            self.watch.see(self.now, &Observed::Garbled(error));
        }
        read.ok()
    }

    /// Sends a packet to one end of a connection.
    pub fn send(&mut self, to: (ClientNumber, ConnectionId, Side), packet: Packet) {
        let stream = self.open_stream();
        let (lane, bytes) = (packet.lane(stream), packet.bytes());
        self.network.send(self.now, to, lane, bytes, packet);
    }
}

/// A process died in the middle of what it was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Died;
