//! The verbs, answered by a running coordinator and without one.

use std::sync::Arc;

use roundelay_protocol::enrol::Token;
use roundelay_protocol::ids::TenantId;

use super::socket::{AdminSocket, ask};
use super::*;
use crate::installation::admin_socket;
use crate::server::tests::harness::{Client, Coordinator, Wire, tenant};
use crate::server::tests::manifests::draft;

fn admin(coordinator: &Coordinator) -> Admin {
    Admin::new(
        Arc::clone(&coordinator.installation),
        Some(Arc::clone(&coordinator.server)),
        None,
        15,
    )
}

async fn failed(admin: &Admin, request: Request) -> (Kind, String) {
    let error = admin.handle(request).await.unwrap_err();
    assert!(!error.message.contains('\n'), "{error}");
    (error.kind, error.code)
}

fn create(name: &str, members: &[&str]) -> Request {
    let draft = draft(name, members);
    Request::FederationCreate {
        name: draft.name,
        owner: draft.owner,
        members: draft.members,
        task: Box::new(draft.task),
        rules: Box::new(draft.rules),
    }
}

#[tokio::test]
async fn a_verb_over_the_socket_is_answered_as_the_handler_answers_it() {
    let coordinator = Coordinator::open().await;
    let admin = Arc::new(admin(&coordinator));
    let path = admin_socket(coordinator.installation.data());
    assert_eq!(ask(&path, &Request::TenantList).await, Ok(None), "nobody listens yet");
    let socket = AdminSocket::bind(&path).unwrap();
    let serving = tokio::spawn({
        let admin = Arc::clone(&admin);
        async move { socket.serve(admin).await }
    });
    let requests = [
        Request::TenantList,
        Request::TenantAdd { tenant: tenant("acme") },
        Request::ClientList { tenant: None },
        create("digits", &["acme"]),
        Request::FederationStatus { federation: "digits".to_owned() },
        Request::AuditVerify { tenant: None },
    ];
    for request in requests {
        let over_socket = ask(&path, &request).await;
        assert_eq!(over_socket.transpose().unwrap(), admin.handle(request).await);
    }
    serving.abort();
    let _ = serving.await;
    assert!(!path.exists(), "the socket goes with the coordinator");
}

#[tokio::test]
async fn a_socket_left_behind_by_a_killed_coordinator_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let left = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(left);
    assert!(path.exists());
    assert_eq!(ask(&path, &Request::TenantList).await, Ok(None));
    assert!(AdminSocket::bind(&path).is_ok());
}

#[tokio::test]
async fn a_socket_deeper_than_a_socket_path_may_be_long_is_served_all_the_same() {
    let coordinator = Coordinator::open().await;
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let path = deep.join("admin.sock");
    assert_eq!(ask(&path, &Request::TenantList).await, Ok(None));
    assert_eq!(ask(&deep.join("missing/admin.sock"), &Request::TenantList).await, Ok(None));
    let socket = AdminSocket::bind(&path).unwrap();
    let admin = Arc::new(admin(&coordinator));
    let serving = tokio::spawn(async move { socket.serve(admin).await });
    let answer = ask(&path, &Request::TenantList).await.unwrap();
    assert!(matches!(answer, Some(Answer::Tenants(tenants)) if tenants.len() == 3));
    serving.abort();
    let _ = serving.await;
    assert!(!path.exists(), "the socket goes with the coordinator");
    let left = AdminSocket::bind(&path).unwrap();
    assert!(AdminSocket::bind(&path).is_ok(), "one that was left behind is replaced");
    drop(left);
}

#[tokio::test]
async fn garbage_on_the_socket_is_answered_with_an_error_line() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let coordinator = Coordinator::open().await;
    let path = admin_socket(coordinator.installation.data());
    let socket = AdminSocket::bind(&path).unwrap();
    let admin = Arc::new(admin(&coordinator));
    let _serving = tokio::spawn(async move { socket.serve(admin).await });
    for line in ["{}\n", "\n", "{\"tenant_add\":{\"tenant\":\"NOT\"}}\n", "\u{fffd}\n"] {
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        stream.write_all(line.as_bytes()).await.unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await.unwrap();
        assert!(answer.contains("bad_request"), "{line:?}: {answer}");
    }
}

#[tokio::test]
async fn a_token_enrols_and_its_client_is_listed_and_revoked() {
    let coordinator = Coordinator::open().await;
    let admin = admin(&coordinator);
    let request = Request::EnrolToken { tenant: tenant("acme"), minutes: Some(1), address: None };
    let Ok(Answer::Token(view)) = admin.handle(request).await else { panic!("no token") };
    let token: Token = view.token.parse().unwrap();
    assert_eq!(token.address, coordinator.server.listens_on().to_string());
    assert_eq!(token.authority, coordinator.installation.clients.authority().fingerprint());
    assert!(!format!("{view:?}").contains(&view.token), "a log must not hold the secret");

    let mut client = Client::new("acme");
    let enrolled = client.enrol(&coordinator, &token.secret).await.unwrap();
    client.certificate = Some(enrolled.certificate.into());
    let wire = Wire::welcomed(&coordinator, &client).await;
    let listed = admin.handle(Request::ClientList { tenant: Some(tenant("acme")) }).await;
    let Ok(Answer::Clients(clients)) = listed else { panic!("{listed:?}") };
    assert_eq!((clients[0].state.as_str(), clients[0].connected), ("enrolled", true));
    assert_eq!(clients[0].client, client.id().to_string());

    let revoke = Request::ClientRevoke { tenant: tenant("acme"), client: ClientText(client.id()) };
    for _ in 0..2 {
        let Ok(Answer::Revoked(view)) = admin.handle(revoke.clone()).await else {
            panic!("not revoked");
        };
        assert_eq!((view.state.as_str(), view.connected), ("revoked", false));
    }
    wire.closed().await;
    let elsewhere =
        Request::ClientRevoke { tenant: tenant("bank"), client: ClientText(client.id()) };
    assert_eq!(failed(&admin, elsewhere).await, (Kind::NotFound, "unknown_client".to_owned()));
}

#[tokio::test]
async fn verbs_about_what_is_not_there_say_so() {
    let coordinator = Coordinator::open().await;
    let admin = admin(&coordinator);
    let nobody: TenantId = tenant("nobody");
    let unknown_tenant = [
        Request::EnrolToken { tenant: nobody.clone(), minutes: None, address: None },
        Request::ClientList { tenant: Some(nobody.clone()) },
        Request::AuditVerify { tenant: Some(nobody) },
        create("digits", &["acme", "nobody"]),
    ];
    for request in unknown_tenant {
        assert_eq!(failed(&admin, request).await, (Kind::NotFound, "unknown_tenant".to_owned()));
    }
    let federation = || "nothing".to_owned();
    let unknown_federation = [
        Request::FederationStart { federation: federation(), initial: None },
        Request::FederationStop { federation: federation() },
        Request::FederationStatus { federation: federation() },
        Request::Rounds { federation: federation(), last: None },
        Request::ModelList { federation: federation(), last: Some(3) },
        Request::ModelExport { federation: federation(), version: None, to: "x".into() },
    ];
    for request in unknown_federation {
        let expected = (Kind::NotFound, "unknown_federation".to_owned());
        assert_eq!(failed(&admin, request).await, expected);
    }
}

#[tokio::test]
async fn tokens_have_bounds_and_an_address_that_clients_can_use() {
    let coordinator = Coordinator::open().await;
    let token = |minutes, address: Option<&str>| Request::EnrolToken {
        tenant: tenant("acme"),
        minutes,
        address: address.map(str::to_owned),
    };
    let running = admin(&coordinator);
    for minutes in [0, 1441] {
        let (kind, code) = failed(&running, token(Some(minutes), None)).await;
        assert_eq!((kind, code.as_str()), (Kind::Invalid, "bad_minutes"));
    }
    let (_, code) = failed(&running, token(None, Some("nowhere"))).await;
    assert_eq!(code, "bad_address");
    let offline = Admin::new(Arc::clone(&coordinator.installation), None, None, 15);
    assert_eq!(failed(&offline, token(None, None)).await.1, "no_address");
    let address = Some("fl.example.org:4433".to_owned());
    let configured = Admin::new(Arc::clone(&coordinator.installation), None, address, 15);
    let Ok(Answer::Token(view)) = configured.handle(token(None, None)).await else {
        panic!("no token");
    };
    assert!(view.token.starts_with("roundelay://fl.example.org:4433/"));
}

#[tokio::test]
async fn a_federation_is_drafted_shown_and_not_started_before_it_is_signed() {
    let coordinator = Coordinator::open().await;
    for name in ["acme", "bank", "care"] {
        coordinator.client(name).await;
    }
    let admin = admin(&coordinator);
    let members = ["acme", "bank", "care"];
    let Ok(Answer::Federation(view)) = admin.handle(create("digits", &members)).await else {
        panic!("not drafted");
    };
    assert_eq!((view.state.as_str(), view.clients, view.signatures), ("draft", 3, 0));
    assert_eq!(view.missing, members);
    let again = failed(&admin, create("digits", &members)).await;
    assert_eq!(again, (Kind::Conflict, "name_taken".to_owned()));
    let few = failed(&admin, create("few", &["acme", "bank"])).await;
    assert_eq!(few, (Kind::Invalid, "bad_manifest".to_owned()));
    for federation in ["digits".to_owned(), view.federation.clone()] {
        let start = Request::FederationStart { federation: federation.clone(), initial: None };
        assert_eq!(failed(&admin, start).await, (Kind::Conflict, "not_signed".to_owned()));
        let status = admin.handle(Request::FederationStatus { federation }).await;
        let Ok(Answer::Status(status)) = status else { panic!("{status:?}") };
        assert_eq!(status.federation, view);
        assert!(status.coordinator_running && status.engine.is_null());
    }
    let (_, code) = failed(
        &admin,
        Request::ModelExport { federation: "digits".to_owned(), version: None, to: "x".into() },
    )
    .await;
    assert_eq!(code, "unknown_model");
}

#[tokio::test]
async fn every_member_can_read_the_draft_in_its_own_audit_log() {
    let coordinator = Coordinator::open().await;
    for name in ["acme", "bank", "care"] {
        coordinator.client(name).await;
    }
    let admin = admin(&coordinator);
    let before = entries(&admin).await;
    admin.handle(create("digits", &["acme", "bank", "care"])).await.unwrap();
    let after = entries(&admin).await;
    assert_eq!(after, before.iter().map(|count| count + 2).collect::<Vec<_>>());
}

async fn entries(admin: &Admin) -> Vec<u64> {
    let Ok(Answer::Audit(logs)) = admin.handle(Request::AuditVerify { tenant: None }).await else {
        panic!("no logs");
    };
    logs.iter().map(|log| log.entries).collect()
}
