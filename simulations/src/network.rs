//! Links between clients and their coordinator, as a machine without I/O: whoever drives it says
//! `now`, sends, and takes what has arrived. One client has one connection at a time.
//!
//! ```text
//! dial ──▶ Connected (or Unreachable) ──send──▶ Delivered … ──cut──▶ Lost, at each side in its time
//! ```
//! As on QUIC nothing is lost within a connection, only with it: of what was under way at a cut a
//! part still arrives, from each stream its beginning. Streams overtake each other ([`Lane`]).

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::ChaCha12Rng;
use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::time::{Millis, Time};
use serde::Serialize;

use crate::agenda::Agenda;

/// One connection of one client; a client that comes back has a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A client, by its number in the population.
pub type ClientNumber = usize;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The client's.
    Client,
    /// The coordinator's.
    Coordinator,
}

/// How good the line of one client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Line {
    /// One way, at least.
    pub latency_ms: u64,
    /// One way, on top, at most.
    pub jitter_ms: u64,
    /// Bytes that pass in a millisecond.
    pub bytes_per_ms: u64,
    /// Until a side notices that a connection is gone, at most.
    pub detection_ms: u64,
}

/// What keeps its order on one connection in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The control stream; a message of a round waits for the rosters announced before it.
    Control(Option<RoundNumber>),
    /// A roster or aggregate of a round, on a stream of its own: announced on the control stream,
    /// delivered in the order of its round.
    Announced(RoundNumber),
    /// A stream of its own that overtakes and is overtaken.
    Stream(u64),
}

/// What happens on the network.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival<P> {
    /// A dialled connection stands.
    Connected(ClientNumber, ConnectionId),
    /// Nobody answered.
    Unreachable(ClientNumber),
    /// Something that was sent is there.
    Delivered {
        /// Whose connection.
        client: ClientNumber,
        /// Which.
        connection: ConnectionId,
        /// To which end.
        to: Side,
        /// What was sent.
        payload: P,
    },
    /// One end notices that its connection is gone.
    Lost {
        /// Whose connection.
        client: ClientNumber,
        /// Which.
        connection: ConnectionId,
        /// Which end.
        at: Side,
    },
}

/// All links of one coordinator.
#[derive(Debug)]
pub struct Network<P> {
    rng: ChaCha12Rng,
    lines: Vec<Line>,
    current: BTreeMap<ClientNumber, Link>,
    opened: u64,
    listening: bool,
    under_way: Agenda<Arrival<P>>,
}

/// The newest connection of a client.
#[derive(Debug)]
struct Link {
    connection: ConnectionId,
    /// From these moments on nothing gets through any more, to the client and to the coordinator.
    silent: Option<[Time; 2]>,
    /// Arrival of the last thing in each order, by direction.
    fronts: BTreeMap<(Side, Front), Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Front {
    Control,
    Round(RoundNumber),
    Stream(u64),
}

impl<P> Network<P> {
    /// Links of these qualities, one for each client; nobody is connected.
    #[must_use]
    pub fn new(lines: Vec<Line>, rng: ChaCha12Rng) -> Self {
        Self {
            rng,
            lines,
            current: BTreeMap::new(),
            opened: 0,
            listening: true,
            under_way: Agenda::default(),
        }
    }

    /// The coordinator answers from now on.
    pub fn listen(&mut self) {
        self.listening = true;
    }

    /// The coordinator is gone, and every connection with it.
    pub fn fall_silent(&mut self, now: Time) {
        self.listening = false;
        for client in self.current.keys().copied().collect::<Vec<_>>() {
            self.break_link(now, client, Some(Side::Coordinator));
        }
    }

    /// A client asks for a connection. One that it still has is gone.
    pub fn dial(&mut self, now: Time, client: ClientNumber) {
        self.break_link(now, client, Some(Side::Client));
        let at = self.after(now, client, 0);
        let at = self.after(at, client, 0);
        self.opened += 1;
        self.under_way.put(at, Arrival::Connected(client, ConnectionId(self.opened)));
    }

    /// The newest connection of a client breaks.
    pub fn cut(&mut self, now: Time, client: ClientNumber) {
        self.break_link(now, client, None);
    }

    /// A side ends the newest connection of its client: only the other one has to notice.
    pub fn close(&mut self, now: Time, client: ClientNumber, by: Side) {
        self.break_link(now, client, Some(by));
    }

    /// Sends `bytes` bytes of payload to one end of a connection.
    pub fn send(
        &mut self,
        now: Time,
        (client, connection, to): (ClientNumber, ConnectionId, Side),
        lane: Lane,
        bytes: u64,
        payload: P,
    ) {
        if self.link(client, connection).is_none() {
            return;
        }
        let travelled = self.after(now, client, bytes);
        let announced = self.after(now, client, 0);
        let Some(link) = self.link(client, connection) else { return };
        let at = match lane {
            Lane::Control(None) => link.follow(to, Front::Control, travelled),
            Lane::Control(Some(round)) => {
                let at = link.follow(to, Front::Control, travelled);
                link.wait(to, Front::Round(round), at)
            }
            Lane::Announced(round) => {
                let announced = link.follow(to, Front::Control, announced);
                link.follow(to, Front::Round(round), travelled.max(announced))
            }
            Lane::Stream(stream) => link.follow(to, Front::Stream(stream), travelled),
        };
        if link.silent.is_some_and(|silent| at >= silent[to as usize]) {
            return;
        }
        self.under_way.put(at, Arrival::Delivered { client, connection, to, payload });
    }

    /// When something happens next.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        self.under_way.next_at()
    }

    /// What happens next, with its moment; nothing where it came to nothing.
    pub fn poll(&mut self) -> Option<(Time, Option<Arrival<P>>)> {
        let (at, arrival) = self.under_way.pop()?;
        Some((at, self.arrive(at, arrival)))
    }

    fn arrive(&mut self, at: Time, arrival: Arrival<P>) -> Option<Arrival<P>> {
        match arrival {
            Arrival::Connected(client, connection) => Some(self.connect(client, connection)),
            Arrival::Delivered { client, connection, to, .. } => {
                let link = self.link(client, connection)?;
                let through = link.silent.is_none_or(|silent| at < silent[to as usize]);
                through.then_some(arrival)
            }
            arrival => Some(arrival),
        }
    }

    fn connect(&mut self, client: ClientNumber, connection: ConnectionId) -> Arrival<P> {
        if !self.listening {
            return Arrival::Unreachable(client);
        }
        self.current.insert(client, Link { connection, silent: None, fronts: BTreeMap::new() });
        Arrival::Connected(client, connection)
    }

    /// The link of a connection, if it is the client's newest one.
    fn link(&mut self, client: ClientNumber, connection: ConnectionId) -> Option<&mut Link> {
        self.current.get_mut(&client).filter(|link| link.connection == connection)
    }

    /// Breaks a client's link, if it is whole. `knows` is the side that need not be told.
    fn break_link(&mut self, now: Time, client: ClientNumber, knows: Option<Side>) {
        let whole = |link: &&mut Link| link.silent.is_none();
        let Some(connection) = self.current.get_mut(&client).filter(whole).map(|l| l.connection)
        else {
            return;
        };
        // Nothing reaches a side that has let go of the connection, or died.
        let silent = [Side::Client, Side::Coordinator].map(|side| match knows {
            Some(gone) if gone == side => now,
            _ => self.after(now, client, 0),
        });
        let noticed = [Side::Client, Side::Coordinator].map(|at| {
            let detection = self.lines[client].detection_ms;
            (at, silent[at as usize] + Millis(self.rng.random_range(0..=detection)))
        });
        if let Some(link) = self.link(client, connection) {
            link.silent = Some(silent);
        }
        for (at, noticed) in noticed.into_iter().filter(|(at, _)| Some(*at) != knows) {
            self.under_way.put(noticed, Arrival::Lost { client, connection, at });
        }
    }

    /// One way over a client's line.
    fn after(&mut self, now: Time, client: ClientNumber, bytes: u64) -> Time {
        let line = self.lines[client];
        let jitter = self.rng.random_range(0..=line.jitter_ms);
        now + Millis(line.latency_ms + jitter + bytes / line.bytes_per_ms.max(1))
    }
}

impl Link {
    /// Arrives no earlier than what came before in the same order, and holds up what follows.
    fn follow(&mut self, to: Side, front: Front, at: Time) -> Time {
        let last = self.fronts.entry((to, front)).or_default();
        *last = at.max(*last);
        *last
    }

    /// Arrives no earlier than what came before, without holding anything up.
    fn wait(&self, to: Side, front: Front, at: Time) -> Time {
        self.fronts.get(&(to, front)).copied().unwrap_or_default().max(at)
    }
}

#[cfg(test)]
mod tests;
