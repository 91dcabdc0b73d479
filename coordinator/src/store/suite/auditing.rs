//! Each tenant has one log, a chain, with what concerns it and nothing else.

use super::*;

pub(crate) async fn an_event_reaches_the_log_of_every_member_and_nobody_elses(
    fixture: &dyn Fixture,
) {
    let store = with_tenants(fixture, &["acme", "bank", "clinic"]).await;
    let [acme, bank, clinic] = ["acme", "bank", "clinic"].map(|name| store.tenant(&tenant(name)));
    let about = federation(1);
    let federation = Some(about);
    let members = vec![tenant("acme"), tenant("bank")];
    let writes = vec![
        put_federation(1),
        Write::PutMembers { federation: about, members },
        audit_write(&["acme", "bank"], federation, 5),
    ];
    leased(&*store, "acme", writes).await.unwrap();
    for member in [&acme, &bank] {
        let log = member.audit(0, 10).await.unwrap();
        assert_eq!(log.len(), 1);
        assert_eq!(log[0].record.federation, federation);
        assert_eq!(member.verify_audit().await.unwrap().entries, 1);
    }
    assert_eq!(clinic.audit(0, 10).await.unwrap(), []);
    for (handle, to, about) in [
        (&acme, "clinic", federation), // no member
        (&acme, "bank", None),         // a member, but not about the federation
        (&bank, "acme", federation),   // a member writing to another: only the owner may
    ] {
        let refused = handle.transact("test", None, vec![audit_write(&[to], about, 1)]).await;
        assert!(matches!(refused, Err(StoreError::NotAMember { .. })), "{to}: {refused:?}");
    }
}

pub(crate) async fn the_audit_log_is_one_chain_over_reopening(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme"]).await;
    let acme = store.tenant(&tenant("acme"));
    let empty = acme.verify_audit().await.unwrap();
    assert_eq!(empty, AuditHead { entries: 0, link: Digest([0; 32]) });
    for at in 0..10 {
        let writes =
            vec![audit_write(&["acme"], None, 2 * at), audit_write(&["acme"], None, 2 * at + 1)];
        acme.transact("test", None, writes).await.unwrap();
    }
    let before = acme.verify_audit().await.unwrap();
    drop((store, acme));
    let acme = fixture.open().await.tenant(&tenant("acme"));
    assert_eq!(acme.verify_audit().await.unwrap(), before);
    acme.transact("test", None, vec![audit_write(&["acme"], None, 20)]).await.unwrap();
    let log = acme.audit(15, 100).await.unwrap();
    assert_eq!(log.iter().map(|item| item.entry).collect::<Vec<_>>(), [15, 16, 17, 18, 19, 20]);
    assert_eq!(log[4].link, before.link);
    let event = AuditEvent::Round(AuditEntry::Survivors { set: Digest([1; 32]), clients: 17 });
    assert_eq!(log[2].record.event, event);
    assert_eq!(acme.audit(3, 2).await.unwrap().len(), 2);
    let after = acme.verify_audit().await.unwrap();
    assert_eq!(after, AuditHead { entries: 21, link: log[5].link });
}
