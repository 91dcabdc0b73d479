use super::*;
use crate::fixtures::{manifest, wire};
use crate::ids::{FederationId, ModelVersion, RoundNumber};
use crate::manifest::Manifest;
use crate::signed::Statement;

/// Nine clients with the keys 1 to 9, of which two may collude: three signatures are asked for.
fn nine() -> Manifest {
    manifest(&[1; 9])
}

fn id(key: u8) -> ClientId {
    ClientId(wire::identity(key).fingerprint())
}

fn standing(state: &str) -> Standing {
    Standing {
        round: RoundNumber(7),
        model_version: ModelVersion(5),
        state: wire::digest(state),
        transcript: wire::digest("transcript"),
    }
}

/// A standing with signatures by these keys over what `signed` says, under a manifest.
fn by(keys: &[u8], manifest: &Manifest, signed: &Standing) -> Vec<(ClientId, Signature)> {
    let terms = Terms::new(manifest.clone());
    let sign = |key: &u8| {
        let statement = Statement::Stands(signed);
        (id(*key), terms.scope(signed.round).sign(&wire::key(*key), &statement))
    };
    keys.iter().map(sign).collect()
}

fn attested(standing: Standing, signatures: Vec<(ClientId, Signature)>) -> Attested {
    Attested { standing, signatures: signatures.try_into().unwrap() }
}

const NEWCOMER: u8 = 9;

fn verify(attested: &Attested) -> Result<(), Refusal> {
    attested.verify(&Terms::new(nine()), id(NEWCOMER))
}

#[test]
fn a_state_that_one_more_member_than_may_collude_has_signed_is_taken() {
    let honest = standing("honest");
    assert_eq!(Terms::new(nine()).attesters_min(), 3);
    assert_eq!(verify(&attested(honest, by(&[1, 2, 3], &nine(), &honest))), Ok(()));
    // A signature that does not count spoils nothing.
    let with_a_stranger = by(&[50, 4, 1, 2, 3], &nine(), &honest);
    assert_eq!(verify(&attested(honest, with_a_stranger)), Ok(()));
}

#[test]
fn a_forged_state_is_refused_whatever_two_colluders_can_put_under_it() {
    let (forged, honest) = (standing("forged"), standing("honest"));
    let colluders = by(&[1, 2], &nine(), &forged);
    let and = |more: Vec<(ClientId, Signature)>| [colluders.clone(), more].concat();
    let elsewhere = Manifest { federation: FederationId([8; 16]), ..nine() };
    let amended = Manifest { version: 1, predecessor: Some(nine().hash()), ..nine() };
    let earlier = Standing { model_version: ModelVersion(4), ..forged };
    let round = Standing { round: RoundNumber(6), ..forged };
    let transcript = Standing { transcript: wire::digest("other"), ..forged };
    let borrowed = (id(3), by(&[50], &nine(), &forged)[0].1);
    let attacks = [
        ("nothing", colluders.clone()),
        ("one of them twice", and(by(&[1], &nine(), &forged))),
        ("both of them thrice", and(by(&[2, 1, 2, 1], &nine(), &forged))),
        ("a client that is no member", and(by(&[50], &nine(), &forged))),
        ("a stranger's in a member's name", and(vec![borrowed])),
        ("one of another federation", and(by(&[3], &elsewhere, &forged))),
        ("one under another manifest", and(by(&[3], &amended, &forged))),
        ("one of another version", and(by(&[3], &nine(), &earlier))),
        ("one of another round", and(by(&[3], &nine(), &round))),
        ("one over another transcript", and(by(&[3], &nine(), &transcript))),
        ("one over the honest state", and(by(&[3, 4, 5, 6], &nine(), &honest))),
        ("the newcomer's own", and(by(&[NEWCOMER], &nine(), &forged))),
    ];
    let terms = Terms::new(nine());
    for (what, signatures) in attacks {
        let attested = attested(forged, signatures);
        let refused = Refusal::StateNotAttested { present: 2, required: 3 };
        assert_eq!(verify(&attested), Err(refused), "two colluders and {what}");
        // The rule "c signatures" would have taken each of them.
        assert!(attested.signers(&terms, id(NEWCOMER)) >= terms.attesters_min() - 1, "{what}");
    }
}

#[test]
fn the_most_signatures_that_travel_fit_a_frame_and_are_enough_for_any_federation() {
    let signatures = vec![(id(1), wire::signature(1)); ATTESTATIONS_MAX];
    let bytes = crate::codec::encode(&attested(standing("any"), signatures));
    assert!(bytes.len() < crate::limits::FRAME_BYTES_MAX / 2);
    let mut rules = nine().rules;
    rules.clients_min = 2;
    let corrupt = |declared| {
        let rules = crate::manifest::Rules { corrupt_max: declared, ..rules.clone() };
        rules
            .floors(crate::limits::COMPLETE_COHORT_MAX)
            .ok()
            .map(|floors| usize::from(floors.corrupt()))
    };
    // The most that can be declared, or what holds where nothing is.
    let declared = (0..512).rev().find_map(|most| corrupt(Some(most)));
    let most = declared.max(corrupt(None)).unwrap();
    assert!(most > 100 && most + 2 <= ATTESTATIONS_MAX, "{most}");
}
