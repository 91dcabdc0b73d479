//! One line for each event, for people who read what happened. Clients are `c0`, `c1`, …

use roundelay_coordinator::engine::Fact;
use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{ClientId, RosterIndex};
use roundelay_protocol::message::{FromClient, ToClient};
use roundelay_protocol::round::horizontal::client::Event as Remembered;
use roundelay_protocol::round::horizontal::coordinator::Record;
use roundelay_protocol::session;

use super::Observed;
use crate::packet::Packet;
use crate::population::Population;

pub(super) fn line(population: &Population, observed: &Observed<'_>) -> String {
    let name = |client: &ClientId| {
        population.number(*client).map_or_else(|| "c?".to_owned(), |number| format!("c{number}"))
    };
    match observed {
        Observed::CoordinatorStarted => "coordinator starts".into(),
        Observed::CoordinatorDied => "coordinator DIES".into(),
        Observed::Restored => "coordinator is RESTORED from an older backup".into(),
        Observed::ClientStarted(client) => format!("c{client} starts"),
        Observed::ClientDied(client) => format!("c{client} DIES"),
        Observed::Connection(client, what) => format!("c{client} {what}"),
        Observed::Durable(fact) => format!("coordinator keeps {}", kept(fact)),
        Observed::Told { client, round, message } => {
            format!("coordinator → {} round {round} {}", name(client), told(message))
        }
        Observed::Unmasked { round, words } => {
            format!("coordinator takes masks off round {round}: {}", short(&hash(words)))
        }
        Observed::Expelled { round, client, fault } => {
            format!("coordinator EXPELS {} from round {round}: {fault}", name(client))
        }
        Observed::Unreadable { round, error } => {
            format!("coordinator can't read round {round}: {error}")
        }
        Observed::Remembered(client, record) => {
            format!("c{client} keeps round {} {}", record.round, remembered(&record.event))
        }
        Observed::Said { client, round, message } => {
            format!("c{client} → coordinator round {round} {}", said(message))
        }
        Observed::Uploads { client, round, words } => {
            let (bytes, hash) = (words.len(), short(&hash(words)));
            format!("c{client} uploads round {round}: {bytes} bytes, {hash}")
        }
        Observed::Heard(client, packet) => format!("c{client} hears {}", heard(packet)),
        Observed::Tells(client, event) => format!("c{client} tells {event:?}"),
        Observed::TurnedAway(client, why) => format!("c{client} is turned away: {why}"),
        Observed::Garbled(error) => format!("a message does not survive the wire: {error}"),
        Observed::Healed => "nothing goes wrong from here on".into(),
    }
}

fn hash(bytes: &[u8]) -> Digest {
    Digest::of("roundelay/simulation/words", &[bytes])
}

fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(8).collect()
}

fn indices<'a>(indices: impl Iterator<Item = &'a RosterIndex>) -> String {
    let indices: Vec<String> = indices.map(|index| index.0.to_string()).collect();
    format!("{{{}}}", indices.join(" "))
}

fn kept(fact: &Fact) -> String {
    match fact {
        Fact::Record(round, record) => format!("round {round} {}", recorded(record)),
        Fact::Round(summary) => format!("round {} is {:?}", summary.round, summary.state),
        Fact::Forget(round) => format!("nothing of round {round}"),
        Fact::Progress(progress) => {
            let state = short(&progress.state);
            let (version, highest) = (progress.version, progress.highest_round);
            format!("version {version} {state}, highest round {highest}")
        }
        Fact::Model(model) => format!("version {} {}", model.version, short(&model.state)),
        Fact::Recovered(standing) => {
            let state = short(&standing.state);
            format!("version {} {state}, given back", standing.model_version)
        }
        Fact::Evaluated(version, _) => format!("the evaluation of version {version}"),
        Fact::State(state) => format!("state {state:?}"),
    }
}

fn recorded(record: &Record) -> String {
    match record {
        Record::Planned(plan) => format!("Planned {} clients", plan.cohort.len()),
        Record::Advert(index, _) => format!("Advert of {}", index.0),
        Record::Drawn(beacon) => {
            format!("Drawn by {}", indices(beacon.nonces.iter().map(|(index, _)| index)))
        }
        Record::Shares(index, _) => format!("Shares of {}", index.0),
        Record::Training(plan) => {
            format!(
                "Training {:?} {} {}",
                plan.kind,
                plan.model_version,
                indices(plan.active.iter())
            )
        }
        Record::Survivors { set, .. } => {
            format!("Survivors {}", indices(set.inputs.iter().map(|(index, _)| index)))
        }
        Record::Quorum(quorum) => {
            format!("Quorum {}", indices(quorum.signatures.iter().map(|(index, _)| index)))
        }
        Record::Revealed(index, _) => format!("Revealed of {}", index.0),
        Record::Left(index, departure) => format!("Left {} {departure:?}", index.0),
        Record::AdvertsClosed | Record::SharesClosed | Record::Finished(_) => format!("{record:?}"),
    }
}

fn heard(packet: &Packet) -> String {
    match packet {
        Packet::Down(session::ToClient::Round { round, message, .. }) => {
            format!("round {round} {}", told(message))
        }
        Packet::Down(session::ToClient::Joined { standing, .. }) => {
            format!("Joined, version {} {}", standing.model_version, short(&standing.state))
        }
        Packet::Down(session::ToClient::Attested { attested, .. }) => {
            let (at, by) = (attested.standing.round, attested.signatures.len());
            format!("Attested round {at} by {by}")
        }
        Packet::Down(message) => format!("{message:?}"),
        Packet::Vector(kind, words) => format!("{kind:?} {}", short(&hash(words))),
        Packet::Up(_) | Packet::Piece(_) => String::new(),
    }
}

fn told(message: &ToClient) -> String {
    match message {
        ToClient::RosterPlan(plan) => format!("RosterPlan of {}", plan.cohort.len()),
        ToClient::Listing(listing) => {
            format!("Listing {}", indices(listing.adverts.iter().map(|(index, ..)| index)))
        }
        ToClient::Beacon(beacon) => {
            format!("Beacon {}", indices(beacon.nonces.iter().map(|(index, _)| index)))
        }
        ToClient::Adverts(roster) => {
            format!("Adverts {}", indices(roster.adverts.iter().map(|(index, _)| index)))
        }
        ToClient::Boxes(roster) => {
            format!("Boxes {}", indices(roster.boxes.iter().map(|delivery| &delivery.from)))
        }
        ToClient::TrainingPlan(plan) => {
            let (kind, version, model) = (plan.kind, plan.model_version, short(&plan.model));
            format!("TrainingPlan {kind:?} {version} {model} {}", indices(plan.active.iter()))
        }
        ToClient::SurvivorSet(set) => {
            format!("SurvivorSet {}", indices(set.inputs.iter().map(|(index, _)| index)))
        }
        ToClient::Quorum(quorum) => {
            format!("Quorum {}", indices(quorum.signatures.iter().map(|(index, _)| index)))
        }
        ToClient::Published(published) => format!(
            "Published {:?} {} over {}, aggregate {}, state {}",
            published.kind,
            published.model_version,
            published.survivors,
            short(&published.aggregate),
            short(&published.state)
        ),
        ToClient::ResendInput | ToClient::Aborted(_) | ToClient::Expelled(_) => {
            format!("{message:?}")
        }
    }
}

fn said(message: &FromClient) -> String {
    match message {
        FromClient::Advert(advert) => format!("Advert {}", short(&advert.self_mask_commitment)),
        FromClient::Nonce(nonce) => format!("Nonce {}", short(&hash(nonce))),
        FromClient::Shares(shares) => format!("Shares {}", short(&shares.root)),
        FromClient::Opened(signature) => format!("Opened {}", short(&hash(&signature.0))),
        FromClient::InputCommit(commit) => format!("InputCommit {}", short(&commit.root)),
        FromClient::SurvivorSignature(signed) => {
            format!("SurvivorSignature {}", short(&hash(&signed.signature.0)))
        }
        FromClient::Reveal(_) | FromClient::Declined(_) | FromClient::Accusation(_) => {
            format!("{message:?}")
        }
    }
}

fn remembered(event: &Remembered) -> String {
    match event {
        Remembered::Uploading { kind, model, .. } => format!("Uploading {kind:?} {}", short(model)),
        Remembered::Signed { set } => format!("Signed {}", short(set)),
        Remembered::Adopted(standing) => {
            format!("Adopted {} {}", standing.model_version, short(&standing.state))
        }
        Remembered::Stands(standing) => {
            format!("Stands {} {}", standing.model_version, short(&standing.state))
        }
        Remembered::Met { clients } => format!("Met {} clients", clients.len()),
        Remembered::Advertised
        | Remembered::Shared
        | Remembered::Revealed
        | Remembered::RolledBack { .. } => format!("{event:?}"),
    }
}
