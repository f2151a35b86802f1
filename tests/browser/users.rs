//! Who sees and changes what.

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
