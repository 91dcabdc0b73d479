//! A network in virtual time: messages of one control stream keep their order, rosters and vectors
//! have streams of their own and overtake.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use rand_core::Rng;
use roundelay_crypto::secret::Secret;

use crate::ids::RoundNumber;
use crate::message::{FromClient, ToClient};
use crate::randomness::Stream;
use crate::round::horizontal::{client, coordinator};
use crate::time::{Millis, Time};

/// Something that arrives at a moment.
pub(super) enum Delivery {
    ToClient { to: usize, epoch: u64, round: RoundNumber, message: ToClient },
    ToClientWork { to: usize, life: u64, round: RoundNumber, input: client::Input },
    FromClient { from: usize, epoch: u64, round: RoundNumber, message: FromClient },
    Upload { from: usize, epoch: u64, round: RoundNumber, vector: Vec<u8> },
    CoordinatorWork { life: u64, round: RoundNumber, input: coordinator::Input },
    Reconnect(usize),
    RestoreCoordinator,
}

pub(super) struct Network {
    delay_ms: RangeInclusive<u64>,
    random: Stream,
    /// By moment, then by the order in which they were sent.
    queue: BTreeMap<(Time, u64), Delivery>,
    sent: u64,
    /// When the last control message on each link arrives.
    control: BTreeMap<usize, Time>,
}

impl Network {
    pub(super) fn new(delay_ms: RangeInclusive<u64>, random: &mut Stream) -> Self {
        let random = Stream::new(Secret::random(random));
        let (queue, control) = (BTreeMap::new(), BTreeMap::new());
        Self { delay_ms, random, queue, sent: 0, control }
    }

    /// The next thing that arrives.
    pub(super) fn next(&mut self) -> Option<(Time, Delivery)> {
        let ((time, _), delivery) = self.queue.pop_first()?;
        Some((time, delivery))
    }

    /// The next thing that arrives, if it does so by then.
    pub(super) fn next_until(&mut self, end: Time) -> Option<(Time, Delivery)> {
        let ((time, _), _) = self.queue.first_key_value()?;
        if *time <= end { self.next() } else { None }
    }

    pub(super) fn at(&mut self, time: Time, delivery: Delivery) {
        self.sent += 1;
        self.queue.insert((time, self.sent), delivery);
    }

    /// Work of another thread, done a little later.
    pub(super) fn later(&mut self, now: Time, delivery: Delivery) {
        let done = now + self.delay();
        self.at(done, delivery);
    }

    /// Sends over a link, on its control stream or on a stream of its own.
    pub(super) fn send(&mut self, now: Time, link: usize, own_stream: bool, delivery: Delivery) {
        let mut arrival = now + self.delay();
        if !own_stream {
            let last = self.control.entry(link).or_insert(arrival);
            arrival = arrival.max(*last);
            *last = arrival;
        }
        self.at(arrival, delivery);
    }

    /// What a client sent and did not arrive yet.
    pub(super) fn take_from(&mut self, client: usize) -> Vec<Delivery> {
        let is_from = |delivery: &Delivery| match delivery {
            Delivery::FromClient { from, .. } | Delivery::Upload { from, .. } => *from == client,
            _ => false,
        };
        let keys: Vec<(Time, u64)> = self
            .queue
            .iter()
            .filter(|(_, delivery)| is_from(delivery))
            .map(|(key, _)| *key)
            .collect();
        keys.iter().filter_map(|key| self.queue.remove(key)).collect()
    }

    fn delay(&mut self) -> Millis {
        let (from, to) = (*self.delay_ms.start(), *self.delay_ms.end());
        let span = to.saturating_sub(from) + 1;
        Millis(from + self.random.next_u64() % span)
    }
}
