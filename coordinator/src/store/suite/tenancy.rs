//! A tenant is a wall: what one can see, write and be told of.

use super::*;

pub(crate) async fn a_tenant_is_added_once(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["bank", "acme"]).await;
    let again = Tenant { tenant: tenant("acme"), created_unix_ms: 8 };
    let refused = store.add_tenant(again).await;
    assert_eq!(refused, Err(StoreError::TenantExists(tenant("acme"))));
    drop(store);
    let names: Vec<_> = fixture.open().await.tenants().await.unwrap();
    let expected = |name| Tenant { tenant: tenant(name), created_unix_ms: 7 };
    assert_eq!(names, [expected("acme"), expected("bank")]);
}

pub(crate) async fn a_handle_of_an_unknown_tenant_says_so(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme"]).await;
    let nobody = store.tenant(&tenant("nobody"));
    let unknown = StoreError::NoSuchTenant(tenant("nobody"));
    assert_eq!(nobody.clients().await, Err(unknown.clone()));
    let put = vec![Write::PutClient(Box::new(some_client(1)))];
    assert_eq!(nobody.transact("test", None, put).await, Err(unknown.clone()));
    assert_eq!(nobody.transact("test", None, Vec::new()).await, Err(unknown.clone()));
    let token = store.add_token(&Seed::new([1; 32]), &tenant("nobody"), 5, 0).await;
    assert_eq!(token, Err(unknown.clone()));
    assert_eq!(store.acquire(&lease("nobody", 1), "here", 0, 5).await, Err(unknown));
}

pub(crate) async fn tenants_do_not_see_each_others_rows(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme", "bank"]).await;
    let (acme, bank) = (store.tenant(&tenant("acme")), store.tenant(&tenant("bank")));
    let fence = store.acquire(&lease("acme", 1), "here", 0, 5).await.unwrap();
    let federation = federation(1);
    let writes = vec![
        put_federation(1),
        Write::PutClient(Box::new(some_client(1))),
        Write::PutRound { federation, round: Box::new(some_round(1)) },
        Write::PutModel { federation, model: Box::new(some_model(0)) },
        append(1, vec![some_record(1, 2)]),
        audit_write(&["acme"], None, 1),
    ];
    acme.transact("test", Some(&fence), writes).await.unwrap();

    assert_eq!(bank.clients().await.unwrap(), []);
    assert_eq!(bank.client(some_client(1).client).await.unwrap(), None);
    assert_eq!(bank.federations().await.unwrap(), []);
    assert_eq!(bank.federation(federation).await.unwrap(), None);
    assert_eq!(bank.rounds(federation).await.unwrap(), []);
    assert_eq!(bank.models(federation).await.unwrap(), []);
    assert_eq!(bank.round_records(federation, RoundNumber(1)).await.unwrap(), []);
    assert_eq!(bank.audit(0, 10).await.unwrap(), []);
    // The fence of acme's federation opens nothing through the handle of another.
    let foreign = bank.transact("test", Some(&fence), vec![append(1, vec![])]).await;
    assert!(matches!(foreign, Err(StoreError::FenceMissing { .. })), "{foreign:?}");
}

pub(crate) async fn members_reach_a_federation_by_membership_alone(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme", "bank", "clinic"]).await;
    let [acme, bank, clinic] = ["acme", "bank", "clinic"].map(|name| store.tenant(&tenant(name)));
    let federation = federation(1);
    let members = |names: &[&str]| Write::PutMembers {
        federation,
        members: names.iter().map(|name| tenant(name)).collect(),
    };
    let writes = vec![put_federation(1), members(&["bank", "acme"])];
    leased(&*store, "acme", writes).await.unwrap();
    let membership = Membership { federation, owner: tenant("acme") };
    assert_eq!(bank.memberships().await.unwrap(), std::slice::from_ref(&membership));
    assert_eq!(clinic.memberships().await.unwrap(), []);
    assert_eq!(acme.members(federation).await.unwrap(), [tenant("acme"), tenant("bank")]);

    leased(&*store, "acme", vec![members(&["acme", "clinic"])]).await.unwrap();
    assert_eq!(bank.memberships().await.unwrap(), []);
    assert_eq!(clinic.memberships().await.unwrap(), [membership]);
    // A member asks the owner's handle for members, not its own.
    assert_eq!(clinic.members(federation).await.unwrap(), []);
    let unknown = leased(&*store, "acme", vec![members(&["nobody"])]).await;
    assert_eq!(unknown, Err(StoreError::NoSuchTenant(tenant("nobody"))));
    assert_eq!(acme.members(federation).await.unwrap(), [tenant("acme"), tenant("clinic")]);
}

pub(crate) async fn a_federation_has_one_owner(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme", "bank"]).await;
    let bank = store.tenant(&tenant("bank"));
    let join = |name| Write::PutMembers { federation: federation(1), members: vec![tenant(name)] };
    leased(&*store, "acme", vec![put_federation(1), join("acme")]).await.unwrap();
    let not_owner =
        Err(StoreError::NotTheOwner { tenant: tenant("bank"), federation: federation(1) });
    assert_eq!(leased(&*store, "bank", vec![join("bank")]).await, not_owner);
    let writes = vec![put_federation(1), join("bank")];
    assert_eq!(leased(&*store, "bank", writes).await, not_owner);
    assert_eq!(bank.memberships().await.unwrap(), []);
}

pub(crate) async fn an_installation_secret_is_kept_by_the_first(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let notice = InstallationSecret::Notice;
    assert!(store.secret(notice).await.unwrap().is_none());
    let kept = store.keep_secret(notice, Secret::new(b"first".to_vec())).await.unwrap();
    assert_eq!(kept.expose(), b"first");
    let kept = store.keep_secret(notice, Secret::new(b"second".to_vec())).await.unwrap();
    assert_eq!(kept.expose(), b"first");
    assert!(store.secret(InstallationSecret::Authority).await.unwrap().is_none());
    drop(store);
    let store = fixture.open().await;
    assert_eq!(store.secret(notice).await.unwrap().unwrap().expose(), b"first");
}
