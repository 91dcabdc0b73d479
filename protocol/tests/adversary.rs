//! What adversaries try, against the real machines of a round: a coordinator that lies to a client
//! (`a1_` to `a20_`, the refusals of every implementation), clients that lie to the coordinator
//! ([`clients`]), and attacks as a whole ([`attacks`]), each first shown to succeed against a
//! weakened variant. A refusal asserts its reason code, silence after it, and that no byte of a
//! secret has left ([`harness`]).
//!
//! | | the lie | where |
//! |---|---|---|
//! | A1 | an unsigned, foreign or expired advert | [`share`] |
//! | A2 | this client's own advert altered or missing | [`share`] |
//! | A3 | two adverts of one identity, equal keys, keys that are none | [`share`] |
//! | A4 | another advert roster than the others were shown | [`share`] |
//! | A5 | a cohort outside the manifest, too few pinned peers | [`advertise`], [`train`] |
//! | A6 | threshold, quorum or floors lowered, too few members | [`advertise`], [`share`], [`open`] |
//! | A7 | a round or a model again, a model or plan that does not follow | [`advertise`], [`train`], [`order`], [`releases`] |
//! | A8 | a box of another sender, receiver, round or place | [`open`] |
//! | A9 | a survivor set without me, with another root, not in A, too small | [`survivors`], [`releases`] |
//! | A10 | a second survivor set | [`survivors`], [`order`], [`releases`] |
//! | A11 | too few, repeated, foreign signatures, over other bytes | [`quorum`], [`train`] |
//! | A12 | a request for more than the partition | [`quorum`] |
//! | A13 | a second quorum after shares were revealed | [`quorum`], [`order`] |
//! | A14 | another plan after the commit | [`train`], [`order`] |
//! | A15 | sets that differ by less than a group | [`advertise`], [`train`], [`survivors`], [`releases`] |
//! | A16 | a client restarted, or restored from an old snapshot | [`snapshots`]; the client's `engine::tests` |
//! | A17 | another suite, ring or clip | [`share`], [`train`] |
//! | A18 | sizes without end, silence without end | [`advertise`], [`train`]; the client's `session::link::tests`, `engine::tests` |
//! | A19 | a result that does not follow | [`end`]; the client's `engine::tests::lies` |
//! | A20 | a plan of another federation | [`advertise`] |

#[path = "rounds/checks.rs"]
mod checks;

#[path = "adversary/harness.rs"]
mod harness;

#[path = "adversary/advertise.rs"]
mod advertise;
#[path = "adversary/attacks.rs"]
mod attacks;
#[path = "adversary/clients.rs"]
mod clients;
#[path = "adversary/end.rs"]
mod end;
#[path = "adversary/open.rs"]
mod open;
#[path = "adversary/order.rs"]
mod order;
#[path = "adversary/privacy.rs"]
mod privacy;
#[path = "adversary/quorum.rs"]
mod quorum;
#[path = "adversary/releases.rs"]
mod releases;
#[path = "adversary/share.rs"]
mod share;
#[path = "adversary/snapshots.rs"]
mod snapshots;
#[path = "adversary/survivors.rs"]
mod survivors;
#[path = "adversary/train.rs"]
mod train;
