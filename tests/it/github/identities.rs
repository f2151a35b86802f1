//! Which user a GitHub account is.

use axum::http::Method;

use super::browser::Browser;
use super::refusals::assert_refused;
use super::*;

const USERS: &str = "SELECT i.github_id || ' ' || i.login || ' ' || coalesce(u.email, '-')
    FROM basic_auth.github_identities i JOIN basic_auth.users u ON u.id = i.user_id ORDER BY 1";

fn subject(service: &Service, token: &str) -> String {
    let verifier = JwtVerifier::builder()
        .keys(service.issuer.verifying_keys())
        .expect("there is one")
        .issuer(SERVICE)
        .audience(AUDIENCE)
        .build()
        .expect("there is a crypto backend");
    let claims = verifier.verify(token).expect("it is good");
    claims.subject().expect("it has one").to_owned()
}

#[tokio::test]
async fn an_account_is_known_by_its_number_whatever_its_name_and_address() {
    let provider = provider().await;
    let service = Service::start(settings(provider.issuer())).await;
    let first = Browser::new(&service).token_of("renamed").await;
    assert_eq!(
        service.column(USERS).await,
        ["4 renamed renamed@example.com"]
    );
    let second = Browser::new(&service).token_of("renamed").await;
    assert_ne!(first, second);
    assert_eq!(subject(&service, &first), subject(&service, &second));

    // Renamed, with another address; and the old name and address are another account's.
    let mut changed = accounts();
    changed["renamed"] = account(4, "new-name", "new@example.com");
    changed["newcomer"] = account(6, "renamed", "renamed@example.org");
    provider.use_github(&changed);
    let third = Browser::new(&service).token_of("renamed").await;
    assert_eq!(subject(&service, &first), subject(&service, &third));
    let another = Browser::new(&service).token_of("newcomer").await;
    assert_ne!(subject(&service, &first), subject(&service, &another));
    assert_eq!(
        service.column(USERS).await,
        [
            "4 new-name renamed@example.com",
            "6 renamed renamed@example.org"
        ]
    );
}

#[tokio::test]
async fn an_account_is_not_given_away_for_an_address() {
    let service = Service::start(settings(provider().await.issuer())).await;
    let insert = "INSERT INTO basic_auth.users (email, role, verified) VALUES ('bob@example.com', 'web_user', true)";
    service.database.execute(insert).await;
    Browser::new(&service).token_of("alice").await;
    // The address of who signed in with GitHub, in other letters; and of who has a password.
    for account in ["mallory", "bob"] {
        let mut browser = Browser::new(&service);
        let reply = browser.sign_in(account).await;
        assert_refused(&reply, 409, "PT409");
        assert_eq!(
            reply.json()["message"],
            "there is an account with your e-mail address already"
        );
        assert_eq!(
            browser
                .token()
                .await
                .expect_err("there is no session")
                .status,
            401
        );
    }
    assert_eq!(service.column(USERS).await, ["1 alice alice@example.com"]);
}

#[tokio::test]
async fn an_address_that_github_has_not_verified_is_not_taken() {
    let service = Service::start(settings(provider().await.issuer())).await;
    // Erin says that alice's address is hers. She is let in as herself, and alice is still alice.
    let erins = Browser::new(&service).token_of("erin").await;
    let alices = Browser::new(&service).token_of("alice").await;
    assert_ne!(subject(&service, &erins), subject(&service, &alices));
    assert_eq!(
        service.column(USERS).await,
        ["1 alice alice@example.com", "5 erin -"]
    );
}

#[tokio::test]
async fn two_first_sign_ins_at_once_make_one_user() {
    let service = Service::start(settings(provider().await.issuer())).await;
    let (mut one, mut two) = (Browser::new(&service), Browser::new(&service));
    let (first, second) = tokio::join!(one.token_of("alice"), two.token_of("alice"));
    assert_eq!(subject(&service, &first), subject(&service, &second));
    assert_eq!(service.column(USERS).await, ["1 alice alice@example.com"]);
}

#[tokio::test]
async fn a_disabled_user_stays_out() {
    let service = Service::start(settings(provider().await.issuer())).await;
    let mut alice = Browser::new(&service);
    alice.token_of("alice").await;
    service
        .database
        .execute("UPDATE basic_auth.users SET disabled = true")
        .await;
    assert_eq!(alice.token().await.expect_err("it is revoked").status, 401);
    let reply = alice.sign_in("alice").await;
    assert_refused(&reply, 403, "account_disabled");
    service
        .database
        .execute("UPDATE basic_auth.users SET disabled = false")
        .await;
    alice.token_of("alice").await;
}

#[tokio::test]
async fn a_changed_role_is_in_the_next_token() {
    let service = Service::start(settings(provider().await.issuer())).await;
    let mut alice = Browser::new(&service);
    alice.token_of("alice").await;
    let demoted = "INSERT INTO basic_auth.roles VALUES ('author'); UPDATE basic_auth.users SET role = 'author'";
    service.database.execute(demoted).await;
    let token = alice.token().await.expect("the session lives on");
    let list = alice.send(Method::GET, "/todos", Some(&token), "").await;
    // The policy of this service allows web_user only.
    assert_eq!(list.status, 403, "{list:?}");
}
