//! Who gets in by a password, and how often anybody may try.

use futures_util::future::join_all;
use tokio_postgres::Client;

use super::{Accounts, CALLS, PASSWORD, claim, login, login_from, scalar, sqlstate};
use crate::support::proxy::within;

#[tokio::test]
async fn accounts_login_says_who_it_is() {
    let accounts = Accounts::new().await;
    let id = accounts.user("Alice@example.com").await;
    let anon = accounts.anon().await;
    for email in ["Alice@example.com", "alice@EXAMPLE.com"] {
        let claims = login(&anon, email, PASSWORD, email)
            .await
            .expect("it answers");
        let claims = claims.expect("it is her");
        assert_eq!(claim(&claims, "role"), "web_user");
        assert_eq!(claim(&claims, "sub"), id);
        assert_eq!(claim(&claims, "email"), "Alice@example.com");
        let exp = claims["exp"].as_i64().expect("it is a number");
        let left: i64 = anon
            .query_one("SELECT $1 - extract(epoch FROM now())::bigint", &[&exp])
            .await
            .expect("it answers")
            .get(0);
        assert!((200..=300).contains(&left), "{left}");
    }
}

#[tokio::test]
async fn accounts_login_refuses_everybody_else_in_the_same_way() {
    let accounts = Accounts::new().await;
    for name in ["alice", "disabled", "unverified", "github"] {
        accounts.user(&format!("{name}@example.com")).await;
    }
    accounts
        .execute(
            "UPDATE basic_auth.users SET disabled = true WHERE email ~ '^disabled';
             UPDATE basic_auth.users SET verified = false WHERE email ~ '^unverified';
             UPDATE basic_auth.users SET pass = NULL WHERE email ~ '^github';
             -- What is hashed, and at which cost.
             CREATE TABLE public.hashed (salt text); GRANT INSERT ON public.hashed TO PUBLIC;
             ALTER FUNCTION basic_auth.bcrypt RENAME TO real_bcrypt;
             CREATE FUNCTION basic_auth.bcrypt(password text, salt text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO public.hashed VALUES (left(salt, 7));
                 RETURN basic_auth.real_bcrypt(password, salt);
             END $$;
             UPDATE basic_auth.settings SET bcrypt_cost = 5;
             UPDATE basic_auth.users SET pass = basic_auth.hash_password('correct horse battery staple') WHERE pass IS NOT NULL;
             TRUNCATE public.hashed",
        )
        .await;
    let mut calls = Vec::new();
    for (email, password) in [
        ("nobody@example.com", PASSWORD),
        ("alice@example.com", "wrong"),
        ("alice@example.com", ""),
        ("disabled@example.com", PASSWORD),
        ("unverified@example.com", PASSWORD),
        ("github@example.com", PASSWORD),
        ("github@example.com", ""),
        ("no address", PASSWORD),
        ("", ""),
    ] {
        let client = accounts.counting().await;
        client
            .batch_execute("BEGIN; SET LOCAL ROLE anon")
            .await
            .expect("it may");
        let claims = login(&client, email, password, "r")
            .await
            .expect("it answers");
        assert_eq!(claims, None, "{email} {password}");
        calls.push(scalar(&client, CALLS).await.expect("it answers"));
        client.batch_execute("COMMIT").await.expect("it may");
    }
    assert!(calls[0].contains("crypt 1, "), "{}", calls[0]);
    for other in &calls {
        assert_eq!(other, &calls[0]);
    }
    let salts = "SELECT string_agg(DISTINCT salt, ' ') || ' ' || count(*) FROM public.hashed";
    assert_eq!(accounts.ask(salts).await, "$2a$05$ 9");
}

#[tokio::test]
async fn accounts_a_password_counts_to_its_last_byte() {
    let accounts = Accounts::new().await;
    // Of bcrypt's 72 bytes nothing is left to tell them apart by.
    let long = "x".repeat(72);
    accounts
        .execute(&format!(
            "INSERT INTO basic_auth.users (email, pass, role, verified)
             VALUES ('a@example.com', basic_auth.hash_password('{long}ä'), 'web_user', true)"
        ))
        .await;
    let anon = accounts.anon().await;
    for (ending, good) in [("", false), ("b", false), ("ä", true), ("a\u{308}", true)] {
        let password = format!("{long}{ending}");
        let claims = login(&anon, "a@example.com", &password, ending).await;
        assert_eq!(claims.expect("it answers").is_some(), good, "{ending}");
    }
}

#[tokio::test]
async fn accounts_passwords_have_a_length_and_no_other_rule() {
    let accounts = Accounts::new().await;
    let admin = accounts.database.admin().await;
    let hash = async |password: &str| {
        let sql = "SELECT basic_auth.hash_password($1)";
        admin
            .query_one(sql, &[&password])
            .await
            .map(|row| row.get::<_, String>(0))
    };
    assert_eq!(sqlstate(hash(&"x".repeat(14)).await), "PT422");
    assert!(
        hash(&"x".repeat(15))
            .await
            .expect("it may")
            .starts_with("$2a$04$")
    );
    assert!(hash(&"ä".repeat(1000)).await.is_ok());
    assert_eq!(sqlstate(hash(&"x".repeat(1001)).await), "PT422");
    // A password itself cannot be stored by mistake.
    let plain = "INSERT INTO basic_auth.users (email, pass, role) VALUES ('a@example.com', 'correct horse', 'web_user')";
    assert_eq!(sqlstate(admin.batch_execute(plain).await), "23514");
}

/// Tries wrong passwords until it is refused, and returns how many were let through.
async fn guesses(anon: &Client, email: &str, address: Option<&str>) -> usize {
    for count in 0..200 {
        match login_from(anon, email, "wrong", "r", address).await {
            Ok(None) => {}
            Ok(Some(claims)) => panic!("{claims}"),
            Err(error) => {
                let error = error.as_db_error().expect("the server refused it");
                assert_eq!(error.code().code(), "PGRST");
                let detail = error.detail().expect("it has one");
                assert!(
                    detail.contains(r#""status": 429, "headers": {"Retry-After": ""#),
                    "{detail}"
                );
                return count;
            }
        }
    }
    panic!("nobody stops it");
}

#[tokio::test]
async fn accounts_attempts_are_limited_known_or_not() {
    let accounts = Accounts::new().await;
    accounts.user("alice@example.com").await;
    let anon = accounts.anon().await;
    let address = Some("192.0.2.1");
    assert_eq!(guesses(&anon, "alice@example.com", address).await, 5);
    assert_eq!(guesses(&anon, "nobody@example.com", address).await, 5);
    // Not even the right one, which tells a guesser nothing.
    let right = login_from(&anon, "ALICE@example.com", PASSWORD, "r", address).await;
    assert_eq!(sqlstate(right), "PGRST");
    // Others are not locked out by it, neither she elsewhere nor somebody else there.
    let elsewhere = login_from(&anon, "alice@example.com", PASSWORD, "r", Some("192.0.2.2")).await;
    assert!(elsewhere.expect("it answers").is_some());

    // One more for each minute that passes, and all of them after five.
    let minutes = "UPDATE basic_auth.attempts SET count_until = count_until - interval '1 min'";
    accounts.execute(minutes).await;
    assert_eq!(guesses(&anon, "alice@example.com", address).await, 1);
    for _ in 0..5 {
        accounts.execute(minutes).await;
    }
    assert_eq!(guesses(&anon, "alice@example.com", address).await, 5);
}

#[tokio::test]
async fn accounts_an_address_is_limited_over_all_accounts() {
    let accounts = Accounts::new().await;
    let anon = accounts.anon().await;
    let mut count = 0;
    // One of a /64: who has one, has all of them.
    while let Ok(claims) = login_from(
        &anon,
        &format!("{count}@example.com"),
        "wrong",
        "r",
        Some(&format!("2001:db8::{count}")),
    )
    .await
    {
        assert_eq!(claims, None);
        count += 1;
        assert!(count < 100, "nobody stops it");
    }
    assert_eq!(count, 50);
    assert_eq!(
        guesses(&anon, "a@example.com", Some("2001:db8:0:1::1")).await,
        5
    );
}

#[tokio::test]
async fn accounts_an_account_is_limited_over_all_addresses_but_its_owners() {
    let accounts = Accounts::new().await;
    accounts.user("alice@example.com").await;
    let anon = accounts.anon().await;
    let home = Some("192.0.2.1");
    let at_home =
        async |refresh| login_from(&anon, "alice@example.com", PASSWORD, refresh, home).await;
    assert!(at_home("r1").await.expect("it answers").is_some());

    let mut count = 0;
    while let Ok(claims) = login_from(
        &anon,
        "alice@example.com",
        "wrong",
        "r",
        Some(&format!("198.51.100.{count}")),
    )
    .await
    {
        assert_eq!(claims, None);
        count += 1;
        assert!(count < 100, "nobody stops it");
    }
    assert_eq!(count, 50);
    assert!(at_home("r2").await.expect("it answers").is_some());
    let new = login_from(
        &anon,
        "alice@example.com",
        PASSWORD,
        "r3",
        Some("192.0.2.9"),
    )
    .await;
    assert_eq!(sqlstate(new), "PGRST");
    accounts
        .execute("UPDATE basic_auth.known_addresses SET seen_at = seen_at - interval '31 days'")
        .await;
    assert_eq!(sqlstate(at_home("r4").await), "PGRST");
}

#[tokio::test]
async fn accounts_good_logins_are_not_counted() {
    let accounts = Accounts::new().await;
    accounts.user("alice@example.com").await;
    let anon = accounts.anon().await;
    for count in 0..60 {
        let refresh = count.to_string();
        let claims = login_from(
            &anon,
            "alice@example.com",
            PASSWORD,
            &refresh,
            Some("192.0.2.1"),
        );
        assert!(claims.await.expect("it answers").is_some());
    }
}

#[tokio::test]
async fn accounts_parallel_attempts_do_not_slip_past_the_limit() {
    let accounts = Accounts::new().await;
    accounts.user("alice@example.com").await;
    let sessions = join_all((0..20).map(|_| accounts.anon())).await;
    let attempts = sessions
        .iter()
        .map(|anon| login_from(anon, "alice@example.com", "wrong", "r", Some("192.0.2.1")));
    let answers = within(join_all(attempts)).await;
    let (let_through, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((let_through.len(), refused.len()), (5, 15));
    for refused in refused {
        assert_eq!(sqlstate(refused), "PGRST");
    }
}

#[tokio::test]
async fn accounts_a_password_that_is_changed_meanwhile_is_not_good() {
    let accounts = Accounts::new().await;
    let id = accounts.user("alice@example.com").await;
    let admin = accounts.database.admin().await;
    admin
        .batch_execute(&format!(
            "BEGIN; UPDATE basic_auth.users SET pass = basic_auth.hash_password('another password') WHERE id = '{id}'"
        ))
        .await
        .expect("it may");
    let anon = accounts.anon().await;
    let pid = super::pid(&anon).await;
    let watcher = accounts.database.admin().await;
    let change = async {
        super::waits(&watcher, pid).await;
        admin.batch_execute("COMMIT").await.expect("it may");
    };
    let (claims, ()) = tokio::join!(login(&anon, "alice@example.com", PASSWORD, "r"), change);
    assert_eq!(claims.expect("it answers"), None);
}
