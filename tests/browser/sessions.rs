//! Tokens and their end, and what is shown of them.

use crate::users::alice_and_bob;

#[tokio::test]
async fn a_token_that_has_run_out_is_renewed_and_nobody_notices() {
    let visitor = alice_and_bob(&["--token-lifetime", "3"]).await;
    let first: String = visitor.ask("claim(1, 'jti')").await;
    visitor.add(1, "before", false).await;
    visitor
        .sees(&format!("claim(1, 'jti') !== {first:?}"))
        .await;
    visitor.add(1, "after", false).await;
    let second: String = visitor.ask("claim(1, 'jti')").await;
    visitor
        .sees(&format!("claim(1, 'jti') !== {second:?}"))
        .await;
    visitor.sees("tasks(1).includes('after')").await;
    // What the new token does is shown, too.
    visitor
        .sees("statements(1).includes(claim(1, 'jti')) || pane(1).querySelector('.sql .note').textContent")
        .await;
    visitor
        .sees("!pane(1).querySelector('.refusal:not(:empty)') && pane(1).dataset.user === 'Alice'")
        .await;
    visitor
        .sees("pane(1).querySelector('.ended').textContent === ''")
        .await;
    visitor.assert_no_trouble();
}

#[tokio::test]
async fn requests_that_are_refused_together_ask_once_for_a_new_token() {
    let visitor = alice_and_bob(&[]).await;
    // A third session of the page's own code, whose access token the service refuses.
    let (asked, seen): (i64, Vec<i64>) = visitor
        .ask(
            "(async () => {
                const { Session } = await import('/page/session.js');
                const asked = () => performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/refresh')).length;
                const body = JSON.stringify({ email: 'alice@example.com', password: 'only for this example' });
                const answer = await fetch('/login', { method: 'POST', headers: { 'content-type': 'application/json' }, body });
                const { refresh_token: refresh } = await answer.json();
                sessionStorage.setItem('todos-pane-test', JSON.stringify({ access: 'no.token.atall', refresh, expires: 0, lifetime: 1 }));
                const session = new Session('test');
                const before = asked();
                const lists = await Promise.all([1, 2, 3, 4, 5].map(() => session.json('/todos')));
                return [asked() - before, lists.map((list) => list.length)];
            })()",
        )
        .await;
    assert_eq!((asked, seen), (1, vec![1; 5]));
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
