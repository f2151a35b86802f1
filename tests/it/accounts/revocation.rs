//! Access tokens that are out when what they say is no longer so.

use std::future::poll_fn;

use serde_json::Value;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::{Accounts, PASSWORD, claim, login, pid, refresh, sqlstate, waits};
use crate::support::proxy::within;

async fn alice() -> (Accounts, Client, Value) {
    let accounts = Accounts::new().await;
    accounts.user("alice@example.com").await;
    accounts.user("bob@example.com").await;
    accounts
        .execute("INSERT INTO basic_auth.roles VALUES ('author')")
        .await;
    let anon = accounts.anon().await;
    assert!(
        login(&anon, "bob@example.com", PASSWORD, "b1")
            .await
            .expect("it answers")
            .is_some()
    );
    let claims = login(&anon, "alice@example.com", PASSWORD, "r1").await;
    let claims = claims.expect("it answers").expect("it is her");
    (accounts, anon, claims)
}

#[tokio::test]
async fn accounts_a_changed_role_ends_the_access_token_and_refresh_says_the_new_one() {
    let (accounts, anon, old) = alice().await;
    assert_eq!(accounts.revoked().await, Vec::<String>::new());
    accounts
        .execute("UPDATE basic_auth.users SET role = 'author' WHERE email ~ '^alice'")
        .await;
    assert_eq!(accounts.revoked().await, [claim(&old, "jti")]);
    let new = refresh(&anon, "r1", "r2")
        .await
        .expect("it answers")
        .expect("the session lives on");
    assert_eq!(claim(&new, "role"), "author");
    assert_eq!(new["sid"], old["sid"]);
    assert_eq!(accounts.revoked().await, [claim(&old, "jti")]);
}

#[tokio::test]
async fn accounts_each_change_ends_what_it_must() {
    for (change, session_lives) in [
        (
            "UPDATE basic_auth.users SET email = 'alice@example.org' WHERE email ~ '^alice'",
            true,
        ),
        (
            "UPDATE basic_auth.users SET disabled = true WHERE email ~ '^alice'",
            false,
        ),
        (
            "UPDATE basic_auth.users SET verified = false WHERE email ~ '^alice'",
            false,
        ),
        (
            "UPDATE basic_auth.users SET pass = basic_auth.hash_password('another password') WHERE email ~ '^alice'",
            false,
        ),
        (
            "UPDATE basic_auth.users SET pass = NULL WHERE email ~ '^alice'",
            false,
        ),
        ("DELETE FROM basic_auth.users WHERE email ~ '^alice'", false),
        (
            "UPDATE basic_auth.sessions s SET revoked_at = now() FROM basic_auth.users u WHERE u.id = s.user_id AND u.email ~ '^alice'",
            false,
        ),
        (
            "DELETE FROM basic_auth.sessions s USING basic_auth.users u WHERE u.id = s.user_id AND u.email ~ '^alice'",
            false,
        ),
        (
            "UPDATE basic_auth.sessions s SET expires_at = now() FROM basic_auth.users u WHERE u.id = s.user_id AND u.email ~ '^alice'",
            false,
        ),
    ] {
        let (accounts, anon, claims) = alice().await;
        accounts.execute(change).await;
        assert_eq!(
            accounts.revoked().await,
            [claim(&claims, "jti")],
            "{change}"
        );
        let new = refresh(&anon, "r1", "r2").await.expect("it answers");
        assert_eq!(new.is_some(), session_lives, "{change}");
        assert!(
            refresh(&anon, "b1", "b2")
                .await
                .expect("it answers")
                .is_some(),
            "{change}"
        );
    }
    for all in [
        "TRUNCATE basic_auth.users CASCADE",
        "TRUNCATE basic_auth.sessions CASCADE",
    ] {
        let (accounts, anon, _) = alice().await;
        accounts.execute(all).await;
        assert_eq!(accounts.revoked().await.len(), 2, "{all}");
        assert_eq!(refresh(&anon, "r1", "r2").await.expect("it answers"), None);
    }
    // A snapshot of before does not show the rows that TRUNCATE removes.
    let (accounts, anon, _) = alice().await;
    let admin = accounts.database.admin().await;
    for all in ["users", "sessions"] {
        admin
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM basic_auth.users")
            .await
            .expect("it may");
        let new = login(&anon, "alice@example.com", PASSWORD, all).await;
        assert!(new.expect("it answers").is_some());
        let truncated = admin
            .batch_execute(&format!("TRUNCATE basic_auth.{all} CASCADE"))
            .await;
        assert_eq!(sqlstate(truncated), "0A000", "{all}");
        admin.batch_execute("ROLLBACK").await.expect("it may");
    }
    // Nor are the rows removed that say what is revoked.
    let truncated = admin
        .batch_execute("TRUNCATE basic_auth.access_tokens")
        .await;
    assert_eq!(sqlstate(truncated), "0A000");
    // What changes nothing revokes nothing.
    let (accounts, _, _) = alice().await;
    accounts
        .execute("UPDATE basic_auth.users SET role = role, disabled = false, last_seen_at = now()")
        .await;
    assert_eq!(accounts.revoked().await, Vec::<String>::new());
}

#[tokio::test]
async fn accounts_a_disabled_user_who_is_enabled_again_signs_in_anew() {
    let (accounts, anon, _) = alice().await;
    accounts
        .execute("UPDATE basic_auth.users SET disabled = true")
        .await;
    accounts
        .execute("UPDATE basic_auth.users SET disabled = false")
        .await;
    assert_eq!(accounts.revoked().await.len(), 2);
    assert_eq!(refresh(&anon, "r1", "r2").await.expect("it answers"), None);
    assert!(
        login(&anon, "alice@example.com", PASSWORD, "r3")
            .await
            .expect("it answers")
            .is_some()
    );
    assert_eq!(accounts.revoked().await.len(), 2);
}

#[tokio::test]
async fn accounts_a_revocation_wakes_who_listens() {
    let (accounts, _, _) = alice().await;
    let url = accounts.database.url("authenticator");
    let (listener, mut connection) = tokio_postgres::connect(&url, NoTls)
        .await
        .expect("it connects");
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(n) = message {
                let _ = tell.send((n.channel().to_owned(), n.payload().to_owned()));
            }
        }
    });
    listener
        .batch_execute("LISTEN rolescope_revocations; LISTEN basic_auth_mail")
        .await
        .expect("it may");
    accounts
        .execute("UPDATE basic_auth.users SET role = 'author' WHERE email ~ '^alice'")
        .await;
    let woken = within(told.recv()).await.expect("it is told");
    assert_eq!(woken, ("rolescope_revocations".to_owned(), String::new()));
    let anon = accounts.anon().await;
    anon.batch_execute("SELECT request_password_reset('alice@example.com')")
        .await
        .expect("it may");
    let woken = within(told.recv()).await.expect("it is told");
    assert_eq!(woken, ("basic_auth_mail".to_owned(), String::new()));
}

const CHANGES: [(&str, bool); 5] = [
    (
        "UPDATE basic_auth.users SET role = 'author' WHERE email ~ '^alice'",
        true,
    ),
    (
        "UPDATE basic_auth.users SET disabled = true WHERE email ~ '^alice'",
        false,
    ),
    ("DELETE FROM basic_auth.users WHERE email ~ '^alice'", false),
    (
        "UPDATE basic_auth.sessions SET revoked_at = now() WHERE user_id = (SELECT id FROM basic_auth.users WHERE email ~ '^alice')",
        false,
    ),
    (
        "DELETE FROM basic_auth.sessions WHERE user_id = (SELECT id FROM basic_auth.users WHERE email ~ '^alice')",
        false,
    ),
];

#[tokio::test]
async fn accounts_a_refresh_that_comes_first_is_revoked_by_the_change() {
    for (change, _) in CHANGES {
        let (accounts, anon, old) = alice().await;
        let admin = accounts.database.admin().await;
        let watcher = accounts.database.admin().await;
        let changing = pid(&admin).await;
        anon.batch_execute("BEGIN").await.expect("it may");
        let new = refresh(&anon, "r1", "r2")
            .await
            .expect("it answers")
            .expect("it is good");
        let refreshing = async {
            waits(&watcher, changing).await;
            anon.batch_execute("COMMIT").await.expect("it may");
        };
        let (changed, ()) =
            within(async { tokio::join!(admin.batch_execute(change), refreshing) }).await;
        changed.expect("it may");
        let mut both = [claim(&old, "jti").to_owned(), claim(&new, "jti").to_owned()];
        both.sort();
        assert_eq!(accounts.revoked().await, both, "{change}");
    }
}

#[tokio::test]
async fn accounts_a_refresh_that_comes_second_sees_the_change() {
    for (change, lives) in CHANGES {
        let (accounts, anon, old) = alice().await;
        let admin = accounts.database.admin().await;
        let watcher = accounts.database.admin().await;
        let refreshing = pid(&anon).await;
        admin.batch_execute("BEGIN").await.expect("it may");
        admin.batch_execute(change).await.expect("it may");
        let changing = async {
            waits(&watcher, refreshing).await;
            admin.batch_execute("COMMIT").await.expect("it may");
        };
        let (new, ()) = within(async { tokio::join!(refresh(&anon, "r1", "r2"), changing) }).await;
        let new = new.expect("it answers");
        assert_eq!(new.is_some(), lives, "{change}");
        if let Some(new) = new {
            assert_eq!(claim(&new, "role"), "author");
        }
        assert_eq!(accounts.revoked().await, [claim(&old, "jti")], "{change}");
    }
}

#[tokio::test]
async fn accounts_a_login_beside_a_change_leaves_no_token_of_before() {
    for (change, lives) in &CHANGES[..3] {
        // Login first.
        let (accounts, anon, _) = alice().await;
        let admin = accounts.database.admin().await;
        let watcher = accounts.database.admin().await;
        let changing = pid(&admin).await;
        anon.batch_execute("BEGIN").await.expect("it may");
        let new = login(&anon, "alice@example.com", PASSWORD, "r2").await;
        let new = new.expect("it answers").expect("it is her");
        let logging_in = async {
            waits(&watcher, changing).await;
            anon.batch_execute("COMMIT").await.expect("it may");
        };
        let (changed, ()) =
            within(async { tokio::join!(admin.batch_execute(change), logging_in) }).await;
        changed.expect("it may");
        assert!(
            accounts
                .revoked()
                .await
                .contains(&claim(&new, "jti").to_owned()),
            "{change}"
        );

        // The change first.
        let (accounts, anon, _) = alice().await;
        let admin = accounts.database.admin().await;
        let logging_in = pid(&anon).await;
        let watcher = accounts.database.admin().await;
        admin.batch_execute("BEGIN").await.expect("it may");
        admin.batch_execute(change).await.expect("it may");
        let committing = async {
            waits(&watcher, logging_in).await;
            admin.batch_execute("COMMIT").await.expect("it may");
        };
        let (new, ()) = within(async {
            tokio::join!(
                login(&anon, "alice@example.com", PASSWORD, "r2"),
                committing
            )
        })
        .await;
        match new.expect("it answers") {
            Some(new) => assert_eq!(claim(&new, "role"), "author"),
            None => assert!(!lives, "{change}"),
        }
    }
}

/// Where a transaction sees the database as it was, it would not see the token that it must revoke: it is refused.
#[tokio::test]
async fn accounts_a_change_that_cannot_see_a_token_fails() {
    for (change, _) in CHANGES {
        for level in ["REPEATABLE READ", "SERIALIZABLE"] {
            let (accounts, anon, _) = alice().await;
            let admin = accounts.database.admin().await;
            let begin =
                format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM basic_auth.users");
            admin.batch_execute(&begin).await.expect("it may");
            assert!(
                refresh(&anon, "r1", "r2")
                    .await
                    .expect("it answers")
                    .is_some()
            );
            assert_eq!(
                sqlstate(admin.batch_execute(change).await),
                "40001",
                "{level}: {change}"
            );
        }
    }
    for (change, _) in CHANGES {
        for level in ["REPEATABLE READ", "SERIALIZABLE"] {
            let (accounts, anon, _) = alice().await;
            let begin = format!("BEGIN ISOLATION LEVEL {level}; SELECT 1 FROM pg_class LIMIT 1");
            anon.batch_execute(&begin).await.expect("it may");
            accounts.execute(change).await;
            assert_eq!(
                sqlstate(refresh(&anon, "r1", "r2").await),
                "40001",
                "{level}: {change}"
            );
        }
    }
}
