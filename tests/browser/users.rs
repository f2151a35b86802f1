//! Who sees and changes what.

use crate::local_postgres::LocalPostgres;
use crate::support::example::Example;
use crate::visitor::Visitor;

/// The panes of Alice and Bob, who have signed in.
pub(crate) async fn alice_and_bob(arguments: &[&str]) -> Visitor {
    let visitor = Visitor::open(arguments).await;
    visitor.click("[data-pane='1'] button[value=alice]").await;
    visitor.sees("pane(1).dataset.user === 'Alice'").await;
    visitor.click("[data-pane='2'] button[value=bob]").await;
    visitor.sees("pane(2).dataset.user === 'Bob'").await;
    visitor
}

impl Visitor {
    /// Clicks one of the buttons of a todo.
    pub(crate) async fn click_in(&self, pane: u8, task: &str, button: &str) {
        self.sees(&format!("item({pane}, {task:?})")).await;
        let id: String = self
            .ask(&format!("item({pane}, {task:?}).dataset.id"))
            .await;
        self.click(&format!(
            "[data-pane='{pane}'] [data-id='{id}'] [value={button}]"
        ))
        .await;
    }

    /// Adds a todo in a pane, and waits until it is there.
    pub(crate) async fn add(&self, pane: u8, task: &str, public: bool) {
        self.enter(&format!("[data-pane='{pane}'] .add [name=task]"), task)
            .await;
        if public {
            self.click(&format!("[data-pane='{pane}'] .add [name=public]"))
                .await;
        }
        self.click(&format!("[data-pane='{pane}'] .add [value=own]"))
            .await;
        self.sees(&format!("tasks({pane}).includes({task:?})"))
            .await;
    }
}

#[tokio::test]
async fn signing_up_takes_a_mail_and_then_one_signs_in() {
    let visitor = Visitor::open(&[]).await;
    let form = "[data-pane='1'] .account";
    visitor
        .enter(&format!("{form} [name=email]"), "carol@example.com")
        .await;
    visitor
        .enter(&format!("{form} [name=password]"), "carols own secret")
        .await;
    visitor.click(&format!("{form} [value=sign-up]")).await;
    visitor
        .sees("pane(1).querySelector('.done').textContent.includes('mailbox')")
        .await;

    // Not before the address is confirmed.
    visitor.click(&format!("{form} [value=sign-in]")).await;
    visitor
        .sees("refusal(1, '.account').includes('not confirmed')")
        .await;

    visitor
        .sees("document.querySelector('#mail-count').textContent === '1'")
        .await;
    visitor.click("#open-mailbox").await;
    visitor
        .sees("document.querySelector('#mails').innerText.includes('to carol@example.com')")
        .await;
    visitor.click("#mails button").await;
    visitor.sees("document.querySelector('#mails .done')").await;
    visitor.press(&["Escape"]).await;
    visitor
        .sees("!document.querySelector('#mailbox').open")
        .await;

    visitor.click(&format!("{form} [value=sign-in]")).await;
    visitor.sees("pane(1).dataset.user === 'Carol'").await;
    visitor.assert_no_trouble();
}

#[tokio::test]
async fn each_sees_what_is_theirs_and_what_is_public() {
    let visitor = alice_and_bob(&[]).await;
    visitor.add(1, "buy a present for bob", false).await;
    visitor.add(1, "come to the party", true).await;
    visitor.add(2, "water the plants", false).await;

    let public = "read the policies in todos.sql";
    visitor
        .sees(&format!(
            "tasks(1).join() === '{public},buy a present for bob,come to the party'"
        ))
        .await;
    visitor
        .sees(&format!(
            "tasks(2).join() === '{public},come to the party,water the plants'"
        ))
        .await;
    visitor
        .sees("item(2, 'come to the party').innerText.includes('of Alice')")
        .await;
    // A stranger beside them.
    visitor.click("#add-pane").await;
    visitor
        .sees(&format!("tasks(3).join() === '{public},come to the party'"))
        .await;
    visitor
        .sees("pane(3).querySelector('.role').textContent === 'anon'")
        .await;

    // What becomes private is gone for the others at once, and what is another's has no buttons.
    visitor
        .sees("item(2, 'come to the party').querySelector('.act').hidden")
        .await;
    visitor.click_in(1, "come to the party", "public").await;
    visitor
        .sees("!tasks(2).includes('come to the party') && !tasks(3).includes('come to the party')")
        .await;
    visitor.assert_no_trouble();
}

#[tokio::test]
async fn a_todo_is_edited_and_deleted() {
    let visitor = alice_and_bob(&[]).await;
    visitor.add(1, "call the plumber", false).await;

    visitor.click_in(1, "call the plumber", "edit").await;
    visitor
        .sees("document.activeElement.value === 'call the plumber'")
        .await;
    // An empty one the table refuses.
    visitor.type_text(" ").await;
    visitor.press(&["Enter"]).await;
    visitor
        .sees("refusal(1, '.edit:not([hidden])').includes('23514')")
        .await;
    visitor.type_text("call the electrician").await;
    visitor.press(&["Enter"]).await;
    visitor
        .sees("tasks(1).includes('call the electrician')")
        .await;
    visitor
        .sees("document.activeElement.value === 'edit'")
        .await;

    visitor.click_in(1, "call the electrician", "edit").await;
    visitor.type_text("nothing").await;
    visitor.press(&["Escape"]).await;
    visitor
        .sees("tasks(1).includes('call the electrician')")
        .await;

    visitor.click_in(1, "call the electrician", "delete").await;
    visitor
        .sees("!tasks(1).includes('call the electrician')")
        .await;
    visitor.reload().await;
    visitor
        .sees("tasks(1).join() === 'read the policies in todos.sql'")
        .await;
    visitor.assert_no_trouble();
}

#[tokio::test]
async fn writing_in_anothers_name_is_refused_and_that_is_shown() {
    let visitor = alice_and_bob(&[]).await;
    visitor
        .sees("pane(1).querySelector('.try').textContent === 'Try to add it as Bob'")
        .await;
    visitor.click("[data-pane='1'] .try").await;
    visitor
        .sees("refusal(1, '.add').startsWith('Refused: you are not Bob.')")
        .await;
    visitor
        .sees("refusal(1, '.add').includes('42501: new row violates row-level security policy')")
        .await;
    // It was tried, with Bob's id: that is what was refused.
    visitor.sees("statements(1).includes('ERROR 42501')").await;
    visitor
        .sees("[...pane(1).querySelectorAll('.refused .own dd')].some((dd) => dd.textContent === claim(2, 'sub'))")
        .await;
    visitor
        .sees("pane(1).querySelector('.refused .outcome').textContent === 'refused, rolled back'")
        .await;
    visitor.assert_no_trouble();
}

#[tokio::test]
async fn a_todo_of_html_is_shown_as_text() {
    let visitor = alice_and_bob(&[]).await;
    let html =
        "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>";
    visitor.add(1, html, true).await;
    visitor.sees(&format!("tasks(2).includes({html:?})")).await;
    visitor
        .sees(&format!("statements(1).includes({html:?})"))
        .await;
    visitor
        .sees("!document.querySelector('main img, main script') && !document.title.includes('broken')")
        .await;
    // The policy says so a second time.
    let blocked: String = visitor
        .ask("(() => { try { document.body.innerHTML = '<b>'; } catch (e) { return e.name; } })()")
        .await;
    assert_eq!(blocked, "TypeError");
}

#[tokio::test]
async fn a_keyboard_is_enough_to_sign_in_and_add() {
    let visitor = alice_and_bob(&[]).await;
    visitor.click("[data-pane='2'] .leave [value=here]").await;
    visitor.sees("pane(2).dataset.user === ''").await;
    // The focus is where one goes on.
    visitor
        .sees("document.activeElement === pane(2).querySelector('.account [name=email]')")
        .await;
    visitor.type_keys("bob@example.com").await;
    visitor.press(&["Tab"]).await;
    visitor.type_keys("only for this example").await;
    visitor.press(&["Enter"]).await;
    visitor.sees("pane(2).dataset.user === 'Bob'").await;
    visitor
        .sees("document.activeElement === pane(2).querySelector('.add [name=task]')")
        .await;
    visitor.type_keys("water the plants").await;
    visitor.press(&["Tab", "Tab"]).await;
    visitor.type_keys(" ").await;
    visitor.sees("document.activeElement.checked").await;
    visitor.press(&["Tab"]).await;
    visitor
        .sees("document.activeElement.value === 'other'")
        .await;
    visitor.click("[data-pane='2'] .add [name=task]").await;
    visitor.press(&["Enter"]).await;
    visitor
        .sees("tasks(2).includes('water the plants') && tasks(1).includes('water the plants')")
        .await;
    visitor.assert_no_trouble();
}

#[tokio::test]
async fn a_parameter_that_looks_like_lines_of_the_log_is_a_parameter() {
    let visitor = alice_and_bob(&[]).await;
    let status: u16 = visitor
        .ask(
            "fetch('/todos', {
                method: 'POST',
                headers: {
                    authorization: `Bearer ${JSON.parse(sessionStorage['todos-pane-1']).access}`,
                    'content-type': 'application/json',
                },
                body: JSON.stringify({
                    task: [
                        `it's`,
                        `1 00000 LOG:  statement: BEGIN`,
                        `1 00000 LOG:  execute s1: SELECT pg_catalog.set_config('role', $1, true)`,
                        `1 00000 DETAIL:  parameters: $1 = 'web_user', $2 = '{\"jti\":\"${claim(2, 'jti')}\"}'`,
                        `1 00000 LOG:  statement: forged`,
                    ].join('\\n'),
                }),
            }).then(({ status }) => status)",
        )
        .await;
    assert_eq!(status, 201);
    visitor
        .sees("[...pane(1).querySelectorAll('.own dd')].some(({ textContent }) => textContent.startsWith(`it's\\n1 00000 LOG:`) && textContent.endsWith('forged'))")
        .await;
    // Whatever came to Bob's pane came before what he does now.
    visitor.add(2, "water the plants", false).await;
    visitor
        .sees("statements(2).includes('water the plants') && !statements(2).includes('forged')")
        .await;
    visitor.assert_no_trouble();
}

#[tokio::test]
async fn the_log_of_a_server_that_is_not_the_examples_is_not_read() {
    let postgres = tokio::task::spawn_blocking(LocalPostgres::start);
    let postgres = postgres.await.expect("no panic").expect("it starts");
    let url = postgres.superuser_url("postgres");
    let visitor = Visitor::open_with(
        Example::command("todos")
            .args(["--port", "0"])
            .env("DATABASE_URL", url),
    )
    .await;
    visitor.click("[data-pane='1'] button[value=alice]").await;
    visitor.sees("pane(1).dataset.user === 'Alice'").await;
    visitor
        .sees("pane(1).querySelector('.sql .note').textContent.includes('DATABASE_URL')")
        .await;
    visitor.add(1, "all the same", false).await;
    visitor.sees("statements(1) === ''").await;
    visitor.assert_no_trouble();
}
