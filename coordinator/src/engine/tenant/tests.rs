use roundelay_protocol::ids::FederationId;

use super::*;

fn client(number: u8) -> ClientId {
    ClientId(Digest([number; 32]))
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn members() -> Members {
    let tenants = [(client(1), tenant("acme")), (client(2), tenant("bank"))];
    Members::new(BTreeMap::from(tenants), Time(5))
}

fn standing(round: u64, version: u64, state: u8) -> Standing {
    Standing {
        round: RoundNumber(round),
        model_version: ModelVersion(version),
        state: Digest([state; 32]),
        transcript: Digest([6; 32]),
    }
}

fn newest() -> Newest {
    Newest {
        manifest: Digest([3; 32]),
        schema: Digest([4; 32]),
        standing: standing(8, 6, 5),
        round: RoundNumber(9),
    }
}

fn join() -> Join {
    Join {
        federation: FederationId([0; 16]),
        manifest: newest().manifest,
        highest_round: RoundNumber(9),
        resumable: Vec::new().try_into().unwrap(),
        standing: newest().standing,
        attestation: None,
        schema: newest().schema,
    }
}

fn admit(join: &Join) -> Result<(), Denied> {
    members().admit(client(1), &tenant("acme"), join, &newest())
}

#[test]
fn a_client_of_the_manifest_is_admitted_under_its_own_tenant_alone() {
    assert_eq!(admit(&join()), Ok(()));
    let stranger = members().admit(client(3), &tenant("acme"), &join(), &newest());
    assert_eq!(stranger, Err(Denied::NotAMember));
    let other_tenant = members().admit(client(1), &tenant("bank"), &join(), &newest());
    assert_eq!(other_tenant, Err(Denied::NotAMember));
}

#[test]
fn another_manifest_or_schema_is_refused() {
    let other = Digest([0; 32]);
    let denied = admit(&Join { manifest: other, ..join() }).unwrap_err();
    assert_eq!(denied, Denied::OtherManifest { pinned: other, current: newest().manifest });
    assert_eq!(admit(&Join { schema: other, ..join() }), Err(Denied::OtherSchema));
}

#[test]
fn a_client_behind_or_ahead_is_admitted_and_one_with_another_result_of_the_same_round_is_not() {
    assert_eq!(admit(&Join { standing: standing(3, 2, 1), ..join() }), Ok(()));
    assert_eq!(admit(&Join { standing: standing(9, 7, 1), ..join() }), Ok(()));
    let forked = Join { standing: standing(8, 6, 1), ..join() };
    assert_eq!(admit(&forked), Err(Denied::OtherState(ModelVersion(6))));
}

#[test]
fn a_newcomer_does_not_hold_the_statistics_and_is_admitted_all_the_same() {
    let newest = Newest { standing: standing(1, 0, 5), ..newest() };
    let newcomer = Join { standing: standing(0, 0, 1), ..join() };
    assert_eq!(members().admit(client(1), &tenant("acme"), &newcomer, &newest), Ok(()));
}

#[test]
fn a_round_number_above_ours_is_believed_but_not_one_that_would_use_them_up() {
    assert_eq!(admit(&Join { highest_round: RoundNumber(1_000), ..join() }), Ok(()));
    let lie = RoundNumber(u64::MAX);
    assert_eq!(admit(&Join { highest_round: lie, ..join() }), Err(Denied::ImplausibleRound(lie)));
}

#[test]
fn coming_and_going_is_noticed_once() {
    let mut members = members();
    members.arrive(client(1), Time(10));
    members.arrive(client(1), Time(20));
    assert_eq!((members.ready().len(), members.changed()), (1, Time(10)));
    members.leave(client(2), Time(30));
    assert_eq!(members.changed(), Time(10));
    members.leave(client(1), Time(40));
    assert_eq!((members.ready().len(), members.changed()), (0, Time(40)));
}
