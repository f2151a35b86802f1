//! Refresh tokens, and the list of sessions.

use serde_json::Value;
use tokio_postgres::Client;

use super::{Accounts, PASSWORD, claim, login, refresh, scalar, sqlstate};
use crate::support::proxy::within;

/// A user who has logged in with the refresh token `r1`, and anon.
async fn alice() -> (Accounts, Client, Value) {
    let accounts = Accounts::new().await;
    accounts.user("alice@example.com").await;
    let anon = accounts.anon().await;
    let claims = login(&anon, "alice@example.com", PASSWORD, "r1").await;
    let claims = claims.expect("it answers").expect("it is her");
    (accounts, anon, claims)
}

async fn refreshed(anon: &Client, old: &str, new: &str) -> Option<Value> {
    refresh(anon, old, new).await.expect("it answers")
}

impl Accounts {
    async fn pass(&self, time: &str) {
        // As if all that has happened had happened so much earlier.
        self.execute(&format!(
            "UPDATE basic_auth.sessions SET created_at = created_at - interval '{time}', rotated_at = rotated_at - interval '{time}',
                 last_used_at = last_used_at - interval '{time}', expires_at = expires_at - interval '{time}',
                 revoked_at = revoked_at - interval '{time}';
             UPDATE basic_auth.refresh_tokens SET created_at = created_at - interval '{time}';
             UPDATE basic_auth.access_tokens SET expires_at = expires_at - interval '{time}'"
        ))
        .await;
    }

    async fn live_sessions(&self) -> String {
        self.ask("SELECT count(*)::text FROM basic_auth.sessions WHERE revoked_at IS NULL")
            .await
    }
}

#[tokio::test]
async fn accounts_refresh_gives_new_tokens_of_the_same_session() {
    let (accounts, anon, first) = alice().await;
    let second = refreshed(&anon, "r1", "r2").await.expect("it is good");
    let third = refreshed(&anon, "r2", "r3").await.expect("it is good");
    for claims in [&second, &third] {
        for same in ["sub", "sid", "role", "email"] {
            assert_eq!(claims[same], first[same]);
        }
        assert_ne!(claims["jti"], first["jti"]);
    }
    assert_ne!(second["jti"], third["jti"]);
    assert_eq!(accounts.live_sessions().await, "1");
    // What is stored is a hash, whose own hash is nothing.
    let unknown = refreshed(&anon, "nobody's", "r9").await;
    assert_eq!(unknown, None);
    assert_eq!(accounts.live_sessions().await, "1");
    let short = anon
        .batch_execute("SELECT refresh(sha256('r3'), '\\x00')")
        .await;
    assert_eq!(sqlstate(short), "23514");
}

#[tokio::test]
async fn accounts_an_old_refresh_token_that_comes_back_ends_the_session() {
    let (accounts, anon, first) = alice().await;
    let second = refreshed(&anon, "r1", "r2").await.expect("it is good");
    let third = refreshed(&anon, "r2", "r3").await.expect("it is good");
    // Also within the grace: a successor of it has been used.
    assert_eq!(refreshed(&anon, "r1", "thief's").await, None);
    assert_eq!(accounts.live_sessions().await, "0");
    for token in ["r1", "r2", "r3", "thief's"] {
        assert_eq!(refreshed(&anon, token, "r4").await, None, "{token}");
    }
    let mut all: Vec<_> = [&first, &second, &third]
        .map(|c| claim(c, "jti").to_owned())
        .into();
    all.sort();
    assert_eq!(accounts.revoked().await, all);
}

#[tokio::test]
async fn accounts_an_answer_that_was_lost_is_asked_for_again() {
    let (accounts, anon, _) = alice().await;
    assert!(refreshed(&anon, "r1", "lost").await.is_some());
    accounts.pass("9 s").await;
    assert!(refreshed(&anon, "r1", "r2").await.is_some());
    assert!(refreshed(&anon, "r2", "r3").await.is_some());
    // Whoever has read the lost one is a thief, or has been robbed: as soon as the other one is used.
    accounts.pass("10 s").await;
    assert_eq!(refreshed(&anon, "lost", "thief's").await, None);
    assert_eq!(accounts.live_sessions().await, "0");
}

#[tokio::test]
async fn accounts_the_grace_ends() {
    let (accounts, anon, _) = alice().await;
    assert!(refreshed(&anon, "r1", "r2").await.is_some());
    accounts.pass("10 s").await;
    assert_eq!(refreshed(&anon, "r1", "thief's").await, None);
    assert_eq!(refreshed(&anon, "r2", "r3").await, None);
    assert_eq!(accounts.live_sessions().await, "0");
}

#[tokio::test]
async fn accounts_a_thief_within_the_grace_is_found_out_by_the_next_refresh() {
    for first in ["r2", "thief's"] {
        let (accounts, anon, _) = alice().await;
        assert!(refreshed(&anon, "r1", "r2").await.is_some());
        assert!(refreshed(&anon, "r1", "thief's").await.is_some());
        let second = if first == "r2" { "thief's" } else { "r2" };
        accounts.pass("5 min").await;
        assert!(refreshed(&anon, first, "r3").await.is_some());
        accounts.pass("5 min").await;
        assert_eq!(refreshed(&anon, second, "r4").await, None);
        assert_eq!(refreshed(&anon, "r3", "r5").await, None);
    }
}

#[tokio::test]
async fn accounts_parallel_refreshes_of_one_client_do_not_log_it_out() {
    let (accounts, anon, _) = alice().await;
    let sessions = futures_util::future::join_all((0..10).map(|_| accounts.anon())).await;
    let new: Vec<_> = (0..10).map(|count| format!("n{count}")).collect();
    let parallel = sessions
        .iter()
        .zip(&new)
        .map(|(anon, new)| refresh(anon, "r1", new));
    let answers = within(futures_util::future::join_all(parallel)).await;
    let mut ids: Vec<_> = answers
        .into_iter()
        .map(|answer| claim(&answer.expect("it answers").expect("it is good"), "jti").to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 10);
    // Each of them is good, for the one that keeps it, and one refresh makes the others old.
    assert!(refreshed(&anon, "n7", "r3").await.is_some());
    assert_eq!(accounts.live_sessions().await, "1");
    accounts.pass("10 s").await;
    assert_eq!(refreshed(&anon, "n3", "r4").await, None);
    assert_eq!(accounts.live_sessions().await, "0");
}

#[tokio::test]
async fn accounts_sessions_end_by_themselves() {
    let (accounts, anon, _) = alice().await;
    for (unused, good) in [("13 days 23:59", true), ("14 days", false)] {
        accounts.pass(unused).await;
        let old = if good { ("r1", "r2") } else { ("r2", "r3") };
        assert_eq!(
            refreshed(&anon, old.0, old.1).await.is_some(),
            good,
            "{unused}"
        );
    }

    let (accounts, anon, _) = alice().await;
    for week in 1..13 {
        accounts.pass("7 days").await;
        let (old, new) = (format!("r{week}"), format!("r{}", week + 1));
        assert!(refreshed(&anon, &old, &new).await.is_some(), "{week}");
    }
    // 84 days, and no access token lives longer than the session.
    accounts.pass("5 days 23:58").await;
    let last = refreshed(&anon, "r13", "r14").await.expect("it is good");
    let left = "SELECT (ceil(extract(epoch FROM expires_at - now())) BETWEEN 1 AND 120)::text FROM basic_auth.access_tokens WHERE jti = '";
    assert_eq!(
        accounts
            .ask(&format!("{left}{}'", claim(&last, "jti")))
            .await,
        "true"
    );
    accounts.pass("2 min").await;
    assert_eq!(refreshed(&anon, "r14", "r15").await, None);
    accounts.execute("SELECT basic_auth.clean_up()").await;
}

#[tokio::test]
async fn accounts_callers_see_and_end_their_own_sessions() {
    let (accounts, anon, first) = alice().await;
    let second = login(&anon, "alice@example.com", PASSWORD, "r2").await;
    let second = second.expect("it answers").expect("it is her");
    accounts.user("bob@example.com").await;
    let bob = login(&anon, "bob@example.com", PASSWORD, "b1").await;
    let bob = bob.expect("it answers").expect("it is him");
    let caller = accounts.caller(&first).await;
    let list = "SELECT string_agg(concat_ws(' ', id, user_agent, current), ', ' ORDER BY current DESC) FROM sessions()";
    assert_eq!(
        scalar(&caller, list).await.expect("it may"),
        format!(
            "{} a browser t, {} a browser f",
            claim(&first, "sid"),
            claim(&second, "sid")
        )
    );

    let end = async |id: &str| {
        scalar(&caller, &format!("SELECT revoke_session('{id}')::text"))
            .await
            .expect("it may")
    };
    assert_eq!(end(claim(&bob, "sid")).await, "false");
    assert_eq!(end(claim(&second, "sid")).await, "true");
    assert_eq!(end(claim(&second, "sid")).await, "false");
    assert_eq!(accounts.revoked().await, [claim(&second, "jti")]);
    assert_eq!(refreshed(&anon, "r2", "r3").await, None);

    caller
        .batch_execute("SELECT logout()")
        .await
        .expect("it may");
    assert_eq!(refreshed(&anon, "r1", "r3").await, None);
    assert_eq!(accounts.revoked().await.len(), 2);
    let bobs = accounts.caller(&bob).await;
    let forged = serde_json::json!({ "sub": claim(&first, "sub"), "sid": claim(&bob, "sid") });
    accounts
        .caller(&forged)
        .await
        .batch_execute("SELECT logout()")
        .await
        .expect("it may");
    assert_eq!(
        scalar(&bobs, list).await.expect("it may"),
        format!("{} a browser t", claim(&bob, "sid"))
    );
    assert!(refreshed(&anon, "b1", "b2").await.is_some());
}

#[tokio::test]
async fn accounts_log_out_everywhere() {
    let (accounts, anon, first) = alice().await;
    assert!(
        login(&anon, "alice@example.com", PASSWORD, "r2")
            .await
            .expect("it answers")
            .is_some()
    );
    accounts.user("bob@example.com").await;
    assert!(
        login(&anon, "bob@example.com", PASSWORD, "b1")
            .await
            .expect("it answers")
            .is_some()
    );
    let caller = accounts.caller(&first).await;
    caller
        .batch_execute("SELECT logout_everywhere()")
        .await
        .expect("it may");
    for token in ["r1", "r2"] {
        assert_eq!(refreshed(&anon, token, "r3").await, None);
    }
    assert_eq!(accounts.revoked().await.len(), 2);
    assert!(refreshed(&anon, "b1", "b2").await.is_some());
}

#[tokio::test]
async fn accounts_claims_of_other_issuers_are_nobodys() {
    let (accounts, _, _) = alice().await;
    for claims in [
        serde_json::json!({}),
        serde_json::json!({ "sub": "alice", "sid": "1" }),
        serde_json::json!({ "sub": 7, "sid": ["1"] }),
        serde_json::json!({ "sub": "", "sid": null }),
    ] {
        let caller = accounts.caller(&claims).await;
        assert_eq!(
            scalar(&caller, "SELECT count(*)::text FROM sessions()")
                .await
                .expect("it may"),
            "0"
        );
        caller
            .batch_execute("SELECT logout(), logout_everywhere()")
            .await
            .expect("it may");
    }
    let nobody = accounts.session("web_user").await;
    nobody
        .batch_execute("SELECT logout(), logout_everywhere()")
        .await
        .expect("it may");
    assert_eq!(accounts.live_sessions().await, "1");
}

#[tokio::test]
async fn accounts_the_clean_up_leaves_what_counts() {
    let (accounts, anon, first) = alice().await;
    let counts = "SELECT concat_ws(' ', (SELECT count(*) FROM basic_auth.sessions), (SELECT count(*) FROM basic_auth.refresh_tokens),
        (SELECT count(*) FROM basic_auth.access_tokens), (SELECT count(*) FROM basic_auth.attempts),
        (SELECT count(*) FROM basic_auth.one_time_tokens))";
    let clean = async || {
        let mailer = accounts.session(&accounts.mailer).await;
        mailer
            .batch_execute("SELECT basic_auth.clean_up()")
            .await
            .expect("it may");
        accounts.ask(counts).await
    };
    assert!(refreshed(&anon, "r1", "r2").await.is_some());
    assert_eq!(
        login(&anon, "alice@example.com", "wrong", "r")
            .await
            .expect("it answers"),
        None
    );
    anon.batch_execute("SELECT request_password_reset('alice@example.com')")
        .await
        .expect("it may");
    accounts.token("reset").await;
    let _ = clean().await;
    assert_eq!(accounts.ask(counts).await, "1 2 2 3 1");
    // An hour: attempts no longer count, access tokens have expired.
    accounts.pass("1 hour").await;
    accounts
        .execute("UPDATE basic_auth.attempts SET count_until = now(); UPDATE basic_auth.one_time_tokens SET expires_at = now()")
        .await;
    assert_eq!(clean().await, "1 2 0 0 0");
    // A revoked access token stays for as long as a service whose clock is late may take it.
    let claims = refreshed(&anon, "r2", "r3").await.expect("it is good");
    let caller = accounts.caller(&first).await;
    caller
        .batch_execute("SELECT logout()")
        .await
        .expect("it may");
    accounts.pass("9 min").await;
    assert_eq!(clean().await, "0 0 1 0 0");
    assert_eq!(accounts.revoked().await, [claim(&claims, "jti")]);
    accounts.pass("2 min").await;
    assert_eq!(accounts.revoked().await, Vec::<String>::new());
    assert_eq!(clean().await, "0 0 0 0 0");
}
