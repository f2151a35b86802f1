//! Mails: who is sent which, and what their tokens are good for.

use tokio_postgres::Client;

use super::{Accounts, CALLS, PASSWORD, login, login_from, pid, refresh, scalar, sqlstate, waits};
use crate::support::proxy::within;

async fn signup(anon: &Client, email: &str, password: &str) {
    anon.execute("SELECT signup($1, $2)", &[&email, &password])
        .await
        .expect("it may");
}

async fn verify(anon: &Client, token: &str) -> bool {
    let row = anon.query_one("SELECT verify_email($1)", &[&token]).await;
    row.expect("it may").get(0)
}

async fn request_reset(anon: &Client, email: &str) {
    anon.execute("SELECT request_password_reset($1)", &[&email])
        .await
        .expect("it may");
}

async fn reset(anon: &Client, token: &str, password: &str) -> bool {
    let sql = "SELECT reset_password($1, $2)";
    let row = anon.query_one(sql, &[&token, &password]).await;
    row.expect("it may").get(0)
}

async fn good(anon: &Client, email: &str, password: &str) -> bool {
    let claims = login(anon, email, password, &format!("{email} {password}")).await;
    claims.expect("it answers").is_some()
}

#[tokio::test]
async fn accounts_a_user_is_made_by_the_mail_of_the_sign_up() {
    let accounts = Accounts::new().await;
    let anon = accounts.anon().await;
    signup(&anon, "alice@example.com", PASSWORD).await;
    assert!(!good(&anon, "alice@example.com", PASSWORD).await);
    let token = accounts.token("verify").await;
    assert_eq!(accounts.mails().await, []);
    assert!(verify(&anon, &token).await);
    assert!(good(&anon, "alice@example.com", PASSWORD).await);
    // Once.
    assert!(!verify(&anon, &token).await);
    assert_eq!(
        accounts
            .ask("SELECT concat_ws(' ', role, verified, disabled) FROM basic_auth.users")
            .await,
        "web_user t f"
    );
}

#[tokio::test]
async fn accounts_who_is_known_learns_it_by_mail_only() {
    let accounts = Accounts::new().await;
    accounts.user("alice@example.com").await;
    let mut calls = Vec::new();
    for (function, email) in [
        ("signup", "alice@example.com"),
        ("signup", "nobody@example.com"),
        ("request_password_reset", "alice@example.com"),
        ("request_password_reset", "nobody@example.com"),
    ] {
        let client = accounts.counting().await;
        client
            .batch_execute("BEGIN; SET LOCAL ROLE anon")
            .await
            .expect("it may");
        match function {
            "signup" => signup(&client, email, "another long password").await,
            _ => request_reset(&client, email).await,
        }
        calls.push(scalar(&client, CALLS).await.expect("it answers"));
        client.batch_execute("COMMIT").await.expect("it may");
    }
    assert_eq!(calls[0], calls[1]);
    assert_eq!(calls[2], calls[3]);
    let mails = accounts.mails().await;
    let told: Vec<_> = mails
        .iter()
        .map(|(kind, email, token)| (kind.as_str(), email.as_str(), token.is_some()))
        .collect();
    assert_eq!(
        told,
        [
            ("registered", "alice@example.com", false),
            ("verify", "nobody@example.com", true),
            ("reset", "alice@example.com", true),
        ]
    );
    // Signing up again changes nothing for who is there.
    let anon = accounts.anon().await;
    assert!(good(&anon, "alice@example.com", PASSWORD).await);
}

#[tokio::test]
async fn accounts_each_sign_up_is_good_for_its_own_password() {
    let accounts = Accounts::new().await;
    let anon = accounts.anon().await;
    signup(&anon, "alice@example.com", "the password of a thief").await;
    let thiefs = accounts.token("verify").await;
    signup(&anon, "ALICE@example.com", PASSWORD).await;
    let alices = accounts.token("verify").await;
    assert!(verify(&anon, &alices).await);
    assert!(!verify(&anon, &thiefs).await);
    assert!(good(&anon, "alice@example.com", PASSWORD).await);
    assert!(!good(&anon, "alice@example.com", "the password of a thief").await);
}

#[tokio::test]
async fn accounts_a_sign_up_does_not_replace_who_came_meanwhile() {
    let accounts = Accounts::new().await;
    let anon = accounts.anon().await;
    signup(&anon, "alice@example.com", "the password of a thief").await;
    let token = accounts.token("verify").await;
    accounts.user("Alice@example.com").await;
    assert!(!verify(&anon, &token).await);
    assert!(good(&anon, "alice@example.com", PASSWORD).await);
}

#[tokio::test]
async fn accounts_a_forgotten_password_is_replaced_once() {
    let accounts = Accounts::new().await;
    accounts.user("alice@example.com").await;
    accounts.user("bob@example.com").await;
    let anon = accounts.anon().await;
    assert!(good(&anon, "alice@example.com", PASSWORD).await);
    request_reset(&anon, "Alice@example.com").await;
    let first = accounts.token("reset").await;
    request_reset(&anon, "alice@example.com").await;
    let second = accounts.token("reset").await;
    // A password that is refused does not use it up.
    let short = anon
        .query_one("SELECT reset_password($1, 'short')", &[&first])
        .await;
    assert_eq!(sqlstate(short), "PT422");
    assert!(reset(&anon, &first, "a new password of hers").await);
    for token in [&first, &second] {
        assert!(!reset(&anon, token, "the password of a thief").await);
    }
    assert!(good(&anon, "alice@example.com", "a new password of hers").await);
    for wrong in [PASSWORD, "the password of a thief"] {
        assert!(!good(&anon, "alice@example.com", wrong).await);
    }
    assert!(good(&anon, "bob@example.com", PASSWORD).await);
    // The session of before is over.
    let old = refresh(&anon, &format!("alice@example.com {PASSWORD}"), "r").await;
    assert_eq!(old.expect("it answers"), None);
}

#[tokio::test]
async fn accounts_tokens_are_good_for_nothing_else() {
    let accounts = Accounts::new().await;
    accounts.user("alice@example.com").await;
    let anon = accounts.anon().await;
    request_reset(&anon, "alice@example.com").await;
    let to_reset = accounts.token("reset").await;
    signup(&anon, "bob@example.com", PASSWORD).await;
    let to_verify = accounts.token("verify").await;
    assert!(!verify(&anon, &to_reset).await);
    assert!(!reset(&anon, &to_verify, "a new password of hers").await);
    // What is stored is not what was sent.
    for token in [&to_reset, &to_verify] {
        let stored = accounts
            .ask("SELECT string_agg(t::text, ' ') FROM basic_auth.one_time_tokens t")
            .await;
        assert!(!stored.contains(token.as_str()));
        let hash = accounts
            .ask("SELECT encode(hash, 'escape') FROM basic_auth.one_time_tokens LIMIT 1")
            .await;
        assert!(!reset(&anon, &hash, "a new password of hers").await);
    }
    for none in ["", "x"] {
        assert!(!verify(&anon, none).await);
        assert!(!reset(&anon, none, "a new password of hers").await);
    }
    // The wrong use has not used them up.
    assert!(verify(&anon, &to_verify).await);
    assert!(reset(&anon, &to_reset, "a new password of hers").await);
}

#[tokio::test]
async fn accounts_tokens_expire_and_do_not_outlive_their_users() {
    let accounts = Accounts::new().await;
    let id = accounts.user("alice@example.com").await;
    accounts.user("gone@example.com").await;
    accounts.user("carol@example.com").await;
    let anon = accounts.anon().await;
    signup(&anon, "bob@example.com", PASSWORD).await;
    let to_verify = accounts.token("verify").await;
    request_reset(&anon, "alice@example.com").await;
    let to_reset = accounts.token("reset").await;
    let lifetimes = "SELECT string_agg(kind || ' ' || ceil(extract(epoch FROM expires_at - now()) / 60), ', ' ORDER BY kind)
                     FROM basic_auth.one_time_tokens";
    assert_eq!(accounts.ask(lifetimes).await, "reset 60, verify 1440");
    accounts
        .execute("UPDATE basic_auth.one_time_tokens SET expires_at = now()")
        .await;
    assert!(!verify(&anon, &to_verify).await);
    assert!(!reset(&anon, &to_reset, "a new password of hers").await);

    request_reset(&anon, "gone@example.com").await;
    let gone = accounts.token("reset").await;
    accounts
        .execute("DELETE FROM basic_auth.users WHERE email = 'gone@example.com'")
        .await;
    assert!(!reset(&anon, &gone, "a new password of hers").await);

    request_reset(&anon, "carol@example.com").await;
    let disabled = accounts.token("reset").await;
    accounts
        .execute("UPDATE basic_auth.users SET disabled = true WHERE email = 'carol@example.com'")
        .await;
    assert!(!reset(&anon, &disabled, "a new password of hers").await);
    request_reset(&anon, "carol@example.com").await;
    assert_eq!(accounts.mails().await, []);
    assert!(!id.is_empty());
}

#[tokio::test]
async fn accounts_reading_the_mail_verifies_an_address() {
    let accounts = Accounts::new().await;
    accounts.user("alice@example.com").await;
    accounts
        .execute("UPDATE basic_auth.users SET verified = false")
        .await;
    let anon = accounts.anon().await;
    request_reset(&anon, "alice@example.com").await;
    let token = accounts.token("reset").await;
    assert!(reset(&anon, &token, "a new password of hers").await);
    assert!(good(&anon, "alice@example.com", "a new password of hers").await);
}

#[tokio::test]
async fn accounts_a_mail_that_was_not_sent_is_taken_again() {
    let accounts = Accounts::new().await;
    let anon = accounts.anon().await;
    signup(&anon, "alice@example.com", PASSWORD).await;
    let mailer = accounts.session(&accounts.mailer).await;
    let taken = "SELECT token FROM basic_auth.take_mails()";
    mailer.batch_execute("BEGIN").await.expect("it may");
    let lost = scalar(&mailer, taken).await.expect("there is one");
    // Another mailer does not wait for it, and does not send it too.
    assert_eq!(accounts.mails().await, []);
    mailer.batch_execute("ROLLBACK").await.expect("it may");
    let first = scalar(&mailer, taken).await.expect("there is one");
    assert_eq!(accounts.mails().await, []);
    // Who took it has not said that it is sent.
    accounts
        .execute("UPDATE basic_auth.mail_requests SET taken = taken - interval '5 min'")
        .await;
    let row = mailer
        .query_one("SELECT id, token FROM basic_auth.take_mails()", &[])
        .await
        .expect("there is one");
    let sent = "SELECT basic_auth.mail_sent($1)";
    mailer
        .execute(sent, &[&row.get::<_, i64>(0)])
        .await
        .expect("it may");
    accounts
        .execute("UPDATE basic_auth.mail_requests SET taken = '-infinity'")
        .await;
    assert_eq!(accounts.mails().await, []);
    assert_eq!(
        accounts
            .ask("SELECT count(*)::text FROM basic_auth.mail_requests")
            .await,
        "0"
    );
    assert!(!verify(&anon, &lost).await);
    assert!(verify(&anon, &first).await);
}

#[tokio::test]
async fn accounts_mails_are_limited_for_who_asks_and_for_who_gets_them() {
    let accounts = Accounts::new().await;
    accounts.user("alice@example.com").await;
    let anon = accounts.anon().await;
    for email in ["alice@example.com", "nobody@example.com"] {
        for _ in 0..3 {
            request_reset(&anon, email).await;
        }
        let more = anon
            .execute("SELECT request_password_reset($1)", &[&email])
            .await;
        assert_eq!(sqlstate(more), "PGRST");
        let more = anon
            .execute("SELECT signup($1, $2)", &[&email, &PASSWORD])
            .await;
        assert_eq!(sqlstate(more), "PGRST");
    }
    let ask = async |count: i32| {
        let sql = "SELECT request_password_reset($1, '192.0.2.1')";
        anon.execute(sql, &[&format!("{count}@example.com")]).await
    };
    for count in 0..20 {
        ask(count).await.expect("it may");
    }
    assert_eq!(sqlstate(ask(20).await), "PGRST");
    let there = login_from(&anon, "alice@example.com", PASSWORD, "r", Some("192.0.2.1")).await;
    assert!(there.expect("it answers").is_some());
}

#[tokio::test]
async fn accounts_what_is_no_address_is_told_so() {
    let accounts = Accounts::new().await;
    let anon = accounts.anon().await;
    for email in [
        "alice",
        "alice@example",
        "@example.com",
        "alice@example.com\nBcc: everybody@example.com",
        "alice@example.com, bob@example.com",
        "<alice@example.com>",
        "a lice@example.com",
        &format!("{}@example.com", "x".repeat(250)),
    ] {
        let up = anon
            .execute("SELECT signup($1, $2)", &[&email, &PASSWORD])
            .await;
        assert_eq!(sqlstate(up), "PT422", "{email:?}");
        let reset = anon
            .execute("SELECT request_password_reset($1)", &[&email])
            .await;
        assert_eq!(sqlstate(reset), "PT422", "{email:?}");
    }
    let none: Option<&str> = None;
    let up = anon
        .execute("SELECT signup($1, $2)", &[&none, &PASSWORD])
        .await;
    assert_eq!(sqlstate(up), "PT422");
    signup(&anon, "o'brien+todos@mail.example.co.uk", PASSWORD).await;
}

/// Whoever reads an old mailbox, or has read one, gets nowhere by what was sent there.
#[tokio::test]
async fn accounts_a_mail_ends_with_what_it_is_about() {
    for change in [
        "UPDATE basic_auth.users SET email = 'alice@example.org'",
        "UPDATE basic_auth.users SET pass = basic_auth.hash_password('a recovered password')",
        "UPDATE basic_auth.users SET disabled = true; UPDATE basic_auth.users SET disabled = false",
        // One that was sent while the address was changed: the trigger does not see it.
        "ALTER TABLE basic_auth.users DISABLE TRIGGER forget_mails;
         UPDATE basic_auth.users SET email = 'alice@example.org'",
    ] {
        let accounts = Accounts::new().await;
        let anon = accounts.anon().await;
        accounts.user("alice@example.com").await;
        request_reset(&anon, "alice@example.com").await;
        let token = accounts.token("reset").await;
        accounts.execute(change).await;
        assert!(
            !reset(&anon, &token, "the password of a thief").await,
            "{change}"
        );
    }
    let accounts = Accounts::new().await;
    let anon = accounts.anon().await;
    accounts.user("alice@example.com").await;
    request_reset(&anon, "alice@example.com").await;
    let token = accounts.token("reset").await;
    accounts
        .execute("UPDATE basic_auth.users SET last_seen_at = now(), email = 'Alice@Example.com'")
        .await;
    request_reset(&anon, "alice@example.com").await;
    let other = accounts.token("reset").await;
    assert!(!reset(&anon, &token, "a long new password").await);
    assert!(reset(&anon, &other, "a long new password").await);
}

/// Both get as far as they can before either goes on, and one of them is good.
#[tokio::test]
async fn accounts_two_mails_that_are_used_at_once_do_not_wait_for_each_other() {
    for (kind, hold) in [
        ("verify", "BEGIN; LOCK TABLE basic_auth.users IN SHARE MODE"),
        ("reset", "BEGIN; SELECT FROM basic_auth.users FOR UPDATE"),
    ] {
        let accounts = Accounts::new().await;
        let (one, other) = (accounts.anon().await, accounts.anon().await);
        if kind == "reset" {
            accounts.user("alice@example.com").await;
        }
        let mut tokens = Vec::new();
        for _ in 0..2 {
            match kind {
                "verify" => signup(&one, "alice@example.com", PASSWORD).await,
                _ => request_reset(&one, "alice@example.com").await,
            }
            tokens.push(accounts.token(kind).await);
        }
        let admin = accounts.database.admin().await;
        let watcher = accounts.database.admin().await;
        let (first, second) = (pid(&one).await, pid(&other).await);
        admin.batch_execute(hold).await.expect("it may");
        let using = async |client, token| match kind {
            "verify" => verify(client, token).await,
            _ => reset(client, token, "a long new password").await,
        };
        let letting_go = async {
            waits(&watcher, first).await;
            waits(&watcher, second).await;
            admin.batch_execute("COMMIT").await.expect("it may");
        };
        let (one, other, ()) = within(async {
            tokio::join!(
                using(&one, &tokens[0]),
                using(&other, &tokens[1]),
                letting_go
            )
        })
        .await;
        assert!(one != other, "{kind}: {one} {other}");
    }
}
