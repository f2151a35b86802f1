//! Tokens and their end, and what is shown of them.

use crate::users::alice_and_bob;

#[tokio::test]
async fn a_token_that_has_run_out_is_renewed_once_and_nobody_notices() {
    let visitor = alice_and_bob(&["--token-lifetime", "3"]).await;
    let first: String = visitor.ask("claim(1, 'jti')").await;
    // By itself: the service's stream ends with the token.
    visitor
        .sees(&format!(
            "pane(1).dataset.renewals >= 1 && claim(1, 'jti') !== {first:?}"
        ))
        .await;
    // And with what is wanted just then. Whatever comes back 401 at once is renewed for once.
    let before = visitor.renewals().await;
    let second: String = visitor.ask("claim(1, 'jti')").await;
    let expired: bool = visitor
        .ask("new Promise((resolve) => setTimeout(() => resolve(true), 0))")
        .await;
    assert!(expired);
    visitor.add(1, "while it runs out", false).await;
    visitor
        .sees(&format!("claim(1, 'jti') !== {second:?}"))
        .await;
    visitor.add(1, "and after", false).await;
    let (tokens, asked) = visitor.renewals().await;
    assert!(tokens > before.0);
    assert_eq!(tokens, asked, "each token was asked for once");
    visitor
        .sees("!pane(1).querySelector('.refusal:not(:empty)') && pane(1).dataset.user === 'Alice'")
        .await;
    visitor.assert_no_trouble();
}

#[tokio::test]
async fn signing_out_everywhere_ends_the_other_pane_which_says_why() {
    let visitor = alice_and_bob(&[]).await;
    visitor.click("#add-pane").await;
    visitor.click("[data-pane='3'] button[value=alice]").await;
    visitor.sees("pane(3).dataset.user === 'Alice'").await;
    // Both are told by their stream, which must be open for that.
    visitor
        .sees("statements(1) && statements(2) && statements(3)")
        .await;
    visitor
        .click("[data-pane='3'] .leave [value=everywhere]")
        .await;
    visitor.sees("pane(3).dataset.user === ''").await;
    visitor.sees("pane(1).dataset.user === ''").await;
    visitor
        .sees("pane(1).querySelector('.ended').textContent.startsWith('You were signed out')")
        .await;
    visitor
        .sees("tasks(1).join() === 'read the policies in todos.sql'")
        .await;
    visitor.sees("pane(2).dataset.user === 'Bob'").await;
    visitor.add(2, "still here", false).await;
    // Whoever signs in again is welcome.
    visitor.click("[data-pane='1'] button[value=alice]").await;
    visitor.sees("pane(1).dataset.user === 'Alice'").await;
    visitor.assert_no_trouble();
}

#[tokio::test]
async fn signing_out_ends_one_session_and_no_other() {
    let visitor = alice_and_bob(&[]).await;
    visitor.click("#add-pane").await;
    visitor.click("[data-pane='3'] button[value=alice]").await;
    visitor.sees("pane(3).dataset.user === 'Alice'").await;
    visitor.click("[data-pane='3'] .leave [value=here]").await;
    visitor.sees("pane(3).dataset.user === ''").await;
    visitor.add(1, "still here", false).await;
    // A reload keeps who is signed in, and who is not.
    visitor.reload().await;
    visitor
        .sees("pane(1).dataset.user === 'Alice' && pane(2).dataset.user === 'Bob' && pane(3).dataset.user === ''")
        .await;
    visitor.sees("tasks(1).includes('still here')").await;
    visitor.assert_no_trouble();
}

#[tokio::test]
async fn claims_and_statements_are_shown_to_their_user_only() {
    let visitor = alice_and_bob(&[]).await;
    visitor.add(1, "a secret of alice's", false).await;
    visitor.add(2, "a secret of bob's", false).await;
    visitor
        .sees(
            "claim(1, 'email') === 'alice@example.com' && claim(2, 'email') === 'bob@example.com'",
        )
        .await;
    visitor
        .sees("claim(1, 'role') === 'web_user' && claim(1, 'sub') !== claim(2, 'sub')")
        .await;
    visitor
        .sees("pane(1).querySelector('.left').textContent.endsWith(' s left')")
        .await;

    for (own, other) in [(1, 2), (2, 1)] {
        visitor
            .sees(&format!("statements({own}).includes(`a secret of ${{pane({own}).dataset.user.toLowerCase()}}'s`)"))
            .await;
        visitor
            .sees(&format!("['BEGIN', 'set_config', 'INSERT INTO todos', 'COMMIT'].every((part) => statements({own}).includes(part))"))
            .await;
        visitor
            .sees(&format!("statements({own}).includes(claim({own}, 'jti'))"))
            .await;
        let strange: bool = visitor
            .ask(&format!(
                "['jti', 'sub', 'email', 'sid'].some((name) => statements({own}).includes(claim({other}, name)))
                    || statements({own}).includes(`a secret of ${{pane({other}).dataset.user.toLowerCase()}}'s`)"
            ))
            .await;
        assert!(!strange, "pane {own} shows what pane {other} did");
    }
    // Nor does a password stand anywhere.
    visitor
        .sees("!document.querySelector('main').textContent.includes('only for this example')")
        .await;
    visitor.assert_no_trouble();
}
