//! An enrolment token works once.

use super::*;

pub(crate) async fn a_token_binds_to_the_first_key_and_to_no_other(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme", "bank"]).await;
    let secret = Seed::new([1; 32]);
    store.add_token(&secret, &tenant("bank"), 100, 0).await.unwrap();
    let (mine, theirs) = (Digest([1; 32]), Digest([2; 32]));
    assert_eq!(store.redeem_token(&secret, mine, None, 50).await, Ok(tenant("bank")));
    assert_eq!(store.redeem_token(&secret, theirs, None, 51).await, Err(StoreError::TokenUsed));
    drop(store);
    let store = fixture.open().await;
    assert_eq!(store.redeem_token(&secret, theirs, None, 52).await, Err(StoreError::TokenUsed));
    assert_eq!(store.redeem_token(&secret, mine, None, 99).await, Ok(tenant("bank")));
    assert_eq!(store.redeem_token(&secret, mine, None, 100).await, Err(StoreError::TokenExpired));
}

pub(crate) async fn a_token_for_another_tenant_than_expected_stays_unused(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme", "bank"]).await;
    let secret = Seed::new([1; 32]);
    store.add_token(&secret, &tenant("bank"), 100, 0).await.unwrap();
    let (acme, bank) = (tenant("acme"), tenant("bank"));
    let (mine, theirs) = (Digest([1; 32]), Digest([2; 32]));
    let refused = store.redeem_token(&secret, mine, Some(&acme), 50).await;
    assert_eq!(refused, Err(StoreError::TokenOfOtherTenant(acme)));
    assert_eq!(store.redeem_token(&secret, theirs, Some(&bank), 51).await, Ok(bank));
}

pub(crate) async fn an_expired_or_unknown_token_is_refused(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme"]).await;
    let secret = Seed::new([1; 32]);
    store.add_token(&secret, &tenant("acme"), 100, 0).await.unwrap();
    let key = Digest([1; 32]);
    assert_eq!(store.redeem_token(&secret, key, None, 100).await, Err(StoreError::TokenExpired));
    let unknown = store.redeem_token(&Seed::new([2; 32]), key, None, 1).await;
    assert_eq!(unknown, Err(StoreError::TokenUnknown));
    // Neither attempt has used the token up.
    assert_eq!(store.redeem_token(&secret, Digest([3; 32]), None, 99).await, Ok(tenant("acme")));
}

pub(crate) async fn a_token_is_remembered_after_its_end_and_forgotten_later(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme"]).await;
    let (used, unused, lives) = ([1; 32], [2; 32], [3; 32]);
    let add = async |secret, expires, now| {
        store.add_token(&Seed::new(secret), &tenant("acme"), expires, now).await.unwrap();
    };
    let redeem = async |secret, key, now| {
        store.redeem_token(&Seed::new(secret), Digest(key), None, now).await
    };
    add(used, 100, 0).await;
    add(unused, 100, 0).await;
    redeem(used, [1; 32], 50).await.unwrap();

    let last = 100 + TOKEN_REMEMBERED_MS - 1;
    add(lives, last + 10, last).await;
    assert_eq!(redeem(used, [2; 32], last).await, Err(StoreError::TokenUsed));
    assert_eq!(redeem(unused, [2; 32], last).await, Err(StoreError::TokenExpired));

    add([4; 32], last + 10, last + 1).await;
    assert_eq!(redeem(used, [2; 32], last + 1).await, Err(StoreError::TokenUnknown));
    assert_eq!(redeem(unused, [2; 32], last + 1).await, Err(StoreError::TokenUnknown));
    assert_eq!(redeem(lives, [2; 32], last + 1).await, Ok(tenant("acme")));
}

pub(crate) async fn of_many_who_redeem_a_token_at_once_one_wins(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme"]).await;
    store.add_token(&Seed::new([1; 32]), &tenant("acme"), 100, 0).await.unwrap();
    let tasks: Vec<_> = (0..32)
        .map(|at| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store.redeem_token(&Seed::new([1; 32]), Digest([at; 32]), None, 1).await
            })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => winners += 1,
            Err(error) => assert_eq!(error, StoreError::TokenUsed),
        }
    }
    assert_eq!(winners, 1);
}
