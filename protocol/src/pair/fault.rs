//! What goes wrong in a test, and when.

use super::network::Delivery;
use super::{Millis, Pair};
use crate::message::FromClient;

/// Something that goes wrong, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A client's process dies, and with it its keys. It may come back.
    Crash {
        /// The client, by its place in the roster.
        client: usize,
        /// At what it does.
        at: Point,
        /// Before or after that.
        when: When,
        /// How long after it is back, from its durable records alone.
        back_after: Option<Millis>,
    },
    /// A client's connection is cut; what was on its way is lost. The client lives on.
    Cut {
        /// The client, by its place in the roster.
        client: usize,
        /// At what it does.
        at: Point,
        /// Before or after that.
        when: When,
        /// How long after it is connected again.
        back_after: Option<Millis>,
    },
    /// The coordinator dies right after its n-th record (from 0) is durable, and is restored from
    /// its records. All connections are cut.
    RestartCoordinator {
        /// Records before the one after which it dies.
        after_records: usize,
        /// How long it is down.
        down: Millis,
    },
}

/// Something that a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Sends its advert.
    Advert,
    /// Sends its shares.
    Shares,
    /// Signs that its boxes opened.
    Opened,
    /// Uploads its masked vector.
    Upload,
    /// Sends the commit to its vector.
    Commit,
    /// Signs the survivor set.
    Signature,
    /// Reveals shares.
    Reveal,
}

impl Point {
    /// Every point of a round, in its order.
    pub const ALL: [Self; 7] = [
        Self::Advert,
        Self::Shares,
        Self::Opened,
        Self::Upload,
        Self::Commit,
        Self::Signature,
        Self::Reveal,
    ];

    /// What a client does when it sends a message; none where it takes no part any more, or gives
    /// its nonce for a sparse graph.
    #[must_use]
    pub fn of(message: &FromClient) -> Option<Self> {
        match message {
            FromClient::Advert(_) => Some(Self::Advert),
            FromClient::Shares(_) => Some(Self::Shares),
            FromClient::Opened(_) => Some(Self::Opened),
            FromClient::InputCommit(_) => Some(Self::Commit),
            FromClient::SurvivorSignature(_) => Some(Self::Signature),
            FromClient::Reveal(_) => Some(Self::Reveal),
            FromClient::Nonce(_) | FromClient::Declined(_) | FromClient::Accusation(_) => None,
        }
    }
}

/// Just before something is done, or just after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// It is not done: nothing leaves.
    Before,
    /// It is done: what left arrives.
    After,
}

impl Pair {
    /// Carries out the fault that is planned for this moment; whether the client is gone.
    pub(super) fn strikes(&mut self, who: usize, point: Option<Point>, moment: When) -> bool {
        let planned = self.faults.iter().position(|fault| match fault {
            Fault::Crash { client, at, when, .. } | Fault::Cut { client, at, when, .. } => {
                *client == who && Some(*at) == point && *when == moment
            }
            Fault::RestartCoordinator { .. } => false,
        });
        let Some(planned) = planned else { return false };
        let fault = self.faults.swap_remove(planned);
        let (crashes, back_after) = match fault {
            Fault::Crash { back_after, .. } => (true, back_after),
            Fault::Cut { back_after, .. } => (false, back_after),
            Fault::RestartCoordinator { .. } => return false,
        };
        // What was sent before the moment arrives: it is cut off only after the longest delay.
        self.settle_link(who, moment);
        self.disconnect(who);
        if let Some(peer) = self.peers.get_mut(who) {
            peer.wants_connection = false;
            if crashes {
                peer.crash();
            }
        }
        if let Some(after) = back_after {
            self.network.at(self.now + after, Delivery::Reconnect(who));
        }
        crashes
    }

    /// Delivers what a client sent before it went, now.
    fn settle_link(&mut self, who: usize, moment: When) {
        if moment == When::After {
            for delivery in self.network.take_from(who) {
                self.deliver(delivery);
            }
        }
    }
}
